"""Small sets, a deterministic encoder, and the accidents that tests need."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest import ImageRecord, Rejection, Source
from ingest.images.pixels import pixels_digest
from store import EncoderStamp, Gallery

DIMENSION = 12


class FakeEncoder:
    """Vectors that depend on nothing but the pixels; counts what it was given."""

    def __init__(self, fingerprint: str = "ab" * 32, fail_at: int | None = None) -> None:
        self.stamp = EncoderStamp("fake", fingerprint, DIMENSION)
        self.encoded = 0
        self.fail_at = fail_at

    def encode_images(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        if self.fail_at is not None and self.encoded + len(images) > self.fail_at:
            raise RuntimeError("the encoder broke")
        self.encoded += len(images)
        return np.stack([vector_of(pixels) for pixels in images])


@dataclasses.dataclass
class Noting(FakeEncoder):
    """Notes in a folder which process is called; may end it, for good or at its first visit.

    While the folder holds a file ``hold``, nobody gets on.
    """

    folder: Path
    seconds: float = 0.0
    deadly: bytes = b""  # a picture over which the process ends, every time
    fatal: Sequence[int] = ()  # after so many calls one process ends, as if memory was short
    stamp = EncoderStamp("fake", "ab" * 32, DIMENSION)
    encoded, fail_at = 0, None

    def __call__(self) -> Noting:
        return self

    def encode_images(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        (self.folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        for calls in self.fatal:
            killed = self.folder / f"killed.{calls}"
            if len(self.pids()) >= calls and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if any(image.tobytes() == self.deadly for image in images):
            os._exit(9)
        time.sleep(self.seconds)
        while (self.folder / "hold").exists():
            time.sleep(0.02)
        return super().encode_images(images)

    def pids(self) -> list[int]:
        """Of the workers, one entry per call."""
        calls = (path.name.split("-") for path in self.folder.glob("*-*"))
        return [int(pid) for pid, _ in sorted(calls, key=lambda call: int(call[1]))]


def vector_of(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    seed = int.from_bytes(hashlib.sha256(pixels.tobytes()).digest()[:8], "little")
    values = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
    return values / np.linalg.norm(values)


def picture(seed: int, side: int = 6) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)


def record(number: int, *, seed: int | None = None, **metadata: Any) -> ImageRecord:
    pixels = picture(number if seed is None else seed)
    fields = {"labels": ("normal",), "split": "test", "dataset": "toy", **metadata}
    return ImageRecord(
        id=f"toy/test/{number}",
        pixels=pixels,
        sha256=pixels_digest(pixels),
        source=f"toy.npz#test/{number}",
        **fields,
    )


def source(items: Iterable[ImageRecord | Rejection]) -> Source:
    items = list(items)
    return Source("toy", len(items), iter(items))


def write_npz(
    path: Path,
    counts: dict[str, int],
    *,
    side: int = 28,
    channels: int = 1,
    classes: int = 2,
    multi_label: bool = False,
    **replaced: Any,
) -> dict[str, npt.NDArray[Any]]:
    """A small random set in MedMNIST's layout; ``replaced`` arrays go in as they are."""
    rng = np.random.default_rng(7)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for split, count in counts.items():
        shape = (count, side, side) if channels == 1 else (count, side, side, channels)
        arrays[f"{split}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
        arrays[f"{split}_labels"] = (
            rng.integers(0, 2, (count, classes))
            if multi_label
            else rng.integers(0, classes, (count, 1))
        ).astype(np.uint8)
    arrays |= replaced
    np.savez_compressed(path, **{key: value for key, value in arrays.items() if value is not None})
    return arrays


def contents(gallery: Gallery) -> list[tuple[Any, ...]]:
    ids = gallery.ids()
    gallery.refresh()
    ids, rows = gallery.ids(), gallery.rows(gallery.ids())
    pictures = gallery.thumbnails(ids)
    return [
        (repr(dataclasses.replace(rows[id_], batch="", ingested_at=None)), pictures[id_])
        for id_ in ids
    ]
