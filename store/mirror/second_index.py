"""The second FAISS index of a large gallery that is asked often: IndexFlatIPPanorama, rotated.

Panorama (Ramani et al., arXiv 2510.00566) adds up an inner product level by level and gives a row
up once it cannot reach the best ones any more: what is left of it is at most the product of the
lengths left (Cauchy-Schwarz). After a rotation to principal directions most rows go after the
first levels, and the answer is still exact. It is a second copy of the vectors, made behind the
answers: a dashboard gets it, a command that asks once does not.

Several queries at once are another matter: FAISS multiplies matrices, and Panorama does not. They
look through a third, small IndexFlatIP, over the first few of the rotated numbers and the length of
the others. An inner product in it is one of whole vectors at most (Cauchy-Schwarz again), so rows
whose bound is below the k-th score are surely worse; those above are scored from whole vectors.

Of FAISS 1.15.1: it refuses more than ``batch`` results, a file of it is not mapped, and a clone of
it is scrambled. IndexShards would compare a selector with ids inside each shard, so parts are
searched by threads of our own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from store import memory
from store.mirror import faiss_index
from store.mirror.faiss_index import Bits
from store.schema import Integers, Vectors

log = logging.getLogger("store")

Axes = npt.NDArray[np.float64]

#: Bytes of vectors from which a second index is worth having: below, one query takes .1 ms.
WORTH_BYTES = 8 << 20
#: Queries after which it has paid for itself, and how many at once count for another one.
ASKED, _AS_MUCH = 32, 16
#: Rows that share a batch, which is also the most it finds of a query.
MOST = 1024
#: Dimensions a level. 100,000 x 512 of rank 64, ms: 64 dimensions 1.1, 32 .4, 16 .3; 1,000,000 x
#: 128: 32 dimensions 7.4, 16 5.5, 8 9.8.
_LEVEL = 16
#: Rows of a part: two threads answer one query of 1,000,000 x 128 in half the time, of fewer rows
#: they do not.
PART = 262_144
#: Rows that show whether anything prunes, before all are rotated.
_SAMPLE = 32_768
#: The most of it that a query may read: .06 to .2 of vectors of rank 64, .75 to .9 of random ones.
_READ = 0.4
#: Batches whose time is compared with the mirror's, by how much it must be quicker, rows they want,
#: and how many of these are the margin.
SIZES = (1, 8, 64)
_QUICKER, _COUNT, _SPARE = 0.8, 26, 16
#: Of the dimensions, those that bounds go by, and candidates by bounds for each row wanted: 64
#: queries of 100,000 x 512 of rank 64 take .7 of the whole product, levels 1.3. The part of queries
#: that must be settled by these candidates; the others are asked again.
_BOUNDED, _WIDE, _SETTLED = 1 / 16, 8, 0.9
#: Queries are no rows: how far those that are measured with lie beside one.
_BESIDE = 0.3
_PIECE = 8192
#: Rows from which directions are learnt.
_LEARNT = 65_536


@dataclass(frozen=True, eq=False)
class SecondIndex:
    """An index over rotated vectors, in parts.

    Attributes:
        axes: float64 (d, d), orthonormal rows: the directions that vectors are turned to.
        parts: the first position of each, a multiple of 8, and its index.
        bounds: IndexFlatIP of what no inner product is above.
        vectors: float32 (n, d), those of the mirror.
        quicker: for each of SIZES, whether that many queries are answered sooner than by the
            mirror.
        bounded: for each of SIZES, whether that many are answered soonest by bounds.
        bytes: of all parts and the bounds.
    """

    axes: Axes
    parts: list[tuple[int, Any]]
    bounds: Any
    vectors: Vectors
    quicker: dict[int, bool]
    bounded: dict[int, bool]
    bytes: int

    def search(
        self, queries: Vectors, count: int, bits: Bits | None = None
    ) -> tuple[Vectors, Integers]:
        """As faiss_index.search, of at most MOST rows per query.

        The last score of a query may be a bound: no row that is not found has a higher one.
        """
        rotated = _rotated(queries, self.axes)
        if bits is None and self.bounded[_size(len(queries))]:
            return self._by_bounds(queries, rotated, count)
        with faiss_index.idle_cores() as threads:
            if len(queries) == 1 and threads > 1:
                alone = [partial(_within, [part], rotated, count, bits) for part in self.parts]
                return faiss_index.merged(faiss_index.together(alone), count)
            found = faiss_index.together(
                [
                    partial(_within, self.parts, rotated[start:end], count, bits)
                    for start, end in faiss_index.shares(len(queries), threads)
                ]
            )
        scores, places = zip(*found, strict=True)
        return np.concatenate(scores), np.concatenate(places)

    def _by_bounds(
        self, queries: Vectors, rotated: Vectors, count: int
    ) -> tuple[Vectors, Integers]:
        wide = min(_WIDE * count, len(self.vectors))
        most, near = faiss_index.search(self.bounds, _bounding(rotated, self.bounds.d), wide)
        scores = np.empty_like(most)

        def score(start: int, end: int) -> None:
            for query in range(start, end):
                scores[query] = self.vectors[near[query]] @ queries[query]

        with faiss_index.idle_cores() as threads:
            jobs = [partial(score, *share) for share in faiss_index.shares(len(queries), threads)]
            faiss_index.together(jobs)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        scores = np.take_along_axis(scores, best, axis=1)
        if wide < len(self.vectors):
            scores[:, -1] = np.maximum(scores[:, -1], most[:, -1])
        return scores, np.take_along_axis(near, best, axis=1)


def _bounding(rotated: Vectors, dimension: int) -> Vectors:
    """The first numbers of rotated vectors and the length of the others, float32 (n, dimension)."""
    found = np.empty((len(rotated), dimension), np.float32)
    found[:, :-1] = rotated[:, : dimension - 1]
    found[:, -1] = np.linalg.norm(rotated[:, dimension - 1 :].astype(np.float64), axis=1)
    return found


def _size(queries: int) -> int:
    """The largest of SIZES that is not above a number of queries."""
    return max(size for size in SIZES if size <= queries)


def _within(
    parts: Sequence[tuple[int, Any]], queries: Vectors, count: int, bits: Bits | None
) -> tuple[Vectors, Integers]:
    """The best of some parts, by queries that are rotated already."""
    found = []
    for start, index in parts:
        some = None if bits is None else bits[start // 8 : -(-(start + index.ntotal) // 8)]
        wanted = min(count, index.ntotal)
        search = faiss_index.method(index, "search")
        scores, places = search(queries, wanted, params=faiss_index.selected(some))
        found.append((scores, np.where(places < 0, -1, places + start)))
    return faiss_index.merged(found, count)


def rounding(slack: float) -> float:
    """Slack of this index, of the mirror's own: how far apart it may put equal products.

    The rotation is worked out in float64: rounding its result moves an inner product by 2^-23 at
    most. The lengths left are sums of d squares in float32, and are off by no more than an inner
    product is; so is the sum over levels. Together twice the slack of float32.
    """
    return 2 * slack + 2e-6


def of(target: Any, queries: int, count: int) -> SecondIndex | None:
    """The second index of a snapshot, if it answers this many queries sooner than the mirror.

    Being asked for often makes it, on a thread.

    Args:
        target: something with an ``index`` that does not change.
        queries: how many.
        count: rows wanted of each.
    """
    if 4 * target.index.ntotal * target.index.d < WORTH_BYTES:
        return None
    with _lock:
        state = _known.setdefault(target, _State())
        state.asked += 1 + queries // _AS_MUCH
        made = state.made
        if made is None and state.asked >= ASKED and not state.begun:
            state.begun = True
            _make_behind(state, target.index)
    if made is None or count > MOST:
        return None
    return made if made.quicker[_size(queries)] else None


def known(target: Any) -> SecondIndex | None:
    """The second index of a snapshot, where it has one."""
    with _lock:
        state = _known.get(target)
        return None if state is None else state.made


def give(target: Any, made: SecondIndex | None) -> None:
    """Let a snapshot answer by this second index from now on; None: by none, and make none."""
    with _lock:
        state = _known.setdefault(target, _State())
        state.begun, state.made = True, made


def make(index: Any) -> SecondIndex | None:
    """A second index of an IndexFlatIP; None where it would not answer sooner.

    Both is measured: on a sample, how much of the vectors a query reads, which is nearly all where
    they have full rank; then, on the whole, which batches are answered sooner than by the mirror.
    """
    vectors = faiss_index.vectors_of(index)
    axes = _directions(vectors)
    if share_read(vectors, axes) > _READ:
        return None
    made, mirrored = build(vectors, axes), partial(faiss_index.search, index)
    bounding = replace(made, bounded=dict.fromkeys(SIZES, True))
    quicker, bounded = {}, {}
    for size in SIZES:
        asked = _like(vectors, size)
        mirror, levels, bounds = _in_turns(
            *(partial(one, asked, _COUNT) for one in (mirrored, made.search, bounding.search))
        )
        scores, _ = bounding.search(asked, _COUNT)
        settled = np.mean(scores[:, -1] < scores[:, _COUNT - _SPARE - 1]) >= _SETTLED
        bounded[size] = bool(settled and bounds < levels)
        quicker[size] = (bounds if bounded[size] else levels) < _QUICKER * mirror
    return replace(made, quicker=quicker, bounded=bounded) if any(quicker.values()) else None


def _like(vectors: Vectors, count: int) -> Vectors:
    """Queries like some rows, float32 (count, d), unit."""
    some = vectors[:: max(len(vectors) // count, 1)][:count]
    beside = np.random.default_rng(0).normal(size=some.shape)
    wide = some + _BESIDE * beside / np.linalg.norm(beside, axis=1, keepdims=True)
    found: Vectors = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)
    return found


def build(vectors: Vectors, axes: Axes | None = None, parts: int | None = None) -> SecondIndex:
    """A second index, whatever it is worth; its bounds are used once ``bounded`` says so.

    Args:
        vectors: float32 (n, d); kept.
        axes: what they are turned to; None: their principal directions.
        parts: how many; None: as many as cores help.

    Raises:
        ValueError: vectors are not finite.
    """
    faiss = faiss_index.library()
    count, dimension = vectors.shape
    axes = _directions(vectors) if axes is None else axes
    # as many as FAISS makes of it: levels of equal width, the last one perhaps narrower
    levels = -(-dimension // -(-dimension // max(dimension // _LEVEL, 1)))
    if parts is None:
        parts = min(faiss_index.cores(), max(count // PART, 1))
    few = max(round(_BOUNDED * dimension), 1) + 1
    bounds, memory_of_bounds = faiss_index.empty(count, few)
    made, size = [], memory_of_bounds.nbytes
    for first_batch, last_batch in faiss_index.shares(-(-count // MOST), parts):
        start, end = first_batch * MOST, min(last_batch * MOST, count)
        index = faiss.IndexFlatIPPanorama(dimension, levels, MOST)
        # Room for all at once: growing would take twice the memory.
        room = (last_batch - first_batch) * MOST
        index.codes.resize(room * 4 * dimension)
        # By class: once SimpleITK was imported, the attribute is one of its vectors.
        faiss.Float32Vector.resize(index.cum_sums, room * (levels + 1))
        for first in range(start, end, _PIECE):
            piece = slice(first, min(first + _PIECE, end))
            rotated = _rotated(vectors[piece], axes)
            memory_of_bounds[piece] = _bounding(rotated, few)
            index.add(rotated)
        made.append((start, index))
        size += 4 * room * (dimension + levels + 1)
    quicker, bounded = dict.fromkeys(SIZES, True), dict.fromkeys(SIZES, False)
    return SecondIndex(axes, made, bounds, vectors, quicker, bounded, size)


def _directions(vectors: Vectors) -> Axes:
    """Principal directions by falling share, of vectors that are not centred."""
    some = vectors[:: -(-len(vectors) // _LEARNT)]
    scatter = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(some), _PIECE):
        piece = some[start : start + _PIECE].astype(np.float64)
        scatter += piece.T @ piece
    if not np.isfinite(scatter).all():
        raise ValueError("vectors are not finite")
    return np.ascontiguousarray(np.linalg.eigh(scatter)[1].T[::-1])


def _rotated(vectors: Vectors, axes: Axes) -> Vectors:
    wide = vectors.astype(np.float64)
    # Few without BLAS, whose threads wait for each other.
    few = len(vectors) <= SIZES[1]
    found: Vectors = (np.vecdot(wide[:, None], axes) if few else wide @ axes.T).astype(np.float32)
    return found


def share_read(vectors: Vectors, axes: Axes | None = None) -> float:
    """The share of its numbers that an index of a sample of vectors reads for a query of them.

    By FAISS's own count; searches of other threads count too: they change it little, and no answer.
    """
    sample = vectors[:: -(-len(vectors) // _SAMPLE)]
    made = build(sample, axes)
    read = faiss_index.library().cvar.indexPanorama_stats
    read.reset()
    for query in sample[:: max(len(sample) // 16, 1)][:16]:
        made.search(query[None], _COUNT)
    return float(read.total_dims_scanned / max(read.total_dims, 1))


def _in_turns(*work: Callable[[], object], times: int = 5) -> list[float]:
    """Seconds of the fastest call of each."""
    best = [float("inf")] * len(work)
    for _ in range(times):
        for place, one in enumerate(work):
            begin = time.perf_counter()
            one()
            best[place] = min(best[place], time.perf_counter() - begin)
    return best


def _make_behind(state: _State, index: Any) -> None:
    def work() -> None:
        try:
            state.made = make(index)
            memory.give_back()  # what the sample and the rotation took
        except (MemoryError, ValueError, RuntimeError) as error:
            log.info("no second index of %s rows, searching without: %r", index.ntotal, error)

    # Not a daemon: the process ends when it is done, some seconds at a million rows.
    threading.Thread(target=work, name="cxr-second-index").start()


class _State:
    """State of the second index of one snapshot."""

    __slots__ = ("asked", "begun", "made")

    def __init__(self) -> None:
        self.asked = 0
        self.begun = False  # it is made once, or found not worth it
        self.made: SecondIndex | None = None


_lock = threading.Lock()
_known: WeakKeyDictionary[Any, _State] = WeakKeyDictionary()
