"""Query by query: which ones fail, and what the majority says instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from store.errors import BadQuery
from store.evaluation.ranking import Labelled, by_id, by_vectors, depths_of, own_rows
from store.evaluation.ranking import measure as measured
from store.schema import Floats, Integers, Progress

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True, eq=False)
class ByQuery:
    """What each query found, in the order of their ids.

    Attributes:
        ids, labels: of the queries.
        depths: ascending.
        precision: float64 (q, depths), share of the top k that share a label with the query.
        wrong: float64 (q,), highest cosine of a neighbour within the deepest that shares no label;
            NaN where all do.
        votes: depth to the majority label of the top k per query, nearest first on a tie; empty
            unless every row has exactly one label.
        gallery: rows that were searched.
    """

    ids: list[str]
    labels: list[tuple[str, ...]]
    depths: list[int]
    precision: Floats
    wrong: Floats
    votes: dict[int, list[str]]
    gallery: int


@dataclass(frozen=True, slots=True)
class Hard:
    """A query that found little: its precision at the deepest k, and its nearest wrong cosine."""

    id: str
    labels: tuple[str, ...]
    precision: float
    wrong: float


def by_query(
    queries: Labelled,
    gallery: Labelled,
    k: Sequence[int] = (1, 3, 5, 10),
    progress: Progress | None = None,
) -> ByQuery:
    """Ask every query for its deepest k; a query that is in the gallery is left out by id.

    Args:
        queries: what asks; at least one.
        gallery: what is searched; equal scores rank by id.
        k: depths.
        progress: told about queries, done and in all.

    Raises:
        BadQuery: a depth below 1 or beyond the gallery.
    """
    same = queries is gallery
    gallery = by_id(gallery)
    queries = gallery if same else by_id(queries)
    own = own_rows(queries, gallery)
    depths = depths_of(k, own, len(gallery.ids))
    rankings = by_vectors(queries, gallery, own, depths[-1])
    found = measured(queries, gallery, own, depths, rankings, progress)
    votes = {}
    if found.votes is not None:
        for column, depth in enumerate(depths):
            votes[depth] = [found.names[place] for place in found.votes[:, column]]
    return ByQuery(
        list(queries.ids),
        list(queries.labels),
        depths,
        found.precision,
        found.wrong,
        votes,
        len(gallery.ids),
    )


def confusion(found: ByQuery, depth: int) -> tuple[list[str], Integers]:
    """The majority vote against the truth.

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
