"""Waiting for what happens in another process."""

from __future__ import annotations

import time
from collections.abc import Callable

from ui.dashboard.batches import jobs


def until(what: Callable[[], object], seconds: float = 60) -> None:
    """Return once something is so; fails when it is not in all this time."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def ended(uri: str, batch: str) -> jobs.Job:
    """The job of a batch once it has ended."""

    def job() -> jobs.Job:
        [found] = [one for one in jobs.all_of(uri) if one.batch == batch]
        return found

    until(lambda: not job().open, 300)
    return job()
