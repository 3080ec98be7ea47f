"""Pixel cells of a DICOM film, and the stored value of each of their bit patterns.

Cells that are not compressed are not copied: the array lies on the bytes of the file. Masking,
shifting and signs are done for the patterns, of which there are 65,536 at most, instead of for the
pixels (PS3.5, 8.1.1).
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.images.dicom.file import (
    EXPLICIT,
    IMPLICIT,
    check_codestream,
    check_decoder,
    give_syntax,
    is_jpeg_of_12_bits,
    jpeg_of_12_bits,
    library,
)
from ingest.images.dicom.values import Notes, whole
from store import BadImage

#: The element of the pixels, little endian, as it begins.
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_UNDEFINED = 0xFFFFFFFF
JPEG_LS = "1.2.840.10008.1.2.4.80"
#: Transfer syntaxes whose decoders give values with their sign, not cells.
_WITH_SIGN = (
    *(JPEG_LS, "1.2.840.10008.1.2.4.81"),
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),
    *("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"),
)
#: Transfer syntaxes without loss for which there is a faster decoder.
_LOSSLESS_JPEG = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
_LOSSLESS_JPEG_2000 = "1.2.840.10008.1.2.4.90"
_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Cells:
    """Pixels as they lie in the file.

    Attributes:
        patterns: unsigned, of 8, 16 or 32 bits, (rows, columns).
        stored: how many bits of a cell are the value.
        shift: how many bits lie below them.
        signed: whether the value is in two's complement.
        said: how many bits the header says that a value has; a decoder may have given more.
    """

    patterns: npt.NDArray[Any]
    stored: int
    shift: int
    signed: bool
    said: int

    def values(self, patterns: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """The stored values that some patterns are; int64 of the same shape."""
        found = (patterns.astype(np.int64) >> self.shift) & ((1 << self.stored) - 1)
        if self.signed:
            found -= (found >> (self.stored - 1)) << self.stored
        return found

    def possible(self) -> tuple[int, int]:
        """The smallest and the largest value that the header leaves room for."""
        if self.signed:
            return -(1 << (self.said - 1)), (1 << (self.said - 1)) - 1
        return 0, (1 << self.said) - 1


def grey_cells(
    film: Any, data: bytes, start: int, name: str, notes: Notes, *, sound: bool = False
) -> Cells:
    """The cells of a film with one value a pixel.

    Args:
        film: its header; rows and columns are known to be sane.
        data: the file.
        start: where the element of the pixels is.
        name: for messages.
        notes: what is wrong with the header.
        sound: whether it is known that the file decodes without complaint: then by the fastest
            decoder, which may make grey of damage.

    Raises:
        BadImage: ``no_pixels``, ``truncated``, ``multi_frame``, ``damaged``,
            ``unsupported_compression``.
        Exception: whatever a decoder stumbles over.
    """
    allocated = whole(film, "BitsAllocated") or 0
    stored, shift, signed = _layout(film, allocated, notes)
    if allocated in (8, 16) and film.file_meta.TransferSyntaxUID in (IMPLICIT, EXPLICIT):
        patterns = _native(film, data, start, allocated // 8, name)
        if patterns is not None:
            return Cells(patterns, stored, shift, signed, stored)
    array, with_sign = _decoded(film, data, start, name, grey=True, sound=sound)
    if film.file_meta.TransferSyntaxUID == JPEG_LS and not shift:
        with_sign = False  # it knows no signs, and without loss gives the cells that it was given
    size = array.dtype.itemsize
    patterns = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).view(f"u{size}")
    if not with_sign and size * 8 == allocated:
        return Cells(patterns, stored, shift, signed, stored)
    if shift and array.dtype.kind == "u" and int(patterns.max(initial=0)) >> stored:
        return Cells(patterns, stored, shift, False, stored)
    return Cells(patterns, size * 8, 0, array.dtype.kind == "i", stored)


def no_cells(film: Any, notes: Notes) -> Cells:
    """The layout of cells by a header, without any."""
    allocated = whole(film, "BitsAllocated") or 0
    stored, shift, signed = _layout(film, allocated, notes)
    return Cells(np.empty((0, 0), np.uint16), stored, shift, signed, stored)


def colour_pixels(film: Any, data: bytes, start: int, name: str, notes: Notes) -> npt.NDArray[Any]:
    """Pixels of a film with three values each; unsigned (rows, columns, 3), RGB.

    Raises:
        BadImage: as ``grey_cells``.
        Exception: whatever a decoder stumbles over.
    """
    if film.get_item("PlanarConfiguration") is None:
        notes.add("PlanarConfiguration is missing; the colours of a pixel taken as side by side")
        film.PlanarConfiguration = 0
    return _decoded(film, data, start, name, grey=False)[0]


def _layout(film: Any, allocated: int, notes: Notes) -> tuple[int, int, bool]:
    """Bits stored, bits below them, and whether they have a sign; sane whatever the header says."""
    stored = whole(film, "BitsStored")
    if stored is None or not 1 <= stored <= allocated:
        notes.add("BitsStored is missing or impossible; BitsAllocated taken")
        stored = allocated
    high = whole(film, "HighBit")
    if high is None or not stored - 1 <= high < allocated:
        notes.add("HighBit is missing or impossible; the lowest bits taken")
        high = stored - 1
    sign = whole(film, "PixelRepresentation")
    if sign not in (0, 1):
        notes.add("PixelRepresentation is missing or impossible; values taken as unsigned")
        sign = 0
    # The decoders ask for these and fail without them.
    film.BitsStored, film.HighBit, film.PixelRepresentation = stored, high, sign
    return stored, high + 1 - stored, sign == 1


def _native(film: Any, data: bytes, start: int, size: int, name: str) -> npt.NDArray[Any] | None:
    """Cells that lie in the file as they are; None when it is not as simple as that."""
    if data[start : start + 4] != _PIXEL_DATA:
        return None
    if data[start + 4 : start + 6] in (b"OW", b"OB", b"UN"):
        value = start + 12
        length = struct.unpack("<L", data[start + 8 : value])[0] if len(data) >= value else 0
    else:
        value = start + 8
        length = struct.unpack("<L", data[start + 4 : value])[0] if len(data) >= value else 0
    if length == _UNDEFINED:
        raise BadImage(
            "unsupported_compression",
            f"{name} holds compressed pixels and does not say how they are compressed; "
            "get the file as its archive sends it",
        )
    rows, columns = int(film.Rows), int(film.Columns)
    needed = rows * columns * size
    here = min(length, len(data) - value)
    if here < needed:
        raise BadImage(
            "truncated",
            f"{name} is truncated: {rows} x {columns} pixels are {needed} bytes and it holds "
            f"{max(here, 0)}; get a complete copy of the file",
        )
    if here >= 2 * needed and needed:
        raise BadImage("multi_frame", f"{name} holds several frames; pass a film with one")
    cells = np.frombuffer(data, f"<u{size}", rows * columns, value)
    return cells.reshape(rows, columns)


def _decoded(
    film: Any, data: bytes, start: int, name: str, *, grey: bool, sound: bool = False
) -> tuple[npt.NDArray[Any], bool]:
    """Pixels by pydicom's decoders, and whether their sign is in order."""
    whole_file = library().dcmread(io.BytesIO(data), force=True)
    give_syntax(whole_file)
    if "PixelData" not in whole_file:
        if data[start : start + 4] == _PIXEL_DATA:
            raise BadImage(
                "truncated",
                f"{name} is truncated: it ends within its pixels; get a complete copy of the file",
            )
        raise BadImage("no_pixels", f"{name} has no pixel data: it is cut short, or not an image")
    for keyword in ("BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration"):
        if keyword in film:
            setattr(whole_file, keyword, getattr(film, keyword))
    check_decoder(whole_file, name)
    check_codestream(whole_file, name)
    syntax = whole_file.file_meta.TransferSyntaxUID
    if not grey:
        array = whole_file.pixel_array
    elif is_jpeg_of_12_bits(whole_file):
        array = jpeg_of_12_bits(whole_file, name)
    elif sound and (fast := _fast(whole_file)) is not None:
        array = fast
    else:
        from pydicom.pixels.decoders.base import get_decoder

        plain: Any = {} if syntax in _WITH_SIGN else {"correct_unused_bits": False}
        array, _ = get_decoder(syntax).as_array(whole_file, raw=True, **plain)
    if array.ndim != (2 if grey else 3) or (not grey and array.shape[-1] != 3):
        raise BadImage("multi_frame", f"{name} holds several frames; pass a film with one")
    return array, syntax in _WITH_SIGN


def _fast(film: Any) -> npt.NDArray[Any] | None:
    """Unsigned pixels without loss, two to six times as fast as by pydicom's decoders.

    None of any other kind, and where the two might differ.
    """
    import imagecodecs
    from pydicom.encaps import generate_frames

    decoders: dict[str, Callable[[bytes], Any]] = {
        **dict.fromkeys(_LOSSLESS_JPEG, imagecodecs.jpeg8_decode),
        JPEG_LS: imagecodecs.jpegls_decode,
        _LOSSLESS_JPEG_2000: partial(imagecodecs.jpeg2k_decode, numthreads=_THREADS),
    }
    decode = decoders.get(film.file_meta.TransferSyntaxUID)
    if decode is None or film.PixelRepresentation != 0 or film.HighBit != film.BitsStored - 1:
        return None
    frames = list(generate_frames(film.PixelData, number_of_frames=1))
    if len(frames) != 1:
        return None
    array = np.asarray(decode(frames[0]))
    whole = array.shape == (film.Rows, film.Columns) and array.dtype.kind == "u"
    return array if whole and array.itemsize * 8 == film.BitsAllocated else None
