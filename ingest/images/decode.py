"""Decoder of image files: bytes of any supported format to 8-bit pixels.

What a file is, its content says; its name is not asked.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from ingest.images import formats
from ingest.images.dicom.body_parts import Choice
from ingest.images.dicom.file import is_dicom
from ingest.images.file_tree import MAX_BYTES, shown
from ingest.images.pixels import (
    MAX_PIXELS,
    check_contrast,
    check_size,
    halved,
    halving,
    large_alone,
    to_8_bit,
    too_large,
)
from ingest.record import Pixels
from store import BadImage, expanded

_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"RIFF", b"\0\0\0\x0cjP")
_ARCHIVES = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x1f\x8b": "gzip",
    b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}
_OTHERS = {b"GIF8": "a GIF", b"%PDF": "a PDF", b"II+\0": "a BigTIFF"}

# Pillow warns above this and refuses twice as much; its own limit is higher than ours.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def read_image(source: str | Path | bytes, body_part: Choice = "chest") -> Pixels:
    """Decode one PNG, JPEG, JPEG-LS, JPEG 2000, TIFF, WebP, BMP or DICOM image.

    Rotation from EXIF is applied, transparency is laid over black, CMYK and palettes become RGB,
    and colour images whose channels are all equal become grey. What has 8 bits stays as it is;
    deeper values are scaled by ``ingest.images.tones.value_range``; for DICOM see
    ``ingest.images.dicom.read``. More than 20 megapixels are halved, by averages of 2 x 2, until
    they are less. docs/films.md lists the kinds that are read, and who checked them.

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
        pixels = decode(read_bytes(expanded(source)), name, body_part)
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
    with _complaints(data, name):
        found = formats.find(data, name)
        if found is not None:
            return _found(found, name)
        with _loaded(data, name) as image:
            return _to_pixels(image, name)


@dataclass(frozen=True, slots=True)
class Deep:
    """The values of an image file at their full size and depth, turned as EXIF asks.

    Attributes:
        values: (height, width) grey or (height, width, 3) RGB, of any type; as the file has them.
        bits: of a sample in the file.
        inverted: whether low is bright.
    """

    values: npt.NDArray[Any]
    bits: int
    inverted: bool = False


def decode_deep(data: bytes, name: str) -> Deep:
    """Decode a file that is no DICOM, neither scaled nor made smaller; BadImage as read_image."""
    with _complaints(data, name):
        found = formats.find(data, name)
        if found is not None:
            _check(found, name)
            with large_alone(found.width * found.height):
                values = (found.as_stored or found.values)()
                if found.orientation != 1:
                    values = formats.turned(values, found.orientation)
                return Deep(values, found.bits, found.as_stored is not None)
        with _loaded(data, name) as image:
            if _is_deep(image):
                return Deep(np.asarray(image), 16 if image.mode.startswith("I;16") else 32)
            pixels = _eight_bits(image)
            # Pillow turns the grey of a TIFF whose low is white.
            inverted = pixels.ndim == 2 and image.mode == "L" and _is_low_white(image)
            return Deep(~pixels if inverted else pixels, 8, inverted)


def _is_low_white(image: Image.Image) -> bool:
    tags = getattr(image, "tag_v2", None)
    return image.format == "TIFF" and tags is not None and tags.get(262) == 0


@contextmanager
def _loaded(data: bytes, name: str) -> Iterator[Image.Image]:
    """An image that Pillow reads, turned as EXIF asks; a large one alone."""
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        check_size(image.width, image.height, name)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # a phone's JPEG with a second, smaller view
            raise BadImage("multi_frame", f"{name} holds {frames} images; pass a file with one")
        with large_alone(image.width * image.height):
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            yield image


@contextmanager
def _complaints(data: bytes, name: str) -> Iterator[None]:
    """What decoders raise, as BadImage."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage("too_large", too_large(name, str(error))) from error
    except UnidentifiedImageError as error:
        raise unidentified(data, name) from error
    except BadImage:
        raise
    except MemoryError as error:
        raise BadImage("too_large", too_large(name, "out of memory")) from error
    except Exception as error:  # decoders raise whatever a damaged file makes them stumble over
        short = any(word in str(error).lower() for word in ("truncated", "end of", "eof"))
        reason = "truncated" if short else "damaged"
        raise BadImage(
            reason, f"{name} is {reason} ({error}); get a complete copy of the file"
        ) from error


def _is_deep(image: Image.Image) -> bool:
    """Whether Pillow's own conversion to 8 bits would clip instead of scaling."""
    return image.mode == "F" or image.mode.startswith("I")


def _to_pixels(image: Image.Image, name: str) -> Pixels:
    if _is_deep(image):
        return halved(to_8_bit(np.asarray(image), name))
    return _eight_bits(image, halving(image.width * image.height))


def _eight_bits(image: Image.Image, factor: int = 1) -> Pixels:
    """Pixels of an image of 8 bits, its sides divided by a whole number."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    if factor > 1:
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
    """Pixels of one of our own decoders, scaled to 8 bits and turned as EXIF asks."""
    _check(found, name)
    with large_alone(found.width * found.height):
        pixels = halved(to_8_bit(found.values(), name))
        return pixels if found.orientation == 1 else formats.turned(pixels, found.orientation)


def _check(found: formats.Found, name: str) -> None:
    check_size(found.width, found.height, name)
    if found.frames > 1:
        raise BadImage("multi_frame", f"{name} holds {found.frames} images; pass a file with one")


def unidentified(data: bytes, name: str) -> BadImage:
    """The error for a file that Pillow does not know: archive, HEIF, truncated, no image."""
    kinds = [kind for start, kind in _ARCHIVES.items() if data.startswith(start)]
    if kinds or data[257:262] == b"ustar":
        kind = kinds[0] if kinds else "tar"
        return BadImage(
            "archive", f"{name} is a {kind} archive; unpack it and pass the folder inside"
        )
    for start, kind in _OTHERS.items():
        if data.startswith(start):
            return BadImage("unsupported", f"{name} is {kind} file; convert it to PNG")
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"):
        return BadImage("unsupported", f"{name} is a HEIF or AVIF file; convert it to PNG")
    if data.startswith((b"II*\0", b"MM\0*")) and (mode := _unknown_tiff_mode(data)):
        return BadImage(
            "unsupported", f"{name} is a TIFF of a kind that is not read ({mode}); convert it"
        )
    if data.startswith(_SIGNATURES):
        return BadImage(
            "truncated", f"{name} begins like an image but its header is cut short or damaged"
        )
    return BadImage(
        "not_an_image", f"{name} is not a PNG, JPEG, TIFF, JPEG 2000, WebP, BMP or DICOM image"
    )


def _unknown_tiff_mode(data: bytes) -> str | None:
    """Pillow's complaint about a sound TIFF of an unknown kind; None for others."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

    try:
        file = io.BytesIO(data)
        tags = ImageFileDirectory_v2(data[:8])
        file.seek(tags.next)
        tags.load(file)
        if any(at + size > len(data) for at, size in zip(tags[273], tags[279], strict=True)):
            return None
        TiffImageFile(io.BytesIO(data)).close()
    except SyntaxError as error:
        return str(error) if "unknown" in str(error) else None
    except Exception:
        return None
    return None
