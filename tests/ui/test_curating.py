"""``cxr tag``, ``note``, ``label``, ``exclude``, ``include``, ``select`` and ``changes``."""

from __future__ import annotations

import csv
import getpass
import io
import sys
from pathlib import Path

import pytest

from store import Gallery
from tests.store.rows import STAMP, make_rows, random_vectors
from tests.ui.running import Cxr

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    gallery = Gallery.create(tmp_path / "store", STAMP)
    gallery.upsert(make_rows(random_vectors(12), batch="first", thumbnail=PNG))
    rows = make_rows(random_vectors(9, seed=2), prefix="set/train/", split="train", thumbnail=PNG)
    gallery.upsert(rows)
    return gallery


@pytest.fixture
def cxr(cxr: Cxr, gallery: Gallery) -> Cxr:
    return lambda *arguments: cxr(*arguments, "--store", gallery.uri)


def test_labels_and_their_effect(cxr, gallery: Gallery) -> None:
    given = ["--id", "set/test/1", "--id", "set/test/3"]
    plan = cxr("label", "--set", "normal", *given, "--dry-run")
    assert (plan.code, plan.out) == (0, "would be 2 films: labels changed\n")
    done = cxr("label", "--set", "normal", *given, "--as", "ann")
    first, one, split = done.out.splitlines()
    assert (done.code, first) == (0, "2 films: labels changed")
    assert one.startswith("P@5 ")
    assert "(leave-one-out: 21 queries of both states, 21 films; " in one
    assert "(split: 12 queries" in split
    operation = done.err.strip().rpartition(" ")[2]
    assert done.err == f"to take it back: cxr changes --undo {operation}\n"
    shown = cxr("changes", operation, "--json").document
    assert (shown["who"], shown["kind"], shown["films"]) == ("ann", "label", 2)
    assert shown["effect"][0]["ci95"].keys() == {"1", "3", "5", "10"}
    assert shown["changes"][0]["before"]["labels"] == ["pneumonia"]
    told = cxr("changes", "--film", "set/test/1", "--json").document["history"]
    assert [(line["kind"], line["in_force"]) for line in told] == [("label", True)]
    back = cxr("changes", "--undo", operation, "--json").document
    assert (back["kind"], back["changed"]) == ("undo", ["set/test/1", "set/test/3"])
    assert gallery.rows(["set/test/1"])["set/test/1"].labels == ("pneumonia",)
    assert "undone" in cxr("changes").out
    short = cxr("label", "--set", "normal", "--id", "test/3", "--dry-run")
    assert (short.code, short.err) == (0, "test/3 is set/test/3\n")
    unclear = cxr("delete", "--id", "1", "--yes")
    assert (unclear.code, unclear.out) == (2, "") and "could be set/t" in unclear.err


def test_tags_notes_and_selections(cxr, gallery: Gallery, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("set/test/1\n\nset/test/2\n"))
    found = cxr("tag", "teach", "hard one", "--ids", "-", "--json").document
    assert (found["changed"], found["effect"]) == (["set/test/1", "set/test/2"], None)
    assert cxr("note", "=1+1", "--where", "tag=hard one").out == "2 films: note written\n"
    assert cxr("tag", "--remove", "teach", "--id", "set/test/1").code == 0
    listed = list(csv.reader(io.StringIO(cxr("tag", "--list", "--csv").out)))
    assert listed[0] == ["id", "tags", "note"]
    assert listed[1:] == [
        ["set/test/1", "hard one", "'=1+1"],
        ["set/test/2", "hard one; teach", "'=1+1"],
    ]
    told = cxr("tag", "--list", "--json").document["films"]
    assert told[0] == {"id": "set/test/1", "tags": ["hard one"], "note": "=1+1"}
    assert cxr("select", "hard", "--where", "tag=hard one").code == 0
    assert cxr("select", "hard").out.split() == ["set/test/1", "set/test/2"]
    assert cxr("tag", "again", "--selection", "hard").out == "2 films: tags changed\n"
    (tmp_path / "ids").write_text("set/test/4\n")
    assert cxr("select", "one", "--ids", tmp_path / "ids").code == 0
    named = cxr("select", "--json").document["selections"]
    assert [(one["name"], one["ids"], one["filters"]) for one in named] == [
        ("hard", None, ["tag=hard one"]),
        ("one", ["set/test/4"], None),
    ]
    assert cxr("select", "one", "--drop").code == 0
    assert cxr("select", "one").code == 2
    hits = cxr("search", "--id", "set/test/5", "--where", "tag=again", "--json").document["hits"]
    assert {tuple(hit["tags"]) for hit in hits} == {
        ("again", "hard one"),
        ("again", "hard one", "teach"),
    }
    assert cxr("changes", "--json").document["changes"][0]["who"] == getpass.getuser()


