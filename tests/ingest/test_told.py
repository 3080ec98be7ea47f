"""A run changes only what it was told about: of what a source is silent, that stays as stored."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest import ImageRecord, Source, ingest, open_source
from ingest.artefacts.folder import OWN, import_artefacts
from ingest.job.run import IngestReport
from store import Gallery, UsageError
from tests.ingest.fakes import FakeEncoder, contents, record, source, write_npz
from tests.ingest.films import film, png, write

TABLE = (
    "file,label,age,sex,view,patient,split,ward,seen\n"
    "0.png,normal,61,F,PA,p1,train,3,2026-01-02\n"
    "1.png,pneumonia,40.5,M,AP,p2,test,7,2026-01-03\n"
    "2.png,normal,0,F,PA,p3,train,3,2026-01-04\n"
)
KEPT = ("age,sex,view,patient,split", "ward,seen")


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "store", FakeEncoder().stamp)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(3):
        write(tmp_path / "films", f"{number}.png", png(number, 16))
    return tmp_path / "films"


def run(gallery: Gallery, *spec: Any, **options: Any) -> IngestReport:
    job = {name: options.pop(name) for name in ("clear", "batch", "stage") if name in options}
    report = ingest(open_source(*spec, **options), gallery, FakeEncoder(), **job)
    gallery.refresh()
    return report


def filled(gallery: Gallery, root: Path) -> dict[str, tuple[Any, ...]]:
    """A gallery with all that a table can tell; what it holds."""
    table = write(root.parent, "all.csv", TABLE)
    assert run(gallery, "folder", root, labels=table, columns=KEPT, batch="one").inserted == 3
    return told(gallery)


def told(gallery: Gallery) -> dict[str, tuple[Any, ...]]:
    return {
        id_.partition("/")[2]: (
            *(row.labels, row.uncertain, row.absent, row.age, row.sex, row.view, row.patient),
            *(row.split, dict(row.extra)),
        )
        for id_, row in sorted(gallery.rows(gallery.ids()).items())
    }


def relabelled(before: dict[str, tuple[Any, ...]], name: str, *labels: str) -> dict[str, Any]:
    return {**before, name: (labels, *before[name][1:])}


def test_a_corrected_label_changes_nothing_else(gallery: Gallery, root: Path) -> None:
    before = filled(gallery, root)
    assert before["2.png"][3] == 0.0  # an age, not a blank
    table = write(root.parent, "t.csv", TABLE.replace("0.png,normal", "0.png,effusion"))
    report = run(gallery, "folder", root, labels=table, batch="two")
    assert (report.updated, report.unchanged, report.encoded) == (1, 2, 0)
    assert report.changed == {"labels": 1} == report.as_dict()["changed"]
    assert told(gallery) == relabelled(before, "0.png", "effusion")
    assert gallery.undo("two").corrected == 1
    gallery.refresh()
    assert told(gallery) == before


def test_a_run_without_labels_keeps_them_and_writes_nothing(gallery: Gallery, root: Path) -> None:
    before = filled(gallery, root)
    version = gallery.table_version
    report = run(gallery, "folder", root)
    assert (report.updated, report.unchanged, report.changed) == (0, 3, {})
    assert told(gallery) == before and gallery.table_version == version


def test_a_changed_file_keeps_what_nobody_spoke_of(gallery: Gallery, root: Path) -> None:
    before = filled(gallery, root)
    write(root, "1.png", png(50, 16))
    report = run(gallery, "folder", root, batch="two")
    assert (report.updated, report.encoded, report.changed) == (1, 1, {"image": 1})
    assert told(gallery) == before
    vector = gallery.vectors(["films/1.png"])[0]
    assert gallery.undo("two").restored == 1
    gallery.refresh()
    assert told(gallery) == before
    assert not np.array_equal(gallery.vectors(["films/1.png"])[0], vector)


def test_labels_and_pixels_at_once(gallery: Gallery, root: Path) -> None:
    before = filled(gallery, root)
    write(root, "1.png", png(50, 16))
    table = write(root.parent, "t.csv", TABLE.replace("pneumonia", "mass"))
    report = run(gallery, "folder", root, labels=table, columns=["ward=ward"])
    assert report.changed == {"image": 1, "labels": 1}
    assert told(gallery) == relabelled(before, "1.png", "mass")


def test_a_blank_in_a_column_that_is_read_is_told(gallery: Gallery, root: Path) -> None:
    before = filled(gallery, root)
    text = TABLE.replace("pneumonia,40.5,M", ",,M").replace(",7,", ",,")
    table = write(root.parent, "t.csv", text)
    report = run(gallery, "folder", root, labels=table, columns=["age", "ward"])
    assert report.changed == {"labels": 1, "age": 1, "ward": 1}
    row = gallery.row("films/1.png")
    assert (row.labels, row.age, row.sex) == ((), None, "M")
    assert set(row.extra) == {"seen"}
    assert told(gallery)["0.png"] == before["0.png"]


def test_rows_of_one_film_fill_each_others_blanks(gallery: Gallery, root: Path) -> None:
    text = "file,label,age,ward\n0.png,edema,,\n0.png,mass,50,3\n0.png,edema,,\n"
    table = write(root.parent, "t.csv", text)
    run(gallery, "folder", root, labels=table, columns=["age,ward"], unlabelled=True)
    row = gallery.row("films/0.png")
    assert (set(row.labels), row.age, dict(row.extra)) == ({"edema", "mass"}, 50.0, {"ward": 3})


def test_films_without_a_row_are_not_spoken_of(gallery: Gallery, root: Path) -> None:
    before = filled(gallery, root)
    table = write(root.parent, "t.csv", "file,label\n2.png,mass\n")
    report = run(gallery, "folder", root, labels=table, unlabelled=True)
    assert report.changed == {"labels": 1}
    assert told(gallery) == relabelled(before, "2.png", "mass")


def test_findings_are_told_together(gallery: Gallery, root: Path) -> None:
    flags = write(root.parent, "f.csv", "file,edema,mass\n0.png,-1,0\n1.png,1,0\n2.png,,1\n")
    run(gallery, "folder", root, labels=flags)
    assert gallery.row("films/0.png").uncertain == ("edema",)
    names = write(root.parent, "n.csv", "file,label\n0.png,edema\n1.png,edema\n2.png,mass\n")
    run(gallery, "folder", root, labels=names)
    row = gallery.row("films/0.png")
    assert (row.labels, row.uncertain, row.absent) == (("edema",), (), ())


def test_folders_tell_a_split_only_where_they_are_named_so(gallery: Gallery, root: Path) -> None:
    for number in range(3):
        write(root, f"{'ab'[number % 2]}/{number}.png", (root / f"{number}.png").read_bytes())
        (root / f"{number}.png").unlink()
    text = "".join(
        line if not number else f"{'ab'[(number - 1) % 2]}/{line}"
        for number, line in enumerate(TABLE.splitlines(keepends=True))
    )
    run(gallery, "folder", root, labels=write(root.parent, "t.csv", text), columns=KEPT)
    report = run(gallery, "folder", root, label_from_folder=True)
    assert report.changed == {"labels": 3}
    assert gallery.row("films/a/0.png").split == "train"


def test_clearing_is_asked_for(gallery: Gallery, root: Path) -> None:
    before = filled(gallery, root)
    report = run(gallery, "folder", root, clear=["age", "Ward"], batch="two")
    assert (report.updated, report.changed) == (3, {"age": 3, "ward": 3})
    for name, row in told(gallery).items():
        extra = {"seen": before[name][-1]["seen"]}
        assert row == (*before[name][:3], None, *before[name][4:-1], extra)
    gallery.undo("two")
    gallery.refresh()
    assert told(gallery) == before
    run(gallery, "folder", root, clear=["labels"])
    assert {row[0] for row in told(gallery).values()} == {()}


def test_what_is_told_is_not_cleared(gallery: Gallery, root: Path) -> None:
    filled(gallery, root)
    table = write(root.parent, "t.csv", "file,label,age\n0.png,mass,30\n")
    options = {"labels": table, "columns": ["age"], "unlabelled": True, "clear": ["age", "labels"]}
    run(gallery, "folder", root, **options)
    assert [(row[0], row[3]) for row in told(gallery).values()] == [
        (("mass",), 30.0), ((), None), ((), None),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["colour", "id", "dataset", "source", "embedding", ""])
def test_what_cannot_be_cleared(gallery: Gallery, root: Path, name: str) -> None:
    before = filled(gallery, root)
    with pytest.raises(UsageError, match=r"--clear .*expected labels, split, .*ward"):
        run(gallery, "folder", root, clear=[name])
    assert told(gallery) == before


def test_headers_speak_when_the_film_is_new_or_changed(tmp_path: Path, gallery: Gallery) -> None:
    root = tmp_path / "d"
    values = np.arange(64, dtype=np.uint16).reshape(8, 8)
    write(root, "1", film(values, SOPInstanceUID="1.2", PatientAge="030Y", PatientSex="F"))
    run(gallery, "dicom", root)
    gallery.update_metadata([dataclasses.replace(gallery.row("1.2"), view="PA", age=31.0)])
    (root / "1").rename(root / "2")  # looked at again: the same bytes say nothing new
    assert run(gallery, "dicom", root).changed == {"source": 1}
    row = gallery.row("1.2")
    assert (row.age, row.view, row.sex) == (31.0, "PA", "F")
    assert run(gallery, "dicom", root, clear=["age"]).changed == {"age": 1}
    write(root, "2", film(values + 1, SOPInstanceUID="1.2", PatientAge="032Y", ViewPosition="AP"))
    assert run(gallery, "dicom", root, clear=["view"]).changed["image"] == 1
    row = gallery.row("1.2")
    assert (row.age, row.view, row.sex) == (32.0, None, None)


def test_medmnist_tells_labels_and_splits_alone(tmp_path: Path, gallery: Gallery) -> None:
    zero = np.zeros((3, 14), np.uint8)
    zero[0, 3] = 1
    write_npz(
        tmp_path / "chestmnist.npz", {"train": 3, "val": 1, "test": 1}, classes=14,
        multi_label=True, train_labels=zero,
    )  # fmt: skip
    options = {"root": tmp_path, "download": False}
    run(gallery, "medmnist:chestmnist", **options)
    row = gallery.row("chestmnist/train/0")
    added = dataclasses.replace(row, age=50.0, extra={"ward": 3})
    wrong = dataclasses.replace(gallery.row("chestmnist/train/1"), labels=("mass",))
    gallery.update_metadata([added, wrong])
    assert run(gallery, "medmnist:chestmnist", **options).changed["labels"] == 1
    assert gallery.row("chestmnist/train/1").labels == ()
    row = gallery.row("chestmnist/train/0")
    assert (row.age, dict(row.extra)) == (50.0, {"ward": 3})


def test_records_speak_of_what_is_not_blank(gallery: Gallery) -> None:
    ingest(source([record(0, age=3.0, view="PA")]), gallery, FakeEncoder())
    plain = record(0, labels=(), split=None)
    assert ingest(source([plain]), gallery, FakeEncoder()).unchanged == 1
    answers = Source("toy", 1, iter([plain]), tells=("labels", "view"))
    assert ingest(answers, gallery, FakeEncoder()).changed == {"labels": 1, "view": 1}
    gallery.refresh()
    row = gallery.row("toy/test/0")
    assert (row.labels, row.view, row.age, row.split) == ((), None, 3.0, "test")


def test_embeddings_keep_what_their_files_do_not_tell(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    folder.mkdir()
    vectors = np.eye(3, 4, dtype=np.float32)
    np.save(folder / "embeddings.npy", vectors)
    np.save(folder / "labels.npy", np.array([0, 0, -1]))
    write(folder, "ids.txt", "a\nb\nc\n")
    gallery, _ = import_artefacts(folder, tmp_path / "s")
    curated = [
        dataclasses.replace(row, labels=("mass",), age=3.0, extra={"ward": 3, "bed": "x"})
        for row in gallery.rows("abc").values()
    ]
    gallery.update_metadata(curated)
    assert import_artefacts(folder, tmp_path / "s")[1].changed == {"labels": 3}
    own = {"ward": {"type": "int", "values": [4, None, 3]}}
    meta = f'{{"columns": {{"age": [3, null, 3]}}, "{OWN}": {own!r}}}'
    write(folder, "meta.json", meta.replace("'", '"').replace("None", "null"))
    _, report = import_artefacts(folder, tmp_path / "s")
    assert (report.updated, report.changed) == (2, {"ward": 2, "age": 1})
    rows = Gallery.open(tmp_path / "s").rows("abc")
    assert [(rows[i].age, dict(rows[i].extra)) for i in "abc"] == [
        (3.0, {"ward": 4, "bed": "x"}), (None, {"bed": "x"}), (3.0, {"ward": 3, "bed": "x"}),
    ]  # fmt: skip
    assert [rows[i].labels for i in "abc"] == [("0",), ("0",), ()]


def test_another_writer_is_not_written_over(gallery: Gallery, root: Path) -> None:
    """What somebody corrects between a look and its commit stays, where this run is silent."""
    filled(gallery, root)
    write(root, "0.png", png(60, 16))

    class Slow(FakeEncoder):
        def encode_images(self, images: Any) -> Any:
            other = Gallery.open(gallery.uri)
            row = dataclasses.replace(other.row("films/0.png"), age=62.0)
            other.update_metadata([row])
            return super().encode_images(images)

    ingest(open_source("folder", root), gallery, Slow())
    gallery.refresh()
    assert gallery.row("films/0.png").age == 62.0


def test_a_silent_row_is_never_more_than_it_was(gallery: Gallery) -> None:
    """A row that is new says all; one that says nothing leaves its stored one alone."""
    one = record(0)
    ingest(source([one]), gallery, FakeEncoder())
    before = contents(gallery)
    silent = ImageRecord(one.id, one.pixels, one.sha256)
    assert ingest(source([silent]), gallery, FakeEncoder()).unchanged == 1
    assert contents(gallery) == before
