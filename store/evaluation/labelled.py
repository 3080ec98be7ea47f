"""Labelled films as the two sides of an evaluation: queries, and the gallery they search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from store.errors import BadQuery
from store.schema import Integers, Vectors
from store.search import base

#: The films that are left out of a query's ranking: those of its patient, of its study, or itself.
GroupKind = Literal["patient", "study", "film"]


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
        if len(set(self.ids)) != len(self.ids):
            raise BadQuery("ids to evaluate must be unique; remove the repeated ones")


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """The queries of an evaluation and the gallery they search, each in the order of its ids.

    In id order, so that not even rounding or the bootstrap depends on how rows are stored.

    Attributes:
        queries, gallery: one object when they are the same rows.
        own: int64 (q,), of each query its own row in the gallery; -1 where it has none.
        asking_group, searched_group: int64 (q,) and (n,), numbers of groups over both sides: a row
            of the query's own group is not in its ranking. A row without a group has a number of
            its own; the query's own row has the query's.
    """

    queries: Labelled
    gallery: Labelled
    own: Integers
    asking_group: Integers
    searched_group: Integers

    @classmethod
    def of(cls, queries: Labelled, gallery: Labelled) -> Sides:
        """Both sides, sorted."""
        same = queries is gallery
        gallery = _by_id(gallery)
        queries = gallery if same else _by_id(queries)
        places = {id_: place for place, id_ in enumerate(gallery.ids)}
        own = np.asarray([places.get(id_, -1) for id_ in queries.ids], np.int64)
        return cls(queries, gallery, own, *_groups(queries, gallery, own))

    def depths(self, k: Sequence[int]) -> list[int]:
        """The depths asked for, ascending. BadQuery when there are none, or too few rows."""
        depths = sorted(set(k))
        most = len(self.gallery.ids) - int((self.own >= 0).any())
        if not depths or depths[0] < 1 or depths[-1] > most:
            raise BadQuery(f"k = {list(k)}: expected depths from 1 to {most}, the rows to be found")
        return depths


def _by_id(rows: Labelled) -> Labelled:
    order = sorted(range(len(rows.ids)), key=rows.ids.__getitem__)
    if order == list(range(len(order))):
        return rows
    return Labelled(
        [rows.ids[i] for i in order],
        rows.vectors[order],
        [rows.labels[i] for i in order],
        rows.searched,
        None if rows.positions is None else rows.positions[order],
        None if rows.groups is None else [rows.groups[i] for i in order],
        rows.group_kind,
        rows.left_out,
    )


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
