"""The ingestion job: source -> skip what is known -> encode -> upsert -> report.

Every batch is one commit, and nothing is kept between runs but the table itself: a job that was cut
off anywhere is finished by running it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ingest.images import thumbnail
from ingest.record import ImageRecord, Pixels, Rejection
from ingest.sources.source import Source
from store.errors import EncoderMismatch, UsageError
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
    def stamp(self) -> EncoderStamp:
        """Which encoder's vectors it holds."""

    def known(self, ids: Iterable[str]) -> dict[str, tuple[bytes, str]]:
        """(sha256, fingerprint) of the rows that are there."""

    def upsert(self, rows: Sequence[Row]) -> UpsertReport:
        """Write rows in one commit."""

    def update_metadata(self, rows: Sequence[Row]) -> int:
        """Correct metadata of stored rows; how many changed."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes:
        done: records and rejections dealt with.
        total: of the source.
        encoded: images that went through the encoder.
        seconds: since the start.
    """

    done: int
    total: int
    encoded: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Records dealt with per second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0


@dataclass(slots=True)
class IngestReport:
    """What an ingestion did, in images.

    Attributes:
        inserted, updated, unchanged: rows; ``updated`` counts new vectors and corrected labels.
        encoded: images that went through the encoder; none when nothing is new.
        rejected: what was refused, and why.
        seconds: how long it took.
        images_per_second: all images of the source, known ones included, per second.
        table_version: of the gallery afterwards.
        batch: name of this ingestion in the rows that it wrote.
    """

    batch: str
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    encoded: int = 0
    rejected: list[Rejection] = field(default_factory=list)
    seconds: float = 0.0
    images_per_second: float = 0.0
    table_version: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The report as ``cxr ingest --json`` prints it."""
        return {
            "inserted": self.inserted,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "encoded": self.encoded,
            "rejected": [
                {"source": one.source, "reason": one.reason, "detail": one.detail}
                for one in self.rejected
            ],
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 1),
            "table_version": self.table_version,
        }


def ingest(
    source: Source,
    gallery: Target,
    encoder: ImageEncoder,
    *,
    batch: str | None = None,
    batch_size: int = 512,
    progress: Callable[[Progress], None] | None = None,
) -> IngestReport:
    """Bring a gallery up to date with a source.

    A record whose id, digest and encoder are known is not encoded again; if only its labels or
    other metadata changed, those are corrected. The model is loaded only if something must be
    encoded.

    Args:
        source: what to read; its records are used up.
        gallery: where to; made by the same encoder.
        encoder: from images to vectors.
        batch: name of this ingestion in the rows it writes; time and source when ``None``.
        batch_size: records per commit, and so in memory at once.
        progress: called before the first and after every batch.

    Raises:
        EncoderMismatch: the gallery belongs to another encoder. Nothing is written then.
        UsageError: a batch size below 1.
        BadSource: the source broke on the way. Batches before that are in the gallery.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size must be 1 or more, got {batch_size}")
    mine, theirs = encoder.stamp, gallery.stamp
    if (mine.fingerprint, mine.dimension) != (theirs.fingerprint, theirs.dimension):
        raise EncoderMismatch(
            f"this gallery was made by encoder {theirs}, but this is {mine}; "
            f"pass --encoder {theirs.name}, or another --store for this encoder"
        )
    begin, now = time.monotonic(), datetime.now(UTC)
    report = IngestReport(batch or f"{now:%Y-%m-%dT%H:%M:%SZ}-{source.name}")
    done = 0

    def tell() -> None:
        if progress is not None:
            seconds = time.monotonic() - begin
            progress(Progress(done, source.total, report.encoded, seconds))

    tell()
    for items, records in _batches(source.records, report.rejected, batch_size):
        if records:
            _write(records, gallery, encoder, report, now)
        done += items
        tell()
    # Writes nothing; asks for the version without loading a single vector.
    report.table_version = gallery.upsert(()).table_version
    report.seconds = time.monotonic() - begin
    report.images_per_second = done / report.seconds if report.seconds > 0 else 0.0
    return report


def _batches(
    items: Iterable[ImageRecord | Rejection], rejected: list[Rejection], size: int
) -> Iterator[tuple[int, list[ImageRecord]]]:
    """Group a stream: (items read, usable records); the others are appended to ``rejected``."""
    seen: set[str] = set()
    records: list[ImageRecord] = []
    read = 0
    for item in items:
        read += 1
        refusal = item if isinstance(item, Rejection) else _refuse(item, seen)
        if refusal is not None:
            rejected.append(refusal)
        elif isinstance(item, ImageRecord):
            seen.add(item.id)
            records.append(item)
        if read == size:
            yield read, records
            records, read = [], 0
    if read:
        yield read, records


def _refuse(record: ImageRecord, seen: set[str]) -> Rejection | None:
    """Why a record cannot become a row, or None."""
    if not record.id:
        return Rejection(record.source, "no_id", "the record has an empty id; every row needs one")
    if record.id in seen:
        return Rejection(
            record.source,
            "duplicate_id",
            f"id {record.id!r} occurred before in this source; the first one was kept",
        )
    shape, dtype = record.pixels.shape, record.pixels.dtype
    grey_or_rgb = len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
    if dtype != np.uint8 or not grey_or_rgb or 0 in shape:
        return Rejection(
            record.source,
            "bad_pixels",
            f"pixels are {dtype} of shape {shape}; expected uint8 (h, w) or (h, w, 3)",
        )
    return None


def _write(
    records: list[ImageRecord],
    gallery: Target,
    encoder: ImageEncoder,
    report: IngestReport,
    now: datetime,
) -> None:
    """Bring one batch into the gallery and count it."""
    fingerprint = encoder.stamp.fingerprint
    known = gallery.known([record.id for record in records])
    new = [r for r in records if known.get(r.id) != (r.sha256, fingerprint)]
    same = [r for r in records if known.get(r.id) == (r.sha256, fingerprint)]
    if same:
        corrected = gallery.update_metadata([_row(r, report.batch, now) for r in same])
        report.updated += corrected
        report.unchanged += len(same) - corrected
    if new:
        vectors = encoder.encode_images([record.pixels for record in new])
        report.encoded += len(new)
        written = gallery.upsert(
            [
                _row(record, report.batch, now, vector, thumbnail(record.pixels))
                for record, vector in zip(new, vectors, strict=True)
            ]
        )
        report.inserted += written.inserted
        report.updated += written.updated
        report.unchanged += written.unchanged


def _row(
    record: ImageRecord,
    batch: str,
    now: datetime,
    vector: npt.NDArray[np.float32] | None = None,
    picture: bytes | None = None,
) -> Row:
    height, width = record.pixels.shape[:2]
    return Row(
        id=record.id,
        sha256=record.sha256,
        embedding=vector,
        labels=record.labels,
        split=record.split,
        dataset=record.dataset,
        patient=record.patient,
        view=record.view,
        sex=record.sex,
        age=record.age,
        source=record.source,
        width=width,
        height=height,
        thumbnail=picture,
        batch=batch,
        ingested_at=now,
    )
