"""Ingestion on Ray: a pool of actors opens and encodes, this process plans and commits.

The job is the one of ingest.job; only its stage between plan and commit is another. What is known
is skipped before it is sent. Ray Data spreads chunks of images over the pool, holds workers back
when their results are not taken, and gives a dead worker's chunks to another. Results come in any
order and are put back into the order of the source, so that batches, commits, rejections and
progress are those of one machine.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from ingest import workers
from ingest.pipeline import Outcome, Stage, Task
from store import cluster
from store.errors import ClusterUnavailable, CxrError, UsageError

#: Chunks in the first round of Ray Data, the factor from round to round, and the most. Every round
#: starts its pool anew, and permits that a round turns out not to need cost a moment each.
_FIRST, _FACTOR, _MOST = 64, 4, 4096
#: Planned items that wait for their turn, at most, and bytes of pixels that were sent and not seen.
_WINDOW = 16384
_SENT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Pool:
    """Which cluster, and how many workers of what kind.

    Attributes:
        address: as store.cluster.connect takes it.
        workers: fewest and most actors; between them the pool follows the work, and with it the
            cluster's autoscaler. As many as the cluster has room for when ``None``.
        gpus: of each actor; a fraction shares one. With none they use a core each, and decode too.
        device: of the encoder there; its best when ``None``.
    """

    address: str = cluster.LOCAL
    workers: tuple[int, int] | None = None
    gpus: float = 0.0
    device: str | None = None

    def __post_init__(self) -> None:
        fewest, most = self.workers or (1, 1)
        if not 1 <= fewest <= most:
            raise UsageError(f"workers {fewest}-{most}: expected 1 or more, the fewest first")
        if self.gpus < 0:
            raise UsageError(f"{self.gpus} GPUs per worker: expected 0 or more")


def on_ray(load: Callable[[], Any], pool: Pool, *, apart: bool | None = None) -> Stage:
    """A stage of the job that opens and encodes on Ray.

    Files are opened where the workers are: they must be there under the same path.

    Args:
        load: makes the encoder on a worker, e.g. ``workers.EncoderCall``.
        pool: where.
        apart: decode in tasks of their own, not on the actors that encode; by default where these
            have GPUs, which must not wait for decoding.

    Raises:
        UsageError: Ray is not installed.
        ClusterUnavailable: nothing listens at the address.
    """
    cluster.probe(pool.address)

    def stage(tasks: Iterator[Task | Any]) -> Generator[Any, None, None]:
        return _Run(load, pool, pool.gpus > 0 if apart is None else apart).outcomes(tasks)

    return stage


@dataclass(slots=True)
class _Slot:
    """One item of the plan and what came of it."""

    found: Outcome | Any = None
    done: bool = False
    sent: bool = False


@dataclass(slots=True)
class _Chunk:
    tasks: list[Task] = field(default_factory=list)
    slots: list[_Slot] = field(default_factory=list)
    size: int = 0
    missing: int = 0


class _Run:
    """One job: what is planned, what was sent, what came back."""

    def __init__(self, load: Callable[[], Any], pool: Pool, apart: bool) -> None:
        self._load, self._pool, self._apart = load, pool, apart
        self._ray: Any = None
        self._plan: Any = None
        self._results: Any = None
        self._pending = _Chunk()
        self._sent: dict[int, _Chunk] = {}
        self._next = 0  # number of the next chunk
        self._round, self._round_end = _FIRST, 0
        self._ahead = 8
        self._ended = False
        self._untaken = 0  # images sent, or about to be, whose outcomes are not taken

    def outcomes(self, tasks: Iterator[Task | Any]) -> Generator[Any, None, None]:
        """Outcomes in the order of their tasks; what the tasks raise is raised after the rest."""
        window: deque[_Slot] = deque()
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

    def _room(self, window: deque[_Slot]) -> bool:
        sent = sum(chunk.size for chunk in self._sent.values())
        few = self._untaken < self._ahead * workers.CHUNK and len(window) < _WINDOW
        return few and sent < _SENT_BYTES

    def _take(self, item: Task | Any, window: deque[_Slot]) -> None:
        if not callable(item):
            window.append(_Slot(item, done=True))
            return
        slot = _Slot(sent=True)
        window.append(slot)
        self._untaken += 1
        self._pending.tasks.append(item)
        self._pending.slots.append(slot)
        self._pending.size += _size(item)
        full = len(self._pending.tasks) >= workers.CHUNK
        if full or self._pending.size >= workers.PIECE_BYTES:
            self._send()

    def _send(self) -> None:
        if self._plan is None:
            self._connect()
        chunk, self._pending = self._pending, _Chunk()
        chunk.missing = len(chunk.slots)
        self._plan.put.remote(self._next, chunk.tasks)
        chunk.tasks = []
        self._sent[self._next] = chunk
        self._next += 1

    def _connect(self) -> None:
        self._ray = ray = cluster.connect(self._pool.address)
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        # With this process, not on a node that may go: the plan is what a dead worker's chunks are
        # taken from again.
        self._plan = ray.remote(workers.Plan).options(num_cpus=0, scheduling_strategy=here).remote()
        self._ahead = 4 * self._most() + 4

    def _most(self) -> int:
        if self._pool.workers is not None:
            return self._pool.workers[1]
        found = self._ray.cluster_resources()
        gpus = self._pool.gpus
        return max(int(found.get("GPU", 0) / gpus if gpus else found.get("CPU", 1)), 1)

    # -- receiving -----------------------------------------------------------------------------

    def _receive(self) -> None:
        """Wait for a block of outcomes and put them into their slots."""
        try:
            if self._results is None:
                self._results = self._start()
            block = next(self._results, None)
        except CxrError:
            raise
        except Exception as error:
            raise self._told(error) from error
        if block is None:
            self._results = None
            lost = [number for number in self._sent if number < self._round_end]
            if lost:
                raise ClusterUnavailable(
                    f"Ray gave back nothing for {len(lost)} chunks of images; what was written "
                    "stays, the same command goes on from there"
                )
            return
        for number, place, found in workers.piece_of(block):
            chunk = self._sent.get(number)
            if chunk is None or chunk.slots[place].done:
                continue  # done twice, after a worker died
            chunk.slots[place].found, chunk.slots[place].done = found, True
            chunk.missing -= 1
            if not chunk.missing:
                del self._sent[number]
                self._plan.drop.remote(number)

    def _start(self) -> Generator[workers.Block, None, None]:
        """Begin a round: permits for so many chunks, through the pool of actors."""
        import ray.data

        _settle()
        numbers = [{"permit": self._round_end + number} for number in range(self._round)]
        self._round_end += self._round
        permits = ray.data.from_items(numbers, override_num_blocks=self._round)
        self._round = min(self._round * _FACTOR, _MOST)
        fewest = self._pool.workers[0] if self._pool.workers else 1
        pool: dict[str, Any] = {
            "compute": ray.data.ActorPoolStrategy(min_size=fewest, max_size=self._most()),
            "batch_size": None,
        }
        pool |= {"num_gpus": self._pool.gpus} if self._pool.gpus else {"num_cpus": 1}
        if self._apart:
            opened = permits.map_batches(
                workers.open_chunks, fn_args=(self._plan,), batch_size=None, num_cpus=1
            )
            found = opened.map_batches(workers.Encode, fn_constructor_args=(self._load,), **pool)
        else:
            given = (self._load, self._plan)
            found = permits.map_batches(workers.OpenAndEncode, fn_constructor_args=given, **pool)
        batches = found.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0)
        results: Generator[workers.Block, None, None] = iter(batches)
        return results

    def _told(self, error: Exception) -> BaseException:
        """An error of Ray as one of ours."""
        found = cluster.fault(error)
        if isinstance(found, CxrError):
            return found
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        return ClusterUnavailable(
            f"the work on Ray failed: {lines[-1][:300] if lines else type(error).__name__}; what "
            "was written stays, the same command goes on from there"
        )

    def _close(self) -> None:
        """Let the workers go: those that wait for a chunk get none, then the pool ends."""
        plan, self._plan = self._plan, None
        results, self._results = self._results, None
        if plan is not None:
            plan.close.remote(forget=True)
        if results is not None:
            results.close()
        if plan is not None:
            self._ray.kill(plan)


def _size(task: Task) -> int:
    """Bytes of pixels that travel with a task; a file's stay where they are."""
    for argument in getattr(task, "args", ()):
        pixels = getattr(argument, "pixels", None)
        if pixels is not None:
            return int(pixels.nbytes)
    return 0


def _settle() -> None:
    """Progress is the job's to tell, and a worker that dies while it starts is replaced."""
    from ray.data import DataContext

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_consecutive_actor_init_deaths = workers.TRIES
