"""Rocchio: the formula against its definition, its properties, and the search that uses it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from store import BadQuery, EncoderStamp, Gallery, Row, UnknownId, Where
from store.gallery import refined_search
from store.search.relevance_feedback import Weights, parse_weights, rocchio

D = 6


def units(least: int, most: int):
    """(n, D) rows of unit length."""

    def scale(rows):
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        assume((lengths > 0.1).all())
        return rows / lengths

    numbers = st.floats(-1, 1, width=32)
    return st.integers(least, most).flatmap(
        lambda n: arrays(np.float64, (n, D), elements=numbers).map(scale)
    )


weights = st.builds(Weights, *[st.floats(0.05, 3)] * 3)


def combined(query, liked, unliked, using):
    try:
        return rocchio(query, liked, unliked, using)
    except BadQuery as error:
        assert "cancel" in str(error)
        assume(False)


@given(units(1, 1), units(0, 4), units(0, 4), weights)
def test_is_the_formula_and_of_unit_length(query, liked, unliked, using):
    found = combined(query[0], liked, unliked, using)
    assert found.dtype == np.float32
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
    total = using.query * query[0]
    for film in liked:
        total = total + using.like * film / len(liked)
    for film in unliked:
        total = total - using.unlike * film / len(unliked)
    assert found @ total == pytest.approx(np.linalg.norm(total), rel=1e-5)


@given(units(1, 1), weights)
def test_without_marks_the_query_stays(query, using):
    np.testing.assert_allclose(rocchio(query[0], [], [], using), query[0], atol=1e-6)


@given(units(1, 1), units(1, 4), units(0, 3), weights, st.floats(0.5, 3), st.randoms())
def test_only_proportions_matter_and_no_order(query, liked, unliked, using, factor, random):
    total = using.query * query[0] + using.like * liked.mean(0)
    if len(unliked):
        total = total - using.unlike * unliked.mean(0)
    assume(np.linalg.norm(total) > 1e-2)
    found = combined(query[0], liked, unliked, using)
    scaled = Weights(factor * using.query, factor * using.like, factor * using.unlike)
    order = random.sample(range(len(liked)), len(liked))
    np.testing.assert_allclose(rocchio(query[0], liked[order], unliked, scaled), found, atol=1e-4)


@given(units(1, 1), units(1, 1), weights)
def test_a_mark_moves_the_query_towards_or_away(query, film, using):
    before = float(query[0] @ film[0])
    towards = combined(query[0], film, [], using)
    away = combined(query[0], [], film, using)
    assert towards @ film[0] >= before - 1e-6
    assert away @ film[0] <= before + 1e-6


def test_refusals_name_the_value():
    one = np.eye(D)[0]
    with pytest.raises(BadQuery, match="only films to be unlike"):
        rocchio(None, [], [one])
    with pytest.raises(BadQuery, match="cancel each other out"):
        rocchio(one, [], [one], Weights(1, 1, 1))
    with pytest.raises(BadQuery, match="weight like = -1"):
        Weights(like=-1)
    for text in ("1,2", "1,2,three", "", "1,2,3,4", "nan,1,1", "1,1,11"):
        with pytest.raises(BadQuery, match="expected"):
            parse_weights(text)
    assert parse_weights(str(Weights(0.5, 2, 0))) == Weights(0.5, 2, 0)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    random = np.random.default_rng(3)
    vectors = random.normal(size=(60, D))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    made = Gallery.create(tmp_path_factory.mktemp("feedback") / "g", EncoderStamp("e", "f" * 64, D))
    made.upsert(
        [
            Row(f"film/{n:02}", bytes([n]) * 32, vector.astype(np.float32), split="ab"[n % 2])
            for n, vector in enumerate(vectors)
        ]
    )
    made.refresh()
    return made


def test_search_leaves_its_own_films_out_and_scores_are_cosines(gallery):
    like, unlike, using = ["film/03", "film/07", "film/03"], ["film/11"], Weights(0.5, 1, 0.4)
    hits = refined_search(gallery, "film/00", 60, like=like, unlike=unlike, weights=using)
    assert {hit.row.id for hit in hits} == set(gallery.ids()) - {"film/00", *like, *unlike}
    vectors = gallery.vectors(["film/00", "film/03", "film/07", "film/11"]).astype(np.float64)
    sought = 0.5 * vectors[0] + vectors[1:3].mean(axis=0) - 0.4 * vectors[3]
    sought /= np.linalg.norm(sought)
    for hit in hits:
        assert hit.score == pytest.approx(gallery.vectors([hit.row.id])[0] @ sought, abs=1e-6)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_search_without_marks_is_the_plain_search(gallery):
    vector = gallery.vectors(["film/05"])[0]
    only = Where(split=("a",))
    for query, plain in (
        ("film/05", gallery.search_by_id("film/05", 7, only)),
        (vector, gallery.search(vector, 7, only)[0]),
    ):
        found = refined_search(gallery, query, 7, where=only)
        assert [(hit.row.id, hit.score) for hit in found] == [
            (hit.row.id, hit.score) for hit in plain
        ]


def test_search_refuses(gallery):
    with pytest.raises(UnknownId, match="nobody"):
        refined_search(gallery, None, like=["nobody"])
    with pytest.raises(BadQuery, match="k = 61"):
        refined_search(gallery, None, 61, like=["film/01"])
    with pytest.raises(BadQuery, match="nothing to search for"):
        refined_search(gallery, None)
