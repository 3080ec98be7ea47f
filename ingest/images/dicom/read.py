"""Reader of DICOM chest films: 8-bit pixels, and the allowed values of the header.

The steps: the data set (``ingest.images.dicom.file``), what is refused and what is told of its
header (``ingest.images.dicom.header``), its pixel cells (``ingest.images.dicom.pixels``), and how
they are to be seen (``ingest.images.dicom.tones``). ``docs/films.md`` says which kinds are read,
and who checked it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from ingest.images.dicom.body_parts import Choice
from ingest.images.dicom.file import is_dicom, read_header
from ingest.images.dicom.header import COLOUR, GREY, KEPT, PALETTE, check_header, meaning, metadata
from ingest.images.dicom.pixels import JPEG_LS, Cells, colour_pixels, grey_cells, no_cells
from ingest.images.dicom.tones import Tones, palette_pixels, read_tones, shown
from ingest.images.dicom.values import Notes, text
from ingest.images.file_tree import open_plain
from ingest.images.pixels import halved, large_alone
from ingest.record import Pixels
from store import BadImage

#: Values of one pixel's three colours that differ by no more than this, of 255, are a grey that a
#: lossy compression has been at.
_GREY = 8
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Film:
    """DICOM film: pixels, metadata of its header, notes.

    Attributes:
        pixels: uint8 (height, width), bright is dense tissue.
        told: ``patient`` and ``study`` (hashed), ``view``, ``sex``, ``age`` where the header tells.
        notes: what a person should know of it, one short sentence each.
        uid: its SOPInstanceUID, if there is a valid one.
    """

    pixels: Pixels
    told: Mapping[str, Any]
    notes: tuple[str, ...]
    uid: str | None


def decode(data: bytes, name: str, body_part: Choice = "chest") -> Pixels:
    """Decode the bytes of one DICOM file.

    Args:
        data: the file.
        name: for messages.
        body_part: ``any`` takes films whatever part of the body the header names.

    Returns:
        uint8 (height, width), bright is dense tissue.

    Raises:
        BadImage: with reason ``truncated``, ``damaged``, ``too_large``, ``strip``,
            ``wrong_modality``, ``wrong_body_part``, ``for_processing``, ``burned_in``,
            ``multi_frame``, ``not_grey``, ``no_pixels``, ``bad_values``,
            ``unsupported_compression``.
    """
    notes = Notes()
    return _decode(data, name, body_part, notes)[0]


def read_film(data: bytes, name: str, body_part: Choice = "chest") -> Film:
    """Decode a DICOM file, with what its header tells; BadImage as decode, and ``not_dicom``."""
    notes = Notes()
    pixels, header = _decode(data, name, body_part, notes)
    return Film(pixels, _told(header, name), notes.told(), _uid(header))


def identify(path: Path, name: str, body_part: Choice = "chest") -> dict[str, Any]:
    """``id`` (the SOPInstanceUID, if there is a valid one) and metadata, from the header alone.

    Raises:
        BadImage: as decode, and ``not_dicom``.
    """
    with open_plain(path) as file:
        if not file.read(1):
            raise BadImage("empty", f"{name} is empty (0 bytes)")
        file.seek(0)
        try:
            header = read_header(file, name, KEPT)
            if header is None:
                raise _not_dicom(name)
            check_header(header, name, body_part)
        except BadImage:
            raise
        except Exception as error:
            raise _stumbled(error, name) from error
    id_ = _uid(header)
    return {**({} if id_ is None else {"id": id_}), **_told(header, name)}


def _uid(header: Any) -> str | None:
    found = text(header, "SOPInstanceUID") or ""
    return found if re.fullmatch(r"[0-9.]{1,64}", found) else None


def is_read_anew(file: BinaryIO) -> bool:
    """Whether version 1 of the pixel reader made other pixels of a film than this one does.

    Args:
        file: of a film that version 1 did read, at its start.

    Returns:
        False only where the header shows that they are the same to the last bit, as for a plain
        window; True also for a header that cannot be read.
    """
    notes = Notes()
    try:
        header = read_header(file, "the film")
        if meaning(header) not in GREY:
            return True
        cells = no_cells(header, notes)
        tones = read_tones(header, cells, notes)
    except Exception:
        return True
    if cells.signed and header.file_meta.TransferSyntaxUID == JPEG_LS:
        return True  # whose cells may lack the sign that version 1 took from them
    return bool(notes.told()) or cells.shift > 0 or not tones.is_plain()


def _told(header: Any, name: str) -> dict[str, Any]:
    """Metadata of a header; its elements are parsed only here, which may fail."""
    try:
        return metadata(header)
    except Exception as error:
        raise _stumbled(error, name) from error


def _not_dicom(name: str) -> BadImage:
    return BadImage("not_dicom", f"{name} is not a DICOM file; for images use: folder PATH")


def _decode(data: bytes, name: str, body_part: Choice, notes: Notes) -> tuple[Pixels, Any]:
    def pixels(header: Any, start: int) -> tuple[Pixels, Any]:
        return halved(_pixels(header, data, start, name, notes)), header

    return _of_film(data, name, body_part, notes, pixels)


@dataclass(frozen=True, slots=True)
class Stored:
    """A DICOM film as its file has it.

    Attributes:
        cells: its pixels; of a film that was saved in colours, the grey film that it was.
        header: the data set before the pixels.
        tones: display settings of the header; ``None`` where none apply, as to colours.
    """

    cells: Cells
    header: Any
    tones: Tones | None


def read_stored(data: bytes, name: str) -> Stored:
    """Read a DICOM film without scaling its values; BadImage as decode, and ``not_dicom``.

    Args:
        data: the bytes of a file that was decoded before: damage may go unnoticed.
        name: for messages.
    """
    notes = Notes()

    def stored(header: Any, start: int) -> Stored:
        if meaning(header) in COLOUR:
            grey = _grey_of(colour_pixels(header, data, start, name, notes), name)
            bits = grey.dtype.itemsize * 8
            cells = Cells(grey, bits, 0, False, bits)
            return Stored(cells, header, read_tones(header, cells, notes) if bits > 8 else None)
        cells = grey_cells(header, data, start, name, notes, sound=True)
        if meaning(header) == PALETTE:
            grey = _grey_of(palette_pixels(header, cells, name), name)
            return Stored(Cells(grey, 8, 0, False, 8), header, None)
        return Stored(cells, header, read_tones(header, cells, notes))

    return _of_film(data, name, "any", notes, stored)


def _of_film(
    data: bytes, name: str, body_part: Choice, notes: Notes, make: Callable[[Any, int], _Made]
) -> _Made:
    """What is made of a film's header and the place of its pixels, once it may be decoded."""
    try:
        file = io.BytesIO(data)
        # The header alone first: nothing is decoded before it is known to be a film of sane size.
        header = read_header(file, name)
        if header is None:
            raise _not_dicom(name)
        check_header(header, name, body_part, notes)
        with large_alone(int(header.Rows) * int(header.Columns), len(data)):
            return make(header, file.tell())
    except BadImage:
        raise
    except MemoryError as error:
        raise BadImage("too_large", f"{name} does not fit in memory") from error
    except Exception as error:  # parsers raise whatever a damaged file makes them stumble over
        raise _stumbled(error, name) from error


