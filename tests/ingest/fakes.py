"""Small sets, a deterministic encoder, and the accidents that tests need."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest import ImageRecord, Rejection, Source
from ingest.images import pixels_digest
from store import EncoderStamp

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
