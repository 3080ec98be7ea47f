"""Workers of a cluster: they open and encode images, chunk by chunk.

Knows nothing of the gallery: what a worker made is nothing until the one process that commits has
it, so that a worker that dies, or does its work twice, loses and doubles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ingest.job.pipeline import Opened, Outcome, Task
from store import EncoderMismatch

if TYPE_CHECKING:
    from ingest.encoders import Encoder
    from ingest.job.protocols import ImageEncoder

#: Images per chunk, and bytes of pixels that a worker holds or encodes at once.
CHUNK = 128
PIECE_BYTES = 24 << 20


@dataclass(frozen=True, slots=True)
class EncoderCall:
    """Call that loads a job's encoder on a worker, and the fingerprint it must have.

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
        return cls(encoder.stamp.address, encoder.fingerprint, device)

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


class Worker:
    """An actor that opens images, encodes them, or both; it holds the model then.

    Tasks come with the places of those that it is to do, and it does as many as it can hold.
    """

    def __init__(self, load: Callable[[], ImageEncoder]) -> None:
        self._load = load

    @cached_property
    def _encoder(self) -> ImageEncoder:
        return self._load()  # not at the start: what it refuses could not be told from a crash

    def node(self) -> str:
        """The id of the node on which it runs."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def open(self, tasks: Sequence[Task], first: int, last: int) -> tuple[int, list[Outcome]]:
        """Open images of a chunk, as many as PIECE_BYTES hold; how many, and what came of them."""
        found: list[Outcome] = []
        size = 0
        for task in tasks[first:last]:
            outcome = task()
            found.append(outcome)
            size += outcome.pixels.nbytes if isinstance(outcome, Opened) else 0
            if size >= PIECE_BYTES:
                break
        return len(found), found

    def encode(self, found: list[Outcome]) -> list[Outcome]:
        """Give opened images their vectors, and let their pixels go."""
        waiting = [one for one in found if isinstance(one, Opened)]
        if waiting:
            vectors = self._encoder.encode_images([one.pixels for one in waiting])
            for one, vector in zip(waiting, vectors, strict=True):
                one.vector, one.pixels = vector, np.empty((0, 0), np.uint8)
        return found

    def work(self, tasks: Sequence[Task], first: int, last: int) -> list[Outcome]:
        """Open and encode images of a chunk, as many as PIECE_BYTES hold."""
        return self.encode(self.open(tasks, first, last)[1])
