"""DICOM chest films to 8-bit pixels.

Modality LUT, then VOI LUT or window, then inversion where MONOCHROME1 says that low is bright, then
the actual range to 0..255. PhotometricInterpretation alone decides about inversion:
PresentationLUTShape would say the same thing a second time, and is known to be wrong in places.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from ingest.images import check_size, stretch
from ingest.record import Pixels
from store.errors import BadImage

MODALITIES = ("CR", "DX")


def decode(data: bytes, name: str) -> Pixels:
    """Decode the bytes of one DICOM file.

    Returns:
        uint8 (height, width), bright is dense tissue.

    Raises:
        BadImage: with reason ``truncated``, ``damaged``, ``too_large``, ``wrong_modality``,
            ``for_processing``, ``multi_frame``, ``not_grey``, ``no_pixels``,
            ``unsupported_compression``.
    """
    import pydicom
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    try:
        # The header alone first: nothing is decoded before it is known to be a film of sane size.
        _check_header(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True), name)
        film = pydicom.dcmread(io.BytesIO(data))
        if "PixelData" not in film:
            raise BadImage(
                "no_pixels", f"{name} has no pixel data: it is cut short, or not an image"
            )
        _check_decoder(film.file_meta.TransferSyntaxUID, name)
        stored = film.pixel_array
        values = np.asarray(
            apply_voi_lut(apply_modality_lut(stored, film), film, prefer_lut=True), np.float64
        )
    except BadImage:
        raise
    except Exception as error:  # parsers raise whatever a damaged file makes them stumble over
        text = _first_line(error)
        short = any(word in text.lower() for word in ("less than expected", "end of file", "eof"))
        reason = "truncated" if short or "truncated" in text.lower() else "damaged"
        raise BadImage(
            reason, f"{name} is {reason} ({text}); get a complete copy of the file"
        ) from error
    low, high = float(values.min()), float(values.max())
    if film.PhotometricInterpretation == "MONOCHROME1":
        values = low + high - values
    return stretch(values, low, high)


def _check_header(film: Any, name: str) -> None:
    """Refuse what is not one grey projection film of sane size."""
    modality = str(film.get("Modality", ""))
    if modality not in MODALITIES:
        raise BadImage(
            "wrong_modality",
            f"{name} has modality {modality or 'none'!r}; expected {' or '.join(MODALITIES)}",
        )
    if film.get("PresentationIntentType", "") == "FOR PROCESSING":
        raise BadImage(
            "for_processing",
            f"{name} holds raw detector data (FOR PROCESSING); pass the FOR PRESENTATION image",
        )
    frames = int(film.get("NumberOfFrames", 1) or 1)
    check_size(int(film.get("Columns", 0)), int(film.get("Rows", 0)) * max(frames, 1), name)
    if frames > 1:
        raise BadImage("multi_frame", f"{name} holds {frames} frames; pass a film with one")
    samples = int(film.get("SamplesPerPixel", 1))
    meaning = str(film.get("PhotometricInterpretation", ""))
    if samples != 1 or meaning not in ("MONOCHROME1", "MONOCHROME2"):
        raise BadImage(
            "not_grey",
            f"{name} has {samples} samples a pixel, {meaning or 'no photometric interpretation'}; "
            "expected 1, MONOCHROME1 or MONOCHROME2",
        )


def _check_decoder(syntax: Any, name: str) -> None:
    """Refuse a compression that nothing installed can undo."""
    from pydicom.pixels.decoders.base import get_decoder

    try:
        ready = not syntax.is_compressed or get_decoder(syntax).is_available
    except NotImplementedError:
        ready = False
    if not ready:
        raise BadImage(
            "unsupported_compression",
            f"{name} is compressed as {syntax.name}, which nothing installed can decode; "
            "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg, or convert the file",
        )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
