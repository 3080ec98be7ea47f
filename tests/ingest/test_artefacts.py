"""Artefacts made by someone else: checked against each other, then searched like ours."""

from __future__ import annotations

import json
import os
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import ingest
from ingest.artefacts.files import read_flat_index
from ingest.artefacts.folder import import_artefacts, read_artefacts
from store import BadArtefacts, EncoderMismatch, EncoderStamp, Gallery, UsageError
from tests.ingest.fakes import FakeEncoder, record, source

N, D = 6, 5


def unit(n: int = N, d: int = D, seed: int = 0) -> npt.NDArray[np.float32]:
    values = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def write_index(path: Path, vectors: npt.NDArray[np.float32], kind: str = "IndexFlatIP") -> None:
    import faiss

    index = getattr(faiss, kind)(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete export of six rows."""
    place = tmp_path / "outputs"
    write(place)
    return place


def write(place: Path, vectors: npt.NDArray[np.float32] | None = None) -> None:
    vectors = unit() if vectors is None else vectors
    place.mkdir(exist_ok=True)
    np.save(place / "embeddings.npy", vectors)
    np.save(place / "labels.npy", np.arange(len(vectors), dtype=np.int64) % 2)
    write_index(place / "faiss_index.bin", vectors)
    ids = [f"toy/{'train' if i < 4 else 'test'}/{i}" for i in range(len(vectors))]
    (place / "ids.txt").write_text("".join(f"{id_}\n" for id_ in ids))
    meta = {
        "format": 1,
        "encoder": "cxr-clip-28",
        "fingerprint": "ab" * 32,
        "dimension": vectors.shape[1],
        "rows": len(vectors),
        "table_version": 3,
        "label_names": ["normal", "pneumonia"],
        "protocol": "leave-one-out",
    }
    (place / "meta.json").write_text(json.dumps(meta))


def edit_meta(folder: Path, **changes: Any) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    meta |= changes
    (folder / "meta.json").write_text(json.dumps(meta))


# -- what is read ----------------------------------------------------------------------------------


def test_a_complete_folder(folder: Path) -> None:
    found = read_artefacts(folder)
    np.testing.assert_array_equal(found.embeddings, unit())
    assert found.ids[:2] == ["toy/train/0", "toy/train/1"]
    assert found.labels == [("normal",), ("pneumonia",)] * 3
    assert found.columns == {"dataset": ["toy"] * 6, "split": ["train"] * 4 + ["test"] * 2}
    assert found.stamp == EncoderStamp("cxr-clip-28", "ab" * 32, D)
    assert found.meta["protocol"] == "leave-one-out"
    assert found.notes == ()


def test_imported_rows_are_searched_and_evaluated(folder: Path, tmp_path: Path) -> None:
    gallery, report = import_artefacts(folder, tmp_path / "store", batch="theirs")
    assert (report.inserted, report.updated, report.unchanged) == (6, 0, 0)
    hits = gallery.search_by_id("toy/train/2", k=5)
    scores = np.delete(unit() @ unit()[2], 2)
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)
    row = gallery.row("toy/test/5")
    assert (row.labels, row.split, row.dataset) == (("pneumonia",), "test", "toy")
    assert (row.width, row.height, row.batch) == (0, 0, "theirs")
    assert row.source == "outputs/embeddings.npy#5"
    assert gallery.thumbnails([row.id]) == {row.id: None}
    assert gallery.evaluate(split=None, k=(1, 3)).queries == 6


def test_importing_again_changes_nothing(folder: Path, tmp_path: Path) -> None:
    _, first = import_artefacts(folder, tmp_path / "store")
    gallery, again = import_artefacts(folder, tmp_path / "store")
    assert (again.inserted, again.updated, again.unchanged) == (0, 0, 6)
    assert again.table_version == first.table_version
    np.save(folder / "labels.npy", np.zeros(6, np.int64))
    _, corrected = import_artefacts(folder, tmp_path / "store")
    assert (corrected.inserted, corrected.updated, corrected.unchanged) == (0, 3, 3)
    gallery.refresh()
    assert gallery.facets()["labels"] == {"normal": 6}


def bare(folder: Path) -> None:
    for name in ("ids.txt", "meta.json", "faiss_index.bin"):
        (folder / name).unlink()


def test_two_files_are_enough(folder: Path, tmp_path: Path) -> None:
    bare(folder)
    found = read_artefacts(folder)
    assert found.ids == [f"outputs/{i}" for i in range(6)]
    assert found.labels[:2] == [("0",), ("1",)]
    assert found.columns == {}
    assert found.stamp.name == "external:outputs"
    assert found.stamp.fingerprint.startswith("external:")
    assert len(found.notes) == 2 and "encoder is unknown" in "".join(found.notes)
    _, first = import_artefacts(folder, tmp_path / "store")
    _, again = import_artefacts(folder, tmp_path / "store")
    assert (first.inserted, again.unchanged) == (6, 6)
    # Other vectors of unknown origin may be of another space: not into the same gallery.
    np.save(folder / "embeddings.npy", unit(seed=1))
    with pytest.raises(EncoderMismatch, match="external:outputs"):
        import_artefacts(folder, tmp_path / "store")


def test_a_folder_that_was_moved_is_still_the_same(folder: Path, tmp_path: Path) -> None:
    (folder / "meta.json").unlink()
    import_artefacts(folder, tmp_path / "store")
    folder.rename(tmp_path / "elsewhere")
    gallery, again = import_artefacts(tmp_path / "elsewhere", tmp_path / "store")
    assert again.inserted == 0
    assert len(gallery.search_by_id("toy/test/5", k=3)) == 3


def test_relative_folder_is_called_by_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare(folder)
    monkeypatch.chdir(folder)
    assert read_artefacts(".").ids[0] == "outputs/0"


def test_columns_of_meta_beat_ids(folder: Path) -> None:
    edit_meta(
        folder,
        columns={
            "split": ["val"] * 5 + [None],
            "sex": ["F"] * 6,
            "age": [30, 40.5, float("nan"), 1, 2, 3],
            "patient": None,
            "other": "ignored",
        },
    )
    columns = read_artefacts(folder).columns
    assert columns["split"] == ["val"] * 5 + [None]
    assert columns["dataset"] == ["toy"] * 6
    assert columns["age"] == [30.0, 40.5, None, 1.0, 2.0, 3.0]
    assert set(columns) == {"split", "dataset", "sex", "age"}


def test_several_labels_a_row_and_none(folder: Path) -> None:
    np.save(folder / "labels.npy", np.array([[1, 1], [0, 0], [0, 1], [1, 0], [0, 0], [1, 1]]))
    assert read_artefacts(folder).labels[:3] == [("normal", "pneumonia"), (), ("pneumonia",)]
    np.save(folder / "labels.npy", np.array([[-1], [0], [1], [0], [0], [1]]))
    assert read_artefacts(folder).labels[:3] == [(), ("normal",), ("pneumonia",)]


@pytest.mark.parametrize("kind", [np.float64, ">f4", np.float16])
def test_other_floats_are_converted_and_said(folder: Path, kind: Any, tmp_path: Path) -> None:
    (folder / "faiss_index.bin").unlink()
    np.save(folder / "embeddings.npy", np.asfortranarray(unit().astype(kind)))
    found = read_artefacts(folder)
    assert found.embeddings.dtype == np.float32
    np.testing.assert_allclose(found.embeddings, unit(), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(found.embeddings, axis=1), 1, atol=1e-5)
    assert any("converted to float32" in note for note in found.notes)
    assert import_artefacts(folder, tmp_path / "store")[1].inserted == 6


def test_lengths_are_normalised_only_when_asked(folder: Path) -> None:
    long = unit() * np.linspace(2, 9, N, dtype=np.float32)[:, None]
    np.save(folder / "embeddings.npy", long)
    (folder / "faiss_index.bin").unlink()
    with pytest.raises(BadArtefacts, match=r"lengths from 2 to 9, expected 1; .*--normalise"):
        read_artefacts(folder)
    for indexed in (long, unit()):  # before or after their maker normalised them
        write_index(folder / "faiss_index.bin", indexed)
        found = read_artefacts(folder, normalise=True)
        np.testing.assert_allclose(found.embeddings, unit(), atol=1e-6)
        assert any("scaled to 1" in note for note in found.notes)
    write_index(folder / "faiss_index.bin", unit(seed=3))
    with pytest.raises(BadArtefacts, match="disagrees"):
        read_artefacts(folder, normalise=True)


# -- what is refused -------------------------------------------------------------------------------


class Touch:
    """Unpickling one of these would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


def test_objects_are_never_unpickled(folder: Path, tmp_path: Path) -> None:
    for name in ("embeddings.npy", "labels.npy"):
        write(folder)
        np.save(folder / name, np.array([Touch(tmp_path / "gotcha")] * 6), allow_pickle=True)
        with pytest.raises(BadArtefacts, match=f"{name}.*Python objects"):
            read_artefacts(folder)
    assert not (tmp_path / "gotcha").exists()


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 8), }", "header says"),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -4), }",
            "embeddings.npy is trunc",
        ),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", "32 bytes.* says 24"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 3), }", "32 bytes.* says 36"),
        ("(" * 5000, "embeddings.npy is truncated or damaged"),
        (None, "embeddings.npy is truncated or damaged"),  # a header of 4 GiB
    ],
)
def test_sizes_are_compared_before_anything_is_allocated(
    folder: Path, header: str | None, says: str
) -> None:
    length = 0xFFFFFFFF if header is None else len(header)
    head = np.lib.format.magic(2, 0) + length.to_bytes(4, "little") + (header or "").encode()
    (folder / "embeddings.npy").write_bytes(head + bytes(32))
    tracemalloc.start()
    try:
        with pytest.raises(BadArtefacts, match=says):
            read_artefacts(folder)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (unit().ravel(), r"shape \(30,\), expected float32 \(n, d\)"),
        (np.zeros((0, D), np.float32), r"shape \(0, 5\)"),
        (unit().astype(np.int64), "is int64"),
        (unit().astype(np.complex64), "is complex64"),
        (np.where(np.eye(N, D) == 1, np.nan, unit()), "5 of 6 vectors hold NaN or infinity, first"),
        (np.full((N, D), 1e300), "6 of 6 vectors hold NaN or infinity"),
        (np.zeros((N, D), np.float32), "row 0 is all zeros"),
    ],
)
def test_bad_embeddings(folder: Path, vectors: npt.NDArray[Any], message: str) -> None:
    np.save(folder / "embeddings.npy", vectors)
    with pytest.raises(BadArtefacts, match=message):
        read_artefacts(folder)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(5, np.int64), r"labels.npy has 5 labels for 6 vectors"),
        (np.zeros(6), "is float64"),
        (np.array(["a"] * 6), "expected int64"),
        (np.full(6, 2), r"values from 2 to 2, expected -1 to 1 for the label names \['normal'"),
        (np.full(6, -2), "values from -2 to -2"),
        (np.zeros((6, 3), np.int64), "has 3 columns, but meta.json has 2 label_names"),
        (np.full((6, 2), 2), "values from 2 to 2, expected 0 to 1"),
        (np.zeros((6, 0), np.int64), r"shape \(6, 0\)"),
        (np.int64(3), r"shape \(\)"),
    ],
)
def test_bad_labels(folder: Path, labels: npt.NDArray[Any], message: str) -> None:
    np.save(folder / "labels.npy", labels)
    with pytest.raises(BadArtefacts, match=message):
        read_artefacts(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a\nb\n", "2 ids for 6 vectors"),
        (b"a\nb\nc\nd\ne\nf\n\n", "7 ids for 6 vectors"),
        (b"a\nb\nc\nd\ne\nb\n", "the id 'b' 2 times"),
        (b"a\nb\n\nd\ne\nf\n", "line 3 is empty"),
        (b"\xff\n" * 6, "UTF-8"),
    ],
)
def test_bad_ids(folder: Path, text: bytes, message: str) -> None:
    (folder / "ids.txt").write_bytes(text)
    with pytest.raises(BadArtefacts, match=message):
        read_artefacts(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 7}, r"says rows 7, but embeddings.npy has shape \(6, 5\)"),
        ({"dimension": 512}, r"says dimension 512, but embeddings.npy has shape \(6, 5\)"),
        ({"format": 2}, "is of format 2, this version reads format 1"),
        ({"label_names": "normal"}, "label_names must be a list of strings"),
        ({"label_names": ["\ud800", "b"]}, "label_names must be a list of strings"),
        ({"columns": {"split": ["test"]}}, "columns.split has 1 values for 6 vectors"),
        ({"columns": {"split": [1] * 6}}, "columns.split must be a list of strings or null"),
        ({"columns": {"age": ["x"] * 6}}, "columns.age must be a list of numbers or null"),
        ({"columns": {"age": [10**400] * 6}}, "columns.age must be"),
        ({"columns": {"age": [float("inf")] * 6}}, "cannot be read as JSON"),
        ({"columns": [1]}, "columns must be an object"),
        ({"columns": {"absent": ["a"] * 6}}, "columns.absent must be a list of lists of strings"),
        ({"own_columns": 3}, "own_columns must be an object"),
        ({"own_columns": {"Ward": {"type": "int", "values": []}}}, "own_columns.Ward must be an"),
        ({"own_columns": {"ward": {"type": "cat", "values": []}}}, "own_columns.ward must be an"),
        ({"own_columns": {"ward": {"type": "int", "values": [1]}}}, "1 values for 6 vectors"),
        ({"own_columns": {"ward": {"type": "int", "values": ["1"] * 6}}}, "values of type int"),
        ({"own_columns": {"ward": {"type": "int", "values": [True] * 6}}}, "values of type int"),
        ({"own_columns": {"w": {"type": "date", "values": ["1.5.24"] * 6}}}, "values of type date"),
    ],
)
def test_bad_meta(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit_meta(folder, **changes)
    with pytest.raises(BadArtefacts, match=message):
        read_artefacts(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '"x"', "{'a': 1}"])
