"""Relevance of the films of a gallery to queries, from the findings of both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from store.evaluation.labelled import Sides
from store.evaluation.ranking import Ranked
from store.schema import Integers


def one_hot(labels: Sequence[tuple[str, ...]], names: list[str]) -> npt.NDArray[np.float32]:
    """float32 (rows, names): 1 where a row has a label."""
    column = {name: place for place, name in enumerate(names)}
    hot = np.zeros((len(labels), len(names)), np.float32)
    for row, found in enumerate(labels):
        hot[row, [column[name] for name in found]] = 1
    return hot


def majority(classes: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """The most frequent class of each row of (q, k) ranked classes; the nearest wins a tie."""
    votes = np.stack([(classes == name).sum(axis=1) for name in range(count)], axis=1)
    # Votes of the classes in rank order: argmax takes the first, the nearest among the tied.
    return np.take_along_axis(
        classes, np.take_along_axis(votes, classes, axis=1).argmax(axis=1)[:, None], axis=1
    )[:, 0]


class Relevance:
    """Relevance of a gallery's rows to queries: whether they share a label."""

    def __init__(self, sides: Sides) -> None:
        both = [*sides.queries.labels, *sides.gallery.labels]
        self.names = sorted({name for row in both for name in row})
        self.single = all(len(row) == 1 for row in both)
        self._asked = one_hot(sides.queries.labels, self.names)
        hot = one_hot(sides.gallery.labels, self.names)
        self.label = hot.argmax(axis=1)
        kinds, kind_of = np.unique(hot, axis=0, return_inverse=True)
        self._kinds, self._kind_of = kinds, kind_of.ravel()
        self._sizes = np.bincount(self._kind_of, minlength=len(kinds))
        self._asking, self._searched = sides.asking_group, sides.searched_group

    def of(self, block: slice) -> npt.NDArray[np.bool_]:
        """Whether each query (b,) of a block shares a label with each row of the gallery (n,)."""
        found: npt.NDArray[np.bool_] = self._related(block)[:, self._kind_of]
        return found

    def at(self, ranked: Ranked) -> npt.NDArray[np.bool_]:
        """The same of the rows that were found, (b, depth)."""
        kinds = self._kind_of[ranked.rows]
        there = ranked.rows >= 0
        return np.take_along_axis(self._related(ranked.block), kinds, axis=1) & there

    def total(self, block: slice) -> Integers:
        """Number of rows relevant to each query (b,), those of its own group left out."""
        related = self._related(block)
        groups, place = np.unique(self._asking[block], return_inverse=True)
        where = np.searchsorted(groups, self._searched)
        mine = groups[np.minimum(where, len(groups) - 1)] == self._searched
        kinds = len(self._kinds)
        own = np.bincount(
            where[mine] * kinds + self._kind_of[mine], minlength=len(groups) * kinds
        ).reshape(-1, kinds)[place]
        found: Integers = (related * (self._sizes - own)).sum(axis=1)
        return found

    def _related(self, block: slice) -> npt.NDArray[np.bool_]:
        found: npt.NDArray[np.bool_] = (self._asked[block] @ self._kinds.T) > 0
        return found
