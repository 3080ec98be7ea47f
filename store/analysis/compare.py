"""Paired comparison of galleries, over the films that all of them have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from store.errors import BadQuery
from store.evaluation.intervals import bootstrap, interval
from store.evaluation.labelled import GroupKind, Labelled, SamePatient, Sides
from store.evaluation.metrics import plain, refuse_certain
from store.evaluation.per_query import ByQuery, measure
from store.evaluation.protocols import LEAVE_ONE_OUT, sides
from store.evaluation.relevance import Relevance, Rule
from store.mirror.snapshot import Snapshot
from store.schema import Progress

if TYPE_CHECKING:
    from store.gallery import Gallery

_RESAMPLES = 2000
#: Depth to the bounds of an interval.
Intervals = dict[int, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Pair:
    """Another store against the first, query by query.

    Attributes:
        difference: mean of the first's precision minus the other's, per k.
        ci95: 95 % bootstrap interval of the difference, over the patients of paired queries.
        better, worse: queries on which the first store has the higher, or lower, precision.
        labels_differ: common films whose labels differ; those of the first store are used.
    """

    difference: dict[int, float]
    ci95: Intervals
    better: dict[int, int]
    worse: dict[int, int]
    labels_differ: int

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types, with k as strings."""
        found: dict[str, Any] = plain({name: getattr(self, name) for name in self.__slots__})
        return found


@dataclass(frozen=True, slots=True)
class Films:
    """Films of one data set and split that took part: as queries, and as films searched."""

    dataset: str | None
    split: str | None
    queries: int
    gallery: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Result of comparing stores over the same queries and the same gallery, by id.

    Attributes:
        protocol: ``leave-one-out`` or ``split``.
        queries, gallery: films that all stores have.
        films: the same by data set and split.
        left_out: of each store, labelled films that not all have.
        precision: of each store, per k.
        intervals: of each store, the 95 % bootstrap interval of its precision.
        pairs: each other store against the first, in their order.
        stores: as they were given, see Gallery.describe.
        relevance: {"name": as ``--relevance`` takes it, "definition": a sentence}.
        not_evaluated: reason to {"queries": n, "gallery": n}: films of the first store that took
            no part, as those that are not labelled.
        excluded, patients, interval, nothing_to_find, short: as of an Evaluation, by the patients
            and findings of the first store.
    """

    protocol: str
    queries: int
    gallery: int
    films: tuple[Films, ...]
    left_out: tuple[int, ...]
    precision: tuple[dict[int, float], ...]
    intervals: tuple[Intervals, ...]
    pairs: tuple[Pair, ...]
    stores: tuple[dict[str, Any], ...]
    relevance: dict[str, str]
    not_evaluated: dict[str, dict[str, int]]
    excluded: GroupKind
    patients: dict[str, int | None]
    interval: dict[str, Any]
    nothing_to_find: int
    short: int

    @property
    def difference(self) -> dict[int, float]:
        """Of the first pair, like the next four."""
        return self.pairs[0].difference

    @property
    def ci95(self) -> Intervals:
        """See Pair."""
        return self.pairs[0].ci95

    @property
    def better(self) -> dict[int, int]:
        """See Pair."""
        return self.pairs[0].better

    @property
    def worse(self) -> dict[int, int]:
        """See Pair."""
        return self.pairs[0].worse

    @property
    def labels_differ(self) -> int:
        """See Pair."""
        return self.pairs[0].labels_differ

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types, with k as strings.

        Beside ``pairs``, the keys of the first pair, as a comparison of two stores has always had
        them.
        """
        found = {name: getattr(self, name) for name in self.__slots__}
        found["films"] = [
            {name: getattr(one, name) for name in one.__slots__} for one in self.films
        ]
        found["pairs"] = [pair.as_dict() for pair in self.pairs]
        whole: dict[str, Any] = plain({**found, **self.pairs[0].as_dict()})
        return whole


