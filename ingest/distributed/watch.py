"""Why nothing comes from a cluster: a node was lost, no node has room, or it is to end.

Ray starts a lost worker anew, keeps its work for it, and waits for room without an end and without
a word, although others may have nothing to do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from ingest.job.pipeline import Stopped
from store import ClusterUnavailable

log = logging.getLogger("ingest")

#: How a job that ends early is told.
KEPT = "what was written stays, the same command goes on from there"
#: Seconds without a result, after a node was lost, until its work is given to the others.
STALL = 5.0
#: Seconds without a worker at work until that is said.
QUIET = 10.0
#: Seconds without a result in which a job that is to stop finishes the batch in hand.
LAST = 3.0
#: Seconds between two looks at the nodes.
_PAUSE = 1.0
#: Why a node ended, in Ray's numbers: it had nothing to do.
_IDLE = 4


class Watch:
    """Looks at the nodes while a job waits for results.

    Args:
        ray: the module, connected.
        begun: whether a worker of this round took up work.
        need: what a worker needs, for messages.
        patience: seconds to wait for a node with room.
        stop: set when the job is to stop.
    """

    def __init__(
        self,
        ray: Any,
        begun: Callable[[], bool],
        need: str,
        patience: float,
        stop: threading.Event | None,
    ) -> None:
        self._ray, self._begun, self._need = ray, begun, need
        self._patience, self._stop = patience, stop
        self._lost = 0
        self.begin()

    def begin(self) -> None:
        """A round begins: nodes that are gone by now are none of its own."""
        self._dead = self._gone()
        self._since = self._looked = time.monotonic()
        self._stopping: float | None = None
        self._said = False

    def came(self) -> None:
        """Results came."""
        self._since = time.monotonic()

    def look(self) -> bool:
        """Whether the round waits for a node that is gone.

        Raises:
            Stopped: the job is to stop, and nobody works at its batch in hand.
            ClusterUnavailable: no node has had room for long.
        """
        now = time.monotonic()
        if self._stop is not None and self._stop.is_set():
            if self._stopping is None:
                self._stopping = now
            if now - max(self._since, self._stopping) >= LAST or not self._begun():
                raise Stopped
        quiet = now - self._since
        if quiet < STALL or now - self._looked < _PAUSE:
            return False
        self._looked = now
        if lost := self.lost():
            self._lost += lost
            log.warning(
                "%s of the Ray cluster %s lost; what was worked on there is done again",
                *(("a node", "was") if lost == 1 else (f"{lost} nodes", "were")),
            )
            return True
        if quiet >= QUIET and not self._begun():
            self._wait(quiet)
        return False

    def lost(self) -> int:
        """How many nodes were lost since the round began."""
        return len(self._gone() - self._dead)

    def _wait(self, quiet: float) -> None:
        """Say that there is no room, or that there was none for too long."""
        room = f"no node of the Ray cluster has room for a worker ({self._need})"
        if quiet >= self._patience:
            were = "was" if self._lost == 1 else "were"
            lost = f", {self._lost} {were} lost during the work" if self._lost else ""
            raise ClusterUnavailable(
                f"{room} since {quiet:.0f} s{lost}; {KEPT} when there is a node; look at: "
                "ray status"
            )
        if not self._said:
            self._said = True
            log.warning("%s; waiting %.0f s for one, Ctrl-C stops", room, self._patience)

    def _gone(self) -> set[str]:
        """All nodes that ended, but those that ended because they had nothing to do."""
        return {
            node["NodeID"]
            for node in self._ray.nodes()
            if not node["Alive"] and node.get("DeathReason") != _IDLE
        }
