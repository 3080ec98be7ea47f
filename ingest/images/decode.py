"""Image files to 8-bit pixels, and pixels to thumbnails and digests.

What a file is, its content says; its name is not asked.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from ingest.images import formats
from ingest.images.dicom.body_parts import Choice
from ingest.images.dicom.file import is_dicom
from ingest.images.file_tree import MAX_BYTES, shown
from ingest.images.strangers import unidentified
from ingest.images.tones import stretch, value_range
from ingest.record import Pixels
from store.errors import BadImage
from store.memory import give_back

#: Largest image that is decoded, in pixels. A film has 10 to 16 million.
MAX_PIXELS = 64_000_000
#: An image whose sides differ by more than this many times is no film. An encoder that makes the
#: shorter side its own would blow such a strip up to thousands of millions of pixels.
MAX_RATIO = 20
#: Longest side of a thumbnail, in pixels.
THUMBNAIL_SIDE = 256

_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")
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
#: What counts as large, in pixels and in bytes. An image with more pixels is halved until it has
#: fewer, here, so that a query and a stored film of the same bytes are still the same pixels.
LARGE_PIXELS = 20_000_000
LARGE_BYTES = 40 << 20

# Pillow warns above this and refuses twice as much; its own limit is higher than ours.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def read_image(source: str | Path | bytes, body_part: Choice = "chest") -> Pixels:
    """Decode one PNG, JPEG, JPEG-LS, JPEG 2000, TIFF, WebP, BMP or DICOM image.

    Rotation from EXIF is applied, transparency is laid over black, CMYK and palettes become RGB,
    and colour images whose channels are all equal become grey. What has 8 bits stays as it is;
    deeper values are scaled by ``ingest.images.tones.value_range``; for DICOM see ``ingest.images.dicom.read``. More
    than 20 megapixels are halved, by averages of 2 x 2, until they are less. docs/films.md lists
    the kinds that are read, and who checked them.

    Args:
        source: a path, or the file's bytes.
        body_part: ``any`` takes DICOM films whatever part of the body their headers name.

    Returns:
        uint8 (height, width) grey or (height, width, 3) RGB, read-only or not; bright is dense.

    Raises:
        BadImage: with reason ``missing``, ``not_a_file``, ``unreadable``, ``empty``,
            ``not_an_image``, ``archive``, ``truncated``, ``damaged``, ``too_large``, ``strip``,
            ``multi_frame``, ``unsupported``, ``bad_values``, ``no_contrast``, or one of
            ``ingest.images.dicom.read``.
    """
    if isinstance(source, str | Path):
        name = shown(str(source))
        pixels = decode(read_bytes(Path(source)), name, body_part)
    else:
        name = "the image"
        pixels = decode(source, name, body_part)
    check_contrast(pixels, name)
    return pixels


def read_bytes(path: Path) -> bytes:
    """A file's bytes, or BadImage saying why not."""
    if path.is_dir():
        raise BadImage("not_a_file", f"{path} is a folder; pass an image file")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise BadImage("missing", f"{path} does not exist; check the path") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadImage("unreadable", f"{path} cannot be read ({reason})") from error
    return data


def decode(data: bytes, name: str, body_part: Choice = "chest") -> Pixels:
    """Decode a file's bytes; as read_image, with ``name`` in the messages, whatever it shows."""
    if not data:
        raise BadImage("empty", f"{name} is empty (0 bytes); pass an image file")
    if len(data) > MAX_BYTES:
        raise BadImage(
            "too_large", f"{name} has more than {MAX_BYTES >> 20} MiB; pass a smaller file"
        )
    if is_dicom(data):
        from ingest.images.dicom import read

        return read.decode(data, name, body_part)
    try:
        found = formats.find(data, name)
        if found is not None:
            return _found(found, name)
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            check_size(image.width, image.height, name)
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format != "MPO":  # a phone's JPEG with a second, smaller view
                raise BadImage("multi_frame", f"{name} holds {frames} images; pass a file with one")
            with large_alone(image.width * image.height):
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return _to_pixels(image, name)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage("too_large", _too_large(name, str(error))) from error
    except UnidentifiedImageError as error:
        raise unidentified(data, name) from error
    except BadImage:
        raise
    except MemoryError as error:
        raise BadImage("too_large", _too_large(name, "out of memory")) from error
    except Exception as error:  # decoders raise whatever a damaged file makes them stumble over
        short = any(word in str(error).lower() for word in ("truncated", "end of", "eof"))
        reason = "truncated" if short else "damaged"
        raise BadImage(
            reason, f"{name} is {reason} ({error}); get a complete copy of the file"
        ) from error


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
        raise BadImage("too_large", _too_large(name, f"{width} x {height} pixels"))
    if max(width, height) > MAX_RATIO * max(min(width, height), 1):
        raise BadImage(
            "strip",
            f"{name} is a strip of {width} x {height} pixels; the sides of a film differ by less "
            f"than {MAX_RATIO} times",
        )


def _too_large(name: str, detail: str) -> str:
    return f"{name} is too large ({detail}); at most {MAX_PIXELS // 10**6} million pixels are read"


def _to_pixels(image: Image.Image, name: str) -> Pixels:
    if image.mode == "F" or image.mode.startswith("I"):
        # Pillow's own conversion of these to 8 bits clips instead of scaling.
        return halved(to_8_bit(np.asarray(image), name))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    if (factor := _factor(image.width * image.height)) > 1:
        if image.mode not in ("L", "RGB"):
            image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
        image = image.reduce(factor)
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image if image.mode == "L" else image.convert("L"))
    colour = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    grey = colour[..., 0]
    if np.array_equal(grey, colour[..., 1]) and np.array_equal(grey, colour[..., 2]):
        return np.ascontiguousarray(grey)
    return colour


def _found(found: formats.Found, name: str) -> Pixels:
    """What one of our own decoders reads, as it is to be seen."""
    check_size(found.width, found.height, name)
    if found.frames > 1:
        raise BadImage("multi_frame", f"{name} holds {found.frames} images; pass a file with one")
    with large_alone(found.width * found.height):
        pixels = halved(to_8_bit(found.values(), name))
        return pixels if found.orientation == 1 else formats.turned(pixels, found.orientation)


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
    """How many pixels have each value of 8 or 16 bits; int64 (256,) or (65536,)."""
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
        1 for images whose shorter side has less than 1,024 pixels. Else so many that it keeps at
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


def _factor(pixels: int) -> int:
    factor = 1
    while pixels > LARGE_PIXELS * factor**2:
        factor *= 2
    return factor


def halved(pixels: Pixels) -> Pixels:
    """A large image with its sides halved as often as needed; others as they are."""
    factor = _factor(pixels.shape[0] * pixels.shape[1])
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
