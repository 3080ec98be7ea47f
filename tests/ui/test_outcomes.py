"""Nothing found, not labelled and uncertain only, wherever films are shown or written down."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ingest import import_artefacts, write
from store import NO_FINDING, Gallery, Hit, Row, Where
from tests.store.rows import STAMP, make_rows, random_vectors
from tests.ui.drawn import chest, png
from ui.cli import app
from ui.dashboard.components.html import Labels, film_card
from ui.dashboard.search.answer import neighbour_labels
from ui.dashboard.search.download import hits_csv
from ui.dashboard.search.link import from_link, to_link
from ui.dashboard.search.state import FACETS, Search
from ui.report.figures import Query, retrieval_figure
from ui.report.findings import Found, setting_of
from ui.report.sheet import Provenance

FILMS = {
    "found": Row("s/found", b"", labels=("edema",)),
    "zeros": Row("s/zeros", b"", labelled=True),
    "nih": Row("s/nih", b"", labels=("No Finding",)),
    "uncertain": Row("s/uncertain", b"", uncertain=("edema",)),
    "unseen": Row("s/unseen", b""),
}
ORIGIN = Provenance("drawn", "s", "all rows", 1)
HITS = [Hit(rank, 1 - rank / 10, row) for rank, row in enumerate(FILMS.values(), start=1)]


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    gallery = Gallery.create(tmp_path_factory.mktemp("outcomes") / "g", STAMP)
    vectors = random_vectors(len(FILMS))
    for vector, (name, row) in zip(vectors, FILMS.items(), strict=True):
        [made] = make_rows(vector[None], [row.labels], prefix=f"s/{name}/")
        gallery.upsert([replace(made, uncertain=row.uncertain, labelled=row.labelled)])
    gallery.refresh()
    return gallery


def verdicts(query: Row) -> dict[str, str]:
    figure = retrieval_figure(Query.of(query, None), HITS, {}, ORIGIN)
    frames = figure.findobj(lambda one: str(one.get_gid() or "").startswith("frame:"))
    return {str(one.get_gid()).split("/")[1]: str(one.get_gid()).split(":")[1] for one in frames}


@pytest.mark.parametrize("asked", ["zeros", "nih"])
def test_in_a_figure_nothing_found_is_right_for_nothing_found(asked: str) -> None:
    assert verdicts(FILMS[asked]) == {
        "found": "wrong",
        "zeros": "right",
        "nih": "right",
        "uncertain": "unlabelled",
        "unseen": "unlabelled",
    }
    found = Found(FILMS[asked], HITS)
    assert found.right == 2
    assert found.nearest_is_wrong


def test_in_a_figure_of_a_finding_nothing_found_is_wrong() -> None:
    marks = verdicts(FILMS["found"])
    assert (marks["zeros"], marks["nih"], marks["uncertain"]) == ("wrong", "wrong", "unlabelled")
    for name in ("uncertain", "unseen"):
        assert set(verdicts(FILMS[name]).values()) == {"None"}
    figure = retrieval_figure(Query.of(FILMS["found"], None), HITS, {}, ORIGIN)
    words = [one.get_text() for one in figure.findobj(lambda one: hasattr(one, "get_text"))]
    assert words.count(NO_FINDING) == 2
    assert {"uncertain only", "not labelled"} <= {*words}
    assert any("? dotted frame: uncertain only or not labelled" in text for text in words)


def test_queries_of_a_report_are_all_films_of_which_something_is_known() -> None:
    rows = {row.id: row for row in FILMS.values()}
    assert setting_of(rows).queries == ("s/found", "s/zeros", "s/nih")


def test_a_chip_of_each_kind_and_what_is_read_aloud() -> None:
    labels = Labels({"edema": 1, "No Finding": 5})
    cards = {name: film_card(row, png(chest(1, ill=False)), labels) for name, row in FILMS.items()}
    chips = {name: card[card.index('<span class="chip') :] for name, card in cards.items()}
    kinds = {name: chip.partition('"')[2].partition('"')[0] for name, chip in chips.items()}
    assert kinds == {
        "found": "chip",
        "zeros": "chip nothing",
        "nih": "chip nothing",
        "uncertain": "chip none",
        "unseen": "chip none",
    }
    for name, words in {
        "zeros": NO_FINDING,
        "nih": NO_FINDING,
        "uncertain": "uncertain only",
        "unseen": "not labelled",
    }.items():
        assert f'alt="chest film s/{name}, {words}"' in cards[name]
        assert f">{words}</span>" in chips[name]
    assert labels.mark("edema") != labels.mark("No Finding") == labels.mark(NO_FINDING)
    assert labels.mark("something rare") != labels.mark(NO_FINDING)


def test_neighbours_without_a_finding_are_counted_together() -> None:
    lines = neighbour_labels(HITS, {"edema": 3, NO_FINDING: 4}, 10)
    assert {line.name: line.found for line in lines} == {NO_FINDING: 2, "edema": 1}


def test_search_stats_and_files_say_which(gallery: Gallery) -> None:
    def run(*words: str) -> str:
        done = CliRunner().invoke(app, [*words, "--store", gallery.uri])
        assert done.exit_code == 0, done.output
        return done.stdout

    expected = {
        "s/found/0": ("found", True),
        "s/zeros/0": ("no finding", True),
        "s/nih/0": ("no finding", True),
        "s/uncertain/0": ("uncertain only", True),
    }
    asked = ("search", "--id", "s/unseen/0", "-k", "5")
    hits = json.loads(run(*asked, "--json"))["hits"]
    assert {hit["id"]: (hit["outcome"], hit["labelled"]) for hit in hits} == expected
    text = run(*asked)
    assert text.count("No finding") == 2
    assert "(uncertain only)" in text
    found = json.loads(run(*asked, "--json", "--where", "outcome=no finding"))
    assert {hit["id"] for hit in found["hits"]} == {"s/zeros/0", "s/nih/0"}
    assert found["query"]["where"] == "outcome=no finding"
    assert json.loads(run("stats", "--json"))["outcome"] == {
        "found": 1, "no finding": 2, "uncertain only": 1, "not labelled": 1,
    }  # fmt: skip
    assert "no finding 2, uncertain only 1, not labelled 1" in run("stats")
    sheet = csv.DictReader(io.StringIO(hits_csv(HITS).decode("utf-8-sig")))
    assert {line["id"]: line["outcome"] for line in sheet} == {
        row.id: row.outcome for row in FILMS.values()
    }


def test_the_dashboards_filter_is_that_of_the_store(gallery: Gallery) -> None:
    assert FACETS["outcome"] == "Findings"
    where = Search().choose("outcome", ["not labelled", "uncertain only"]).where
    assert isinstance(where, Where)
    assert gallery.ids(where) == ["s/uncertain/0", "s/unseen/0"]


def test_an_address_has_it() -> None:
    search = Search(id="s/found/0").choose("outcome", ["no finding"])
    address = {**to_link(search), "outcome": ["no finding", "nonsense"]}
    again, notes = from_link(address, {"outcome": ["found", "no finding"]})
    assert again.filters == search.filters
    assert notes == ["This gallery has no outcome 'nonsense'; that filter of the link is off."]


@pytest.mark.parametrize("several", [False, True])
def test_an_export_keeps_outcomes_apart(gallery: Gallery, tmp_path: Path, several: bool) -> None:
    rows = write.rows_in_order(gallery)
    if several:
        rows = {**rows, "s/found/0": replace(rows["s/found/0"], labels=("edema", "mass"))}
    names = write.label_names(rows)
    meta = {"format": 1, "label_names": list(names), "columns": write.columns(rows)}
    files = write.data_files(rows, gallery.vectors(list(rows)), names)
    for name, data in {**files, "meta.json": write.json_lines(meta)}.items():
        (tmp_path / name).write_bytes(data)
    again, _ = import_artefacts(tmp_path, tmp_path / "again")
    for id_, row in again.rows(again.ids()).items():
        assert (row.outcome, row.labels) == (rows[id_].outcome, rows[id_].labels)
    # Without the column, as from somebody else: a row of zeros is one that was looked at.
    del meta["columns"]
    (tmp_path / "meta.json").write_bytes(write.json_lines(meta))
    other, _ = import_artefacts(tmp_path, tmp_path / "other")
    assert other.row("s/unseen/0").outcome == ("no finding" if several else "not labelled")
    (tmp_path / "meta.json").write_bytes(write.json_lines({**meta, "made_by": "cxr-retrieval 0.1"}))
    before, _ = import_artefacts(tmp_path, tmp_path / "before")
    assert before.row("s/unseen/0").outcome == "not labelled"
    assert before.row("s/nih/0").outcome == "no finding"
