"""Measures finding by finding: the queries that have it, and the films that have it too.

Each finding is asked for by itself, whatever the rule of relevance: relevant to a query that has it
is every film that has it, among whatever others. Films in which nothing was found are asked about
the same way, as an entry of its own kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from store.evaluation import measures
from store.evaluation.ranking import Ranked
from store.evaluation.relevance import Relevance
from store.outcomes import NOTHING_FOUND
from store.schema import Floats, Integers

#: Measures of a finding at a depth, as store.evaluation.measures has them.
MEASURES = ("precision", "bounded", "recall", "map_at", "hit_rate")
#: Of a finding, its counts and means: see PerFinding.means.
Finding = dict[str, Any]


class PerFinding:
    """Sums over the queries of each finding, block by block."""

    def __init__(self, relevance: Relevance, depths: Sequence[int]) -> None:
        self._relevance, self._depths = relevance, list(depths)
        self._names = relevance.columns()
        self._queries: Integers = np.zeros(len(self._names), np.int64)
        self._chance = np.zeros(len(self._names))
        self._sums = np.zeros((len(self._names), len(MEASURES), len(self._depths)))

    def add(self, ranked: Ranked) -> None:
        """Add the rankings of some queries."""
        asking = self._relevance.asking(ranked.block)
        totals = self._relevance.carriers_of(ranked.block)
        candidates = np.maximum(self._relevance.candidates[ranked.block], 1)
        for column in np.flatnonzero(asking.any(axis=0)):
            mine = np.flatnonzero(asking[:, column])
            hits = self._relevance.carrying(ranked, mine, int(column))
            total = totals[mine, column]
            self._queries[column] += len(mine)
            self._chance[column] += (total / candidates[mine]).sum()
            self._sums[column] += _measured(hits, total, self._depths).sum(axis=1)

    def means(self) -> dict[str, Finding]:
        """Of each finding that a query has, in alphabetical order, and last of no finding.

        Returns:
            Name to ``kind`` ("finding" or "no finding"), ``queries`` and ``gallery`` (how many have
            it), ``chance`` (its mean share of the candidates), and each of MEASURES by depth.
        """
        gallery = self._relevance.carriers()
        return {
            self._names[column]: {
                "kind": NOTHING_FOUND if column == len(self._names) - 1 else "finding",
                "queries": int(count),
                "gallery": int(gallery[column]),
                "chance": float(self._chance[column] / count),
                **{
                    name: dict(zip(self._depths, (row / count).tolist(), strict=True))
                    for name, row in zip(MEASURES, self._sums[column], strict=True)
                },
            }
            for column, count in enumerate(self._queries)
            if count
        }


def over_findings(found: Mapping[str, Finding]) -> dict[str, dict[int, float]]:
    """The mean over findings of each measure, every finding counted once; no finding is none.

    As the mean over pathologies in Wang et al., "ChestX-ray8" (CVPR 2017).

    Returns:
        Name of a measure to its values by depth; empty when no query has a finding.
    """
    rows = [one for one in found.values() if one["kind"] == "finding"]
    if not rows:
        return {}
    return {
        name: {depth: sum(one[name][depth] for one in rows) / len(rows) for depth in rows[0][name]}
        for name in MEASURES
    }


def _measured(hits: measures.Hits, total: Integers, depths: Sequence[int]) -> Floats:
    """MEASURES of some rankings, float64 (measures, q, depths)."""
    return np.stack(
        [
            measures.precision(hits, depths),
            measures.bounded_precision(hits, total, depths),
            measures.recall(hits, total, depths),
            measures.average_precision_at(hits, total, depths),
            measures.hit_rate(hits, depths),
        ]
    )
