"""Whatever scans, in float32 or 8 bits, in one block or many: the answer is numpy's in float64."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import Gallery, Where, best, codes, copies, cores, flat, scan, search
from store.mirror import Snapshot
from tests.store.rows import STAMP, make_rows, random_vectors, unit

pytestmark = pytest.mark.usefixtures("all_cores")


def snapshot_of(vectors: np.ndarray) -> Snapshot:
    index, memory = flat.fresh(*vectors.shape)
    memory[:] = vectors
    order = np.random.default_rng(len(vectors)).permutation(len(vectors))
    keys = pa.array([f"{place:05d}" for place in order])
    numbers = np.arange(len(vectors))
    return Snapshot(None, index, memory, keys, numbers, numbers, 1, "u", "t")


def by_numpy(snapshot: Snapshot, query, k: int, allowed=None, excluded=()) -> list:
    scores = (snapshot.vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    scores = np.clip(scores, -1, 1).astype(np.float32)
    places = range(snapshot.count) if allowed is None else allowed.tolist()
    ranked = sorted((-scores[i], snapshot.ids[i], i) for i in places if i not in excluded)
    return [(i, -score) for score, _, i in ranked[:k]]


def give_codes(snapshot: Snapshot) -> codes.Codes:
    state = copies._State()
    state.codes, state.made = codes.make(snapshot.vectors), True
    copies._known[snapshot] = state
    return state.codes


@contextmanager
def as_if_large() -> Iterator[None]:
    """Galleries of a hundred rows go through all that large ones go through."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "_WORTH_BYTES", 0)
        patch.setattr(scan, "_TIMES", 3)
        patch.setattr(scan, "_EXTRA", 0)
        patch.setattr(codes, "_ROWS", 100)
        patch.setattr(codes, "_SCORE_BYTES", 1000)
        patch.setattr(scan, "_BLOCK_BYTES", 1)  # blocks of 256 rows
        patch.setattr(scan, "_FITS", 0)  # one query on all threads
        patch.setattr(best, "_WIDTH", 8)
        patch.setattr(best, "_DEEP", 4)
        patch.setattr(best, "_GROUPS", 4)
        yield


@pytest.fixture
def small() -> Iterator[None]:
    with as_if_large():
        yield


