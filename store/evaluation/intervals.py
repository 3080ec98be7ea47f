"""Bootstrap intervals of means, over the patients of the films that were averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from store.evaluation.labelled import FEW, GroupKind
from store.schema import Floats, Integers

_SEED = 0
_NORMAL = NormalDist()
_PLURAL = {"patient": "patients", "study": "studies", "film": "films"}


def bootstrap(
    values: Floats, depths: list[int], resamples: int, groups: Integers | None = None
) -> dict[int, tuple[float, float]]:
    """The 95 % bootstrap interval of each column's mean.

    Whole groups are drawn, with all their films (the cluster bootstrap: Davison and Hinkley,
    Bootstrap Methods and their Application, 1997, 3.8; Field and Welsh, JRSS B 69, 2007): films of
    one patient are alike, and would make an interval too narrow if they were drawn one by one.

    Where each film is a group, of FEW or more: percentiles (Efron and Tibshirani, An Introduction
    to the Bootstrap, 1993, 13.3). Else these are too narrow, and are corrected for bias and skew
    (BCa, 14.3 there), at the levels of Student's t with one degree of freedom less than groups
    (Hesterberg, What Teachers Should Know About the Bootstrap, 2015, 5.1).

    Args:
        values: float64 (q, depths), e.g. of queries, or paired differences of them.
        depths: names of the columns.
        resamples: how many.
        groups: int64 (q,), the number of each row's group; None: each row is one.

    Returns:
        Depth to the lower and the upper bound; NaN of a single group, which says nothing of others.
    """
    (found,) = bootstraps([values], resamples, groups)
    return dict(zip(depths, found, strict=True))


def bootstraps(
    tables: Sequence[Floats],
    resamples: int,
    groups: Integers | None = None,
    *,
    together: bool = False,
) -> list[list[tuple[float, float]]]:
    """Intervals of the columns of several tables from the same resamples; see ``bootstrap``.

    Drawing takes longer than averaging what is drawn.

    Args:
        tables: float64 (q, columns) each.
        resamples: how many.
        groups: int64 (q,), the number of each row's group; None: each row is one.
        together: draw groups of equal size and values as one, with their number: the same
            distribution, and quick where most values are 0. Of one table.

    Returns:
        Lower and upper bound of every column, by table.
    """
    grouped = [_by_group(values, groups) for values in tables]
    sizes, n = grouped[0][0], len(grouped[0][1])
    if n < 2:
        return [[(math.nan, math.nan)] * values.shape[1] for values in tables]
    random = np.random.default_rng(_SEED)
    shares, kinds = np.full(n, 1 / n), grouped
    if together:
        [(sizes, sums)] = grouped
        whole = np.column_stack([sums, np.ones(n) if sizes is None else sizes])
        alike, counts = np.unique(whole, axis=0, return_counts=True)
        # The last of several shares is what the others leave.
        shares, kinds = counts / n, [(alike[:, -1], alike[:, :-1])]
    chunk = max(1, 4_000_000 // len(shares))
    drawn: list[list[Floats]] = [[] for _ in tables]
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        weights = random.multinomial(n, shares, size=size).astype(np.float64)
        films = n if kinds[0][0] is None else (weights @ kinds[0][0])[:, None]
        for parts, (_, sums) in zip(drawn, kinds, strict=True):
            parts.append(weights @ sums / films)
    percentile = is_percentile(n, len(tables[0]))
    found = []
    for parts, (_, sums) in zip(drawn, grouped, strict=True):
        means = np.concatenate(parts)
        bounds = []
        for column in range(means.shape[1]):
            one = means[:, column]
            levels = (2.5, 97.5) if percentile else _levels(one, sums[:, column], sizes)
            low, high = np.percentile(one, levels)
            bounds.append((float(low), float(high)))
        found.append(bounds)
    return found


def is_percentile(units: int, films: int) -> bool:
    """Whether plain percentiles will do: of many units, each of them one film."""
    return units == films and units >= FEW


def interval(groups: Integers, kind: GroupKind) -> dict[str, Any]:
    """Description of a bootstrap interval: ``{"over": "patients", "units": 312, "method": ..}``.

    ``rough`` says whether there are fewer units than FEW.

    Args:
        groups: int64 (q,), the number of each query's group.
        kind: what the groups are.
    """
    units = len(np.unique(groups))
    name = "percentile" if is_percentile(units, len(groups)) else "BCa, expanded by Student's t"
    whole = "bootstrap" if units == len(groups) else "cluster bootstrap"
    return {
        "over": _PLURAL[kind],
        "units": units,
        "method": f"{whole}, {name}",
        "rough": units < FEW,
    }


def _by_group(values: Floats, groups: Integers | None) -> tuple[Floats | None, Floats]:
    """Rows of each group, None where each has one, and the sums of their values."""
    if groups is None:
        return None, values
    names, place = np.unique(groups, return_inverse=True)
    if len(names) == len(values):
        return None, values
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, place, values)
    return np.bincount(place).astype(np.float64), sums


def _levels(means: Floats, sums: Floats, sizes: Floats | None) -> tuple[float, float]:
    """The percentiles of resampled means that are the bounds of one column, in percent."""
    n = len(sums)
    sizes = np.ones(n) if sizes is None else sizes
    mean = sums.sum() / sizes.sum()
    slack = 1e-9 * max(abs(mean), 1)  # equal means are summed in another order
    below = ((means < mean - slack).mean() + (means <= mean + slack).mean()) / 2
    bias = _NORMAL.inv_cdf(min(max(below, 1 / len(means)), 1 - 1 / len(means)))
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    pull = left_out.mean() - left_out
    spread = float((pull**2).sum()) ** 1.5
    skew = float((pull**3).sum()) / (6 * spread) if spread > 0 else 0.0
    wide = math.sqrt(n / (n - 1)) * student(n - 1)

    def level(z: float) -> float:
        shifted = bias + z
        return 100 * _NORMAL.cdf(bias + shifted / max(1 - skew * shifted, 1e-9))

    return level(-wide), level(wide)


def student(degrees: int) -> float:
    """The 97.5 % quantile of Student's t: Abramowitz and Stegun, 1964, 26.7.5."""
    z = _NORMAL.inv_cdf(0.975)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum(term / degrees**power for power, term in enumerate(terms))
