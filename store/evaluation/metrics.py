"""Precision@k, mean average precision, vote accuracy and their intervals, of labelled vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from store.errors import BadQuery, NothingToMeasure
from store.evaluation.intervals import bootstrap, interval
from store.evaluation.labelled import GroupKind, Labelled, SamePatient, Sides
from store.evaluation.per_query import ByQuery, measure
from store.evaluation.ranking import Ranker, by_vectors
from store.evaluation.whole_ranking import average_precision
from store.schema import Floats, Integers, Progress

_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Evaluation of a gallery: how well neighbours share labels.

    Attributes:
        protocol: ``leave-one-out`` or ``split``.
        queries, gallery: how many rows on each side.
        precision: k to the mean share of the top k that share a label with the query.
        ci95: k to the 95 % percentile bootstrap interval of that mean, over the
            queries' patients; see ``interval``.
        per_label: label to {"queries": n, "precision": {k: mean over queries with that label}}.
        map: mean average precision over the full ranking, queries with something to find; NaN
            when the full ranking was not asked for, null in ``as_dict``.
        vote: k to the accuracy of the majority label of the top k (nearest wins a tie); empty
            unless every row has exactly one label.
        hit_rate: k to the share of queries with at least one relevant row in the top k.
        baselines: name to {"precision": {k: ..}, "map": ..}; ``random`` is the expectation.
        store: which gallery, see Gallery.describe.
        excluded: what is left out of a query's ranking: the films of its ``patient``, of its
            ``study``, or the ``film`` itself.
        patients: see Sides.patients.
        interval: what ``ci95`` resamples and how, see store.evaluation.intervals.interval.
        short: queries that may find fewer rows than the deepest k, since the others are of their
            own patient; the empty places count as misses.
    """

    protocol: str
    queries: int
    gallery: int
    precision: dict[int, float]
    ci95: dict[int, tuple[float, float]]
    per_label: dict[str, dict[str, Any]]
    map: float
    vote: dict[int, float]
    hit_rate: dict[int, float]
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    store: dict[str, Any] = field(default_factory=dict)
    excluded: GroupKind = "film"
    patients: dict[str, int | None] = field(default_factory=dict)
    interval: dict[str, Any] = field(default_factory=dict)
    short: int = 0

    def beside(self, others: Mapping[str, Evaluation]) -> Evaluation:
        """This evaluation with baselines that were measured by the same protocol."""
        measured = {
            name: {"precision": other.precision, "map": other.map} for name, other in others.items()
        }
        return replace(self, baselines={**self.baselines, **measured})

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types, with k as strings."""
        found: dict[str, Any] = plain({name: getattr(self, name) for name in self.__slots__})
        return found


def plain(value: Any) -> Any:
    """A value as JSON has it: keys are strings, tuples are lists, NaN is null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def evaluate(
    protocol: str,
    queries: Labelled,
    gallery: Labelled,
    k: Sequence[int] = (1, 3, 5, 10),
    resamples: int = _RESAMPLES,
    full_ranking: bool = True,
    progress: Progress | None = None,
    rank: Ranker = by_vectors,
    same_patient: SamePatient = "exclude",
) -> Evaluation:
    """Rank the gallery for every query and compare labels.

    A query that is in the gallery is excluded by id, wherever it ranks, and so are the films of its
    patient, or of its study where only that is known. Equal scores rank by id.

    Args:
        protocol: a name for the result; what it means is decided by the two sets.
        queries: labelled rows that search.
        gallery: labelled rows that are searched.
        k: depths.
        resamples: of the bootstrap; 0 leaves ``ci95`` empty.
        full_ranking: also compute ``map``, which sorts the whole gallery for every query. Without
            it only the top of each ranking is found: some ten times quicker on large galleries.
        progress: called with queries done and in all.
        rank: makes the rankings.
        same_patient: ``exclude`` films of the query's own patient, or ``count`` them.

    Raises:
        BadQuery: k below 1 or beyond the gallery, other dimensions, or an empty set.
        NothingToMeasure: chance is 1, see refuse_certain.
    """
    if not len(queries.ids) or not len(gallery.ids):
        raise BadQuery("nothing to evaluate: there are no labelled rows")
    if queries.vectors.shape[1] != gallery.vectors.shape[1]:
        raise BadQuery(
            f"queries have {queries.vectors.shape[1]} dimensions, the gallery "
            f"{gallery.vectors.shape[1]}; both must come from one encoder"
        )
    sides = Sides.of(queries, gallery, same_patient)
    depths = sides.depths(k)
    refuse_certain(queries.labels, gallery.labels)
    found = measure(sides, depths, progress, rank)
    average = average_precision(sides) if full_ranking else None
    return replace(
        _summary(protocol, found, average, resamples, sides.units),
        excluded=sides.excluded,
        patients=sides.patients,
        interval=interval(sides.units, sides.unit_kind) if resamples else {},
        short=int((sides.candidates < depths[-1]).sum()),
    )


