"""Labelled films as the two sides of an evaluation: queries, and the gallery they search."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np

from store.errors import BadQuery, NothingToMeasure, counted
from store.schema import Integers, Vectors
from store.search import base

#: The films that are left out of a query's ranking: those of its patient, of its study, or itself.
GroupKind = Literal["patient", "study", "film"]
#: Whether other films of the query's own patient are left out of its ranking, or counted.
SamePatient = Literal["exclude", "count"]
#: Patients, or films that stand alone, below which percentiles of a bootstrap are too narrow, and
#: any interval is rough: tests/store/test_coverage.py measures it.
FEW = 50
SAME_PATIENT: tuple[SamePatient, ...] = ("exclude", "count")


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Groups of some films, as Labelled has them: patients where these are known, else studies.

    Names count within a data set: the same patient's name in another one is somebody else.
    """

    names: list[str | None]
    kind: GroupKind

    @classmethod
    def of(
        cls,
        datasets: Iterable[str | None],
        patients: Iterable[str | None],
        studies: Iterable[str | None],
    ) -> Groups:
        """Groups by the columns of films; blank values are unknown."""
        kinds: set[GroupKind] = {"film"}
        names: list[str | None] = []
        for dataset, patient, study in zip(datasets, patients, studies, strict=True):
            kind: GroupKind = "patient" if patient else "study" if study else "film"
            kinds.add(kind)
            names.append(None if kind == "film" else f"{kind} {patient or study!r} of {dataset!r}")
        return cls(names, strongest(kinds))


