"""What an encoder matches by, as the command, the page and the report say it."""

from __future__ import annotations

import csv
import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from store import ColumnMatch, EncoderStamp, Gallery, Row, matched_by
from tests.store.rows import unit
from tests.ui.page import opened
from ui import lifts
from ui.report.export import export
from ui.report.matched_by_figure import matched_by_picture

HOSTILE = "=1+1|<b>A</b> $x$"


def filled(folder, count):
    """A gallery whose encoder sees the finding and the scanner, and no sex."""
    random = np.random.default_rng(0)
    gallery = Gallery.create(folder, EncoderStamp("made up", "ab" * 32, 16))
    vectors = random.normal(size=(count, 16))
    has, scanner = random.random(count) < 0.5, random.integers(0, 3, count)
    vectors[:, 0] += 2 * np.where(has, 1, -1)
    vectors[:, 1:4] += 2.5 * np.eye(3)[scanner]
    file = io.BytesIO()
    Image.new("L", (8, 8), 90).save(file, "PNG")
    gallery.upsert(
        [
            Row(
                f"set/test/{at}",
                hashlib.sha256(str(at).encode()).digest(),
                vector,
                labels=("mass",) if has[at] else ("normal",),
                split="test",
                dataset="set",
                patient=f"p{at // 2}",
                sex=("F", "M", None)[at % 3],
                age=float(at % 90),
                thumbnail=file.getvalue(),
                extra={"scanner": (HOSTILE, "B", "C")[scanner[at]]},
            )
            for at, vector in enumerate(unit(vectors))
        ]
    )
    return folder


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("seen") / "gallery", 240)


@pytest.fixture(scope="module")
def found(seen):
    return matched_by(Gallery.open(seen))


def shown(test) -> str:
    assert not test.exception, test.exception
    parts = [*test.markdown, *test.caption, *test.info, *test.title, *test.subheader]
    return "\n".join(part.value.replace("\\", "") for part in parts) + "\n".join(
        element.body for element in test.get("html")
    )


# -- sentences and tables ----------------------------------------------------------------------


def column(name="view", kind="values", lift=3.21, ci95=(2.0, 5.0), queries=100):
    return ColumnMatch(name, kind, 2, 0.5, 0.2, lift, ci95, 900, queries, 0, 0, False)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (column(), "3.21 times as often of the same view as chance (95 % interval 2 to 5)"),
        (column("dataset"), "from the same data set as chance"),
        (column("scanner"), "of the same scanner as chance"),
        (column("weight", "quarters"), "in the same quarter of weight as chance"),
        (column(ci95=(0.9, 1.2)), "0.9 to 1.2: may be chance"),
        (column(ci95=(np.nan, np.nan)), "too few films for an interval"),
        (column(queries=29), "; only 29 queries"),
        (column(lift=0.0, ci95=(np.nan, np.nan)), "never of the same view, where chance has 20.0%"),
    ],
)
def test_a_lift_is_said_in_a_sentence(one, words):
    assert words in lifts.sentence(one)
    assert lifts.sentence(one).startswith("hits with the same finding are ")


def test_the_summary_names_what_is_no_more_than_chance_together(found):
    first, *_, last = lifts.summary(found)
    assert "of the same scanner as chance" in first
    assert last.startswith("may be chance: ") and "sex (" in last


def test_the_csv_has_every_column_and_value_and_no_formula(found):
    head, rows = lifts.sheet(found)
    assert {len(row) for row in rows} == {len(head)}
    assert [row[0] for row in rows if row[1] == ""] == [one.name for one in found.columns]
    assert {row[1] for row in rows if row[0] == "scanner"} == {"", HOSTILE, "B", "C"}
    assert {row[0] for row in rows} == {*(one.name for one in found.columns), *found.not_measured}


# -- command -----------------------------------------------------------------------------------


def test_the_command_says_it_and_counts_it(cxr, seen, tmp_path):
    done = cxr("matched-by", "--store", seen, "--csv", tmp_path / "m.csv")
    assert done.code == 0, done.err
    assert "times as often of the same scanner as chance" in done.out
    assert "dataset: all films have the same: set; split: all films have the same: test" in done.err
    assert "view, study: no film has a value" in done.err
    assert "Relevance any: " in done.err and "over 120 patients" in done.err
    lines = list(csv.reader(io.StringIO((tmp_path / "m.csv").read_text("utf-8-sig"))))
    assert not any(cell.startswith("=") for line in lines for cell in line)


