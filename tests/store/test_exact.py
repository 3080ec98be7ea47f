"""Whatever FAISS searches, and however: the answer is numpy's in float64, and FAISS found it."""

from __future__ import annotations

import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import Gallery, Labelled, StoreDamaged, Where, evaluate_vectors
from store.analysis import audit
from store.analysis.label_noise import doubts
from store.evaluation.metrics import evaluate
from store.mirror import faiss_index, second_index
from store.mirror.snapshot import Snapshot
from store.search import exact as nearest
from store.search.near_pairs import near_pairs
from tests.store.rows import STAMP, make_rows, mirror_of, random_vectors, small_gallery, unit

pytestmark = pytest.mark.usefixtures("all_cores")


def snapshot_of(vectors: np.ndarray, kind: type[Snapshot] = Snapshot) -> Snapshot:
    index, memory = faiss_index.of(vectors)
    order = np.random.default_rng(len(vectors)).permutation(len(vectors))
    keys = pa.array([f"{place:05d}" for place in order])
    numbers = np.arange(len(vectors))
    return kind(None, index, memory, keys, numbers, numbers, 1, "u", "t")


def by_numpy(snapshot: Snapshot, query, k: int, allowed=None, excluded=()) -> list:
    scores = (snapshot.vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    scores = np.clip(scores, -1, 1).astype(np.float32)
    places = range(snapshot.count) if allowed is None else allowed.tolist()
    ranked = sorted((-scores[i], snapshot.ids[i], i) for i in places if i not in excluded)
    return [(i, -score) for score, _, i in ranked[:k]]


def listed(found: list[nearest.Found]) -> list[list[tuple[int, float]]]:
    return [list(zip(p.tolist(), s.tolist(), strict=True)) for p, s in found]


@contextmanager
def as_if_large() -> Iterator[None]:
    """Galleries of a thousand rows go through all that large ones go through."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second_index, "WORTH_BYTES", 0)
        patch.setattr(faiss_index, "WORTH_A_THREAD", 0)
        patch.setattr(faiss_index, "GATHERED", 1 << 12)
        yield


def low_rank(count: int, dimension: int, seed: int = 0, rank: int = 8) -> np.ndarray:
    """Vectors as encoders give: most of them lie in few directions."""
    basis = np.random.default_rng(99).normal(size=(rank, dimension))
    random = np.random.default_rng(seed)
    spread = random.normal(size=(count, rank)) * np.geomspace(1, 0.1, rank)
    return unit(spread @ basis + 0.01 * random.normal(size=(count, dimension)))


@st.composite
def collections(draw) -> np.ndarray:
    """Vectors with doubles, with near doubles, in a narrow cone or all around."""
    count, dimension = draw(st.integers(30, 2500)), draw(st.sampled_from([2, 3, 8, 33]))
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


def by_bounds(made: second_index.SecondIndex) -> second_index.SecondIndex:
    """The same, answering by bounds, whatever they are worth."""
    return replace(made, bounded=dict.fromkeys(second_index.SIZES, True))


@settings(max_examples=60)
@given(collections(), st.data())
def test_the_answer_is_that_of_numpy(vectors, data) -> None:
    snapshot = snapshot_of(vectors)
    seed = data.draw(st.integers(0, 99))
    queries = np.concatenate([vectors[:2], random_vectors(5, seed, vectors.shape[1])])
    k = data.draw(st.integers(1, 40))
    random = np.random.default_rng(seed)
    share = data.draw(st.sampled_from([None, 0.0, 0.05, 0.3, 0.9, 1.0]))
    allowed = None if share is None else np.flatnonzero(random.random(len(vectors)) < share)
    excluded = random.integers(0, len(vectors), data.draw(st.integers(0, 3))).tolist()
    expected = [by_numpy(snapshot, query, k, allowed, excluded) for query in queries]

    def answers(asked) -> list:
        return listed(nearest.nearest(snapshot, asked, k, allowed, excluded))

    assert answers(queries) == expected
    with as_if_large():
        for threads in (1, 3):
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(faiss_index, "cores", lambda threads=threads: threads)
                built = [second_index.build(vectors, parts=parts) for parts in (1, 2)]
                for made in (None, *built, by_bounds(built[0])):
                    second_index.give(snapshot, made)
                    assert answers(queries) == expected
                    assert answers(queries[:1]) == expected[:1]
                    assert answers(queries[3:5]) == expected[3:5]


@settings(max_examples=40)
@given(collections(), st.data())
def test_a_row_of_its_own_is_left_out_of_each_answer(vectors, data) -> None:
    rows = nearest.Rows.of(vectors)
    k = data.draw(st.integers(1, min(20, len(vectors) - 1)))
    own = np.asarray([0, 1, -1, len(vectors) - 1])
    apart = (own, nearest.Groups.alone(len(vectors)))
    queries = vectors[own]
    wide = vectors.astype(np.float64)
    built = second_index.build(vectors)
    for made in (None, built, by_bounds(built)):
        second_index.give(rows, made)
        with as_if_large():
            found = nearest.nearest(rows, queries, k, apart=apart)
        for query, mine, (places, scores) in zip(queries, own, found, strict=True):
            exact = (wide * query.astype(np.float64)).sum(axis=1).clip(-1, 1).astype(np.float32)
            order = np.lexsort((np.arange(len(exact)), -exact))
            order = order[order != mine][:k]
            assert places.tolist() == order.tolist()
            assert scores.tolist() == exact[order].tolist()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("second", ["none", "levels", "bounds"])
def test_lengths_that_rounded_beyond_one_rank_as_one(sign, second) -> None:
    vectors = np.repeat(unit(np.ones((1, 8))), 4000, axis=0)
    lengths = np.concatenate([np.linspace(1.00001, 1.00006, 3940), np.full(60, 1.00009)])
    vectors *= sign * np.random.default_rng(0).permutation(lengths)[:, None].astype(np.float32)
    snapshot = snapshot_of(vectors)
    built = second_index.build(vectors)
    made = {"none": None, "levels": built, "bounds": by_bounds(built)}[second]
    second_index.give(snapshot, made)
    with as_if_large():
        for query in (unit(np.ones((1, 8))), unit(np.ones((8, 8)))):
            for places, scores in nearest.nearest(snapshot, query, 5):
                found = [snapshot.ids[place] for place in places]
                assert found == [f"{place:05d}" for place in range(5)]
                assert scores.tolist() == [sign] * 5


def test_no_row_that_bounds_leave_out_is_above_the_last_score() -> None:
    vectors, dimension = low_rank(3000, 64), 64
    made = by_bounds(second_index.build(vectors))
    bound = second_index.rounding(nearest.rounding(dimension))
    queries = np.concatenate([vectors[:20], random_vectors(20, 3, dimension)])
    exact = queries.astype(np.float64) @ vectors.astype(np.float64).T
    for count in (1, 26, 400, 1024):
        scores, places = made.search(queries, count)
        assert all(len(set(row)) == count for row in places.tolist())
        found = np.take_along_axis(exact, places, axis=1)
        assert np.abs(scores - found)[:, :-1].max(initial=0) < bound / 2
        left_out = exact.copy()
        np.put_along_axis(left_out, places, -9, axis=1)
        assert (left_out.max(axis=1) <= scores[:, -1] + bound).all()


def test_a_turned_vector_is_off_by_no_more_than_the_bound() -> None:
    vectors, dimension = low_rank(3000, 64), 64
    made = second_index.build(vectors)
    bound = second_index.rounding(nearest.rounding(dimension))
    queries = np.concatenate([vectors[:20], random_vectors(20, 3, dimension)])
    scores, places = made.search(queries, 1024)
    exact = np.take_along_axis(
        queries.astype(np.float64) @ vectors.astype(np.float64).T, places, axis=1
    )
    assert np.abs(scores - exact).max() < bound / 2  # of each of two rows that are compared
    left_out = queries.astype(np.float64) @ vectors.astype(np.float64).T
    np.put_along_axis(left_out, places, -9, axis=1)
    assert (left_out.max(axis=1) <= scores[:, -1] + bound).all()


def test_one_query_that_most_rows_equal_takes_no_memory_for_all() -> None:
    vectors = random_vectors(60_000, 1, 8)
    vectors[20_000:] = vectors[0]
    queries = random_vectors(400, 2, 8)
    queries = unit(queries - 0.9 * np.outer(queries @ vectors[0], vectors[0]))
    queries[0] = vectors[0]
    rows = nearest.Rows.of(vectors)
    tracemalloc.start()
    found = nearest.nearest(rows, queries, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[0][0].tolist() == [0, *range(20_000, 20_009)]
    assert peak < 2 * len(queries) * len(vectors)  # half of what all scores take


@pytest.mark.parametrize("k", [1, 1000, 1024, 1025, 3000])
def test_more_than_panorama_gives(k) -> None:
    vectors = low_rank(3000, 32)
    snapshot = snapshot_of(vectors)
    second_index.give(snapshot, second_index.build(vectors))
    with as_if_large():
        found = listed(nearest.nearest(snapshot, vectors[5:6], k))
    assert found == [by_numpy(snapshot, vectors[5], k)]


# -- FAISS finds what is found -----------------------------------------------------------------


@pytest.fixture
def gallery(tmp_path) -> Gallery:
    return small_gallery(tmp_path / "store", 60)


def plain_rows(gallery: Gallery) -> Labelled:
    vectors = gallery.vectors(gallery.ids())
    return Labelled(gallery.ids(), vectors, [("a",), ("b",)] * 30)


def part_of_a_shard(gallery: Gallery) -> object:
    part = snapshot_of(gallery.vectors(gallery.ids()))
    return nearest.nearest(part, random_vectors(2), 3)


QUERY = random_vectors(1, 3)
PATHS: dict[str, Callable[[Gallery], object]] = {
    "search": lambda g: g.search(QUERY, 3),
    "search of many": lambda g: g.search(random_vectors(30, 3), 3),
    "search under a filter": lambda g: g.search(QUERY, 3, where=Where(label=("normal",))),
    "search without some": lambda g: g.search(QUERY, 3, exclude=["set/test/4"]),
    "by id": lambda g: g.search_by_id("set/test/3", 3),
    "evaluate": lambda g: g.evaluate(k=[3], full_ranking=False),
    "evaluate, with mAP": lambda g: g.evaluate(k=[3]),
    "query by query": Gallery.by_query,
    "near pairs": lambda g: audit.near(g, 0.9),
    "out of distribution": lambda g: g.nearness(QUERY),
}
#: Of vectors that are no gallery's, or of some rows of one: an index is made for them.
ELSEWHERE: dict[str, Callable[[Gallery], object]] = {
    "a shard": part_of_a_shard,
    "doubtful labels": audit.doubtful,
    "doubts": lambda g: doubts(random_vectors(20), [("a",)] * 20, 3),
    "evaluate vectors": lambda g: evaluate_vectors(random_vectors(30), [1, 2] * 15),
    "evaluate rows": lambda g: evaluate("x", plain_rows(g), plain_rows(g), full_ranking=False),
    "near pairs of vectors": lambda g: near_pairs(random_vectors(50), 0.9),
    "nearest of a map": lambda g: nearest.nearest_cosines(nearest.Rows.of(random_vectors(30))),
}


def faiss_calls(monkeypatch, act: Callable[..., Any] | None = None) -> list[str]:
    """Names of the searches that any FAISS index is asked for, from now on."""
    asked: list[str] = []
    for kind in (faiss.IndexFlatIP, faiss.IndexFlatIPPanorama):
        for name in ("search", "range_search"):
            plain = getattr(kind, name)

            def counted(self, *args, plain=plain, name=name, **options):
                asked.append(f"{type(self).__name__}.{name}")
                return (act or plain)(self, *args, **options)

            monkeypatch.setattr(kind, name, counted)
    return asked


class Raises:
    """An index that can be filled, copied and asked its size, but not searched."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def __getattr__(self, name: str) -> Any:
        if name in ("search", "range_search"):
            raise RuntimeError("this index cannot be searched")
        return getattr(self._index, name)


@pytest.mark.parametrize("path", [*PATHS, *ELSEWHERE])
def test_faiss_is_asked_and_nothing_else_answers(gallery, path, monkeypatch) -> None:
    ask = (PATHS | ELSEWHERE)[path]
    with monkeypatch.context() as patch:
        asked = faiss_calls(patch)
        ask(Gallery.open(gallery.uri))
        assert asked

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("this index cannot be searched")

    with monkeypatch.context() as patch:
        faiss_calls(patch, broken)
        with pytest.raises((RuntimeError, StoreDamaged), match="cannot be searched"):
            ask(Gallery.open(gallery.uri))


@pytest.mark.parametrize("path", PATHS)
def test_the_index_of_the_mirror_is_what_is_asked(gallery, path) -> None:
    fresh = Gallery.open(gallery.uri)
    now = mirror_of(fresh)
    object.__setattr__(now, "index", Raises(now.index))
    with pytest.raises((RuntimeError, StoreDamaged), match="cannot be searched"):
        PATHS[path](fresh)


def test_the_second_index_is_asked_too(monkeypatch) -> None:
    vectors = low_rank(3000, 32)
    snapshot = snapshot_of(vectors)
    second_index.give(snapshot, second_index.build(vectors, parts=2))
    asked = faiss_calls(monkeypatch)
    with as_if_large():
        nearest.nearest(snapshot, vectors[:1], 3)
    assert asked == ["IndexFlatIPPanorama.search"] * 2


def test_a_crowd_of_ties_is_found_by_a_range_search(monkeypatch) -> None:
    snapshot = snapshot_of(unit(np.ones(8) + 1e-7 * random_vectors(600, 2)))
    query = unit(np.ones((1, 8)))
    asked = faiss_calls(monkeypatch)
    assert listed(nearest.nearest(snapshot, query, 5)) == [by_numpy(snapshot, query[0], 5)]
    assert asked == ["IndexFlatIP.search", "IndexFlatIP.search", "IndexFlatIP.range_search"]


def test_every_call_of_faiss_uses_one_thread_from_any_thread(gallery, monkeypatch) -> None:
    plain = faiss.IndexFlatIP.search
    used: list[int] = []

    def watched(self, *args, **options):
        used.append(faiss.omp_get_max_threads())
        return plain(self, *args, **options)

    monkeypatch.setattr(faiss.IndexFlatIP, "search", watched)
    monkeypatch.setattr(faiss_index, "WORTH_A_THREAD", 0)
    monkeypatch.setattr(faiss_index, "cores", lambda: 2)
    after: list[int] = []

    def ask() -> None:
        faiss.omp_set_num_threads(3)
        gallery.search(QUERY, 3)
        gallery.search(random_vectors(30), 3)
        after.append(faiss.omp_get_max_threads())

    for one in [threading.Thread(target=ask) for _ in range(2)]:
        one.start()
        one.join()
    ask()
    assert len(used) == 12 and set(used) == {1}
    assert after == [3, 3, 3]  # torch may share the setting: it is as it was


def test_batches_of_few_queries_are_matrix_products() -> None:
    faiss_index.library()
    assert faiss.cvar.distance_compute_blas_threshold < 64 * 32


# -- when there is a second index --------------------------------------------------------------


def made_behind() -> None:
    for one in threading.enumerate():
        if one.name == "cxr-second-index":
            one.join(60)


def test_a_gallery_that_is_asked_often_gets_its_second_index(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(second_index, "WORTH_BYTES", 1 << 14)
    monkeypatch.setattr(second_index, "ASKED", 5)
    gallery = Gallery.create(tmp_path, STAMP)
    gallery.upsert(make_rows(low_rank(1500, 8, rank=3)))
    queries = random_vectors(20, 5)

    def answers() -> list:
        found = [gallery.search(query, 7)[0] for query in queries[:4]]
        return [[(hit.row.id, hit.score) for hit in hits] for hits in found]

    before = answers()
    now = mirror_of(gallery)
    assert second_index.known(now) is None
    assert gallery.stats()["search"] == {"index": "IndexFlatIP", "bytes": 48_000, "second": None}
    gallery.search(queries[4], 7)
    made_behind()
    second_index.give(now, second_index.build(now.vectors))  # whatever was measured
    assert answers() == before
    told = gallery.stats()["search"]["second"]
    assert told["index"] == "IndexFlatIPPanorama"
    assert 48_000 < told["bytes"] < 120_000

    # It is of one version, and goes with it.
    gallery.upsert(make_rows(unit(queries[:1]), prefix="new/"))
    gallery.refresh()
    assert gallery.search(queries[0], 1)[0][0].row.id == "new/0"
    del now
    assert gallery.search(queries[0], 1, where=Where(split=("test",)))[0][0].row.id == "new/0"
    assert gallery.stats()["search"]["second"] is None


def test_vectors_that_lie_in_few_directions_get_one_and_random_ones_do_not() -> None:
    lying, random = low_rank(40_000, 64), random_vectors(40_000, 1, 64)
    assert second_index.share_read(lying) < 0.3
    assert second_index.build(lying).bytes < 1.2 * lying.nbytes
    assert second_index.share_read(random) > 0.6
    assert second_index.make(faiss_index.of(random)[0]) is None


def test_small_galleries_have_no_second_index() -> None:
    snapshot = snapshot_of(low_rank(1000, 8))
    for _ in range(2 * second_index.ASKED):
        nearest.nearest(snapshot, random_vectors(1), 3)
    made_behind()
    assert second_index.known(snapshot) is None


def test_vectors_that_are_not_finite_get_none() -> None:
    vectors = random_vectors(100)
    vectors[3, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        second_index.build(vectors)


# -- the memory of an index --------------------------------------------------------------------


def test_an_index_and_its_memory_keep_each_other(tmp_path) -> None:
    expected, path = random_vectors(1000, 4), tmp_path / "x.vectors"

    def index() -> Any:
        made, memory = faiss_index.empty(1000, 8)
        memory[:] = expected  # filled in place
        assert type(made) is faiss.IndexFlatIP and made.ntotal == 1000
        return made

    def rows() -> np.ndarray:
        faiss_index.write(index(), path)
        return faiss_index.mapped(path, 1000, 8)[1][10:20]

    kept, mapped = index(), rows()
    for _ in range(20):
        faiss_index.of(random_vectors(1000, 5))
    assert (kept.reconstruct_n(0, 1000) == expected).all()
    assert (faiss_index.vectors_of(kept) == expected).all()
    assert (mapped == expected[10:20]).all() and not mapped.flags.writeable
    assert (faiss.read_index(str(path)).reconstruct_n(0, 1000) == expected).all()


def test_an_empty_index_has_no_vectors() -> None:
    index, memory = faiss_index.empty(0, 8)
    assert index.ntotal == 0 and memory.shape == (0, 8)
    assert nearest.nearest(nearest.Rows(index, memory), random_vectors(2), 3)[1][0].size == 0


def test_a_file_that_cannot_be_written_is_an_oserror(tmp_path) -> None:
    index, _ = faiss_index.of(random_vectors(10))
    with pytest.raises(OSError, match="cannot be written"):
        faiss_index.write(index, tmp_path / "absent" / "x.vectors")


def test_searches_go_on_where_another_package_changed_faiss(tmp_path) -> None:
    """faiss.contrib.torch_utils, which pytorch-metric-learning imports, in a process of its own."""
    gallery = small_gallery(tmp_path / "g", 40)
    ids = gallery.ids()
    program = (
        "import faiss.contrib.torch_utils, sys\n"
        "from store import Gallery\n"
        "gallery = Gallery.open(sys.argv[1])\n"
        "print([hit.row.id for hit in gallery.search_by_id(sys.argv[2], 5)])\n"
    )
    asked = subprocess.run(
        [sys.executable, "-c", program, gallery.uri, ids[0]], capture_output=True, text=True
    )
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.strip() == str([hit.row.id for hit in gallery.search_by_id(ids[0], 5)])


def test_indexes_are_built_and_written_where_simpleitk_was_imported(tmp_path) -> None:
    """After FAISS: FAISS then hands out SimpleITK's vectors of C++ in place of its own."""
    pytest.importorskip("SimpleITK")
    program = (
        "import faiss, SimpleITK, sys\n"
        "from ingest.artefacts import write\n"
        "from store.mirror import second_index\n"
        "from tests.store.rows import make_rows, random_vectors\n"
        "vectors = random_vectors(3000, 32)\n"
        "built = second_index.build(vectors, parts=2)\n"
        "print(built.search(vectors[7:8], 1)[1].tolist())\n"
        "rows = {row.id: row for row in make_rows(vectors)}\n"
        "names = write.label_names(rows)\n"
        "open(sys.argv[1], 'wb').write(write.data_files(rows, vectors, names)[write.INDEX])\n"
    )
    path = tmp_path / "index.faiss"
    asked = subprocess.run(
        [sys.executable, "-c", program, path],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert asked.stdout.strip() == "[[7]]", asked.stderr
    assert faiss.read_index(str(path)).ntotal == 3000
