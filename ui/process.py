"""Ctrl-C during a long job: once finishes the batch in hand, twice stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ui import printing


@contextmanager
def patient() -> Iterator[threading.Event]:
    """Yields an event that the first Ctrl-C sets; the second one is a KeyboardInterrupt."""
    stop = threading.Event()

    def asked(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        printing.warn("finishing the batch in hand; once more to stop at once")

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, asked)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
