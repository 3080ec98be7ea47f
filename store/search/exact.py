"""Exact answers from the mirror: all vectors in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from store.errors import BadQuery, StoreDamaged
from store.mirror import build, disk_cache, faiss_index, second_index
from store.mirror.faiss_index import Bits
from store.mirror.snapshot import Snapshot
from store.schema import EncoderStamp, Hit, Integers, Row, Vectors
from store.search.base import Answerer, Remake, Sample, Searched
from store.table import lance, rows
from store.table.column_stats import Range
from store.table.filters import Where

#: Fetched beyond k, so that ties at the edge are seen; and how many times more where they were not
#: enough, before FAISS is asked for all rows that come near the k-th.
_MARGIN, _TIMES = 16, 8
#: Candidates scored at once in float64; they stay in cache.
_SCORED = 256
#: Rows that are looked through at once in a range search, whose results are of any number.
_RANGED = 1 << 20

#: Positions and cosines of one query's neighbours, best first.
Found = tuple[Integers, Vectors]


@dataclass(frozen=True, eq=False)
class Rows:
    """Vectors without ids: equal scores rank by position.

    Attributes:
        index: faiss.IndexFlatIP over ``vectors``.
        vectors: float32 (n, d), unit rows.
    """

    index: Any
    vectors: Vectors

    @classmethod
    def of(cls, vectors: Vectors) -> Rows:
        """An index with a copy of float32 (n, d)."""
        return cls(*faiss_index.of(vectors))

    def ranks(self, positions: Integers) -> Integers:
        """Their positions."""
        return positions


def rounding(dimension: int) -> float:
    """The slack of float32: an inner product of unit vectors is off by d * 2^-24 at most.

    Higham, Accuracy and Stability of Numerical Algorithms (2002), 3.1; of both rows compared,
    which are of unit length up to a percent.
    """
    return 2.02 * dimension * 2.0**-24 + 2e-7


def nearest(
    searched: Searched,
    queries: Vectors,
    k: int,
    allowed: Integers | None = None,
    excluded: Sequence[int] = (),
    own: Integers | None = None,
) -> list[Found]:
    """The k nearest rows by inner product, exact, equal scores by id.

    FAISS finds k candidates and some more. They are scored again in float64, so that a score does
    not depend on the batch it was asked in and equal vectors score equal. Float32 may be off by
    ``rounding``: if the last candidate is not surely worse than the k-th, FAISS is asked for more,
    and at last for every row that is not surely worse.

    Args:
        searched: what to search.
        queries: float32 (q, d), unit rows.
        k: how many.
        allowed: ascending positions that may be found; None for all.
        excluded: positions that no query may find.
        own: int64 (q,), a position that each query alone may not find; -1 for none.

    Returns:
        Per query: positions and scores, best first; fewer than k when fewer are allowed.
    """
    total, dimension = searched.index.ntotal, searched.index.d
    allowed, bits = _selected(total, allowed, excluded)
    room = total if allowed is None else len(allowed)
    nothing: Found = (np.empty(0, np.int64), np.empty(0, np.float32))
    results = [nothing] * len(queries)
    pending = np.arange(len(queries) if room else 0)
    wanted = k if own is None else k + 1
    count, last = min(room, wanted + _MARGIN), False
    while pending.size:
        asked = queries if len(pending) == len(queries) else queries[pending]
        slack, second = rounding(dimension), second_index.of(searched, len(asked), count)
        if second is None:
            scores, places = faiss_index.search(searched.index, asked, count, bits, allowed)
        else:
            slack = second_index.rounding(slack)
            scores, places = second.search(asked, count, bits)
        # Scores above 1, or below -1, are rounding of the vectors' lengths, and rank as 1 and -1.
        kth = np.minimum(scores[:, wanted - 1], 1) if count >= wanted else np.full(len(asked), -1.0)
        least = np.where(kth <= slack - 1, -np.inf, kth - slack).astype(np.float32)
        complete = (scores[:, -1] < least) | (count >= room)
        usable = (scores >= least[:, None]) & complete[:, None] & (places >= 0)
        query, column = np.nonzero(usable)
        _settle(searched, asked, (query, places[query, column]), k, own, pending, complete, results)
        pending, least = pending[~complete], least[~complete]
        if last:
            step = max(_RANGED // total, 1)
            for start in range(0, len(pending), step):
                some = slice(start, start + step)
                _all_near(searched, queries, least[some], k, own, pending[some], bits, results)
            break
        count, last = min(room, _TIMES * count), True
    return results


def _selected(
    total: int, allowed: Integers | None, excluded: Sequence[int]
) -> tuple[Integers | None, Bits | None]:
    """The rows that may be found, as positions and as FAISS's selectors take them."""
    if not len(excluded) and (allowed is None or len(allowed) == total):
        return None, None
    banned = np.asarray(excluded, np.int64)
    if allowed is None:
        allowed = np.delete(np.arange(total), banned)
    elif banned.size:
        allowed = np.setdiff1d(allowed, banned, assume_unique=True)
    return allowed, faiss_index.bits_of(allowed, total)


def _all_near(
    searched: Searched,
    queries: Vectors,
    least: Vectors,
    k: int,
    own: Integers | None,
    pending: Integers,
    bits: Bits | None,
    results: list[Found],
) -> None:
    """Settle queries that too many rows are near to, by a range search."""
    asked = queries[pending]
    limits, scores, places = faiss_index.above(searched.index, asked, float(least.min()), bits)
    query = np.repeat(np.arange(len(asked)), np.diff(limits))
    near = scores >= least[query]
    complete = np.ones(len(asked), bool)
    _settle(searched, asked, (query[near], places[near]), k, own, pending, complete, results)


