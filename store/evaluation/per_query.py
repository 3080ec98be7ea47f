"""Per-query table of an evaluation: every measure, votes, confusion, hardest queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from store.errors import BadQuery
from store.evaluation import measures
from store.evaluation.labelled import Labelled, SamePatient, Sides
from store.evaluation.per_finding import Finding, PerFinding
from store.evaluation.ranking import Ranked, Ranker, by_vectors
from store.evaluation.relevance import Relevance, Rule
from store.schema import Floats, Integers, Progress

#: Measures of a query at a depth, in the order of a page; the names are those of an evaluation.
MEASURES = ("precision", "bounded", "recall", "map_at", "ndcg", "exact_set", "vote", "hit_rate")
#: Those of them whose expectation under a blind ranking is a simple share.
BLIND = ("precision", "bounded", "recall", "ndcg", "exact_set")


@dataclass(frozen=True, slots=True, eq=False)
class ByQuery:
    """Per-query table of an evaluation, in the order of the queries' ids.

    Attributes:
        ids, labels: of the queries.
        depths: ascending.
        measures: name, of ``MEASURES``, to float64 (q, depths); store.evaluation.measures has the
            formulas.
        wrong: float64 (q,), highest cosine of a neighbour within the deepest that is not relevant;
            NaN where all are.
        votes: depth to the majority class of the top k per query, nearest first on a tie; empty
            where a row has several findings, unless one of them alone is compared. A row in which
            nothing was found is in a class of its own.
        classes: the class of each query, named as ``votes`` has it; empty where they are.
        gallery: rows that were searched.
        chance: float64 (q,), mean gain of the rows that a query may find.
        blind: name, of ``BLIND``, to float64 (q, depths): the measure to expect of a ranking that
            is drawn blindly.
        relevant: int64 (q,), relevant rows among those that a query may find.
        candidates: int64 (q,), rows that a query may find.
        units: int64 (q,), number of the query's patient or study: what an interval resamples.
        rule: of relevance.
        per_finding: of each finding, and of no finding, the means over the queries that have it.
    """

    ids: list[str]
    labels: list[tuple[str, ...]]
    depths: list[int]
    measures: Mapping[str, Floats]
    wrong: Floats
    votes: dict[int, list[str]]
    classes: list[str]
    gallery: int
    chance: Floats
    blind: Mapping[str, Floats]
    relevant: Integers
    candidates: Integers
    units: Integers
    rule: Rule
    per_finding: Mapping[str, Finding]

    @property
    def precision(self) -> Floats:
        """Mean gain of the top k, float64 (q, depths): the share that is relevant."""
        return self.measures["precision"]


@dataclass(frozen=True, slots=True)
class Hard:
    """Query that found little: its precision at the deepest k, and its nearest wrong cosine."""

    id: str
    labels: tuple[str, ...]
    precision: float
    wrong: float


def by_query(
    queries: Labelled,
    gallery: Labelled,
    k: Sequence[int] = (1, 3, 5, 10),
    progress: Progress | None = None,
    relevance: str | Rule = "any",
    same_patient: SamePatient = "exclude",
) -> ByQuery:
    """Per-query table of two labelled sets; a query in the gallery is left out by id.

    Args:
        queries: at least one.
        gallery: what is searched; equal scores rank by id.
        k: depths.
        progress: called with queries done and in all.
        relevance: any, all, jaccard or finding=NAME.
        same_patient: ``exclude`` films of the query's own patient, or ``count`` them.

    Raises:
        BadQuery: a depth below 1 or beyond the gallery, no such relevance.
        NothingToMeasure: all films are of one patient.
    """
    sides = Sides.of(queries, gallery, same_patient)
    return measure(sides, sides.depths(k), Relevance(sides, relevance), progress)


def measure(
    sides: Sides,
    depths: list[int],
    relevance: Relevance,
    progress: Progress | None = None,
    rank: Ranker = by_vectors,
) -> ByQuery:
    """Rank the gallery for every query and compare findings along the rankings.

    Args:
        sides: queries and gallery.
        depths: ascending.
        relevance: of these sides.
        progress: called with queries done and in all.
        rank: makes the rankings.
    """
    n = len(sides.queries.ids)
    found = {name: np.empty((n, len(depths))) for name in MEASURES}
    blind = {name: np.empty((n, len(depths))) for name in BLIND}
    wrong, chance, relevant = np.empty(n), np.empty(n), np.empty(n, np.int64)
    votes = np.empty((n, len(depths)), np.int64)
    findings = PerFinding(relevance, depths)
    for ranked in rank(sides, depths[-1]):
        block = ranked.block
        gains, graded = relevance.gains(ranked), relevance.graded(ranked)
        hits, total = gains > 0, relevance.total(block)
        ideal, voters = relevance.ideal(block, depths[-1]), relevance.voters(ranked)
        relevant[block], chance[block] = total, relevance.chance(block)
        for column, depth in enumerate(depths):
            votes[block, column] = measures.majority(voters, depth)
        values = {
            "precision": measures.precision(gains, depths),
            "bounded": measures.bounded_precision(hits, total, depths),
            "recall": measures.recall(hits, total, depths),
            "map_at": measures.average_precision_at(hits, total, depths),
            "ndcg": measures.ndcg(graded, ideal, depths),
            "exact_set": measures.precision(relevance.same(ranked), depths),
            "vote": measures.vote(votes[block], relevance.asked_class[block]),
            "hit_rate": measures.hit_rate(hits, depths),
        }
        for name, value in values.items():
            found[name][block] = value
        for name, value in zip(BLIND, _blindly(relevance, block, ideal, depths), strict=True):
            blind[name][block] = value
        wrong[block] = _nearest_wrong(ranked, hits)
        findings.add(ranked)
        if progress is not None:
            progress(block.stop, n)
    names = [*relevance.class_names, ""] if relevance.class_names else []  # -1: nobody votes
    return ByQuery(
        list(sides.queries.ids),
        list(sides.queries.labels),
        depths,
        found,
        wrong,
        {k: [names[v] for v in votes[:, i]] for i, k in enumerate(depths) if names},
        [names[one] for one in relevance.asked_class] if names else [],
        len(sides.gallery.ids),
        chance,
        blind,
        relevant,
        sides.candidates,
        sides.units,
        relevance.rule,
        findings.means(),
    )


def _nearest_wrong(ranked: Ranked, hits: measures.Hits) -> Floats:
    """The highest cosine of a row found (b,) that is not relevant; NaN where all are."""
    wrong = ~hits & (ranked.rows >= 0)
    nearest = np.where(wrong, ranked.scores, -np.inf).max(axis=1)
    return np.where(wrong.any(axis=1), nearest, np.nan)


def _blindly(
    relevance: Relevance, block: slice, ideal: Floats, depths: Sequence[int]
) -> tuple[Floats, ...]:
    """The measures of BLIND to expect of a ranking drawn blindly, each (b, depths)."""
    candidates, total = relevance.candidates[block, None], relevance.total(block)
    filled = np.arange(depths[-1]) < candidates  # ranks that are not empty
    found = filled * (total[:, None] / np.maximum(candidates, 1))
    room = np.minimum(candidates / np.asarray(depths), 1)
    return (
        relevance.chance(block)[:, None] * room,
        measures.bounded_precision(found, total, depths),
        measures.recall(found, total, depths),
        measures.ndcg(filled * relevance.graded_chance(block)[:, None], ideal, depths),
        relevance.same_chance(block)[:, None] * room,
    )


def confusion(found: ByQuery, depth: int) -> tuple[list[str], Integers]:
    """Confusion matrix of the majority vote against the truth.

    Returns:
        Label names, and int64 (labels, labels): queries by their label (row) and vote (column).

    Raises:
        BadQuery: no vote at this depth, because rows have several labels or none was asked for.
    """
    if depth not in found.votes:
        raise BadQuery(f"no majority vote at k = {depth}: it needs at most one label per row")
    truth = found.classes
    names = sorted({*truth, *found.votes[depth]})
    number = {name: place for place, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), np.int64)
    for label, vote in zip(truth, found.votes[depth], strict=True):
        counts[number[label], number[vote]] += 1
    return names, counts


def hardest(found: ByQuery, most: int = 100) -> list[Hard]:
    """Queries with a wrong neighbour, worst first.

    Ranked by precision at the deepest k, then by how near the nearest wrong neighbour is, then by
    id.
    """
    deepest = found.precision[:, -1]
    wrong = np.flatnonzero(~np.isnan(found.wrong))
    ranked = wrong[np.lexsort((wrong, -found.wrong[wrong], deepest[wrong]))][:most]
    return [
        Hard(found.ids[i], found.labels[i], float(deepest[i]), float(found.wrong[i]))
        for i in ranked
    ]
