"""Search of reports by words: what is found, in which order, beside vectors, and after changes."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import BadQuery, Gallery, Row, parse_fusion, parse_where, state_of
from tests.store.bucket import (  # noqa: F401  (fixtures)
    Proxy,
    fresh_proxy,
    make_bucket,
    shared_server,
)
from tests.store.rows import STAMP, make_rows, random_vectors, table_of, unit

REPORTS = [
    "Large right pleural effusion. Heart of normal size.",
    "No pleural effusion. No pneumothorax.",
    None,
    "Small effusion on the left, stable. No pneumothorax.",
    "The effusion has resolved. Pneumonia in the right lower lobe.",
    "Derrame pleural izquierdo. No se observa neumotórax.",
    "Épanchement pleural gauche.",
    "Cannot exclude pneumonia. Lungs otherwise clear.",
    "",
    "Mild cardiomegaly without effusion or pneumothorax.",
]


def films(reports: Sequence[str | None], prefix: str = "f", **columns: object) -> list[Row]:
    rows = make_rows(random_vectors(len(reports), seed=len(reports)), prefix=prefix, **columns)
    return [replace(row, report=text) for row, text in zip(rows, reports, strict=True)]


def made(folder: Path | str, reports: Sequence[str | None] = REPORTS) -> Gallery:
    gallery = Gallery.create(folder, STAMP)
    gallery.upsert(films(reports))
    gallery.refresh()
    return gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return made(tmp_path / "gallery")


def found(gallery: Gallery, words: str, k: int = 10, **choices: Any) -> list[str]:
    return [hit.row.id for hit in gallery.search_words(words, k, **choices)]


# -- which films -----------------------------------------------------------------------------------


def test_no_effusion_is_no_hit_for_effusion(gallery):
    assert set(found(gallery, "effusion")) == {"f0", "f3"}
    assert set(found(gallery, "no effusion")) == {"f1", "f4", "f9"}
    assert set(found(gallery, "effusion", negated=True)) == {"f0", "f1", "f3", "f4", "f9"}
    assert set(found(gallery, "Effusions")) == {"f0", "f3"}
    assert found(gallery, "pneumonia") == found(gallery, "PNEUMONIAS") == ["f7", "f4"]
    assert found(gallery, "fracture") == []


def test_words_between_quotes_stand_in_a_row(gallery):
    assert found(gallery, '"pleural effusion"') == ["f0"]
    assert set(found(gallery, '"no pneumothorax"')) == {"f1", "f3"}
    assert set(found(gallery, '"pleural effusion"', negated=True)) == {"f0", "f1"}
    assert found(gallery, '"effusion pleural"') == []
    assert found(gallery, '"effusion heart"') == []  # in two sentences
    assert found(gallery, 'stable "effusion"') == ["f3", "f0"]


def test_other_languages_are_found_as_they_are_written(gallery):
    assert found(gallery, "derrame") == ["f5"]
    assert set(found(gallery, "neumotorax")) == {"f5"}  # left alone, so not read as absent
    assert found(gallery, "epanchement") == found(gallery, "épanchements") == ["f6"]
    assert set(found(gallery, "pleural")) == {"f0", "f5", "f6"}


def test_filters_come_first_and_ids_are_left_out(gallery):
    gallery.upsert(films(["Effusion."] * 50, prefix="other/", split="train"))
    gallery.refresh()
    assert set(found(gallery, "effusion", 2, where=parse_where(["split=test"]))) == {"f0", "f3"}
    assert found(gallery, "effusion", 60, where=parse_where(["split=test"]), exclude=["f0"]) == [
        "f3"
    ]
    with pytest.raises(BadQuery, match="list of ids"):
        gallery.search_words("effusion", exclude="f0")


def test_a_hit_shows_its_sentence_with_the_words_marked(gallery):
    hits = {hit.row.id: hit for hit in gallery.search_words("pneumonia lobe", 5)}
    shown = hits["f4"].passage
    assert shown.marked() == "[Pneumonia] in the right lower [lobe]."
    assert [shown.text[one.start : one.end] for one in shown.marks] == ["Pneumonia", "lobe"]
    assert [one.state for one in hits["f7"].passage.marks] == ["uncertain"]
    first = gallery.search_words("no pleural effusion", 1)[0]
    assert first.passage.marked("<", ">") == "No <pleural> <effusion>."
    assert {one.state for one in first.passage.marks} == {"absent"}
    assert gallery.search_words("epanchement", 1)[0].passage.marked() == (
        "[Épanchement] pleural gauche."
    )


def test_a_long_sentence_is_cut_around_its_marks(tmp_path):
    text = "word " * 300 + "effusion " + "word " * 300
    shown = made(tmp_path / "g", [text]).search_words("effusion", 1)[0].passage
    assert len(shown.text) < 400 and "[effusion]" in shown.marked()
    assert shown.text.startswith("… word") and shown.text.endswith("…")


def test_what_cannot_be_asked_is_said(gallery, tmp_path):
    for words in ("", " .,- ", '""'):
        with pytest.raises(BadQuery, match="no word"):
            gallery.search_words(words)
    for k in (0, 11):
        with pytest.raises(BadQuery, match="expected 1 to 10"):
            gallery.search_words("effusion", k)
    for fusion in ("best", -0.1, 2, True, None):
        with pytest.raises(BadQuery, match="fusion"):
            gallery.search_words("effusion", fusion=fusion)
    with pytest.raises(BadQuery, match="fusion"):
        parse_fusion("1.5")
    assert (parse_fusion("rrf"), parse_fusion("0.7")) == ("rrf", 0.7)
    with pytest.raises(BadQuery, match="shape"):
        gallery.search_words("effusion", vectors=[1.0])
    none = made(tmp_path / "none", [None, None])
    assert gallery.has_reports() and not none.has_reports()
    assert (gallery.count_reports(), none.count_reports()) == (8, 0)  # a blank one is none
    with pytest.raises(BadQuery, match=r"no film of .*none has a report") as caught:
        none.search_words("effusion", 1)
    assert "\n" not in str(caught.value)
    gone = made(tmp_path / "gone", ["effusion", None])
    gone.delete(ids=["f0"])
    gone.refresh()
    with pytest.raises(BadQuery, match="has a report"):
        gone.search_words("effusion", 1)


@pytest.mark.parametrize("words", ["the", "no", "not seen", "no no", "¬effus", ".", "a OR b", "心"])
def test_any_words_are_asked_without_a_fault(gallery, words):
    try:
        gallery.search_words(words, 3, vectors=random_vectors(1)[0])
    except BadQuery as error:
        assert "no word" in str(error)


# -- changes ---------------------------------------------------------------------------------------


def test_a_changed_report_is_found_at_once(gallery):
    old = films(REPORTS)
    gallery.upsert([replace(old[0], report="Fracture of a rib."), *films(["Effusion."], "new/")])
    assert "f0" in found(gallery, "effusion")  # of the version that it follows
    gallery.refresh()
    assert found(gallery, "fracture") == ["f0"]
    assert set(found(gallery, "effusion")) == {"f3", "new/0"}
    gallery.update_metadata([replace(old[3], report=None)])
    gallery.refresh()
    assert found(gallery, "effusion") == ["new/0"]
    gallery.optimize()
    gallery.refresh()
    assert (found(gallery, "effusion"), found(gallery, "fracture")) == (["new/0"], ["f0"])
    gallery.delete(ids=["new/0"])
    gallery.refresh()
    assert found(gallery, "effusion") == []


def test_a_row_that_says_nothing_of_its_report_keeps_it(gallery):
    told = replace(films(REPORTS)[0], report=None, labels=("mass",), told=frozenset({"labels"}))
    gallery.upsert([told])
    gallery.refresh()
    assert gallery.row("f0").labels == ("mass",)
    assert "f0" in found(gallery, "effusion")


def test_an_undone_report_is_the_former_one(tmp_path):
    gallery = Gallery.create(tmp_path / "g", STAMP)
    gallery.upsert(films(["Effusion."], batch="one"))
    gallery.upsert(films(["Pneumonia."], batch="two"))
    gallery.undo("two")
    gallery.refresh()
    assert (found(gallery, "effusion", 1), found(gallery, "pneumonia", 1)) == (["f0"], [])


def test_a_pinned_reader_keeps_its_reports(gallery):
    reader = gallery.pinned()
    gallery.upsert(films(["Fracture."] * 10))
    gallery.refresh()
    assert set(found(reader, "effusion")) == {"f0", "f3"}
    assert len(found(gallery, "fracture")) == 10


def indexes(gallery: Gallery) -> dict[str, int]:
    table = table_of(gallery)
    return {
        one.name: int(table.index_stats(one.name).num_unindexed_rows)
        for one in table.list_indices()
    }


def test_the_index_is_refreshed_in_time(tmp_path):
    gallery = made(tmp_path / "g", ["Effusion."] * 400)
    assert indexes(gallery) == {"report_words_idx": 400}  # few: found without it
    gallery.upsert(films(["Effusion."] * 900, "more/"))
    assert indexes(gallery) == {"report_words_idx": 0}
    gallery.upsert(films(["Effusion."] * 600, "last/"))
    assert indexes(gallery) == {"report_words_idx": 600}
    gallery.settle()
    assert indexes(gallery) == {"report_words_idx": 0}
    gallery.refresh()
    assert len(found(gallery, "effusion", 1900)) == 1900


def test_a_gallery_without_reports_has_no_index(tmp_path):
    gallery = made(tmp_path / "g", [None] * 3)
    gallery.settle()
    gallery.optimize()
    assert indexes(gallery) == {}


def test_reports_in_a_column_of_the_users_own_are_searched(tmp_path, monkeypatch):
    """As galleries from before the column of reports have them."""
    from store.table import custom_columns

    gallery = Gallery.create(tmp_path / "g", STAMP)
    table = table_of(gallery)
    table.drop_columns(["report", "report_words"])
    rows = make_rows(random_vectors(2))
    monkeypatch.setattr(custom_columns, "RESERVED", frozenset())
    gallery = Gallery.open(gallery.uri)
    custom_columns.make_room(table_of(gallery), {"report": "string"})
    gallery = Gallery.open(gallery.uri)
    gallery.upsert([replace(rows[0], extra={"report": "No effusion."})])
    gallery.upsert([replace(rows[1], extra={"report": "Effusion."})])
    gallery.refresh()
    hits = gallery.search_words("effusion", 2)
    assert [(hit.row.id, hit.passage.marked()) for hit in hits] == [("set/test/1", "[Effusion].")]


def test_reports_read_by_other_rules_are_read_again(gallery, monkeypatch):
    from store.words import index

    monkeypatch.setattr(index, "RULES", "other")
    with pytest.raises(BadQuery, match=r"other rules.*cxr optimize"):
        gallery.search_words("effusion")
    gallery.optimize()
    gallery.refresh()
    assert set(found(gallery, "effusion")) == {"f0", "f3"}


def test_a_mapped_copy_has_the_words(gallery, tmp_path):
    copy = gallery.mapped_copy(tmp_path / "copy", STAMP, lambda vectors: vectors)
    assert set(found(copy, "effusion")) == {"f0", "f3"}
    assert indexes(copy) == {"report_words_idx": 0}


# -- order and pages -------------------------------------------------------------------------------

WORDS = ["effusion", "pneumonia", "nodule", "left", "right", "small", "heart", "clear"]


@st.composite
def reports(draw: st.DrawFn) -> list[str | None]:
    sentence = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
    negated = st.builds(lambda cue, one: f"{cue}{one}.", st.sampled_from(["", "", "No "]), sentence)
    text = st.one_of(st.none(), st.lists(negated, min_size=0, max_size=3).map(" ".join))
    kinds = draw(st.lists(text, min_size=1, max_size=5))
    return draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=300))


@settings(max_examples=8)
@given(
    texts=reports(),
    asked=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True),
    indexed=st.booleans(),
    split=st.sampled_from([None, "train"]),
    cosine=st.booleans(),
    fusion=st.sampled_from(["rrf", 0.0, 0.5, 1.0]),
)
def test_pages_of_equal_scores_never_overlap(texts, asked, indexed, split, cosine, fusion):
    """Whatever is asked for at once, the list is the same; and films are found that say the word.

    Checked against the reports themselves, without BM25.
    """
    with tempfile.TemporaryDirectory() as folder:
        gallery = Gallery.create(folder, STAMP)
        rows = [
            replace(row, split=("train", "test")[at % 3 > 0]) for at, row in enumerate(films(texts))
        ]
        gallery.upsert(rows)
        if indexed:
            gallery.optimize()
        gallery.refresh()
        where = parse_where([f"split={split}"] if split else [])
        beside = unit(np.ones(STAMP.dimension)) if cosine else None
        size, left_out = len(texts), rows[0].id
        passing = {r.id: r for r in rows if split in (None, r.split) and r.id != left_out}
        saying = {
            id_
            for id_, row in passing.items()
            if any(state_of(row.report or "", word) == "present" for word in asked)
        }

        def ask(k: int) -> list[tuple[str, float]]:
            hits = gallery.search_words(
                " ".join(asked), k, where, [left_out], vectors=beside, fusion=fusion
            )
            assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
            return [(hit.row.id, hit.score) for hit in hits]

        try:
            whole = ask(size)
        except BadQuery:
            assert not any(text is not None for text in texts)
            return
        assert {id_ for id_, _ in whole} == (set(passing) if cosine else saying)
        assert whole == sorted(whole, key=lambda one: (-one[1], one[0]))
        for k in {1, 2, 7, size // 2} & set(range(1, size)):
            assert ask(k) == whole[:k]


def test_many_equal_scores_are_paged_by_id(tmp_path):
    gallery = made(tmp_path / "g", ["Effusion."] * 700)
    ids = sorted(row.id for row in films([None] * 700))
    assert found(gallery, "effusion", 5) == ids[:5]
    assert found(gallery, "effusion", 300) == ids[:300]
    gallery.optimize()
    gallery.refresh()
    assert found(gallery, "effusion", 700) == ids


# -- words and vectors -----------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "share"), [("effusion", 0.5), ("Effusion. Opacity.", 0.2)])
def test_words_and_vectors_are_fused_by_rank(gallery, asked, share):
    """Typed words count as much as vectors, a whole report by a fifth."""
    vector = random_vectors(len(REPORTS), seed=len(REPORTS))[0]
    hits = gallery.search_words(asked, 10, vectors=vector)
    assert len(hits) == 10  # films without a report are found by their picture
    words = found(gallery, asked)
    near = [hit.row.id for hit in gallery.search(vector, 10)[0]]
    cosines = {hit.row.id: hit.score for hit in gallery.search(vector, 10)[0]}
    for hit in hits:
        place = words.index(hit.row.id) + 1 if hit.row.id in words else None
        assert (hit.words_rank, hit.vector_rank) == (place, near.index(hit.row.id) + 1)
        assert hit.cosine == cosines[hit.row.id]
        shares = ((share, place), (1 - share, hit.vector_rank))
        assert hit.score == pytest.approx(sum(part / (60 + rank) for part, rank in shares if rank))
    assert hits[0].row.id == "f0" and hits[0].bm25 > 0
    assert [hit.passage is None for hit in hits] == [hit.row.report is None for hit in hits]


def test_weights_go_from_vectors_to_words(gallery):
    vector = random_vectors(1, seed=3)[0]
    near = [hit.row.id for hit in gallery.search(vector, 10)[0]]
    assert found(gallery, "effusion", vectors=vector, fusion=0) == near
    words = found(gallery, "effusion", vectors=vector, fusion=1)
    assert words[:2] == found(gallery, "effusion")
    both = gallery.search_words("effusion", 10, vectors=vector, fusion=0.5)
    assert 0 <= min(hit.score for hit in both) <= max(hit.score for hit in both) <= 1


def test_several_vectors_count_by_the_nearest(gallery):
    vectors = random_vectors(2, seed=5)
    single = [gallery.search(one, 10)[0] for one in vectors]
    best = {row.id: -2.0 for row in films(REPORTS)}
    for hit in itertools.chain(*single):
        best[hit.row.id] = max(best[hit.row.id], hit.score)
    hits = gallery.search_words("effusion", 10, vectors=vectors)
    assert {hit.row.id: hit.cosine for hit in hits} == best


def test_films_beyond_the_first_of_a_half_still_have_exact_scores(tmp_path, monkeypatch):
    from store.search import words

    gallery = made(tmp_path / "g", ["Effusion."] * 40 + [None] * 20)
    vector = random_vectors(1, seed=9)[0]
    whole = {hit.row.id: hit for hit in gallery.search_words("effusion", 60, vectors=vector)}
    monkeypatch.setattr(words, "WINDOW", 10)
    for fusion in ("rrf", 0.5):
        hits = gallery.search_words("effusion", 30, vectors=vector, fusion=fusion)
        assert 10 <= len(hits) <= 20
        for hit in hits:
            assert hit.cosine == whole[hit.row.id].cosine
            assert hit.words_rank is None or hit.words_rank <= 10
            if fusion == 0.5:
                assert hit.bm25 == whole[hit.row.id].bm25


# -- every index, a bucket, two writers ------------------------------------------------------------


@pytest.mark.usefixtures("few_ask")
def test_lances_index_answers_the_same(tmp_path):
    texts = [REPORTS[at % len(REPORTS)] for at in range(300)]
    exact = made(tmp_path / "g", texts)
    exact.build_index(partitions=1)
    exact.refresh()
    other = Gallery.open(exact.uri, index="lance")
    vector = random_vectors(1, seed=2)[0]
    for choices in ({}, {"vectors": vector}, {"vectors": vector, "fusion": 0.3}):
        expected = exact.search_words("effusion pneumonia", 20, **choices)
        got = other.search_words("effusion pneumonia", 20, **choices)
        assert [(hit.row.id, hit.score, hit.cosine, hit.passage) for hit in got] == [
            (hit.row.id, hit.score, hit.cosine, hit.passage) for hit in expected
        ]


def write(uri: str, name: str) -> None:
    gallery = Gallery.open(uri)
    gallery.upsert(films([f"Nodule x{name}."] * 50, f"{name}/"))
    gallery.optimize()


def check_two_writers(gallery: Gallery) -> None:
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(write, [gallery.uri] * 2, "ab"):
            pass
    gallery.refresh()
    assert len(found(gallery, "nodule", 100)) == 100
    assert len(found(gallery, '"nodule xa"', 100)) == len(found(gallery, "xb", 100)) == 50
    assert set(found(gallery, "effusion", 100)) == {"f0", "f3"}


def test_two_writers(gallery):
    check_two_writers(gallery)


def test_reports_in_a_bucket(server: int, proxy: Proxy):
    gallery = made(make_bucket(server))
    assert set(found(gallery, "effusion")) == {"f0", "f3"}
    check_two_writers(gallery)
    gallery.upsert(films(["Fracture."]))
    gallery.refresh()
    assert (found(gallery, "effusion"), found(gallery, "fracture")) == (["f3"], ["f0"])
    assert indexes(gallery) == {"report_words_idx": 1}


def test_headings_of_a_pasted_report_are_not_looked_for(gallery):
    words = [hit.row.id for hit in gallery.search_words("Pneumonia.", 10)]
    pasted = gallery.search_words("FINAL REPORT\nFINDINGS: Pneumonia.", 10)
    assert words and [hit.row.id for hit in pasted] == words
