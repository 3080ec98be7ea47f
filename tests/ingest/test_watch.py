"""What is made of a cluster from which nothing comes; without one."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ingest.distributed import watch
from ingest.distributed.watch import Watch
from ingest.job.pipeline import Stopped
from store import ClusterUnavailable

ALIVE, LOST, IDLE = {"Alive": True}, {"Alive": False, "DeathReason": 2}, {"Alive": False}
IDLE["DeathReason"] = 4


class Cluster:
    """Nodes, and a clock that tests move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *states: dict[str, Any]) -> None:
        self.states = list(states)
        self.now, self.begun = 1000.0, True
        self.stop = threading.Event()
        monkeypatch.setattr("ingest.distributed.watch.time.monotonic", lambda: self.now)

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": str(n)} | state for n, state in enumerate(self.states)]

    def watch(self, patience: float = 60) -> Watch:
        return Watch(self, lambda: self.begun, "1 CPU", patience, self.stop)


def test_a_node_is_lost_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, ALIVE, ALIVE, LOST)
    seen = cluster.watch()
    cluster.states[1] = LOST
    assert seen.lost() == 1 and not seen.look()  # results may still come
    cluster.now += watch.STALL
    assert seen.look()
    seen.begin()
    cluster.now += watch.STALL
    assert seen.lost() == 0 and not seen.look()


def test_a_node_that_came_later_is_lost_too(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, ALIVE)
    seen = cluster.watch()
    cluster.states.append(LOST)
    cluster.now += watch.STALL
    assert seen.look()


def test_an_idle_node_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, ALIVE, ALIVE)
    seen = cluster.watch()
    cluster.states[0] = IDLE
    cluster.now += 100
    assert not seen.look()


def test_results_that_come_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, ALIVE, ALIVE)
    seen = cluster.watch()
    cluster.states[0] = LOST
    for _ in range(50):
        cluster.now += watch.STALL - 1
        assert not seen.look()
        seen.came()


def test_no_room_is_said_and_waited_for_and_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Cluster(monkeypatch, ALIVE)
    cluster.begun = False
    seen = cluster.watch(60)
    for _ in range(55):
        cluster.now += 1
        assert not seen.look()
    said = "no node of the Ray cluster has room for a worker (1 CPU)"
    assert caplog.messages == [f"{said}; waiting 60 s for one, Ctrl-C stops"]
    cluster.now += 5
    with pytest.raises(ClusterUnavailable) as told:
        seen.look()
    assert str(told.value) == (
        f"{said} since 60 s; what was written stays, the same command goes on from there when "
        "there is a node; look at: ray status"
    )


def test_a_slow_worker_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, ALIVE)
    seen = cluster.watch(60)
    for _ in range(20):
        cluster.now += 60
        assert not seen.look()


def test_a_stop_gives_the_batch_in_hand_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, ALIVE)
    seen = cluster.watch()
    cluster.now += 100
    cluster.stop.set()
    assert not seen.look()
    cluster.now += watch.LAST - 1
    seen.came()
    cluster.now += watch.LAST - 1
    assert not seen.look()
    cluster.now += 1
    with pytest.raises(Stopped):
        seen.look()


def test_a_stop_waits_for_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, ALIVE)
    cluster.begun = False
    seen = cluster.watch()
    assert not seen.look()
    cluster.stop.set()
    with pytest.raises(Stopped):
        seen.look()
