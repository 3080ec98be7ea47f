"""What a job that works elsewhere keeps of what it sent away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ingest.job.pipeline import Outcome, Task


@dataclass(slots=True)
class Slot:
    """One item of the plan and what came of it."""

    found: Outcome | Any = None
    done: bool = False
    sent: bool = False


@dataclass(slots=True)
class Chunk:
    """Tasks that travel together, and the places that wait for what comes of them."""

    tasks: list[Task] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    size: int = 0
    missing: int = 0


def size_of(task: Task) -> int:
    """Bytes of pixels that travel with a task; a file's stay where they are."""
    for argument in getattr(task, "args", ()):
        pixels = getattr(argument, "pixels", None)
        if pixels is not None:
            return int(pixels.nbytes)
    return 0
