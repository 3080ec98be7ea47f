"""FAISS settings, indexes filled in place, and searches on threads of our own.

Every search of a gallery goes through ``search`` or ``above`` here, and so through FAISS's own
``search`` and ``range_search``. Its thresholds and threads are set here and nowhere else.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from store.schema import Integers, Vectors

T = TypeVar("T")
Bits = npt.NDArray[np.uint8]

#: FAISS multiplies matrices where queries x dimensions reach this, and loops over the rows below.
#: As shipped it is 128,000: batches below 250 queries of 512 numbers loop. Milliseconds, loop
#: against product, one thread: 100,000 x 512, 1 query 7 / 19, 2 queries 14 / 20, 4 queries 26 / 16,
#: 64 queries 417 / 66; 58,560 x 128, 1 query .9 / 1.9, 4 queries 3.7 / 1.9, 64 queries 57 / 11.
#: The switch counts dimensions too, so it lies where one query of most encoders loops; up to
#: ``_LOOPED`` queries are looped whatever their dimensions, by a selector, which also has it loop.
_PRODUCT_FROM = 1200
_LOOPED = 3
#: Bytes of vectors that one thread reads about as quickly as several: a handed-over search takes
#: .05 ms. Two threads on 100,000 x 512, one query: 4.9 ms against 6.4; 64 queries: 39 against 65.
#: Each is one OpenMP thread: FAISS's own ones wait for each other in a spin, and beside one other
#: busy program 64 queries took 2,120 ms on two of them, 44 on one.
WORTH_A_THREAD = 32 << 20
_MOST_THREADS = 16
#: Bytes of rows gathered at once where many queries look at few rows.
GATHERED = 8 << 20


@cache
def library() -> Any:
    """FAISS with this project's settings; imported late, since that takes a tenth of a second."""
    import faiss

    faiss.cvar.distance_compute_blas_threshold = _PRODUCT_FROM
    return faiss


@contextmanager
def one_thread() -> Iterator[Any]:
    """FAISS, whose calls from this thread use one OpenMP thread meanwhile.

    The setting holds for the calling thread alone, and is put back: torch may share it.
    """
    faiss = library()
    before = faiss.omp_get_max_threads()
    if before != 1:
        faiss.omp_set_num_threads(1)
    try:
        yield faiss
    finally:
        if before != 1:
            faiss.omp_set_num_threads(before)


# -- threads of our own ------------------------------------------------------------------------


@cache
def cores() -> int:
    """Number of threads that are worth using."""
    return max(min(os.cpu_count() or 1, _MOST_THREADS), 1)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), "cxr-search", lambda: library().omp_set_num_threads(1))


_busy = 0
_count = threading.Lock()


