"""Galleries of drawn chests, for figures, reports and exports."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ingest.encoders.baselines import pixel_vectors
from store import EncoderStamp, Gallery, Row, Vectors

LABELS = ("normal", "pneumonia")
STAMP = EncoderStamp("drawn", "ab" * 32, 784)


def chest(number: int, *, ill: bool, side: int = 28) -> npt.NDArray[np.uint8]:
    """Two dark lungs on grey; an ill one has a bright patch. Every number is another film."""
    random = np.random.default_rng([number, ill])
    film = Image.new("L", (112, 112), 150)
    draw = ImageDraw.Draw(film)
    for left in (16, 64):
        shift = int(random.integers(-4, 5))
        draw.ellipse((left + shift, 18, left + 32 + shift, 92), fill=50)
    if ill:
        x, y = random.integers(16, 76), random.integers(40, 70)
        draw.ellipse((x, y, x + 30, y + 26), fill=190)
    small = np.asarray(film.resize((side, side), Image.Resampling.BOX), np.float64)
    noisy = small + random.normal(0, 9, small.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def films(split: str, count: int, *, dataset: str = "pneumoniamnist", **fields: Any) -> list[Row]:
    """Rows whose vectors are their pixels, every third one normal."""
    pictures = [png(chest(hash_of(split) + i, ill=i % 3 > 0)) for i in range(count)]
    vectors = pixel_vectors(pictures)
    return [
        Row(
            **{
                "id": f"{dataset}/{split}/{i}",
                "sha256": hashlib.sha256(pictures[i]).digest(),
                "embedding": vectors[i],
                "labels": (LABELS[int(i % 3 > 0)],),
                "split": split,
                "dataset": dataset,
                "source": f"{split}#{i}",
                "width": 28,
                "height": 28,
                "thumbnail": pictures[i],
                **fields,
            }
        )
        for i in range(count)
    ]


def hash_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:3], "little")


def gallery_of(folder: Path, rows: Sequence[Row] | None = None) -> Gallery:
    """A gallery of these rows; of a small train, val and test split when none are given."""
    gallery = Gallery.create(folder, STAMP)
    if rows is None:
        rows = [*films("test", 15), *films("train", 24), *films("val", 3)]
    # Not in the order of their numbers, so that nobody relies on it.
    gallery.upsert(sorted(rows, key=lambda row: row.sha256))
    gallery.refresh()
    return gallery


class WordEncoder:
    """Understands one word per label: its vector is the mean film of that label."""

    def __init__(self, rows: Sequence[Row], *, supports_text: bool = True) -> None:
        self.stamp = STAMP
        self.supports_text = supports_text
        self._means = {
            label: np.mean([row.embedding for row in rows if label in row.labels], axis=0)
            for label in LABELS
        }

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        found = np.stack([next(self._means[w] for w in LABELS if w in text) for text in texts])
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
