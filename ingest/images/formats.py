"""Decoders of formats that Pillow does not read, or reads wrong: deep PNG, TIFF, JPEG; JPEG-LS.

PNG and TIFF of more than 8 bits (Pillow takes the high byte of 16-bit colour, does not open some,
and inverts WhiteIsZero of 8 bits only), JPEG that is lossless or of more than 8 bits, JPEG-LS, and
JPEG 2000 (Pillow multiplies 12 bits by 16). Everything else is left to Pillow. A file is looked at
first, so that its size is known before any of it is decoded.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ingest.images import jpeg, tiff
from store import BadImage

#: Numbers of one image, (height, width) grey or (height, width, 3) RGB; bright is large.
Values = npt.NDArray[Any]

_PNG = b"\x89PNG\r\n\x1a\n"
_BIG_ENDIAN_BIG = b"MM\0+"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", _BIG_ENDIAN_BIG)
_JP2 = b"\0\0\0\x0cjP  "
#: Colour type of a PNG to its samples a pixel.
_PNG_SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}
#: Chunks with which a 16-bit PNG is more than one plain picture.
_ANIMATED = b"acTL"
#: Start-of-frame markers that Pillow reads, with 8 bits: baseline, extended, progressive.
_USUAL_FRAMES = (0xC0, 0xC1, 0xC2)


@dataclass(frozen=True, slots=True)
class Found:
    """An image that one of these decoders reads.

    Attributes:
        width, height: in pixels, before ``orientation``.
        frames: how many images the file holds.
        orientation: of EXIF, 1 to 8.
        values: decodes; raises whatever the decoder stumbles over, or BadImage.
        bits: of a sample, as the file has them.
        as_stored: decodes to the file's own samples, where ``values`` has low for high.
    """

    width: int
    height: int
    values: Callable[[], Values]
    frames: int = 1
    orientation: int = 1
    bits: int = 16
    as_stored: Callable[[], Values] | None = None


def find(data: bytes, name: str) -> Found | None:
    """The decoder of a file that is not for Pillow; None when it is, or is damaged.

    Raises:
        BadImage: ``unsupported``: it is whole, and of a kind that nothing here reads.
    """
    if data.startswith(_PNG):
        return _png(data)
    if data.startswith(_TIFF):
        return _tiff(data, name)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data, name)
    if data.startswith((_JP2, jpeg.JPEG_2000)):
        return _jpeg_2000(data)
    return None


def is_deep(file: BinaryIO) -> bool:
    """Whether a PNG or TIFF has more than 8 bits a sample, by its header; False for others."""
    start = file.read(26)
    if start.startswith(_PNG):
        return start[24:25] == b"\x10"
    if start.startswith(_TIFF):
        file.seek(0)
        page = tiff.first_page(file)
        return page is not None and tiff.bits_of(page) > 8
    return False


# -- PNG -------------------------------------------------------------------------------------------


def _png(data: bytes) -> Found | None:
    """A PNG of 16 bits a sample, that is no animation."""
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    depth, colour, interlaced = data[24:25], data[25:26], data[28:29]
    if depth != b"\x10" or not colour or colour[0] not in _PNG_SAMPLES:
        return None
    chunks = _chunks(data)
    if chunks is None or _ANIMATED in chunks:
        return None
    plain = colour[0] == 0 and interlaced == b"\0" and b"tRNS" not in chunks
    values = partial(_png_grey if plain else _png_samples, data, width, height)
    return Found(width, height, values, orientation=_orientation(chunks.get(b"eXIf", b"")))


def _chunks(data: bytes) -> dict[bytes, bytes] | None:
    """The chunks of a PNG but for its pixels; None when it ends before it should."""
    found, at = dict[bytes, bytes](), len(_PNG)
    while at + 12 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if at + 12 + size > len(data):
            return None
        found[kind] = b"" if kind == b"IDAT" else data[at + 8 : at + 8 + size]
        if kind == b"IEND":
            return found if b"IDAT" in found else None
        at += 12 + size
    return None


def _png_grey(data: bytes, width: int, height: int) -> Values:
    """Grey; Rust's decoder takes half of the time that zlib and libpng take."""
    from kornia_rs import io as kornia

    try:
        values = np.asarray(kornia.decode_image_png_u16(data, (height, width), "mono"))
        return values.reshape(height, width)
    except Exception:  # Pillow says what is wrong, or reads the same values
        from PIL import Image

        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.asarray(image)


def _png_samples(data: bytes, width: int, height: int) -> Values:
    import imagecodecs

    samples = np.asarray(imagecodecs.png_decode(data))
    if samples.shape[:2] != (height, width):
        raise ValueError(f"{samples.shape} is not the size in the header")
    return _over_black(samples)


# -- TIFF ------------------------------------------------------------------------------------------


