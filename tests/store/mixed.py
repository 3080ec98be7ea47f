"""Everything at once on one gallery, killed and stopped at random points: part of ``make torture``.

Two ingestions, one that also deletes, one that corrects and undoes, maintenance and two searchers,
each a process. Every writer has names of its own, so that what it should have left is known after
each kill: all that it acknowledged, and at most the one step more that was under way. In the end
the gallery equals one to which the same steps were done in peace.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from store import Gallery, Row
from tests.store.rows import DIMENSION, STAMP, make_rows, random_vectors

ROLES = ("ingest-0", "ingest-1", "delete-0", "undo-0", "optimize-0", "search-0", "search-1")
WRITERS = ("ingest", "delete", "undo")
_POOL, _BATCH, _CYCLE = 60, 12, 5
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
#: Id to the batch that wrote its vector, and the one that wrote its labels.
State = dict[str, tuple[str, str]]


# -- what each process does -----------------------------------------------------------------------


def names(who: str, step: int) -> list[str]:
    """The ids that a step of a writer is about. They are hard on quotes, too."""
    chosen = random.Random(f"{who} {step}").sample(range(_POOL), _BATCH)
    return [f"{who}/{place} 2''.png" for place in chosen]


@cache
def rows_of(batch: str) -> dict[str, Row]:
    """The rows of a step, by id; its name is that of its batch."""
    who, _, step = batch.rpartition(" ")
    ids = names(who, int(step))
    made = make_rows(
        random_vectors(len(ids), zlib.crc32(batch.encode())),
        [(batch,)] * len(ids),
        batch=batch,
        thumbnail=_PNG,
    )
    return {id_: replace(row, id=id_) for id_, row in zip(ids, made, strict=True)}


def kind_of(who: str, step: int) -> str:
    """What a writer does in a step."""
    if who.startswith("undo"):
        return ("upsert", "upsert", "correct", "undo", "undo")[step % _CYCLE]
    return "delete" if who.startswith("delete") and step % 3 == 2 else "upsert"


def undone(who: str, step: int) -> str:
    """The batch that a step undoes: the newest that is not undone yet."""
    return f"{who} {step - 1 if step % _CYCLE == 3 else step - 3}"


def act(gallery: Gallery, who: str, step: int) -> None:
    """One step; when it returns it is acknowledged. Doing it again does no harm."""
    batch, kind = f"{who} {step}", kind_of(who, step)
    if kind == "upsert":
        gallery.upsert(list(rows_of(batch).values()))
    elif kind == "correct":
        gallery.update_metadata(list(rows_of(batch).values()))
    elif kind == "delete":
        gallery.delete(ids=list(gallery.rows(names(who, step))))
    else:
        gallery.undo(undone(who, step))


def states(who: str, steps: int) -> list[State]:
    """What a writer should have left after none, one, two ... steps."""
    found: list[State] = [{}]
    for step in range(steps):
        batch, kind, now = f"{who} {step}", kind_of(who, step), dict(found[-1])
        if kind == "upsert":
            now |= dict.fromkeys(rows_of(batch), (batch, batch))
        elif kind == "correct":
            now |= {id_: (now[id_][0], batch) for id_ in rows_of(batch) if id_ in now}
        elif kind == "delete":
            now = {id_: one for id_, one in now.items() if id_ not in names(who, step)}
        else:
            now = found[int(undone(who, step).rpartition(" ")[2])]
        found.append(now)
    return found


@contextmanager
def at_work(uri: Path | str, role: str) -> Iterator[Callable[[], int]]:
    """One of the writers as a process beside this one.

    Yields:
        Waits for three more lines of it; how many steps it has surely done.
    """
    command = [sys.executable, "-m", __name__, "--work", str(uri), role, "0"]
    root = Path(__file__).parents[2]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
    assert writer.stdout is not None
    lines = writer.stdout

    def steps() -> int:
        said = [lines.readline() for _ in range(3)]
        return max(int(line) for line in said if line.strip().isdigit()) + 1

    try:
        yield steps
    finally:
        writer.kill()
        writer.communicate()


def work(uri: str, role: str, first: int) -> None:
    """Be one of the processes until killed, or until the file ``stop`` is there.

    The first step is done in any case: it may be one that was under way when another was killed.
    """
    stop = Path(uri, "..", "stop")
    gallery = Gallery.open(uri)
    chance = random.Random(f"{role} {first}")
    step = first
    _say("ready")
    while True:
        if role.startswith(WRITERS):
            act(gallery, role, step)
            _say(str(step))
            step += 1
        elif role.startswith("optimize"):
            gallery.optimize()
            time.sleep(chance.uniform(0, 0.3))
        else:
            look(gallery, chance)
        if stop.exists():
            return


def look(gallery: Gallery, chance: random.Random) -> None:
    """Search at one version: hits are whole rows, each once, with the scores of their vectors."""
    gallery.refresh()
    reader = gallery.pinned()
    if not len(reader):
        return
    query = random_vectors(1, chance.randrange(1000))
    hits = reader.search(query, min(10, len(reader)))[0]
    assert len({hit.row.id for hit in hits}) == len(hits)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    for hit in hits:
        vector = rows_of(hit.row.batch)[hit.row.id].embedding
        assert vector is not None
        assert abs(float(query[0] @ vector) - hit.score) < 1e-5, hit.row.id


# -- chaos ----------------------------------------------------------------------------------------


class Member:
    """A process, and what it has said so far."""

    def __init__(self, uri: str, role: str, first: int) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.store.mixed"),
                *("--work", uri, role, str(first)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent.parent,
        )
        self.ready = threading.Event()
        self.steps: list[int] = []
        self.errors = ""
        self._threads = [threading.Thread(target=one) for one in (self._listen, self._complain)]
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line == "ready\n":
                self.ready.set()
            elif line.strip().isdigit():  # a line that was cut off is no acknowledgement
                self.steps.append(int(line))

    def _complain(self) -> None:
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read()

    def ended(self) -> int:
        """Wait for its end; its exit code."""
        code = self.process.wait(timeout=120)
        for thread in self._threads:
            thread.join(60)
        return code


class Crew:
    """The processes of a run, and what each has acknowledged."""

    def __init__(self, uri: str, roles: Sequence[str], seen: Counter[str]) -> None:
        self.uri, self.seen = uri, seen
        self.acknowledged = dict.fromkeys(roles, 0)
        self.members = {role: Member(uri, role, 0) for role in roles}

    def ready(self) -> list[str]:
        """Those that are at work; waits for one."""
        while True:
            for role, member in self.members.items():
                if member.process.poll() is not None:
                    self._read(role)
            found = [role for role, member in self.members.items() if member.ready.is_set()]
            if found:
                return found
            time.sleep(0.05)

    def _read(self, role: str) -> None:
        """Take note of what a process that has ended said last."""
        member = self.members[role]
        code = member.ended()
        if code not in (0, -signal.SIGKILL):
            raise AssertionError(f"{role} ended by itself with {code}: {member.errors[-2000:]}")
        self.seen["steps acknowledged"] += len(member.steps)
        if member.steps:
            self.acknowledged[role] = member.steps[-1] + 1

    def kill(self, role: str) -> None:
        """Kill a process, look at what it left, and start it again."""
        self.members[role].process.kill()
        self._read(role)
        if role.startswith(WRITERS):
            done = self.acknowledged[role]
            left = held(Gallery.open(self.uri), role)
            may = states(role, done + 1)[done:]
            if left == may[1] != may[0]:
                self.seen["committed but not acknowledged"] += 1
            # An undo is several commits, which doing it again completes.
            elif left != may[0] and kind_of(role, done) != "undo":
                raise AssertionError(f"{role} acknowledged {done} steps, which are not there")
        self.seen[f"{role.partition('-')[0]} killed"] += 1
        self.members[role] = Member(self.uri, role, self.acknowledged[role])

    def stop(self, role: str, seconds: float) -> None:
        """Halt a process for a moment, in whatever it does."""
        self.members[role].process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.members[role].process.send_signal(signal.SIGCONT)
        self.seen[f"{role.partition('-')[0]} stopped"] += 1

    def end(self) -> None:
        """Let all finish what they are at."""
        Path(self.uri, "..", "stop").touch()
        for role in self.members:
            self._read(role)

    def abandon(self) -> None:
        for member in self.members.values():
            member.process.kill()
            member.ended()


def held(gallery: Gallery, who: str = "") -> State:
    """What is stored of a writer's rows, or of all; fails where a vector is not the right one."""
    gallery.refresh()
    ids = [id_ for id_ in gallery.ids() if id_.startswith(f"{who}/" if who else "")]
    rows = gallery.rows(ids)
    vectors = gallery.vectors(ids) if ids else np.empty((0, DIMENSION), np.float32)
    for id_, vector in zip(ids, vectors, strict=True):
        assert np.array_equal(rows_of(rows[id_].batch)[id_].embedding, vector), id_
    return {id_: (rows[id_].batch, rows[id_].labels[0]) for id_ in ids}


