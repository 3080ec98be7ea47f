"""What travels through an ingestion until there is a vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: 8-bit pixels, grey (height, width) or RGB (height, width, 3).
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class ImageRecord:
    """One image with its metadata, before it has a vector.

    Attributes:
        id: unique in the gallery, e.g. ``pneumoniamnist/test/17``.
        pixels: uint8, (height, width) grey or (height, width, 3) RGB; bright is dense tissue.
        sha256: 32 bytes, digest of the source.
        labels: the findings; empty means not labelled.
        age: years.
        source: where the pixels came from.
    """

    id: str
    pixels: Pixels
    sha256: bytes
    labels: tuple[str, ...] = ()
    split: str | None = None
    dataset: str | None = None
    patient: str | None = None
    view: str | None = None
    sex: str | None = None
    age: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Rejection:
    """An image that was refused.

    Attributes:
        source: which one.
        reason: a short code, e.g. ``unreadable``.
        detail: one sentence for a person.
    """

    source: str
    reason: str
    detail: str
