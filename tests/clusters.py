"""A local Ray for the tests of one module."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Two cores of Ray, on loopback; shared by a module's tests, for it starts slowly."""
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'cxr-retrieval[ray]'")
    from store import cluster

    module = cluster.connect()
    yield module
    module.shutdown()


def eventually(holds: Callable[[], Any], seconds: float = 30) -> Any:
    """What a function returns as soon as it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


def kill(pid: int) -> None:
    """As the kernel does when memory is short."""
    os.kill(pid, signal.SIGKILL)
