"""Work in equal parts, one per core, each in pieces that stay in its cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")
_MOST = 16


def count() -> int:
    """How many parts are worth it."""
    return max(min(os.cpu_count() or 1, _MOST), 1)


def share(total: int, parts: int, first: int = 0) -> list[slice]:
    """``total`` things from ``first`` on, in neighbouring parts of nearly equal length."""
    edges = [first + total * part // parts for part in range(parts + 1)]
    return [slice(*edge) for edge in pairwise(edges)]


def pieces(rows: slice, size: int) -> Iterator[slice]:
    """The rows in order, so many at a time."""
    for start in range(rows.start, rows.stop, size):
        yield slice(start, min(start + size, rows.stop))


def each(work: Callable[[slice], T], parts: list[slice]) -> list[T]:
    """What work returns for each part; the first is done by the caller, the others by threads."""
    others = [_pool().submit(work, part) for part in parts[1:]]
    return [work(parts[0]), *(one.result() for one in others)]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count(), "cxr-scan")