def test_films_go_and_come_back(cxr, gallery: Gallery) -> None:
    out = cxr("exclude", "--where", "split=train", "--where", "label=normal", "--why", "blurred")
    assert out.out.startswith("5 films: excluded\n")
    assert len(Gallery.open(gallery.uri)) == 16
    gone = cxr("delete", "--id", "set/test/0", "--id", "set/train/0", "-y", "--json").document
    assert (gone["deleted"], gone["matched"]) == (2, 2)
    aside = cxr("changes", "--set-aside", "--json").document["set_aside"]
    assert [(one["id"], one["as"]) for one in aside][:3] == [
        ("set/test/0", "deleted"),
        ("set/train/0", "deleted"),
        ("set/train/2", "excluded"),
    ]
    assert len(aside[0]["sha256"]) == 64
    assert cxr("include", "--all").out.startswith("4 films: brought back\n")
    assert cxr("changes", "--undo", gone["operation"]).code == 0
    assert len(Gallery.open(gallery.uri)) == 20  # one is excluded again, as it was before
    assert cxr("include", "--all").code == 0
    assert cxr("delete", "--id", "set/test/1", "--for-good", "-y").out == "1 row deleted\n"
    assert cxr("changes", "--set-aside", "--json").document["set_aside"] == []
    cxr("exclude", "--id", "set/test/2")
    assert cxr("delete", "--for-good", "--id", "set/test/2", "-y").out == "1 row deleted\n"
    assert cxr("include", "--id", "set/test/2").code == 1
    cxr("exclude", "--id", "set/test/4")
    assert cxr("delete", "--where", "dataset=set", "-y").code == 0
    assert cxr("changes", "--set-aside", "--json").document["set_aside"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["tag", "x"], 2, "which films?"),
        (["tag", "x", "--id", "a", "--where", "split=test"], 2, "one of these"),
        (["tag", "x", "--id", "nobody"], 1, "no film 'nobody'"),
        (["tag", "--id", "set/test/1"], 2, "a tag is needed"),
        (["tag", "--csv"], 2, "--csv goes with --list"),
        (["tag", "x", "--ids", "/nowhere"], 2, "cannot be read (No such file"),
        (["label", "--set", "pnuemonia", "--id", "set/test/1"], 2, "no film has the label"),
        (["label", "--confirm", "--add", "x", "--id", "set/test/1"], 2, "give it alone"),
        (["label", "--nothing", "--set", "x", "--id", "set/test/1"], 2, "one of both"),
        (["label", "--id", "set/test/1"], 2, "a correction needs labels"),
        (["changes", "--undo", "9-x"], 2, "no operation '9-x'"),
        (["changes", "9-x", "--set-aside"], 2, "at a time"),
        (["changes", "--partly"], 2, "go with --undo"),
        (["changes", "--film", "nobody"], 2, "nothing is known"),
        (["include", "--id", "set/test/1", "--all"], 2, "one of both"),
        (["include", "--id", "nobody"], 1, "is set aside"),
        (["tag", "x", "--selection", "s"], 2, "no selection 's'"),
        (["tag", "x", "--id", "set/test/1", "--as", " "], 2, "name ''"),
    ],
)
def test_refusals_are_one_line(cxr, arguments: list[str], code: int, message: str) -> None:
    found = cxr(*arguments)
    assert (found.code, found.out) == (code, "")
    assert message in found.err
    assert len(found.err.strip().splitlines()) == 1
