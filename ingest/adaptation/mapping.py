"""Mapping of a gallery by an adapted encoder: the adapted copy, of vectors that are stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ingest.encoders.adapted.files import CARD, MAP, fingerprint, read_map, read_reference
from ingest.encoders.files.contents import Contents
from store import EncoderMismatch, EncoderStamp, EncoderUnavailable

if TYPE_CHECKING:
    from store import Gallery, Progress


def map_gallery(
    gallery: Gallery, folder: str | Path, into: str | Path, progress: Progress | None = None
) -> Gallery:
    """Make the gallery that an adapted encoder would make of the same films, opening none of them.

    Ids, metadata and thumbnails are those of the old gallery, which stays as it is. The base
    encoder need not be here.

    Args:
        gallery: made by the base.
        folder: of the adapted encoder.
        into: place of the new gallery.
        progress: called with rows done and in all.

    Raises:
        EncoderUnavailable: the folder holds no sound adapted encoder.
        EncoderMismatch: the gallery was made by another encoder than its base.
        UsageError: there is something at ``into``.
    """
    place = Path(folder).expanduser().resolve()
    if not (place / CARD).is_file():
        raise EncoderUnavailable(f"{place} holds no adapted encoder; make one with: cxr adapt")
    contents = Contents(place)
    reference = read_reference(place.name, contents)
    made = read_map(place.name, contents, reference)
    if reference.base.fingerprint != gallery.stamp.fingerprint:
        raise EncoderMismatch(
            f"{place} is a map on vectors of {reference.base}, but {gallery.uri} was made by "
            f"{gallery.stamp}; give the gallery of the former, or adapt the latter into another "
            "folder"
        )
    identity = fingerprint(reference.base, contents.read(MAP).sha256)
    stamp = EncoderStamp(place.name, identity, reference.dimension, str(place))
    return gallery.mapped_copy(into, stamp, made, progress)
