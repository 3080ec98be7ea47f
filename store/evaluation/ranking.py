"""Rankings of a labelled set by queries of another: the base of every evaluation.

Where vectors are in memory FAISS ranks them, as for any search; else a Searcher is asked, one query
at a time. Either way a query that is in the gallery is left out by id, and equal scores rank by id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from store.errors import BadQuery
from store.schema import Floats, Integers, Vectors
from store.search import base, exact
from store.search.base import Searcher
from store.table.filters import Where


def one_hot(labels: Sequence[tuple[str, ...]], names: list[str]) -> npt.NDArray[np.float32]:
    """float32 (rows, names): 1 where a row has a label."""
    column = {name: place for place, name in enumerate(names)}
    hot = np.zeros((len(labels), len(names)), np.float32)
    for row, found in enumerate(labels):
        hot[row, [column[name] for name in found]] = 1
    return hot


def majority(classes: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """The most frequent class of each row of (q, k) ranked classes; the nearest wins a tie."""
    votes = np.stack([(classes == name).sum(axis=1) for name in range(count)], axis=1)
    # Votes of the classes in rank order: argmax takes the first, the nearest among the tied.
    return np.take_along_axis(
        classes, np.take_along_axis(votes, classes, axis=1).argmax(axis=1)[:, None], axis=1
    )[:, 0]


#: Queries ranked at once: larger products are quicker, by a fifth than of 256 queries. Fewer where
#: each is compared with the whole gallery, which bounds memory by block x rows.
BLOCK, _WHOLE = 1024, 256


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Vectors with their ids and findings, in one order.

    Attributes:
        ids: unique.
        vectors: float32 (n, d), unit rows.
        labels: the findings of each row; two rows are relevant to each other when they share one.
        searched: an index that has these rows, so that they need no index of their own.
        positions: int64 (n,), where they are in it.
    """

    ids: Sequence[str]
    vectors: Vectors
    labels: Sequence[tuple[str, ...]]
    searched: base.FlatVectors | None = None
    positions: Integers | None = None

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.vectors) == len(self.labels):
            raise BadQuery(
                f"{len(self.ids)} ids, {len(self.vectors)} vectors and {len(self.labels)} label "
                "lists; expected one of each per row"
            )
        if len(set(self.ids)) != len(self.ids):
            raise BadQuery("ids to evaluate must be unique; remove the repeated ones")


class Ranked(NamedTuple):
    """The nearest rows of some queries.

    Attributes:
        block: which queries.
        rows: int64 (b, depth), rows of the gallery, best first.
        scores: float32 (b, depth), cosines.
    """

    block: slice
    rows: Integers
    scores: Vectors


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """The queries of an evaluation and the gallery they search, each in the order of its ids.

    In id order, so that not even rounding or the bootstrap depends on how rows are stored.

    Attributes:
        queries, gallery: one object when they are the same rows.
        own: int64 (q,), of each query its own row in the gallery; -1 where it has none.
    """

    queries: Labelled
    gallery: Labelled
    own: Integers

    @classmethod
    def of(cls, queries: Labelled, gallery: Labelled) -> Sides:
        """Both sides, sorted."""
        same = queries is gallery
        gallery = _by_id(gallery)
        queries = gallery if same else _by_id(queries)
        places = {id_: place for place, id_ in enumerate(gallery.ids)}
        own = np.asarray([places.get(id_, -1) for id_ in queries.ids], np.int64)
        return cls(queries, gallery, own)

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
    )


#: Ranks the gallery of two sides for every query, to a depth that is within reach of each.
Ranker = Callable[[Sides, int], Iterator[Ranked]]


def by_vectors(sides: Sides, depth: int) -> Iterator[Ranked]:
    """Rank by FAISS; see Ranker."""
    queries, gallery, own = sides.queries, sides.gallery, sides.own
    searched, allowed = gallery.searched, gallery.positions
    if searched is None or allowed is None:
        searched, row_of = exact.Rows.of(gallery.vectors), None
        theirs, allowed = own, None
    else:
        row_of = np.full(searched.index.ntotal, -1, np.int64)
        row_of[allowed] = np.arange(len(allowed))
        theirs = np.where(own < 0, -1, allowed[own])
        allowed = np.sort(allowed)
    for start in range(0, len(queries.ids), BLOCK):
        block = slice(start, min(start + BLOCK, len(queries.ids)))
        asked = np.ascontiguousarray(queries.vectors[block], np.float32)
        found = exact.nearest(searched, asked, depth, allowed, own=theirs[block])
        places = np.stack([positions for positions, _ in found])
        rows = places if row_of is None else row_of[places]
        yield Ranked(block, rows, np.stack([scores for _, scores in found]))


