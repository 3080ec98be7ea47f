"""Long computations of the dashboard: done once for all visitors, on a thread, with progress."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import streamlit as st

from store import Progress
from ui.dashboard.components.html import films

T = TypeVar("T")

#: Results kept, the least recently asked for are dropped.
_KEPT = 48
#: Largest gallery whose films are compared with each other unasked.
_AT_ONCE = 30_000
#: How often the bar moves, and how long a computation may take without one.
_PERIOD_S, _PATIENCE_S = 0.1, 0.3

_lock = threading.Lock()
#: One at a time: two would only share the same cores.
_pool = ThreadPoolExecutor(1, "cxr-work")


@dataclass(slots=True, eq=False)
class _Job:
    future: Future[Any] = field(default_factory=Future)
    share: float = 0.0


_jobs: OrderedDict[Hashable, _Job] = OrderedDict()


def result(key: Hashable, title: str, work: Callable[[Progress], T]) -> T:
    """Result of a computation, from memory where it was done before.

    It goes on when the visitor leaves, and whoever asks for the same waits for the same.

    Args:
        key: all that the result depends on.
        title: what is being done, for the bar.
        work: gets a function to call with what is done and what there is to do.

    Raises:
        Exception: what ``work`` raised; it is tried again when asked for again.
    """
    job = _job(key, work)
    began, bar = time.monotonic(), None
    try:
        while not job.future.done():
            time.sleep(_PERIOD_S / 5 if bar is None else _PERIOD_S)
            if time.monotonic() - began > _PATIENCE_S:
                if bar is None:
                    bar = st.progress(0.0)
                bar.progress(min(job.share, 1.0), f"{title} … {100 * min(job.share, 1):.0f} %")
    finally:
        if bar is not None:
            bar.empty()
    found: T = job.future.result()
    return found


def wanted(key: Hashable, count: int) -> bool:
    """Whether so many films are to be compared with each other: of many, only when asked for.

    Args:
        key: of the result.
        count: films.
    """
    if known(key) or count <= _AT_ONCE:
        return True
    st.write(f"This compares all {films(count)} with each other.")
    return st.button("Compare them", type="primary", key="compare-all")


def known(key: Hashable) -> bool:
    """Whether a result is there already."""
    with _lock:
        job = _jobs.get(key)
    return job is not None and job.future.done()


def forget() -> None:
    """Drop all results."""
    with _lock:
        _jobs.clear()


def _job(key: Hashable, work: Callable[[Progress], Any]) -> _Job:
    with _lock:
        job = _jobs.get(key)
        if job is not None and not (job.future.done() and job.future.exception()):
            _jobs.move_to_end(key)
            return job
        job = _jobs[key] = _Job()
        while len(_jobs) > _KEPT:
            _jobs.popitem(last=False)

    def progress(done: int, total: int) -> None:
        job.share = done / total if total else 1.0

    def run() -> None:
        try:
            job.future.set_result(work(progress))
        except BaseException as error:
            job.future.set_exception(error)

    _pool.submit(run)
    return job