@dataclass(frozen=True, eq=False)
class Brought:
    """What one store brings to a comparison.

    Attributes:
        queries, searched: its labelled films of both filters.
        belongs: of each film data set and split; of the first store they are told.
        store: what it is, see Gallery.describe.
    """

    queries: Labelled
    searched: Labelled
    belongs: Mapping[str, tuple[str | None, str | None]]
    store: dict[str, Any]

    @cached_property
    def findings(self) -> dict[str, tuple[str, ...]]:
        """Findings of its films, by id."""
        both = (self.searched, self.queries)
        return {id_: row for one in both for id_, row in zip(one.ids, one.labels, strict=True)}

    @cached_property
    def groups(self) -> dict[str, str | None]:
        """Patients, or studies, of its films, by id; None where neither is known."""
        found: dict[str, str | None] = {}
        for one in (self.searched, self.queries):
            found.update(zip(one.ids, one.groups or [None] * len(one.ids), strict=True))
        return found


def compare(
    gallery: Gallery,
    others: Gallery | Sequence[Gallery],
    protocol: str = LEAVE_ONE_OUT,
    k: Sequence[int] = (1, 3, 5, 10),
    *,
    split: str | None = "test",
    gallery_split: str = "train",
    dataset: str | None = None,
    resamples: int = _RESAMPLES,
    progress: Progress | None = None,
    relevance: str | Rule = "any",
    same_patient: SamePatient = "exclude",
) -> Comparison:
    """Compare the precision of galleries over the films that all of them have, query by query.

    Args:
        gallery: the first store; its labels and patients are used for all.
        others: the same films by other encoders, or older states of the first; one or more.
        protocol: as for Gallery.evaluate, like the next four.
        k: depths.
        split: of the queries.
        gallery_split: of the gallery in the split protocol.
        dataset: only rows of this data set.
        resamples: of the bootstrap.
        progress: called with queries of all stores, done and in all.
        relevance: any, all, jaccard or finding=NAME; see store.evaluation.relevance.
        same_patient: ``exclude`` films of the query's own patient, or ``count`` them.

    Raises:
        BadQuery: no other store, no common films, or as Gallery.evaluate.
        NothingToMeasure: as Gallery.evaluate.
    """
    galleries = [gallery, *(others if isinstance(others, Sequence) else [others])]
    if len(galleries) < 2:
        raise BadQuery("nothing to compare with: name another gallery of the same films")
    rule = Rule.of(relevance)

    def bring(of: Gallery) -> Brought:
        def ask(now: Snapshot) -> Brought:
            queries, searched = sides(now, protocol, split, gallery_split, dataset, rule)
            return Brought(queries, searched, _belonging(now, {*queries.ids, *searched.ids}), {})

        found = of.read_mirror("a comparison", ask)
        return replace(found, store=of.describe())

    brought = [bring(one) for one in galleries]
    return paired(brought, protocol, k, rule, same_patient, resamples, progress)


def paired(
    brought: Sequence[Brought],
    protocol: str,
    k: Sequence[int] = (1, 3, 5, 10),
    relevance: str | Rule = "any",
    same_patient: SamePatient = "exclude",
    resamples: int = _RESAMPLES,
    progress: Progress | None = None,
) -> Comparison:
    """Compare labelled films of several stores; ``compare`` reads them from galleries.

    Raises:
        BadQuery: they have no queries in common, or as Gallery.evaluate.
        NothingToMeasure: as Gallery.evaluate.
    """
    rule, first = Rule.of(relevance), brought[0]
    common = set.intersection(*(set(one.findings) for one in brought))
    both = [_common(one, first, common, same_patient) for one in brought]
    ours = both[0]
    if not ours.queries.ids or len({frozenset(one.queries.ids) for one in both}) > 1:
        names = " and ".join(str(one.store.get("uri")) for one in brought)
        raise BadQuery(
            f"{names} have no queries in common; all need the same ids in the same splits"
        )
    refuse_certain(ours.queries.labels, ours.gallery.labels, rule)
    tables = [
        measure(one, one.depths(k), Relevance(one, rule), share)
        for one, share in zip(both, _shares(progress, len(both)), strict=True)
    ]
    mine = tables[0]
    return Comparison(
        protocol=protocol,
        queries=len(mine.ids),
        gallery=mine.gallery,
        films=_films(first.belongs, ours.queries.ids, ours.gallery.ids),
        left_out=tuple(len(one.findings) - len(common) for one in brought),
        precision=tuple(_means(one.precision, one.depths) for one in tables),
        intervals=tuple(
            bootstrap(one.precision, one.depths, resamples, mine.units) for one in tables
        ),
        pairs=tuple(
            _pair(
                mine,
                table,
                resamples,
                sum(first.findings[id_] != other.findings[id_] for id_ in common),
            )
            for table, other in zip(tables[1:], brought[1:], strict=True)
        ),
        stores=tuple(one.store for one in brought),
        relevance={"name": str(rule), "definition": rule.definition},
        not_evaluated={
            reason: {
                "queries": first.queries.left_out.get(reason, 0),
                "gallery": first.searched.left_out.get(reason, 0),
            }
            for reason in sorted({*first.queries.left_out, *first.searched.left_out})
        },
        excluded=ours.excluded,
        patients=ours.patients,
        interval=interval(ours.units, ours.unit_kind),
        nothing_to_find=int((mine.relevant == 0).sum()),
        short=int((ours.candidates < mine.depths[-1]).sum()),
    )


