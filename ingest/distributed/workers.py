"""What runs on the workers of a cluster: images opened and encoded, chunk by chunk.

Knows nothing of the gallery: what a worker made is nothing until the one process that commits has
it, so that a worker that dies, or does its work twice, loses and doubles nothing.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.job.pipeline import Opened, Outcome, Task
from store import ClusterUnavailable, EncoderMismatch

if TYPE_CHECKING:
    from ingest.encoders import Encoder
    from ingest.job.run import ImageEncoder

#: Images per chunk, and bytes of pixels that one worker encodes at once.
CHUNK = 128
PIECE_BYTES = 24 << 20

#: How often a chunk is tried: a film may kill the process that decodes it, every time.
TRIES = 5

#: Seconds that a chunk may take before those who wait for another make way: after a worker died,
#: its chunk may be waiting behind one of them.
WAY = 5.0

#: Images that travel together: number of the chunk, place in it, what came of it.
Piece = list[tuple[int, int, Outcome]]
#: A block of Ray Data: ``parcel``, objects, one row per piece.
Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A piece as one value, which Ray Data neither divides nor joins with others."""

    piece: Piece


@dataclass(frozen=True, slots=True)
class EncoderCall:
    """How a worker loads the encoder of a job, and how it knows that it is that one.

    Attributes:
        name: as ``load_encoder`` takes it.
        fingerprint: what the loaded one must have.
        device: e.g. ``cuda``; the worker's best when ``None``.
    """

    name: str
    fingerprint: str
    device: str | None = None

    @classmethod
    def of(cls, encoder: Encoder, device: str | None = None) -> EncoderCall:
        """For an encoder of this process: by its name, or by its folder where it has no name."""
        from ingest.encoders import load_encoder
        from store import EncoderUnavailable

        try:
            if load_encoder(encoder.name).fingerprint == encoder.fingerprint:
                return cls(encoder.name, encoder.fingerprint, device)
        except EncoderUnavailable:
            pass  # a folder's encoder is called by the folder's last part
        _, mark, precision = encoder.name.partition("@")
        return cls(f"{encoder.folder}{mark}{precision}", encoder.fingerprint, device)

    def __call__(self) -> ImageEncoder:
        """Load it. EncoderMismatch when this machine has another one by that name."""
        from ingest.encoders import load_encoder

        encoder = load_encoder(self.name, device=self.device)
        if encoder.fingerprint != self.fingerprint:
            raise EncoderMismatch(
                f"a worker found encoder {encoder.stamp} by the name {self.name!r}, but the job "
                f"uses one with fingerprint {self.fingerprint[:12]}; install the same version of "
                "cxr-retrieval, and put the same encoder, on every node"
            )
        return encoder


class Plan:
    """Chunks of tasks, kept until their outcomes have arrived; an actor.

    Workers come with permits, not with numbers of chunks: a chunk goes to whoever asks first, so
    that none waits behind a worker that waits for work. A permit that comes again, after its
    worker died, gets the chunk that it had. So that it can come, those that wait are sent away.
    """

    def __init__(self) -> None:
        self._chunks: dict[int, Sequence[Task]] = {}
        self._free: deque[int] = deque()
        self._given: dict[int, int] = {}
        self._first = 0
        self._begun = False
        self._tried: Counter[int] = Counter()
        self._since: dict[int, float] = {}  # when a chunk that is on its way was given out
        self._closed = False
        self._changed = asyncio.Condition()

    async def put(self, number: int, tasks: Sequence[Task]) -> None:
        """One more chunk. They are given out in the order in which they come."""
        async with self._changed:
            self._chunks[number] = tasks
            self._free.append(number)
            self._changed.notify_all()

    async def close(self, *, forget: bool = False) -> None:
        """There are no more chunks: whoever waits for one need not; none at all, to forget."""
        async with self._changed:
            self._closed = True
            if forget:
                self._free.clear()
                self._chunks.clear()
            self._changed.notify_all()

    async def again(self, first: int) -> None:
        """Give out anew what has not arrived; permits before the first get nothing any more."""
        async with self._changed:
            self._first, self._begun = first, False
            self._given.clear()
            self._since.clear()
            self._free = deque(sorted(self._chunks))
            self._changed.notify_all()

    async def begun(self) -> bool:
        """Whether anyone came for a chunk, since the start or since they are given out anew."""
        return self._begun

    async def get(self, permit: int) -> tuple[int, Sequence[Task]]:
        """A chunk's number and tasks; no tasks for who is not to wait, or whose have arrived.

        Raises:
            ClusterUnavailable: it was given out too often, so it is what kills the workers.
        """
        async with self._changed:
            self._begun = self._begun or permit >= self._first
            while not (permit in self._given or self._free or self._closed or permit < self._first):
                if self._late():
                    return -1, ()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), WAY / 5)
            if permit < self._first:
                return -1, ()
            if permit not in self._given:
                if not self._free:
                    return -1, ()
                self._given[permit] = self._free.popleft()
        number = self._given[permit]
        tasks = self._chunks.get(number, ())
        if tasks:
            self._since[number] = time.monotonic()
        self._tried[number] += 1
        if tasks and self._tried[number] > TRIES:
            raise ClusterUnavailable(
                f"{TRIES} workers died over the same {len(tasks)} images, the first of them "
                f"{source_of(tasks[0])}; look at the memory of the nodes, and at these files"
            )
        return number, tasks

    async def drop(self, number: int) -> None:
        """All outcomes of a chunk have arrived."""
        self._chunks.pop(number, None)
        self._tried.pop(number, None)
        self._since.pop(number, None)

    def _late(self) -> bool:
        """Whether a chunk is on its way for long."""
        return min(self._since.values(), default=math.inf) < time.monotonic() - WAY


