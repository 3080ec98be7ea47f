"""Exact search over vectors in memory: FAISS finds candidates, float64 scores rank them.

``ExactSearcher`` is a snapshot that can be searched; ``ExactBackend`` keeps one up to date.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store.errors import BadQuery
from store.mirror import build, disk_cache, faiss_index, second_index
from store.mirror.faiss_index import Bits
from store.mirror.snapshot import Snapshot
from store.schema import EncoderStamp, Hit, Integers, Progress, Row, Vectors
from store.search.base import FlatVectors, Ranked, Remake, Sample, Searcher
from store.table import rows
from store.table.filters import Where

#: Fetched beyond k, so that ties at the edge are seen; and how many times more where they were not
#: enough, before FAISS is asked for all rows that come near the k-th.
_MARGIN, _TIMES = 16, 8
#: Rows of a query's own group that are fetched at once, so that others are seen beyond them: of
#: 100,000 x 128, 1,024 queries take 129 ms for 27 rows each, 143 for 227, 269 for 1,060.
#: The few queries with larger groups are asked again, unless others are nearer anyway.
OWN_AT_ONCE, _NINE_IN_TEN = 256, 0.9
#: Candidates scored at once in float64; they stay in cache.
_SCORED = 256
#: Rows that are looked through at once in a range search, whose results are of any number.
_RANGED = 1 << 20
#: Rows that ask for their neighbours at once.
_ASKING = 1024

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


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of the rows of an index, for queries that find no row of a group of their own.

    Attributes:
        of_row: int64 (n,), the number of each row's group; -1 where it has none.
        sizes: int64 (groups,), how many rows each has.
    """

    of_row: Integers
    sizes: Integers

    @classmethod
    def of(cls, numbers: Integers) -> Groups:
        """Groups by the number of each row's, int64 (n,)."""
        return cls(numbers, np.bincount(numbers[numbers >= 0]))

    @classmethod
    def alone(cls, rows: int) -> Groups:
        """Each row a group of its own, whose number is its position."""
        return cls(np.arange(rows), np.ones(rows, np.int64))

    def usual(self, asking: Integers) -> int:
        """Rows that the groups of nine in ten of some queries have at most."""
        known = (asking >= 0) & (asking < len(self.sizes))
        sizes = np.where(known, self.sizes[np.where(known, asking, 0)], 0)
        return int(np.quantile(sizes, _NINE_IN_TEN, method="higher")) if len(sizes) else 0


def rounding(dimension: int) -> float:
    """The slack of float32: an inner product of unit vectors is off by d * 2^-24 at most.

    Higham, Accuracy and Stability of Numerical Algorithms (2002), 3.1; of both rows compared,
    which are of unit length up to a percent.
    """
    return 2.02 * dimension * 2.0**-24 + 2e-7


