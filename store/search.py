"""Exact search over a snapshot, and the join of what was found to its metadata."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store import arrow, scan, table
from store.errors import BadQuery, StoreDamaged
from store.mirror import Snapshot
from store.schema import EncoderStamp, Hit, Row, Vectors

#: Fetched beyond k, so that ties at the edge are seen.
_MARGIN = 16
#: Candidates scored at once in float64; they stay in cache.
_SCORED = 256

#: Positions and cosines of one query's neighbours, best first.
Found = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


def nearest(
    snapshot: Snapshot,
    queries: Vectors,
    k: int,
    allowed: npt.NDArray[np.int64] | None = None,
    excluded: Sequence[int] = (),
) -> list[Found]:
    """The k nearest rows by inner product, exact, ties by id.

    The scan finds the candidates. They are scored again in float64, so that a score does not depend
    on the batch it was asked in and equal vectors score equal; enough candidates are taken that
    the rounding of the scan cannot have left one out.

    Args:
        snapshot: what to search.
        queries: float32 (q, d), unit rows.
        k: how many.
        allowed: ascending positions that may be found; None for all.
        excluded: positions that must not be found.

    Returns:
        Per query: positions and scores, best first; fewer than k when fewer are allowed.
    """
    banned = np.asarray(sorted(set(excluded)), np.int64)
    room = snapshot.count
    if allowed is not None:
        allowed = np.setdiff1d(allowed, banned, assume_unique=True) if banned.size else allowed
        banned = banned[:0]
        room = len(allowed)
    results: list[Found] = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
    pending = np.arange(len(queries) if room else 0)
    count, extra = min(room, k + len(banned)), _MARGIN
    slack, sure = scan.rounding(queries), False
    while pending.size:
        asked = queries[pending]
        found = scan.top(snapshot, asked, count, extra, allowed, sure)
        usable = found.positions >= 0
        if banned.size:
            usable &= ~np.isin(found.positions, banned)
        # Scores above 1, or below -1, are rounding of the vectors' lengths, and rank as 1 and -1.
        kth = np.minimum(_kth(found.scores, usable, k), 1)
        least = np.where(kth <= slack - 1, -np.inf, kth - slack)
        # Complete when the best one left out is surely worse than the k-th that may be found.
        complete = (found.bound < least) | (found.scores.shape[1] >= room)
        usable &= (found.scores >= least[:, None]) & complete[:, None]
        query, column = np.nonzero(usable)
        ranked = _rank(snapshot, asked, query, found.positions[query, column], k)
        for place in np.flatnonzero(complete):
            results[pending[place]] = ranked[place]
        pending = pending[~complete]
        if sure or np.isfinite(found.bound).any():  # float32 scores, too few of them
            extra = 4 * (count + extra)
        sure = True
    return results


def _kth(scores: Vectors, usable: npt.NDArray[np.bool_], k: int) -> Vectors:
    """The k-th usable score of each row, (q,); -inf where there are fewer."""
    rank = np.cumsum(usable, axis=1)
    enough = rank[:, -1] >= k
    column = (rank >= k).argmax(axis=1)
    found: Vectors = np.where(enough, scores[np.arange(len(scores)), column], -np.inf)
    return found.astype(np.float32)


def _rank(
    snapshot: Snapshot,
    queries: Vectors,
    query: npt.NDArray[np.int64],
    positions: npt.NDArray[np.int64],
    k: int,
) -> list[Found]:
    """Score pairs of a query and a position in float64; the k best of each query, ties by id."""
    scores = np.empty(len(query), np.float32)
    wide = queries.astype(np.float64)
    for start in range(0, len(query), _SCORED):
        part = slice(start, start + _SCORED)
        products = snapshot.vectors[positions[part]].astype(np.float64)
        products *= wide[query[part]]
        scores[part] = products.sum(axis=1).clip(-1, 1)
    order = np.lexsort((-scores, query))
    query, positions, scores = query[order], positions[order], scores[order]
    edges = np.searchsorted(query, np.arange(len(queries) + 1))
    same = (scores[1:] == scores[:-1]) & (query[1:] == query[:-1])
    for tied in np.unique(query[1:][same]):
        mine = slice(edges[tied], edges[tied + 1])
        ids = snapshot.keys.take(pa.array(positions[mine])).to_pylist()
        by_id = sorted(range(len(ids)), key=lambda i: (-scores[mine][i], ids[i]))
        positions[mine] = positions[mine][by_id]
        scores[mine] = scores[mine][by_id]
    starts = zip(edges, np.minimum(edges[1:], edges[:-1] + k), strict=False)
    return [(positions[first:last], scores[first:last]) for first, last in starts]


def check_queries(vectors: npt.ArrayLike, stamp: EncoderStamp) -> Vectors:
    """Query vectors as float32 (n, d); BadQuery unless they are finite, unit and of dimension d."""
    try:
        given = np.asarray(vectors)
    except ValueError:
        given = np.asarray(vectors, object)  # rows of several lengths
    if given.dtype.kind not in "fiu":  # the imaginary part of a number would be lost silently
        raise BadQuery(f"query vectors are of {given.dtype}, expected real numbers")
    queries = np.atleast_2d(given.astype(np.float32))
    if queries.ndim != 2 or queries.shape[1] != stamp.dimension:
        raise BadQuery(
            f"query vectors have shape {queries.shape}, expected (n, {stamp.dimension}); "
            f"encode queries with {stamp.name}"
        )
    norms = np.linalg.norm(queries.astype(np.float64), axis=1)
    if not np.all(np.abs(norms - 1) <= 10 * arrow.NORM_TOLERANCE):
        raise BadQuery(
            f"query vectors must be finite and of unit length, found norms {norms.min():.6g} "
            f"to {norms.max():.6g}; L2-normalise them"
        )
    return queries


def hits(snapshot: Snapshot, found: Sequence[Found]) -> list[list[Hit]]:
    """Neighbours with their metadata, at the snapshot's version."""
    if not found:
        return []
    rows = iter(join(snapshot, np.concatenate([positions for positions, _ in found])))
    return [
        [Hit(rank, float(score), next(rows)) for rank, score in enumerate(scores, start=1)]
        for _, scores in found
    ]


def join(snapshot: Snapshot, positions: npt.NDArray[np.int64]) -> list[Row]:
    """Metadata of these positions, in order: from memory, or in one take from the table."""
    rows = snapshot.rows(positions)
    if rows is not None:
        return rows
    wanted = snapshot.row_ids[positions].tolist()
    found = table.take(snapshot.handle, sorted(set(wanted)))
    missing = [row_id for row_id in wanted if row_id not in found]
    if missing:
        raise StoreDamaged(
            f"{len(missing)} rows of version {snapshot.version} are in the mirror but not in the "
            "table; run: cxr check"
        )
    return [found[row_id] for row_id in wanted]
