"""CSV files of hits and of an audit's lists carry all metadata, and no local paths unasked."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path

import pytest

from store import COLUMNS, Gallery
from tests.store.rows import STAMP, make_rows, random_vectors
from tests.ui.running import runner
from ui.dashboard.search.download import hits_csv

SOURCE = "/home/somebody/films/one.png"


@pytest.fixture
def cxr(monkeypatch, capsys):
    return runner(monkeypatch, capsys)


@pytest.fixture
def gallery(tmp_path):
    found = Gallery.create(tmp_path / "g", STAMP)
    vectors = random_vectors(12)
    vectors[1] = vectors[0]
    extra = {"ward": 3, "taken": date(2024, 5, 1)}
    labels = [("mass",) if at % 2 else ("normal",) for at in range(12)]
    more = {"sex": "F", "age": 40.0, "view": "PA", "source": SOURCE, "report": "No effusion."}
    found.upsert(make_rows(vectors, labels, thumbnail=None, extra=extra, **more))
    return found


def read(data: bytes | Path) -> list[dict[str, str]]:
    text = data.read_bytes() if isinstance(data, Path) else data
    return list(csv.DictReader(io.StringIO(text.decode("utf-8-sig"), newline="")))


def test_hits_carry_all_columns(cxr, gallery, tmp_path):
    file = tmp_path / "hits.csv"
    asked = ("search", "--id", "set/test/3", "-k", 4, "--store", gallery.uri, "--csv")
    assert cxr(*asked, file).code == 0
    lines = read(file)
    assert {*COLUMNS, "ward", "taken", "outcome", "cosine"} - {*lines[0]} == {"report"}
    assert [line["sex"] for line in lines] == ["F"] * 4
    assert lines[0]["taken"] == "2024-05-01" and lines[0]["source"] == "one.png"
    assert "/home" not in file.read_text() and "effusion" not in file.read_text()
    assert read(hits_csv(gallery.search_by_id("set/test/3", 4))) == lines
    assert cxr(*asked, file, "--paths", "--with-reports").code == 0
    assert read(file)[0]["source"] == SOURCE and read(file)[0]["report"] == "No effusion."
    assert cxr(*asked, tmp_path / "nowhere" / "hits.csv").code == 2


def test_an_audit_carries_all_columns(cxr, gallery, tmp_path):
    asked = ("audit", "--compare", "vectors", "-k", 3, "--store", gallery.uri, "--csv")
    assert cxr(*asked, tmp_path / "lists").code == 0
    for name in ("exact-duplicates", "near-duplicates", "doubtful-labels"):
        path = tmp_path / "lists" / f"{name}.csv"
        (first, *_) = read(path)
        head = path.read_text("utf-8-sig").splitlines()[0].split(",")
        assert len(head) == len({*head})
        assert (first["sex"], first["ward"], first["source"]) == ("F", "3", "one.png")
        assert "/home" not in path.read_text()
    (pair,) = read(tmp_path / "lists" / "near-duplicates.csv")
    assert (pair["other id"], pair["other age"]) == ("set/test/1", "40.0")
    assert cxr(*asked, tmp_path / "whole", "--paths").code == 0
    assert SOURCE in (tmp_path / "whole" / "exact-duplicates.csv").read_text()
