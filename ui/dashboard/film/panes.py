"""Panes of stored films: the original where it is to be had, else the thumbnail and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from store import Gallery, Row
from ui.dashboard import originals
from ui.dashboard.film.viewer import INSTEAD, Pane, Source

if TYPE_CHECKING:
    from ingest import Agreement

#: Longest side of a thumbnail, in pixels: an array that is no larger is its own.
_WHOLE = 256


def pane(
    gallery: Gallery, row: Row, png: bytes | None, title: str, map_: Agreement | None = None
) -> Pane:
    """A pane of a stored film.

    Args:
        gallery: that has it.
        row: the film.
        png: its thumbnail; None where there is none.
        title: above it.
        map_: where it agrees with the other side.
    """
    from ingest import OriginalUnavailable, original_is_there

    found, said, whole = source(gallery, row), "", False
    try:
        original_is_there(gallery.uri, row)
    except OriginalUnavailable as error:
        whole = error.reason == "array" and max(row.width, row.height) <= _WHOLE
        said = str(error) if whole or png is None else f"{error} {INSTEAD}"
    size = (row.width, row.height) if row.width and row.height else None
    return Pane(title, png, _key(row), found, said, whole, size, map_)


def source(gallery: Gallery, row: Row) -> Source | None:
    """Where a film's samples are; None where they are not to be had."""
    url = originals.address(gallery, row)
    return None if url is None else Source(_key(row), url)


def sources(gallery: Gallery, ids: Sequence[str]) -> list[Source]:
    """Where the samples of some films are, of those whose samples are to be had."""
    rows = gallery.rows(ids)
    found = [source(gallery, rows[id_]) for id_ in ids if id_ in rows]
    return [one for one in found if one is not None]


def _key(row: Row) -> str:
    return row.sha256.hex()
