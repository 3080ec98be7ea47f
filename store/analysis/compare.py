"""Paired comparison of two galleries, over the rows that both have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from store.errors import BadQuery
from store.evaluation.intervals import bootstrap
from store.evaluation.labelled import Labelled
from store.evaluation.metrics import plain, refuse_certain
from store.evaluation.per_query import by_query
from store.evaluation.protocols import LEAVE_ONE_OUT, sides
from store.mirror.snapshot import Snapshot
from store.schema import Progress

if TYPE_CHECKING:
    from store.gallery import Gallery

_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Comparison:
    """Result of comparing two stores over the same queries and the same gallery, by id.

    Attributes:
        protocol: ``leave-one-out`` or ``split``.
        queries, gallery: rows that both have.
        left_out: rows of the first store, and of the other, that only one of them has.
        labels_differ: common rows whose labels differ; those of the first store are used.
        precision: of the first store and of the other, per k.
        difference: first minus other, per k.
        ci95: 95 % percentile bootstrap interval of the difference, over paired queries.
        better, worse: queries on which the first store has the higher, or lower, precision.
        stores: the two, see Gallery.describe.
    """

    protocol: str
    queries: int
    gallery: int
    left_out: tuple[int, int]
    labels_differ: int
    precision: tuple[dict[int, float], dict[int, float]]
    difference: dict[int, float]
    ci95: dict[int, tuple[float, float]]
    better: dict[int, int]
    worse: dict[int, int]
    stores: tuple[dict[str, Any], dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types, with k as strings."""
        found: dict[str, Any] = plain({name: getattr(self, name) for name in self.__slots__})
        return found


def compare(
    gallery: Gallery,
    other: Gallery,
    protocol: str = LEAVE_ONE_OUT,
    k: Sequence[int] = (1, 3, 5, 10),
    *,
    split: str | None = "test",
    gallery_split: str = "train",
    dataset: str | None = None,
    resamples: int = _RESAMPLES,
    progress: Progress | None = None,
) -> Comparison:
    """Compare the precision of two galleries over the rows that both have, query by query.

    Args:
        gallery: the first store; its labels are used for both.
        other: the same films by another encoder, or an older state of the first.
        protocol: as for Gallery.evaluate, like the next four.
        k: depths.
        split: of the queries.
        gallery_split: of the gallery in the split protocol.
        dataset: only rows of this data set.
        resamples: of the bootstrap.
        progress: called with queries of both, done and in all.

    Raises:
        BadQuery: no common rows, or as Gallery.evaluate.
        NothingToMeasure: as Gallery.evaluate.
    """

    def rows(of: Gallery) -> tuple[Labelled, Labelled, dict[str, Any]]:
        def ask(now: Snapshot) -> tuple[Labelled, Labelled]:
            return sides(now, protocol, split, gallery_split, dataset)

        queries, searched = of.read_mirror("a comparison", ask)
        return queries, searched, of.describe()

    queries, searched, store = rows(gallery)
    other_queries, other_searched, other_store = rows(other)
    labels = dict(zip(searched.ids, searched.labels, strict=True))
    labels.update(zip(queries.ids, queries.labels, strict=True))
    theirs = dict(zip(other_searched.ids, other_searched.labels, strict=True))
    theirs.update(zip(other_queries.ids, other_queries.labels, strict=True))
    common = labels.keys() & theirs.keys()
    mine = _only(queries, labels, common)
    yours = _only(other_queries, labels, common)
    if not mine.ids or set(mine.ids) != set(yours.ids):
        raise BadQuery(
            f"{gallery.uri} and {other.uri} have no queries in common; both need the same ids "
            "in the same splits"
        )
    shares = None if progress is None else _halves(progress)
    mine_searched = _only(searched, labels, common)
    yours_searched = _only(other_searched, labels, common)
    refuse_certain(mine.labels, mine_searched.labels)
    first = by_query(mine, mine_searched, k, None if shares is None else shares(0))
    second = by_query(yours, yours_searched, k, None if shares is None else shares(1))
    gap = first.precision - second.precision
    per_depth = list(enumerate(first.depths))
    return Comparison(
        protocol,
        len(first.ids),
        first.gallery,
        (len(labels) - len(common), len(theirs) - len(common)),
        sum(labels[id_] != theirs[id_] for id_ in common),
        (
            {depth: float(first.precision[:, at].mean()) for at, depth in per_depth},
            {depth: float(second.precision[:, at].mean()) for at, depth in per_depth},
        ),
        {depth: float(gap[:, at].mean()) for at, depth in per_depth},
        bootstrap(gap, first.depths, resamples),
        {depth: int((gap[:, at] > 0).sum()) for at, depth in per_depth},
        {depth: int((gap[:, at] < 0).sum()) for at, depth in per_depth},
        (store, other_store),
    )


def _only(rows: Labelled, labels: dict[str, tuple[str, ...]], common: set[str]) -> Labelled:
    kept = [place for place, id_ in enumerate(rows.ids) if id_ in common]
    ids = [rows.ids[place] for place in kept]
    return Labelled(ids, rows.vectors[kept], [labels[id_] for id_ in ids])


def _halves(progress: Progress) -> Callable[[int], Progress]:
    return lambda half: lambda done, total: progress(half * total + done, 2 * total)
