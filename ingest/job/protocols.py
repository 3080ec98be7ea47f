"""What ingestion needs of an encoder and of a gallery."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ingest.record import Pixels
from store import EncoderStamp, Row, Undone, UpsertReport


class ImageEncoder(Protocol):
    """What the job needs of an encoder."""

    @property
    def stamp(self) -> EncoderStamp:
        """Whose vectors these are; known without loading the model."""

    @property
    def side(self) -> int:
        """Of what it sees of an image, in pixels; 0 where that is not known."""

    def encode_images(self, images: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        """float32 (n, d), unit rows."""


@runtime_checkable
class FromFiles(Protocol):
    """An encoder that was read from files, which anyone may change meanwhile."""

    def changed(self) -> str | None:
        """One sentence when its files are no longer those that it was read from."""


class Target(Protocol):
    """What the job needs of a gallery; ``store.Gallery`` is one."""

    @property
    def uri(self) -> str:
        """Where it is; what ingestion remembers is kept beside it."""

    @property
    def stamp(self) -> EncoderStamp:
        """Which encoder's vectors it holds."""

    def rows(self, ids: Iterable[str]) -> dict[str, Row]:
        """Metadata of the rows that are there."""

    def columns(self) -> Mapping[str, str]:
        """The user's own columns: name to kind."""

    def elsewhere(self, place: str, prefix: str | None) -> Iterator[tuple[str, str, bytes]]:
        """Id, source and sha256 of rows whose file is not where a folder would have it."""

    def make_room(self, columns: Mapping[str, str]) -> None:
        """Add columns of the user's own, name to kind; BadRows when one is of another kind."""

    def upsert(self, rows: Sequence[Row]) -> UpsertReport:
        """Write rows in one commit."""

    def set_readers(self, readers: Mapping[str, int]) -> None:
        """Note by which version of the pixel reader rows are right, id to version."""

    def update_metadata(self, rows: Sequence[Row]) -> int:
        """Correct metadata of stored rows; how many changed."""

    def undo(self, batch: str, *, dry_run: bool = False) -> Undone:
        """Take back what an ingestion wrote, or tell what that would do."""
