"""What a DICOM file packs its pixels into, looked at before anything is unpacked."""

from __future__ import annotations

import zlib
from typing import Any

from ingest.tree import MAX_BYTES
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
