"""The next run of a source keeps what people decided: corrections, and films that stay out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ingest import IngestReport, ingest, open_source
from store import Correction, Gallery, Where
from tests.ingest.fakes import FakeEncoder, picture, record, source

COUNT = 6


def run(gallery: Gallery, labels: str = "normal", **changed: object) -> IngestReport:
    items = [record(number, labels=(labels,)) for number in range(COUNT)]
    return ingest(source(items), gallery, FakeEncoder(), batch_size=4, **changed)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    found = Gallery.create(tmp_path / "g", FakeEncoder().stamp)
    run(found, batch="first")
    return found


def labels_of(gallery: Gallery, ids: Iterable[str]) -> list[tuple[str, ...]]:
    rows = gallery.rows(ids)
    return [rows[id_].labels for id_ in ids]


def test_corrected_and_confirmed_labels_stay(gallery: Gallery) -> None:
    ids = [f"toy/test/{number}" for number in range(COUNT)]
    curation = gallery.curation("ann")
    done = curation.label(ids[:2], Correction.of(["mass"]))
    curation.confirm(ids[2:3])
    same = run(gallery)
    assert (same.updated, same.labels_kept) == (0, 2)
    other = run(gallery, "nodule")
    assert (other.updated, other.changed, other.labels_kept) == (3, {"labels": 3}, 3)
    assert labels_of(gallery, ids) == [("mass",)] * 2 + [("normal",)] + [("nodule",)] * 3
    assert other.kept_sentence == "labels of 3 films corrected here were kept"
    assert json.loads(json.dumps(other.as_dict()))["labels_kept"] == 3
    assert done.operation is not None
    curation.undo(done.operation.id)
    assert run(gallery, "nodule").labels_kept == 1
    assert labels_of(gallery, ids[:3]) == [("nodule",)] * 2 + [("normal",)]


def test_corrected_labels_stay_with_new_pixels(gallery: Gallery) -> None:
    gallery.curation("ann").label(["toy/test/0"], Correction.of(["mass"]))
    items = [record(0, seed=99, labels=("nodule",), age=40.0)]
    report = ingest(source(items), gallery, FakeEncoder())
    assert (report.updated, report.labels_kept) == (1, 1)
    row = gallery.rows(["toy/test/0"])["toy/test/0"]
    assert (row.labels, row.age) == (("mass",), 40.0)


def test_films_set_aside_stay_out(gallery: Gallery) -> None:
    curation = gallery.curation("ann")
    curation.exclude(["toy/test/0", "toy/test/1"])
    gone = curation.delete(["toy/test/2"])
    report = run(gallery)
    assert (report.inserted, report.unchanged, report.encoded) == (0, 3, 0)
    assert report.set_aside == {"excluded": 2, "deleted": 1}
    assert report.kept_sentence == "2 films excluded here stay out; 1 film deleted here stays out"
    assert sum(report.outcomes.values()) == 3
    assert gone.operation is not None
    curation.undo(gone.operation.id)
    assert run(gallery).set_aside == {"excluded": 2}


def test_the_same_bytes_under_another_name_stay_out(tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for number in range(3):
        pixels = np.kron(picture(number, 8), np.ones((8, 8), np.uint8))
        Image.fromarray(pixels).save(films / f"{number}.png")
    gallery = Gallery.create(tmp_path / "g", FakeEncoder().stamp)
    ingest(open_source("folder", films), gallery, FakeEncoder())
    first = next(id_ for id_ in gallery.ids() if id_.endswith("0.png"))
    gallery.curation("ann").delete([first])
    (films / "0.png").rename(films / "again.png")
    encoder = FakeEncoder()
    report = ingest(open_source("folder", films), gallery, encoder)
    assert (report.set_aside, report.inserted, encoder.encoded) == ({"deleted": 1}, 0, 0)
    (films / "copy.png").write_bytes((films / "1.png").read_bytes())
    assert ingest(open_source("folder", films), gallery, encoder).inserted == 1


@pytest.mark.parametrize("by", ["data set", "batch", "undo"])
def test_a_set_or_batch_that_is_deleted_whole_comes_again(by: str, gallery: Gallery) -> None:
    gallery.curation("ann").delete(["toy/test/2"])
    if by == "data set":
        gallery.delete(Where(dataset=("toy",)))
    elif by == "batch":
        gallery.delete(batch="first")
    else:
        assert gallery.undo("first").forgotten == 1
    report = run(gallery)
    assert (report.inserted, report.set_aside) == (COUNT, {})


def test_films_deleted_by_a_program_come_again(gallery: Gallery) -> None:
    gallery.delete(ids=["toy/test/1"])  # as pruning does
    assert run(gallery).inserted == 1
