"""Ingestion on Ray: a crew of actors opens and encodes, this process plans and commits.

The job is the one of ingest.job.run; only its stage between plan and commit is another. What is
known is skipped before it is sent. Chunks of images go to whoever has least to do, a few at a time,
and no more are on their way than the consumer takes. Outcomes come in any order and are put back
into that of the source, so that batches, commits, rejections and progress are those of one machine.
What a lost worker had is given to the others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from ingest.distributed import workers
from ingest.distributed.crew import Crew, Member, Part, Slot
from ingest.job.pipeline import Outcome, Stage, Stopped, Task
from store import ClusterUnavailable, CxrError, UsageError, connection

log = logging.getLogger("ingest")

#: Planned items that wait for their turn, at most, and bytes of pixels that were sent and whose
#: outcomes have not come: fewer than the object store of a local Ray holds.
_WINDOW = 16384
SENT_BYTES = 3 << 28
#: How often images are tried, for a film may kill the process that decodes it, every time; and how
#: many workers in a row may die before they run.
_TRIES = 5
#: Seconds to wait for a node with room: where the number of workers is fixed, and where it is a
#: range, for then an autoscaler may have to start one.
PATIENCE, _GROWING = 60.0, 600.0
#: Seconds without a worker that runs until that is said.
QUIET = 10.0
#: Seconds without an outcome in which a job that is to stop finishes the batch in hand.
_FINISH = 3.0
#: Seconds between two looks at the cluster while nothing comes.
_LOOK = 0.5
#: How a job that ends early is told.
_KEPT = "what was written stays, the same command goes on from there"


@dataclass(frozen=True, slots=True)
class Pool:
    """Cluster, and number and kind of its workers.

    Attributes:
        address: as store.cluster.connection.connect takes it.
        workers: fewest and most actors; between them the crew follows the work, and with it the
            cluster's autoscaler, which is given 10 minutes to start a node where none has room, not
            1. As many as the cluster has room for when ``None``.
        gpus: of each actor; a fraction shares one. With none they use a core each, and decode too.
        device: of the encoder there; its best when ``None``.
    """

    address: str = connection.LOCAL
    workers: tuple[int, int] | None = None
    gpus: float = 0.0
    device: str | None = None

    def __post_init__(self) -> None:
        fewest, most = self.workers or (1, 1)
        if not 1 <= fewest <= most:
            raise UsageError(f"workers {fewest}-{most}: expected 1 or more, the fewest first")
        if self.gpus < 0:
            raise UsageError(f"{self.gpus} GPUs per worker: expected 0 or more")


def on_ray(
    load: Callable[[], Any],
    pool: Pool,
    *,
    apart: bool | None = None,
    stop: threading.Event | None = None,
) -> Stage:
    """A stage of the job that opens and encodes on Ray.

    Files are opened where the workers are: they must be there under the same path.

    Args:
        load: makes the encoder on a worker, e.g. ``workers.EncoderCall``.
        pool: where.
        apart: decode on actors of their own, not on those that encode; by default where these have
            GPUs, which must not wait for decoding.
        stop: the job's; once it is set, a batch from which nothing comes is not waited for.

    Raises:
        UsageError: Ray is not installed.
        ClusterUnavailable: nothing listens at the address.
    """
    connection.probe(pool.address)

    def stage(tasks: Iterator[Task | Any]) -> Generator[Any, None, None]:
        return _Run(load, pool, pool.gpus > 0 if apart is None else apart, stop).outcomes(tasks)

    return stage


class _Run:
    """One job: what is planned, what was sent, what came back.

    There are one or two crews. Parts wait for the first, which opens them, and where it does not
    encode them too, for the last, which does.
    """

    def __init__(
        self, load: Callable[[], Any], pool: Pool, apart: bool, stop: threading.Event | None
    ) -> None:
        self._load, self._pool, self._apart, self._stop = load, pool, apart, stop
        self._ray: Any = None
        self._crews: list[Crew] = []
        self._tasks: list[Task] = []  # of the chunk that is being filled, and their slots
        self._slots: list[Slot] = []
        self._parts = 8  # on their way, at most
        self._untaken = 0  # images sent, or about to be, whose outcomes are not taken
        self._away = 0  # images sent whose outcomes have not come
        self._bytes = 0  # of pixels that travel with those, or with the chunk that is being filled
        self._last = 0.0  # when something last came
        self._stopping: float | None = None
        self._said = False
        self._lost_nodes: set[str] = set()  # nodes that went while a worker was on them

    def outcomes(self, tasks: Iterator[Task | Any]) -> Generator[Any, None, None]:
        """Outcomes in the order of their tasks; what the tasks raise is raised after the rest."""
        window: deque[Slot] = deque()
        more, broken = True, None
        try:
            while True:
                while more and self._room(window):
                    try:
                        item = next(tasks)
                    except StopIteration:
                        more = False
                    except Exception as error:
                        more, broken = False, error
                    else:
                        window.append(self._slot_of(item))
                if self._slots and not (more and self._away):
                    self._send()
                if window and window[0].done:
                    slot = window.popleft()
                    self._untaken -= slot.sent
                    yield slot.found
                elif window:
                    if not self._receive(_LOOK):
                        self._check_quiet()
                elif broken is not None:
                    raise broken
                else:
                    return
        finally:
            for crew in self._crews:
                crew.close()

    # -- sending -------------------------------------------------------------------------------

    def _room(self, window: deque[Slot]) -> bool:
        few = self._untaken < self._parts * workers.CHUNK and len(window) < _WINDOW
        return few and self._bytes < SENT_BYTES

    def _slot_of(self, item: Task | Any) -> Slot:
        """The slot of one more item of the plan."""
        if not callable(item):
            return Slot(item, done=True)
        pixels = _attribute(item, "pixels")  # a file's stay where they are
        slot = Slot(sent=True, size=0 if pixels is None else pixels.nbytes)
        self._untaken += 1
        self._bytes += slot.size
        self._tasks.append(item)
        self._slots.append(slot)
        if (
            len(self._slots) >= workers.CHUNK
            or sum(one.size for one in self._slots) >= workers.PIECE_BYTES
        ):
            self._send()
        return slot

    def _send(self) -> None:
        if not self._crews:
            self._connect()
        self._crews[0].queue.append(Part(self._ray.put(self._tasks), 0, self._slots))
        self._away += len(self._slots)
        self._tasks, self._slots = [], []
        while self._receive(0):  # whoever is free begins at once, also while a batch is written
            pass

    def _connect(self) -> None:
        self._ray = ray = connection.connect(self._pool.address)
        fewest, most = self._pool.workers or (1, self._fitting())
        self._parts = 4 * most + 4
        gpus = self._pool.gpus
        # Where others decode, or there is a GPU, no core is reserved for those that encode: who
        # decodes must find one.
        cores = 0 if gpus or self._apart else 1

        def crew(call: Callable[[Any, Part], Any], fewest: int, most: int, **needs: Any) -> Crew:
            kind = ray.remote(workers.Worker).options(
                max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD", **needs
            )
            return Crew(ray, lambda: kind.remote(self._load), call, fewest, most)

        if self._apart:
            encoders = crew(_encode, fewest, most, num_cpus=cores, num_gpus=gpus)
            self._crews = [crew(_open, 1, self._parts, num_cpus=1), encoders]
        else:
            self._crews = [crew(_work, fewest, most, num_cpus=cores, num_gpus=gpus)]
        self._last = time.monotonic()

    def _fitting(self) -> int:
        """Number of workers the cluster has room for."""
        found = self._ray.cluster_resources()
        gpus = self._pool.gpus
        return max(int(found.get("GPU", 0) / gpus if gpus else found.get("CPU", 1)), 1)

    # -- receiving -----------------------------------------------------------------------------

    def _receive(self, seconds: float) -> bool:
        """Hand out parts, then take the answer that comes first; whether one came in time."""
        parts, room = 0, self._parts
        for crew in self._crews:
            parts += len(crew.queue) + crew.held
            crew.resize(parts)
        for crew in reversed(self._crews):
            crew.assign(room)
            room -= len(crew.queue) + crew.held
        awaited = {ref: (crew, one) for crew in self._crews for ref, one in crew.awaited()}
        came, _ = self._ray.wait(list(awaited), timeout=seconds) if awaited else ([], [])
        if not came:
            return False
        self._last = time.monotonic()
        crew, member = awaited[came[0]]
        try:
            found = self._ray.get(came[0])
        except Exception as error:
            self._requeue(self._recovered(crew, member, error))
            return True
        if not member.node:
            crew.started(member, found)
        elif crew is self._crews[-1]:
            part, rest = crew.pop_answered(member).split(len(found))
            self._fill(part, found)
            self._requeue(rest)
        else:
            whole = crew.pop_answered(member)
            part, rest = whole.split(found)
            part.opened = whole.opened
            self._crews[-1].queue.append(part)
            self._requeue(rest)
        return True

    def _fill(self, part: Part, found: list[Outcome]) -> None:
        self._away -= len(found)
        for slot, outcome in zip(part.slots, found, strict=True):
            slot.found, slot.done = outcome, True
            self._bytes -= slot.size

    def _requeue(self, parts: list[Part]) -> None:
        """Put parts first in the queue of those that are to be opened."""
        for part in reversed(parts):
            if part.tries >= _TRIES:
                source = _attribute(self._ray.get(part.tasks)[part.first], "source") or "?"
                raise ClusterUnavailable(
                    f"{_TRIES} workers died over the same {len(part.slots)} images, the first of "
                    f"them {source}; look at the memory of the nodes, and at these files"
                )
            part.opened = None
            self._crews[0].queue.appendleft(part)

    # -- losses, no room, and a stop -------------------------------------------------------------

    def _recovered(self, crew: Crew, member: Member, error: Exception) -> list[Part]:
        """The parts to be done again after a call failed, because a worker or its data was lost.

        Raises:
            CxrError: what a worker said.
            ClusterUnavailable: what else went wrong; workers die before they run.
        """
        told = connection.fault(error)
        if isinstance(told, CxrError):
            raise told from error
        errors = self._ray.exceptions
        if isinstance(error, errors.ObjectLostError):  # pixels or outcomes went with a node
            parts = [crew.pop_answered(member)]
            parts[0].tries += 1
        elif isinstance(error, (errors.RayActorError, errors.OutOfMemoryError)):
            parts = self._lost_with(crew, member, error)
            if crew.deaths >= _TRIES:
                raise ClusterUnavailable(
                    f"{_TRIES} workers on Ray died before they ran: {_last_line(error)}; {_KEPT}"
                ) from error
        else:
            raise ClusterUnavailable(
                f"the work on Ray failed: {_last_line(error)}; {_KEPT}"
            ) from error
        return parts

    def _lost_with(self, crew: Crew, member: Member, error: Exception) -> list[Part]:
        """The parts that a dead worker had, and where its node is gone, all workers there."""
        if not member.node:
            return crew.lose(member)
        dead = {node["NodeID"] for node in self._ray.nodes() if not node["Alive"]}
        # A node tells of a process that died; one that is silent and unreachable went with it.
        gone = member.node in dead or isinstance(error, self._ray.exceptions.ActorUnavailableError)
        log.warning(
            "a %s of the Ray cluster was lost; what was worked on there is done again",
            "node" if gone else "worker",
        )
        if not gone:
            return crew.lose(member)
        self._lost_nodes.add(member.node)
        there = [(c, m) for c in self._crews for m in c.members if m.node == member.node]
        return [part for c, m in there for part in c.lose(m)]

    def _check_quiet(self) -> None:
        """Called when nothing came for a moment: is there room, is the job to stop?

        Raises:
            Stopped: the job is to stop, and nobody works at its batch in hand.
            ClusterUnavailable: no node has had room for long.
        """
        now = time.monotonic()
        ready = all(crew.ready for crew in self._crews)
        if self._stop is not None and self._stop.is_set():
            self._stopping = self._stopping or now
            if not ready or now - max(self._last, self._stopping) >= _FINISH:
                raise Stopped
        quiet = now - self._last
        if ready or quiet < QUIET:
            return
        gpus, (fewest, most) = self._pool.gpus, self._pool.workers or (1, 1)
        need = f"{gpus:g} GPU, and 1 CPU to decode" if gpus else "1 CPU"
        room = f"no node of the Ray cluster has room for a worker ({need})"
        patience = _GROWING if fewest < most else PATIENCE
        if quiet >= patience:
            count = len(self._lost_nodes)
            lost = f", {count} {'was' if count == 1 else 'were'} lost during the work"
            raise ClusterUnavailable(
                f"{room} since {quiet:.0f} s{lost if count else ''}; {_KEPT} when there is a node; "
                "look at: ray status"
            )
        if not self._said:
            self._said = True
            log.warning("%s; waiting %.0f s for one, Ctrl-C stops", room, patience)


def _work(actor: Any, part: Part) -> Any:
    return actor.work.remote(part.tasks, part.first, part.last)


def _open(actor: Any, part: Part) -> Any:
    count, part.opened = actor.open.options(num_returns=2).remote(part.tasks, part.first, part.last)
    return count


def _encode(actor: Any, part: Part) -> Any:
    return actor.encode.remote(part.opened)


def _attribute(task: Task, name: str) -> Any:
    """An attribute of the image that a task opens: its source, or pixels that travel with it."""
    found = (getattr(argument, name, None) for argument in getattr(task, "args", ()))
    return next((value for value in found if value is not None), None)


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
