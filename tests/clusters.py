"""A local Ray for the tests of one module."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# Read when ray is imported: it then keeps 127.0.0.1 for what it is, and listens there only.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Two cores of Ray, on loopback; shared by a module's tests, for it starts slowly."""
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'cxr-retrieval[ray]'")
    from store import ClusterUnavailable
    from store.cluster import connection

    try:
        module = connection.connect()
    except ClusterUnavailable:  # a busy machine does not start it within the 30 s that Ray gives
        module = connection.connect()
    yield module
    module.shutdown()


class Nodes:
    """A cluster of several nodes on this machine's loopback: a head without room, and nodes of one
    core each, in processes of their own. They claim to have a GPU too."""

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster

        from store.cluster import connection

        # A lost node is noticed after 15 s where Ray's own settings are kept.
        noticing = {"health_check_period_ms": 300, "health_check_failure_threshold": 3}
        self._here = {"node_ip_address": "127.0.0.1"}
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": noticing, **self._here}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address: str = self._cluster.address
        self._nodes: list[Any] = []
        self.ray = connection.connect(self.address)
        self.have(count)

    def have(self, count: int) -> None:
        """So many nodes, and Ray knows it."""
        while len(self._nodes) > count:
            self.lose()
        while len(self._nodes) < count:
            self._nodes.append(
                self._cluster.add_node(num_cpus=1, num_gpus=1, wait=False, **self._here)
            )
        eventually(lambda: self.room() == count)

    def lose(self) -> None:
        """A node with all that runs on it, as when a machine loses its power."""
        node = self._nodes.pop()
        at_work = _children(node.all_processes["raylet"][0].process.pid)
        self._cluster.remove_node(node, allow_graceful=False)
        for pid in at_work:
            with suppress(ProcessLookupError):
                kill(pid)

    def room(self) -> int:
        """Cores of the nodes that Ray takes for alive."""
        return int(self.ray.cluster_resources().get("CPU", 0))

    def close(self) -> None:
        self.ray.shutdown()
        self._cluster.shutdown()


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text("utf-8", "replace").rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def eventually(holds: Callable[[], Any], seconds: float = 120) -> Any:
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
