"""A copy of the vectors in 8 bits, and a proof of how far its scores can be off.

A scan for one query takes as long as its bytes take to arrive; the copy has a quarter of them. Its
scores only choose candidates, which are scored again from the vectors themselves. With x' for what
row x becomes in 8 bits, |q.x - q.x'| <= |q| |x - x'| (Cauchy-Schwarz), and the largest |x - x'| is
measured while the copy is made. Where that bound cannot tell who is among the best, the whole scan
in float32 does.

The copy costs 1/4 of the memory of the vectors and about 30 scans of time, so it is made only for
large galleries, behind the answers, once a snapshot was asked often enough to pay for it: a
dashboard gets it, a command that asks once does not.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from store.schema import Vectors

if TYPE_CHECKING:
    from store.mirror import Integers, Snapshot

log = logging.getLogger("store")

#: Queries after which a copy has paid for itself, and bytes of vectors that fit no cache.
_ASKED = 32
_WORTH_BYTES = 32 << 20
#: Bytes of vectors turned into codes at once: they stay in cache.
_PIECE_BYTES = 1 << 18
_LEVELS = 255
#: Queries are of unit length up to a rounding that is surely less than this.
_NEARLY_UNIT = 1.01


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Vectors in 8 bits, in as many parts as there are threads to scan them.

    Attributes:
        parts: faiss.IndexScalarQuantizer, one after the other.
        edges: first position of each part, and the number of rows.
        error: how far a score can be from the inner product with a unit query, in exact numbers.
        rows: int64, position of each where the copy is of some rows alone; else None.
    """

    parts: tuple[Any, ...]
    edges: tuple[int, ...]
    error: float
    rows: Integers | None = None

    def top(
        self, queries: Vectors, count: int, allowed: Integers | None
    ) -> tuple[Vectors, Integers]:
        """The ``count`` best by their 8-bit scores: float32 and int64 (q, count), best first.

        Position -1 where a part of ``allowed`` has no more.
        """
        chosen = None
        if allowed is not None:
            chosen = np.zeros(self.edges[-1], bool)
            chosen[allowed] = True
        pool = _pool(len(self.parts))
        others = [
            pool.submit(self._part, number, queries, count, chosen)
            for number in range(1, len(self.parts))
        ]
        found = [self._part(0, queries, count, chosen), *(one.result() for one in others)]
        scores = np.concatenate([scores for scores, _ in found], axis=1)
        positions = np.concatenate([positions for _, positions in found], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        best = np.take_along_axis(positions, order, axis=1)
        if self.rows is not None:
            best = np.where(best >= 0, self.rows[best], -1)
        return np.take_along_axis(scores, order, axis=1), best

    def _part(
        self, number: int, queries: Vectors, count: int, passing: npt.NDArray[np.bool_] | None
    ) -> tuple[Vectors, Integers]:
        import faiss

        first, last = self.edges[number : number + 2]
        parameters = None
        if passing is not None:
            bits = np.packbits(passing[first:last], bitorder="little")
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # of this thread alone: the parts are what runs in parallel
        try:
            scores, places = self.parts[number].search(
                queries, min(count, last - first), params=parameters
            )
        finally:
            faiss.omp_set_num_threads(threads)
        return scores, np.where(places >= 0, places + first, -1)

    def only(self, rows: Integers) -> Codes:
        """A copy of these rows alone, ascending."""
        import faiss

        edges = [len(rows) * part // len(self.parts) for part in range(len(self.parts) + 1)]
        dimension = self.parts[0].d
        made = [
            _empty(dimension, last - first, faiss.vector_to_array(self.parts[0].sq.trained))
            for first, last in pairwise(edges)
        ]
        memory = [_memory(part) for part in self.parts]
        for index, (first, last) in zip(made, pairwise(edges), strict=True):
            wanted, codes = rows[first:last], _memory(index)
            for source, (start, stop) in zip(memory, pairwise(self.edges), strict=True):
                low, high = np.searchsorted(wanted, [start, stop])
                codes[low:high] = source[wanted[low:high] - start]
        return Codes(tuple(made), tuple(edges), self.error, rows)


def of(snapshot: Snapshot, allowed: Integers | None = None) -> Codes | None:
    """The copy of a snapshot if there is one; being asked for often makes it, on a thread.

    A filter that is asked twice in a row (it is remembered, so the same array) gets a copy of its
    rows alone, which is kept until another one is.
    """
    if snapshot.vectors.nbytes < _WORTH_BYTES:
        return None
    with _lock:
        state = _known.setdefault(snapshot, _State())
        state.asked += 1
        if state.codes is None and state.asked != _ASKED:
            return None
        again = allowed is not None and state.allowed is allowed
        state.allowed = allowed if allowed is not None else state.allowed
        codes, some = state.codes, state.some
    if codes is not None:
        if not again or allowed is None:
            return codes
        if some is None or some.rows is not allowed:
            some = state.some = codes.only(allowed)
        return some
    vectors = snapshot.vectors

    def work() -> None:
        try:
            state.codes = make(vectors)
        except MemoryError:
            log.info("no memory for 8-bit codes of %s rows; searching without", len(vectors))

    # Not a daemon: the process ends when it is done, a second at a million rows.
    threading.Thread(target=work, name="cxr-codes").start()
    return None


def make(vectors: Vectors, parts: int = 0) -> Codes:
    """Codes of vectors float32 (n, d), in this many parts; 0 makes one per core."""
    import faiss

    n, dimension = vectors.shape
    parts = max(min(parts or faiss.omp_get_max_threads(), n), 1)
    low, high = vectors.min(axis=0), vectors.max(axis=0)
    span = high - low
    with np.errstate(divide="ignore"):
        scale = np.where(span > 0, _LEVELS / span, 0).astype(np.float32)
    edges = [n * part // parts for part in range(parts + 1)]
    made, farthest = [], 0.0
    for first, last in pairwise(edges):
        index = _empty(dimension, last - first, np.concatenate([low, span]))
        worst = _encode(vectors[first:last], low, span, scale, _memory(index))
        farthest = max(farthest, worst)
        made.append(index)
    # Any order of float32 summation, and x' worked out in float32, is off by less than this.
    rounding = 2 * dimension * 2.0**-24 * float(1 + np.linalg.norm(low) + np.linalg.norm(span))
    return Codes(tuple(made), tuple(edges), _NEARLY_UNIT * (farthest + rounding))


def _empty(dimension: int, count: int, trained: Vectors) -> Any:
    """An index with room for this many codes, of these ranges: low and span of each dimension."""
    import faiss

    index = faiss.IndexScalarQuantizer(
        dimension, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    faiss.copy_array_to_vector(trained, index.sq.trained)
    index.is_trained = True
    index.codes.resize(count * dimension)
    index.ntotal = count
    return index


def _memory(index: Any) -> npt.NDArray[np.uint8]:
    """The codes of an index, (n, d), in its own memory."""
    import faiss

    if not index.ntotal:
        return np.empty((0, index.d), np.uint8)
    flat: npt.NDArray[np.uint8] = faiss.rev_swig_ptr(index.codes.data(), index.ntotal * index.d)
    return flat.reshape(index.ntotal, index.d)


def _encode(
    vectors: Vectors, low: Vectors, span: Vectors, scale: Vectors, codes: npt.NDArray[np.uint8]
) -> float:
    """Fill in the codes; returns the largest distance of a row from what its codes say."""
    rows = max(_PIECE_BYTES // (4 * vectors.shape[1]), 1)
    space = np.empty((rows, vectors.shape[1]), np.float32)
    step = span / np.float32(_LEVELS)
    middle = low + step / 2
    farthest = 0.0
    for start in range(0, len(vectors), rows):
        piece = vectors[start : start + rows]
        values = space[: len(piece)]
        np.subtract(piece, low, out=values)
        np.multiply(values, scale, out=values)
        np.minimum(values, _LEVELS, out=values)
        codes[start : start + rows] = values
        np.multiply(codes[start : start + rows], step, out=values)
        np.add(values, middle, out=values)
        np.subtract(values, piece, out=values)
        farthest = max(farthest, float(np.einsum("ij,ij->i", values, values).max()))
    return float(np.sqrt(farthest))


class _State:
    """What is known about the copy of one snapshot."""

    __slots__ = ("allowed", "asked", "codes", "some")

    def __init__(self) -> None:
        self.asked = 0
        self.codes: Codes | None = None
        self.allowed: Integers | None = None  # the filter that was asked last
        self.some: Codes | None = None  # a copy of its rows


_lock = threading.Lock()
_known: WeakKeyDictionary[Snapshot, _State] = WeakKeyDictionary()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(threads - 1, 1), "cxr-scan")
