"""Judgement of a map: what it gains, query by query, and a bound that chance hardly passes.

Two figures are looked at, both over the nearest films of a query. Precision@k, the share of them
that share a finding with it, is what is wanted. But where findings are unequally frequent it also
rises by returning the frequent ones to everybody, whatever the query. The balanced agreement does
not: of each finding it is the mean of two shares, among the films found, of those with it for
queries with it, and of those without it for queries without it. A map that knows nothing of a
finding has 1/2 there, whatever it returns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ingest.adaptation.films import Films
from store import Floats, Integers, Sides, Vectors, by_vectors

#: Films that a judgement looks at, for each query; fewer where there are few films.
DEPTH, DEPTH_OF_FEW, FEW = 10, 5, 200
#: Confidence of the interval whose lower bound must be above 0.
CONFIDENCE = 0.99
#: Queries with a finding, and without it, for it to take part in the balanced agreement.
_ENOUGH = 10


@dataclass(frozen=True, slots=True)
class Gain:
    """Gain of a figure by a map, over paired queries.

    Attributes:
        before, after: means over the queries.
        interval: of the difference, with confidence ``CONFIDENCE``; by patient, or study, where
            these are known.
    """

    before: float
    after: float
    interval: tuple[float, float]

    @property
    def difference(self) -> float:
        """The gain itself."""
        return self.after - self.before

    @property
    def is_sure(self) -> bool:
        """Whether the lower bound is above 0."""
        return self.interval[0] > 0


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Figures of queries, before or after a map.

    Attributes:
        precision: float64 (q,), of each query.
        agreement: float64 (q,), parts of the balanced agreement; their mean is the figure.
    """

    precision: Floats
    agreement: Floats

    @property
    def score(self) -> float:
        """What candidates are ordered by: the mean of both figures."""
        return float(self.precision.mean() + self.agreement.mean()) / 2


def depth_for(films: int) -> int:
    """The k of a judgement over so many films that are searched."""
    return DEPTH if films >= FEW else DEPTH_OF_FEW


def look(
    queries: Films, gallery: Films, asked: Vectors, searched: Vectors, weighed: Films | None = None
) -> Found:
    """Rank a gallery for every query; films of the query's patient are not in its ranking.

    Args:
        queries: films that are asked for.
        gallery: films that are searched.
        asked: vectors of the queries, float32 (q, d).
        searched: those of the gallery, float32 (n, d).
        weighed: the films over which the queries' findings are balanced, where the queries are
            some of them; the queries themselves when None.
    """
    depth = min(depth_for(len(gallery)), len(gallery))
    sides = Sides.of(queries.labelled(asked), gallery.labelled(searched))
    names = sorted({name for row in (*queries.labels, *gallery.labels) for name in row})
    theirs, own = one_hot(gallery.labels, names), one_hot(queries.labels, names)
    nobody = np.zeros((1, len(names)), np.float32)
    theirs = np.concatenate([theirs, nobody])  # the place -1 of a ranking that ended
    empty = np.zeros(len(theirs), np.bool_)
    empty[:-1] = theirs[:-1].sum(axis=1) == 0
    weights = _weights(one_hot((weighed or queries).labels, names), own)
    precision, agreement = np.empty(len(queries)), np.empty(len(queries))
    for ranked in by_vectors(sides, depth):
        rows = ranked.rows[:, :depth]
        mine = own[ranked.block]
        has = theirs[rows]
        shared = np.einsum("bkf,bf->bk", has, mine) > 0
        shared |= empty[rows] & (mine.sum(axis=1) == 0)[:, None]
        precision[ranked.block] = shared.sum(axis=1) / depth
        there = has.sum(axis=1) / depth
        absent = (rows >= 0).sum(axis=1)[:, None] / depth - there
        agreed = np.where(mine > 0, there, absent)
        agreement[ranked.block] = (agreed * weights[ranked.block]).sum(axis=1)
    return Found(precision, agreement)


def one_hot(labels: list[tuple[str, ...]], names: list[str]) -> Vectors:
    """float32 (n, names): 1 where a film has a finding."""
    column = {name: place for place, name in enumerate(names)}
    hot = np.zeros((len(labels), len(names)), np.float32)
    for place, row in enumerate(labels):
        hot[place, [column[name] for name in row]] = 1
    return hot


def _weights(everybody: Vectors, own: Vectors) -> Floats:
    """Weights that make the balanced agreement a mean over all queries, float64 (q, names)."""
    n = len(everybody)
    with_it = everybody.sum(axis=0, dtype=np.float64)
    fewer = np.minimum(with_it, n - with_it)
    counted = fewer >= min(_ENOUGH, fewer.max(initial=0))
    counted &= fewer > 0
    if not counted.any():
        return np.zeros(own.shape)
    share = n / (2 * counted.sum())
    has = share / np.maximum(with_it, 1)
    lacks = share / np.maximum(n - with_it, 1)
    found: Floats = np.where(own > 0, has, lacks) * counted
    return found


def gain(before: Floats, after: Floats, groups: Integers) -> Gain:
    """The gain in the mean of paired figures, with its interval.

    The interval is that of a mean over clusters with Student's t (Cameron and Miller, A
    Practitioner's Guide to Cluster-Robust Inference, J. Human Resources 50, 2015, section VI),
    which holds for few patients as well.

    Args:
        before: float64 (q,).
        after: float64 (q,), of the same queries.
        groups: int64 (q,), equal for queries of one patient.
    """
    from scipy import stats

    differences = after - before
    n, mean = len(differences), float(differences.mean())
    sums = np.bincount(groups, weights=differences - mean)
    sums = sums[np.bincount(groups) > 0]
    count = len(sums)
    if count < 2:
        return Gain(float(before.mean()), float(after.mean()), (-math.inf, math.inf))
    error = math.sqrt(count / (count - 1) * float((sums**2).sum())) / n
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    return Gain(float(before.mean()), float(after.mean()), (mean - reach, mean + reach))
