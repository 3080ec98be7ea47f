"""Crews of Ray actors: workers of one kind that are given work, replaced and let go.

Ray restarts nobody and repeats nothing here. What a lost worker had is given back at once, so that
nothing waits for a node that is gone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ingest.job.pipeline import Outcome

#: Parts that a worker has: one in hand, and those that keep it busy while a batch is written.
_DEPTH = 3
#: Seconds without work until a worker that is not needed is let go, and its node with it.
_IDLE = 60.0


@dataclass(slots=True)
class Slot:
    """One item of the plan and what came of it; ``size`` in bytes of pixels that travel with it."""

    found: Outcome | Any = None
    done: bool = False
    sent: bool = False
    size: int = 0


@dataclass(slots=True, eq=False)
class Part:
    """Images that travel together, neighbours in the plan.

    Attributes:
        tasks: where Ray keeps what opens the images of the whole chunk.
        first: the place of this part's first image among those.
        slots: what waits for its outcomes, one per image.
        tries: how many workers died over it.
        opened: where Ray keeps its pixels, once they are opened and not yet encoded.
    """

    tasks: Any
    first: int
    slots: list[Slot]
    tries: int = 0
    opened: Any = None

    @property
    def last(self) -> int:
        """The place behind its last image."""
        return self.first + len(self.slots)

    def split(self, count: int) -> tuple[Part, list[Part]]:
        """The chunk's first ``count`` images, and the rest where there is one."""
        rest = Part(self.tasks, self.first + count, self.slots[count:], self.tries)
        done = Part(self.tasks, self.first, self.slots[:count], self.tries)
        return done, [rest] if rest.slots else []


@dataclass(slots=True, eq=False)
class Member:
    """A worker of a crew: its actor, and what it was given.

    Attributes:
        actor: its handle.
        number: how many were started before it.
        started: the call that returns the id of its node as soon as it runs.
        node: that id; empty until then.
        calls: answers that are to come, in the order in which they come, and of which parts.
        since: when it was last given something, or gave it back.
    """

    actor: Any
    number: int
    started: Any
    node: str = ""
    calls: dict[Any, Part] = field(default_factory=dict)
    since: float = 0.0


class Crew:
    """Workers of one kind, and the parts that wait for them.

    Args:
        ray: the module, connected.
        start: makes one more actor, which has a method ``node``.
        call: gives an actor a part; its answer to come.
        fewest, most: workers.
    """

    def __init__(
        self,
        ray: Any,
        start: Callable[[], Any],
        call: Callable[[Any, Part], Any],
        fewest: int,
        most: int,
    ) -> None:
        self._ray, self._start, self._call = ray, start, call
        self._fewest, self._most = fewest, most
        self.members: list[Member] = []
        self.queue: deque[Part] = deque()
        self._born = self._known = 0  # workers ever started, and those before the last such death
        self.deaths = 0  # in a row, of workers that had not started

    @property
    def ready(self) -> int:
        """Number of workers that have started."""
        return sum(bool(member.node) for member in self.members)

    @property
    def held(self) -> int:
        """Number of parts the workers have."""
        return sum(len(member.calls) for member in self.members)

    def resize(self, parts: int) -> None:
        """Grow or shrink the pool to a worker a part, between the fewest and the most."""
        wanted = min(max(parts, self._fewest), self._most)
        for _ in range(len(self.members), wanted):
            actor = self._start()
            self.members.append(Member(actor, self._born, actor.node.remote()))
            self._born += 1
        now = time.monotonic()
        idle = [m for m in self.members if m.node and not m.calls and now - m.since > _IDLE]
        for member in idle[: len(self.members) - wanted]:
            self._end(member)

    def assign(self, most: int) -> None:
        """Give parts to the workers that have least, until all have ``most`` together."""
        while self.queue and self.held < most:
            free = [m for m in self.members if m.node and len(m.calls) < _DEPTH]
            if not free:
                return
            member = min(free, key=lambda one: len(one.calls))
            part = self.queue.popleft()
            member.calls[self._call(member.actor, part)] = part
            member.since = time.monotonic()

    def awaited(self) -> Iterator[tuple[Any, Member]]:
        """The next answer of each worker: that it has started, or that of its oldest part."""
        for member in self.members:
            if not member.node:
                yield member.started, member
            elif member.calls:
                yield next(iter(member.calls)), member

    def started(self, member: Member, node: str) -> None:
        """Note that a worker runs, and on which node."""
        member.node, member.since, self.deaths = node, time.monotonic(), 0

    def pop_answered(self, member: Member) -> Part:
        """The oldest part of a worker, whose answer came."""
        member.since = time.monotonic()
        return member.calls.pop(next(iter(member.calls)))

    def lose(self, member: Member) -> list[Part]:
        """The parts that a dead worker had. It died over the first; the others only waited."""
        if not member.node and member.number >= self._known:  # of those that wait together, many
            self.deaths, self._known = self.deaths + 1, self._born  # may go with one node
        parts = list(member.calls.values())
        for part in parts[:1]:
            part.tries += 1
        self._end(member)
        return parts

    def close(self) -> None:
        """Let all workers go, whatever they do."""
        for member in list(self.members):
            self._end(member)

    def _end(self, member: Member) -> None:
        self.members.remove(member)
        self._ray.kill(member.actor)
