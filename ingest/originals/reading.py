"""Reader of originals: from a row to its own file, checked, decoded and kept for a while.

Path and root come from the gallery's own record. The file is opened folder by folder without
following a link, and the bytes that are decoded are those that were hashed. What was decoded is
kept within a bound of bytes, for as long as the file's stat is the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from ingest.images.file_tree import open_plain, read_plain
from ingest.originals.decode import decode_original
from ingest.originals.film import Original, OriginalUnavailable, Reason
from ingest.originals.kept import KEPT, Identity
from ingest.originals.roots import roots
from ingest.sources.hub.shards import open_shard, read_picture, shard_row
from store import BadImage, BadSource, Row

#: Environment variable that turns originals off: ``off``.
VARIABLE = "CXR_ORIGINALS"
#: The reasons of BadImage that say more than that a file cannot be read.
_REASONS: dict[str, Reason] = {"missing": "no_file", "not_a_file": "no_file", "link": "link"}
_SAID: dict[Reason, str] = {
    "off": "originals are turned off here",
    "no_file": "the file it came from is no longer in its place; if it was moved: cxr relocate",
    "outside": "its file lies in no folder that this gallery remembers; ingest it again, or: "
    "cxr relocate",
    "link": "a link stands on the way to its file, and links are never followed",
    "changed": "its file has other bytes than those that were ingested",
    "array": "it came as an array, not as a file",
    "vectors_only": "it came as a vector, without a picture",
    "remote": "it did not come from a folder of this machine",
    "unreadable": "its file cannot be read",
}
_NAME = "the film's file"


class HasRows(Protocol):
    """What is asked of a gallery."""

    uri: str

    def row(self, id_: str) -> Row:
        """A row by its id."""


def read_original(gallery: HasRows, id_: str) -> Original:
    """The original of a stored film, at full size and depth. Safe to call from many threads.

    Raises:
        UnknownId: no such row.
        OriginalUnavailable: it is not to be had; see its ``reason``.
    """
    row = gallery.row(id_)
    return read_original_of(gallery.uri, row)


def read_original_of(uri: str, row: Row) -> Original:
    """As read_original, of a row that is at hand."""
    path = place_of(uri, row)
    return KEPT.get((str(path), row.sha256), lambda: identity(path), lambda: _decoded(path, row))


def read_original_bytes(uri: str, row: Row) -> bytes:
    """The bytes of a row's own file, or of its row in a shard, which are those that were ingested.

    Raises:
        OriginalUnavailable: they are not to be had; see its ``reason``.
    """
    return _bytes(place_of(uri, row), row)


def place_of(uri: str, row: Row) -> Path:
    """The path of a row's own file, below a folder that the gallery ingested; nothing is opened.

    Raises:
        OriginalUnavailable: ``off``, ``remote``, ``vectors_only``, ``array``, ``outside``.
    """
    if os.environ.get(VARIABLE, "").strip().lower() == "off":
        raise unavailable("off")
    if "://" in row.source:
        raise unavailable("remote")
    if not (row.width and row.height):
        raise unavailable("vectors_only")
    shard = shard_row(row.source)
    path = Path(row.source) if shard is None else shard[0]
    if not path.is_absolute():
        raise _array(row)
    below = [_is_below(path, root) or (path == root and shard is not None) for root in roots(uri)]
    if ".." in path.parts or not any(below):
        raise unavailable("outside")
    return path


def original_is_there(uri: str, row: Row) -> None:
    """Look whether a row's own file is in its place; it is opened, not read.

    Raises:
        OriginalUnavailable: it cannot be read; whether it changed shows when it is.
    """
    identity(place_of(uri, row))


def identity(path: Path) -> Identity:
    """What tells a file from another one in its place, and from itself after a change.

    Raises:
        OriginalUnavailable: ``no_file``, ``link``, ``unreadable``.
    """
    try:
        with open_plain(path) as file:
            now = os.fstat(file.fileno())
    except BadImage as error:
        raise unavailable(_REASONS.get(error.reason, "unreadable")) from error
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns


def unavailable(reason: Reason) -> OriginalUnavailable:
    """The error for a reason."""
    return OriginalUnavailable(reason, f"The original is not shown: {_SAID[reason]}.")


def _array(row: Row) -> OriginalUnavailable:
    from ingest.images.pixels import THUMBNAIL_SIDE

    if max(row.width, row.height) <= THUMBNAIL_SIDE:
        return OriginalUnavailable(
            "array",
            f"This is the film itself: it came as an array of {row.width} x {row.height} pixels, "
            "which is kept whole.",
        )
    return unavailable("array")


def _is_below(path: Path, root: Path) -> bool:
    return path != root and path.is_relative_to(root)


def _bytes(path: Path, row: Row) -> bytes:
    shard = shard_row(row.source)
    try:
        if shard is None:
            found: Iterable[bytes] = [read_plain(path)]
        else:  # whichever column of pictures the film came from
            columns = open_shard(path).pictures()
            found = (read_picture(path, column, shard[1]) for column in columns)
        for data in found:
            if hashlib.sha256(data).digest() == row.sha256:
                return data
    except BadImage as error:
        raise unavailable(_REASONS.get(error.reason, "unreadable")) from error
    except BadSource as error:
        raise unavailable("unreadable") from error
    raise unavailable("changed")


def _decoded(path: Path, row: Row) -> Original:
    data = _bytes(path, row)
    try:
        return decode_original(data, _NAME)
    except BadImage as error:
        raise OriginalUnavailable("unreadable", f"The original is not shown: {error}.") from error
