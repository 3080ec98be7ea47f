"""Ctrl-C during a long job: once finishes the batch in hand, twice stops at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer


@contextmanager
def patient(warn: Callable[[str], None]) -> Iterator[threading.Event]:
    """Yields an event that the first Ctrl-C sets; the second one is a KeyboardInterrupt."""
    stop = threading.Event()

    def asked(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        warn("finishing the batch in hand; once more to stop at once")

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, asked)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


#: Of a core that both want, a search beside it then gets three quarters.
NICE = 5

Nice = Annotated[
    int,
    typer.Option(
        help="How far to give way to other programs: 0 not at all, 19 most. Alone on the machine, "
        "it is as fast either way.",
        min=0,
        max=19,
        rich_help_panel="The run",
    ),
]


def give_way(nice: int = NICE) -> None:
    """Lower the priority of this process, of what it starts, and of threads that it starts later.

    Never raises it. Does nothing on Windows.

    Args:
        nice: from 0, no change, to 19, the lowest priority.
    """
    if not nice or not hasattr(os, "setpriority"):
        return
    with contextlib.suppress(OSError):
        lowest = max(nice, os.getpriority(os.PRIO_PROCESS, 0))
        os.setpriority(os.PRIO_PROCESS, 0, lowest)
        # Linux shares out the processor by session first, where it groups them.
        if os.getsid(0) == os.getpid():
            Path("/proc/self/autogroup").write_text(f"{lowest}\n", encoding="ascii")
