"""Words in reports on the command line: alone, beside a picture, as JSON, and refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from store import Gallery
from tests.ui import films
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


def test_words_alone(cxr: Cxr, store: Path) -> None:
    done = cxr("search", "--store", store, "--words", "pleural effusion", "-k", 5)
    assert (done.code, done.err) == (
        0, "2 of the 5 asked for: no other row says “pleural effusion”\n",
    )  # fmt: skip
    assert "Large left [pleural] [effusion]." in done.out and "BM25" in done.out
    assert done.out.index("drawn/train/0") < done.out.index("drawn/train/2")
    found = cxr("search", "--store", store, "--words", "pleural effusion", "--json").document
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
    assert first["score"] == pytest.approx(1 / 61 + 1 / (60 + first["found_by"]["film"]))
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
        (("--id", "drawn/train/1", "--with-reports"), "--with-reports plays no part"),
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