def _tiff(data: bytes, name: str) -> Found | None:
    """A TIFF of more than 8 bits a sample."""
    page = tiff.first_page(io.BytesIO(data))
    if page is None:
        return None
    if tiff.bits_of(page) <= 8:
        if data.startswith(_BIG_ENDIAN_BIG):
            raise BadImage(
                "unsupported",
                f"{name} is a big-endian BigTIFF of {tiff.bits_of(page)} bits, which is not read; "
                "convert it to PNG",
            )
        return None
    if (what := tiff.unread(page)) is not None:
        raise BadImage(
            "unsupported",
            f"{name} is a TIFF of a kind that is not read ({what}); convert it to a grey PNG of "
            "16 bits",
        )
    frames = len(page.parent.pages) if page.imagedepth == 1 else page.imagedepth
    turned = page.tags.get(274)
    orientation = turned.value if turned is not None and turned.value in range(1, 9) else 1
    values = partial(_tiff_values, page, data)
    as_stored = (
        partial(_tiff_values, page, data, as_stored=True) if tiff.is_inverted(page) else None
    )
    size = page.imagewidth, page.imagelength
    return Found(*size, values, frames, orientation, tiff.bits_of(page), as_stored)


def _tiff_values(page: Any, data: bytes, *, as_stored: bool = False) -> Values:
    samples = tiff.samples_of(page, data, as_stored=as_stored)
    return _over_black(samples, multiply=tiff.has_straight_alpha(page))


# -- the other JPEGs -------------------------------------------------------------------------------


def _jpeg(data: bytes, name: str) -> Found | None:
    """A JPEG-LS, or a JPEG that is lossless or of more than 8 bits."""
    frame = jpeg.frame_of(data)
    if frame is None or (frame.marker in (*_USUAL_FRAMES, jpeg.LOSSLESS) and frame.bits <= 8):
        return None
    if frame.marker not in (*_USUAL_FRAMES, jpeg.LOSSLESS, jpeg.JPEG_LS):
        raise BadImage(
            "unsupported",
            f"{name} is a JPEG of a kind that is not read (start of frame {frame.marker - 0xC0}: "
            "hierarchical or arithmetic coding); convert it to PNG",
        )
    if frame.components not in (1, 3):
        raise BadImage(
            "unsupported",
            f"{name} is a JPEG of {frame.components} components, lossless or of more than 8 bits; "
            "expected 1 or 3, convert it to PNG",
        )
    values = partial(_jpeg_values, data, frame.marker == jpeg.JPEG_LS)
    return Found(frame.width, frame.height, values, bits=frame.bits)


def _jpeg_values(data: bytes, is_ls: bool) -> Values:
    import imagecodecs

    if not jpeg.has_end(data):
        raise EOFError("truncated: there is no end of image")
    decoded = imagecodecs.jpegls_decode(data) if is_ls else imagecodecs.jpeg8_decode(data)
    return _over_black(np.asarray(decoded))


def _jpeg_2000(data: bytes) -> Found | None:
    """A JPEG 2000 codestream, alone or in its usual box."""
    start = data.find(jpeg.JPEG_2000, 0, 1 << 16)
    size = jpeg.jpeg_2000_size(data, start)
    if size is None or min(size) < 1:
        return None
    return Found(*size, partial(_jpeg_2000_values, data), bits=jpeg.jpeg_2000_bits(data, start))


def _jpeg_2000_values(data: bytes) -> Values:
    import imagecodecs

    return _over_black(np.asarray(imagecodecs.jpeg2k_decode(data)))


# -- samples to one picture ------------------------------------------------------------------------


def _over_black(samples: Values, *, multiply: bool = True) -> Values:
    """Samples without alpha, laid over black; grey where the three colours are one.

    Args:
        samples: (height, width) or (height, width, 1 to 4).
        multiply: whether colours still have to be multiplied by alpha.

    Raises:
        ValueError: of another shape.
    """
    if samples.ndim == 2:
        return samples
    if samples.ndim != 3 or not 1 <= samples.shape[2] <= 4:
        raise ValueError(f"samples of shape {samples.shape}: expected one picture of 1 to 4")
    alpha, colours = None, samples
    if samples.shape[2] in (2, 4):
        alpha, colours = samples[..., -1], samples[..., :-1]
    grey = colours[..., 0]
    if all(np.array_equal(grey, colours[..., i]) for i in range(1, colours.shape[2])):
        colours = grey
    if alpha is not None and multiply and samples.dtype.kind == "u":
        most = np.iinfo(samples.dtype).max
        if (alpha != most).any():
            part = alpha.astype(np.float64) / most
            part = part if colours.ndim == 2 else part[..., None]
            colours = np.rint(colours * part).astype(samples.dtype)
    return np.ascontiguousarray(colours)


def _orientation(exif: bytes) -> int:
    """Orientation by EXIF, 1 to 8; 1 for as it is."""
    if not exif:
        return 1
    from PIL import Image

    tags = Image.Exif()
    with contextlib.suppress(Exception):
        tags.load(exif)
        found = tags.get(0x0112, 1)
        return found if found in range(1, 9) else 1
    return 1


def turned(values: Values, orientation: int) -> Values:
    """Values as they are to be shown; see EXIF's tag Orientation."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)
