"""The scan itself: which vectors have the largest inner products, on all cores.

Matrix products run block by block over the memory of the IndexFlatIP, and only scores that reach
the best ones so far are looked at again. Their rounding is that of IndexFlatIP, at most d * 2^-24.
A large gallery that is asked often goes through its 8-bit copy (store.copies), whose scores choose
candidates. Every answer says what it cannot have left out; store.search ranks by the vectors
themselves, with that bound in mind, so the answer is the same whatever scanned.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from store import copies, cores
from store.best import Best
from store.mirror import Integers, Snapshot
from store.schema import Vectors

#: Up to this many queries, scanning per query is quicker than a matrix product.
_FEW = 3
#: Bytes of scores per block of a matrix product: small blocks stay in cache, but cores wait for
#: each other after every one, which a busy machine makes long.
_BLOCK_BYTES = 1 << 20
#: Bytes of vectors gathered at once under a filter.
_GATHERED_BYTES = 1 << 18
#: Above this share of the rows, scoring all of them in place beats gathering some; below the
#: other, gathering beats looking for them in the 8-bit copy.
_MOST = 0.4
_LEAST = 0.02
#: Candidates from the 8-bit copy at most; the proof mostly needs some five for each wanted.
_TIMES, _EXTRA = 16, 128
#: Bytes of vectors that one thread reads about as quickly as several.
_FITS = 32 << 20
#: Scores to gather that are worth a second thread.
_WORTH_A_THREAD = 2500


class Candidates(NamedTuple):
    """What a scan found: the best rows by float32 scores, and how sure it is.

    Attributes:
        scores: float32 (q, m), best first; -inf where none is left.
        positions: int64 (q, m); -1 where none is left.
        bound: float32 (q,); no row with a greater score was left out. -inf where every row left out
            is surely worse than ``count`` of these.
    """

    scores: Vectors
    positions: Integers
    bound: Vectors


def top(
    snapshot: Snapshot,
    queries: Vectors,
    count: int,
    extra: int,
    allowed: Integers | None,
    sure: bool = True,
) -> Candidates:
    """The ``count`` rows, and some more, with the largest inner products with each query.

    Args:
        snapshot: what to scan.
        queries: float32 (q, d).
        count: at most the number of rows, or of ``allowed``.
        extra: how many more, so that ties at the edge are seen.
        allowed: ascending positions to look at; None for all.
        sure: every score is worked out in float32; else the 8-bit copy may choose.
    """
    room = snapshot.count if allowed is None else len(allowed)
    most = _TIMES * count + _EXTRA
    if not sure and room > max(most, _LEAST * snapshot.count):
        few = room <= _MOST * snapshot.count
        found = copies.candidates(snapshot, queries, count, most, rounding(queries), allowed, few)
        if found is not None:
            bound = np.where(found.complete, -np.inf, np.inf).astype(np.float32)
            return Candidates(found.scores, found.positions, bound)
    scores, positions = _all(snapshot, queries, min(count + extra, room), allowed)
    return Candidates(scores, positions, scores[:, -1])


def _all(
    snapshot: Snapshot, queries: Vectors, count: int, allowed: Integers | None
) -> tuple[Vectors, Integers]:
    """The best by float32 scores of all rows."""
    if allowed is not None:
        if len(allowed) <= _MOST * snapshot.count or len(queries) > _FEW:
            return _some(snapshot.vectors, queries, count, allowed)
        scores = np.empty((len(queries), snapshot.count), np.float32)
        for query, mine in zip(queries, scores, strict=True):
            _products(snapshot.vectors, query[:, None], mine[:, None], _parts(snapshot.vectors))
        return _pick(scores[:, allowed], allowed, count)
    if len(queries) <= _FEW:
        found = [blocked(snapshot.vectors, query, count) for query in queries[:, None]]
        best, places = zip(*found, strict=True)
        return np.concatenate(best), np.concatenate(places)
    return blocked(snapshot.vectors, queries, count)


def rounding(queries: Vectors) -> float:
    """The slack of float32: an inner product of unit vectors is off by d * 2^-24 at most.

    Higham, Accuracy and Stability of Numerical Algorithms (2002), 3.1; of both rows compared,
    which are of unit length up to a percent.
    """
    return 2.02 * float(queries.shape[1]) * 2.0**-24 + 2e-7


def blocked(
    vectors: Vectors, queries: Vectors, count: int, banned: Integers | None = None
) -> tuple[Vectors, Integers]:
    """Scores and positions of the best of each query, without sorting all scores.

    Args:
        vectors: float32 (n, d).
        queries: float32 (q, d).
        count: how many per query, at most n, or n - 1 where one is banned.
        banned: one position per query that is not to be found; -1 for none.
    """
    n, q = len(vectors), len(queries)
    rows = min(max(_BLOCK_BYTES // (4 * q), 256, 2 * count), n)
    columns = np.ascontiguousarray(queries.T)
    space = np.empty((rows, q), np.float32)
    best, parts = Best(q, count), _parts(vectors)
    for piece in cores.pieces(slice(0, n), rows):
        scores = _products(vectors[piece], columns, space[: piece.stop - piece.start], parts)
        if banned is not None:
            inside = np.flatnonzero((banned >= piece.start) & (banned < piece.stop))
            scores[banned[inside] - piece.start, inside] = -np.inf
        best.add(scores, piece.start)
    return best.found()


def _products(vectors: Vectors, columns: Vectors, out: Vectors, parts: int = 1) -> Vectors:
    """The product of (n, d) and (d, q), into ``out`` (n, q); of one query by so many threads."""
    if columns.shape[1] > 1:
        return np.matmul(vectors, columns, out=out)
    # BLAS's threads wait for each other: with one query, 5 to 20 times as long as a single thread
    # needs where somebody else has a core.
    query, scores = columns[:, 0], out[:, 0]

    cores.each(
        lambda mine: np.vecdot(vectors[mine], query, out=scores[mine]),
        cores.share(len(vectors), parts),
    )
    return out


def _parts(vectors: Vectors) -> int:
    """Threads for one query."""
    return cores.count() if vectors.nbytes > _FITS else 1


def _some(
    vectors: Vectors, queries: Vectors, count: int, allowed: Integers
) -> tuple[Vectors, Integers]:
    """Candidates among a few rows, gathered piece by piece so that they stay in cache."""
    piece = max(_GATHERED_BYTES // (4 * vectors.shape[1]), 1)
    columns = np.ascontiguousarray(queries.T)
    scores = np.empty((len(allowed), len(queries)), np.float32)

    def part(mine: slice) -> None:
        space = np.empty((piece, vectors.shape[1]), np.float32)
        for some in cores.pieces(mine, piece):
            chosen = allowed[some]
            rows = np.take(vectors, chosen, axis=0, out=space[: len(chosen)], mode="clip")
            _products(rows, columns, scores[some])

    many = len(allowed) * len(queries) >= _WORTH_A_THREAD
    cores.each(part, cores.share(len(allowed), cores.count() if many else 1))
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
