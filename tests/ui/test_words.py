"""Words in reports on the command line: alone, beside a picture, as JSON, and refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from store import Gallery
from tests.ui import films
from tests.ui.page import opened
from tests.ui.running import Cxr
from ui import word_hits

REPORTS = {
    "drawn/train/0": "Large left pleural effusion. Heart of normal size.",
    "drawn/train/1": "No pleural effusion. Pneumonia in the right lower lobe.",
    "drawn/train/2": "Small effusion, stable. [Comparison: none]",
    "drawn/test/100": "Lungs clear. Effusion has resolved.",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("words")
    gallery = films.add(root / "gallery", films.tiny_clip(root / "clip"), films.films())
    rows = gallery.rows(REPORTS)
    gallery.update_metadata([replace(rows[id_], report=text) for id_, text in REPORTS.items()])
    return root / "gallery"


def ids(document: dict) -> list[str]:
    return [hit["id"] for hit in document["hits"]]


def test_films_with_reports_are_counted(cxr: Cxr, store: Path) -> None:
    assert cxr("stats", "--store", store, "--json").document["reports"] == len(REPORTS)
    said = cxr("stats", "--store", store).out.splitlines()
    assert ["reports", str(len(REPORTS))] in [line.split() for line in said]


def test_words_alone(cxr: Cxr, store: Path) -> None:
    done = cxr("search", "--store", store, "--words", "pleural effusion", "-k", 5)
    assert (done.code, done.err) == (
        0, "2 of the 5 asked for: no other row says “pleural effusion”\n",
    )  # fmt: skip
    assert "Large left [pleural] [effusion]." in done.out and "BM25" in done.out
    assert done.out.index("drawn/train/0") < done.out.index("drawn/train/2")
    done = cxr("search", "--store", store, "--words", "pleural effusion", "--json")
    assert done.err == "2 hits: no other row says “pleural effusion”\n"
    found = done.document
    assert ids(found) == ["drawn/train/0", "drawn/train/2"]
    assert found["query"] == {"words": "pleural effusion", "negated": False, "k": 10, "where": ""}
    first = found["hits"][0]
    assert first["bm25"] == first["score"] > 0 and first["cosine"] is None
    assert first["found_by"] == {"words": 1}


def test_text_of_reports_is_printed_when_asked_for(cxr: Cxr, store: Path) -> None:
    asked = ("search", "--store", store, "--words", "effusion", "--json", "-k", 1)
    assert "ffusion" not in cxr(*asked).out.replace('"words": "effusion"', "")
    hit = cxr(*asked, "--with-reports").document["hits"][0]
    assert hit["sentence"] == "Small effusion, stable."
    assert hit["marks"] == [[6, 14, "present"]]
    assert hit["report"] == REPORTS["drawn/train/2"]


def test_absent_words(cxr: Cxr, store: Path) -> None:
    asked = ("search", "--store", store, "--json", "--words")
    assert set(ids(cxr(*asked, "no effusion").document)) == {"drawn/train/1", "drawn/test/100"}
    assert set(ids(cxr(*asked, "effusion", "--negated").document)) == set(REPORTS)
    some = cxr(*asked, "effusion", "--negated", "--where", "split=train").document
    assert set(ids(some)) == {id_ for id_ in REPORTS if "train" in id_}
    assert ids(cxr(*asked, "fracture").document) == []


def test_words_beside_a_film_a_picture_and_a_sentence(
    cxr: Cxr, store: Path, tmp_path: Path
) -> None:
    asked = ("search", "--store", store, "--words", "effusion", "-k", 4)
    film = cxr(*asked, "--id", "drawn/train/2", "--json").document
    assert film["query"]["fusion"] == "rrf" and "drawn/train/2" not in ids(film)
    first = film["hits"][0]
    assert first["id"] == "drawn/train/0" and first["found_by"]["words"] == 1
    assert first["score"] == pytest.approx(0.5 / 61 + 0.5 / (60 + first["found_by"]["film"]))
    near = cxr("search", "--store", store, "--id", "drawn/train/2", "-k", 59, "--json").document
    cosines = {hit["id"]: hit["score"] for hit in near["hits"]}
    assert all(hit["cosine"] == cosines[hit["id"]] for hit in film["hits"])
    Image.fromarray(films.draw(3, True)).save(tmp_path / "film.png")
    shown = cxr(*asked, "--image", tmp_path / "film.png", "--fusion", "0.7")
    assert "words 1st, picture " in shown.out and "fused" in shown.out and "cosine" in shown.out
    text = cxr(*asked, "--text", "clear lungs", "--figure", tmp_path / "found.png")
    assert "words 2nd, text " in text.out and (tmp_path / "found.png").stat().st_size > 1000
    like = cxr(*asked, "--like", "drawn/train/5", "--json").document
    assert "drawn/train/5" not in ids(like) and "films" in like["hits"][0]["found_by"]


def test_pages_of_words_go_on(cxr: Cxr, store: Path) -> None:
    asked = ("search", "--store", store, "--words", "effusion", "--id", "drawn/train/5", "--json")
    whole = ids(cxr(*asked, "-k", 12).document)
    pages = [ids(cxr(*asked, "-k", 4, "--page", page).document) for page in (1, 2, 3)]
    assert [id_ for page in pages for id_ in page] == whole


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--words", "..."), "no word in it"),
        (("--words", "effusion", "--fusion", "0.5"), "--fusion plays no part without --image"),
        (("--words", "x", "--id", "drawn/train/1", "--fusion", "2"), "expected rrf, or the weight"),
        (("--id", "drawn/train/1", "--negated"), "--negated plays no part without --words"),
        (("--words", "x", "--id", "a", "--text", "b"), "exactly one of --image, --id and --text"),
    ],
)
def test_what_does_not_go_together_is_said(cxr: Cxr, store: Path, arguments, said) -> None:
    done = cxr("search", "--store", store, *arguments)
    assert done.code in (1, 2) and said in done.err and done.err.count("\n") == 1


def test_a_gallery_without_reports_says_so_in_one_line(cxr: Cxr, tmp_path: Path) -> None:
    from tests.store.rows import small_gallery

    small_gallery(tmp_path / "g")
    done = cxr("search", "--store", tmp_path / "g", "--words", "effusion")
    assert done.code == 2 and done.err.count("\n") == 1
    assert "no film of" in done.err and "--report-column" in done.err


def test_ordinals() -> None:
    assert [word_hits.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111, 1000)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th", "1000th",
    ]  # fmt: skip


def test_reports_in_python(store: Path) -> None:
    """As docs/searching.md shows it."""
    gallery = Gallery.open(store)
    for hit in gallery.search_words("pleural effusion", k=5):
        assert hit.passage is not None and "[" in hit.passage.marked()


# -- the search page -------------------------------------------------------------------------------

KNOWN: dict = {"label": ["normal", "pneumonia"], "split": ["train", "test"]}


@pytest.fixture
def app(store: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("streamlit")
    return lambda link=(): opened(monkeypatch, store, store.parent / "clip", link)


def page(test) -> str:
    assert not test.exception, test.exception
    parts = [element.body for element in test.get("html")]
    parts += [element.value for element in (*test.caption, *test.markdown, *test.info)]
    return "\n".join([*parts, *(one.value for one in test.warning)]).replace("\\", "")


def shown(test) -> list[str]:
    return [b.key.removeprefix("more-") for b in test.button if (b.key or "").startswith("more-")]


def test_a_page_of_words(app, store: Path) -> None:
    test = app({"words": "pleural effusion"})
    hits = Gallery.open(store).search_words("pleural effusion")
    assert shown(test) == [hit.row.id for hit in hits] == ["drawn/train/0", "drawn/train/2"]
    assert '<mark class="present" title="present">effusion</mark>, stable.' in page(test)
    assert "of 2 films with such a report · BM25" in page(test)
    assert not [b for b in test.button if (b.key or "").startswith("pair-")]
    test.toggle(key="box-negated").set_value(True).run()
    assert len(shown(test)) == 4 and '<mark class="absent"' in page(test)
    assert test.query_params["negated"] in ("yes", ["yes"])
    joined = app({"words": "effusion", "id": "drawn/train/5"})
    assert "words 1st, film" in page(joined) and "by words and film together" in page(joined)
    joined.button(key="words-off").click().run()
    assert "words 1st" not in page(joined) and "words" not in joined.query_params


def test_the_store_page_counts_films_with_reports(store: Path, monkeypatch, tmp_path) -> None:
    pytest.importorskip("streamlit")
    test = opened(monkeypatch, store, store.parent / "clip", page="store")
    metrics = {metric.label: metric.value for metric in test.metric}
    assert metrics["Films with a report"] == str(len(REPORTS))


def test_a_gallery_without_reports_has_no_words(tmp_path, monkeypatch) -> None:
    pytest.importorskip("streamlit")
    films.add(tmp_path / "g", films.tiny_clip(tmp_path / "clip"), films.films()[:12])
    test = opened(monkeypatch, tmp_path / "g", tmp_path / "clip", {"words": "effusion"})
    assert "No film of this gallery has a report" in page(test)
    assert not any("Words in reports" in tab.label for tab in test.tabs)


def test_words_in_links_and_files() -> None:
    from store import Weights
    from ui.dashboard.search import download, link
    from ui.dashboard.search.state import Search

    search = Search(id="a", words="no effusion", negated=True, fusion=0.7, like=("b",))
    found, notes = link.from_link(link.to_link(search), KNOWN)
    assert (found.words, found.negated, found.fusion, notes) == ("no effusion", True, 0.7, [])
    assert link.to_link(found) == link.to_link(search)
    alone = Search(words="effusion", fusion=0.7)
    assert link.to_link(alone) == {"words": ["effusion"]}  # a weight of nothing else says nothing
    _, notes = link.from_link({"words": ["x" * 3000], "fusion": ["best"]}, KNOWN)
    assert len(notes) == 2
    assert download.command(search, "g").startswith(
        "cxr search --id a --words 'no effusion' --negated --fusion 0.7"
    )
    assert search.ask(id="c").words is None and search.ask(text="clear").words == "no effusion"
    assert Weights() == search.weights


@pytest.mark.parametrize(
    "asked",
    [
        {"words": "effusion"},
        {"words": "effusion", "negated": True, "page": 2, "k": 2},
        {"words": "effusion", "id": "drawn/train/2", "fusion": 0.3, "k": 3},
        {"words": "effusion", "id": "drawn/train/2", "like": ("drawn/train/5",), "k": 3},
    ],
)
def test_the_script_of_a_page_finds_its_hits(store: Path, asked, capsys) -> None:
    from ui.dashboard.search import answer, download
    from ui.dashboard.search.state import Search

    gallery, search = Gallery.open(store), Search(**asked)
    found = answer.answer(gallery, search, None, 60)
    exec(download.python(search, str(store), "none"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[2] for line in lines] == [hit.row.id for hit in found.hits]
    assert b"Effusion" not in download.hits_csv(found.hits)
    assert "Effusion" not in str(download.document(search, found.hits, {}))


def test_a_film_without_a_report_is_shown_those_of_its_nearest(
    monkeypatch: pytest.MonkeyPatch, store: Path
) -> None:
    title = "Reports of the films nearest to it"
    bare = opened(monkeypatch, store, store.parent / "clip", {"id": "drawn/test/101"}, "film")
    assert not bare.exception and title in [one.value for one in bare.subheader]
    assert sum(one.value.startswith("cosine ") for one in bare.caption) == 3
    own = opened(monkeypatch, store, store.parent / "clip", {"id": "drawn/train/0"}, "film")
    assert not own.exception and title not in [one.value for one in own.subheader]
