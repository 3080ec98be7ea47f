"""Reader of TIFF files of more than 8 bits.

tifffile tells what the file holds. What its strips and tiles are packed with, libtiff unpacks, as
Pillow has it: faster codecs for LZW read beyond the end of damaged data. Pillow itself would make 8
bits of most of these files; so libtiff is given another directory for the same strips, in which
every byte is a pixel, and the bytes become samples here.
"""

from __future__ import annotations

import contextlib
import io
import logging
import struct
from collections.abc import Sequence
from functools import cache
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

#: libtiff's photometric interpretations: low is white, low is black, RGB.
MIN_IS_WHITE, MIN_IS_BLACK, RGB = 0, 1, 2
_UNASSOCIATED = 2
_PLAIN = 1
#: Packings that are read: LZW, two names of deflate, PackBits.
_PACKED = (5, 8, 32946, 32773)
_DIFFERENCES, _FLOAT_DIFFERENCES = 2, 3
#: Bits of a sample that numpy has a type for.
_WHOLE = (16, 32, 64)
#: A tile of more pixels is a bomb; an image has at most as many.
_LARGEST_TILE = 64_000_000


@cache
def _tifffile() -> Any:
    """tifffile, with its messages about damaged files off."""
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
    return tifffile


def first_page(file: BinaryIO) -> Any:
    """The directory of a file's first image, by tifffile; None when that is damaged."""
    with contextlib.suppress(Exception):  # damaged in one of many ways, which Pillow will name
        return _tifffile().TiffFile(file, name="film.tif").pages.first
    return None


def bits_of(page: Any) -> int:
    """Bits of a sample; the most, where they differ."""
    bits = page.bitspersample
    return int(max(bits) if isinstance(bits, tuple) else bits)


def unread(page: Any) -> str | None:
    """The feature of a deep image that is not supported, in a few words; None without one."""
    expected = {MIN_IS_WHITE: (1, 2), MIN_IS_BLACK: (1, 2), RGB: (3, 4)}
    bits, samples = bits_of(page), page.samplesperpixel
    if samples not in expected.get(int(page.photometric), ()):
        name = getattr(page.photometric, "name", page.photometric)
        return f"photometric interpretation {name}, {samples} samples of {bits} bits"
    if page.compression not in (_PLAIN, *_PACKED):
        return f"compression {getattr(page.compression, 'name', page.compression)}, {bits} bits"
    kind = page.dtype.kind if page.dtype is not None else ""
    if isinstance(page.bitspersample, tuple) or page.fillorder != 1:
        return f"samples of {page.bitspersample} bits, fill order {int(page.fillorder)}"
    if kind not in ("u", "i", "f") or (bits not in _WHOLE and (kind != "u" or bits > 16)):
        return f"samples of {bits} bits, sample format {page.sampleformat}"
    if page.is_tiled and page.tilewidth * page.tilelength > _LARGEST_TILE:
        return f"tiles of {page.tilewidth} x {page.tilelength}"
    if page.predictor not in (1, _DIFFERENCES, _FLOAT_DIFFERENCES):
        return f"predictor {page.predictor}"
    return None


def is_inverted(page: Any) -> bool:
    """Whether low is white in the file itself."""
    return int(page.photometric) == MIN_IS_WHITE


def samples_of(page: Any, data: bytes, *, as_stored: bool = False) -> Samples:
    """The samples of a supported image; low is white in none of them.

    Args:
        page: the image's directory.
        data: the file.
        as_stored: the file's own samples, also where low is white.

    Returns:
        (height, width), or (height, width, samples) where a pixel has several.

    Raises:
        EOFError: the file is cut short.
        Exception: whatever Pillow stumbles over.
    """
    planar = page.samplesperpixel > 1 and page.planarconfig == 2
    planes = page.samplesperpixel if planar else 1
    places, counts = page.dataoffsets, page.databytecounts
    if any(at + count > len(data) for at, count in zip(places, counts, strict=True)):
        raise EOFError("truncated: strips lie beyond the end of the file")
    each = len(places) // planes
    if not each or each * planes != len(places):
        raise ValueError(f"{len(places)} strips for {planes} planes")
    parts = [slice(number * each, (number + 1) * each) for number in range(planes)]
    found = [_plane(page, data, places[part], counts[part], planar) for part in parts]
    samples = np.stack(found, axis=-1) if planar else found[0]
    if is_inverted(page) and not as_stored:
        samples = _inverted(samples, bits_of(page))
    return samples


def has_straight_alpha(page: Any) -> bool:
    """Whether colours have not been multiplied by alpha yet."""
    return bool(page.extrasamples) and page.extrasamples[0] == _UNASSOCIATED


