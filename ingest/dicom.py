"""DICOM chest films to 8-bit pixels, and the few things that a header may tell.

Modality LUT, then VOI LUT or window, then inversion where MONOCHROME1 says that low is bright, then
the actual range to 0..255. PhotometricInterpretation alone decides about inversion:
PresentationLUTShape would say the same thing a second time, and is known to be wrong in places.

A header holds names and dates of birth. What is read from it is on a keep-list, ``KEPT``; patient
and study numbers leave this module as salted hashes only, and no message quotes a value that is not
on the list.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.images import check_size, halved, large_alone, looked_up, stretch
from ingest.record import Pixels
from ingest.tree import MAX_BYTES, open_plain
from store.errors import BadImage

MODALITIES = ("CR", "DX", "RF")
#: Secondary capture has whatever modality the capturing device wrote.
_SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_EXTENDED = "1.2.840.10008.1.2.4.51"
#: Header elements that are looked at; any other is never read out, stored, logged or shown.
KEPT = (
    *("SOPClassUID", "SOPInstanceUID", "Modality", "PresentationIntentType", "BurnedInAnnotation"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("ViewPosition", "Laterality", "ImageLaterality", "PatientAge", "PatientSex", "PatientID"),
    *("StudyInstanceUID", "BodyPartExamined"),
)
#: Metadata that ``read`` and ``identify`` may tell.
TELLS = ("patient", "view", "sex", "age")
#: Body parts, as headers spell them, that show that a film is of something else.
_ELSEWHERE = re.compile(
    r"SKULL|HEAD|HAND|WRIST|FOOT|ANKLE|KNEE|HIP|PELVIS|ELBOW|SPINE|FEMUR|FINGER|TOE|BREAST|TEETH"
)
_VIEWS = {"LL": "LATERAL", "RL": "LATERAL", "LATERAL": "LATERAL", "LAT": "LATERAL"}
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
    return pixels, metadata(film)


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
            _check_deflated(file, name)
            film = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(KEPT))
            _check_header(film, name)
            id_ = str(film.get("SOPInstanceUID", ""))
        except BadImage:
            raise
        except Exception as error:
            raise _stumbled(error, name) from error
    if not re.fullmatch(r"[0-9.]{1,64}", id_):
        raise BadImage("no_id", f"{name} has no valid SOPInstanceUID, which is to be its id")
    return {"id": id_, **metadata(film)}


def metadata(film: Any) -> dict[str, Any]:
    """What rows may keep of a header; identifiers hashed, the rest from short fixed lists."""
    from ingest.pseudonym import pseudonym

    found: dict[str, Any] = {}
    number = str(film.get("PatientID", "") or "").strip()
    study = str(film.get("StudyInstanceUID", "") or "").strip()
    if number:
        found["patient"] = pseudonym("patient", number)
    elif study:  # films of one study are of one person, at least
        found["patient"] = pseudonym("study", study)
    view = str(film.get("ViewPosition", "") or "").strip().upper()
    if view in _VIEWS or re.fullmatch(r"PA|AP|LLO|RLO|LPO|RPO", view):
        found["view"] = _VIEWS.get(view, view)
    elif _laterality(film):
        found["view"] = "LATERAL"
    sex = str(film.get("PatientSex", "") or "").strip().upper()
    if sex in ("M", "F", "O"):
        found["sex"] = sex
    age = parse_age(str(film.get("PatientAge", "") or ""))
    if age is not None:
        found["age"] = age
    return found


def _laterality(film: Any) -> bool:
    """Whether the header says that a side was taken, which for a chest is a lateral view."""
    side = str(film.get("ImageLaterality", "") or film.get("Laterality", "") or "").strip().upper()
    return side in ("L", "R")


def parse_age(text: str) -> float | None:
    """Years from ``058Y``, ``013M``, ``02W``, ``009D`` or ``58``; None when it says no sane age."""
    found = re.fullmatch(r"\s*0*(\d{1,3}(?:\.\d+)?)\s*([YMWD]?)\s*", text, re.IGNORECASE)
    if not found:
        return None
    unit = {"M": 12.0, "W": 365.25 / 7, "D": 365.25}.get(found[2].upper(), 1.0)
    years = round(float(found[1]) / unit, 3)
    return years if years <= 120 else None


def _decode(data: bytes, name: str) -> tuple[Pixels, Any]:
    pydicom = _pydicom()
    try:
        _check_deflated(io.BytesIO(data[132:]), name)
        # The header alone first: nothing is decoded before it is known to be a film of sane size.
        _check_header(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True), name)
        film = pydicom.dcmread(io.BytesIO(data))
        if "PixelData" not in film:
            raise BadImage(
                "no_pixels", f"{name} has no pixel data: it is cut short, or not an image"
            )
        _check_decoder(film, name)
        _check_codestream(film, name)
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


def _check_deflated(file: Any, name: str) -> None:
    """Refuse a deflated file that would inflate to more than is ever read; a bomb."""
    from pydicom.filereader import _read_file_meta_info

    start = file.tell()
    meta = _read_file_meta_info(file)
    if str(meta.get("TransferSyntaxUID", "")) == _DEFLATED:
        inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while block := file.read(1 << 16):
            while block:
                size += len(inflater.decompress(block, 1 << 20))
                block = inflater.unconsumed_tail
                if size > MAX_BYTES:
                    raise BadImage(
                        "too_large",
                        f"{name} would inflate to more than {MAX_BYTES >> 20} MiB; it is refused",
                    )
    file.seek(0 if start == 132 else start)


def _check_header(film: Any, name: str) -> None:
    """Refuse what is not one grey projection film of sane size, without anything burned in."""
    modality = str(film.get("Modality", "") or "")
    secondary = str(film.get("SOPClassUID", "")).startswith(_SECONDARY)
    if modality not in MODALITIES and not (secondary and modality in ("OT", "SC", "")):
        raise BadImage(
            "wrong_modality",
            f"{name} has modality {_code(modality)}; expected {', '.join(MODALITIES)} "
            "or a secondary capture",
        )
    part = str(film.get("BodyPartExamined", "") or "").upper()
    if (elsewhere := _ELSEWHERE.search(part)) and "CHEST" not in part:
        raise BadImage(
            "wrong_body_part", f"{name} is said to be of {elsewhere[0]!r}; expected a chest film"
        )
    if film.get("PresentationIntentType", "") == "FOR PROCESSING":
        raise BadImage(
            "for_processing",
            f"{name} holds raw detector data (FOR PROCESSING); pass the FOR PRESENTATION image",
        )
    if str(film.get("BurnedInAnnotation", "") or "").strip().upper() == "YES":
        raise BadImage(
            "burned_in",
            f"{name} says that writing is burned into its pixels, which may name a person; "
            "pass a copy without it",
        )
    frames = int(film.get("NumberOfFrames", 1) or 1)
    rows, columns = int(film.get("Rows", 0) or 0), int(film.get("Columns", 0) or 0)
    if rows and columns:
        check_size(columns, rows * max(frames, 1) if frames <= 20 else rows, name)
    if frames > 1:
        raise BadImage("multi_frame", f"{name} holds {frames} frames; pass a film with one")
    if not rows or not columns:
        raise BadImage("no_pixels", f"{name} has no rows and columns: it is not an image")
    samples = int(film.get("SamplesPerPixel", 1) or 1)
    meaning = str(film.get("PhotometricInterpretation", "") or "")
    if samples != 1 or meaning not in ("MONOCHROME1", "MONOCHROME2"):
        raise BadImage(
            "not_grey",
            f"{name} has {samples} samples a pixel, photometric interpretation {_code(meaning)}; "
            "expected 1, MONOCHROME1 or MONOCHROME2",
        )


def _code(value: str) -> str:
    """A value that should be one of DICOM's code words, quoted only when it looks like one."""
    if not value:
        return "none"
    return repr(value) if re.fullmatch(r"[A-Z0-9_ ]{1,16}", value) else "unknown"


