"""Rankings of a labelled set and what they are worth, query by query: the base of every evaluation.

Where vectors are in memory FAISS ranks them, as for any search; else the answerer is asked, one
query at a time. Either way a query that is in the gallery is left out by id, and equal scores rank
by id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from store.errors import BadQuery
from store.schema import Floats, Integers, Vectors
from store.search import base, exact
from store.search.base import Answerer
from store.table.filters import Where

_SEED = 0


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


def bootstrap(values: Floats, depths: list[int], resamples: int) -> dict[int, tuple[float, float]]:
    """The 95 % percentile interval of each column's mean (Efron and Tibshirani 1993, 13.3)."""
    random = np.random.default_rng(_SEED)
    n = len(values)
    chunk = max(1, 4_000_000 // n)
    means = []
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        weights = random.multinomial(n, np.full(n, 1 / n), size=size)
        means.append(weights @ values / n)
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0)
    return {depth: (float(low[i]), float(high[i])) for i, depth in enumerate(depths)}


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
    searched: base.Searched | None = None
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


def by_id(rows: Labelled) -> Labelled:
    """The same in id order, so that not even rounding depends on how rows are stored."""
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


def own_rows(queries: Labelled, gallery: Labelled) -> Integers:
    """Of each query, its own row in the gallery; -1 where it has none. int64 (q,)."""
    places = {id_: place for place, id_ in enumerate(gallery.ids)}
    return np.asarray([places.get(id_, -1) for id_ in queries.ids], np.int64)


def depths_of(k: Sequence[int], own: Integers, rows: int) -> list[int]:
    """The depths asked for, ascending. BadQuery when there are none, or not so many rows."""
    depths = sorted(set(k))
    most = rows - int((own >= 0).any())
    if not depths or depths[0] < 1 or depths[-1] > most:
        raise BadQuery(f"k = {list(k)}: expected depths from 1 to {most}, the rows to be found")
    return depths


def by_vectors(queries: Labelled, gallery: Labelled, own: Integers, depth: int) -> Iterator[Ranked]:
    """Rank by FAISS; both in id order, and ``depth`` within reach of every query."""
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


def by_answers(
    now: Answerer, queries: Labelled, gallery: Labelled, searched: Where, depth: int
) -> Iterator[Ranked]:
    """Rank by an answerer's searches, for one that does not have all vectors in memory.

    Args:
        now: what is asked.
        queries: what asks; its vectors are read from the table.
        gallery: the labelled rows that pass ``searched``.
        searched: the filter of the searches.
        depth: how many rows of each query.

    Raises:
        BadQuery: an index proposes fewer than ``depth`` labelled rows.
    """
    places = {id_: place for place, id_ in enumerate(gallery.ids)}
    for row, id_ in enumerate(queries.ids):
        if row % BLOCK == 0:
            vectors = now.vectors_of(queries.ids[row : row + BLOCK])
        vector, count = vectors[row % BLOCK], depth
        while True:
            hits = now.search(vector[None], min(count, now.count), searched or None, [id_])[0]
            found = [(places[hit.row.id], hit.score) for hit in hits if hit.row.id in places]
            if len(found) >= depth or count >= now.count:
                break
            count *= 4
        if len(found) < depth:
            raise BadQuery(
                f"the index proposes {len(found)} labelled rows for {id_!r}, {depth} are needed; "
                "evaluate with --index exact"
            )
        rows, scores = zip(*found[:depth], strict=True)
        yield Ranked(slice(row, row + 1), np.asarray([rows]), np.asarray([scores], np.float32))


@dataclass(slots=True, eq=False)
class Measured:
    """What each query found.

    Attributes:
        names: the labels, sorted; ``votes`` are places among them.
        precision: float64 (q, depths), share of the top k that share a label with the query.
        hit: float64 (q, depths), 1 where one of the top k does.
        votes: int64 (q, depths), the majority label of the top k, nearest first on a tie; None
            unless every row has exactly one label.
        right: bool (q, depths), whether that is the query's own.
        chance: float64 (q,), share of the gallery that shares a label with the query.
        wrong: float64 (q,), highest cosine of a row within the deepest that shares no label; NaN
            where all do.
    """

    names: list[str]
    precision: Floats
    hit: Floats
    votes: Integers | None
    right: npt.NDArray[np.bool_] | None
    chance: Floats
    wrong: Floats