@contextmanager
def idle_cores() -> Iterator[int]:
    """Number of threads this search may use: where others search too, each has its own."""
    global _busy
    with _count:
        _busy += 1
        free = max(cores() // _busy, 1)
    try:
        yield free
    finally:
        with _count:
            _busy -= 1


def together(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Results of jobs done at once: the first by the caller, the others by threads."""
    others = [_pool().submit(job) for job in jobs[1:]]
    with one_thread():
        return [jobs[0](), *(one.result() for one in others)]


def shares(total: int, parts: int) -> list[tuple[int, int]]:
    """Neighbouring parts of ``total`` things, of nearly equal length, none of them empty."""
    parts = max(min(parts, total), 1)
    return list(pairwise(total * part // parts for part in range(parts + 1)))


# -- indexes -----------------------------------------------------------------------------------


def empty(count: int, dimension: int) -> tuple[Any, Vectors]:
    """An IndexFlatIP with room for this many vectors, and its memory to fill, float32 (n, d).

    Its codes are a view, as those of a mapped file are: of memory that numpy gets in huge pages.
    ``codes.resize`` writes zeros into pages of 4 KiB first, 245 ms against 64 for 205 MB filled;
    ``add`` in batches takes 1.65 of the memory meanwhile.
    """
    faiss = library()
    index, memory = faiss.IndexFlatIP(dimension), np.empty((count, dimension), np.float32)
    if count:
        codes, start = index.codes, faiss.swig_ptr(memory.view(np.uint8).reshape(-1))
        codes.is_owned, codes.view_data, codes.view_size = False, start, memory.nbytes
        codes.c_ptr, codes.c_size = start, memory.nbytes
        index.ntotal = count
        index.referenced_objects = [memory]  # it must live as long as the index
    return index, memory


def of(vectors: Vectors) -> tuple[Any, Vectors]:
    """An IndexFlatIP with a copy of float32 (n, d), and its memory."""
    index, memory = empty(*vectors.shape)
    memory[:] = vectors
    return index, memory


def vectors_of(index: Any) -> Vectors:
    """The memory of an IndexFlatIP as float32 (n, d), read-only; the index lives as long as it."""
    if not index.ntotal:
        return np.empty((0, index.d), np.float32)
    return np.asarray(_Memory(index))


class _Memory:
    """Array interface to an index's memory: the base of such an array and of its slices."""

    def __init__(self, index: Any) -> None:
        self.index = index
        shape = (int(index.ntotal), int(index.d))
        start = library().rev_swig_ptr(index.get_xb(), shape[0] * shape[1]).ctypes.data
        self.__array_interface__ = {
            "data": (start, True),
            "shape": shape,
            "typestr": "<f4",
            "version": 3,
        }


def write(index: Any, path: Path) -> None:
    """Save an index to a file.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        library().write_index(index, str(path))
    except RuntimeError as error:
        raise OSError(f"{path} cannot be written: {str(error)[-200:]}") from error


def mapped(path: Path, count: int, dimension: int) -> tuple[Any, Vectors]:
    """A saved IndexFlatIP, mapped into memory as it is, and its vectors, read-only.

    IO_FLAG_MMAP alone would read the file whole.

    Raises:
        ValueError, RuntimeError: the file holds another kind or size of index.
    """
    faiss = library()
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    if not isinstance(index, faiss.IndexFlatIP) or (index.ntotal, index.d) != (count, dimension):
        raise ValueError("its index is not what its description says")
    return index, vectors_of(index)


# -- searching ---------------------------------------------------------------------------------


def bits_of(positions: Integers, count: int) -> Bits:
    """Positions as FAISS's IDSelectorBitmap takes them: a bit for each of ``count`` rows."""
    chosen = np.zeros(count, bool)
    chosen[positions] = True
    return np.packbits(chosen, bitorder="little")


def selected(bits: Bits | None, rows: tuple[int, int] | None = None) -> Any:
    """Parameters of a search that only finds these rows: of a bitmap, and from one to another.

    A bitmap is kept alive by them.
    """
    faiss = library()
    sel = None if rows is None else faiss.IDSelectorRange(*rows)
    if bits is not None:
        bitmap = faiss.IDSelectorBitmap(bits)
        sel = bitmap if sel is None else faiss.IDSelectorAnd(sel, bitmap)
    return None if sel is None else faiss.SearchParameters(sel=sel)


def search(
    index: Any, queries: Vectors, count: int, bits: Bits | None = None, few: Integers | None = None
) -> tuple[Vectors, Integers]:
    """The rows with the largest inner products, by FAISS, in float32.

    Args:
        index: an IndexFlatIP.
        queries: float32 (q, d).
        count: how many per query.
        bits: rows that may be found; see ``bits_of``.
        few: the same as ascending positions. A selector has FAISS loop over the rows, so many
            queries look at a copy of them instead.

    Returns:
        Scores float32 (q, count) and positions int64 (q, count), best first; -1 where there are
        no more.
    """
    with idle_cores() as idle:
        rows = int(index.ntotal)
        threads = idle if 4 * rows * index.d >= WORTH_A_THREAD else 1
        if len(queries) <= _LOOPED:
            loops = [partial(_one, index, queries, count, bits, r) for r in shares(rows, threads)]
            return merged(together(loops), count)
        if few is not None and len(queries) * len(few) * index.d >= WORTH_A_THREAD:
            return _gathered(index, queries, count, few, threads)
        # No share of a product may be so small that FAISS would loop over the rows for it.
        products = len(queries) * index.d // _PRODUCT_FROM
        parts = together(
            [
                partial(_one, index, queries[start:end], count, bits)
                for start, end in shares(len(queries), min(threads, products or threads))
            ]
        )
        scores, places = zip(*parts, strict=True)
        return np.concatenate(scores), np.concatenate(places)


def method(index: Any, name: str) -> Any:
    """A search method of an index, as FAISS has it.

    ``faiss.contrib.torch_utils`` puts its own in the place of each, in the whole process: they
    take no selector. pytorch-metric-learning imports it. FAISS's own is then under another name.
    """
    return getattr(index, f"{name}_numpy", None) or getattr(index, name)


def _one(
    index: Any,
    queries: Vectors,
    count: int,
    bits: Bits | None,
    rows: tuple[int, int] | None = None,
) -> tuple[Vectors, Integers]:
    scores, places = method(index, "search")(queries, count, params=selected(bits, rows))
    return scores, places


def _gathered(
    index: Any, queries: Vectors, count: int, few: Integers, threads: int
) -> tuple[Vectors, Integers]:
    """The same among few rows, copied piece by piece into indexes of their own."""
    size = max(GATHERED // (4 * index.d), 1)

    def part(start: int, end: int) -> tuple[Vectors, Integers]:
        found = []
        for first in range(start, end, size):
            rows = few[first : min(first + size, end)]
            piece, memory = empty(len(rows), index.d)
            index.reconstruct_batch(rows, memory)
            scores, places = piece.search(queries, min(count, len(rows)))
            found.append((scores, np.where(places < 0, -1, rows[places])))
        return merged(found, count)

    jobs = [partial(part, start, end) for start, end in shares(len(few), threads)]
    return merged(together(jobs), count)


def merged(found: Sequence[tuple[Vectors, Integers]], count: int) -> tuple[Vectors, Integers]:
    """The best rows of those found in several parts of an index, best first."""
    if len(found) == 1:
        return found[0]
    scores, places = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(places, order, axis=1)


def above(
    index: Any, queries: Vectors, floor: float, bits: Bits | None = None
) -> tuple[Integers, Vectors, Integers]:
    """Every row whose inner product in float32 is ``floor`` or more, by FAISS's range search.

    Returns:
        Limits int64 (q + 1,), scores and positions: those of query i lie between limits i and
        i + 1, in no order.
    """
    under = float(np.nextafter(np.float32(floor), np.float32(-np.inf)))
    with one_thread():
        found = method(index, "range_search")(queries, under, params=selected(bits))
    limits, scores, places = found
    return limits.astype(np.int64), scores, places