def test_meta_that_is_no_object(folder: Path, text: str) -> None:
    (folder / "meta.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadArtefacts, match=r"meta\.json"):
        read_artefacts(folder)


@pytest.mark.parametrize("missing", ["encoder", "fingerprint"])
def test_half_a_stamp_is_no_stamp(folder: Path, missing: str) -> None:
    edit_meta(folder, **{missing: None})
    found = read_artefacts(folder)
    assert found.stamp.name == "external:outputs"
    assert "no encoder with a fingerprint in meta.json" in found.notes[0]


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadArtefacts, match="is not a folder"):
        read_artefacts(tmp_path / "none")
    for name in ("labels.npy", "embeddings.npy"):
        (folder / name).unlink()
        with pytest.raises(BadArtefacts, match=f"{name} is missing"):
            read_artefacts(folder)


def test_pictures_are_not_overwritten(folder: Path, tmp_path: Path) -> None:
    encoder = FakeEncoder()
    write(folder, unit(d=encoder.stamp.dimension))
    (folder / "ids.txt").write_text("".join(f"toy/test/{i}\n" for i in range(N)))
    edit_meta(folder, encoder="fake", fingerprint=encoder.stamp.fingerprint)
    gallery = Gallery.create(tmp_path / "store", encoder.stamp)
    ingest(source([record(2)]), gallery, encoder)
    with pytest.raises(UsageError, match="already holds 1 of these ids with their pictures"):
        import_artefacts(folder, tmp_path / "store")


