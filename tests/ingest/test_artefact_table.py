"""Embeddings in Parquet and Arrow files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.artefacts.folder import store_artefacts
from ingest.artefacts.table import read_table
from store import BadArtefacts


def unit(rows: int = 4, dimension: int = 6) -> Any:
    values = np.random.default_rng(0).standard_normal((rows, dimension)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def table(**columns: Any) -> pa.Table:
    vectors = unit()
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    return pa.table({"id": ["a", "b", "c", "d"], "embedding": flat, **columns})


def save(path: Path, content: pa.Table) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(content, path)
    elif path.suffix == ".arrows":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, content.schema) as writer:
            writer.write_table(content)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, content.schema) as writer:
            writer.write_table(content)
    return path


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".feather", ".arrows"])
def test_any_form(tmp_path: Path, ending: str) -> None:
    content = table(
        labels=[["x", "y"], [], None, ["z"]],
        uncertain=[None, ["y"], [], []],
        split=["train", "test", None, "test"],
        age=[1, 2, 3, 4],
    )
    found = read_table(save(tmp_path / f"mine{ending}", content))
    np.testing.assert_array_equal(found.embeddings, unit())
    assert found.ids == ["a", "b", "c", "d"]
    assert found.labels == [("x", "y"), (), (), ("z",)]
    assert found.columns == {
        "split": ["train", "test", None, "test"],
        "age": [1.0, 2.0, 3.0, 4.0],
        "uncertain": [(), ("y",), (), ()],
    }
    assert found.stamp.name == "external:mine" and "encoder is unknown" in found.notes[0]
    gallery, report = store_artefacts(found, tmp_path / "store")
    assert report.inserted == 4 and gallery.search_by_id("a", k=2)[0].rank == 1
    assert gallery.row("d").source == f"mine{ending}#3"
    assert gallery.row("b").uncertain == ("y",)


def test_named_columns_and_encoder(tmp_path: Path) -> None:
    content = table(label=["x", "y", "", None])
    lists = pa.array(content["embedding"].to_pylist(), pa.list_(pa.float64()))
    content = content.rename_columns(["key", "v", "label"]).set_column(1, "v", lists)
    content = content.replace_schema_metadata(
        {"cxr.encoder": "mine", "cxr.fingerprint": "ab" * 32, "cxr.dimension": "6"}
    )
    found = read_table(save(tmp_path / "t.parquet", content), id_column="key", vector_column="v")
    assert found.labels == [("x",), ("y",), (), ()]
    assert str(found.stamp) == "mine (abababababab, 6-d)"
    assert "float64; converted" in found.notes[0]


def replaced(**columns: Any) -> pa.Table:
    content = table()
    for name, values in columns.items():
        content = content.set_column(content.column_names.index(name), name, pa.array(values))
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (table().drop(["embedding"]), "no column 'embedding or"),
        (replaced(id=["a", "a", "b", "c"]), "the id 'a' 2 times"),
        (replaced(id=["a", None, "b", "c"]), "must hold a string or a number"),
        (replaced(embedding=[1.0, 2.0, 3.0, 4.0]), "is double, expected lists of floats"),
        (replaced(embedding=[[1.0], [1.0], [1.0], [1.0, 0.0]]), "vectors of 2 lengths"),
        (replaced(embedding=[[1.0], None, [1.0], [1.0]]), "1 row without a vector"),
        (replaced(embedding=[[1.0], [None], [1.0], [1.0]]), "vectors with null"),
        (replaced(embedding=[[2.0], [1.0], [1.0], [1.0]]), "lengths from 1 to 2, expected 1"),
        (replaced(embedding=[[float("nan")], [1.0], [1.0], [1.0]]), "NaN or infinity"),
        (table(sex=[1.5, None, 2.0, 3.0]), "column 'sex' holds double values"),
        (table(labels=[[1.5], [], [], []]), "must hold strings or lists of strings"),
        (table().slice(0, 0), "without a vector|has no rows"),
    ],
)
def test_refusals(tmp_path: Path, content: pa.Table, message: str) -> None:
    with pytest.raises(BadArtefacts, match=message):
        read_table(save(tmp_path / "t.parquet", content))


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"ARROW1", b"hello, I am text"])
def test_no_table(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(BadArtefacts, match="no sound Parquet or Arrow file"):
        read_table(tmp_path / "t")
    with pytest.raises(BadArtefacts, match="is not a file"):
        read_table(tmp_path / "none")


@pytest.mark.parametrize(
    "labels",
    [
        [[0, 1], [0, 0], None, [1, 1]],
        [["1"], [], None, ["0", "1"]],
        ["[0, 1]", "[0, 0]", "", "[1, 1]"],
        ["1", "No Finding", "", "0|1"],
    ],
)
def test_outcomes_patients_and_studies_of_a_table(tmp_path: Path, labels: list[object]) -> None:
    content = table(labels=labels, patient_id=[1, 1, 2, None], StudyInstanceUID=["a", "a", "b", ""])
    place = save(tmp_path / "mine.parquet", content)
    gallery, _ = store_artefacts(read_table(place), tmp_path / "g")
    rows = gallery.rows("abcd")
    assert [row.outcome for row in rows.values()] == [
        "found", "no finding", "not labelled", "found",
    ]  # fmt: skip
    assert [row.patient for row in rows.values()] == ["1", "1", "2", None]
    assert [row.study for row in rows.values()] == ["a", "a", "b", None]
