"""Label noise: rows whose neighbours disagree with their findings.

The disagreement of row i with findings L is the mean Jaccard distance to its k nearest labelled
neighbours, 1 - |L_i and L_j| / |L_i or L_j|; between two rows without a finding it is 0. With one
finding a row it is the share of neighbours that carry another one, and a row above one half is what
Wilson's edited nearest-neighbour rule (IEEE Trans. SMC 2, 1972) takes out.

Where rows have several findings the same rule is asked of each finding alone: one that a row
carries and fewer than half of its neighbours do is unsupported, one that more than half of them
carry and the row does not is missing. Who is not sure of a finding has no vote on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from store.errors import BadQuery
from store.evaluation.relevance import one_hot
from store.outcomes import NOTHING_FOUND
from store.schema import Floats, Integers, Progress, Vectors
from store.search import exact

_BLOCK = 256


@dataclass(frozen=True, slots=True, eq=False)
class FindingDoubts:
    """Findings of rows that their neighbours doubt, one entry a row and finding, in that order.

    Attributes:
        row: int64 (m,), ascending.
        finding: int64 (m,), place of its name in ``Doubts.names``.
        missing: bool (m,): the row lacks it and more than half of its neighbours carry it; false:
            the row carries it and fewer than half of them do.
        votes: int64 (m,), neighbours that carry it.
        of: int64 (m,), neighbours that are sure whether they do.
    """

    row: Integers
    finding: Integers
    missing: npt.NDArray[np.bool_]
    votes: Integers
    of: Integers


@dataclass(frozen=True, slots=True, eq=False)
class Doubts:
    """Disagreement of every labelled row's neighbours, in the order given.

    Attributes:
        names: all findings, sorted.
        disagreement: float64 (n,), 0 (all agree) to 1; 0 for a row without neighbours.
        nearness: float64 (n,), mean cosine of the neighbours; NaN without any.
        said: the most frequent finding among the neighbours, or ``no finding``; the nearest on a
            tie; empty without neighbours.
        votes: int64 (n,), how many of the neighbours say so.
        asked: int64 (n,), neighbours: k, or the rows of other groups where they are fewer.
        order: int64 (n,), most doubtful first: by disagreement, then nearness, then as given.
        findings: doubts about single findings.
    """

    names: list[str]
    disagreement: Floats
    nearness: Floats
    said: list[str]
    votes: Integers
    asked: Integers
    order: Integers
    findings: FindingDoubts


def doubts(
    vectors: Vectors,
    labels: Sequence[tuple[str, ...]],
    k: int = 10,
    progress: Progress | None = None,
    *,
    uncertain: Sequence[tuple[str, ...]] | None = None,
    groups: Integers | None = None,
) -> Doubts:
    """Compare every row's findings with those of its k nearest rows of other groups.

    Args:
        vectors: float32 (n, d), unit rows; equal scores rank in the order given.
        labels: the findings of each row; empty where nothing was found.
        k: how many neighbours, below n.
        progress: called with rows done and in all.
        uncertain: findings of each row that nobody was sure of; none when left out.
        groups: int64 (n,), e.g. patients: rows of one group are not each other's neighbours. None:
            every row is alone.

    Raises:
        BadQuery: k out of range.
    """
    n = len(vectors)
    if not 1 <= k < n:
        raise BadQuery(f"k = {k}: expected 1 to {n - 1}, the other labelled rows")
    unsure = [()] * n if uncertain is None else uncertain
    names = sorted({name for rows in (labels, unsure) for row in rows for name in row})
    hot = one_hot(labels, names)
    maybe = one_hot(unsure, names) * (1 - hot)
    size = hot.sum(axis=1)
    nothing = (size == 0).astype(np.float32)[:, None]
    disagreement, nearness = np.zeros(n), np.full(n, np.nan)
    votes, said, asked = (np.zeros(n, np.int64) for _ in range(3))
    parts = []
    for own, places, scores in _others(exact.Rows.of(vectors), k, groups, progress):
        there = places >= 0
        asked[own] = there.sum(axis=1)
        some = np.maximum(asked[own], 1)
        found = hot[places] * there[..., None]  # (b, k, names)
        shared = np.einsum("bkl,bl->bk", found, hot[own])
        union = size[places] + size[own, None] - shared
        distance = np.where(union > 0, 1 - shared.astype(np.float64) / np.maximum(union, 1), 0)
        disagreement[own] = (distance * there).sum(axis=1) / some
        with np.errstate(invalid="ignore"):
            total = scores.sum(axis=1, dtype=np.float64)
            nearness[own] = total / np.where(asked[own] > 0, asked[own], np.nan)
        without = nothing[places] * there[..., None]
        votes[own], said[own] = _majority(np.concatenate([found, without], axis=2))
        sure = asked[own, None] - (maybe[places] * there[..., None]).sum(axis=1)
        parts.append(_by_finding(own, hot[own] > 0, maybe[own] > 0, found.sum(axis=1), sure))
    # A share of k rows is a fraction: rounding must not decide between equal ones.
    order = np.lexsort((np.arange(n), -nearness, -disagreement.round(9)))
    told = [*names, NOTHING_FOUND]
    return Doubts(
        names,
        disagreement,
        nearness,
        [told[place] if count else "" for place, count in zip(said, votes, strict=True)],
        votes,
        asked,
        order,
        FindingDoubts(*(np.concatenate(part) for part in zip(*parts, strict=True))),
    )


_Part = tuple[Integers, Integers, npt.NDArray[np.bool_], Integers, Integers]


def _by_finding(
    own: Integers,
    carried: npt.NDArray[np.bool_],
    maybe: npt.NDArray[np.bool_],
    votes: npt.NDArray[np.float32],
    sure: npt.NDArray[np.float32],
) -> _Part:
    """The fields of FindingDoubts of some rows."""
    unsupported = carried & (2 * votes < sure)
    missing = ~carried & ~maybe & (2 * votes > sure)
    row, finding = np.nonzero(unsupported | missing)
    told, of = (count[row, finding].astype(np.int64) for count in (votes, sure))
    return own[row], finding, missing[row, finding], told, of


def _others(
    rows: exact.Rows, k: int, groups: Integers | None, progress: Progress | None
) -> Iterator[tuple[Integers, Integers, Vectors]]:
    """Of every row the k nearest rows of other groups; place -1 where there are fewer."""
    count = len(rows.vectors)
    numbers = np.arange(count) if groups is None else groups
    apart = exact.Groups.of(numbers)
    for start in range(0, count, _BLOCK):
        own = np.arange(start, min(start + _BLOCK, count))
        places = np.full((len(own), k), -1, np.int64)
        scores = np.zeros((len(own), k), np.float32)
        found = exact.nearest(rows, rows.vectors[own], k, apart=(numbers[own], apart))
        for at, (positions, cosines) in enumerate(found):
            places[at, : len(positions)], scores[at, : len(positions)] = positions, cosines
        yield own, places, scores
        if progress is not None:
            progress(int(own[-1]) + 1, count)


def _majority(found: npt.NDArray[np.float32]) -> tuple[Integers, Integers]:
    """Votes for, and place of, the most frequent label; on a tie the one that came first."""
    counts = found.sum(axis=1).astype(np.int64)  # (b, names)
    first = np.where(found.any(axis=1), found.argmax(axis=1), found.shape[1])
    # The rank of a label's first carrier is below the number of neighbours.
    best = (counts * (found.shape[1] + 1) - first).argmax(axis=1)
    return counts[np.arange(len(found)), best], best
