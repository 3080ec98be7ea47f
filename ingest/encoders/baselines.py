"""Raw-pixel baseline: the retrieval that similarity of plain pixels alone achieves."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from store import BadImage, Vectors

if TYPE_CHECKING:
    from PIL import Image

#: Thumbnails are compared at this side length.
SIDE = 28
#: What ``--encoder`` calls raw pixels, and the identity of their vectors.
NAME = "raw-pixels"
FINGERPRINT = hashlib.sha256(b"cxr raw pixels 1: 28 x 28, grey, mean-centred").hexdigest()


def pixel_vectors(thumbnails: Sequence[bytes]) -> Vectors:
    """Mean-centred grey pixels as vectors, so that their cosine is a correlation of images.

    Args:
        thumbnails: image files' bytes (PNG or JPEG), of any size.

    Returns:
        float32 (n, 784), unit rows; see vectors_of.

    Raises:
        BadImage: bytes that are not an image.
    """
    from PIL import Image, UnidentifiedImageError

    def grey() -> Iterator[Image.Image]:
        for row, data in enumerate(thumbnails):
            try:
                with Image.open(io.BytesIO(data)) as image:
                    yield image.convert("L")
            except (UnidentifiedImageError, OSError) as error:
                raise BadImage("unreadable", f"thumbnail {row} is not an image: {error}") from error

    return vectors_of(grey(), len(thumbnails))


def vectors_of(images: Iterable[Image.Image], count: int) -> Vectors:
    """Mean-centred grey pixels of the images' centre squares.

    Args:
        images: grey ones, of any size.
        count: how many.

    Returns:
        float32 (n, 784), unit rows. An image of one flat colour has no pattern: its vector is that
        of equal parts, at a right angle to all others.
    """
    from PIL.Image import Resampling

    flat = np.zeros((count, SIDE * SIDE), np.float32)
    for row, grey in enumerate(images):
        if grey.size != (SIDE, SIDE):
            grey = _square(grey).resize((SIDE, SIDE), Resampling.BICUBIC)  # noqa: PLW2901
        flat[row] = np.asarray(grey, np.float32).ravel()
    flat -= flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    nothing = np.full_like(flat, 1 / SIDE)
    unit: Vectors = np.divide(flat, lengths, out=nothing, where=lengths > 0)
    return unit


def _square(image: Image.Image) -> Image.Image:
    """The centre square of an image, as PneumoniaMNIST was cut from its films."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


#: The floor that evaluations are measured beside, by the name that they give it.
BASELINES = {"raw_pixels": pixel_vectors}
