"""Ingestion on Ray: a pool of actors opens and encodes, this process plans and commits.

The job is the one of ingest.job.run; only its stage between plan and commit is another. What is
known is skipped before it is sent. Ray Data spreads chunks of images over the pool, holds workers
back when their results are not taken, and gives a dead worker's chunks to another. Results come in
any order and are put back into the order of the source, so that batches, commits, rejections and
progress are those of one machine. When a node is lost, and its workers find no other, the round is
left, and what has not arrived is given out anew.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from ingest.distributed import workers
from ingest.distributed.chunks import Chunk, Slot, size_of
from ingest.distributed.watch import KEPT, Watch
from ingest.job.pipeline import Stage, Task
from store import ClusterUnavailable, CxrError, UsageError, connection

#: Chunks in the first round of Ray Data, the factor from round to round, and the most. Every round
#: starts its pool anew, and permits that a round turns out not to need cost a moment each.
_FIRST, _FACTOR, _MOST = 64, 4, 4096
#: Planned items that wait for their turn, at most, and bytes of pixels that were sent and not seen.
_WINDOW = 16384
_SENT_BYTES = 1 << 30
#: Seconds to wait for a node with room: where the number of workers is fixed, and where it is a
#: range, for then an autoscaler may have to start one.
PATIENCE, _GROWING = 60.0, 600.0
#: Seconds between two looks at the cluster while nothing comes.
_LOOK = 0.5


@dataclass(frozen=True, slots=True)
class Pool:
    """Which cluster, and how many workers of what kind.

    Attributes:
        address: as store.cluster.connection.connect takes it.
        workers: fewest and most actors; between them the pool follows the work, and with it the
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
        apart: decode in tasks of their own, not on the actors that encode; by default where these
            have GPUs, which must not wait for decoding.
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
    """One job: what is planned, what was sent, what came back."""

    def __init__(
        self, load: Callable[[], Any], pool: Pool, apart: bool, stop: threading.Event | None
    ) -> None:
        self._load, self._pool, self._apart, self._stop = load, pool, apart, stop
        self._ray: Any = None
        self._plan: Any = None
        self._results: Any = None
        self._watch: Any = None
        self._pending = Chunk()
        self._sent: dict[int, Chunk] = {}
        self._next = 0  # number of the next chunk
        self._round, self._round_end = _FIRST, 0  # a round gives out the chunks below its end
        self._permit = 0  # the first of the next round
        self._fruitless = 0  # rounds in a row that were left, and nothing had come
        self._ahead = 8
        self._ended = False
        self._untaken = 0  # images sent, or about to be, whose outcomes are not taken

    def outcomes(self, tasks: Iterator[Task | Any]) -> Generator[Any, None, None]:
        """Outcomes in the order of their tasks; what the tasks raise is raised after the rest."""
        window: deque[Slot] = deque()
        more, broken = True, None
        try:
            while True:
                while more and self._room(window):
                    try:
                        self._take(next(tasks), window)
                    except StopIteration:
                        more = False
                    except Exception as error:
                        more, broken = False, error
                if self._pending.tasks and not (more and self._sent):
                    self._send()
                if not more and self._plan is not None and not self._ended:
                    self._ended = True
                    self._plan.close.remote()
                if window and window[0].done:
                    slot = window.popleft()
                    self._untaken -= slot.sent
                    yield slot.found
                elif window:
                    self._receive()
                elif broken is not None:
                    raise broken
                else:
                    return
        finally:
            self._close()

    # -- sending -------------------------------------------------------------------------------

    def _room(self, window: deque[Slot]) -> bool:
        sent = sum(chunk.size for chunk in self._sent.values())
        few = self._untaken < self._ahead * workers.CHUNK and len(window) < _WINDOW
        return few and sent < _SENT_BYTES

    def _take(self, item: Task | Any, window: deque[Slot]) -> None:
        if not callable(item):
            window.append(Slot(item, done=True))
            return
        slot = Slot(sent=True)
        window.append(slot)
        self._untaken += 1
        self._pending.tasks.append(item)
        self._pending.slots.append(slot)
        self._pending.size += size_of(item)
        full = len(self._pending.tasks) >= workers.CHUNK
        if full or self._pending.size >= workers.PIECE_BYTES:
            self._send()

    def _send(self) -> None:
        if self._plan is None:
            self._connect()
        chunk, self._pending = self._pending, Chunk()
        chunk.missing = len(chunk.slots)
        self._plan.put.remote(self._next, chunk.tasks)
        chunk.tasks = []
        self._sent[self._next] = chunk
        self._next += 1

    def _connect(self) -> None:
        self._ray = ray = connection.connect(self._pool.address)
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        # With this process, not on a node that may go: the plan is what a dead worker's chunks are
        # taken from again.
        self._plan = ray.remote(workers.Plan).options(num_cpus=0, scheduling_strategy=here).remote()
        self._ahead = 4 * self._most() + 4
        fewest, most = self._pool.workers or (1, 1)
        gpus = self._pool.gpus
        self._watch = Watch(
            ray,
            lambda: bool(ray.get(self._plan.begun.remote())),
            f"{gpus:g} GPU, and 1 CPU to decode" if gpus else "1 CPU",
            _GROWING if fewest < most else PATIENCE,
            self._stop,
        )

    def _most(self) -> int:
        if self._pool.workers is not None:
            return self._pool.workers[1]
        found = self._ray.cluster_resources()
        gpus = self._pool.gpus
        return max(int(found.get("GPU", 0) / gpus if gpus else found.get("CPU", 1)), 1)

    # -- receiving -----------------------------------------------------------------------------

    def _receive(self) -> None:
        """Wait a moment for a block of outcomes and put them into their slots."""
        try:
            if self._results is None:
                self._results = self._start()
            block = self._results.take(_LOOK)
        except queue.Empty:
            if self._watch.look():
                self._again()
            return
        except CxrError:
            raise
        except Exception as error:
            told = connection.fault(error)
            if not isinstance(told, CxrError):
                told = ClusterUnavailable(f"the work on Ray failed: {_last_line(error)}; {KEPT}")
                if self._watch.lost():  # with what a node had, or did
                    self._again(told)
                    return
            raise told from error
        self._watch.came()
        if block is None:
            self._results = None
            lost = [number for number in self._sent if number < self._round_end]
            if lost:
                said = f"Ray gave back nothing for {len(lost)} chunks of images"
                self._again(ClusterUnavailable(f"{said}; {KEPT}"))
            return
        for number, place, found in workers.piece_of(block):
            chunk = self._sent.get(number)
            if chunk is None or chunk.slots[place].done:
                continue  # done twice, after a worker died
            chunk.slots[place].found, chunk.slots[place].done = found, True
            chunk.missing -= 1
            self._fruitless = 0
            if not chunk.missing:
                del self._sent[number]
                self._plan.drop.remote(number)

    def _again(self, error: Exception | None = None) -> None:
        """Leave a round, and give out in the next what has not arrived."""
        self._fruitless += 1
        if error is not None and self._fruitless > workers.TRIES:
            raise error
        results, self._results = self._results, None
        # At once, for what asks from the old round must get nothing.
        self._ray.get(self._plan.again.remote(self._permit))
        if results is not None:
            results.leave()

    def _start(self) -> Any:
        """Begin a round: permits for so many chunks, through the pool of actors."""
        from ingest.distributed import rounds

        size = max(self._round, len(self._sent))
        self._round = min(self._round * _FACTOR, _MOST)
        self._round_end = self._next + size - len(self._sent)
        permits = range(self._permit, self._permit + size)
        self._permit += size
        self._watch.begin()
        pool = (self._pool.workers[0] if self._pool.workers else 1, self._most())
        given = (permits, pool, self._pool.gpus, self._load, self._plan)
        started = rounds.begin(*given, apart=self._apart)
        self._watch.came()  # Ray Data is slow to import
        return started

    def _close(self) -> None:
        """Let the workers go: those that wait for a chunk get none, then the pool ends."""
        plan, self._plan = self._plan, None
        results, self._results = self._results, None
        if plan is not None:
            plan.close.remote(forget=True)
        if results is not None:
            results.leave()
        if plan is not None:
            self._ray.kill(plan)


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