def _pair(first: ByQuery, other: ByQuery, resamples: int, labels_differ: int) -> Pair:
    gap = first.precision - other.precision
    # Gains of Jaccard are fractions: rounding must not make equal means differ.
    better, worse = (gap > 1e-9).sum(axis=0), (gap < -1e-9).sum(axis=0)
    return Pair(
        _means(gap, first.depths),
        bootstrap(gap, first.depths, resamples, first.units),
        dict(zip(first.depths, better.tolist(), strict=True)),
        dict(zip(first.depths, worse.tolist(), strict=True)),
        labels_differ,
    )


def _means(values: Any, depths: Sequence[int]) -> dict[int, float]:
    return dict(zip(depths, values.mean(axis=0).tolist(), strict=True))


def _common(one: Brought, first: Brought, common: set[str], same_patient: SamePatient) -> Sides:
    """The films that all stores have, with findings and patients of the first."""
    queries = _only(one.queries, first.queries, first, common)
    if one.searched is one.queries:
        return Sides.of(queries, queries, same_patient)
    searched = _only(one.searched, first.searched, first, common)
    return Sides.of(queries, searched, same_patient)


def _only(rows: Labelled, firsts: Labelled, first: Brought, common: set[str]) -> Labelled:
    kept = [place for place, id_ in enumerate(rows.ids) if id_ in common]
    ids = [rows.ids[place] for place in kept]
    groups = [first.groups[id_] for id_ in ids]
    return Labelled(
        ids,
        rows.vectors[kept],
        [first.findings[id_] for id_ in ids],
        groups=groups,
        group_kind=firsts.group_kind if any(groups) else "film",
    )


def _belonging(now: Snapshot, ids: Collection[str]) -> dict[str, tuple[str | None, str | None]]:
    """Data set and split of films."""
    found = now.columns(["id", "dataset", "split"])
    cells = (found[name].to_pylist() for name in ("id", "dataset", "split"))
    return {id_: (dataset, split) for id_, dataset, split in zip(*cells, strict=True) if id_ in ids}


def _films(
    belongs: Mapping[str, tuple[str | None, str | None]],
    queries: Sequence[str],
    gallery: Sequence[str],
) -> tuple[Films, ...]:
    asking, searched = (Counter(belongs[id_] for id_ in ids) for ids in (queries, gallery))
    return tuple(
        Films(*place, asking[place], searched[place])
        for place in sorted(
            asking | searched, key=lambda place: tuple(part or "" for part in place)
        )
    )


def _shares(progress: Progress | None, stores: int) -> list[Progress | None]:
    """Of each store the callback for its part of the work."""

    def share(part: int, whole: Progress) -> Progress:
        return lambda done, total: whole(part * total + done, stores * total)

    return [None if progress is None else share(part, progress) for part in range(stores)]