def test_the_document_of_the_command(cxr, seen):
    done = cxr("matched-by", "--store", seen, "-k", 5, "--json", "--values", 1)
    found = done.document
    assert (found["k"], found["queries"], found["excluded"]) == (5, 240, "patient")
    assert found["relevance"]["name"] == "any" and found["interval"]["over"] == "patients"
    first = found["columns"][0]
    assert first["name"] == "scanner" and first["ci95"][0] > 1 and not first["few"]
    assert len(first["values"]) == 1 and first["more"] == 2
    assert {"precision", "across", "chance", "across_chance", "queries", "candidates"} <= {
        *first["values"][0]
    }
    assert found["store"]["rows"] == 240 and set(found["not_measured"]) >= {"view", "dataset"}


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--relevance", "some", "expected any, all, jaccard or finding=NAME"),
        ("--same-patient", "maybe", "expected exclude or count"),
        ("--protocol", "both", "expected leave-one-out or split"),
        ("-k", 999, "expected depths"),
    ],
)
def test_a_wrong_option_is_one_line(cxr, seen, option, value, words):
    done = cxr("matched-by", "--store", seen, option, value)
    assert done.code in (1, 2) and words in done.err and "Traceback" not in done.err


def test_without_columns_it_says_what_to_ingest(cxr, tmp_path):
    gallery = Gallery.create(tmp_path / "g", EncoderStamp("made up", "ab" * 32, 16))
    vectors = unit(np.random.default_rng(0).normal(size=(20, 16)))
    rows = [
        Row(f"f{at}", bytes([at]) * 32, vector, labels=(("a", "b")[at % 2],), split="test")
        for at, vector in enumerate(vectors)
    ]
    gallery.upsert(rows)
    done = cxr("matched-by", "--store", tmp_path / "g")
    assert done.code == 0
    assert "no column says anything but the finding" in done.err and "--columns" in done.err
    assert cxr("matched-by", "--store", tmp_path / "g", "--json").document["columns"] == []


# -- page --------------------------------------------------------------------------------------


def test_the_page_shows_lifts_and_precision_across(monkeypatch, seen, tmp_path):
    test = opened(monkeypatch, seen, tmp_path, page="matched_by")
    page = shown(test)
    assert "What does this encoder match by?" in page
    assert "times as often of the same scanner as chance" in page
    assert "P@10 among others" in page and "=1+1|&lt;b&gt;A" in page and "<b>A" not in page
    assert "cxr matched-by --split test -k 10 --relevance any" in test.code[0].value
    test.selectbox(key="matched-rule").set_value("finding=mass").run()
    assert "Relevance finding=mass" in shown(test)
    test.button_group(key="matched-k").set_value(1).run()
    assert "the first 1 hit" in shown(test)


def test_the_page_without_columns_is_one_line(monkeypatch, tmp_path):
    gallery = Gallery.create(tmp_path / "g", EncoderStamp("made up", "ab" * 32, 16))
    vectors = unit(np.random.default_rng(0).normal(size=(3, 16)))
    gallery.upsert(
        [
            Row(f"f{at}", bytes([at]) * 32, vector, labels=(("a", "b")[at % 2],), split="test")
            for at, vector in enumerate(vectors)
        ]
    )
    page = shown(opened(monkeypatch, tmp_path / "g", tmp_path, page="matched_by"))
    assert "No column says anything but the finding" in page and "among others" not in page


# -- report ------------------------------------------------------------------------------------


def test_the_report_has_a_section_with_its_figure(tmp_path):
    written = export(Gallery.open(filled(tmp_path / "gallery", 48)), tmp_path / "out", k=(1,))
    text = (tmp_path / "out" / "task3 retrieval system.md").read_text("utf-8")
    section = text.split("## What it matches by")[1].split("\n## ")[0]
    assert "times as often of the same scanner as chance" in section
    assert "(retrieval_figures/matched_by.png)" in section
    assert "retrieval_figures/matched_by.png" in written.files
    assert r"=1+1\|\<b\>A\</b\>" in section
    assert "over 24 patients" in section


def test_the_figure_says_what_it_shows(seen, found):
    path, png = matched_by_picture(Gallery.open(seen), found)
    picture = Image.open(io.BytesIO(png))
    assert path == "retrieval_figures/matched_by.png"
    assert "made up" in picture.info["Description"] and picture.width > 500
