"""Label noise: rows whose neighbours disagree with their labels.

The disagreement of row i with labels L is the mean Jaccard distance to its k nearest labelled
neighbours, 1 - |L_i and L_j| / |L_i or L_j|. With one label a row it is the share of neighbours
that carry another one, and a row above one half is what Wilson's edited nearest-neighbour rule
(IEEE Trans. SMC 2, 1972) takes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from store.errors import BadQuery
from store.evaluation.relevance import one_hot
from store.schema import Floats, Integers, Progress, Vectors
from store.search import exact

_BLOCK = 256


@dataclass(frozen=True, slots=True, eq=False)
class Doubts:
    """Disagreement of every labelled row's neighbours, in the order given.

    Attributes:
        disagreement: float64 (n,), 0 (all agree) to 1.
        nearness: float64 (n,), mean cosine of the k neighbours.
        said: the most frequent label among the neighbours, the nearest on a tie, per row.
        votes: int64 (n,), how many of the k neighbours carry it.
        order: int64 (n,), most doubtful first: by disagreement, then nearness, then as given.
    """

    disagreement: Floats
    nearness: Floats
    said: list[str]
    votes: Integers
    order: Integers


def doubts(
    vectors: Vectors,
    labels: Sequence[tuple[str, ...]],
    k: int = 10,
    progress: Progress | None = None,
) -> Doubts:
    """Compare every row's labels with those of its k nearest other rows.

    Args:
        vectors: float32 (n, d), unit rows; equal scores rank in the order given.
        labels: at least one per row.
        k: how many neighbours, below n.
        progress: called with rows done and in all.

    Raises:
        BadQuery: k out of range, or a row without labels.
    """
    n = len(vectors)
    if not 1 <= k < n:
        raise BadQuery(f"k = {k}: expected 1 to {n - 1}, the other labelled rows")
    if not all(labels):
        raise BadQuery(f"row {[*map(bool, labels)].index(False)} has no label; leave it out")
    names = sorted({name for row in labels for name in row})
    hot = one_hot(labels, names)
    size = hot.sum(axis=1)
    rows = exact.Rows.of(vectors)
    disagreement, nearness = np.empty(n), np.empty(n)
    votes, said = np.empty(n, np.int64), np.empty(n, np.int64)
    for own, places, scores in exact.neighbours(rows, k, progress, _BLOCK):
        found = hot[places]  # (b, k, names)
        shared = np.einsum("bkl,bl->bk", found, hot[own])
        union = size[places] + size[own, None] - shared
        disagreement[own] = 1 - (shared.astype(np.float64) / union).mean(axis=1)
        nearness[own] = scores.mean(axis=1, dtype=np.float64)
        votes[own], said[own] = _majority(found)
    # A share of k rows is a fraction: rounding must not decide between equal ones.
    order = np.lexsort((np.arange(n), -nearness, -disagreement.round(9)))
    return Doubts(disagreement, nearness, [names[place] for place in said], votes, order)


def _majority(found: npt.NDArray[np.float32]) -> tuple[Integers, Integers]:
    """Votes for, and place of, the most frequent label; on a tie the one that came first."""
    counts = found.sum(axis=1).astype(np.int64)  # (b, names)
    first = np.where(found.any(axis=1), found.argmax(axis=1), found.shape[1])
    # The rank of a label's first carrier is below the number of neighbours.
    best = (counts * (found.shape[1] + 1) - first).argmax(axis=1)
    return counts[np.arange(len(found)), best], best
