"""DICOM chest films to 8-bit pixels, and the few things that a header may tell.

Modality LUT, then VOI LUT or window, then inversion where MONOCHROME1 says that low is bright, then
the actual range to 0..255. PhotometricInterpretation alone decides about inversion:
PresentationLUTShape would say the same thing a second time, and is known to be wrong in places.

What is read from the header, and what never is: ``ingest.dicom_header``.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.dicom_header import KEPT, check_header, metadata
from ingest.dicom_stream import check_codestream, check_decoder, check_deflated
from ingest.images import halved, large_alone, looked_up
from ingest.record import Pixels
from ingest.tones import stretch
from ingest.tree import open_plain
from store.errors import BadImage

#: Values of 16 bits or fewer are looked up in a table; one entry per value.
_TABLE_BITS = 16


@cache
def _pydicom() -> Any:
    """The library, told to keep quiet: its warnings and log lines quote values of headers."""
    import pydicom

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    warnings.filterwarnings("ignore", module="pydicom")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    return pydicom


def decode(data: bytes, name: str) -> Pixels:
    """Decode the bytes of one DICOM file.

    Returns:
        uint8 (height, width), bright is dense tissue.

    Raises:
        BadImage: with reason ``truncated``, ``damaged``, ``too_large``, ``strip``,
            ``wrong_modality``, ``wrong_body_part``, ``for_processing``, ``burned_in``,
            ``multi_frame``, ``not_grey``, ``no_pixels``, ``unsupported_compression``.
    """
    return _decode(data, name)[0]


def read(data: bytes, name: str) -> tuple[Pixels, Mapping[str, Any]]:
    """Pixels as decode, and ``patient`` (hashed), ``view``, ``sex``, ``age`` where told."""
    if data[128:132] != b"DICM":
        raise BadImage("not_dicom", f"{name} is not a DICOM file; for images use: folder PATH")
    pixels, film = _decode(data, name)
    return pixels, _told(film, name)


def identify(path: Path, name: str) -> dict[str, Any]:
    """``id`` (the SOPInstanceUID) and metadata of a file, from its header alone.

    Raises:
        BadImage: as decode, and ``not_dicom``, ``no_id``.
    """
    pydicom = _pydicom()
    with open_plain(path) as file:
        start = file.read(132)
        if not start:
            raise BadImage("empty", f"{name} is empty (0 bytes)")
        if start[128:] != b"DICM":
            raise BadImage("not_dicom", f"{name} is not a DICOM file; for images use: folder PATH")
        try:
            check_deflated(file, name)
            film = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(KEPT))
            check_header(film, name)
            id_ = str(film.get("SOPInstanceUID", ""))
        except BadImage:
            raise
        except Exception as error:
            raise _stumbled(error, name) from error
    if not re.fullmatch(r"[0-9.]{1,64}", id_):
        raise BadImage("no_id", f"{name} has no valid SOPInstanceUID, which is to be its id")
    return {"id": id_, **_told(film, name)}


def _told(film: Any, name: str) -> dict[str, Any]:
    """What a header tells; elements are parsed only when they are asked for, which may fail."""
    try:
        return metadata(film)
    except Exception as error:
        raise _stumbled(error, name) from error


def _decode(data: bytes, name: str) -> tuple[Pixels, Any]:
    pydicom = _pydicom()
    try:
        check_deflated(io.BytesIO(data[132:]), name)
        # The header alone first: nothing is decoded before it is known to be a film of sane size.
        check_header(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True), name)
        film = pydicom.dcmread(io.BytesIO(data))
        if "PixelData" not in film:
            raise BadImage(
                "no_pixels", f"{name} has no pixel data: it is cut short, or not an image"
            )
        check_decoder(film, name)
        check_codestream(film, name)
        with large_alone(int(film.Rows) * int(film.Columns), len(data)):
            return halved(_shown(film.pixel_array, film)), film
    except BadImage:
        raise
    except MemoryError as error:
        raise BadImage("too_large", f"{name} does not fit in memory") from error
    except Exception as error:  # parsers raise whatever a damaged file makes them stumble over
        raise _stumbled(error, name) from error


def _shown(stored: npt.NDArray[Any], film: Any) -> Pixels:
    """Stored values as they are to be seen, 0..255."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    def seen(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        toned = apply_voi_lut(apply_modality_lut(values, film), film, prefer_lut=True)
        return np.asarray(toned, np.float64)

    inverted = film.PhotometricInterpretation == "MONOCHROME1"
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize * 8 > _TABLE_BITS:
        values = seen(stored)
        low, high = float(values.min()), float(values.max())
        return stretch(low + high - values if inverted else values, low, high)
    # The same arithmetic for each value that there is instead of for each pixel: exact, and
    # neither a film in float64 nor the time for it. Signed values are counted by their bits.
    index = stored.view(f"u{stored.dtype.itemsize}")
    there = np.zeros(1 << (stored.dtype.itemsize * 8), bool)
    for row in index:
        there[row] = True
    present = np.flatnonzero(there).astype(index.dtype)
    values = seen(present.view(stored.dtype))
    low, high = float(values.min()), float(values.max())
    table = np.zeros(len(there), np.uint8)
    table[present] = stretch(low + high - values if inverted else values, low, high)
    return looked_up(table, index)


def _stumbled(error: Exception, name: str) -> BadImage:
    """What a parser's exception says about the file; never its text, which may quote the header."""
    text = str(error).lower()
    short = any(word in text for word in ("less than expected", "end of file", "eof", "truncated"))
    reason = "truncated" if short or isinstance(error, EOFError) else "damaged"
    return BadImage(
        reason, f"{name} is {reason} ({type(error).__name__}); get a complete copy of the file"
    )
