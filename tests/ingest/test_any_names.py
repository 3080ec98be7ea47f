"""Names that are hard on quotes, on their way through a folder, a table and artefacts."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from ingest import ingest, open_source
from ingest.artefacts.folder import import_artefacts
from store import Gallery, Where
from tests.ingest.fakes import FakeEncoder
from tests.ingest.films import png, write

NAMES = [
    *("left 2''.png", "film'.png", "film''.png", "'.png", "a\\b.png", "a\\'b.png", 'a"b.png'),
    *("100%.png", "%41.png", "_x.png", "xx.png", "-- .png", "' OR '1'='1.png", "é.png"),
    *("e\u0301.png", "\u202egnp.png", "\u05d0.png", "trail .png", "trail.png", "Film.png"),
    *("film.png", "x" * 200 + ".png", "[a-z]*.png", "#?&=.png", "\U0001fa7b.png", "NULL.png"),
]
LABELS = ["2'' nodule", "2' nodule", "a\\b", "100%", "\u202ex", "it's", 'say "x"', "é", "e\u0301"]


def ids_of(gallery: Gallery) -> dict[str, tuple[str, ...]]:
    gallery.refresh()
    return {id_: row.labels for id_, row in gallery.rows(gallery.ids()).items()}


@pytest.fixture
def films(tmp_path: Path) -> Path:
    root = tmp_path / "it's ''here''"
    for number, name in enumerate(NAMES):
        write(root, name, png(number, 16))
    return root


def test_a_folder(films: Path, tmp_path: Path) -> None:
    encoder = FakeEncoder()
    gallery = Gallery.create(tmp_path / "store", encoder.stamp)
    first = ingest(open_source("folder", films), gallery, encoder, batch="it's ''one''")
    assert (first.inserted, first.rejected) == (len(NAMES), [])
    assert len(ids_of(gallery)) == len(NAMES)
    for number, name in enumerate(NAMES):  # every film is another, under its name
        write(films, name, png(1000 + number, 16))
    again = ingest(open_source("folder", films), gallery, encoder, batch="it's ''two''")
    assert (again.inserted, again.updated) == (0, len(NAMES))
    assert gallery.check() == []
    assert gallery.undo("it's ''two''").restored == len(NAMES)

    (films / NAMES[0]).unlink()
    left = ingest(open_source("folder", films), gallery, encoder, prune="delete")
    assert left.pruned == 1
    found = ids_of(gallery)
    assert len(found) == len(NAMES) - 1 and not any("left 2''" in id_ for id_ in found)
    for id_ in list(found):
        assert gallery.delete(ids=[id_]) == 1
        del found[id_]
        assert ids_of(gallery) == found


def test_a_table_and_artefacts(films: Path, tmp_path: Path) -> None:
    encoder = FakeEncoder()
    table = tmp_path / "labels.csv"
    (films / "e\u0301.png").unlink()  # a table's name for it is that of another, too: refused
    there = [name for name in NAMES if name != "e\u0301.png"]
    wanted = {name: LABELS[number % len(LABELS)] for number, name in enumerate(there)}
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label"), *wanted.items()])
    gallery = Gallery.create(tmp_path / "store", encoder.stamp)
    source = open_source("folder", films, labels=table)
    report = ingest(source, gallery, encoder)
    assert report.inserted == len(there)
    found = ids_of(gallery)
    told = {label for labels in found.values() for label in labels}
    assert told >= {"2'' nodule", "2' nodule", "a\\b", "100%", "it's", 'say "x"'}
    for label in told:
        mine = sorted(id_ for id_, labels in found.items() if labels == (label,))
        assert mine and gallery.ids(Where(label=(label,))) == mine
    assert sum(gallery.facets()["labels"].values()) == len(there)

    out = tmp_path / "out"
    out.mkdir()
    np.save(out / "embeddings.npy", gallery.vectors(list(found)))
    (out / "ids.txt").write_text("".join(f"{id_}\n" for id_ in found), "utf-8")
    names = sorted(told)
    classes = [names.index(labels[0]) for labels in found.values()]
    np.save(out / "labels.npy", np.asarray(classes, np.int64))
    (out / "meta.json").write_text(json.dumps({"label_names": names}), "utf-8")
    other, report = import_artefacts(out, tmp_path / "other")
    assert report.inserted == len(there)
    assert ids_of(other) == found
    assert other.check() == []


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    root = tmp_path / "films"
    for number, name in enumerate(["ok.png", "a\nb.png", "tab\t.png", os.fsdecode(b"\xff.png")]):
        write(root, name, png(number, 16))
    gallery = Gallery.create(tmp_path / "store", encoder.stamp)
    report = ingest(open_source("folder", root), gallery, encoder)
    assert report.inserted + len(report.rejected) == 4
    assert len(ids_of(gallery)) == report.inserted >= 3
    for one in [*ids_of(gallery), *(refused.detail for refused in report.rejected)]:
        one.encode()
    assert ingest(open_source("folder", root), gallery, encoder).unchanged == report.inserted
