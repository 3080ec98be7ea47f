from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from ingest.artefacts.folder import import_artefacts, read_artefacts
from store import (
    BadQuery,
    CxrError,
    EncoderMismatch,
    EncoderStamp,
    Gallery,
    Row,
    UsageError,
)
from tests.ui.drawn import STAMP, WordEncoder, films, gallery_of
from ui.report import swap as swapping
from ui.report.export import Exported, export, is_current

DATA = ("embeddings.npy", "labels.npy", "ids.txt", "faiss_index.bin", "meta.json")
REPORT = "task3 retrieval system.md"


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    return gallery_of(tmp_path_factory.mktemp("export") / "gallery")


@pytest.fixture(scope="module")
def exported(gallery: Gallery, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    """(folder, what was written there), made with the folders above it; only looked at."""
    folder = tmp_path_factory.mktemp("exported") / "new" / "out"
    reads: Any = WordEncoder(films("train", 24))
    return folder, export(gallery, folder, reads, command="cxr export")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def small(tmp_path: Path) -> Gallery:
    return gallery_of(tmp_path / "gallery", [*films("test", 6), *films("train", 6)])


def unlabelled(split: str, count: int) -> list[Row]:
    """Films that an export draws no figure of: drawing one takes as long as all the rest."""
    return [replace(row, labels=()) for row in films(split, count)]


def plain(tmp_path: Path) -> Gallery:
    return gallery_of(tmp_path / "gallery", [*unlabelled("test", 6), *unlabelled("train", 6)])


def test_layout_and_order(gallery: Gallery, exported: tuple[Path, Exported]) -> None:
    folder, written = exported
    assert set(contents(folder)) == set(written.files)
    assert {*DATA, REPORT} <= set(written.files)
    ids = (folder / "ids.txt").read_text("utf-8").splitlines()
    expected = [("train", 24), ("val", 3), ("test", 15)]  # and test/2 before test/10
    assert ids == [f"pneumoniamnist/{split}/{i}" for split, n in expected for i in range(n)]
    vectors = np.load(folder / "embeddings.npy", allow_pickle=False)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    assert np.array_equal(vectors, gallery.vectors(ids))
    labels = np.load(folder / "labels.npy", allow_pickle=False)
    assert labels.dtype == np.int64
    numbered = {"normal": 0, "pneumonia": 1}
    rows = gallery.rows(ids)
    assert labels.tolist() == [numbered[rows[id_].labels[0]] for id_ in ids]


def test_the_index_holds_the_embeddings_in_order(exported: tuple[Path, Exported]) -> None:
    folder, _ = exported
    vectors = np.load(folder / "embeddings.npy")
    index = faiss.read_index(str(folder / "faiss_index.bin"))
    assert isinstance(index, faiss.IndexFlatIP)
    assert np.array_equal(index.reconstruct_n(0, index.ntotal), vectors)
    scores, found = index.search(vectors[:5], 1)
    assert found[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert np.allclose(scores, 1, atol=1e-5)


def test_meta_says_what_the_numbers_mean(gallery: Gallery, exported: tuple[Path, Exported]) -> None:
    folder, written = exported
    meta = json.loads((folder / "meta.json").read_text("utf-8"))
    assert meta["encoder"] == STAMP.name
    assert meta["fingerprint"] == STAMP.fingerprint
    assert (meta["rows"], meta["dimension"]) == (42, 784)
    assert meta["table_version"] == gallery.table_version
    assert meta["label_names"] == ["normal", "pneumonia"]
    assert meta["files"] == list(written.files)
    first = written.evaluations[0]
    assert meta["protocol"] == first.protocol
    assert meta["precision"] == {str(k): value for k, value in first.precision.items()}
    assert list(meta["evaluations"]) == ["leave-one-out", "split"]
    assert str(folder) not in json.dumps(meta["evaluations"])
    for name, digest in meta["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_findings_and_own_columns_come_back(tmp_path: Path) -> None:
    extra = {"ward": 3, "score": 0.5, "urgent": False, "note": "a", "taken": date(2024, 5, 1)}
    rows = films("test", 4)
    rows[0] = replace(rows[0], uncertain=("edema",), absent=("mass", "nodule"), extra=extra)
    rows[1] = replace(rows[1], extra={"ward": 4})
    gallery = gallery_of(tmp_path / "store", rows)
    export(gallery, tmp_path / "out")
    meta = json.loads((tmp_path / "out" / "meta.json").read_bytes())
    assert meta["own_columns"]["taken"] == {
        "type": "date", "values": ["2024-05-01", None, None, None],
    }  # fmt: skip
    again, _ = import_artefacts(tmp_path / "out", tmp_path / "imported")
    again.refresh()
    assert again.columns() == gallery.columns()
    assert again.facets() == gallery.facets()
    before, after = (one.rows(gallery.ids()) for one in (gallery, again))
    for id_, row in before.items():
        for name in ("uncertain", "absent", "extra"):
            assert getattr(after[id_], name) == getattr(row, name)


def test_import_reads_it_back(
    gallery: Gallery, exported: tuple[Path, Exported], tmp_path: Path
) -> None:
    folder, _ = exported
    assert read_artefacts(folder).notes == ()
    again, report = import_artefacts(folder, tmp_path / "imported")
    again.refresh()
    assert report.inserted == len(gallery)
    assert again.stamp == gallery.stamp
    assert again.facets() == gallery.facets()
    before, after = (one.rows(gallery.ids()) for one in (gallery, again))
    for id_, row in before.items():
        for name in ("labels", "split", "dataset", "patient", "view", "sex", "age"):
            assert getattr(after[id_], name) == getattr(row, name)
    for protocol in ("leave-one-out", "split"):
        one, other = (g.evaluate(protocol) for g in (gallery, again))
        assert one.precision == other.precision
    export(again, tmp_path / "twice")
    for name in DATA[:-1]:
        assert (folder / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


def test_the_same_gallery_gives_the_same_bytes(
    gallery: Gallery, exported: tuple[Path, Exported], tmp_path: Path
) -> None:
    reads: Any = WordEncoder(films("train", 24))
    written = export(gallery, tmp_path / "again", reads, command="cxr export")
    assert sum("text_" in file for file in written.files) == 2  # of the encoder's own prompts
    assert contents(tmp_path / "again") == contents(exported[0])


def test_text_queries_are_drawn_when_the_encoder_reads(tmp_path: Path) -> None:
    gallery = small(tmp_path)
    reads: Any = WordEncoder(films("train", 24))
    blind: Any = WordEncoder(films("train", 24), supports_text=False)
    prompts = {"pneumonia": "Pneumonia", "normal?": "no such label", "normal!": None}
    written = export(gallery, tmp_path / "b", reads, prompts=prompts)
    assert sum("text_normal" in name for name in written.files) == 2
    text = (tmp_path / "b" / REPORT).read_text("utf-8")
    assert text.count("nobody said what is wanted") == 2
    assert not any("text_" in name for name in export(gallery, tmp_path / "c", blind).files)
    assert "understands images only" in (tmp_path / "c" / REPORT).read_text("utf-8")


@pytest.mark.parametrize(
    ("labels", "expected", "names"),
    [
        ([("b",), (), ("a",)], [1, -1, 0], ["a", "b"]),
        ([("b", "c"), (), ("a",)], [[0, 1, 1], [0, 0, 0], [1, 0, 0]], ["a", "b", "c"]),
        ([("10",), ("2",), ()], [1, 0, -1], ["2", "10"]),
        ([(), (), ()], [-1, -1, -1], []),
    ],
)
def test_labels_of_any_kind(
    labels: list[tuple[str, ...]], expected: Any, names: list[str], tmp_path: Path
) -> None:
    rows = [
        replace(row, labels=found, dataset="mine", split=None)
        for row, found in zip(films("test", 3), labels, strict=True)
    ]
    gallery = gallery_of(tmp_path / "gallery", rows)
    export(gallery, tmp_path / "out", k=(1,))
    found = np.load(tmp_path / "out" / "labels.npy", allow_pickle=False)
    assert found.dtype == np.int64
    assert found.tolist() == expected
    meta = json.loads((tmp_path / "out" / "meta.json").read_text("utf-8"))
    assert meta["label_names"] == names
    assert ("matrix" in meta["labels"]) == (found.ndim == 2)
    back = read_artefacts(tmp_path / "out")
    assert dict(zip(back.ids, back.labels, strict=True)) == {row.id: row.labels for row in rows}


def test_a_medmnist_set_keeps_its_own_numbers(tmp_path: Path) -> None:
    rows = [replace(row, labels=("pneumonia",)) for row in films("test", 3)]
    export(gallery_of(tmp_path / "gallery", rows), tmp_path / "out", k=(1,))
    assert np.load(tmp_path / "out" / "labels.npy").tolist() == [1, 1, 1]


def test_other_columns_travel(tmp_path: Path) -> None:
    rows = films("test", 4, patient="p1", view="PA", sex="F", age=61.0)
    rows[1] = replace(rows[1], patient=None, age=None)
    gallery = gallery_of(tmp_path / "gallery", rows)
    export(gallery, tmp_path / "out", k=(1,))
    again, _ = import_artefacts(tmp_path / "out", tmp_path / "imported")
    found = again.rows(again.ids())
    assert [found[row.id].age for row in rows] == [61.0, None, 61.0, 61.0]
    assert [found[row.id].patient for row in rows] == ["p1", None, "p1", "p1"]
    assert {row.view for row in found.values()} == {"PA"}


def test_an_earlier_export_is_replaced_and_strangers_stay(tmp_path: Path) -> None:
    out = tmp_path / "out"
    gallery = small(tmp_path)
    export(gallery, out, k=(1,))
    (out / "notes.txt").write_text("mine")
    (out / "retrieval_figures" / "mine.png").write_bytes(b"mine")
    outside = tmp_path / "precious.png"
    outside.write_bytes(b"mine")
    meta = json.loads((out / "meta.json").read_text("utf-8"))
    stale = "retrieval_figures/image_of_long_ago.png"
    (out / stale).write_bytes(b"stale")
    lies = ["../precious.png", "notes.txt", str(outside), "retrieval_figures/../notes.txt"]
    (out / "meta.json").write_text(json.dumps({**meta, "files": [*meta["files"], stale, *lies]}))
    gallery.upsert(films("val", 3))
    written = export(gallery, out, k=(1,))
    expected = {*written.files, "notes.txt", "retrieval_figures/mine.png"}
    assert set(contents(out)) == expected
    assert outside.read_bytes() == (out / "notes.txt").read_bytes() == b"mine"
    assert len(np.load(out / "embeddings.npy")) == 15


class Cut(BaseException):
    """Stands for Ctrl-C."""


def test_an_interrupt_while_preparing_changes_nothing(tmp_path: Path) -> None:
    gallery = plain(tmp_path)
    export(gallery, tmp_path / "out", k=(1,))
    before = contents(tmp_path / "out")
    gallery.upsert(unlabelled("val", 3))
    stages: list[str] = []
    export(gallery, tmp_path / "probe", k=(1,), progress=stages.append)
    assert len(stages) >= 4
    for last in stages:

        def stop(stage: str, last: str = last) -> None:
            if stage == last:
                raise Cut

        for folder in ("out", "fresh/out") if last in (stages[0], stages[-1]) else ("out",):
            with pytest.raises(Cut):
                export(gallery, tmp_path / folder, k=(1,), progress=stop)
        assert contents(tmp_path / "out") == before
        assert not (tmp_path / "fresh").exists()


def test_an_interrupt_while_moving_puts_the_old_export_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, out = plain(tmp_path), tmp_path / "out"
    export(gallery, out, k=(1,))
    before = contents(out)
    gallery.upsert(unlabelled("val", 3))
    monkeypatch.setattr(swapping, "move", cutting(swapping.move, len(before) + 2, after=True))
    with pytest.raises(Cut):
        export(gallery, out, k=(1,))
    assert contents(out) == before
    monkeypatch.undo()
    export(gallery, out, k=(1,))
    assert len(read_artefacts(out).ids) == 15


def cutting(move: Callable[..., None], at: int, *, after: bool) -> Callable[..., None]:
    count = 0

    def moving(source: Path, destination: Path, moves: Any) -> None:
        nonlocal count
        count += 1
        if count == at and not after:
            raise Cut
        move(source, destination, moves)
        if count == at:
            raise Cut

    return moving


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 7))
def test_an_interrupt_at_any_move_puts_the_old_set_back(
    at: int, after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    for name in ("first", "deep/old", "both", "stranger"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(f"old {name}")
    before = contents(out)
    new = ["first", "both", "deep/new"]

    def replace_set() -> None:
        with swapping.staging(out) as aside:
            for name in new:
                (aside / name).parent.mkdir(exist_ok=True)
                (aside / name).write_text(f"new {name}")
            swapping.swap(aside, out, new, ["deep/old", "never there"])

    with monkeypatch.context() as patched, pytest.raises(Cut):
        patched.setattr(swapping, "move", cutting(swapping.move, at, after=after))
        replace_set()
    assert contents(out) == before
    replace_set()
    expected = {name: f"new {name}".encode() for name in new}
    assert contents(out) == {**expected, "stranger": b"old stranger"}


def test_a_kill_in_the_middle_never_leaves_a_set_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on disk between any two moves is the old set, the new one, or refused."""
    gallery = plain(tmp_path)
    out = tmp_path / "out"
    export(gallery, out, k=(1,))
    gallery.upsert(unlabelled("val", 3))
    move = swapping.move
    seen: list[int | None] = []

    def watching(source: Path, destination: Path, moves: Any) -> None:
        move(source, destination, moves)
        try:
            seen.append(len(read_artefacts(out).ids))
        except CxrError:
            seen.append(None)

    monkeypatch.setattr(swapping, "move", watching)
    export(gallery, out, k=(1,))
    assert seen[-1] == 15
    assert set(seen[:-1]) == {None}


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    gallery = plain(tmp_path)
    out = tmp_path / "out"
    out.write_text("precious")
    with pytest.raises(UsageError, match=r"out is a file; expected a folder"):
        export(gallery, out)
    with pytest.raises(UsageError, match=r"cannot write to .*out/deeper"):
        export(gallery, out / "deeper")
    assert out.read_text() == "precious"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "retrieval_figures").write_text("precious")
    illustrated = gallery_of(tmp_path / "illustrated", films("test", 3))
    with pytest.raises(UsageError, match="retrieval_figures is a file; move it away"):
        export(illustrated, folder, k=(1,))
    assert contents(folder) == {"retrieval_figures": b"precious"}
    (folder / "retrieval_figures").unlink()
    (folder / "meta.json").mkdir()
    with pytest.raises(UsageError, match=r"meta\.json is a folder; move it away"):
        export(gallery, folder)
    assert (folder / "meta.json").is_dir()


def test_refusals(gallery: Gallery, tmp_path: Path) -> None:
    empty = Gallery.create(tmp_path / "empty", STAMP)
    with pytest.raises(BadQuery, match="is empty; there is nothing to export"):
        export(empty, tmp_path / "out")
    with pytest.raises(BadQuery, match=r"k = \[0, 5\]: expected depths of at least 1"):
        export(gallery, tmp_path / "out", k=(0, 5))
    stranger: Any = WordEncoder(films("train", 24))
    stranger.stamp = EncoderStamp("drawn", "cd" * 32, 784)
    with pytest.raises(EncoderMismatch, match=r"abababababab.*cdcdcdcdcdcd"):
        export(gallery, tmp_path / "out", stranger)
    rows = films("test", 3)
    rows[1] = replace(rows[1], id="two\nlines")
    with pytest.raises(CxrError, match=r"'two\\nlines' cannot be written to ids\.txt"):
        export(gallery_of(tmp_path / "lines", rows), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_given_evaluations_are_shown_if_they_are_of_this_version(tmp_path: Path) -> None:
    gallery = small(tmp_path)
    found = [gallery.evaluate("split", (1, 2))]
    written = export(gallery, tmp_path / "out", evaluations=found)
    assert list(written.evaluations) == found
    assert "P@2" in (tmp_path / "out" / REPORT).read_text("utf-8")
    gallery.upsert(films("val", 3))
    with pytest.raises(CxrError, match="evaluate again"):
        export(gallery, tmp_path / "out", evaluations=found)


def test_a_gallery_in_which_chance_is_1_is_exported_without_figures_of_it(tmp_path: Path) -> None:
    rows = [replace(row, labels=("pneumonia",)) for row in films("test", 6)]
    written = export(gallery_of(tmp_path / "gallery", rows), tmp_path / "out", k=(1, 3))
    assert written.evaluations == ()
    said = " ".join((tmp_path / "out" / REPORT).read_text("utf-8").split())
    assert "Not measured: leave-one-out: all 6 labelled films share a label" in said
    meta = json.loads((tmp_path / "out" / "meta.json").read_text("utf-8"))
    assert (meta["evaluations"], meta["precision"], meta["rows"]) == ({}, {}, 6)
    again, _ = import_artefacts(tmp_path / "out", tmp_path / "imported")
    again.refresh()
    assert again.ids() == sorted(row.id for row in rows)


def test_rows_and_vectors_are_of_one_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process corrects a label whenever rows are about to be read."""
    gallery, writer = small(tmp_path), Gallery.open(tmp_path / "gallery")
    read = Gallery.rows
    late = replace(films("test", 1)[0], labels=("pneumonia",))
    written = []

    def interrupted(self: Gallery, ids: Any) -> Any:
        written.append(writer.upsert([replace(late, labels=("pneumonia", f"late {len(written)}"))]))
        return read(self, ids)

    monkeypatch.setattr(Gallery, "rows", interrupted)
    export(gallery, tmp_path / "out", k=(1,))
    meta = json.loads((tmp_path / "out" / "meta.json").read_text("utf-8"))
    assert written
    assert not [name for name in meta["label_names"] if name.startswith("late")]
    assert meta["table_version"] == gallery.table_version
    assert meta["table_version"] < Gallery.open(tmp_path / "gallery").table_version


@pytest.mark.slow
def test_is_current_tells_whether_to_export_again(tmp_path: Path) -> None:
    gallery, out = small(tmp_path), tmp_path / "out"
    assert not is_current(gallery, out, k=(1, 3))
    export(gallery, out, k=(1, 3))
    assert is_current(gallery, out, k=(1, 3))
    assert is_current(gallery, out, k=(3, 1, 1))
    assert not is_current(gallery, out, k=(1, 5))
    speaking = WordEncoder(films("test", 6))
    assert not is_current(gallery, out, speaking, k=(1, 3))  # its text queries are missing
    export(gallery, out, speaking, k=(1, 3))
    assert is_current(gallery, out, speaking, k=(1, 3))
    assert not is_current(gallery, out, k=(1, 3))
    export(gallery, out, k=(1, 3))
    figure = out / "retrieval_figures" / "precision_at_k.png"
    figure.rename(out / "away.png")
    assert not is_current(gallery, out, k=(1, 3))
    (out / "away.png").rename(figure)
    assert is_current(gallery, out, k=(1, 3))
    ids = (out / "ids.txt").read_bytes()
    (out / "ids.txt").write_bytes(ids.replace(b"test/1", b"test/7"))
    assert not is_current(gallery, out, k=(1, 3))
    (out / "ids.txt").write_bytes(ids)
    gallery.upsert(films("val", 2))
    assert not is_current(gallery, out, k=(1, 3))
    export(gallery, out, k=(1, 3))
    (out / "meta.json").write_text('{"files": 3, "sha256"')
    assert not is_current(gallery, out, k=(1, 3))