def _pixels(header: Any, data: bytes, start: int, name: str, notes: Notes) -> Pixels:
    if meaning(header) in COLOUR:
        grey = _grey_of(colour_pixels(header, data, start, name, notes), name)
        if grey.dtype == np.uint8:
            return np.asarray(grey)
        bits = grey.dtype.itemsize * 8
        cells = Cells(grey, bits, 0, False, bits)
        return shown(cells, read_tones(header, cells, notes), name, notes)
    cells = grey_cells(header, data, start, name, notes)
    if meaning(header) == PALETTE:
        return _grey_of(palette_pixels(header, cells, name), name)
    return shown(cells, read_tones(header, cells, notes), name, notes)


def _grey_of(colour: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """The grey film that was saved in colours; BadImage when it has colours.

    Equal channels are the film as it was. Channels that are nearly equal were compressed with loss,
    and their luminance is taken.
    """
    widest = colour.max(axis=-1) - colour.min(axis=-1)
    if not (differing := int(widest.max(initial=0))):
        return np.ascontiguousarray(colour[..., 0])
    if differing <= _GREY and colour.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(colour)).convert("L"))
    raise BadImage(
        "not_grey",
        f"{name} holds a picture in colours; expected a film. If it is one, save it as grey",
    )


def _stumbled(error: Exception, name: str) -> BadImage:
    """The error for a parser's exception; never its text, which may quote the header."""
    said = str(error).lower()
    short = any(word in said for word in ("less than expected", "end of file", "eof", "truncated"))
    reason = "truncated" if short or isinstance(error, EOFError) else "damaged"
    return BadImage(
        reason, f"{name} is {reason} ({type(error).__name__}); get a complete copy of the file"
    )


def patient_of(data: bytes) -> str | None:
    """The pseudonym of a DICOM file's patient; None of other files, and where there is no salt.

    Without a salt on this machine no gallery has names that it made, and none is made for a look.
    """
    from ingest.images.pseudonym import salt_file

    if not salt_file().exists() or not is_dicom(data):
        return None
    found = metadata(read_header(io.BytesIO(data), "the file"))
    patient: str | None = found.get("patient")
    return patient
