"""Precision@k and its company: pure functions over vectors, ids and labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from store.equals import Equals
from store.errors import BadQuery, NothingToMeasure
from store.measures import Floats, bootstrap, majority, one_hot
from store.schema import Vectors

#: Queries ranked at once; bounds memory by block x gallery.
_BLOCK = 256
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Vectors with their ids and findings, in one order.

    Attributes:
        ids: unique.
        vectors: float32 (n, d), unit rows.
        labels: the findings of each row; two rows are relevant to each other when they share one.
    """

    ids: Sequence[str]
    vectors: Vectors
    labels: Sequence[tuple[str, ...]]

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.vectors) == len(self.labels):
            raise BadQuery(
                f"{len(self.ids)} ids, {len(self.vectors)} vectors and {len(self.labels)} label "
                "lists; expected one of each per row"
            )
        if len(set(self.ids)) != len(self.ids):
            raise BadQuery("ids to evaluate must be unique; remove the repeated ones")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well neighbours share labels.

    Attributes:
        protocol: ``leave-one-out`` or ``split``.
        queries, gallery: how many rows on each side.
        precision: k to the mean share of the top k that share a label with the query.
        ci95: k to the 95 % percentile bootstrap interval of that mean, over queries.
        per_label: label to {"queries": n, "precision": {k: mean over queries with that label}}.
        map: mean average precision over the full ranking, queries with something to find; NaN
            when the full ranking was not asked for, null in ``as_dict``.
        vote: k to the accuracy of the majority label of the top k (nearest wins a tie); empty
            unless every row has exactly one label.
        hit_rate: k to the share of queries with at least one relevant row in the top k.
        baselines: name to {"precision": {k: ..}, "map": ..}; ``random`` is the expectation.
        store: which gallery, see Gallery.describe.
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
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Rank the gallery for every query and compare labels.

    A query that is in the gallery is excluded by id, wherever it ranks. Equal scores rank by id.

    Args:
        protocol: a name for the result; what it means is decided by the two sets.
        queries: what asks.
        gallery: what is searched.
        k: depths.
        resamples: of the bootstrap; 0 leaves ``ci95`` empty.
        full_ranking: also compute ``map``, which sorts the whole gallery for every query. Without
            it only the top of each ranking is found: some ten times quicker on large galleries.
        progress: told about queries, done and in all.

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
    # In id order, so that not even rounding or the bootstrap depends on how rows are stored.
    queries, gallery = _by_id(queries), _by_id(gallery)
    depths = sorted(set(k))
    places = {id_: place for place, id_ in enumerate(gallery.ids)}
    own = np.asarray([places.get(id_, -1) for id_ in queries.ids])
    most = len(gallery.ids) - int((own >= 0).any())
    if not depths or depths[0] < 1 or depths[-1] > most:
        raise BadQuery(f"k = {list(k)}: expected depths from 1 to {most}, the rows to be found")
    refuse_certain(queries.labels, gallery.labels)

    by_query = _measure(queries, gallery, own, depths, full_ranking, progress)
    return _summarise(protocol, queries, gallery, depths, by_query, resamples)


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


def _by_id(rows: Labelled) -> Labelled:
    order = sorted(range(len(rows.ids)), key=rows.ids.__getitem__)
    return Labelled(
        [rows.ids[i] for i in order], rows.vectors[order], [rows.labels[i] for i in order]
    )


@dataclass(slots=True)
class _ByQuery:
    precision: Floats  # (q, depths)
    hit: Floats  # (q, depths)
    vote: Floats | None  # (q, depths)
    average_precision: Floats  # (q,), NaN when nothing is relevant
    chance: Floats  # (q,), share of the gallery that is relevant
    ranked: bool  # whether average_precision was computed


