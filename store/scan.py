"""The scan itself: which vectors have the largest inner products, on all cores.

One query goes to FAISS's IndexFlatIP, each half of it on a thread of its own: alone it keeps one
core busy. Several queries, and few rows, go through blocked matrix products over the same memory.
Scores are float32 inner products, correct to d * 2^-24 like those of IndexFlatIP; store.search
ranks with that bound in mind.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from store.mirror import Integers, Snapshot
from store.schema import Vectors

#: Up to this many queries, scanning per query is quicker than a matrix product.
_FEW = 2
#: Below this many rows a second thread costs more than it saves.
_WORTH_A_THREAD = 20_000
#: Bytes of scores per block of a matrix product: cores wait for each other after every block, so
#: few large ones stay quick on a busy machine (16 MiB: 1.2 x the bare product, 1 MiB: 5 x).
_BLOCK_BYTES = 1 << 24
#: Rows that tell how high the best scores are, and groups of them whose peaks are compared.
_SAMPLED = 4096
_GROUPS = 128
#: Bytes of vectors gathered at once under a filter.
_GATHERED_BYTES = 1 << 18
#: Above this share of the rows, scoring all of them in place beats gathering some.
_MOST = 0.4

#: Scores float32 and positions int64, (queries, count), best first; position -1 where none is left.
Candidates = tuple[Vectors, Integers]


def top(snapshot: Snapshot, queries: Vectors, count: int, allowed: Integers | None) -> Candidates:
    """The ``count`` rows with the largest inner products with each query.

    Args:
        snapshot: what to scan.
        queries: float32 (q, d).
        count: at most the number of rows, or of ``allowed``.
        allowed: ascending positions to look at; None for all.
    """
    if allowed is not None:
        if len(allowed) <= _MOST * snapshot.count or len(queries) > _FEW:
            return _some(snapshot.vectors, queries, count, allowed)
        return _pick(_scores(snapshot.vectors, queries)[:, allowed], allowed, count)
    if len(queries) <= _FEW:
        found = [_one(snapshot, query, count) for query in queries[:, None]]
        scores, positions = zip(*found, strict=True)
        return np.concatenate(scores), np.concatenate(positions)
    return blocked(snapshot.vectors, queries, count)


def _one(snapshot: Snapshot, query: Vectors, count: int) -> Candidates:
    import faiss

    query = np.ascontiguousarray(query)
    rows = snapshot.count
    parts = _threads() if rows >= _WORTH_A_THREAD else 1
    edges = [rows * part // parts for part in range(parts + 1)]

    def part(number: int) -> Any:
        chosen = faiss.IDSelectorRange(edges[number], edges[number + 1])
        parameters = faiss.SearchParameters(sel=chosen)
        return snapshot.index.search(query, min(count, rows), params=parameters)

    found = list(_pool().map(part, range(parts)))
    scores = np.concatenate([scores for scores, _ in found], axis=1)
    positions = np.concatenate([positions for _, positions in found], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(positions, order, axis=1)


def blocked(
    vectors: Vectors, queries: Vectors, count: int, banned: Integers | None = None
) -> Candidates:
    """Candidates of many queries by matrix products, block by block, without sorting all scores.

    Args:
        vectors: float32 (n, d).
        queries: float32 (q, d).
        count: how many per query, at most n.
        banned: one position per query that is not to be found; -1 for none.
    """
    n, q = len(vectors), len(queries)
    rows = min(max(_BLOCK_BYTES // (4 * q), 256), n)
    first = min(max(rows, _SAMPLED, 2 * count), n)
    columns = np.ascontiguousarray(queries.T)
    space = np.empty((max(first, rows), q), np.float32)
    passing = np.empty(space.shape, bool)
    best = np.full((q, count), -np.inf, np.float32)
    places = np.full((q, count), -1, np.int64)
    floor = np.full(q, -np.inf, np.float32)
    gathered: list[tuple[Integers, Integers, Vectors]] = []
    waiting = start = 0
    while start < n:
        stop = min(start + (rows if start else first), n)
        block = slice(0, stop - start)
        scores = np.matmul(vectors[start:stop], columns, out=space[block])
        if banned is not None:
            inside = np.flatnonzero((banned >= start) & (banned < stop))
            scores[banned[inside] - start, inside] = -np.inf
        if start == 0:
            floor = _floor(scores, count)
        # Equal to the floor is kept: which of equal scores ranks first is decided later.
        flat = np.flatnonzero(np.greater_equal(scores, floor, out=passing[block]))
        row, query = np.divmod(flat, q)
        gathered.append((query, row + start, scores.ravel()[flat]))
        waiting += len(flat)
        if waiting > 8 * q * count or stop == n:
            best, places = _merge(best, places, gathered, count)
            gathered, waiting = [], 0
            floor = np.maximum(floor, best[:, -1])
        start = stop
    return best, places


def _floor(scores: Vectors, count: int) -> Vectors:
    """A score that at least ``count`` rows of a block reach, per query; -inf if unknown."""
    rows, q = scores.shape
    groups = min(rows, max(_GROUPS, 2 * count))
    size = rows // groups
    peaks = scores[: groups * size].reshape(groups, size, q).max(axis=1)
    if groups <= count:
        return np.full(q, -np.inf, np.float32)
    found: Vectors = np.partition(peaks, groups - count, axis=0)[groups - count]
    return found


def _merge(
    best: Vectors, places: Integers, new: list[tuple[Integers, Integers, Vectors]], count: int
) -> Candidates:
    """The best ``count`` of each query among those held and those gathered."""
    q = len(best)
    query = np.concatenate([np.repeat(np.arange(q), count), *(part[0] for part in new)])
    place = np.concatenate([places.ravel(), *(part[1] for part in new)])
    score = np.concatenate([best.ravel(), *(part[2] for part in new)])
    order = np.lexsort((-score, query))
    first = np.searchsorted(query[order], np.arange(q))
    kept = order[first[:, None] + np.arange(count)]
    return score[kept], place[kept]


def _some(vectors: Vectors, queries: Vectors, count: int, allowed: Integers) -> Candidates:
    """Candidates among a few rows, gathered piece by piece so that they stay in cache."""
    piece = max(_GATHERED_BYTES // (4 * vectors.shape[1]), 1)
    columns = np.ascontiguousarray(queries.T)
    scores = np.empty((len(allowed), len(queries)), np.float32)

    def part(number: int) -> None:
        mine = slice(len(allowed) * number // parts, len(allowed) * (number + 1) // parts)
        space = np.empty((piece, vectors.shape[1]), np.float32)
        for start in range(mine.start, mine.stop, piece):
            chosen = allowed[start : min(start + piece, mine.stop)]
            rows = np.take(vectors, chosen, axis=0, out=space[: len(chosen)], mode="clip")
            np.matmul(rows, columns, out=scores[start : start + len(chosen)])

    parts = _threads() if len(allowed) * len(queries) >= _WORTH_A_THREAD // 8 else 1
    if parts > 1:
        list(_pool().map(part, range(parts)))
    else:
        part(0)
    return _pick(scores.T, allowed, count)


def _scores(vectors: Vectors, queries: Vectors) -> Vectors:
    found: Vectors = queries @ vectors.T
    return found


def _pick(scores: Vectors, allowed: Integers, count: int) -> Candidates:
    if count < scores.shape[1]:
        chosen = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    else:
        chosen = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    found = np.take_along_axis(scores, chosen, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    places: npt.NDArray[np.int64] = allowed[np.take_along_axis(chosen, order, axis=1)]
    return np.take_along_axis(found, order, axis=1), places


def _threads() -> int:
    return max(min(os.cpu_count() or 1, 16), 1)


@cache
def _pool() -> ThreadPoolExecutor:
    import faiss

    # One OpenMP thread in each: two teams of two would fight for two cores.
    return ThreadPoolExecutor(
        _threads(), "cxr-scan", initializer=lambda: faiss.omp_set_num_threads(1)
    )
