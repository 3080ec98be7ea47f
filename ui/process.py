"""Signals and priority of this process during a long job."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def patient(warn: Callable[[str], None]) -> Iterator[threading.Event]:
    """Stop event of a long job: the first Ctrl-C sets it, the second is a KeyboardInterrupt."""
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


#: Default niceness: a search beside the job gets three quarters of a core that both want.
NICE = 5


def give_way(nice: int = NICE) -> None:
    """Lower the priority of this process, its children, and its later threads.

    Never raises the priority. Does nothing on Windows.

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