def _measure(
    queries: Labelled,
    gallery: Labelled,
    own: npt.NDArray[np.int64],
    depths: list[int],
    full_ranking: bool,
    progress: Callable[[int, int], None] | None,
) -> _ByQuery:
    # The gallery comes in id order: a stable sort breaks ties by id.
    rows = Equals(gallery.vectors)
    names = sorted({name for side in (queries, gallery) for row in side.labels for name in row})
    query_hot = one_hot(queries.labels, names)
    gallery_hot = one_hot(gallery.labels, names)
    single = all(len(row) == 1 for side in (queries, gallery) for row in side.labels)
    n, m = len(queries.ids), len(gallery.ids)
    result = _ByQuery(
        np.empty((n, len(depths))),
        np.empty((n, len(depths))),
        np.empty((n, len(depths))) if single else None,
        np.full(n, np.nan),
        np.empty(n),
        full_ranking,
    )
    gallery_class = gallery_hot.argmax(axis=1)
    kinds, kind_of = np.unique(gallery_hot, axis=0, return_inverse=True)
    sizes = np.bincount(kind_of.ravel(), minlength=len(kinds))
    at = np.asarray(depths) - 1
    for start in range(0, n, _BLOCK):
        block = slice(start, min(start + _BLOCK, n))
        asked = queries.vectors[block].astype(np.float32)
        inside = own[block] >= 0
        related = (query_hot[block] @ kinds.T) > 0  # query by kind of gallery row
        own_kind = kind_of.ravel()[np.maximum(own[block], 0)]
        itself = inside & related[np.arange(len(asked)), own_kind]
        total = (related * sizes).sum(axis=1) - itself
        if full_ranking:
            ranking, found = _ranked(rows.scores(asked), related[:, kind_of.ravel()], own[block])
            hits = np.cumsum(found, axis=1, dtype=np.int32)
            with np.errstate(invalid="ignore"):
                result.average_precision[block] = (
                    np.where(found, hits / np.arange(1, m + 1), 0).sum(axis=1) / total
                )
        else:
            ranking = rows.top(asked, depths[-1], own[block])
            found = np.take_along_axis(related, kind_of.ravel()[ranking], axis=1)
            hits = np.cumsum(found, axis=1, dtype=np.int32)
        result.precision[block] = hits[:, at] / np.asarray(depths)
        result.hit[block] = hits[:, at] > 0
        result.chance[block] = total / (m - inside)
        if result.vote is not None:
            classes = gallery_class[ranking[:, : depths[-1]]]
            truth = query_hot[block].argmax(axis=1)
            for column, depth in enumerate(depths):
                result.vote[block, column] = majority(classes[:, :depth], len(names)) == truth
        if progress is not None:
            progress(block.stop, n)
    return result


def _ranked(
    scores: Vectors, relevant: npt.NDArray[np.bool_], own: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The whole gallery in order for each query, and which of it is relevant."""
    inside = np.flatnonzero(own >= 0)
    scores[inside, own[inside]] = -np.inf  # ranks last, and is not relevant
    relevant[inside, own[inside]] = False
    ranking = np.argsort(-scores, axis=1, kind="stable")
    return ranking, np.take_along_axis(relevant, ranking, axis=1)


def _summarise(
    protocol: str,
    queries: Labelled,
    gallery: Labelled,
    depths: list[int],
    by_query: _ByQuery,
    resamples: int,
) -> Evaluation:
    def means(values: Floats) -> dict[int, float]:
        return dict(zip(depths, values.mean(axis=0).tolist(), strict=True))

    per_label = {}
    for name in sorted({name for row in queries.labels for name in row}):
        chosen = np.asarray([name in row for row in queries.labels])
        per_label[name] = {
            "queries": int(chosen.sum()),
            "precision": means(by_query.precision[chosen]),
        }
    answerable = by_query.average_precision[~np.isnan(by_query.average_precision)]
    chance = float(by_query.chance.mean())
    return Evaluation(
        protocol=protocol,
        queries=len(queries.ids),
        gallery=len(gallery.ids),
        precision=means(by_query.precision),
        ci95=bootstrap(by_query.precision, depths, resamples) if resamples else {},
        per_label=per_label,
        map=math.nan if not by_query.ranked else float(answerable.mean()) if answerable.size else 0,
        vote=means(by_query.vote) if by_query.vote is not None else {},
        hit_rate=means(by_query.hit),
        baselines={"random": {"precision": dict.fromkeys(depths, chance)}},
    )