def strongest(kinds: Collection[GroupKind]) -> GroupKind:
    """What groups of several kinds are called: patients, where any are, else studies."""
    return next(kind for kind in ("patient", "study", "film") if kind in kinds)


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Vectors with their ids and findings, in one order.

    Attributes:
        ids: unique.
        vectors: float32 (n, d), unit rows.
        labels: the findings of each row, as store.outcomes.findings has them; empty where nothing
            was found.
        searched: an index that has these rows, so that they need no index of their own.
        positions: int64 (n,), where they are in it.
        groups: of each row its patient, or its study; rows of one group are never in each other's
            ranking. None for a row alone; None for all rows alone.
        group_kind: what the groups are: ``patient``, ``study``, or ``film`` where there are none.
        left_out: rows that passed the same filter and take no part, counted by reason.
    """

    ids: Sequence[str]
    vectors: Vectors
    labels: Sequence[tuple[str, ...]]
    searched: base.FlatVectors | None = None
    positions: Integers | None = None
    groups: Sequence[str | None] | None = None
    group_kind: GroupKind = "film"
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.vectors) == len(self.labels):
            raise BadQuery(
                f"{len(self.ids)} ids, {len(self.vectors)} vectors and {len(self.labels)} label "
                "lists; expected one of each per row"
            )
        if self.groups is not None and len(self.groups) != len(self.ids):
            raise BadQuery(f"{len(self.ids)} ids and {len(self.groups)} groups; expected one each")
        if len(set(self.ids)) != len(self.ids):
            raise BadQuery("ids to evaluate must be unique; remove the repeated ones")

    def part(self, places: Integers) -> Labelled:
        """The rows at some places, in their order."""
        return replace(
            self,
            ids=[self.ids[at] for at in places],
            vectors=self.vectors[places],
            labels=[self.labels[at] for at in places],
            positions=None if self.positions is None else self.positions[places],
            groups=None if self.groups is None else [self.groups[at] for at in places],
        )


@dataclass(frozen=True, eq=False)
class Sides:
    """The queries of an evaluation and the gallery they search, each in the order of its ids.

    In id order, so that not even rounding or the bootstrap depends on how rows are stored.

    Attributes:
        queries, gallery: one object when they are the same rows.
        own: int64 (q,), of each query its own row in the gallery; -1 where it has none.
        asking_group, searched_group: int64 (q,) and (n,), numbers of groups over both sides: a row
            of the query's own group is not in its ranking. A row without a group has a number of
            its own; the query's own row has the query's.
        units: int64 (q,), numbers of the queries' patients or studies, whether these are left out
            of rankings or not: what an interval resamples.
        unit_kind: what they are.
        same_patient: whether films of the query's own patient, or study, are left out.
    """

    queries: Labelled
    gallery: Labelled
    own: Integers
    asking_group: Integers
    searched_group: Integers
    units: Integers
    unit_kind: GroupKind
    same_patient: SamePatient

    @classmethod
    def of(
        cls, queries: Labelled, gallery: Labelled, same_patient: SamePatient = "exclude"
    ) -> Sides:
        """Both sides, sorted.

        Raises:
            BadQuery: ``same_patient`` is neither ``exclude`` nor ``count``.
        """
        if same_patient not in SAME_PATIENT:
            raise BadQuery(f"same_patient {same_patient!r}: expected {' or '.join(SAME_PATIENT)}")
        same = queries is gallery
        gallery = _by_id(gallery)
        queries = gallery if same else _by_id(queries)
        places = {id_: place for place, id_ in enumerate(gallery.ids)}
        own = np.asarray([places.get(id_, -1) for id_ in queries.ids], np.int64)
        groups = _groups(queries, gallery, own)
        units = groups[0]
        if same_patient == "count":
            alone = len(gallery.ids) + np.arange(len(queries.ids))
            groups = np.where(own < 0, alone, own), np.arange(len(gallery.ids))
        return cls(queries, gallery, own, *groups, units, queries.group_kind, same_patient)

    @property
    def excluded(self) -> GroupKind:
        """What is left out of a query's ranking: its patient's films, its study's, or itself."""
        if self.same_patient == "count":
            return "film"
        return strongest({self.queries.group_kind, self.gallery.group_kind})

    @cached_property
    def candidates(self) -> Integers:
        """How many rows each query may find, int64 (q,): those that are not of its own group."""
        numbers = 1 + int(max(self.asking_group.max(initial=0), self.searched_group.max(initial=0)))
        sizes = np.bincount(self.searched_group, minlength=numbers)
        return len(self.gallery.ids) - sizes[self.asking_group].astype(np.int64)

    @cached_property
    def members(self) -> dict[int, list[str]]:
        """Ids of the rows of each group of the gallery."""
        found: dict[int, list[str]] = {}
        for id_, group in zip(self.gallery.ids, self.searched_group.tolist(), strict=True):
            found.setdefault(group, []).append(id_)
        return found

    @property
    def patients(self) -> dict[str, int | None]:
        """Films whose patient, or else study, is known and unknown; and patients on both sides.

        Films of both sides, each counted once. ``in_both_sides`` is None where the sides are the
        same films.
        """
        asking, searched = (
            dict(zip(rows.ids, rows.groups or [None] * len(rows.ids), strict=True))
            for rows in (self.queries, self.gallery)
        )
        known = sum(group is not None for group in (asking | searched).values())
        both = {one for one in asking.values() if one} & set(searched.values())
        return {
            "known": known,
            "unknown": len(asking | searched) - known,
            "in_both_sides": None if self.queries is self.gallery else len(both),
        }

    def depths(self, k: Sequence[int]) -> list[int]:
        """The depths asked for, ascending.

        Raises:
            BadQuery: there are none, or one is beyond the rows that any query may find.
            NothingToMeasure: no query may find any row: all are of one patient.
        """
        depths = sorted(set(k))
        most = int(self.candidates.max(initial=0))
        if not most and self.excluded != "film":
            raise NothingToMeasure(
                f"all {counted(len(self.gallery.ids), 'film')} are of one {self.excluded}, and "
                "films of the "
                f"query's own {self.excluded} are not in its ranking: there is nothing to find. "
                "Add films of others, or count them: --same-patient count"
            )
        if not depths or depths[0] < 1 or depths[-1] > most:
            raise BadQuery(f"k = {list(k)}: expected depths from 1 to {most}, the rows to be found")
        return depths


def _by_id(rows: Labelled) -> Labelled:
    order = np.asarray(sorted(range(len(rows.ids)), key=rows.ids.__getitem__), np.int64)
    return rows if (order == np.arange(len(order))).all() else rows.part(order)


def _groups(queries: Labelled, gallery: Labelled, own: Integers) -> tuple[Integers, Integers]:
    """Numbers of the groups of both sides; see Sides."""
    numbers: dict[str, int] = {}
    asking, searched = (
        np.asarray(
            [
                -1 if name is None else numbers.setdefault(name, len(numbers))
                for name in rows.groups or [None] * len(rows.ids)
            ],
            np.int64,
        )
        for rows in (queries, gallery)
    )
    alone = np.flatnonzero(searched < 0)
    searched[alone] = len(numbers) + np.arange(len(alone))
    asking[own >= 0] = searched[own[own >= 0]]
    alone = np.flatnonzero(asking < 0)
    asking[alone] = len(numbers) + len(searched) + np.arange(len(alone))
    return asking, searched
