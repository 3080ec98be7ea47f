"""As much of Ray as the ingestion uses, in this process, with a clock that stands still."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from ingest.distributed import stage


class RayError(Exception):
    """Of Ray, as those below."""


class RayTaskError(RayError):
    pass


class RayActorError(RayError):
    pass


class ActorUnavailableError(RayActorError):
    pass


class OutOfMemoryError(RayError):
    pass


class ObjectLostError(RayError):
    pass


class Ref:
    """What an answer will be found by."""

    def __init__(self) -> None:
        self.value: Any = None
        self.error: Exception | None = None
        self.here = False

    def come(self, value: Any = None, error: Exception | None = None) -> None:
        self.value, self.error, self.here = value, error, True


class Actor:
    """Does what it is asked to, one after the other, when the cluster has it do so."""

    def __init__(self, toy: ToyRay, made: Callable[[], Any]) -> None:
        self.toy, self.made, self.itself = toy, made, None
        self.asked: deque[tuple[list[Ref], str, tuple[Any, ...]]] = deque()
        self.at: int | None = None  # the node, once it has room
        self.error: Exception | None = None  # of what killed it

    def __getattr__(self, name: str) -> Any:
        def ask(*given: Any, returns: int = 1) -> Any:
            refs = [Ref() for _ in range(returns)]
            if self.error is not None:
                for ref in refs:
                    ref.come(error=self.error)
            self.asked.append((refs, name, given))
            return refs if returns > 1 else refs[0]

        def options(num_returns: int) -> Any:
            return SimpleNamespace(remote=lambda *given: ask(*given, returns=num_returns))

        return SimpleNamespace(remote=ask, options=options)

    def lose(self, error: Exception) -> None:
        """End it: whatever it was asked to do fails."""
        self.error = error
        for refs, _, _ in self.asked:
            for ref in refs:
                if not ref.here:
                    ref.come(error=error)
        if self in self.toy.actors:
            self.toy.actors.remove(self)

    def step(self) -> None:
        """Do the first thing that it was asked to."""
        refs, name, given = self.asked[0]
        if name == "node":
            found: Any = f"node {self.at}"
        else:
            self.itself = self.itself or self.made()
            refs_given = [one for one in given if isinstance(one, Ref)]
            if lost := [ref.error for ref in refs_given if ref.error is not None]:
                self.asked.popleft()
                refs[0].come(error=lost[0])
                return
            values = [one.value if isinstance(one, Ref) else one for one in given]
            try:
                found = getattr(self.itself, name)(*values)
            except Exception as error:
                found, told = None, RayTaskError(str(error))
                told.cause = error  # type: ignore[attr-defined]
                self.asked.popleft()
                refs[0].come(error=told)
                return
        if not self.asked or self.asked[0][0] is not refs:
            return  # lost while it did it
        self.asked.popleft()
        self.toy.opened += {"open": 1, "encode": -1}.get(name, 0)
        self.toy.most_opened = max(self.toy.most_opened, self.toy.opened)
        for ref, value in zip(refs, found if len(refs) > 1 else [found], strict=True):
            ref.come(value)


class ToyRay:
    """A cluster of nodes with room for so many workers each.

    Attributes:
        now: its time; waiting in vain moves it on.
        rooms: of each node; 0 of one that is gone.
        actors: those that live.
        before: called with an actor and what it is to do; may lose it, or say False: not yet.
        quick: whether work is done while nobody waits for it.
        meanwhile: called when nothing came.
    """

    exceptions = SimpleNamespace(
        RayError=RayError,
        RayTaskError=RayTaskError,
        RayActorError=RayActorError,
        ActorUnavailableError=ActorUnavailableError,
        OutOfMemoryError=OutOfMemoryError,
        ObjectLostError=ObjectLostError,
    )

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *rooms: int, seed: int = 0) -> None:
        self.now, self.rooms, self.seed = 1000.0, list(rooms), random.Random(seed)
        self.gone: set[int] = set()
        self.actors: list[Actor] = []
        self.started = itertools.count()
        self.before: Callable[[Actor, str], bool | None] = lambda actor, name: True
        self.meanwhile: Callable[[], None] = lambda: None
        self.quick = False
        self.opened = self.most_opened = 0  # parts whose pixels wait to be encoded
        monkeypatch.setattr(stage.connection, "probe", lambda address: None)
        monkeypatch.setattr(stage.connection, "connect", lambda address: self)
        monkeypatch.setattr(stage.time, "monotonic", lambda: self.now)

    # -- what Ray has --------------------------------------------------------------------------

    def remote(self, kind: Any) -> Any:
        def start(*given: Any) -> Actor:
            next(self.started)
            self.actors.append(Actor(self, lambda: kind(*given)))
            return self.actors[-1]

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=start))

    def put(self, value: Any) -> Ref:
        ref = Ref()
        ref.come(value)
        return ref

    def get(self, ref: Ref) -> Any:
        assert ref.here
        if ref.error is not None:
            raise ref.error
        return ref.value

    def wait(self, refs: Sequence[Ref], timeout: float) -> tuple[list[Ref], list[Ref]]:
        self._place()
        ready = [ref for ref in refs if ref.here]
        if not ready and (timeout or self.quick):
            able = [one for one in self.actors if one.at is not None and one.asked]
            for actor in self.seed.sample(able, len(able)):
                if self.before(actor, actor.asked[0][1]) is not False and actor in self.actors:
                    actor.step()
                if ready := [ref for ref in refs if ref.here]:
                    break
        if not ready:
            self.now += timeout
            self.meanwhile()
        return ready[:1], [ref for ref in refs if ref not in ready[:1]]

    def kill(self, actor: Actor) -> None:
        actor.lose(RayActorError("it was killed"))

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"NodeID": f"node {n}", "Alive": n not in self.gone} for n in range(len(self.rooms))
        ]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(sum(self.rooms)), "GPU": float(sum(self.rooms))}

    # -- what befalls it -----------------------------------------------------------------------

    def lose(self, node: int, error: Exception | None = None) -> None:
        """A node goes with all that is on it."""
        self.rooms[node] = 0
        self.gone.add(node)
        for actor in [one for one in self.actors if one.at == node]:
            actor.lose(error or RayActorError("its node died"))

    def _place(self) -> None:
        for actor in self.actors:
            if actor.at is None:
                used = [one.at for one in self.actors]
                free = [n for n, room in enumerate(self.rooms) if used.count(n) < room]
                actor.at = free[0] if free else None