# -- the index file --------------------------------------------------------------------------------


@settings(max_examples=20)
@given(n=st.integers(0, 7), d=st.integers(1, 9))
def test_index_is_read_as_faiss_wrote_it(n: int, d: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "index.bin"
        vectors = np.random.default_rng(n).standard_normal((n, d)).astype(np.float32)
        write_index(path, vectors)
        np.testing.assert_array_equal(read_flat_index(path), vectors)


def test_index_of_other_vectors(folder: Path) -> None:
    vectors = unit()
    vectors[3] = -vectors[3]
    write_index(folder / "faiss_index.bin", vectors)
    with pytest.raises(BadArtefacts, match="in 1 of 6 vectors, first row 3"):
        read_artefacts(folder)
    write_index(folder / "faiss_index.bin", unit()[:5])
    with pytest.raises(BadArtefacts, match=r"holds 5 vectors of dimension 5, but .* \(6, 5\)"):
        read_artefacts(folder)
    write_index(folder / "faiss_index.bin", unit(d=4))
    with pytest.raises(BadArtefacts, match="6 vectors of dimension 4"):
        read_artefacts(folder)
    write_index(folder / "faiss_index.bin", unit(), "IndexFlatL2")
    with pytest.raises(BadArtefacts, match="is IndexFlatL2, expected an IndexFlatIP"):
        read_artefacts(folder)


@settings(max_examples=150)
@given(drawn=st.data())
def test_a_damaged_index_is_noticed_or_harmless(drawn: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "outputs"
        write(folder)
        path = folder / "faiss_index.bin"
        data = bytearray(path.read_bytes())
        if drawn.draw(st.booleans()):
            del data[drawn.draw(st.integers(0, len(data) - 1)) :]
        else:
            data[drawn.draw(st.integers(0, 60))] ^= drawn.draw(st.integers(1, 255))
        path.write_bytes(data)
        try:
            found = read_artefacts(folder)
        except BadArtefacts as error:
            assert "faiss_index.bin" in str(error)
        else:
            np.testing.assert_array_equal(found.embeddings, unit())


@settings(max_examples=80)
@given(drawn=st.data())
def test_truncated_arrays_are_noticed(drawn: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "outputs"
        write(folder)
        path = folder / drawn.draw(st.sampled_from(["embeddings.npy", "labels.npy"]))
        data = path.read_bytes()
        cut = drawn.draw(st.integers(0, len(data) - 1))
        path.write_bytes(data[:cut])
        with pytest.raises(BadArtefacts, match="truncated or damaged"):
            read_artefacts(folder)
