"""Exact search: FAISS, LanceDB and numpy agree, ties sort by id, the query stays out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import BadQuery, Gallery, Where
from store.table import lance
from tests.store.rows import (
    DIMENSION,
    STAMP,
    make_rows,
    random_vectors,
    small_gallery,
    table_of,
    unit,
)

pytestmark = pytest.mark.usefixtures("all_cores")


def by_numpy(ids: list[str], vectors, query, k: int, exclude=()) -> list[tuple[str, float]]:
    scores = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    scores = np.clip(scores, -1, 1).astype(np.float32)
    ranked = sorted((-float(s), id_) for s, id_ in zip(scores, ids, strict=True))
    return [(id_, -s) for s, id_ in ranked if id_ not in exclude][:k]


@st.composite
def collections(draw):
    """Vectors with many ties: drawn from few directions, some repeated."""
    count = draw(st.integers(2, 120))
    pool = random_vectors(draw(st.integers(1, count)), draw(st.integers(0, 999)))
    picks = draw(st.lists(st.integers(0, len(pool) - 1), min_size=count, max_size=count))
    return pool[picks]


@settings(max_examples=8)
@given(collections(), st.data())
def test_faiss_lancedb_and_numpy_agree(tmp_path_factory, vectors, data) -> None:
    gallery = Gallery.create(tmp_path_factory.mktemp("store"), STAMP)
    rows = make_rows(vectors)
    order = data.draw(st.permutations(range(len(rows))))
    for part in np.array_split(order, 3):
        gallery.upsert([rows[i] for i in part])
    ids = [row.id for row in rows]
    queries = np.concatenate([random_vectors(2, data.draw(st.integers(0, 99))), vectors[:2]])
    k = data.draw(st.integers(1, len(rows)))
    exclude = data.draw(st.lists(st.sampled_from(ids), max_size=3))

    found = gallery.search(queries, k, exclude=exclude)
    for query, hits in zip(queries, found, strict=True):
        assert [(h.row.id, h.score) for h in hits] == by_numpy(ids, vectors, query, k, exclude)
        assert [h.rank for h in hits] == list(range(1, len(hits) + 1))
        assert [(h.row.id, h.score) for h in gallery.search(query, k, exclude=exclude)[0]] == [
            (h.row.id, h.score) for h in hits
        ]  # alone as in a batch

        flat = table_of(gallery).search(query).distance_type("dot").limit(k).to_list()
        assert [round(1 - row["_distance"], 4) for row in flat] == pytest.approx(
            [score for _, score in by_numpy(ids, vectors, query, k)], abs=1e-4
        )
        lance_scores = {row["id"]: 1 - row["_distance"] for row in flat}
        for hit in hits:
            if hit.row.id in lance_scores:
                assert abs(lance_scores[hit.row.id] - hit.score) <= 1e-5


def test_same_ids_as_lancedb_where_nothing_ties(tmp_path) -> None:
    gallery = Gallery.create(tmp_path, STAMP)
    vectors = random_vectors(500)
    gallery.upsert(make_rows(vectors))
    for query in random_vectors(20, seed=9):
        flat = table_of(gallery).search(query).distance_type("dot").limit(10).to_list()
        hits = gallery.search(query, 10)[0]
        assert [hit.row.id for hit in hits] == [row["id"] for row in flat]
        assert [hit.score for hit in hits] == pytest.approx(
            [1 - row["_distance"] for row in flat], abs=1e-5
        )


@settings(max_examples=8)
@given(st.integers(20, 400), st.integers(1, 12))
def test_a_crowd_of_near_ties_is_ranked_exactly(tmp_path_factory, count, k) -> None:
    # Differences near float32 rounding: what FAISS puts first may not be first.
    noise = np.random.default_rng(count).normal(size=(count, DIMENSION)) * 3e-7
    vectors = unit(np.ones(DIMENSION) + noise)
    gallery = Gallery.create(tmp_path_factory.mktemp("store"), STAMP)
    gallery.upsert(make_rows(vectors))
    query = unit(np.ones(DIMENSION))
    ids = [f"set/test/{i}" for i in range(count)]
    k = min(k, count)
    assert [(h.row.id, h.score) for h in gallery.search(query, k)[0]] == by_numpy(
        ids, vectors, query, k
    )


def test_the_query_is_never_its_own_hit_even_beside_its_double(tmp_path) -> None:
    gallery = Gallery.create(tmp_path, STAMP)
    vectors = random_vectors(30)
    vectors[17] = vectors[4]
    gallery.upsert(make_rows(vectors))
    hits = gallery.search_by_id("set/test/4", 29)
    assert hits[0].row.id == "set/test/17"
    assert hits[0].score == pytest.approx(1, abs=1e-6)
    assert "set/test/4" not in [hit.row.id for hit in hits]
    assert len(hits) == 29
    assert len(gallery.search_by_id("set/test/4", 30)) == 29


def test_bad_queries(tmp_path) -> None:
    gallery = Gallery.create(tmp_path, STAMP)
    with pytest.raises(BadQuery, match="is empty; fill it with: cxr ingest"):
        gallery.search(random_vectors(1), 1)
    gallery.upsert(make_rows(random_vectors(5)))
    gallery.refresh()
    for k in (0, -1, 6):
        with pytest.raises(BadQuery, match=f"k = {k}: expected 1 to 5"):
            gallery.search(random_vectors(1), k)
        with pytest.raises(BadQuery, match=f"k = {k}"):
            gallery.search_by_id("set/test/0", k)
    for vectors in (np.ones((1, 9)), np.ones((1, 1, 8))):
        with pytest.raises(BadQuery, match="expected"):
            gallery.search(vectors, 1)
    for vectors in (np.zeros((1, 8)), np.full((1, 8), np.nan), np.ones((2, 8))):
        with pytest.raises(BadQuery, match="unit length"):
            gallery.search(vectors, 1)
    assert gallery.search(np.empty((0, 8)), 1) == []


def test_rows_that_pass_are_counted_without_reading_metadata(tmp_path, monkeypatch):
    gallery = small_gallery(tmp_path, 20)
    gallery.upsert(make_rows(random_vectors(5, 1), prefix="other/", dataset="it's synthetic"))
    gallery.refresh()
    monkeypatch.setattr(lance, "scan", None)
    assert gallery.count(Where(dataset=("it's synthetic",))) == 5
    assert gallery.count(Where(dataset=("synthetic",))) == 0
    assert gallery.count(Where(label=("normal",))) == 13
    assert gallery.count(Where()) == 25