@st.composite
def collections(draw) -> np.ndarray:
    """Vectors with doubles, with near doubles, in a narrow cone or all around."""
    count, dimension = draw(st.integers(30, 900)), draw(st.sampled_from([2, 3, 8, 33]))
    random = np.random.default_rng(draw(st.integers(0, 9999)))
    pool = random.normal(size=(draw(st.integers(1, count)), dimension))
    vectors = pool[random.integers(0, len(pool), count)]
    vectors = vectors + draw(st.sampled_from([0, 0, 1e-7, 1e-5, 1e-3])) * random.normal(
        size=vectors.shape
    )
    vectors[:, 0] += draw(st.sampled_from([0.0, 0.0, 10.0]))
    if draw(st.booleans()):  # a dimension of no range, or of next to none
        vectors[:, 1] = 0
        vectors[: len(vectors) // 2, 1] = draw(st.sampled_from([0.0, 1e-43, 1e-20]))
        vectors[:, 0] += 1e-3
    return unit(vectors)


@settings(max_examples=150, deadline=None)
@given(collections(), st.data())
def test_the_answer_is_that_of_numpy(vectors, data) -> None:
    snapshot = snapshot_of(vectors)
    seed = data.draw(st.integers(0, 99))
    queries = np.concatenate([vectors[:2], random_vectors(5, seed, vectors.shape[1])])
    k = data.draw(st.integers(1, 40))
    random = np.random.default_rng(seed)
    share = data.draw(st.sampled_from([None, 0.05, 0.3, 0.9]))
    allowed = None if share is None else np.flatnonzero(random.random(len(vectors)) < share)
    excluded = random.integers(0, len(vectors), data.draw(st.integers(0, 3))).tolist()
    expected = [by_numpy(snapshot, query, k, allowed, excluded) for query in queries]

    def answers(asked) -> list:
        found = search.nearest(snapshot, asked, k, allowed, excluded)
        return [list(zip(p.tolist(), s.tolist(), strict=True)) for p, s in found]

    with as_if_large():
        assert answers(queries) == expected
        assert answers(queries[:1]) == expected[:1]
        parts = data.draw(st.integers(1, 3))
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(cores, "count", lambda: parts)
            give_codes(snapshot)
            for number in range(len(queries)):
                assert answers(queries[number : number + 1]) == expected[number : number + 1]
            give_codes(snapshot)
            assert answers(queries) == expected
            assert answers(queries[:2]) == expected[:2]
            assert answers(queries) == expected
            some = copies._known[snapshot].some
        if allowed is not None and not excluded and some is not None:
            assert some.rows is allowed  # asked again and again: a copy of its own


def products(made: codes.Codes, query: np.ndarray, fine: bool) -> tuple[np.ndarray, float]:
    """What the copy takes the inner products of a query with all rows for, and its error."""
    import numkong

    wide = query.astype(np.float64)
    weights = codes._Weights((wide * made.step)[None], made.longest, fine)
    found = np.asarray(numkong.dots_packed(made.codes, numkong.dots_pack(weights.whole)))
    assert found.tolist() == (made.codes.astype(int) @ weights.whole.T.astype(int)).tolist()
    scores = wide @ made.middle + weights.together(found)[:, 0] * weights.scale.astype(np.float64)
    return scores, made.error + float(weights.lost[0])


@settings(max_examples=60, deadline=None)
@given(collections(), st.booleans())
def test_no_8_bit_score_is_off_by_more_than_the_bound(vectors, fine) -> None:
    made = codes.make(vectors)
    for query in np.concatenate([vectors[:3], random_vectors(5, 1, vectors.shape[1])]):
        scores, bound = products(made, query, fine)
        exact = vectors.astype(np.float64) @ query.astype(np.float64)
        assert np.abs(scores - exact).max() <= bound + 5e-7


@settings(max_examples=100, deadline=None)
@given(collections(), st.integers(1, 20), st.integers(0, 40), st.booleans())
def test_what_the_copy_calls_complete_is(vectors, count, more, fine) -> None:
    made = codes.make(vectors)
    queries = np.concatenate([vectors[:3], random_vectors(5, 1, vectors.shape[1])])
    slack = scan.rounding(queries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codes, "_ROWS", 100)
        patch.setattr(codes, "_SCORE_BYTES", 1000)
        found = made.top(vectors, queries, count, count + more, slack, None, fine)
    if found is None:
        return
    exact = (queries.astype(np.float64) @ vectors.astype(np.float64).T).clip(max=1)
    for row, scores, places, complete in zip(exact, *found, strict=True):
        kept = places[places >= 0]
        np.testing.assert_allclose(row[kept], scores[: len(kept)], atol=slack)
        assert (np.diff(scores[: len(kept)]) <= 0).all()
        if complete:
            last = np.sort(row)[-count]
            assert set(np.flatnonzero(row >= last - slack)) <= set(kept.tolist())


def test_the_worst_query_for_the_bound_is_within_it() -> None:
    vectors = random_vectors(500, 3, 16)
    made = codes.make(vectors)
    off = vectors - (made.middle + made.step * made.codes)
    worst = int(np.linalg.norm(off, axis=1).argmax())
    query = unit(off[worst].astype(np.float32))  # along the very residual: Cauchy-Schwarz is equal
    off_by = abs(float(off[worst] @ query.astype(np.float64)))
    assert 0.9 * made.error < off_by <= made.error


def test_where_8_bits_cannot_tell_the_whole_scan_does(monkeypatch, small) -> None:
    snapshot = snapshot_of(unit(np.ones(8) + 1e-6 * random_vectors(600, 2)))
    give_codes(snapshot)
    sure = []
    top = scan.top
    monkeypatch.setattr(scan, "top", lambda *a: sure.append(a[-1]) or top(*a))
    query = unit(np.ones((1, 8)))
    places, _ = search.nearest(snapshot, query, 5)[0]
    assert sure[0] is False
    assert sure[-1] is True
    assert places.tolist() == [place for place, _ in by_numpy(snapshot, query[0], 5)]

    sure.clear()
    apart = snapshot_of(random_vectors(600, 2))
    give_codes(apart)
    query = random_vectors(1, 9)
    places, _ = search.nearest(apart, query, 5)[0]
    assert sure == [False]  # the bound was enough
    assert places.tolist() == [place for place, _ in by_numpy(apart, query[0], 5)]


def test_a_copy_that_can_tell_nothing_goes(small) -> None:
    snapshot = snapshot_of(unit(np.ones(8) + 1e-6 * random_vectors(600, 2)))
    give_codes(snapshot)
    for _ in range(copies._FRUITLESS):
        assert copies._known[snapshot].codes is not None
        search.nearest(snapshot, unit(np.ones((1, 8))), 5)
    assert copies._known[snapshot].codes is None
    for _ in range(2 * copies._ASKED):
        search.nearest(snapshot, unit(np.ones((1, 8))), 5)
    assert copies._known[snapshot].codes is None  # and is not made again


def test_many_queries_get_16_bits_where_8_tell_too_little(small) -> None:
    vectors = unit(np.ones(64) + 1.2 * random_vectors(600, 2, 64))
    snapshot = snapshot_of(vectors)
    give_codes(snapshot)
    for fine in (False, True, True):
        assert copies._known[snapshot].fine is fine
        found = search.nearest(snapshot, vectors[:300], 5)
        for query, (places, _) in zip(vectors[:300], found, strict=True):
            assert places.tolist() == [place for place, _ in by_numpy(snapshot, query, 5)]
    assert copies._known[snapshot].fruitless == 0
    assert copies._known[snapshot].codes is not None


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("large", [True, False])
def test_lengths_that_rounded_beyond_one_rank_as_one(monkeypatch, sign, large) -> None:
    vectors = np.repeat(unit(np.ones((1, 8))), 4000, axis=0)
    lengths = np.concatenate([np.linspace(1.00001, 1.00006, 3940), np.full(60, 1.00009)])
    vectors *= sign * np.random.default_rng(0).permutation(lengths)[:, None].astype(np.float32)
    snapshot = snapshot_of(vectors)
    monkeypatch.setattr(copies, "_WORTH_BYTES", 0)
    with as_if_large() if large else nullcontext():
        for query in (unit(np.ones((1, 8))), unit(np.ones((8, 8)))):
            for _ in range(2):
                for places, scores in search.nearest(snapshot, query, 5):
                    found = [snapshot.ids[place] for place in places]
                    assert found == [f"{place:05d}" for place in range(5)]
                    assert scores.tolist() == [sign] * 5
                give_codes(snapshot)


@pytest.mark.parametrize("copied", [False, True])
def test_one_query_that_most_rows_equal_takes_no_memory_for_all(copied) -> None:
    vectors = random_vectors(60_000, 1, 8)
    vectors[20_000:] = vectors[0]
    queries = random_vectors(400, 2, 8)
    queries = unit(queries - 0.9 * np.outer(queries @ vectors[0], vectors[0]))
    queries[0] = vectors[0]
    made = codes.make(vectors)
    tracemalloc.start()
    if copied:
        made.top(vectors, queries, 10, 288, scan.rounding(queries), None, False)
    else:
        scan.blocked(vectors, queries, 26)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(queries) * len(vectors)  # half of what all scores take


def test_vectors_that_are_not_finite_get_no_copy() -> None:
    vectors = random_vectors(100)
    vectors[3, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        codes.make(vectors)


def test_a_gallery_that_is_asked_often_gets_its_8_bit_copy(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(copies, "_WORTH_BYTES", 1 << 14)
    monkeypatch.setattr(copies, "_ASKED", 5)
    gallery = Gallery.create(tmp_path, STAMP)
    gallery.upsert(make_rows(random_vectors(1500)))
    queries = random_vectors(20, 5)

    def answers() -> list:
        found = [gallery.search(query, 7)[0] for query in queries[:4]]
        return [[(hit.row.id, hit.score) for hit in hits] for hits in found]

    before = answers()
    [now] = [one for one in copies._known if one.count == 1500]
    assert copies._known[now].codes is None
    gallery.search(queries[4], 7)
    for one in threading.enumerate():
        if one.name == "cxr-codes":
            one.join(20)
    assert copies._known[now].codes is not None
    assert answers() == before

    # It is of one version, and goes with it.
    gallery.upsert(make_rows(unit(queries[:1]), prefix="new/"))
    gallery.refresh()
    assert gallery.search(queries[0], 1)[0][0].row.id == "new/0"
    del now
    assert gallery.search(queries[0], 1, where=Where(split=("test",)))[0][0].row.id == "new/0"


def test_small_galleries_have_no_8_bit_copy() -> None:
    snapshot = snapshot_of(random_vectors(1000))
    for _ in range(2 * copies._ASKED):
        search.nearest(snapshot, random_vectors(1), 3)
    assert snapshot not in copies._known


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1500), st.integers(1, 9), st.integers(1, 30), st.integers(0, 999))
def test_blocks_change_nothing(n, q, count, seed) -> None:
    random = np.random.default_rng(seed)
    vectors = random.integers(-3, 4, (n, 4)).astype(np.float32)  # many ties, exact products
    queries = random.integers(-3, 4, (q, 4)).astype(np.float32)
    count = min(count, n)
    banned = random.integers(-1, n, q) if n > count else None
    expected = queries @ vectors.T
    if banned is not None:
        inside = np.flatnonzero(banned >= 0)
        expected[inside, banned[inside]] = -np.inf
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "_BLOCK_BYTES", int(random.integers(1, 1 << 14)))
        scores, places = scan.blocked(vectors, queries, count, banned)
    np.testing.assert_array_equal(scores, -np.sort(-expected, axis=1)[:, :count])
    np.testing.assert_array_equal(np.take_along_axis(expected, places, axis=1), scores)
    assert all(len(set(row)) == count for row in places.tolist())
