"""Vectors made elsewhere: the containers that people save them in, and parts saved apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.artefacts.folder import Artefacts, store_artefacts
from ingest.artefacts.parts import read_vectors
from store import BadArtefacts, EncoderMismatch, Gallery, UsageError

CASES = Path(__file__).parents[3] / "shared" / "cases" / "embeddings"
NAMES = ["normal", "pneumonia", "tuberculosis"]


def unit(rows: int, seed: int = 0, dimension: int = 8) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def table(rows: int = 4, seed: int = 0, prefix: str = "film", **columns: Any) -> pa.Table:
    lists = pa.array(list(unit(rows, seed)), pa.list_(pa.float32()))
    ids = [f"{prefix}{i}" for i in range(rows)]
    return pa.table({"id": ids, "embedding": lists, **columns})


def hub(**features: list[str]) -> dict[str, str]:
    said = {name: {"names": names, "_type": "ClassLabel"} for name, names in features.items()}
    return {"huggingface": json.dumps({"info": {"features": said}})}


def export(folder: Path, rows: int = 4, seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    np.save(folder / "embeddings.npy", unit(rows, seed))
    np.save(folder / "labels.npy", np.arange(rows) % 2)
    (folder / "ids.txt").write_text("".join(f"{folder.name}{i}\n" for i in range(rows)))
    return folder


def said(found: Artefacts) -> str:
    return "\n".join(found.notes)


# -- columns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.large_list(pa.float64()),
        pa.list_(pa.float32(), 8),
        pa.list_view(pa.float32()),
        pa.large_list_view(pa.float32()),
        pa.list_(pa.float16(), 8),
        pa.list_(pa.list_(pa.float32())),
    ],
    ids=str,
)
@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_vectors_in_any_kind_of_list(tmp_path: Path, kind: pa.DataType, ending: str) -> None:
    vectors = unit(4)
    nested = isinstance(kind.value_type, pa.ListType)
    inner = kind.value_type if nested else kind
    cells = pa.array([list(map(float, row)) for row in vectors], pa.list_(pa.float64()))
    cells = cells.cast(pa.list_(inner.value_type)).to_pylist()
    column = pa.array([[cell] for cell in cells] if nested else cells, kind)
    content = pa.table({"id": list("abcd"), "embedding": column})
    path = tmp_path / f"t.{ending}"
    if ending == "parquet":
        try:
            pq.write_table(content, path)
        except pa.ArrowNotImplementedError:
            pytest.skip(f"pyarrow writes no {kind} to Parquet")
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, content.schema) as writer:
            writer.write_table(content)
    np.testing.assert_allclose(read_vectors([path]).embeddings, vectors, atol=1e-3)


def test_vectors_that_are_tensors(tmp_path: Path) -> None:
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(unit(4))
    pq.write_table(pa.table({"id": list("abcd"), "embedding": tensors}), tmp_path / "t.parquet")
    np.testing.assert_array_equal(read_vectors([tmp_path / "t.parquet"]).embeddings, unit(4))
    squares = pa.FixedShapeTensorArray.from_numpy_ndarray(unit(4).reshape(4, 2, 4))
    pq.write_table(pa.table({"id": list("abcd"), "embedding": squares}), tmp_path / "s.parquet")
    with pytest.raises(BadArtefacts, match="expected lists of floats"):
        read_vectors([tmp_path / "s.parquet"])


def test_tensors_of_one_row_are_vectors(tmp_path: Path) -> None:
    rows = pa.FixedShapeTensorArray.from_numpy_ndarray(unit(4).reshape(4, 1, 8))
    pq.write_table(pa.table({"id": list("abcd"), "embedding": rows}), tmp_path / "t.parquet")
    np.testing.assert_array_equal(read_vectors([tmp_path / "t.parquet"]).embeddings, unit(4))
    squares = pa.FixedShapeTensorArray.from_numpy_ndarray(unit(4).reshape(4, 2, 4))
    pq.write_table(pa.table({"id": list("abcd"), "embedding": squares}), tmp_path / "s.parquet")
    with pytest.raises(BadArtefacts, match=r"shape=\[2,4\].*save one vector for each film"):
        read_vectors([tmp_path / "s.parquet"])


def test_the_only_column_of_vectors_needs_no_usual_name(tmp_path: Path) -> None:
    content = table().rename_columns(["id", "resnet50"])
    pq.write_table(content, tmp_path / "t.parquet")
    np.testing.assert_array_equal(read_vectors([tmp_path / "t.parquet"]).embeddings, unit(4))


def test_a_picture_is_no_id_and_its_path_is(tmp_path: Path) -> None:
    pictures = [{"bytes": b"\x89PNG", "path": f"{name}.png"} for name in "abcd"]
    content = table(image=pictures, label=[0, 1, 2, 1]).drop_columns(["id"])
    content = content.replace_schema_metadata(hub(label=NAMES))
    pq.write_table(content, tmp_path / "t.parquet")
    found = read_vectors([tmp_path / "t.parquet"])
    assert found.ids == ["a.png", "b.png", "c.png", "d.png"]
    assert [names[0] for names in found.labels] == ["normal", *NAMES[1:], "pneumonia"]
    assert "'image.bytes'" in said(found)


def test_rows_without_an_id_get_one_by_file_and_number(tmp_path: Path) -> None:
    pictures = [{"bytes": b"\x89PNG", "path": None}] * 4
    content = table(image=pictures, path=["x.png"] * 4).drop_columns(["id"])
    pq.write_table(content, tmp_path / "mine.parquet")
    found = read_vectors([tmp_path / "mine.parquet"])
    assert found.ids == ["mine/0", "mine/1", "mine/2", "mine/3"]
    assert "rows are called by file and row number, 'mine/0' to 'mine/3'" in said(found)
    _, report = store_artefacts(found, tmp_path / "store")
    _, again = store_artefacts(read_vectors([tmp_path / "mine.parquet"]), tmp_path / "store")
    assert (report.inserted, again.unchanged) == (4, 4)


def test_made_ids_stay_when_a_shard_is_added(tmp_path: Path) -> None:
    content = table(6).drop_columns(["id"])
    for shards in (1, 2, 3):  # as `datasets` writes them, with their number in every name
        saved_set(tmp_path / str(shards) / "mine", [content.slice(i, 6 // shards)
            for i in range(0, 6, 6 // shards)])  # fmt: skip
        found = read_vectors([tmp_path / str(shards) / "mine"])
        assert found.ids == [f"mine/data/{row}" for row in range(6)]
        (tmp_path / str(shards) / "hub").mkdir()
        for i in range(shards):
            part = content.slice(i * 6 // shards, 6 // shards)
            name = f"train-{i:05}-of-{shards:05}.parquet"
            pq.write_table(part, tmp_path / str(shards) / "hub" / name)
        found = read_vectors([tmp_path / str(shards) / "hub"])
        assert found.ids == [f"hub/train/{row}" for row in range(6)]


@pytest.mark.parametrize("age", [-4.0, 300.0, float("inf"), -1])
def test_numbers_that_are_no_age(tmp_path: Path, age: float) -> None:
    pq.write_table(table(age=[50, 0, age, 120]), tmp_path / "t.parquet")
    found = read_vectors([tmp_path / "t.parquet"])
    assert found.columns["age"] == [50.0, 0.0, None, 120.0]
    assert f"1 row says no age, first {float(age)!r}" in said(found).replace("-1;", "-1.0;")


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    content = table(label=["a"] * 4, caption=["x"] * 4, ward=[1] * 4, Age=[1, 2, 3, 4])
    pq.write_table(content, tmp_path / "t.parquet")
    found = read_vectors([tmp_path / "t.parquet"])
    assert "columns that are not read: 'caption', 'ward'" in said(found)
    assert found.columns == {"age": [1.0, 2.0, 3.0, 4.0]}
    export(tmp_path / "mine")
    (tmp_path / "mine" / "meta.json").write_text('{"columns": {"ward": [1, 2, 3, 4]}}')
    assert "that are not read: 'ward'" in said(read_vectors([tmp_path / "mine"]))


@pytest.mark.parametrize(
    ("ages", "read", "note"),
    [
        ([40.0, float("nan"), None, 1.0], [40.0, None, None, 1.0], ""),
        (["45", "058Y", "", None], [45.0, 58.0, None, None], ""),
        (["45", "old", "NaN", "?"], [45.0, None, None, None], "3 rows say no age, first 'old'"),
        ([1.0, float("inf"), 2.0, 3.0], [1.0, None, 2.0, 3.0], "1 row says no age"),
    ],
)
def test_ages(tmp_path: Path, ages: list[Any], read: list[float | None], note: str) -> None:
    pq.write_table(table(age=ages), tmp_path / "t.parquet")
    found = read_vectors([tmp_path / "t.parquet"])
    assert found.columns["age"] == read
    assert note in said(found) and ("no age" in said(found)) == bool(note)
    assert store_artefacts(found, tmp_path / "store")[1].inserted == 4


def test_classes_are_called_by_the_schema_in_other_columns_too(tmp_path: Path) -> None:
    content = table(split=[0, 1, 2, 0], sex=[1, 0, None, 1], patient=[1.0, None, 2.0, 3.0])
    metadata = hub(split=["train", "validation", "test"], sex=["F", "M"])
    pq.write_table(content.replace_schema_metadata(metadata), tmp_path / "t.parquet")
    columns = read_vectors([tmp_path / "t.parquet"]).columns
    assert columns["split"] == ["train", "val", "test", "train"]
    assert columns["sex"] == ["M", "F", None, "M"]
    assert columns["patient"] == ["1", None, "2", "3"]


# -- files and folders -----------------------------------------------------------------------------


def test_parts_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "data"
    folder.mkdir(parents=True)
    for number in (10, 2, 1):
        content = table(2, number, f"film{number}-", label=[number % 3] * 2)
        content = content.replace_schema_metadata(hub(label=NAMES))
        pq.write_table(content, folder / f"train-{number}-of-10.parquet")
    (folder / ".hidden.parquet").write_bytes(b"no table")
    found = read_vectors([tmp_path / "mine"])
    assert found.ids == ["film1-0", "film1-1", "film2-0", "film2-1", "film10-0", "film10-1"]
    assert found.labels[0] == ("pneumonia",)
    assert found.columns["split"] == ["train"] * 6
    assert found.sources[2] == "mine/data/train-2-of-10.parquet#0"
    np.testing.assert_array_equal(found.embeddings[4:], unit(2, 10))


def test_parts_that_differ(tmp_path: Path) -> None:
    for name, content in (
        ("a", table(2, 0, "a", label=["x", "y"])),
        ("b", table(2, 1, "b", age=[1, 2])),
    ):
        pq.write_table(content, tmp_path / f"{name}.parquet")
    found = read_vectors([tmp_path])
    assert found.labels == [("x",), ("y",), (), ()]
    assert found.columns["age"] == [None, None, 1.0, 2.0]
    pq.write_table(table(2, 2, "a"), tmp_path / "c.parquet")
    with pytest.raises(BadArtefacts, match="the id 'a0' 2 times"):
        read_vectors([tmp_path])
    for bad, message in (
        (table(2, 3, "c", label=[1.5, 2]), "disagree in a column"),
        (
            pa.table({"id": ["c"], "embedding": [[0.6, 0.8]]}),
            "c.parquet has vectors of dimension 2, .*a.parquet of 8",
        ),
    ):
        pq.write_table(bad, tmp_path / "c.parquet")
        with pytest.raises(BadArtefacts, match=message):
            read_vectors([tmp_path])
    for name, names in (("a", NAMES), ("b", NAMES[::-1])):
        content = table(2, 0, name, label=[0, 1]).replace_schema_metadata(hub(label=names))
        pq.write_table(content, tmp_path / f"{name}.parquet")
    (tmp_path / "c.parquet").unlink()
    with pytest.raises(BadArtefacts, match=r"b\.parquet calls the classes of 'label'"):
        read_vectors([tmp_path])


def test_a_part_that_holds_vectors_alone(tmp_path: Path) -> None:
    pq.write_table(table(2, 0, "a", label=["x", "y"]), tmp_path / "a.parquet")
    pq.write_table(table(3, 1).select(["embedding"]), tmp_path / "b.parquet")
    with pytest.raises(BadArtefacts, match=r"b\.parquet, row 0: .*'id' .*--id-column") as refused:
        read_vectors([tmp_path])
    assert "None" in str(refused.value)
    for name in "ab":
        content = pq.read_table(tmp_path / f"{name}.parquet")
        if "id" in content.column_names:
            pq.write_table(content.drop_columns(["id"]), tmp_path / f"{name}.parquet")
    found = read_vectors([tmp_path])
    assert len(found.ids) == len(found.labels) == len(found.sources) == 5
    assert found.labels == [("x",), ("y",), (), (), ()]


def test_parts_whose_columns_are_of_other_types(tmp_path: Path) -> None:
    pq.write_table(table(2, 0, "a"), tmp_path / "a.parquet")
    numbers = table(2, 1).set_column(0, "id", pa.array([7, 8]))
    pq.write_table(numbers, tmp_path / "b.parquet")
    message = r"column 'id'.*a\.parquet string.*b\.parquet int64.* write it with one type"
    with pytest.raises(BadArtefacts, match=message):
        read_vectors([tmp_path])


def saved_set(folder: Path, contents: list[pa.Table], **state: Any) -> None:
    """A folder as `datasets` saves it, with the meaning of columns in its own file alone."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05}-of-{len(contents):05}.arrow" for i in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        path = str(folder / name)
        with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, content.schema) as writer:
            writer.write_table(content)
    info = json.loads(hub(label=NAMES)["huggingface"])["info"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    files = [{"filename": name} for name in names]
    (folder / "state.json").write_text(json.dumps({"_data_files": files, "_split": None, **state}))


def test_a_set_that_datasets_saved(tmp_path: Path) -> None:
    place = tmp_path / "mine"
    train = [table(2, i, f"train{i}-", label=[1, 2], report=["x"] * 2) for i in range(2)]
    saved_set(place / "train", train)
    saved_set(place / "validation", [table(3, 9, "val", label=[0, -1, None], report=["x"] * 3)])
    (place / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    found = read_vectors([place])
    assert found.columns["split"] == ["train"] * 4 + ["val"] * 3
    assert found.labels[1:6] == [
        ("tuberculosis",),
        ("pneumonia",),
        ("tuberculosis",),
        ("normal",),
        (),
    ]
    assert found.ids[2] == "train1-0" and found.sources[2].startswith("mine/train/data-00001")
    assert "'report'" in said(found)
    alone = read_vectors([place / "train"])
    assert len(alone.ids) == 4 and alone.columns["split"] == ["train"] * 4


def test_a_saved_set_reaches_nothing_outside(tmp_path: Path) -> None:
    saved_set(tmp_path / "a", [table()], _data_files=[{"filename": "../b.arrow"}])
    with pytest.raises(BadArtefacts, match="names no data files"):
        read_vectors([tmp_path / "a"])
    saved_set(tmp_path / "c", [table()], _indices_data_files=[{"filename": "indices.arrow"}])
    with pytest.raises(BadArtefacts, match=r"flatten_indices\(\)"):
        read_vectors([tmp_path / "c"])
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "dataset_dict.json").write_text('{"splits": ["../a"]}')
    with pytest.raises(BadArtefacts, match="names no splits"):
        read_vectors([tmp_path / "d"])


def test_a_saved_set_without_one_of_its_files(tmp_path: Path) -> None:
    saved_set(tmp_path / "a", [table(2, i) for i in range(2)])
    (tmp_path / "a" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(BadArtefacts, match=r"state\.json.*data-00001-of-00002\.arrow.*copy"):
        read_vectors([tmp_path / "a"])


def clip_retrieval(folder: Path, parts: int = 2, rows: int = 3) -> Path:
    for name in ("img_emb", "text_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for part in range(parts):
        for name in ("img_emb", "text_emb"):
            vectors = unit(rows, part + 100 * (name == "text_emb")).astype(np.float16)
            np.save(folder / name / f"{name}_{part}.npy", vectors)
        paths = [f"/films/{part}/{i}.png" for i in range(rows)]
        about = pa.table({"image_path": paths, "caption": ["effusion", "mass", "effusion"]})
        pq.write_table(about, folder / "metadata" / f"metadata_{part}.parquet")
    return folder


def test_clip_retrieval(tmp_path: Path) -> None:
    place = clip_retrieval(tmp_path / "theirs", parts=11)
    found = read_vectors([place])
    assert found.ids[:4] == ["/films/0/0.png", "/films/0/1.png", "/films/0/2.png", "/films/1/0.png"]
    assert found.ids[-1] == "/films/10/2.png"
    np.testing.assert_allclose(found.embeddings[-3:], unit(3, 10), atol=1e-3)
    assert "text_emb is not read" in said(found) and "'caption'" in said(found)
    named = read_vectors([place], label_column=["caption"])
    assert named.labels[:2] == [("effusion",), ("mass",)]
    np.save(place / "img_emb" / "img_emb_3.npy", unit(2))
    with pytest.raises(BadArtefacts, match=r"img_emb_3.npy has 2 vectors, .*metadata_3.* has 3"):
        read_vectors([place])
    (place / "metadata" / "metadata_3.parquet").unlink()
    with pytest.raises(BadArtefacts, match="11 files in img_emb and 10 in metadata"):
        read_vectors([place])


@pytest.mark.parametrize("tables", [True, False])
def test_clip_retrieval_of_texts_alone(tmp_path: Path, tables: bool) -> None:
    place = clip_retrieval(tmp_path / "theirs")
    shutil.rmtree(place / "img_emb")
    if not tables:
        shutil.rmtree(place / "metadata")
    with pytest.raises(BadArtefacts, match=r"no img_emb.*text_emb.*captions.*enable_image"):
        read_vectors([place])


def test_a_folder_of_npy_is_read_file_by_file(tmp_path: Path) -> None:
    place = clip_retrieval(tmp_path / "theirs")
    with pytest.raises(BadArtefacts, match=r"img_emb holds npy files.*cxr import .*img_emb_0\.npy"):
        read_vectors([place / "img_emb"])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path: Path, save: Any) -> None:
    names = np.array(NAMES)
    ids = np.array([f"film{i}" for i in range(6)])
    path = tmp_path / "val_vectors.npz"
    save(path, embeddings=unit(6), ids=ids, labels=np.arange(6) % 3, label_names=names, loss=1.0)
    found = read_vectors([path])
    assert found.ids == ids.tolist()
    assert found.labels[:3] == [(name,) for name in NAMES]
    assert found.columns["split"] == ["val"] * 6
    assert "'loss'" in said(found)
    np.testing.assert_array_equal(found.embeddings, unit(6))
    hot = np.eye(6, 3, dtype=np.uint8)
    save(path, features=unit(6).astype(">f8"), ids=ids.astype("S"), labels=hot, classes=names)
    found = read_vectors([path])
    assert found.ids[5] == "film5" and found.labels == [*((n,) for n in NAMES), (), (), ()]


def test_npz_with_the_vectors_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    np.savez(path, train=unit(4), test=unit(3, 1), test_labels=np.arange(3))
    with pytest.raises(BadArtefacts, match=r"train \(4, 8\), test \(3, 8\).*--vector-column"):
        read_vectors([path])
    found = read_vectors([path], vector_column="test")
    np.testing.assert_array_equal(found.embeddings, unit(3, 1))
    assert "'train'" in said(found)
    np.savez(path, embeddings=unit(4), projected=unit(4, 1), features=unit(4, 2))
    for name, seed in (("embeddings", 0), ("projected", 1), ("features", 2)):
        found = read_vectors([path], vector_column=name)
        np.testing.assert_array_equal(found.embeddings, unit(4, seed))
    with pytest.raises(BadArtefacts, match=r"no array 'pooled'.*it has: embeddings \(4, 8\)"):
        read_vectors([path], vector_column="pooled")


class Touch:
    """Unpickling one of these would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"embeddings": unit(3), "ids": np.array(["a", "b"])}, r"'ids' has shape \(2,\) for 3"),
        ({"embeddings": unit(3), "labels": np.zeros(4)}, r"'labels' has shape \(4,\) for 3"),
        ({"x": unit(3), "y": unit(3)}, "has no array 'embeddings'"),
        ({"embeddings": np.zeros((3, 2), np.int64)}, "expected lists of floats"),
        ({"embeddings": np.zeros((0, 2), np.float32)}, "expected|rows"),
        ({"embeddings": np.zeros(3)}, "has no array 'embeddings' of shape"),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(BadArtefacts, match=message):
        read_vectors([tmp_path / "t.npz"])


def test_npz_is_never_unpickled(tmp_path: Path) -> None:
    objects = np.array([Touch(tmp_path / "gotcha")] * 3)
    for name in ("embeddings", "ids", "labels"):
        np.savez(tmp_path / "t.npz", **{"embeddings": unit(3), name: objects})
        with pytest.raises(BadArtefacts, match=r"Python objects|has no array"):
            read_vectors([tmp_path / "t.npz"])
    np.savez(tmp_path / "t.npz", embeddings=unit(3), other=objects)
    assert "'other'" in said(read_vectors([tmp_path / "t.npz"]))
    assert not (tmp_path / "gotcha").exists()


def test_npy_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "films.npy", unit(3))
    assert read_vectors([tmp_path / "films.npy"]).ids == ["films/0", "films/1", "films/2"]


def test_npy_that_holds_no_vectors(tmp_path: Path) -> None:
    for values, message in (
        (unit(4).ravel(), r"float32 of shape \(32,\), expected float32 \(n, d\)"),
        (np.array([1, None], object), "never unpickled; save .*float32"),
    ):
        np.save(tmp_path / "t.npy", values)
        with pytest.raises(BadArtefacts, match=message):
            read_vectors([tmp_path / "t.npy"])


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(BadArtefacts, match=r"embeddings\.npy"):
        read_vectors([tmp_path])
    with pytest.raises(BadArtefacts, match="is not a file"):
        read_vectors([tmp_path / "none"])


# -- parts saved apart -----------------------------------------------------------------------------


def parts(tmp_path: Path, kind: str) -> list[Path]:
    found = []
    for seed, name in enumerate(("train", "test")):
        if kind == "folders":
            found.append(export(tmp_path / "two" / name, 4, seed))
            continue
        (tmp_path / "two").mkdir(exist_ok=True)
        found.append(tmp_path / "two" / f"{name}.{kind}")
        content = table(4, seed, name, label=["a", "b"] * 2)
        if kind == "parquet":
            pq.write_table(content, found[-1])
        else:
            np.savez(found[-1], embeddings=unit(4, seed), ids=np.array(content["id"].to_pylist()))
    return found


@pytest.mark.parametrize("kind", ["folders", "parquet", "npz"])
def test_train_and_test_saved_apart(tmp_path: Path, kind: str) -> None:
    train, test = parts(tmp_path, kind)
    found = read_vectors([train, test])
    assert sorted(found.columns["split"]) == ["test"] * 4 + ["train"] * 4
    gallery, report = store_artefacts(found, tmp_path / "store")
    assert report.inserted == 8 and gallery.stamp.name == "external:two"
    assert gallery.row("train2").split == "train"
    for places in ([test, train], [tmp_path / "two"]):  # the same vectors, so the same gallery
        assert store_artefacts(read_vectors(places), tmp_path / "store")[1].inserted == 0


@pytest.mark.parametrize("kind", ["folders", "parquet", "npz"])
def test_parts_at_different_times(tmp_path: Path, kind: str) -> None:
    train, test = parts(tmp_path, kind)
    store_artefacts(read_vectors([train]), tmp_path / "alone")
    with pytest.raises(EncoderMismatch, match=r"cxr import A B .*--encoder-name NAME") as refused:
        store_artefacts(read_vectors([test]), tmp_path / "alone")
    assert "--encoder " not in str(refused.value)  # which import does not take
    for one in (train, test):
        gallery, _ = store_artefacts(read_vectors([one], encoder_name="mine"), tmp_path / "store")
    gallery.refresh()
    assert len(gallery) == 8 and gallery.stamp.name == "external:mine"
    assert Gallery.open(tmp_path / "store").facets()["split"] == {"test": 4, "train": 4}


def test_the_name_of_a_gallery_by_word_is_in_the_remedy(tmp_path: Path) -> None:
    train, test = parts(tmp_path, "npz")
    store_artefacts(read_vectors([train], encoder_name="my resnet"), tmp_path / "store")
    with pytest.raises(EncoderMismatch, match="--encoder-name 'my resnet'"):
        store_artefacts(read_vectors([test]), tmp_path / "store")


def test_what_says_its_split_is_believed(tmp_path: Path) -> None:
    pq.write_table(table(split=["val", "test", None, "test"]), tmp_path / "train.parquet")
    assert read_vectors([tmp_path / "train.parquet"]).columns["split"][0] == "val"
    pq.write_table(table(), tmp_path / "train_and_test.parquet")
    assert "split" not in read_vectors([tmp_path / "train_and_test.parquet"]).columns
    pq.write_table(table(), tmp_path / "pretrained.parquet")
    assert "split" not in read_vectors([tmp_path / "pretrained.parquet"]).columns


def test_parts_that_cannot_be_one(tmp_path: Path) -> None:
    train = export(tmp_path / "train")
    test = export(tmp_path / "test")
    (test / "meta.json").write_text(json.dumps({"encoder": "mine", "fingerprint": "ab" * 32}))
    with pytest.raises(BadArtefacts, match=r"of encoder external:train .*of mine "):
        read_vectors([train, test])
    with pytest.raises(UsageError, match=r"--encoder-name x: .* says that encoder mine"):
        read_vectors([test], encoder_name="x")
    with pytest.raises(BadArtefacts, match="the id 'train0', 2 times"):
        read_vectors([train, train])
    with pytest.raises(UsageError, match="--label-names is for a Parquet"):
        read_vectors([train], label_names=["a,b"])


# -- what people brought ---------------------------------------------------------------------------


@pytest.mark.skipif(not CASES.is_dir(), reason="no cases beside the checkout")
@pytest.mark.parametrize("name", sorted(p.name for p in CASES.glob("*")) or ["none"])
def test_cases(tmp_path: Path, name: str) -> None:
    found = read_vectors([CASES / name])
    gallery, report = store_artefacts(found, tmp_path / "store")
    assert report.inserted == (600 if name == "leak.parquet" else 120)
    if name == "two-parts":
        assert gallery.facets()["split"] == {"test": 40, "train": 80}
    if name == "with_image.parquet":
        assert set(gallery.facets()["labels"]) == {"NORMAL", "PNEUMONIA", "TB"}
