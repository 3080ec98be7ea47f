"""What every source returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ingest.record import ImageRecord, Rejection
from store.errors import BadSource


@dataclass(frozen=True, slots=True)
class Source:
    """Images on their way in, read as they are asked for.

    Attributes:
        name: a short name for batches and reports, e.g. ``pneumoniamnist``.
        total: how many records and rejections ``records`` yields.
        records: to be read once. May raise BadSource on the way.
        note: a warning for a person, one sentence; ``None`` when all is as it should be.
    """

    name: str
    total: int
    records: Iterator[ImageRecord | Rejection]
    note: str | None = None


class SourceUnavailable(BadSource):
    """A data set that is not on this machine and could not be fetched; nothing is damaged."""
