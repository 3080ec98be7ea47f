"""Version of the pixel reader, and the films that it reads otherwise than older ones did.

Every row says which version made its pixels. A film whose reading changed since then is read again
when its source is next ingested, though its bytes and the encoder are the same; others are noted to
be right by the newest version. Which these are, a file's header tells, or the size of an image.

1: until version 0.1.0. 2: values of more than 8 bits go by ``ingest.images.tones.value_range``
rather than by a guessed depth, WhiteIsZero of 16 bits is inverted, 16-bit colour keeps all its
bits, large images are averaged over blocks before the encoder resizes them, and what
``ingest.images.dicom.read`` says.
"""

from __future__ import annotations

from typing import BinaryIO

from ingest.images.dicom import read
from ingest.images.formats import is_deep
from ingest.images.pixels import reduction
from store import Row

READER = 2


def is_older(row: Row) -> bool:
    """Whether a row's pixels were made by an older version than this one."""
    return 0 < row.pixel_reader < READER


def is_read_anew(row: Row, side: int, file: BinaryIO | None = None) -> bool:
    """Whether the film of an older row gives other pixels, or another vector, today.

    Args:
        row: its row.
        side: of what the encoder sees; see ``ingest.images.pixels.reduction``.
        file: at its start, to look into its header; none where the source has arrays.
    """
    if not is_older(row):
        return False
    if reduction(row.height, row.width, side) > 1:
        return True
    if file is None:
        return False
    start = file.read(132)
    file.seek(0)
    return read.is_read_anew(file) if start[128:] == b"DICM" else is_deep(file)