def _settle(
    searched: Searched,
    asked: Vectors,
    candidates: tuple[Integers, Integers],
    k: int,
    own: Integers | None,
    pending: Integers,
    complete: npt.NDArray[np.bool_],
    results: list[Found],
) -> None:
    """Rank the candidates of the queries that are complete, and put them where they belong."""
    query, places = candidates
    if own is not None:
        others = places != own[pending][query]
        query, places = query[others], places[others]
    ranked = _rank(searched, asked, query, places, k)
    for place in np.flatnonzero(complete):
        results[pending[place]] = ranked[place]


def _rank(
    searched: Searched, queries: Vectors, query: Integers, positions: Integers, k: int
) -> list[Found]:
    """Score pairs of a query and a position in float64; the k best of each query, ties by id."""
    scores = np.empty(len(query), np.float32)
    wide = queries.astype(np.float64)
    for start in range(0, len(query), _SCORED):
        part = slice(start, start + _SCORED)
        products = searched.vectors[positions[part]].astype(np.float64)
        products *= wide[query[part]]
        scores[part] = products.sum(axis=1).clip(-1, 1)
    order = np.lexsort((-scores, query))
    query, positions, scores = query[order], positions[order], scores[order]
    edges = np.searchsorted(query, np.arange(len(queries) + 1))
    same = (scores[1:] == scores[:-1]) & (query[1:] == query[:-1])
    for tied in np.unique(query[1:][same]):
        mine = slice(edges[tied], edges[tied + 1])
        by_id = np.lexsort((searched.ranks(positions[mine]), -scores[mine]))
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
    if not np.all(np.abs(norms - 1) <= 10 * rows.NORM_TOLERANCE):
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
    found = lance.take(snapshot.handle, sorted(set(wanted)))
    missing = [row_id for row_id in wanted if row_id not in found]
    if missing:
        raise StoreDamaged(
            f"{len(missing)} rows of version {snapshot.version} are in the mirror but not in the "
            "table; run: cxr check"
        )
    return [found[row_id] for row_id in wanted]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Exact:
    """A snapshot that answers; see Answerer."""

    mirror: Snapshot

    @property
    def handle(self) -> Any:
        """The table, pinned to the version."""
        return self.mirror.handle

    @property
    def version(self) -> int:
        """Of the table."""
        return self.mirror.version

    @property
    def uuid(self) -> str:
        """Identity of the table."""
        return self.mirror.uuid

    @property
    def token(self) -> str:
        """Digest of the version's manifest."""
        return self.mirror.token

    @property
    def count(self) -> int:
        """How many rows."""
        return self.mirror.count

    @property
    def manner(self) -> dict[str, Any]:
        """Nothing to say: exact."""
        return {}

    @property
    def searching(self) -> dict[str, Any]:
        """The mirror's index, and the second one where there is one."""
        index, second = self.mirror.index, second_index.known(self.mirror)
        told = None
        if second is not None:
            told = {
                "index": "IndexFlatIPPanorama",
                "bytes": second.bytes,
                "parts": len(second.parts),
            }
        return {
            "index": type(index).__name__,
            "bytes": 4 * int(index.ntotal) * int(index.d),
            "second": told,
        }

    def search(
        self, queries: Vectors, k: int, where: Where | None, exclude: Sequence[str]
    ) -> list[list[Hit]]:
        """Hits per query, exact."""
        now = self.mirror
        excluded = now.known_positions(exclude)
        return hits(now, nearest(now, queries, k, now.positions_of(where), excluded))

    def vectors_of(self, ids: Sequence[str]) -> Vectors:
        """From memory."""
        found: Vectors = self.mirror.vectors[self.mirror.find(ids)]
        return found

    def row_ids_of(self, ids: Sequence[str]) -> list[int]:
        """From memory."""
        return self.mirror.row_ids_of(ids)

    def rows_of(self, ids: Sequence[str]) -> list[Row]:
        """Metadata, from the table at this version."""
        return join(self.mirror, self.mirror.find(ids))

    def ids_of(self, where: Where | None) -> list[str]:
        """The ids that pass, ascending."""
        return self.mirror.ids_of(where)

    def facets(self, where: Where | None) -> dict[str, dict[str, int]]:
        """Counts of the rows that pass."""
        return self.mirror.facets(where)

    def ranges(self, where: Where | None) -> dict[str, Range]:
        """Least and greatest values of the rows that pass."""
        return self.mirror.ranges(where)

    def sample(self, most: int) -> Sample:
        """Evenly spread over the row ids."""
        now = self.mirror
        order = now.by_row_id[1]
        if now.count:
            order = order[
                np.unique(np.linspace(0, now.count - 1, min(now.count, most)).astype(int))
            ]
        whole = now if len(order) == now.count else None
        return Sample(now.row_ids[order], now.changed_at[order], now.vectors[order], whole)


class ExactManner:
    """The mirror follows the table, helped by the saved one."""

    def __init__(self, uri: str, dimension: int) -> None:
        self._uri, self._dimension = uri, dimension

    def follow(self, before: Answerer | None, handle: Any, remake: Remake) -> Exact:
        """See Manner."""
        now = None if before is None else before.mirror
        if now is None:
            now = disk_cache.load(self._uri, handle, self._dimension)
            if now is not None:
                # Answers came from a damaged file: everything made of it goes.
                disk_cache.verify_behind(
                    self._uri,
                    now,
                    lambda _: remake(lambda newest: Exact(build.build(newest, self._dimension))),
                )
        after = build.follow(now, handle, self._dimension)
        if after is not now:
            disk_cache.save_behind(self._uri, after)
        return Exact(after)

    def close(self) -> None:
        """Memory only."""
