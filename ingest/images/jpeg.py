"""Headers of JPEG, JPEG-LS and JPEG 2000 streams: size and depth before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass

#: Start of a JPEG 2000 codestream.
JPEG_2000 = b"\xff\x4f\xff\x51"
#: Start-of-frame markers: of lossless JPEG, and of JPEG-LS.
LOSSLESS, JPEG_LS = 0xC3, 0xF7
_NO_FRAMES = (0xC4, 0xC8, 0xCC)


@dataclass(frozen=True, slots=True)
class Frame:
    """The start of frame of a JPEG or JPEG-LS stream.

    Attributes:
        marker: its second byte, which tells the coding.
        bits: of a sample.
        width, height: in pixels.
        components: samples of a pixel.
    """

    marker: int
    bits: int
    width: int
    height: int
    components: int


def frame_of(data: bytes) -> Frame | None:
    """The start of frame of a stream; None when it is cut short, or no JPEG."""
    at = 2
    while data[:2] == b"\xff\xd8" and at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES) or marker == JPEG_LS:
            height, width = (int.from_bytes(data[at + i : at + i + 2], "big") for i in (5, 7))
            return Frame(marker, data[at + 4], width, height, data[at + 9])
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def has_end(data: bytes) -> bool:
    """Whether a JPEG's scans come to an end; decoders make grey of what is missing.

    What follows the start of a scan holds no marker but those between its parts and the end.
    """
    return data.find(b"\xff\xd9", data.find(b"\xff\xda")) >= 0


def jpeg_2000_size(data: bytes, at: int = 0) -> tuple[int, int] | None:
    """Width and height of the JPEG 2000 codestream that begins at a place; None without one."""
    if at < 0 or data[at : at + 4] != JPEG_2000 or len(data) < at + 24:
        return None
    places = (at + 8, at + 12, at + 16, at + 20)
    right, bottom, left, top = (int.from_bytes(data[one : one + 4], "big") for one in places)
    return right - left, bottom - top


def jpeg_2000_bits(data: bytes, at: int = 0) -> int:
    """Bits of a sample of the JPEG 2000 codestream that begins at a place; its first component."""
    return (data[at + 40] & 0x7F) + 1 if len(data) > at + 40 else 8