def evaluate_vectors(
    vectors: npt.ArrayLike,
    labels: Sequence[Any],
    ids: Sequence[str] | None = None,
    k: Sequence[int] = (1, 3, 5, 10),
) -> Evaluation:
    """Leave-one-out evaluation of vectors made anywhere.

    Args:
        vectors: float (n, d); normalised here.
        labels: one label per row (a string or a number), or a tuple of them.
        ids: unique; row numbers when left out.
        k: depths.

    Raises:
        BadQuery: values that are not finite, a zero vector, a k beyond the rows.
        NothingToMeasure: chance is 1, see refuse_certain.
    """
    matrix = np.asarray(vectors, np.float32)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise BadQuery(f"vectors of shape {matrix.shape}: expected finite values, shape (n, d)")
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    if not norms.all():
        raise BadQuery(f"vector {int(np.argmin(norms))} is zero and has no direction")
    rows = Labelled(
        list(ids) if ids is not None else [f"{row:09d}" for row in range(len(matrix))],
        matrix / norms,
        [tuple(map(str, x)) if isinstance(x, tuple | list) else (str(x),) for x in labels],
    )
    return evaluate("leave-one-out", rows, rows, k)


def refuse_certain(queries: Sequence[tuple[str, ...]], gallery: Sequence[tuple[str, ...]]) -> None:
    """Refuse an evaluation in which chance is exactly 1, for every query.

    That is so when every row that can be found shares a label with every query, as where all have
    the same label: then Precision@k is 1 whatever the encoder, and says nothing. A query that is in
    the gallery changes nothing: it shares its labels with itself.

    Args:
        queries: the labels of each query.
        gallery: the labels of each row that is searched.

    Raises:
        NothingToMeasure: it is so.
    """
    asked, found = set(map(frozenset, queries)), set(map(frozenset, gallery))
    everywhere = sorted(frozenset.intersection(*asked, *found))
    if not everywhere and any(one.isdisjoint(other) for one in asked for other in found):
        return
    shared = f" (the label {everywhere[0]!r} is on all of them)" if everywhere else ""
    raise NothingToMeasure(
        f"all {len(gallery):,} labelled films share a label with every one of the {len(queries):,} "
        f"queries{shared}: chance is 1, so Precision@k is 1 whatever the encoder and nothing is "
        "measured. It takes films that differ in their labels; were the films of the other class "
        "ingested without one? cxr stats counts labels"
    )


def _summary(
    protocol: str, found: ByQuery, average: Floats | None, resamples: int, units: Integers
) -> Evaluation:
    """Means over all queries, and over those of each label."""

    def means(values: Floats) -> dict[int, float]:
        return dict(zip(found.depths, values.mean(axis=0).tolist(), strict=True))

    per_label = {}
    for name in sorted({name for row in found.labels for name in row}):
        chosen = np.asarray([name in row for row in found.labels])
        per_label[name] = {
            "queries": int(chosen.sum()),
            "precision": means(found.precision[chosen]),
        }
    mean = math.nan
    if average is not None:
        answerable = average[~np.isnan(average)]
        mean = float(answerable.mean()) if answerable.size else 0
    right = {
        depth: [vote == row[0] for vote, row in zip(votes, found.labels, strict=True)]
        for depth, votes in found.votes.items()
    }
    chance = float(found.chance.mean())
    return Evaluation(
        protocol=protocol,
        queries=len(found.ids),
        gallery=found.gallery,
        precision=means(found.precision),
        ci95=bootstrap(found.precision, found.depths, resamples, units) if resamples else {},
        per_label=per_label,
        map=mean,
        vote={depth: float(np.mean(one)) for depth, one in right.items()},
        hit_rate=means((found.precision > 0).astype(np.float64)),
        baselines={"random": {"precision": dict.fromkeys(found.depths, chance)}},
    )
