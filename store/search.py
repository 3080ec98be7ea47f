"""Exact search over a snapshot, and the join of what was found to its metadata."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store import arrow, scan, table
from store.errors import BadQuery, StoreDamaged
from store.mirror import Snapshot
from store.schema import EncoderStamp, Hit, Row, Vectors

#: Fetched beyond k, so that ties at the edge are seen.
_MARGIN = 16

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

    The scan finds the candidates in float32. They are scored again in float64, so that a score does
    not depend on the batch it was asked in and equal vectors score equal; enough candidates are
    taken that rounding cannot have left one out.

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
    if room == 0 or not len(queries):
        empty = np.empty(0, np.int64), np.empty(0, np.float32)
        return [empty] * len(queries)

    def fetch(rows: Vectors, count: int) -> scan.Candidates:
        return scan.top(snapshot, rows, count, allowed)

    return _exact(snapshot, queries, k, room, banned, fetch)


def _exact(
    snapshot: Snapshot,
    queries: Vectors,
    k: int,
    room: int,
    banned: npt.NDArray[np.int64],
    fetch: Callable[[Vectors, int], scan.Candidates],
) -> list[Found]:
    # Rounding of a float32 inner product of unit vectors is at most d * 2^-24 (Higham 2002, 3.1).
    slack = 2 * queries.shape[1] * 2.0**-24 + 2e-7
    results: list[Any] = [None] * len(queries)
    pending = np.arange(len(queries))
    count = min(room, k + len(banned) + _MARGIN)
    while pending.size:
        scores, positions = fetch(queries[pending], count)
        unsure = []
        for query, row_scores, row_positions in zip(pending, scores, positions, strict=True):
            keep = (row_positions >= 0) & ~np.isin(row_positions, banned)
            kept = row_scores[keep]
            # Complete when the last one fetched is surely worse than the k-th kept.
            if count < room and (len(kept) < k or row_scores[-1] >= kept[k - 1] - slack):
                unsure.append(query)
                continue
            results[query] = _rescore(snapshot, queries[query], row_positions[keep], k)
        pending = np.asarray(unsure, np.int64)
        count = min(room, count * 4)
    return results


def _rescore(
    snapshot: Snapshot, query: npt.NDArray[np.float32], positions: npt.NDArray[np.int64], k: int
) -> Found:
    products = snapshot.vectors[positions].astype(np.float64) * query.astype(np.float64)
    scores = np.clip(products.sum(axis=1), -1, 1).astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    positions, scores = positions[order], scores[order]
    if len(scores) > 1 and (scores[:-1] == scores[1:]).any():
        ids = snapshot.keys.take(pa.array(positions)).to_pylist()
        ranked = sorted(range(len(ids)), key=lambda place: (-scores[place], ids[place]))
        positions, scores = positions[ranked], scores[ranked]
    return positions[:k], scores[:k]


def check_queries(vectors: npt.ArrayLike, stamp: EncoderStamp) -> Vectors:
    """Query vectors as float32 (n, d); BadQuery unless they are finite, unit and of dimension d."""
    queries = np.atleast_2d(np.asarray(vectors, np.float32))
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
    """Neighbours with their metadata, read at the snapshot's version in one take."""
    if not found:
        return []
    rows = iter(join(snapshot, np.concatenate([positions for positions, _ in found])))
    return [
        [Hit(rank, float(score), next(rows)) for rank, score in enumerate(scores, start=1)]
        for _, scores in found
    ]


def join(snapshot: Snapshot, positions: npt.NDArray[np.int64]) -> list[Row]:
    """Metadata of these positions, in order."""
    wanted = snapshot.row_ids[positions].tolist()
    found = table.take(snapshot.handle, sorted(set(wanted)))
    missing = [row_id for row_id in wanted if row_id not in found]
    if missing:
        raise StoreDamaged(
            f"{len(missing)} rows of version {snapshot.version} are in the mirror but not in the "
            "table; run: cxr check"
        )
    return [found[row_id] for row_id in wanted]
