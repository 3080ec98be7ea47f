"""Evaluation with reports as queries: words, vectors and both, and a film to its own report.

Each labelled film with a report asks with the words of it, with the vector of its text, with that
of its picture, and with words and either of these; searched are the other labelled films with a
report, without those of its own patient. Relevance, P@k and nDCG are those of an evaluation
(store.evaluation), so are intervals; two ways to search are compared query by query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from store.errors import BadQuery
from store.evaluation.intervals import bootstrap, interval
from store.evaluation.labelled import Labelled, SamePatient, Sides
from store.evaluation.metrics import plain, refuse_certain
from store.evaluation.per_query import ByQuery, measure
from store.evaluation.protocols import LEAVE_ONE_OUT, filters_of, sides
from store.evaluation.ranking import Ranked, Ranker, by_vectors, of_answers
from store.evaluation.relevance import Relevance, Rule
from store.outcomes import FOUND, NOTHING_FOUND
from store.schema import Floats, Progress, Vectors
from store.search.fusion import RRF, Fusion
from store.table import filters, lance
from store.table.filters import Where
from store.words.query import parse

if TYPE_CHECKING:
    from store.gallery import Gallery
    from store.mirror.snapshot import Snapshot

#: Texts to float32 (n, d), unit rows of the gallery's encoder.
Encode = Callable[[Sequence[str]], Vectors]
#: Ways to search that go together: the whole to its halves.
HYBRIDS = {"words+text": ("words", "text"), "words+picture": ("words", "picture")}
_HALVES = ("words", "text", "picture")
#: Depths at which a film's own report is looked for.
OWN_DEPTHS = (1, 5, 10)
#: Queries at most, drawn evenly by a fixed seed where there are more; a search by words each.
MOST = 1_000
_SEED = 0
_RESAMPLES = 2_000
#: Filter of the films that are searched: with a report, and labelled.
_TAKING_PART = (("has_report", "yes"), ("outcome", FOUND), ("outcome", NOTHING_FOUND))
#: Queries ranked at once.
_TOGETHER = 64
#: Film vectors that are compared with the vectors of all reports at once.
_BLOCK = 256

ByDepth = dict[int, float]
Intervals = dict[int, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Way:
    """Measures of one way to search by a report, means over queries.

    Attributes:
        precision, ndcg: by depth, as of an Evaluation.
        ci95: of ``precision``.
        ndcg_ci95: of ``ndcg``.
    """

    precision: ByDepth
    ci95: Intervals
    ndcg: ByDepth
    ndcg_ci95: Intervals


@dataclass(frozen=True, slots=True)
class Gap:
    """Difference of a hybrid and one of its halves over the same queries.

    Attributes:
        hybrid, half: which; the difference is the first less the second.
        better: whether this is the better half, by P@k at the deepest k.
        precision, ndcg: mean differences by depth.
        ci95, ndcg_ci95: their paired 95 % intervals.
    """

    hybrid: str
    half: str
    better: bool
    precision: ByDepth
    ci95: Intervals
    ndcg: ByDepth
    ndcg_ci95: Intervals

    def worse(self, measure: str = "precision") -> list[int]:
        """Depths at which the first is worse by more than the interval: all of it is below 0."""
        bounds = self.ci95 if measure == "precision" else self.ndcg_ci95
        return [k for k, (_, high) in bounds.items() if high < 0]


@dataclass(frozen=True, slots=True)
class OwnReport:
    """How often a film's picture finds the film's own report among all different ones.

    Attributes:
        films: that asked.
        reports: different texts that were searched.
        recall: depth to the share of films whose own text is among so many.
        ci95: of ``recall``.
        chance: depth to the share to expect of a blind ranking.
    """

    films: int
    reports: int
    recall: ByDepth
    ci95: Intervals
    chance: ByDepth


@dataclass(frozen=True, slots=True)
class ReportEvaluation:
    """Evaluation of a gallery with reports as queries.

    Attributes:
        queries, gallery: films that asked, and labelled films with a report that were searched.
        ways: ``words``, ``text``, ``picture``, and those of ``HYBRIDS``; without a text encoder
            those without ``text``.
        gaps: of each hybrid and its halves.
        own_report: None without a text encoder.
        sampled: labelled films with a report of which the queries were drawn; None where all ask.
        left_out: reason to films that took no part.
        relevance, excluded, interval: as of an Evaluation.
        store: which gallery, see Gallery.describe.
    """

    queries: int
    gallery: int
    ways: Mapping[str, Way]
    gaps: Sequence[Gap]
    own_report: OwnReport | None
    sampled: int | None
    left_out: Mapping[str, int]
    relevance: Mapping[str, str]
    excluded: str
    interval: Mapping[str, Any]
    store: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types, with k as strings."""

        def fields(one: Any) -> dict[str, Any]:
            return {name: getattr(one, name) for name in one.__slots__}

        found = fields(self)
        found["ways"] = {name: fields(way) for name, way in self.ways.items()}
        found["gaps"] = [
            plain({**fields(gap), "worse": gap.worse(), "ndcg_worse": gap.worse("ndcg")})
            for gap in self.gaps
        ]
        found["own_report"] = None if self.own_report is None else fields(self.own_report)
        document: dict[str, Any] = plain(
            {"query_kind": "reports", "protocol": LEAVE_ONE_OUT, **found}
        )
        return document


