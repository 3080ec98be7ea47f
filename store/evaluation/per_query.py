"""Per-query table of an evaluation: precision, votes, confusion, hardest queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from store.errors import BadQuery
from store.evaluation.labelled import Labelled, SamePatient, Sides
from store.evaluation.ranking import Ranker, by_vectors
from store.evaluation.relevance import Relevance, majority
from store.schema import Floats, Integers, Progress


@dataclass(frozen=True, slots=True, eq=False)
class ByQuery:
    """Per-query table of an evaluation, in the order of the queries' ids.

    Attributes:
        ids, labels: of the queries.
        depths: ascending.
        precision: float64 (q, depths), share of the top k that share a label with the query.
        wrong: float64 (q,), highest cosine of a neighbour within the deepest that shares no label;
            NaN where all do.
        votes: depth to the majority label of the top k per query, nearest first on a tie; empty
            unless every row has exactly one label.
        gallery: rows that were searched.
        chance: float64 (q,), share of the gallery that shares a label with the query.
    """

    ids: list[str]
    labels: list[tuple[str, ...]]
    depths: list[int]
    precision: Floats
    wrong: Floats
    votes: dict[int, list[str]]
    gallery: int
    chance: Floats


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
    same_patient: SamePatient = "exclude",
) -> ByQuery:
    """Per-query table of two labelled sets; a query in the gallery is left out by id.

    Args:
        queries: at least one.
        gallery: what is searched; equal scores rank by id.
        k: depths.
        progress: called with queries done and in all.
        same_patient: ``exclude`` films of the query's own patient, or ``count`` them.

    Raises:
        BadQuery: a depth below 1 or beyond the gallery.
        NothingToMeasure: all films are of one patient.
    """
    sides = Sides.of(queries, gallery, same_patient)
    return measure(sides, sides.depths(k), progress)


def measure(
    sides: Sides, depths: list[int], progress: Progress | None = None, rank: Ranker = by_vectors
) -> ByQuery:
    """Rank the gallery for every query and compare labels along the rankings.

    Args:
        sides: queries and gallery.
        depths: ascending, within reach of every query.
        progress: called with queries done and in all.
        rank: makes the rankings.
    """
    relevance = Relevance(sides)
    n, rows, at = len(sides.queries.ids), len(sides.gallery.ids), np.asarray(depths) - 1
    precision, chance, wrong = np.empty((n, len(depths))), np.empty(n), np.empty(n)
    votes = np.empty((n, len(depths)), np.int64)
    for ranked in rank(sides, depths[-1]):
        block = ranked.block
        shared = relevance.at(ranked)
        hits = np.cumsum(shared, axis=1, dtype=np.int32)
        precision[block] = hits[:, at] / np.asarray(depths)
        chance[block] = relevance.total(block) / np.maximum(sides.candidates[block], 1)
        nearest = np.where(shared, -np.inf, ranked.scores).max(axis=1)
        wrong[block] = np.where(np.isinf(nearest), np.nan, nearest)
        if relevance.single:
            labels = relevance.label[ranked.rows]
            for column, depth in enumerate(depths):
                votes[block, column] = majority(labels[:, :depth], len(relevance.names))
        if progress is not None:
            progress(block.stop, n)
    names = relevance.names
    return ByQuery(
        list(sides.queries.ids),
        list(sides.queries.labels),
        depths,
        precision,
        wrong,
        {k: [names[v] for v in votes[:, i]] for i, k in enumerate(depths) if relevance.single},
        rows,
        chance,
    )


def confusion(found: ByQuery, depth: int) -> tuple[list[str], Integers]:
    """Confusion matrix of the majority vote against the truth.

    Returns:
        Label names, and int64 (labels, labels): queries by their label (row) and vote (column).

    Raises:
        BadQuery: no vote at this depth, because rows have several labels or none was asked for.
    """
    if depth not in found.votes:
        raise BadQuery(f"no majority vote at k = {depth}: it needs exactly one label per row")
    truth = [row[0] for row in found.labels]
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
