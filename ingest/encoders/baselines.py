"""Raw-pixel baseline: the retrieval that similarity of plain pixels alone achieves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from store import BadImage, Vectors

if TYPE_CHECKING:
    from PIL import Image

#: Thumbnails are compared at this side length.
SIDE = 28


def pixel_vectors(thumbnails: Sequence[bytes]) -> Vectors:
    """Mean-centred grey pixels as vectors, so that their cosine is a correlation of images.

    Args:
        thumbnails: image files' bytes (PNG or JPEG), of any size.

    Returns:
        float32 (n, 784), unit rows; the row of an image of one flat colour is zero.

    Raises:
        BadImage: bytes that are not an image.
    """
    from PIL import Image, UnidentifiedImageError

    flat = np.zeros((len(thumbnails), SIDE * SIDE), np.float32)
    for row, data in enumerate(thumbnails):
        try:
            with Image.open(io.BytesIO(data)) as image:
                grey = image.convert("L")
        except (UnidentifiedImageError, OSError) as error:
            raise BadImage("unreadable", f"thumbnail {row} is not an image: {error}") from error
        if grey.size != (SIDE, SIDE):
            grey = _square(grey).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        flat[row] = np.asarray(grey, np.float32).ravel()
    flat -= flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    unit: Vectors = np.divide(flat, lengths, out=np.zeros_like(flat), where=lengths > 0)
    return unit


def _square(image: Image.Image) -> Image.Image:
    """The centre square of an image, as PneumoniaMNIST was cut from its films."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


#: The floor that evaluations are measured beside, by the name that they give it.
BASELINES = {"raw_pixels": pixel_vectors}