def evaluate_reports(
    gallery: Gallery,
    encode: Encode | None = None,
    k: Sequence[int] = (1, 3, 5, 10),
    *,
    split: str | None = None,
    dataset: str | None = None,
    same_patient: SamePatient = "exclude",
    relevance: str = "any",
    most: int = MOST,
    fusion: Fusion = RRF,
    resamples: int = _RESAMPLES,
    progress: Progress | None = None,
) -> ReportEvaluation:
    """Evaluate a gallery with reports as queries.

    Args:
        gallery: with its vectors in memory.
        encode: of texts; None measures words alone.
        k: depths.
        split: of queries and gallery; None for all.
        dataset: only films of this data set.
        same_patient: ``exclude`` films of the query's own patient, or ``count`` them.
        relevance: any, all, jaccard or finding=NAME.
        most: queries at most.
        fusion: of words and vectors; see Gallery.search_words.
        resamples: of the bootstrap.
        progress: called with queries done, of all ways, and in all.

    Raises:
        BadQuery: no labelled film with a report, or as Gallery.evaluate.
        NothingToMeasure: as Gallery.evaluate.
    """
    if most < 2:
        raise BadQuery(f"most = {most}: expected 2 queries or more")
    reader = gallery.pinned()

    def ask(now: Snapshot) -> ReportEvaluation:
        films, _ = sides(now, LEAVE_ONE_OUT, split, "", dataset, relevance)
        texts = _texts(now)
        searched = _only(films, [at for at, id_ in enumerate(films.ids) if id_ in texts])
        if len(searched.ids) < 2:
            raise BadQuery(
                f"{len(searched.ids)} labelled films of {gallery.uri} have a report; it takes 2 or "
                "more. Ingest reports with --report-column, see docs/sources.md"
            )
        asking = _sample(searched, most)
        both = Sides.of(asking, searched, same_patient)
        asked = [texts[id_] for id_ in both.queries.ids]
        depths = both.depths(k)
        rule = Rule.of(relevance)
        refuse_certain(both.queries.labels, both.gallery.labels, rule)
        judged = Relevance(both, rule)
        vectors = None if encode is None else _unit(encode, asked)
        asking_where, _ = filters_of(LEAVE_ONE_OUT, split, "", dataset)
        where = replace(asking_where, extra=_TAKING_PART)
        rankers: dict[str, Ranker] = {"words": _by_words(reader, asked, None, where, fusion)}
        beside = {"text": vectors, "picture": both.queries.vectors}
        for name, matrix in beside.items():
            if matrix is not None:
                rankers[name] = _by_vectors(matrix)
                rankers[f"words+{name}"] = _by_words(reader, asked, matrix, where, fusion)
        found: dict[str, ByQuery] = {}
        for at, (way, rank) in enumerate(rankers.items()):
            share = _share(progress, at, len(rankers))
            found[way] = measure(both, depths, judged, share, rank)
        order = [way for way in (*_HALVES, *HYBRIDS) if way in found]
        return ReportEvaluation(
            len(both.queries.ids),
            len(both.gallery.ids),
            {way: _way(found[way], resamples) for way in order},
            [gap for way in HYBRIDS if way in found for gap in _gaps(found, way, resamples)],
            None if encode is None else _own_report(both, texts, encode, resamples),
            len(searched.ids) if len(asking.ids) < len(searched.ids) else None,
            {**films.left_out, "no report": len(films.ids) - len(searched.ids)},
            {"name": str(rule), "definition": rule.definition},
            both.excluded,
            interval(both.units, both.unit_kind),
            reader.describe(),
        )

    return reader.read_mirror("an evaluation with reports", ask)


def _texts(now: Snapshot) -> dict[str, str]:
    """The reports of one version by id."""
    if "report" not in now.handle.schema.names:
        return {}
    found = lance.scan(now.handle, ["id", "report"], filters.has_text("report"))
    return dict(zip(found["id"].to_pylist(), found["report"].to_pylist(), strict=True))


def _only(films: Labelled, at: Sequence[int]) -> Labelled:
    """Some of some films, by their places."""
    places = np.asarray(at, np.int64)
    return replace(
        films,
        ids=[films.ids[i] for i in at],
        vectors=films.vectors[places],
        labels=[films.labels[i] for i in at],
        positions=None if films.positions is None else films.positions[places],
        groups=None if films.groups is None else [films.groups[i] for i in at],
    )


def _sample(films: Labelled, most: int) -> Labelled:
    """At most so many films, drawn by a fixed seed from all in the order of their ids."""
    if len(films.ids) <= most:
        return films
    order = sorted(range(len(films.ids)), key=films.ids.__getitem__)
    drawn = np.random.default_rng(_SEED).choice(len(order), most, replace=False)
    return _only(films, [order[at] for at in sorted(drawn.tolist())])


