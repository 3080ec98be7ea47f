"""``cxr trust``, ``cxr evaluate --pack``, ``--prevalence`` and ``--format``."""

from __future__ import annotations

import csv
import io
import re

import pytest

from store import Gallery
from tests.store.rows import STAMP, make_rows, random_vectors
from tests.ui.running import runner


@pytest.fixture
def cxr(monkeypatch, capsys):
    return runner(monkeypatch, capsys)


@pytest.fixture
def uri(tmp_path):
    gallery = Gallery.create(tmp_path / "g", STAMP)
    for seed, split in enumerate(("train", "val", "test")):
        labels = [("pneumonia",) if at % 3 else ("a_b & c",) for at in range(30)]
        more = {"split": split, "dataset": "pneumoniamnist", "thumbnail": None}
        gallery.upsert(make_rows(random_vectors(30, seed), labels, prefix=f"{split}/", **more))
    return gallery.uri


def test_trust(cxr, uri, tmp_path):
    done = cxr("trust", "--store", uri, "--figure", tmp_path / "risk.svg")
    assert done.code == 0 and "AURC" in done.out
    assert (tmp_path / "risk.svg").read_bytes().startswith(b"<?xml")
    document = cxr("trust", "--store", uri, "--json", "-k", 3).document
    assert document["k"] == 3 and document["chosen_on"] == "val"
    assert cxr("trust", "--store", uri, "--figure", "risk.docx").code == 2
    assert cxr("trust", "--store", uri, "--precision", "2").code == 2


def test_a_pack(cxr, uri):
    done = cxr("evaluate", "--pack", "mahbod", "--store", uri)
    assert done.code == 0 and "BiomedCLIP" in done.out and "arXiv 2409.09430" in done.out
    document = cxr("evaluate", "--pack", "mahbod", "--json", "--store", uri).document
    assert {*document["measures"]} == {"ACC@1", "mMV@5", "mAP@5"}
    assert document["learnt_from_these"] in ("yes", "no", "unknown")
    wrong = cxr("evaluate", "--pack", "nobody", "--store", uri)
    assert wrong.code == 2 and "expected one of mahbod" in wrong.err


def test_a_prevalence(cxr, uri):
    done = cxr("evaluate", "--prevalence", "pneumonia=.2", "--k", "1,5", "--store", uri)
    assert done.code == 0 and "±" in done.out
    assert cxr("evaluate", "--prevalence", "pneumonia", "--store", uri).code == 2
    both = cxr("evaluate", "--prevalence", "pneumonia=.2", "--pack", "mahbod", "--store", uri)
    assert both.code == 2


def test_tables_for_papers_hold_the_figures(cxr, uri):
    asked = ("evaluate", "--k", "1,5", "--store", uri)
    document = cxr(*asked, "--json").document
    value = document["precision"]["5"]
    rows = list(csv.DictReader(io.StringIO(cxr(*asked, "--format", "csv").out)))
    (mine,) = [
        row
        for row in rows
        if (row["protocol"], row["kind"], row["k"]) == ("leave-one-out", "encoder", "5")
    ]
    assert float(mine["value"]) == value
    assert [float(mine["low"]), float(mine["high"])] == document["ci95"]["5"]
    markdown = cxr(*asked, "--format", "md").out
    latex = cxr(*asked, "--format", "latex").out
    for text in (markdown, latex):
        assert f"{value:.4f}" in text and "leave-one-out" in text
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    body = [line for line in latex.splitlines() if not line.startswith("%")]
    assert body[0].startswith(r"\begin{tabular}") and body[-1] == r"\end{tabular}"
    assert not re.search(r"(?<!\\)[_#%]", "".join(body))
    assert cxr(*asked, "--format", "docx").code == 2
    assert cxr(*asked, "--format", "md", "--json").code == 2