def _plane(
    page: Any, data: bytes, places: Sequence[int], counts: Sequence[int], planar: bool
) -> Samples:
    """One plane, or the only one: (height, width) or (height, width, samples)."""
    height, width = page.imagelength, page.imagewidth
    samples = 1 if planar else page.samplesperpixel
    columns, rows = (page.tilewidth, page.tilelength) if page.is_tiled else (width, height)
    across, down = -(-width // columns), -(-height // rows)
    size = -(-columns * samples * bits_of(page) // 8)
    if page.is_tiled:
        if len(places) != across * down:
            raise ValueError(f"{len(places)} tiles, expected {across * down}")
        lines, step = rows * across * down, rows
    else:
        step = min(page.rowsperstrip, height)
        lines = height
        if len(places) != -(-height // step):
            raise ValueError(f"{len(places)} strips, expected {-(-height // step)}")
    if page.compression == _PLAIN:
        flat = b"".join(data[at : at + count] for at, count in zip(places, counts, strict=True))
        if len(flat) < size * lines:
            raise EOFError("truncated: the strips are too short")
        packed = np.frombuffer(flat, np.uint8, size * lines).reshape(lines, size)
    else:
        packed = _unpacked(data, int(page.compression), size, lines, step, places, counts)
    values = _values(page, packed, columns, samples)
    if page.is_tiled:
        tiles = values.reshape(down, across, rows, columns, samples).swapaxes(1, 2)
        values = tiles.reshape(down * rows, across * columns, samples)[:height, :width]
    return values[..., 0] if samples == 1 else values


def _unpacked(
    data: bytes,
    compression: int,
    width: int,
    height: int,
    rows: int,
    places: Sequence[int],
    counts: Sequence[int],
) -> Bytes:
    """The bytes of strips, (height, width), by libtiff.

    Args:
        data: the file.
        compression: its number.
        width: bytes of a row.
        height: rows in all.
        rows: of a strip; the last may have fewer.
        places: where the strips begin.
        counts: their bytes.
    """
    from PIL.TiffImagePlugin import TiffImageFile

    end = len(data) + len(data) % 2
    number = len(places)
    lists = end + 2 + 12 * 9 + 4
    first, second = (lists, lists + 4 * number) if number > 1 else (places[0], counts[0])
    tags = [(256, width), (257, height), (258, 8), (259, compression), (262, MIN_IS_BLACK)]
    entries = [(tag, 4, 1, value) for tag, value in tags]
    entries += [(273, 4, number, first), (277, 4, 1, 1), (278, 4, 1, rows)]
    entries += [(279, 4, number, second)]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    if number > 1:
        directory += struct.pack(f"<{2 * number}I", *places, *counts)
    whole = b"II*\0" + struct.pack("<I", end) + data[8:] + bytes(end - len(data)) + directory
    # Not Image.open, which counts these bytes as pixels of a bomb.
    with TiffImageFile(io.BytesIO(whole)) as image:
        image.load()
        return np.asarray(image)


def _values(page: Any, packed: Bytes, columns: int, samples: int) -> Samples:
    """Rows of bytes as rows of samples, (rows, columns, samples), in this machine's order."""
    bits, order, kind = bits_of(page), page.parent.byteorder, page.dtype.kind
    rows, shape = len(packed), (len(packed), columns, samples)
    if bits not in _WHOLE:
        places = np.unpackbits(packed, axis=1)[:, : columns * samples * bits]
        weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
        values = (places.reshape(rows, -1, bits) * weights).sum(axis=2, dtype=np.uint16)
        return (
            _summed(values.reshape(shape))
            if page.predictor == _DIFFERENCES
            else values.reshape(shape)
        )
    if page.predictor == _FLOAT_DIFFERENCES:
        # The bytes of a row by their rank, highest first, each the difference to the one before.
        wide = bits // 8
        summed = np.add.accumulate(packed.reshape(rows, -1, samples), axis=1, dtype=np.uint8)
        ranks = summed.reshape(rows, wide, columns * samples).swapaxes(1, 2)
        return (
            np.ascontiguousarray(ranks)
            .view(f">{kind}{wide}")
            .astype(f"{kind}{wide}")
            .reshape(shape)
        )
    numbers = np.ascontiguousarray(packed).view(f"{order}u{bits // 8}").reshape(shape)
    if page.predictor == _DIFFERENCES:
        numbers = _summed(numbers)
    return numbers.astype(f"u{bits // 8}", copy=False).view(f"{kind}{bits // 8}")


def _summed(differences: Samples) -> Samples:
    """Samples of which each was stored as the difference to the one on its left."""
    native = differences.astype(differences.dtype.newbyteorder("="), copy=False)
    return np.add.accumulate(native, axis=1, dtype=native.dtype)


def _inverted(samples: Samples, bits: int) -> Samples:
    """Samples with low for high; alpha, where there is one, as it is."""
    grey = samples[..., 0] if samples.ndim == 3 else samples
    turned = ~grey if grey.dtype.kind == "i" else -grey  # of signed whole numbers without overflow
    if grey.dtype.kind == "u":
        turned = np.asarray((1 << bits) - 1, grey.dtype) - grey
    return turned if samples.ndim == 2 else np.dstack([turned, samples[..., 1]])