def _unit(encode: Encode, texts: Sequence[str]) -> Vectors:
    """Vectors of texts, each different text encoded once."""
    different = list(dict.fromkeys(texts))
    place = {text: at for at, text in enumerate(different)}
    vectors = np.asarray(encode(different), np.float32)
    return vectors[[place[text] for text in texts]]


def _by_words(
    reader: Gallery, asked: Sequence[str], vectors: Vectors | None, where: Where, fusion: Fusion
) -> Ranker:
    """Films by the words of their reports, or by these and the vectors of the texts."""

    def rank(both: Sides, depth: int) -> Iterator[Ranked]:
        places = {id_: place for place, id_ in enumerate(both.gallery.ids)}
        for start in range(0, len(asked), _TOGETHER):
            block = slice(start, min(start + _TOGETHER, len(asked)))
            found = [
                _found(
                    reader,
                    asked[at],
                    None if vectors is None else vectors[at],
                    min(depth, int(both.candidates[at])),
                    where,
                    both.members.get(int(both.asking_group[at]), []),
                    places,
                    fusion,
                )
                for at in range(block.start, block.stop)
            ]
            yield of_answers(block, depth, found)

    return rank


def _found(
    reader: Gallery,
    text: str,
    vector: Vectors | None,
    wanted: int,
    where: Where,
    own: Sequence[str],
    places: Mapping[str, int],
    fusion: Fusion,
) -> list[tuple[int, float]]:
    """Rows of the gallery and scores for one report, as many as wanted where so many match."""
    words = text.replace('"', " ")  # a part between quotes would have to stand so
    try:
        parse(words)
    except BadQuery:  # no word in it
        return []
    count, rows = wanted, len(reader)
    while count:
        hits = reader.search_words(words, count, where, own, vectors=vector, fusion=fusion)
        found = [(places[hit.row.id], hit.score) for hit in hits if hit.row.id in places]
        if len(found) >= wanted or len(hits) < count or count >= rows:
            return found[:wanted]
        count = min(4 * count, rows)
    return []


def _by_vectors(vectors: Vectors) -> Ranker:
    """Films by the cosine of their vectors and those of the queries, float32 (q, d)."""

    def rank(both: Sides, depth: int) -> Iterator[Ranked]:
        return by_vectors(replace(both, queries=replace(both.queries, vectors=vectors)), depth)

    return rank


def _own_report(both: Sides, texts: Mapping[str, str], encode: Encode, resamples: int) -> OwnReport:
    """Recall of each query's own report by the vector of its film."""
    different = list(dict.fromkeys(texts[id_] for id_ in both.gallery.ids))
    place = {text: at for at, text in enumerate(different)}
    reports = np.asarray(encode(different), np.float32)
    own = np.asarray([place[texts[id_]] for id_ in both.queries.ids])
    ranks = np.empty(len(own), np.int64)
    for start in range(0, len(own), _BLOCK):
        block = slice(start, start + _BLOCK)
        cosines = both.queries.vectors[block] @ reports.T
        mine = np.take_along_axis(cosines, own[block, None], axis=1)
        before = np.arange(len(different)) < own[block, None]
        ahead = (cosines > mine) | ((cosines == mine) & before)
        ranks[block] = ahead.sum(axis=1)
    found = (ranks[:, None] < np.asarray(OWN_DEPTHS)).astype(np.float64)
    depths = list(OWN_DEPTHS)
    return OwnReport(
        len(own),
        len(different),
        _means(found, depths),
        bootstrap(found, depths, resamples, both.units),
        {depth: min(depth / len(different), 1.0) for depth in depths},
    )


def _way(found: ByQuery, resamples: int) -> Way:
    ndcg = found.measures["ndcg"]
    return Way(
        _means(found.precision, found.depths),
        bootstrap(found.precision, found.depths, resamples, found.units),
        _means(ndcg, found.depths),
        bootstrap(ndcg, found.depths, resamples, found.units),
    )


def _gaps(found: Mapping[str, ByQuery], hybrid: str, resamples: int) -> Iterator[Gap]:
    """A hybrid against either half."""
    one = found[hybrid]
    halves = HYBRIDS[hybrid]
    best = max(halves, key=lambda half: float(found[half].precision[:, -1].mean()))
    for half in halves:
        other = found[half]
        precision = one.precision - other.precision
        ndcg = one.measures["ndcg"] - other.measures["ndcg"]
        yield Gap(
            hybrid,
            half,
            half == best,
            _means(precision, one.depths),
            bootstrap(precision, one.depths, resamples, one.units),
            _means(ndcg, one.depths),
            bootstrap(ndcg, one.depths, resamples, one.units),
        )


def _means(values: Floats, depths: Sequence[int]) -> ByDepth:
    return dict(zip(depths, values.mean(axis=0).tolist(), strict=True))


def _share(progress: Progress | None, part: int, parts: int) -> Progress | None:
    """The callback for one of several passes over the queries."""
    if progress is None:
        return None
    return lambda done, total: progress(part * total + done, parts * total)
