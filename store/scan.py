"""The scan itself: which vectors have the largest inner products, on all cores.

Matrix products run block by block over the memory of the IndexFlatIP, and only scores that reach
the best ones so far are looked at again. Their rounding is that of IndexFlatIP, at most d * 2^-24.
A few queries of a large gallery that is asked often go through its 8-bit copy (store.codes), whose
scores are less exact. Every answer says how far its scores can be off; store.search ranks by the
vectors themselves, with that bound in mind, so the answer is the same whatever scanned.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from store import codes
from store.mirror import Integers, Snapshot
from store.schema import Vectors

#: Up to this many queries, scanning per query is quicker than a matrix product.
_FEW = 3
#: Bytes of scores per block of a matrix product: small blocks stay in cache, but cores wait for
#: each other after every one, which a busy machine makes long.
_BLOCK_BYTES = 1 << 20
#: Groups of rows whose peaks tell how high the best scores are.
_GROUPS = 128
#: Scores compared at once; short rows of them are slow.
_WIDTH = 2048
#: Share of the columns of compared rows, below which looking into each beats looking at all.
_FEW_COLUMNS = 1 / 16
#: Bytes of vectors gathered at once under a filter.
_GATHERED_BYTES = 1 << 18
#: Above this share of the rows, scoring all of them in place beats gathering some; below the
#: other, gathering beats looking for them in the 8-bit copy.
_MOST = 0.4
_LEAST = 0.02
#: Candidates from the 8-bit copy, of which the proof needs some five for each that is wanted.
_TIMES, _EXTRA = 16, 128
#: Bytes of vectors that one thread reads about as quickly as several.
_FITS = 32 << 20
#: Scores to gather that are worth a second thread.
_WORTH_A_THREAD = 2500


class Candidates(NamedTuple):
    """What a scan found: the best rows by its own scores, and how good those are.

    Attributes:
        scores: float32 (q, count), best first.
        positions: int64 (q, count); -1 where none is left.
        slack: two rows whose true inner products with a unit query are in the other order are
            not further apart than this in ``scores``.
    """

    scores: Vectors
    positions: Integers
    slack: float


def top(
    snapshot: Snapshot, queries: Vectors, count: int, allowed: Integers | None, sure: bool = True
) -> Candidates:
    """The ``count`` rows, or more, with the largest inner products with each query.

    Args:
        snapshot: what to scan.
        queries: float32 (q, d).
        count: at most the number of rows, or of ``allowed``.
        allowed: ascending positions to look at; None for all.
        sure: scores in float32; else they may have 8 bits.
    """
    room = snapshot.count if allowed is None else len(allowed)
    if not sure and len(queries) <= _FEW and room > _LEAST * snapshot.count:
        copy = codes.of(snapshot, allowed if room <= _MOST * snapshot.count else None)
        more = _TIMES * count + _EXTRA
        if copy is not None and more < room:
            chosen = allowed if copy.rows is None else None
            return Candidates(*copy.top(queries, more, chosen), 2 * copy.error)
    slack = rounding(queries)
    if allowed is not None:
        if room <= _MOST * snapshot.count or len(queries) > _FEW:
            return Candidates(*_some(snapshot.vectors, queries, count, allowed), slack)
        scores = np.empty((len(queries), snapshot.count), np.float32)
        for query, mine in zip(queries, scores, strict=True):
            _products(snapshot.vectors, query[:, None], mine[:, None], _parts(snapshot.vectors))
        return Candidates(*_pick(scores[:, allowed], allowed, count), slack)
    if len(queries) <= _FEW:
        found = [blocked(snapshot.vectors, query, count) for query in queries[:, None]]
        best, places = zip(*found, strict=True)
        return Candidates(np.concatenate(best), np.concatenate(places), slack)
    return Candidates(*blocked(snapshot.vectors, queries, count), slack)


def rounding(queries: Vectors) -> float:
    """The slack of float32: an inner product of unit vectors is off by d * 2^-24 at most.

    Higham, Accuracy and Stability of Numerical Algorithms (2002), 3.1; of both rows compared.
    """
    return 2 * float(queries.shape[1]) * 2.0**-24 + 2e-7


def blocked(
    vectors: Vectors, queries: Vectors, count: int, banned: Integers | None = None
) -> tuple[Vectors, Integers]:
    """Scores and positions of the best of each query, without sorting all scores.

    Args:
        vectors: float32 (n, d).
        queries: float32 (q, d).
        count: how many per query, at most n.
        banned: one position per query that is not to be found; -1 for none.
    """
    n, q = len(vectors), len(queries)
    rows = min(max(_BLOCK_BYTES // (4 * q), 256, 2 * count), n)
    columns = np.ascontiguousarray(queries.T)
    space = np.empty((rows, q), np.float32)
    best = np.full((q, count), -np.inf, np.float32)
    places = np.full((q, count), -1, np.int64)
    floor = np.full(q, -np.inf, np.float32)
    gathered: list[tuple[Integers, Integers, Vectors]] = []
    waiting = 0
    reaching, parts = _reaching(rows, q), _parts(vectors)
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        scores = _products(vectors[start:stop], columns, space[: stop - start], parts)
        if banned is not None:
            inside = np.flatnonzero((banned >= start) & (banned < stop))
            scores[banned[inside] - start, inside] = -np.inf
        if start == 0:
            floor = _floor(scores, count)
        # Equal to the floor is kept: which of equal scores ranks first is decided later.
        flat = reaching(scores, floor)
        row, query = np.divmod(flat, q)
        gathered.append((query, row + start, scores.ravel()[flat]))
        waiting += len(flat)
        if waiting > 4 * q * count or stop == n:
            best, places = _merge(best, places, gathered)
            gathered, waiting = [], 0
            floor = np.maximum(floor, best[:, -1])
    return best, places


def _products(vectors: Vectors, columns: Vectors, out: Vectors, parts: int = 1) -> Vectors:
    """The product of (n, d) and (d, q), into ``out`` (n, q); of one query by so many threads."""
    if columns.shape[1] > 1:
        return np.matmul(vectors, columns, out=out)
    # BLAS's threads wait for each other: with one query, 5 to 20 times as long as a single thread
    # needs where somebody else has a core.
    query, scores = columns[:, 0], out[:, 0]

    def part(number: int) -> None:
        mine = slice(len(vectors) * number // parts, len(vectors) * (number + 1) // parts)
        np.vecdot(vectors[mine], query, out=scores[mine])

    if parts > 1:
        list(_pool().map(part, range(parts)))
    else:
        part(0)
    return out


def _parts(vectors: Vectors) -> int:
    """Threads for one query."""
    return _threads() if vectors.nbytes > _FITS else 1


def _reaching(rows: int, q: int) -> Callable[[Vectors, Vectors], Integers]:
    """A function from scores (n, q) and a floor (q,) to where scores reach it, in flat order."""
    together = max(_WIDTH // q, 1)  # rows compared at once
    passing = np.empty((rows, q), bool)

    def find(scores: Vectors, floor: Vectors) -> Integers:
        n = len(scores)
        whole = n - n % together
        wide, floors = scores[:whole].reshape(-1, together * q), np.tile(floor, together)
        # Once floors are high, few columns of compared rows hold anything, and their peaks are
        # found faster than every score is compared and noted.
        peaks = wide.max(axis=0, initial=-np.inf)
        columns = np.flatnonzero(peaks >= floors)
        if len(columns) < _FEW_COLUMNS * len(floors):
            row, column = np.nonzero(wide[:, columns] >= floors[columns])
            rest = np.flatnonzero(scores[whole:] >= floor)
            return np.concatenate([row * len(floors) + columns[column], rest + whole * q])
        np.greater_equal(wide, floors, out=passing[:whole].reshape(-1, together * q))
        np.greater_equal(scores[whole:], floor, out=passing[whole:n])
        found: Integers = np.flatnonzero(passing[:n])
        return found

    return find


def _floor(scores: Vectors, count: int) -> Vectors:
    """A score that at least ``count`` rows of a block reach, per query; -inf if unknown."""
    rows, q = scores.shape
    groups = min(rows, max(_GROUPS, 2 * count))
    size = rows // groups
    if groups <= count:
        return np.full(q, -np.inf, np.float32)
    # A group is every so manieth row, so that whole rows are compared with each other.
    peaks = scores[: groups * size].reshape(size, groups * q).max(axis=0).reshape(groups, q)
    found: Vectors = np.partition(peaks, groups - count, axis=0)[groups - count]
    return found


def _merge(
    best: Vectors, places: Integers, new: list[tuple[Integers, Integers, Vectors]]
) -> tuple[Vectors, Integers]:
    """The best of each query among those held, (q, count), and those gathered."""
    q, count = best.shape
    query = np.concatenate([part[0] for part in new])
    place = np.concatenate([part[1] for part in new])
    score = np.concatenate([part[2] for part in new])
    # Short integers are sorted by counting.
    order = np.argsort(query.astype(np.uint16) if q < 1 << 16 else query, kind="stable")
    query = query[order]
    ends = np.searchsorted(query, np.arange(q + 1))
    width = int(np.diff(ends).max(initial=0))
    scores = np.full((q, count + width), -np.inf, np.float32)
    positions = np.full((q, count + width), -1, np.int64)
    scores[:, :count], positions[:, :count] = best, places
    column = np.arange(len(order)) - ends[query] + count
    scores[query, column], positions[query, column] = score[order], place[order]
    kept = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(scores, kept, axis=1), np.take_along_axis(positions, kept, axis=1)


def _some(
    vectors: Vectors, queries: Vectors, count: int, allowed: Integers
) -> tuple[Vectors, Integers]:
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
            _products(rows, columns, scores[start : start + len(chosen)])

    parts = _threads() if len(allowed) * len(queries) >= _WORTH_A_THREAD else 1
    if parts > 1:
        list(_pool().map(part, range(parts)))
    else:
        part(0)
    return _pick(scores.T, allowed, count)


def _pick(scores: Vectors, allowed: Integers, count: int) -> tuple[Vectors, Integers]:
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
    return ThreadPoolExecutor(_threads(), "cxr-gather")