def nearest(
    searched: FlatVectors,
    queries: Vectors,
    k: int,
    allowed: Integers | None = None,
    excluded: Sequence[int] = (),
    apart: tuple[Integers, Groups] | None = None,
) -> list[Found]:
    """The k nearest rows by inner product, exact, equal scores by id.

    FAISS finds k candidates and some more. They are scored again in float64, so that a score does
    not depend on the batch it was asked in and equal vectors score equal. Float32 may be off by
    ``rounding``: if the last candidate is not surely worse than the k-th, FAISS is asked for more,
    and at last for every row that is not surely worse. Rows of the query's own group are passed
    over; where these are all that was found, FAISS is asked for the others by a selector.

    Args:
        searched: what to search.
        queries: float32 (q, d), unit rows.
        k: how many.
        allowed: ascending positions that may be found; None for all.
        excluded: positions that no query may find.
        apart: of each query the number of its group, int64 (q,), and the groups of the rows: a
            query finds no row of its own group. None: no groups.

    Returns:
        Per query: positions and scores, best first; fewer than k when fewer are allowed.
    """
    total, dimension = searched.index.ntotal, searched.index.d
    allowed, bits = _selected(total, allowed, excluded)
    room = total if allowed is None else len(allowed)
    nothing: Found = (np.empty(0, np.int64), np.empty(0, np.float32))
    results = [nothing] * len(queries)
    pending = np.arange(len(queries) if room else 0)
    own_rows = 0 if apart is None else min(apart[1].usual(apart[0]), OWN_AT_ONCE)
    count, last = min(room, k + own_rows + _MARGIN), False
    while pending.size:
        asked = queries if len(pending) == len(queries) else queries[pending]
        slack, second = rounding(dimension), second_index.of(searched, len(asked), count)
        if second is None:
            scores, places = faiss_index.search(searched.index, asked, count, bits, allowed)
        else:
            slack = second_index.rounding(slack)
            scores, places = second.search(asked, count, bits)
        eligible = places >= 0
        if apart is not None:
            eligible &= apart[1].of_row[places] != apart[0][pending, None]
        kth, reached = _kth(scores, eligible, k)
        # Scores above 1, or below -1, are rounding of the vectors' lengths, and rank as 1 and -1.
        kth = np.minimum(kth, 1)
        least = np.where(kth <= slack - 1, -np.inf, kth - slack).astype(np.float32)
        complete = (scores[:, -1] < least) | (count >= room)
        eligible &= (scores >= least[:, None]) & complete[:, None]
        query, column = np.nonzero(eligible)
        _settle(searched, asked, (query, places[query, column]), k, pending, complete, results)
        left = ~complete
        pending, least, reached = pending[left], least[left], reached[left]
        if last:
            crowded, least = pending[reached], least[reached]
            step = max(_RANGED // total, 1)
            for start in range(0, len(crowded), step):
                some = slice(start, start + step)
                _all_near(searched, queries, least[some], k, apart, crowded[some], bits, results)
            if apart is not None:
                _others(searched, queries, k, allowed, apart, pending[~reached], results)
            break
        count, last = min(room, _TIMES * count), True
    return results


def _kth(
    scores: Vectors, eligible: npt.NDArray[np.bool_], k: int
) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """The k-th score among the candidates that count, and whether there are k; -1 where not."""
    if scores.shape[1] < k:
        return np.full(len(scores), -1, np.float32), np.zeros(len(scores), bool)
    if eligible[:, :k].all():
        return scores[:, k - 1], np.ones(len(scores), bool)
    rank = np.cumsum(eligible, axis=1, dtype=np.int32)
    reached = rank[:, -1] >= k
    column = (rank >= k).argmax(axis=1)
    return np.where(reached, scores[np.arange(len(scores)), column], np.float32(-1)), reached


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
    searched: FlatVectors,
    queries: Vectors,
    least: Vectors,
    k: int,
    apart: tuple[Integers, Groups] | None,
    pending: Integers,
    bits: Bits | None,
    results: list[Found],
) -> None:
    """Settle queries that too many rows are near to, by a range search."""
    asked = queries[pending]
    limits, scores, places = faiss_index.above(searched.index, asked, float(least.min()), bits)
    query = np.repeat(np.arange(len(asked)), np.diff(limits))
    near = scores >= least[query]
    if apart is not None:
        near &= apart[1].of_row[places] != apart[0][pending][query]
    complete = np.ones(len(asked), bool)
    _settle(searched, asked, (query[near], places[near]), k, pending, complete, results)


def _others(
    searched: FlatVectors,
    queries: Vectors,
    k: int,
    allowed: Integers | None,
    apart: tuple[Integers, Groups],
    pending: Integers,
    results: list[Found],
) -> None:
    """Settle queries whose own group is nearest in numbers: the rows of all others, by selector."""
    asking, groups = apart
    for group in np.unique(asking[pending]):
        mine = pending[asking[pending] == group]
        others = groups.of_row != group
        rest = np.flatnonzero(others) if allowed is None else allowed[others[allowed]]
        for place, found in zip(mine, nearest(searched, queries[mine], k, rest), strict=True):
            results[place] = found


def _settle(
    searched: FlatVectors,
    asked: Vectors,
    candidates: tuple[Integers, Integers],
    k: int,
    pending: Integers,
    complete: npt.NDArray[np.bool_],
    results: list[Found],
) -> None:
    """Rank the candidates of the queries that are complete, and put them where they belong."""
    ranked = _rank(searched, asked, *candidates, k)
    for place in np.flatnonzero(complete):
        results[pending[place]] = ranked[place]


