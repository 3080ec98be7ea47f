"""Documents for whoever carries on: the files that they name are there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from docs.architecture_picture import graph

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("docs/architecture.md", "CONTRIBUTING.md", "SECURITY.md", "README.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_a_document_names_exist(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    named = set(re.findall(r"`((?:ingest|store|ui|tests|docs|tools)/[\w./-]*?)`", text))
    linked = set(re.findall(r"\]\((?!https?:|#)([^)#]+)", text))
    places = {ROOT / name for name in named} | {(ROOT / document).parent / link for link in linked}
    missing = sorted(str(place.relative_to(ROOT)) for place in places if not place.exists())
    assert places and not missing


def test_the_picture_of_the_architecture_shows_what_is_there() -> None:
    within, between = graph()
    assert between == {("ingest", "store"), ("ui", "ingest"), ("ui", "store")}
    assert all((ROOT / one).exists() for one in within)


def test_citation_names_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"version: {project['version']}\n" in citation
    assert "license: Apache-2.0\n" in citation