def by_searches(now: Searcher, where: Where) -> Ranker:
    """A ranker by searches, for a searcher that does not have all vectors in memory.

    Args:
        now: what is searched; vectors of the queries are read from its table.
        where: the filter of the searches, which the whole gallery passes.

    Raises:
        BadQuery: from the ranker, when an index proposes fewer labelled rows than are asked for.
    """

    def rank(sides: Sides, depth: int) -> Iterator[Ranked]:
        ids = sides.queries.ids
        places = {id_: place for place, id_ in enumerate(sides.gallery.ids)}
        for row, id_ in enumerate(ids):
            if row % BLOCK == 0:
                vectors = now.vectors_of(ids[row : row + BLOCK])
            vector, count = vectors[row % BLOCK], depth
            while True:
                hits = now.search(vector[None], min(count, now.count), where or None, [id_])[0]
                found = [(places[hit.row.id], hit.score) for hit in hits if hit.row.id in places]
                if len(found) >= depth or count >= now.count:
                    break
                count *= 4
            if len(found) < depth:
                raise BadQuery(
                    f"the index proposes {len(found)} labelled rows for {id_!r}, {depth} are "
                    "needed; evaluate with --index exact"
                )
            rows, scores = zip(*found[:depth], strict=True)
            yield Ranked(slice(row, row + 1), np.asarray([rows]), np.asarray([scores], np.float32))

    return rank


class Relevance:
    """Relevance of a gallery's rows to queries: whether they share a label."""

    def __init__(self, sides: Sides) -> None:
        both = [*sides.queries.labels, *sides.gallery.labels]
        self.names = sorted({name for row in both for name in row})
        self.single = all(len(row) == 1 for row in both)
        self._asked = one_hot(sides.queries.labels, self.names)
        hot = one_hot(sides.gallery.labels, self.names)
        self.label = hot.argmax(axis=1)
        kinds, kind_of = np.unique(hot, axis=0, return_inverse=True)
        self._kinds, self._kind_of = kinds, kind_of.ravel()
        self._sizes = np.bincount(self._kind_of, minlength=len(kinds))
        self._own = sides.own

    def of(self, block: slice) -> npt.NDArray[np.bool_]:
        """Whether each query (b,) of a block shares a label with each row of the gallery (n,)."""
        found: npt.NDArray[np.bool_] = self._related(block)[:, self._kind_of]
        return found

    def at(self, ranked: Ranked) -> npt.NDArray[np.bool_]:
        """The same of the rows that were found, (b, depth)."""
        kinds = self._kind_of[ranked.rows]
        return np.take_along_axis(self._related(ranked.block), kinds, axis=1)

    def total(self, block: slice) -> Integers:
        """Number of rows relevant to each query (b,), itself left out."""
        related, own = self._related(block), self._own[block]
        kind = self._kind_of[np.maximum(own, 0)]
        itself = (own >= 0) & related[np.arange(len(own)), kind]
        found: Integers = (related * self._sizes).sum(axis=1) - itself
        return found

    def _related(self, block: slice) -> npt.NDArray[np.bool_]:
        found: npt.NDArray[np.bool_] = (self._asked[block] @ self._kinds.T) > 0
        return found


# -- the whole ranking -------------------------------------------------------------------------


def average_precision(sides: Sides) -> Floats:
    """Average precision of each query over the whole gallery; NaN where nothing is relevant.

    The one measure that needs every score, not the best: the product of all queries with all rows,
    sorted; a stable sort breaks ties by id.

    Returns:
        float64 (q,).
    """
    queries, gallery, own = sides.queries, sides.gallery, sides.own
    relevance = Relevance(sides)
    vectors = np.require(gallery.vectors, np.float32, ["C", "A"])  # those of a mapped file are not
    later, first = _repeated(vectors)
    rows, n = len(gallery.ids), len(queries.ids)
    found = np.empty(n)
    for start in range(0, n, _WHOLE):
        block = slice(start, min(start + _WHOLE, n))
        scores = queries.vectors[block].astype(np.float32) @ vectors.T
        scores[:, later] = scores[:, first]
        relevant = relevance.of(block)
        inside = np.flatnonzero(own[block] >= 0)
        scores[inside, own[block][inside]] = -np.inf  # ranks last, and is not relevant
        relevant[inside, own[block][inside]] = False
        order = np.argsort(-scores, axis=1, kind="stable")
        shared = np.take_along_axis(relevant, order, axis=1)
        hits = np.cumsum(shared, axis=1, dtype=np.int32)
        with np.errstate(invalid="ignore"):
            found[block] = np.where(shared, hits / np.arange(1, rows + 1), 0).sum(
                axis=1
            ) / relevance.total(block)
    return found


def _repeated(vectors: Vectors) -> tuple[Integers, Integers]:
    """Rows that equal an earlier one, and the first that each of them equals.

    A matrix product adds up its edges in another order than its middle, so that equal rows differ
    in the last bit of their scores: one of them stands for all.
    """
    seen: dict[bytes, int] = {}
    # A zero that is added makes one of both zeros.
    keys = (hashlib.blake2b(row + 0.0, digest_size=16).digest() for row in vectors)
    first = np.fromiter((seen.setdefault(key, at) for at, key in enumerate(keys)), np.int64)
    later = np.flatnonzero(first != np.arange(len(first)))
    return later, first[later]
