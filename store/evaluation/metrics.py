"""Evaluation of labelled vectors: the means of every measure over queries and over findings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from store import notebook
from store.errors import BadQuery, NothingToMeasure
from store.evaluation.intervals import bootstraps, interval
from store.evaluation.labelled import GroupKind, Labelled, SamePatient, Sides
from store.evaluation.per_finding import Finding, over_findings
from store.evaluation.per_query import MEASURES, ByQuery, measure
from store.evaluation.ranking import Ranker, by_vectors
from store.evaluation.relevance import Relevance, Rule, certain
from store.evaluation.whole_ranking import Whole, whole_ranking
from store.outcomes import findings
from store.schema import Floats, Progress

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow as pa

_RESAMPLES = 2000
_CERTAIN = (
    "chance is 1, so Precision@k is 1 whatever the encoder and nothing is measured. It takes films "
    "that differ in their labels; were the films of the other class ingested without one? cxr "
    "stats counts labels"
)

#: Values of a measure by depth.
ByDepth = dict[int, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Evaluation of a gallery: how well neighbours share findings.

    The formulas are in store.evaluation.measures, each with its source.

    Attributes:
        protocol: ``leave-one-out`` or ``split``.
        queries, gallery: how many rows on each side.
        precision: k to P@k, the mean gain of the top k: the mean share that is relevant.
        ci95: k to the 95 % bootstrap interval of that mean, over the queries' patients; see
            ``interval``.
        per_label: label to {"queries": n, "precision": {k: mean over queries with that label}}.
        map: mean average precision over the full ranking; NaN when the full ranking was not asked
            for, null in ``as_dict``.
        vote: k to the accuracy of the majority class of the top k (nearest wins a tie); the class
            is the whole set of findings.
        hit_rate: k to the share of queries with at least one relevant row in the top k.
        baselines: name to {"precision": {k: ..}, "map": .., ..}; ``random`` is the expectation.
        store: which gallery, see Gallery.describe.
        relevance: {"name": as ``--relevance`` takes it, "definition": a sentence}.
        left_out: reason to {"queries": n, "gallery": n}: rows of each side that took no part.
        nothing_to_find: queries without a relevant row among those that they may find; they count
            0 in every measure.
        excluded: what is left out of a query's ranking: the films of its ``patient``, of its
            ``study``, or the ``film`` itself.
        patients: see Sides.patients.
        interval: what ``ci95`` resamples and how, see store.evaluation.intervals.interval.
        short: queries that may find fewer rows than the deepest k, since the others are of their
            own patient; empty ranks count as misses.
        bounded: k to P@k with min(k, relevant).
        recall: k to Recall@k.
        r_precision: over the full ranking, as ``map``.
        map_at: k to mAP@k.
        ndcg: k to nDCG@k of graded relevance, the Jaccard index of findings.
        exact_set: k to the share of the top k that has exactly the findings of the query.
        macro: measure to k to the mean over findings of the mean over the queries that have it.
        per_finding: finding, and ``no finding``, to its counts and measures, where relevant is what
            has that finding; see store.evaluation.per_finding.
        over_findings: measure to k to the mean of ``per_finding`` over findings.
        intervals: measure to k to its 95 % interval, as ``ci95``; empty without resamples.
    """

    protocol: str
    queries: int
    gallery: int
    precision: ByDepth
    ci95: dict[int, tuple[float, float]]
    per_label: dict[str, dict[str, Any]]
    map: float
    vote: ByDepth
    hit_rate: ByDepth
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    store: dict[str, Any] = field(default_factory=dict)
    relevance: dict[str, str] = field(
        default_factory=lambda: {"name": str(Rule()), "definition": Rule().definition}
    )
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    nothing_to_find: int = 0
    excluded: GroupKind = "film"
    patients: dict[str, int | None] = field(default_factory=dict)
    interval: dict[str, Any] = field(default_factory=dict)
    short: int = 0
    bounded: ByDepth = field(default_factory=dict)
    recall: ByDepth = field(default_factory=dict)
    r_precision: float = math.nan
    map_at: ByDepth = field(default_factory=dict)
    ndcg: ByDepth = field(default_factory=dict)
    exact_set: ByDepth = field(default_factory=dict)
    macro: dict[str, ByDepth] = field(default_factory=dict)
    per_finding: Mapping[str, Finding] = field(default_factory=dict)
    over_findings: dict[str, ByDepth] = field(default_factory=dict)
    intervals: dict[str, dict[int, tuple[float, float]]] = field(default_factory=dict)

    def beside(self, others: Mapping[str, Evaluation]) -> Evaluation:
        """This evaluation with baselines that were measured by the same protocol."""
        kept = (*MEASURES, "map", "r_precision")
        measured = {
            name: {one: getattr(other, one) for one in kept} for name, other in others.items()
        }
        return replace(self, baselines={**self.baselines, **measured})

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types, with k as strings."""
        found: dict[str, Any] = plain({name: getattr(self, name) for name in self.__slots__})
        return found

    def to_arrow(self) -> pa.Table:
        """Arrow table of every figure: one line a measure, of whom, and depth."""
        from store.evaluation.figures_table import lines

        return notebook.table_of(lines(self.as_dict()))

    def to_pandas(self) -> pandas.DataFrame:
        """The same as a pandas data frame."""
        return notebook.pandas_of(self.to_arrow())

    def to_polars(self) -> polars.DataFrame:
        """The same as a polars data frame."""
        return notebook.polars_of(self.to_arrow())

    def _repr_html_(self) -> str:
        from store.evaluation.figures_table import html

        return html(self.as_dict())


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
    relevance: str | Rule = "any",
) -> Evaluation:
    """Rank the gallery for every query and compare findings.

    A query that is in the gallery is excluded by id, wherever it ranks, and so are the films of its
    patient, or of its study where only that is known. Equal scores rank by id.

    Args:
        protocol: a name for the result; what it means is decided by the two sets.
        queries: labelled rows that search.
        gallery: labelled rows that are searched.
        k: depths.
        resamples: of the bootstrap; 0 leaves ``ci95`` empty.
        full_ranking: also compute ``map`` and ``r_precision``, which sort the whole gallery for
            every query. Without them only the top of each ranking is found: some ten times quicker
            on large galleries.
        progress: called with queries done and in all.
        rank: makes the rankings.
        same_patient: ``exclude`` films of the query's own patient, or ``count`` them.
        relevance: any, all, jaccard or finding=NAME; see store.evaluation.relevance.

    Raises:
        BadQuery: k below 1 or beyond the gallery, other dimensions, an empty set, no such
            relevance, or a finding that no row has.
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
    judged = Relevance(sides, relevance)
    refuse_certain(queries.labels, gallery.labels, judged.rule)
    found = measure(sides, depths, judged, progress, rank)
    if (found.chance == 1).all():  # others are of the query's own patient
        raise NothingToMeasure(f"every film that a query may find is relevant to it: {_CERTAIN}")
    whole = whole_ranking(sides, judged) if full_ranking else None
    return replace(
        _summary(protocol, found, whole, resamples),
        left_out={
            reason: {"queries": queries.left_out.get(reason, 0), "gallery": count}
            for reason, count in {**dict.fromkeys(queries.left_out, 0), **gallery.left_out}.items()
        },
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
    *,
    relevance: str = "any",
    groups: Sequence[str | None] | None = None,
) -> Evaluation:
    """Leave-one-out evaluation of vectors made anywhere.

    Args:
        vectors: float (n, d); normalised here.
        labels: one label per row (a string or a number), or a tuple of them; an empty tuple, or
            ``No Finding``, is a row in which nothing was found.
        ids: unique; row numbers when left out.
        k: depths.
        relevance: any, all, jaccard or finding=NAME.
        groups: of each row its patient: rows of one patient are not in each other's ranking. None
            for a row of nobody known.

    Raises:
        BadQuery: values that are not finite, a zero vector, a k beyond the rows, other lengths, no
            such relevance.
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
        [
            findings(tuple(map(str, x)) if isinstance(x, tuple | list) else (str(x),))
            for x in labels
        ],
        groups=groups,
        group_kind="film" if groups is None else "patient",
    )
    return evaluate("leave-one-out", rows, rows, k, relevance=relevance)


def refuse_certain(
    queries: Sequence[tuple[str, ...]],
    gallery: Sequence[tuple[str, ...]],
    relevance: str | Rule = "any",
) -> None:
    """Refuse an evaluation in which chance is exactly 1, for every query.

    That is so when every row that can be found has the full gain for every query, as where all have
    the same findings, or none: then Precision@k is 1 whatever the encoder, and says nothing. A
    query that is in the gallery changes nothing: it shares its findings with itself.

    Args:
        queries: the findings of each query.
        gallery: the findings of each row that is searched.
        relevance: any, all, jaccard or finding=NAME.

    Raises:
        NothingToMeasure: it is so.
    """
    rule = Rule.of(relevance)
    if not certain(queries, gallery, rule):
        return
    everywhere = sorted(frozenset.intersection(*map(frozenset, (*queries, *gallery))))
    shared = f" (the label {everywhere[0]!r} is on all of them)" if everywhere else ""
    if not any(queries) and not any(gallery):
        shared = " (nothing was found in any of them)"
    how = "share a label with" if rule.kind == "any" else f"are relevant, by {rule}, to"
    raise NothingToMeasure(
        f"all {len(gallery):,} labelled films {how} every one of the {len(queries):,} "
        f"queries{shared}: {_CERTAIN}"
    )


def _summary(protocol: str, found: ByQuery, whole: Whole | None, resamples: int) -> Evaluation:
    """Means over all queries, and over those of each label."""

    def means(values: Floats) -> ByDepth:
        return dict(zip(found.depths, values.mean(axis=0).tolist(), strict=True))

    labels = sorted({name for row in found.labels for name in row})
    with_label = {name: np.asarray([name in row for row in found.labels], bool) for name in labels}
    per_label = {
        name: {"queries": int(chosen.sum()), "precision": means(found.precision[chosen])}
        for name, chosen in with_label.items()
    }
    average: dict[str, Any] = {name: means(values) for name, values in found.measures.items()}
    macro = {
        name: means(np.stack([values[chosen].mean(axis=0) for chosen in with_label.values()]))
        for name, values in found.measures.items()
        if with_label
    }
    chance = float(found.chance.mean())
    blind = {name: means(values) for name, values in found.blind.items()}
    if not (found.candidates < found.depths[-1]).any():
        blind["precision"] = dict.fromkeys(found.depths, chance)
    ci95, others = _intervals(found, resamples)
    return Evaluation(
        protocol=protocol,
        queries=len(found.ids),
        gallery=found.gallery,
        ci95=ci95,
        per_label=per_label,
        map=math.nan if whole is None else float(whole.average_precision.mean()),
        baselines={"random": blind},
        relevance={"name": str(found.rule), "definition": found.rule.definition},
        nothing_to_find=int((found.relevant == 0).sum()),
        r_precision=math.nan if whole is None else float(whole.r_precision.mean()),
        macro=macro,
        per_finding=found.per_finding,
        over_findings=over_findings(found.per_finding),
        intervals=others,
        **average,
    )


def _intervals(
    found: ByQuery, resamples: int
) -> tuple[dict[int, tuple[float, float]], dict[str, dict[int, tuple[float, float]]]]:
    """95 % intervals of P@k, and those of the other measures, of one set of resamples."""
    if not resamples:
        return {}, {}
    names = [name for name in MEASURES if name != "precision"]
    columns = np.column_stack([found.measures[name] for name in names])
    ours, others = bootstraps([found.precision, columns], resamples, found.units)
    bounds = iter(others)
    return dict(zip(found.depths, ours, strict=True)), {
        name: {depth: next(bounds) for depth in found.depths} for name in names
    }
