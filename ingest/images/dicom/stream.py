"""What a DICOM file packs its pixels into, looked at before anything is unpacked."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.images.file_tree import MAX_BYTES
from store.errors import BadImage

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

    found = _jpeg_size(next(generate_fragments(film.PixelData), b""))
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
    place = _start_of_frame(data)
    if place is not None and data[place + 4] not in (8, 12):
        raise BadImage(
            "unsupported_compression",
            f"{name} holds a lossy JPEG of {data[place + 4]} bits, and there are none but of 8 and "
            "12; convert it anew with another program",
        )
    # The decoder itself makes grey of what is missing. Scans hold no marker of an end.
    if data.find(b"\xff\xd9", data.find(b"\xff\xda")) < 0:
        raise BadImage(
            "truncated",
            f"{name} is truncated: its JPEG has no end; get a complete copy of the file",
        )
    array = np.asarray(jpeg8_decode(data))
    if array.shape != (film.Rows, film.Columns):
        raise BadImage("damaged", f"{name} holds a JPEG of another size than its header says")
    return array


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a JPEG, JPEG-LS or JPEG 2000 stream, if it is there."""
    if data[:4] == b"\xff\x4f\xff\x51" and len(data) >= 24:
        high, low = data[8:16], data[16:24]
        return tuple(  # type: ignore[return-value]
            int.from_bytes(high[i : i + 4], "big") - int.from_bytes(low[i : i + 4], "big")
            for i in (0, 4)
        )
    if (place := _start_of_frame(data)) is None:
        return None
    height = int.from_bytes(data[place + 5 : place + 7], "big")
    return int.from_bytes(data[place + 7 : place + 9], "big"), height


def _start_of_frame(data: bytes) -> int | None:
    """Where the marker lies that tells the bits and the size of a JPEG or JPEG-LS stream."""
    place = 2
    while data[:2] == b"\xff\xd8" and place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            return place
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None
