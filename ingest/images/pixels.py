"""Arithmetic on 8-bit pixels: size limits, scaling, contrast, thumbnails and digests."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ingest.images.tones import stretch, value_range
from ingest.record import Pixels
from store import BadImage, give_back

#: Largest image that is decoded, in pixels. A film has 10 to 16 million.
MAX_PIXELS = 64_000_000
#: An image whose sides differ by more than this many times is no film. An encoder that makes the
#: shorter side its own would blow such a strip up to thousands of millions of pixels.
MAX_RATIO = 20
#: Longest side of a thumbnail, in pixels.
THUMBNAIL_SIDE = 256
#: Values of 16 bits.
_ENTRIES = 1 << 16
#: With more than this part of the pixels of one value, nothing is to be seen.
_BLANK = 0.99
#: The shorter side that is kept, at least, when an image is made smaller by a whole number.
_KEPT = 512
#: Pixels worked at in one go, where NumPy would make a wide copy of them.
_BLOCK = 1 << 20
#: Pixels that are counted in one go: OpenCV counts in float32, which is exact up to here.
_COUNTS = 1 << 24
#: Held while a large image is read or decoded: one at a time, so that memory stays bounded
#: however many threads decode.
LARGE = threading.RLock()
#: Limits of a large image, in pixels and in bytes. An image with more pixels is halved until it has
#: fewer, here, so that a query and a stored film of the same bytes are still the same pixels.
LARGE_PIXELS = 20_000_000
LARGE_BYTES = 40 << 20


@contextmanager
def large_alone(pixels: int, size: int = 0) -> Iterator[None]:
    """Wait until no other large image is in work, when this is one.

    Args:
        pixels: how many it has.
        size: of its file, in bytes.
    """
    if pixels <= LARGE_PIXELS and size <= LARGE_BYTES:
        yield
        return
    with LARGE:
        try:
            yield
        finally:
            give_back()


def check_size(width: int, height: int, name: str) -> None:
    """Refuse an image that would be too large to decode, before it is decoded."""
    if width * height > MAX_PIXELS:
        raise BadImage("too_large", too_large(name, f"{width} x {height} pixels"))
    if max(width, height) > MAX_RATIO * max(min(width, height), 1):
        raise BadImage(
            "strip",
            f"{name} is a strip of {width} x {height} pixels; the sides of a film differ by less "
            f"than {MAX_RATIO} times",
        )


def too_large(name: str, detail: str) -> str:
    """The message for a film of too many pixels."""
    return f"{name} is too large ({detail}); at most {MAX_PIXELS // 10**6} million pixels are read"


def to_8_bit(values: npt.NDArray[Any], name: str) -> Pixels:
    """Values of any depth to 0..255, over the range that ``ingest.images.tones.value_range`` gives.

    8 bits stay as they are.

    Args:
        values: (height, width) or (height, width, 3); the colours of one image share its range.
        name: of the file, for messages.

    Raises:
        BadImage: ``bad_values``, when NaN or infinity is among them.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise BadImage("bad_values", f"{name} holds NaN or infinite values; expected numbers")
    if values.dtype.kind in "iu":
        lowest, highest = int(values.min()), int(values.max())
        if highest - lowest < _ENTRIES:
            # A table of what becomes of each value: exact, and no film in float64.
            below = lowest if highest >= _ENTRIES or lowest < 0 else 0
            index = values if below == 0 else values - np.asarray(below, values.dtype)
            index = index.astype(np.uint16, copy=False)
            counts = counted(index)
            present = np.flatnonzero(counts)
            low, high = value_range(present + below, counts[present])
            return looked_up(stretch(np.arange(_ENTRIES) + below, low, high), index)
    low, high = value_range(*np.unique(values, return_counts=True))
    pixels = np.empty(values.shape, np.uint8)
    step = max(1, _BLOCK // max(values[0].size, 1))
    for start in range(0, len(values), step):
        pixels[start : start + step] = stretch(values[start : start + step], low, high)
    return pixels


@cache
def _cv2() -> Any:
    """OpenCV, in one thread: several films are decoded at once already."""
    import cv2

    cv2.setNumThreads(1)
    return cv2


def counted(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Histogram of values of 8 or 16 bits; int64 (256,) or (65536,)."""
    entries = 1 << (8 * values.dtype.itemsize)
    flat = np.ascontiguousarray(values).reshape(-1, values.shape[-1])
    counts = np.zeros(entries, np.int64)
    step = max(1, _COUNTS // flat.shape[-1])
    for start in range(0, len(flat), step):
        part = flat[start : start + step]
        found = _cv2().calcHist([part], [0], None, [entries], [0, entries])
        counts += found.ravel().astype(np.int64)
    return counts


def looked_up(table: Pixels, index: npt.NDArray[Any]) -> Pixels:
    """``table[index]`` without a wide copy of a whole film's indices.

    Args:
        table: uint8, an entry for each value of the index's type or more.
        index: unsigned, of any shape.
    """
    entries = 1 << (8 * index.dtype.itemsize)
    if index.dtype.kind == "u" and len(table) == entries <= _ENTRIES and index.flags.c_contiguous:
        found: Pixels = _cv2().LUT(index.reshape(-1, index.shape[-1]), table)
        return found.reshape(index.shape)
    found = np.empty(index.shape, np.uint8)
    step = max(1, _BLOCK // max(index.shape[-1], 1))
    for start in range(0, len(index), step):
        found[start : start + step] = table[index[start : start + step]]
    return found


def check_contrast(pixels: Pixels, name: str) -> None:
    """Refuse a film on which nothing is to be seen.

    Raises:
        BadImage: ``no_contrast``, when more than 99 % of the pixels have one value.
    """
    # If there is such a value, the middle one of a few hundred pixels is it.
    flat = pixels.reshape(-1)
    few = np.sort(flat[:: max(1, len(flat) // 997)])
    value = few[len(few) // 2]
    part = np.count_nonzero(flat == value) / len(flat)
    if part > _BLANK:
        raise BadImage(
            "no_contrast",
            f"{name} shows nothing: {part:.1%} of its pixels have the value {value}, expected at "
            f"most {_BLANK:.0%}; pass a film with contrast",
        )


def reduction(height: int, width: int, side: int) -> int:
    """By what whole number an encoder's images are made smaller before they are resized.

    Args:
        height: of the image, in pixels.
        width: the same.
        side: of what the encoder sees; 0 where that is not known.

    Returns:
        1 for images whose shorter side has less than 1,024 pixels. Else as much as leaves it at
        least 512 of them, and at least twice the encoder's side.
    """
    shorter = min(height, width)
    if side <= 0 or shorter < 2 * _KEPT:
        return 1
    return max(1, shorter // max(_KEPT, 2 * side))


def reduced(pixels: Pixels, side: int) -> Pixels:
    """An image averaged over blocks as ``reduction`` says; once more changes nothing."""
    factor = reduction(pixels.shape[0], pixels.shape[1], side)
    return pixels if factor == 1 else np.asarray(Image.fromarray(pixels).reduce(factor))


def halving(pixels: int) -> int:
    """The power of two that divides the sides of an image with this number of pixels."""
    factor = 1
    while pixels > LARGE_PIXELS * factor**2:
        factor *= 2
    return factor


def halved(pixels: Pixels) -> Pixels:
    """A large image with its sides halved as often as needed; others as they are."""
    factor = halving(pixels.shape[0] * pixels.shape[1])
    return pixels if factor == 1 else np.asarray(Image.fromarray(pixels).reduce(factor))


def thumbnail(pixels: Pixels) -> bytes:
    """A PNG for display: 8 bits, longest side 256 or less, no metadata.

    Images that small already are stored as they are, without loss. The same pixels give the same
    bytes.
    """
    image = Image.fromarray(reduced(pixels, 1))
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    # A seventh larger than at the usual level, for a quarter of the time; it was most of decoding.
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def pixels_digest(pixels: npt.NDArray[Any]) -> bytes:
    """sha256 (32 bytes) over an array's dtype, shape and values."""
    digest = hashlib.sha256(f"{pixels.dtype.str}{pixels.shape}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()