def run(
    kills: int, stops: int, seed: int = 0, roles: Sequence[str] = ROLES, say: bool = False
) -> Counter[str]:
    """Kill and stop processes so often; what happened, by name."""
    chance = random.Random(seed)
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        uri = f"{folder}/store"
        Gallery.create(uri, STAMP)
        crew = Crew(uri, roles, seen)
        try:
            left = ["kill"] * kills + ["stop"] * stops
            chance.shuffle(left)
            for number, what in enumerate(left, start=1):
                time.sleep(chance.uniform(0, 0.5))
                role = chance.choice(crew.ready())
                if what == "kill":
                    crew.kill(role)
                else:
                    crew.stop(role, chance.uniform(0, 0.4))
                if say and number % 10 == 0:
                    _say(f"  {number} of {len(left)}: {dict(seen)}")
            crew.end()
        finally:
            crew.abandon()
        gallery = Gallery.open(uri)
        assert gallery.check() == []
        fresh = Gallery.create(f"{folder}/fresh", STAMP)
        for role in roles:
            for step in range(crew.acknowledged[role] if role.startswith(WRITERS) else 0):
                act(fresh, role, step)
        found = held(gallery)
        assert found == held(fresh), "it does not hold what a fresh gallery does"
        for role in roles:
            if role.startswith(WRITERS):
                assert held(gallery, role) == states(role, crew.acknowledged[role])[-1]
        gallery.optimize()
        assert gallery.check() == [] and held(gallery) == found
        seen["rows at the end"] = len(found)
    return seen


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--stops", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", nargs=3, metavar=("URI", "ROLE", "STEP"))
    given = parser.parse_args()
    if given.work:
        uri, role, step = given.work
        work(uri, role, int(step))
        return
    begin = time.perf_counter()
    seen: Any = run(given.kills, given.stops, given.seed, say=True)
    seconds = time.perf_counter() - begin
    _say(
        f"{given.kills} kills and {given.stops} stops beside each other: nothing acknowledged is "
        f"lost, equal to a fresh gallery, {seconds:.0f} s"
    )
    for what, number in seen.items():
        _say(f"  {what}: {number}")


if __name__ == "__main__":
    main()
