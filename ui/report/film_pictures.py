"""Pictures of films for figures and hand-outs: originals at the size printed, or thumbnails."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest import Pixels

if TYPE_CHECKING:
    from store import Gallery, Row

#: PNG bytes of a thumbnail, pixels of an original, or nothing.
Picture = bytes | Pixels | None


@dataclass(frozen=True, slots=True, eq=False)
class FilmPictures:
    """Pictures of some films by id, and which of them are thumbnails though they had more.

    Attributes:
        by_id: uint8 pixels of the original as its file asks to be seen, or the stored PNG; None
            where there is neither.
        originals: how many are originals.
        instead: id to a sentence, for those shown by their thumbnail because the original is not
            to be had. A film that came as an array of that size is no such case.
    """

    by_id: Mapping[str, Picture]
    originals: int = 0
    instead: Mapping[str, str] = field(default_factory=dict)

    def png(self, id_: str) -> bytes | None:
        """PNG of a film's picture; None where there is none."""
        from PIL import Image

        found = self.by_id[id_]
        if found is None or isinstance(found, bytes):
            return found
        file = io.BytesIO()
        Image.fromarray(found).save(file, "PNG", compress_level=4)
        return file.getvalue()

    @property
    def note(self) -> str:
        """For a footer: what the pictures are; empty where every film is its own thumbnail."""
        if not self.instead:
            return "pictures from the films' own files" if self.originals else ""
        shown = self.originals + len(self.instead)
        return f"{len(self.instead)} of {shown} pictures are thumbnails: no original at hand"


def film_pictures(gallery: Gallery, rows: Iterable[Row], longest: int) -> FilmPictures:
    """Pictures of stored films.

    Args:
        gallery: theirs.
        rows: the films, each any number of times.
        longest: of their sides where they are printed, in pixels.
    """
    from ingest import THUMBNAIL_SIDE, OriginalUnavailable, pictures

    films = {row.id: row for row in rows}
    thumbnails = gallery.thumbnails(sorted(films))
    # A thumbnail without loss is the film: nothing to read.
    larger = [row for row in films.values() if max(row.width, row.height) > THUMBNAIL_SIDE]
    found = pictures(gallery.uri, larger, longest)
    originals = {id_: one for id_, one in found.items() if not isinstance(one, OriginalUnavailable)}
    instead = {id_: str(one) for id_, one in found.items() if isinstance(one, OriginalUnavailable)}
    return FilmPictures({**thumbnails, **originals}, len(originals), instead)
