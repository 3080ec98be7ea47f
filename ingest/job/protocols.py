"""Protocols of the job's encoder and gallery."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ingest.record import Pixels
from store import EncoderStamp, Kept, Row, Undone, UpsertReport


class ImageEncoder(Protocol):
    """Encoder of images."""

    @property
    def stamp(self) -> EncoderStamp:
        """Identity of its vectors; known without loading the model."""

    @property
    def side(self) -> int:
        """Side of the image that it sees, in pixels; 0 where that is not known."""

    def encode_images(self, images: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        """Vectors of images, float32 (n, d), unit rows."""


@runtime_checkable
class FromFiles(Protocol):
    """An encoder that was read from files, which anyone may change meanwhile."""

    def changed(self) -> str | None:
        """One sentence when its files changed since it was read; else None."""


class Target(Protocol):
    """Gallery that a job writes to; ``store.Gallery`` is one."""

    @property
    def uri(self) -> str:
        """Its location; the journal is kept beside it."""

    @property
    def stamp(self) -> EncoderStamp:
        """Identity of the encoder that made its vectors."""

    def rows(self, ids: Iterable[str]) -> dict[str, Row]:
        """Metadata of the rows of some ids, as far as they are stored."""

    def columns(self) -> Mapping[str, str]:
        """The user's own columns: name to kind."""

    def elsewhere(self, place: str, prefix: str | None) -> Iterator[tuple[str, str, bytes]]:
        """Id, source and sha256 of rows whose file is not where a folder would have it."""

    def make_room(self, columns: Mapping[str, str]) -> None:
        """Add columns of the user's own, name to kind; BadRows when one is of another kind."""

    def upsert(self, rows: Sequence[Row]) -> UpsertReport:
        """Write rows in one commit."""

    def set_readers(self, readers: Mapping[str, int]) -> None:
        """Note the version of the pixel reader for rows: id to version."""

    def update_metadata(self, rows: Sequence[Row]) -> int:
        """Correct metadata of stored rows; how many changed."""

    def settle(self) -> None:
        """Tidy after the last of many writes."""

    def kept(self) -> Kept:
        """What people decided of films, which a source does not take back."""

    def undo(self, batch: str, *, dry_run: bool = False) -> Undone:
        """Take back an ingestion's rows, or count what that would do."""