class Relevance:
    """Which rows of a gallery are relevant to which queries."""

    def __init__(self, queries: Labelled, gallery: Labelled, own: Integers) -> None:
        sides = (queries, gallery)
        self.names = sorted({name for side in sides for row in side.labels for name in row})
        self.single = all(len(row) == 1 for side in sides for row in side.labels)
        self._asked = one_hot(queries.labels, self.names)
        hot = one_hot(gallery.labels, self.names)
        self.label = hot.argmax(axis=1)
        kinds, kind_of = np.unique(hot, axis=0, return_inverse=True)
        self._kinds, self._kind_of = kinds, kind_of.ravel()
        self._sizes = np.bincount(self._kind_of, minlength=len(kinds))
        self._own = own

    def of(self, block: slice) -> npt.NDArray[np.bool_]:
        """Whether each query (b,) of a block shares a label with each row of the gallery (n,)."""
        found: npt.NDArray[np.bool_] = self._related(block)[:, self._kind_of]
        return found

    def at(self, ranked: Ranked) -> npt.NDArray[np.bool_]:
        """The same of the rows that were found, (b, depth)."""
        kinds = self._kind_of[ranked.rows]
        return np.take_along_axis(self._related(ranked.block), kinds, axis=1)

    def total(self, block: slice) -> Integers:
        """How many rows are relevant to each query (b,), itself left out."""
        related, own = self._related(block), self._own[block]
        kind = self._kind_of[np.maximum(own, 0)]
        itself = (own >= 0) & related[np.arange(len(own)), kind]
        found: Integers = (related * self._sizes).sum(axis=1) - itself
        return found

    def truth(self, block: slice) -> Integers:
        """The label of each query that has one."""
        found: Integers = self._asked[block].argmax(axis=1)
        return found

    def _related(self, block: slice) -> npt.NDArray[np.bool_]:
        found: npt.NDArray[np.bool_] = (self._asked[block] @ self._kinds.T) > 0
        return found


def measure(
    queries: Labelled,
    gallery: Labelled,
    own: Integers,
    depths: list[int],
    rankings: Iterable[Ranked],
    progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Compare labels along the rankings of all queries.

    Args:
        queries: what asked.
        gallery: what was searched.
        own: of each query, its row in the gallery; -1 where it has none.
        depths: ascending.
        rankings: of all queries, down to the deepest.
        progress: told about queries, done and in all.
    """
    relevance = Relevance(queries, gallery, own)
    n, rows, at = len(queries.ids), len(gallery.ids), np.asarray(depths) - 1
    shape = (n, len(depths))
    single = relevance.single
    result = Measured(
        relevance.names,
        np.empty(shape),
        np.empty(shape),
        np.empty(shape, np.int64) if single else None,
        np.empty(shape, bool) if single else None,
        np.empty(n),
        np.full(n, np.nan),
    )
    for ranked in rankings:
        block = ranked.block
        shared = relevance.at(ranked)
        hits = np.cumsum(shared, axis=1, dtype=np.int32)
        result.precision[block] = hits[:, at] / np.asarray(depths)
        result.hit[block] = hits[:, at] > 0
        result.chance[block] = relevance.total(block) / (rows - (own[block] >= 0))
        wrong = np.where(shared, -np.inf, ranked.scores).max(axis=1)
        result.wrong[block] = np.where(shared.all(axis=1), np.nan, wrong)
        if result.votes is not None and result.right is not None:
            labels = relevance.label[ranked.rows]
            for column, depth in enumerate(depths):
                result.votes[block, column] = majority(labels[:, :depth], len(relevance.names))
            result.right[block] = result.votes[block] == relevance.truth(block)[:, None]
        if progress is not None:
            progress(block.stop, n)
    return result


# -- the whole ranking -------------------------------------------------------------------------


def average_precision(queries: Labelled, gallery: Labelled, own: Integers) -> Floats:
    """Average precision of each query over the whole gallery; NaN where nothing is relevant.

    The one measure that needs every score, not the best: the product of all queries with all rows,
    sorted. Both sides are in id order, so that a stable sort breaks ties by id.

    Returns:
        float64 (q,).
    """
    relevance = Relevance(queries, gallery, own)
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
