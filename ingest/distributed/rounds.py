"""One round of Ray Data, taken by a thread of its own: who waits for it can leave it at any time.

Imports Ray; for who is connected to it.
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ray.data
from ray.data._internal.execution.execution_callback import ExecutionCallback

from ingest.distributed import workers

if TYPE_CHECKING:
    from ingest.distributed.workers import Block
    from ingest.job.run import ImageEncoder

#: Seconds in which a round that is left must have let its workers go.
_LEAVE = 10.0

_here = threading.local()


class Started(ExecutionCallback):  # type: ignore[misc, unused-ignore]
    """Tells a round what executes it; its workers cannot be ended in another way."""

    def before_execution_starts(self, executor: Any) -> None:
        """Called by Ray Data in the thread that takes the results."""
        if hasattr(_here, "round"):
            _here.round.executor = executor
            executor.shutdown = functools.partial(_shut_down, executor.shutdown)


def _shut_down(shutdown: Callable[..., None], force: bool, exception: Any = None) -> None:
    """End a pool, after an error by killing: a worker that is only let go may keep its core."""
    shutdown(force=force or exception is not None, exception=exception)


class Round:
    """The blocks that a dataset yields, in the order in which they come."""

    def __init__(self, dataset: Any) -> None:
        dataset.context.custom_execution_callback_classes = [Started]
        self.executor: Any = None
        self._dataset = dataset
        self._found: queue.Queue[Block | Exception | None] = queue.Queue(1)
        self._left = threading.Event()
        self._taker = threading.Thread(target=self._take_all, name="cxr-ray", daemon=True)
        self._taker.start()

    def take(self, seconds: float) -> Block | None:
        """The next block, or ``None`` at the end.

        Raises:
            queue.Empty: nothing came within so many seconds.
            Exception: what ended the round.
        """
        found = self._found.get(timeout=seconds)
        if isinstance(found, Exception):
            raise found
        return found

    def leave(self) -> None:
        """End its workers, whatever they do, and forget what they made."""
        self._left.set()
        end = time.monotonic() + _LEAVE
        ending: threading.Thread | None = None
        while self._taker.is_alive() and time.monotonic() < end:
            # In a thread, for Ray waits without an end; more than once, for it starts late.
            if self.executor is not None and (ending is None or not ending.is_alive()):
                ending = threading.Thread(target=self._end, name="cxr-ray-end", daemon=True)
                ending.start()
            self._taker.join(0.05)
        self.executor = None

    def _end(self) -> None:
        executor = self.executor
        if executor is not None:
            executor.shutdown(force=True)

    def _take_all(self) -> None:
        _here.round = self
        last: Exception | None = None
        try:
            batches = self._dataset.iter_batches(
                batch_size=None, batch_format="numpy", prefetch_batches=0
            )
            for block in batches:
                if not self._give(block):
                    return
                del block
        except Exception as error:
            last = error
        self._give(last)

    def _give(self, found: Block | Exception | None) -> bool:
        while not self._left.is_set():
            try:
                self._found.put(found, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


def begin(
    permits: range,
    pool: tuple[int, int],
    gpus: float,
    load: Callable[[], ImageEncoder],
    plan: Any,
    *,
    apart: bool,
) -> Round:
    """Start a pool of actors that take chunks from a plan.

    Args:
        permits: one for every chunk.
        pool: fewest and most actors.
        gpus: of each.
        load: makes the encoder there.
        plan: the actor that holds the chunks.
        apart: decode in tasks of their own.
    """
    _settle()
    numbers = [{"permit": permit} for permit in permits]
    given = ray.data.from_items(numbers, override_num_blocks=len(numbers))
    actors: dict[str, Any] = {
        "compute": ray.data.ActorPoolStrategy(min_size=pool[0], max_size=pool[1]),
        "batch_size": 1,  # Ray wants a number where there are GPUs; a row is a permit or a piece
    }
    # Beside a GPU no core is reserved: those that decode must find one where all have a GPU.
    actors |= {"num_gpus": gpus, "num_cpus": 0} if gpus else {"num_cpus": 1}
    if apart:
        opened = given.map_batches(workers.open_chunks, fn_args=(plan,), batch_size=1, num_cpus=1)
        return Round(opened.map_batches(workers.Encode, fn_constructor_args=(load,), **actors))
    both = (load, plan)
    return Round(given.map_batches(workers.OpenAndEncode, fn_constructor_args=both, **actors))


def _settle() -> None:
    """Progress is the job's to tell, and a worker that dies while it starts is replaced."""
    from ray.data import DataContext

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_consecutive_actor_init_deaths = workers.TRIES
