"""The best of many scores, picked while they pass by in blocks and are still in cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from store.mirror import Integers
from store.schema import Vectors

#: float32, or int32 where loose.
Scores = npt.NDArray[Any]

#: Groups of rows whose peaks tell how high the best scores are.
_GROUPS = 128
#: Scores compared at once, since short rows of them are slow, and how many make a group of which
#: only the peak is looked at first.
_WIDTH, _DEEP = 4096, 16
#: Hits of one query, in what is wanted of it, beyond which they are thinned out before all queries
#: get as much room.
_WIDEST = 8
#: Share of the groups that are looked into, rather than all scores.
_SPARSE = 1 / 8
#: Below every score but that of a row that may not be found.
_LOWEST, _LEAST = np.finfo(np.float32).min, np.iinfo(np.int32).min


@dataclass(frozen=True)
class Loose:
    """What to do about scores that are whole numbers and not exact.

    Attributes:
        scale: float32 (q,), what one is worth.
        error: float32 (q,), by how much a score is off at most, and exact ones are rounded.
        top: float32 (q,), the score that no exact one exceeds.
        exact: from positions (q, m) to exact scores (q, m); -inf for position -1.
        most: rows kept of a query at most.
    """

    scale: Vectors
    error: Vectors
    top: Vectors
    exact: Callable[[Integers], Vectors]
    most: int


class Best:
    """The best scores of each query so far.

    Args:
        queries: how many.
        count: wanted of each.
        loose: given where scores are not exact: all that could be among the best is kept then.
        floor: float32 (q,), below which nothing is wanted. Threads that share one raise it
            together; a value that one of them overwrites with a lower one was as true.
    """

    def __init__(
        self, queries: int, count: int, loose: Loose | None = None, floor: Vectors | None = None
    ) -> None:
        self._count, self._loose = count, loose
        self._most = count if loose is None else max(loose.most, count)
        self._scores = np.full((queries, count), -np.inf, np.float32)
        self._places = np.full((queries, count), -1, np.int64)
        self._floor = new_floor(queries) if floor is None else floor
        self._waiting: list[tuple[Integers, Integers, Vectors]] = []
        self._hits = 0  # in all of them
        self._dropped = np.full(queries, -np.inf, np.float32)

    def add(self, scores: Scores, start: int) -> None:
        """Look at a block.

        Args:
            scores: (n, q), contiguous; float32, int32 where loose. The lowest number there is
                stands for what is not to be found.
            start: position of its first row; blocks come in ascending order.
        """
        q = scores.shape[1]
        if (self._floor == _LOWEST).any():
            self._raise(_floor(scores, self._count))
        # Equal to the floor is kept: which of equal scores ranks first is decided later.
        flat = _reaching(scores, self._reach())
        if not len(flat):
            return
        row, query = np.divmod(flat, q)
        found = scores.ravel()[flat]
        if self._loose is not None:
            found = (found * self._loose.scale[query]).astype(np.float32)
        self._waiting.append((query, row + start, found))
        self._hits += len(flat)
        if self._hits > 4 * q * self._count:
            self._merge()

    def _raise(self, reached: Scores) -> None:
        """The floor, to scores (q,) that enough rows reach."""
        if self._loose is None:
            np.maximum(self._floor, reached, out=self._floor)
        else:
            known = reached > _LEAST
            sure = reached * self._loose.scale - self._loose.error
            sure = np.minimum(sure, self._loose.top) - self._loose.error
            np.maximum(self._floor, sure, out=self._floor, where=known)

    def _reach(self) -> Scores:
        """The floor, as blocks count."""
        if self._loose is None:
            return self._floor
        floor = np.floor(self._floor.astype(np.float64) / self._loose.scale)
        return np.maximum(floor, _LEAST + 1).astype(np.int32)

    def give_up(self) -> None:
        """Not all rows were looked at."""
        self._dropped[:] = np.inf

    @property
    def crowded(self) -> npt.NDArray[np.bool_]:
        """Whether a query had more to keep than may be kept, (q,)."""
        return self._dropped >= self._floor

    def found(self) -> tuple[Vectors, Integers]:
        """Scores (q, m) and positions (q, m), best first; -inf and -1 where there are no more.

        m is ``count`` for exact scores.
        """
        self._merge()
        return self._scores, self._places

    def _merge(self) -> None:
        if not self._waiting:
            return
        query, place, score = (np.concatenate(part) for part in zip(*self._waiting, strict=True))
        self._waiting, self._hits = [], 0
        q, held = self._scores.shape
        # Short integers are sorted by counting.
        order = np.argsort(query.astype(np.uint16) if q < 1 << 16 else query, kind="stable")
        ends = np.searchsorted(query[order], np.arange(q + 1))
        width = int(np.diff(ends).max(initial=0))
        if width > max(_WIDEST * self._count, self._most):  # too many of some query
            order = np.lexsort((-score, query))
            order = order[np.arange(len(order)) - ends[query[order]] <= self._most]
            ends = np.searchsorted(query[order], np.arange(q + 1))
            width = self._most + 1
        query = query[order]
        scores = np.full((q, held + width), -np.inf, np.float32)
        places = np.full((q, held + width), -1, np.int64)
        scores[:, :held], places[:, :held] = self._scores, self._places
        column = np.arange(len(order)) - ends[query] + held
        scores[query, column], places[query, column] = score[order], place[order]
        self._keep(scores, places)

    def _keep(self, scores: Vectors, places: Integers) -> None:
        """Hold what is good enough of (q, n)."""
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self._most + 1]
        scores = np.take_along_axis(scores, order, axis=1)
        places = np.take_along_axis(places, order, axis=1)
        if self._loose is None:
            last = scores[:, self._count - 1]
        else:
            # Exact scores of the best ones tell more than the bound does of theirs.
            last = self._loose.exact(places[:, : self._count]).min(axis=1) - self._loose.error
        np.maximum(self._floor, last, out=self._floor)
        if scores.shape[1] > self._most:
            np.maximum(self._dropped, scores[:, self._most], out=self._dropped)
        good = (scores >= self._floor[:, None]) & (places >= 0)
        width = max(min(int(good.sum(axis=1).max(initial=0)), self._most), self._count)
        self._scores = np.where(good, scores, -np.inf)[:, :width]
        self._places = np.where(good, places, -1)[:, :width]


def new_floor(queries: int) -> Vectors:
    """Nothing is known yet."""
    return np.full(queries, _LOWEST, np.float32)


def together(parts: Sequence[Best]) -> Best:
    """What was found in neighbouring parts of the rows by those who share a floor."""
    first = parts[0]
    whole = Best(len(first._floor), first._count, first._loose, first._floor)
    whole._dropped = np.max([part._dropped for part in parts], axis=0)
    found = [part.found() for part in parts]
    whole._keep(*(np.concatenate(one, axis=1) for one in zip(*found, strict=True)))
    return whole


def _reaching(scores: Scores, floor: Scores) -> Integers:
    """Where scores (n, q) reach a floor (q,), in flat order."""
    n, q = scores.shape
    width = min(max(_WIDTH // q, 1), n) * q  # of what is compared at once
    whole = scores.size - scores.size % (_DEEP * width)
    deep = scores.reshape(-1)[:whole].reshape(-1, _DEEP, width)
    # Where few reach the floor, peaks of groups are found faster than every score is compared.
    high = np.flatnonzero(deep.max(axis=1).reshape(-1, width // q, q) >= floor)
    if len(high) > _SPARSE * whole / _DEEP:
        return np.flatnonzero(scores >= floor)
    group, column = np.divmod(high, width)
    which, depth = np.nonzero(deep[group, :, column] >= floor[column % q][:, None])
    found = (group[which] * _DEEP + depth) * width + column[which]
    found.sort()
    rest = np.flatnonzero(scores[whole // q :] >= floor)
    return np.concatenate([found, rest + whole])


def _floor(scores: Scores, count: int) -> Scores:
    """A score that at least ``count`` rows of a block reach, per query; the lowest if unknown."""
    rows, q = scores.shape
    groups = min(rows, max(_GROUPS, 2 * count))
    size = rows // groups
    if groups <= count:
        return np.full(q, -np.inf if scores.dtype.kind == "f" else _LEAST, scores.dtype)
    # A group is every so manieth row, so that whole rows are compared with each other.
    peaks = scores[: groups * size].reshape(size, groups * q).max(axis=0).reshape(groups, q)
    found: Scores = np.partition(peaks, groups - count, axis=0)[groups - count]
    return found