def _rank(
    searched: FlatVectors, queries: Vectors, query: Integers, positions: Integers, k: int
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


def neighbours(
    searched: FlatVectors, k: int, progress: Progress | None = None, block: int = _ASKING
) -> Iterator[tuple[Integers, Integers, Vectors]]:
    """The k nearest other rows of every row.

    Args:
        searched: more than k rows.
        k: how many.
        progress: called with rows done and in all.
        block: rows that ask at once.

    Yields:
        Positions int64 (b,) of some rows, and of their neighbours positions int64 (b, k) and
        cosines float32 (b, k), best first.
    """
    count = len(searched.vectors)
    alone = Groups.alone(count)
    for start in range(0, count, block):
        own = np.arange(start, min(start + block, count))
        found = nearest(searched, searched.vectors[own], k, apart=(own, alone))
        yield own, np.stack([at for at, _ in found]), np.stack([scores for _, scores in found])
        if progress is not None:
            progress(int(own[-1]) + 1, count)


def nearest_cosines(searched: FlatVectors, progress: Progress | None = None) -> Vectors:
    """Of every row, the cosine of its nearest other row: float32 (n,), NaN for a lone row."""
    found = np.full(len(searched.vectors), np.nan, np.float32)
    if len(found) > 1:
        for own, _, cosines in neighbours(searched, 1, progress):
            found[own] = cosines[:, 0]
    return found


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


class ExactSearcher(Snapshot):
    """A snapshot that answers queries, exactly; see Searcher."""

    @property
    def caveats(self) -> dict[str, Any]:
        """None: exact and whole."""
        return {}

    @property
    def index_facts(self) -> dict[str, Any]:
        """The mirror's index, and the second one where there is one."""
        second = second_index.known(self)
        return {
            "index": type(self.index).__name__,
            "bytes": 4 * int(self.index.ntotal) * int(self.index.d),
            "second": None
            if second is None
            else {
                "index": "IndexFlatIPPanorama",
                "bytes": second.bytes,
                "parts": len(second.parts),
            },
        }

    def search(
        self, queries: Vectors, k: int, where: Where | None, exclude: Sequence[str]
    ) -> list[list[Hit]]:
        """Hits per query, best first, equal scores by id."""
        excluded = self.known_positions(exclude)
        found = nearest(self, queries, k, self.positions_of(where), excluded)
        if not found:
            return []
        joined = iter(self.rows(np.concatenate([positions for positions, _ in found])))
        return [
            [Hit(rank, float(score), next(joined)) for rank, score in enumerate(scores, start=1)]
            for _, scores in found
        ]

    def ranked(
        self, queries: Vectors, k: int, where: Where | None, exclude: Sequence[str]
    ) -> list[Ranked]:
        """What ``search`` finds, without the metadata of the rows."""
        excluded = self.known_positions(exclude)
        return [
            Ranked(
                self.row_ids[places].tolist(),
                self.keys.take(pa.array(places)).to_pylist(),
                scores.tolist(),
            )
            for places, scores in nearest(self, queries, k, self.positions_of(where), excluded)
        ]

    def rows_at(self, row_ids: Sequence[int]) -> list[Row]:
        """Metadata of rows that are stored, by the table's row ids, in the order asked."""
        return self.rows(self.places(np.asarray(row_ids, np.int64)))

    def vectors_at(self, row_ids: Sequence[int]) -> Vectors:
        """Vectors of rows that are stored, float32 (n, d), in the order asked."""
        found: Vectors = self.vectors[self.places(np.asarray(row_ids, np.int64))]
        return found

    def sample(self, most: int) -> Sample:
        """At most this many rows, evenly spread over the row ids."""
        order = self.by_row_id[1]
        if self.count:
            order = order[
                np.unique(np.linspace(0, self.count - 1, min(self.count, most)).astype(int))
            ]
        whole = self if len(order) == self.count else None
        return Sample(self.row_ids[order], self.changed_at[order], self.vectors[order], whole)


class ExactBackend:
    """Keeps a snapshot up to date: loads it from the disk cache, then copies only what changed."""

    def __init__(self, uri: str, dimension: int) -> None:
        self._uri, self._dimension = uri, dimension

    def follow(
        self, before: Searcher | None, handle: Any, token: str, remake: Remake
    ) -> ExactSearcher:
        """See Backend."""
        now = before if isinstance(before, ExactSearcher) else None
        if now is None:
            now = disk_cache.load(self._uri, handle, self._dimension, ExactSearcher)
            if now is not None:
                # Answers came from a damaged file: everything made of it goes.
                disk_cache.verify_behind(self._uri, now, lambda _: remake(self._build))
        after = build.follow(now, handle, self._dimension, ExactSearcher, token)
        if after is not now:
            disk_cache.save_behind(self._uri, after)
        return after

    def _build(self, handle: Any) -> ExactSearcher:
        return build.build(handle, self._dimension, ExactSearcher)

    def close(self) -> None:
        """Memory only."""
