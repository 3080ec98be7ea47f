"""Small galleries for the store's tests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from store import EncoderStamp, Gallery, Row, Vectors
from store.mirror.snapshot import Snapshot
from store.table import lance

DIMENSION = 8
STAMP = EncoderStamp("tiny", "ab" * 32, DIMENSION)
OTHER = EncoderStamp("other", "cd" * 32, DIMENSION)


def unit(vectors: object) -> Vectors:
    matrix = np.asarray(vectors, np.float64)
    return (matrix / np.linalg.norm(matrix, axis=-1, keepdims=True)).astype(np.float32)


def random_vectors(count: int, seed: int = 0, dimension: int = DIMENSION) -> Vectors:
    return unit(np.random.default_rng(seed).normal(size=(count, dimension)))


def make_rows(
    vectors: Vectors,
    labels: Sequence[tuple[str, ...]] | None = None,
    prefix: str = "set/test/",
    **columns: object,
) -> list[Row]:
    return [
        Row(
            id=f"{prefix}{i}",
            sha256=hashlib.sha256(vector.tobytes()).digest(),
            embedding=vector,
            labels=labels[i] if labels else (("normal", "pneumonia")[i % 2],),
            **{"split": "test", "dataset": "set", "thumbnail": b"png", **columns},  # type: ignore[arg-type]
        )
        for i, vector in enumerate(vectors)
    ]


def table_of(gallery: Gallery) -> Any:
    """A handle of its own on a gallery's LanceDB table, at the newest version."""
    return lance.open_version(gallery.uri)


def mirror_of(gallery: Gallery) -> Snapshot:
    """The mirror that a gallery answers from."""
    return gallery.read_mirror("a test", lambda snapshot: snapshot)


def small_gallery(folder: Path, count: int = 20) -> Gallery:
    """A gallery of so many rows, answering from its newest version."""
    gallery = Gallery.create(folder, STAMP)
    gallery.upsert(make_rows(random_vectors(count)))
    gallery.refresh()
    return gallery
