"""Reader of a DICOM file's data set, also where the parts before it are missing.

A whole file has 128 bytes of anything, ``DICM``, and file meta information that names the transfer
syntax (PS3.10, 7.1). Old archives and export programs leave out some of it, or all: the data set
then begins at the first byte, in implicit VR little endian, the default of PS3.5, 10.1, or in
explicit VR, which its first element tells.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Collection
from functools import cache
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ingest.images import jpeg
from ingest.images.file_tree import MAX_BYTES
from store import BadImage

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
#: Groups that the first element of a film may have, file meta information among them.
_FIRST_GROUPS = (0x0002, 0x0008, 0x0010, 0x0018, 0x0020, 0x0028)
_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OW PN SH SL SQ SS ST TM UC UI UL UN UR US UT".split()
)
#: Longer than any value that comes first in a data set.
_LONGEST_FIRST = 1 << 12
#: Elements that prove an image; asked for where there is no ``DICM``.
_EVIDENCE = ("Rows", "Columns", "PhotometricInterpretation", "BitsAllocated")


@cache
def library() -> Any:
    """pydicom, with warnings and log lines off: they quote values of headers."""
    import pydicom

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    warnings.filterwarnings("ignore", module="pydicom")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    return pydicom


def is_dicom(data: bytes) -> bool:
    """Whether a file's bytes are DICOM: ``DICM`` in its place, or a data set of an image."""
    if data[128:132] == b"DICM":
        return True
    if not _may_begin(data[:16]):
        return False
    try:
        return read_header(io.BytesIO(data), "the file") is not None
    except BadImage:
        return True  # and is refused, with its reason, when it is read


def read_header(file: BinaryIO, name: str, only: Collection[str] | None = None) -> Any:
    """The elements before the pixels; None when the file is not DICOM.

    Args:
        file: at its start; left at the element of the pixels, where there is one.
        name: for messages.
        only: keywords of the elements that are wanted; all when ``None``.

    Raises:
        BadImage: ``too_large``, for what would inflate to more than is ever read.
        Exception: whatever pydicom stumbles over in a damaged file.
    """
    start = file.read(132)
    if start[128:] == b"DICM":
        check_deflated(file, name)
        file.seek(0)
        return _read(file, only)
    if not _may_begin(start[:16]):
        return None
    file.seek(0)
    if start[:2] == b"\x02\0":  # file meta information without what comes before it
        check_deflated(file, name)
        file.seek(0)
    return _bare(file, only)


def _may_begin(start: bytes) -> bool:
    """Whether a first element may stand here; cheap, and true of next to nothing else."""
    if len(start) < 12:
        return False
    group, element, length = struct.unpack("<HHL", start[:8])
    if group not in _FIRST_GROUPS or element > 0x9999:
        return False
    if start[4:6] in _VRS:
        return True
    return bool(length <= _LONGEST_FIRST and length % 2 == 0)


def _bare(file: BinaryIO, only: Collection[str] | None) -> Any:
    try:
        film = _read(file, None if only is None else {*only, *_EVIDENCE})
        # Only asked whether they are there: values may be damaged, which is told later.
        return film if all(keyword in film for keyword in _EVIDENCE) else None
    except Exception:
        return None


def _read(file: BinaryIO, only: Collection[str] | None) -> Any:
    pydicom = library()
    tags = None if only is None else list(only)
    film = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags)
    give_syntax(film)
    return film


def give_syntax(film: Any) -> None:
    """Name the transfer syntax in file meta information that does not."""
    if not film.file_meta.get("TransferSyntaxUID"):
        implicit, little = film.original_encoding
        found = IMPLICIT if implicit else EXPLICIT if little else BIG_ENDIAN
        film.file_meta.TransferSyntaxUID = library().uid.UID(found)


_DEFLATED = "1.2.840.10008.1.2.1.99"
_EXTENDED = "1.2.840.10008.1.2.4.51"


def check_deflated(file: Any, name: str) -> None:
    """Refuse a deflated file that would inflate to more than is ever read; a bomb.

    Args:
        file: at its file meta information; it is somewhere else afterwards.
        name: for messages.
    """
    from pydicom.filereader import _read_file_meta_info

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


def check_decoder(film: Any, name: str) -> None:
    """Refuse a compression that nothing installed can undo."""
    from pydicom.pixels.decoders.base import get_decoder

    if is_jpeg_of_12_bits(film):
        return
    syntax, remedy = film.file_meta.TransferSyntaxUID, "'cxr-retrieval[dicom]'"
    try:
        decoder = None if not syntax.is_compressed or syntax == _DEFLATED else get_decoder(syntax)
        ready = decoder is None or decoder.is_available
    except NotImplementedError:
        ready = False
    if not ready:
        raise BadImage(
            "unsupported_compression",
            f"{name} is compressed as {syntax.name}, which nothing installed can decode; "
            f"pip install {remedy}, or convert the file",
        )


def check_codestream(film: Any, name: str) -> None:
    """Refuse a compressed frame that is of another size than the header says: a bomb or damage."""
    syntax = film.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax == _DEFLATED:
        return
    from pydicom.encaps import generate_fragments

    data = next(generate_fragments(film.PixelData), b"")
    frame = jpeg.frame_of(data)
    found = jpeg.jpeg_2000_size(data) if frame is None else (frame.width, frame.height)
    if found is not None and found != (film.Columns, film.Rows):
        raise BadImage(
            "damaged",
            f"{name} says {film.Columns} x {film.Rows} pixels but holds a compressed image of "
            f"{found[0]} x {found[1]}; get a sound copy of the file",
        )


def is_jpeg_of_12_bits(film: Any) -> bool:
    """Whether grey pixels are a lossy JPEG of more than 8 bits.

    Of pydicom's decoders only one under the GPL reads it; Pillow and gdcm take 8 bits.
    """
    extended = film.file_meta.TransferSyntaxUID == _EXTENDED
    return bool(extended and film.get("SamplesPerPixel", 1) == 1 and film.BitsStored > 8)


def jpeg_of_12_bits(film: Any, name: str) -> npt.NDArray[Any]:
    """The pixels of a film that ``is_jpeg_of_12_bits``: (rows, columns), uint8 or uint16.

    Raises:
        BadImage: ``multi_frame``, ``truncated``, ``damaged``.
        Exception: whatever the decoder stumbles over.
    """
    from imagecodecs import jpeg8_decode
    from pydicom.encaps import generate_frames

    frames = list(generate_frames(film.PixelData, number_of_frames=1))
    if len(frames) > 1:
        raise BadImage("multi_frame", f"{name} holds several frames; pass a film with one")
    data = frames[0]
    frame = jpeg.frame_of(data)
    if frame is not None and frame.bits not in (8, 12):
        raise BadImage(
            "unsupported_compression",
            f"{name} holds a lossy JPEG of {frame.bits} bits, and there are none but of 8 and 12; "
            "convert it anew with another program",
        )
    if not jpeg.has_end(data):
        raise BadImage(
            "truncated",
            f"{name} is truncated: its JPEG has no end; get a complete copy of the file",
        )
    array = np.asarray(jpeg8_decode(data))
    if array.shape != (film.Rows, film.Columns):
        raise BadImage("damaged", f"{name} holds a JPEG of another size than its header says")
    return array
