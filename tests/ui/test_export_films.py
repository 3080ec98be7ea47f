"""`cxr export --films`: what `datasets` loads, and what comes back by `cxr ingest hf`."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ingest import ingest, open_source
from store import BadQuery, Gallery, UnknownId, UsageError, Where
from tests.ingest.fakes import FakeEncoder, record, source
from tests.ingest.films import chest, film
from tests.ingest.hub_sets import png
from tests.ui.running import invoked
from ui.dataset import parquet
from ui.dataset.export import export_films

FORMS = ("hf", "csv")


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`datasets.load_dataset` of a folder, without a network or a home."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    return lambda folder: datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))


def gallery_of(tmp_path: Path, *rows: dict[str, Any]) -> Gallery:
    encoder = FakeEncoder()
    gallery = Gallery.create(tmp_path / "gallery", encoder.stamp)
    gallery.make_room({"ward": "int", "taken": "date", "note": "string"})
    records = [record(number, **row) for number, row in enumerate(rows)]
    ingest(source(records), gallery, encoder)
    gallery.refresh()
    return gallery


#: One finding each; several, none, and nobody looked; splits of one's own, and none.
SINGLE = (
    {"split": "train", "labels": ("normal",), "patient": "p1", "age": 61.5, "sex": "F"},
    {"split": "train", "labels": ("pneumonia",), "view": "PA", "extra": {"ward": 3}},
    {"split": "val", "labels": ("normal",), "extra": {"taken": date(2024, 5, 1)}},
    {"split": "test", "labels": (), "study": "s1"},
)
MIXED = (
    {"split": "train", "labels": ("edema", "mass"), "uncertain": ("nodule",)},
    {"split": "fold 1", "labels": (), "labelled": True, "absent": ("edema",)},
    {"split": None, "labels": (), "uncertain": ("mass",)},
    {"split": "val", "labels": (), "extra": {"note": '=1+1, "x" | y'}},
    {"split": "train", "labels": ("edema",)},
)
#: As flags, each of these lists would be the second finding alone.
BOTH = tuple({"split": "train", "labels": ("a", "b")} for _ in range(3))


def held(gallery: Gallery) -> dict[str, tuple[Any, ...]]:
    rows = gallery.rows(gallery.ids()).values()
    return {
        row.id: (
            *(sorted(row.labels), row.uncertain, row.absent, row.outcome, row.split, row.dataset),
            *(row.patient, row.study, row.view, row.sex, row.age),
            {name: value for name, value in row.extra.items() if value is not None},
        )
        for row in rows
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [SINGLE, MIXED, BOTH], ids=["single", "mixed", "both"])
def test_there_and_back(tmp_path, form, rows):
    gallery = gallery_of(tmp_path, *rows)
    done = export_films(gallery, tmp_path / "out", form)
    assert (done.films, done.left_out, done.converted) == (len(rows), (), 0)
    encoder = FakeEncoder()
    back = Gallery.create(tmp_path / "back", encoder.stamp)
    own = [name for name in gallery.columns() if any(name in row.get("extra", {}) for row in rows)]
    options = {"columns": own} if form == "csv" and own else {}
    report = ingest(open_source("hf", tmp_path / "out", **options), back, encoder)
    assert not report.rejected
    back.refresh()
    assert held(back) == held(gallery)


def test_what_datasets_loads(tmp_path, loaded):
    gallery = gallery_of(tmp_path, *SINGLE)
    export_films(gallery, tmp_path / "out", "hf")
    found = loaded(tmp_path / "out")
    assert {name: len(part) for name, part in found.items()} == {
        "train": 2,
        "validation": 1,
        "test": 1,
    }
    assert found["train"].features["label"].names == ["normal", "pneumonia"]
    first = found["train"][0]
    assert (first["id"], first["label"], first["age"]) == ("toy/test/0", 0, 61.5)
    assert found["test"][0]["label"] is None
    pixels = np.asarray(Image.open(io.BytesIO(gallery.thumbnails(["toy/test/0"])["toy/test/0"])))
    assert np.array_equal(np.asarray(first["image"]), pixels)
    (tmp_path / "gallery").rename(tmp_path / "elsewhere")  # the pictures are in the shards
    assert np.array_equal(np.asarray(loaded(tmp_path / "out")["train"][0]["image"]), pixels)


def test_what_datasets_loads_of_lists(tmp_path, loaded):
    gallery = gallery_of(tmp_path, *MIXED)
    export_films(gallery, tmp_path / "out", "hf")
    found = loaded(tmp_path / "out")
    assert {name: len(part) for name, part in found.items()} == {
        **{"train": 2, "validation": 1, "fold_1": 1, "films": 1}
    }
    train = found["train"]
    assert train.features["labels"].feature.names == ["edema", "mass"]
    assert train["labels"][:] == [[0, 1], [0]]
    assert train["uncertain"][:] == [["nodule"], []]
    assert [found[name]["labels"][0] for name in ("fold_1", "validation")] == [[], None]
    assert found["fold_1"]["split"][0] == "fold 1"


def test_an_image_folder_for_datasets(tmp_path, loaded):
    plain = ("split", "labels")
    gallery = gallery_of(tmp_path, *({name: row[name] for name in plain} for row in SINGLE[:3]))
    done = export_films(gallery, tmp_path / "out", "csv")
    found = loaded(tmp_path / "out")
    assert {name: part["label"][:] for name, part in found.items()} == {
        "train": ["normal", "pneumonia"],
        "validation": ["normal"],
    }
    assert found["train"]["id"][:] == ["toy/test/0", "toy/test/1"]
    assert found["train"][1]["image"].size == (6, 6)
    assert "train/000000-toy_test_0.png" in done.files
    assert done.files[0] == "README.md" and "train/metadata.csv" in done.files


def test_an_image_folder_whose_splits_have_other_blanks(tmp_path, loaded):
    gallery = gallery_of(tmp_path, *SINGLE)
    done = export_films(gallery, tmp_path / "out", "csv")
    found = loaded(tmp_path / "out")  # by metadata.csv, `datasets` would refuse it
    assert {name: part["label"][:] for name, part in found.items()} == {
        "train": ["normal", "pneumonia"],
        "validation": ["normal"],
        "test": [None],
    }
    assert found["train"]["ward"][:] == [None, 3]
    assert "films.csv" in done.files
    lines = list(csv.DictReader((tmp_path / "out" / "films.csv").open()))
    assert [line["file_name"].partition("/")[0] for line in lines] == [
        *("train", "train", "validation", "test")
    ]


def test_a_selection(tmp_path):
    gallery = gallery_of(tmp_path, *SINGLE)
    done = export_films(gallery, tmp_path / "a", where=Where(label=("normal",)))
    assert (done.splits, done.labels) == ({"train": 1, "validation": 1}, {"normal": 2})
    done = export_films(gallery, tmp_path / "b", ids=["toy/test/1", "toy/test/3"])
    assert done.splits == {"train": 1, "test": 1}
    with pytest.raises(UnknownId):
        export_films(gallery, tmp_path / "c", ids=["none"])
    with pytest.raises(BadQuery, match="no film"):
        export_films(gallery, tmp_path / "c", where=Where(label=("edema",)))
    assert not (tmp_path / "c").exists()


def test_nothing_is_written_over(tmp_path):
    gallery = gallery_of(tmp_path, *SINGLE)
    mine = tmp_path / "out" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        export_films(gallery, tmp_path / "out")
    assert [path.name for path in mine.parent.iterdir()] == ["mine.txt"]
    with pytest.raises(UsageError, match="hf or csv"):
        export_films(gallery, tmp_path / "new", "tar")
    with pytest.raises(UsageError, match="thumbnails or originals"):
        export_films(gallery, tmp_path / "new", pictures="both")


def test_large_splits_become_several_shards(tmp_path, monkeypatch, loaded):
    monkeypatch.setattr(parquet, "SHARD_BYTES", 400)
    monkeypatch.setattr(parquet, "GROUP_ROWS", 2)
    gallery = gallery_of(tmp_path, *({"split": "train", "labels": ("a",)} for _ in range(20)))
    done = export_films(gallery, tmp_path / "out")
    count = len(done.files) - 1
    assert count > 2
    assert done.files[1] == f"data/train-00000-of-{count:05d}.parquet"
    assert loaded(tmp_path / "out")["train"]["id"][:] == [f"toy/test/{n}" for n in range(20)]
    found = [one.id for one in open_source("hf", tmp_path / "out").records]
    assert found == [f"toy/test/{number}" for number in range(20)]


def test_reports_only_when_asked_for(tmp_path):
    gallery = gallery_of(tmp_path, {"split": "train", "report": "No effusion.", "labels": ("a",)})
    export_films(gallery, tmp_path / "a")
    export_films(gallery, tmp_path / "b", with_reports=True)
    read = [
        pq.read_table(tmp_path / name / "data" / "train-00000-of-00001.parquet") for name in "ab"
    ]
    assert "report" not in read[0].column_names
    assert read[1]["report"].to_pylist() == ["No effusion."]
    export_films(gallery, tmp_path / "c", "csv", with_reports=True)
    for name in ("b", "c"):
        (one,) = open_source("hf", tmp_path / name).records
        assert "report" not in one.metadata
        found = open_source("hf", tmp_path / name, report_column=["report"])
        (one,) = found.records
        assert one.metadata["report"] == "No effusion." and found.reports.films == 1


# -- originals -------------------------------------------------------------------------------------


@pytest.fixture
def with_files(tmp_path: Path) -> Gallery:
    """A gallery of files: a deep PNG, a DICOM film with a name, a shard, and one that changed."""
    folder = tmp_path / "films" / "train"
    folder.mkdir(parents=True)
    deep = chest(3, 300).astype(np.uint16) * 16
    Image.fromarray(deep).save(folder / "deep.png")
    values = chest(5, 300).astype(np.uint16) * 10 + 7
    told = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    (folder / "film.dcm").write_bytes(film(values, PatientName="Secretname", **told))
    (folder / "later.png").write_bytes(png(1, 300))
    encoder = FakeEncoder()
    gallery = Gallery.create(tmp_path / "gallery", encoder.stamp)
    ingest(open_source("folder", tmp_path / "films", unlabelled=True), gallery, encoder)
    (folder / "later.png").write_bytes(png(2, 300))
    gallery.refresh()
    return gallery


def test_originals_are_the_bytes_that_were_ingested(with_files, tmp_path):
    done = export_films(with_files, tmp_path / "out", pictures="originals")
    assert [(one.id, one.reason) for one in done.left_out] == [("films/train/later.png", "changed")]
    assert (done.films, done.converted) == (2, 1)
    (shard,) = (tmp_path / "out" / "data").iterdir()
    rows = {row["id"]: row["image"] for row in pq.read_table(shard).to_pylist()}
    deep = (tmp_path / "films" / "train" / "deep.png").read_bytes()
    assert rows["films/train/deep.png"]["bytes"] == deep
    # Of DICOM the pixels alone: from 0 on, bright is dense, nothing of the header.
    converted = rows["films/train/film.dcm"]["bytes"]
    assert b"Secretname" not in shard.read_bytes()
    stored = chest(5, 300).astype(int) * 10 + 7
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(converted))), stored.max() - stored)
    assert "such as names" in (tmp_path / "out" / "README.md").read_text()


def test_originals_of_shards_and_of_small_arrays(tmp_path):
    gallery = gallery_of(tmp_path, *SINGLE)
    first = export_films(gallery, tmp_path / "set", pictures="originals")
    assert (first.films, first.left_out) == (4, ())  # arrays of 6 x 6 are kept whole
    encoder = FakeEncoder()
    back = Gallery.create(tmp_path / "back", encoder.stamp)
    ingest(open_source("hf", tmp_path / "set"), back, encoder)
    back.refresh()
    again = export_films(back, tmp_path / "again", pictures="originals")
    assert (again.films, again.left_out) == (4, ())
    pictures = [
        [row["image"]["bytes"] for row in pq.read_table(path).to_pylist()]
        for folder in ("set", "again")
        for path in sorted((tmp_path / folder / "data").glob("train*"))
    ]
    assert pictures[0] == pictures[1]
    shard = next((tmp_path / "set" / "data").glob("train*"))
    shard.write_bytes(b"other")
    third = export_films(back, tmp_path / "third", pictures="originals")
    assert {one.reason for one in third.left_out} == {"unreadable"} and third.films == 2


def test_films_without_a_picture_are_left_out_and_named(tmp_path):
    gallery = gallery_of(tmp_path, {"split": "train", "labels": ("a",)})
    row = gallery.row("toy/test/0")
    assert row.width
    with pytest.raises(BadQuery, match="has a picture"):
        _vectors_only(tmp_path)


def _vectors_only(tmp_path: Path) -> None:
    from store import EncoderStamp, Row

    other = Gallery.create(tmp_path / "vectors", EncoderStamp("fake", "ab" * 32, 2))
    digest = hashlib.sha256(b"x").digest()
    other.upsert([Row(id="x", sha256=digest, embedding=np.array([1, 0], np.float32))])
    other.refresh()
    export_films(other, tmp_path / "out")


# -- the command line ------------------------------------------------------------------------------


def test_the_command(with_files, tmp_path):
    store = ["--store", with_files.uri]
    out = tmp_path / "out"
    where = ["--where", "dataset=films"]
    code, said, errors = invoked("export", "--films", "csv", out, *store, *where, "--json")
    assert code == 0, errors
    document = json.loads(said)
    assert document["films"] == 3 and document["splits"] == {"films": 3}
    lines = list(csv.DictReader((out / "films" / "metadata.csv").open()))
    assert [line["id"] for line in lines] == [
        *("films/train/deep.png", "films/train/film.dcm", "films/train/later.png")
    ]
    assert lines[0]["file_name"] == "000000-films_train_deep.png"
    two = tmp_path / "two"
    code, _, said = invoked("export", "--films", "hf", two, *store, "--pictures", "originals")
    assert code == 3 and "left out (changed)" in said
    code, _, said = invoked("export", tmp_path / "three", *store, "--tag", "x")
    assert code == 2 and "go with --films" in said
