"""Pictures of exported films: the gallery's thumbnails, or the bytes of their own files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from ingest import Original
    from store import Gallery, Row

Pictures = Literal["thumbnails", "originals"]
#: Formats that every reader of pictures opens, by Pillow's names, and their endings.
_FORMATS = {"PNG": "png", "JPEG": "jpg", "TIFF": "tif", "WEBP": "webp", "BMP": "bmp"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A film as it is written.

    Attributes:
        data: bytes of the file.
        ending: of its name.
        converted: whether it is PNG made of a file that is more than a picture.
    """

    data: bytes
    ending: str = "png"
    converted: bool = False


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A film that is not written, with a reason code and a sentence for a person."""

    id: str
    reason: str
    detail: str


def pictures_of(
    gallery: Gallery, rows: Sequence[Row], kind: Pictures
) -> Iterator[tuple[Row, Picture | LeftOut]]:
    """The picture of each row, in their order, or why there is none; never another kind instead.

    A film that came as a small array is kept whole: its thumbnail is the film, and counts as its
    original.
    """
    kept = gallery.thumbnails([row.id for row in rows])
    for row in rows:
        if kind == "thumbnails":
            data = kept.get(row.id)
            none = LeftOut(row.id, "vectors_only", "it came as a vector, without a picture")
            yield row, none if data is None else Picture(data)
        else:
            yield row, _original(gallery.uri, row, kept.get(row.id))


def _original(uri: str, row: Row, thumbnail: bytes | None) -> Picture | LeftOut:
    from PIL import Image

    from ingest import OriginalUnavailable, decode_original, read_original_bytes
    from store import BadImage

    try:
        data = read_original_bytes(uri, row)
    except OriginalUnavailable as error:
        if error.reason == "array" and thumbnail is not None and _is_whole(row, thumbnail):
            return Picture(thumbnail)
        return LeftOut(row.id, error.reason, str(error))
    try:
        with Image.open(io.BytesIO(data), formats=list(_FORMATS)) as image:
            return Picture(data, _FORMATS[str(image.format)])
    except OSError:  # DICOM, JPEG-LS, JPEG 2000: no picture to every reader
        pass
    try:
        return Picture(_png(decode_original(data, row.id)), converted=True)
    except BadImage as error:
        return LeftOut(row.id, error.reason, str(error))


def _is_whole(row: Row, thumbnail: bytes) -> bool:
    """Whether a thumbnail has all the pixels of its film."""
    from PIL import Image

    with Image.open(io.BytesIO(thumbnail)) as image:
        return image.size == (row.width, row.height)


def _png(film: Original) -> bytes:
    """The stored values of a film as PNG, from 0 on, bright is dense; nothing of its header."""
    from PIL import Image

    values = film.values.astype(np.int32)
    values = film.high - values if film.inverted else values - film.low
    deep = int(values.max(initial=0)) > 255 and values.ndim == 2
    file = io.BytesIO()
    if values.ndim == 3 and film.values.dtype != np.uint8:
        values = values >> 8  # PNG of 16-bit colour is beyond Pillow
    image = Image.fromarray(values.astype(np.uint16 if deep else np.uint8))
    image.save(file, "PNG")
    return file.getvalue()
