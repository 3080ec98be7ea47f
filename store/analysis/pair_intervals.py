"""Intervals of ratios over pairs of a query and a hit, whose patients occur in many pairs.

A pair has a patient at either end, and often comes twice: once from each side. Resampling queries
by patient sees one end only; on coin tosses its 95 % intervals of a lift covered 80 to 91 %. The
variance here lets any two pairs depend on each other that have a patient in common.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from store.evaluation.intervals import student
from store.schema import Floats, Integers

#: Patients up to which all pairs of patients are gone through, also those without a hit.
_ALL_PAIRS = 1000
#: Terms of a join that are made at once.
_TERMS = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Films of one side of an evaluation, as their pairs see them.

    Attributes:
        patient: int64 (n,), their clusters, numbered over both sides.
        kind: int64 (n,), row (or column) of the table of relevance.
        value: int64 (n,), of the column in question; -1 for films without one.
    """

    patient: Integers
    kind: Integers
    value: Integers


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of a query and a relevant hit, both with a value, and what chance would give.

    Attributes:
        query, hit: int64 (p,), rows of both sides.
        candidates: float64 (q,), relevant films that each query may find and that have a value.
        chance: float64 (q,), share of those that have the query's value.
    """

    query: Integers
    hit: Integers
    candidates: Floats
    chance: Floats


def joined(left: Integers, right: Integers) -> Iterator[tuple[Integers, Integers]]:
    """Places of equal keys in two lists, each with each, in blocks of bounded size."""
    order = np.argsort(right, kind="stable")
    ranked = right[order]
    first = np.searchsorted(ranked, left, "left")
    count = np.searchsorted(ranked, left, "right") - first
    ends = np.cumsum(count)
    start = 0
    while start < len(left):
        before = ends[start] - count[start]
        stop = max(int(np.searchsorted(ends, before + _TERMS, "right")), start + 1)
        sizes = count[start:stop]
        mine = np.repeat(np.arange(start, stop), sizes)
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        yield mine, order[first[mine] + within]
        start = stop


def of_value(
    related: Floats, asking: Integers, found: Integers, weight: Floats | Integers
) -> Floats:
    """Sum over the related cells of the same value, for every cell that asks.

    Args:
        related: float64 (kinds, kinds).
        asking: int64 (2, a): rows of ``related``, and values.
        found: int64 (2, b): columns of it, and values.
        weight: (b,).

    Returns:
        float64 (a,).
    """
    sums = np.zeros(asking.shape[1])
    theirs = np.argsort(found[1], kind="stable")
    ranked = found[1][theirs]
    mine = np.argsort(asking[1], kind="stable")
    values, starts = np.unique(asking[1][mine], return_index=True)
    low, high = (np.searchsorted(ranked, values, side) for side in ("left", "right"))
    for at, some in enumerate(np.split(mine, starts[1:])):
        others = theirs[low[at] : high[at]]
        for part in np.array_split(some, len(some) * len(others) // _TERMS + 1):
            sums[part] = related[np.ix_(asking[0][part], found[0][others])] @ weight[others]
    return sums


def interval(
    lift: float,
    pairs: Pairs,
    queries: Side,
    gallery: Side,
    related: npt.NDArray[np.bool_],
    excluded: bool,
) -> tuple[float, float]:
    """The 95 % interval of a lift, on a logarithmic scale; NaN where it is 0 or nobody can tell.

    The residual of a pair (q, h) is [same] - lift * chance(q), less what the film h adds to the
    chance that is taken off all queries. With T_g the sum over the pairs with patient g at either
    end, and E_gh that over the pairs between two patients, the variance of the sum is
    sum T_g^2 - sum E_gh^2: that of pairs which depend on each other where they have a patient in
    common (Fafchamps and Gubert 2007; in this form Aronow, Samii and Assenova 2015, Political
    Analysis 23:564). Not less than sum E_gh^2, that of patients who have no habits of their own.
    Quantiles are Student's with as many degrees of freedom as patients, less one.

    Args:
        lift: same over expected.
        pairs: what it was made of.
        queries: the side that asks.
        gallery: the side that is searched.
        related: bool (kinds of queries, kinds of gallery), which films are relevant.
        excluded: whether films of a query's own patient cannot be hits.
    """
    expected = float(pairs.chance[pairs.query].sum())
    patients = 1 + int(max(queries.patient.max(), gallery.patient.max()))
    at, to = queries.patient[pairs.query], gallery.patient[pairs.hit]
    known = len(np.unique(np.concatenate([at, to])))
    if not lift > 0 or known < 3:
        return math.nan, math.nan
    same = queries.value[pairs.query] == gallery.value[pairs.hit]
    residual = same - lift * pairs.chance[pairs.query]
    expectation = _Expectation(lift, pairs, queries, gallery, related, patients)
    everyone = expectation.of_gallery()
    own = np.arange(patients)
    if excluded:
        everyone -= expectation.between(own, own)
    total = np.bincount(at, residual, patients) - everyone
    total += np.bincount(to, np.where(at != to, residual, 0), patients)
    low, high = np.minimum(at, to), np.maximum(at, to)
    keys, which = np.unique(low * patients + high, return_inverse=True)
    sums = np.bincount(which.ravel(), residual, len(keys))
    if patients <= _ALL_PAIRS:
        one, other = np.triu_indices(patients, 1)
        found = np.zeros(len(one))
        across = keys // patients != keys % patients
        place = np.searchsorted(one * patients + other, keys[across])
        found[place] = sums[across]
    else:
        across = keys // patients != keys % patients
        one, other, found = keys[across] // patients, keys[across] % patients, sums[across]
    found -= expectation.between(one, other) + expectation.between(other, one)
    alone = float((found**2).sum())
    variance = max(float((total**2).sum()) - alone, alone)
    reach = student(known - 1) * math.sqrt(variance) / expected / lift
    return lift * math.exp(-reach), lift * math.exp(reach)


class _Expectation:
    """What the films of one patient add to the chance of the queries of another.

    Of a query q with m pairs and N candidates, each candidate j is lift * m/N * ([same] - chance).
    Films of one patient, kind and value go together: a cell.
    """

    def __init__(
        self,
        lift: float,
        pairs: Pairs,
        queries: Side,
        gallery: Side,
        related: npt.NDArray[np.bool_],
        patients: int,
    ) -> None:
        self._related, self._patients = related.astype(np.float64), patients
        asked = np.bincount(pairs.query, minlength=len(queries.value))
        weight = np.divide(
            lift * asked, pairs.candidates, out=np.zeros(len(asked)), where=pairs.candidates > 0
        )
        asking, self._asking = _cells(queries, weight > 0)
        self._weight = np.bincount(asking[weight > 0], weight[weight > 0])
        self._chance = np.bincount(asking[weight > 0], (weight * pairs.chance)[weight > 0])
        has = gallery.value >= 0
        found, self._found = _cells(gallery, has)
        self._films = np.bincount(found[has])

    def of_gallery(self) -> Floats:
        """Of each patient's films as candidates of all queries, float64 (patients,)."""
        kind, value = self._asking.kind, self._asking.value
        per_kind = np.bincount(kind, self._chance, len(self._related))
        found = -(per_kind @ self._related)[self._found.kind]
        # By kind and value: the patients of the queries do not matter here.
        cells, which = np.unique(np.stack([kind, value]), axis=1, return_inverse=True)
        weight = np.bincount(which.ravel(), self._weight)
        theirs = np.unique(
            np.stack([self._found.kind, self._found.value]), axis=1, return_inverse=True
        )
        same = of_value(self._related.T, theirs[0], cells, weight)
        found += same[theirs[1].ravel()]
        films: Floats = self._films * found
        return np.asarray(np.bincount(self._found.patient, films, self._patients), np.float64)

    def between(self, asking: Integers, found: Integers) -> Floats:
        """Of the queries of one patient and the films of another, for each two, float64 (d,)."""
        sums = np.zeros(len(asking))
        for two, a in joined(asking, self._asking.patient):
            for at, b in joined(found[two], self._found.patient):
                cell = a[at]
                same = self._asking.value[cell] == self._found.value[b]
                one = np.where(same, self._weight[cell], 0.0) - self._chance[cell]
                related = self._related[self._asking.kind[cell], self._found.kind[b]]
                sums += np.bincount(two[at], one * self._films[b] * related, len(sums))
        return sums


def _cells(side: Side, chosen: npt.NDArray[np.bool_]) -> tuple[Integers, Side]:
    """The cell of each chosen film, int64 (n,), and the cells."""
    rows = np.stack([side.patient, side.kind, side.value], axis=1)[chosen]
    cells, which = np.unique(rows, axis=0, return_inverse=True)
    found = np.full(len(side.value), -1, np.int64)
    found[chosen] = which.ravel()
    return found, Side(*cells.T)