def source_of(task: Task) -> str:
    """Which image a task opens, for messages."""
    for argument in getattr(task, "args", ()):
        source = getattr(argument, "source", None)
        if source is not None:
            return str(source)
    return "?"


def opened(plan: Any, permit: int) -> Iterator[Piece]:
    """Open the images of one chunk, in pieces that are small enough to hold."""
    import ray

    piece: Piece = []
    size = 0
    number, tasks = ray.get(plan.get.remote(permit))
    for place, task in enumerate(tasks):
        found = task()
        piece.append((number, place, found))
        size += found.pixels.nbytes if isinstance(found, Opened) else 0
        if size >= PIECE_BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def encoded(piece: Piece, encoder: ImageEncoder) -> Piece:
    """Give the opened images of a piece their vectors, and let their pixels go."""
    waiting = [found for _, _, found in piece if isinstance(found, Opened)]
    if waiting:
        vectors = encoder.encode_images([one.pixels for one in waiting])
        for one, vector in zip(waiting, vectors, strict=True):
            one.vector, one.pixels = vector, np.empty((0, 0), np.uint8)
    return piece


def block_of(piece: Piece) -> Block:
    """A piece as Ray Data carries it."""
    parcels = np.empty(1, object)
    parcels[0] = Parcel(piece)
    return {"parcel": parcels}


def piece_of(block: Mapping[str, Any]) -> Piece:
    """The same back."""
    return [one for parcel in block["parcel"] for one in parcel.piece]


def open_chunks(block: Mapping[str, Any], plan: Any) -> Iterator[Block]:
    """Ray Data: permits to opened images, on workers without an accelerator."""
    for permit in block["permit"]:
        for piece in opened(plan, int(permit)):
            yield block_of(piece)


class Encode:
    """Ray Data: opened images to vectors, on an actor that holds the model."""

    def __init__(self, load: Callable[[], ImageEncoder]) -> None:
        self._load = load

    @cached_property
    def _encoder(self) -> ImageEncoder:
        return self._load()  # not at the start: what it refuses could not be told from a crash

    def __call__(self, block: Mapping[str, Any]) -> Block:
        """One block in, the same block with vectors out."""
        return block_of(encoded(piece_of(block), self._encoder))


class OpenAndEncode:
    """Ray Data: permits to vectors, on an actor that holds the model."""

    def __init__(self, load: Callable[[], ImageEncoder], plan: Any) -> None:
        self._load, self._plan = load, plan

    @cached_property
    def _encoder(self) -> ImageEncoder:
        return self._load()

    def __call__(self, block: Mapping[str, Any]) -> Iterator[Block]:
        """Blocks of outcomes of as many chunks as a block has permits."""
        for permit in block["permit"]:
            for piece in opened(self._plan, int(permit)):
                yield block_of(encoded(piece, self._encoder))
