"""What ingestion needs of an encoder and of a gallery."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ingest.record import Pixels
from store.schema import EncoderStamp, Row, UpsertReport


class ImageEncoder(Protocol):
    """What the job needs of an encoder."""

    @property
    def stamp(self) -> EncoderStamp:
        """Whose vectors these are; known without loading the model."""

    def encode_images(self, images: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        """float32 (n, d), unit rows."""


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

    def make_room(self, columns: Mapping[str, str]) -> None:
        """Add columns of the user's own, name to kind; BadRows when one is of another kind."""

    def upsert(self, rows: Sequence[Row]) -> UpsertReport:
        """Write rows in one commit."""

    def update_metadata(self, rows: Sequence[Row]) -> int:
        """Correct metadata of stored rows; how many changed."""