def _check_decoder(film: Any, name: str) -> None:
    """Refuse a compression that nothing installed can undo."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax, remedy = film.file_meta.TransferSyntaxUID, "'cxr-retrieval[dicom]'"
    try:
        decoder = None if not syntax.is_compressed or syntax == _DEFLATED else get_decoder(syntax)
        ready = decoder is None or decoder.is_available
        if ready and decoder is not None and syntax == _EXTENDED and film.BitsStored > 8:
            # Pillow and gdcm take this syntax, but with 8 bits only.
            ready, remedy = "pylibjpeg" in decoder.available_plugins, "pylibjpeg-libjpeg (GPL)"
    except NotImplementedError:
        ready = False
    if not ready:
        raise BadImage(
            "unsupported_compression",
            f"{name} is compressed as {syntax.name}, which nothing installed can decode; "
            f"pip install {remedy}, or convert the file",
        )


def _check_codestream(film: Any, name: str) -> None:
    """Refuse a compressed frame that is of another size than the header says: a bomb or damage."""
    syntax = film.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax == _DEFLATED:
        return
    from pydicom.encaps import generate_fragments

    found = _jpeg_size(next(generate_fragments(film.PixelData), b""))
    if found is not None and found != (film.Columns, film.Rows):
        raise BadImage(
            "damaged",
            f"{name} says {film.Columns} x {film.Rows} pixels but holds a compressed image of "
            f"{found[0]} x {found[1]}; get a sound copy of the file",
        )


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a JPEG, JPEG-LS or JPEG 2000 stream, if it is there."""
    if data[:4] == b"\xff\x4f\xff\x51" and len(data) >= 24:
        high, low = data[8:16], data[16:24]
        return tuple(  # type: ignore[return-value]
            int.from_bytes(high[i : i + 4], "big") - int.from_bytes(low[i : i + 4], "big")
            for i in (0, 4)
        )
    place = 2
    while data[:2] == b"\xff\xd8" and place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            height = int.from_bytes(data[place + 5 : place + 7], "big")
            return int.from_bytes(data[place + 7 : place + 9], "big"), height
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _stumbled(error: Exception, name: str) -> BadImage:
    """What a parser's exception says about the file; never its text, which may quote the header."""
    text = str(error).lower()
    short = any(word in text for word in ("less than expected", "end of file", "eof", "truncated"))
    reason = "truncated" if short or isinstance(error, EOFError) else "damaged"
    return BadImage(
        reason, f"{name} is {reason} ({type(error).__name__}); get a complete copy of the file"
    )
