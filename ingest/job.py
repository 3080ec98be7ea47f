"""The ingestion job: source -> skip what is known -> decode -> encode -> upsert -> report.

Every batch is one commit, and the table alone says what is there: a job that was cut off anywhere
is finished by running it again. What is remembered of files saves hashing and may be lost.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ingest.journal import Journal
from ingest.pipeline import (
    Opened,
    Outcome,
    Same,
    Stage,
    in_order,
    known_of,
    open_file,
    open_record,
    same_file,
)
from ingest.record import METADATA, ImageFile, ImageRecord, Pixels, Rejection
from ingest.report import IngestReport, Progress, describe, suspicion
from ingest.sources.source import Source
from ingest.state import FileMemory, Seen, state_folder
from store.errors import BadImage, EncoderMismatch, UsageError
from store.schema import EncoderStamp, Row, UpsertReport

__all__ = ["ImageEncoder", "IngestReport", "Progress", "Target", "ingest"]

#: Images handed to the encoder at once, and their bytes; whichever comes first.
_ENCODE = 128
_ENCODE_BYTES = 24 << 20
# The encoder's threads wait for each other in a loop that keeps a core busy, while the decoding
# threads need it: measured 4 times slower. Read by OpenMP when torch is loaded, which is later.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")


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

    def make_room(self, columns: Mapping[str, str]) -> None:
        """Add columns of the user's own, name to kind; BadRows when one is of another kind."""

    def upsert(self, rows: Sequence[Row]) -> UpsertReport:
        """Write rows in one commit."""

    def update_metadata(self, rows: Sequence[Row]) -> int:
        """Correct metadata of stored rows; how many changed."""


def ingest(
    source: Source,
    gallery: Target,
    encoder: ImageEncoder,
    *,
    batch: str | None = None,
    batch_size: int = 512,
    progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    prune: Literal["list", "delete"] | None = None,
    keep_going: bool = False,
    workers: int | None = None,
    stage: Stage | None = None,
) -> IngestReport:
    """Bring a gallery up to date with a source.

    An image whose id, digest and encoder are known is not encoded again; if only its labels or
    other metadata changed, those are corrected. A file whose stat is that of its last visit is not
    even read. The model is loaded only if something must be encoded.

    Args:
        source: what to read; its records are used up.
        gallery: where to; made by the same encoder.
        encoder: from images to vectors.
        batch: name of this ingestion in the rows it writes; time and source when ``None``.
        batch_size: images per commit.
        progress: called before the first and after every batch, and about once a second.
        stop: once set, the batch in hand is finished and no other begun.
        prune: ``list`` the ids of rows whose file is gone from this source, or ``delete`` them.
            Only for a source with a root, and only when it was read to its end.
        keep_going: do not stop when more than half is refused.
        workers: threads that decode; one per core when ``None``.
        stage: opens and encodes images elsewhere, e.g. ``ingest.distributed.on_ray``; in threads
            of this process when ``None``.

    Raises:
        EncoderMismatch: the gallery belongs to another encoder. Nothing is written then.
        UsageError: a batch size below 1; a prune that would remove all or has no root.
        BadRows: a column of the user's own has another type in the gallery. Nothing is written.
        BadSource: the source broke on the way. Batches before that are in the gallery.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size must be 1 or more, got {batch_size}")
    if prune is not None and source.root is None:
        raise UsageError(f"source {source.name!r} is not a folder: there is nothing to prune")
    mine, theirs = encoder.stamp, gallery.stamp
    if (mine.fingerprint, mine.dimension) != (theirs.fingerprint, theirs.dimension):
        raise EncoderMismatch(
            f"this gallery was made by encoder {theirs}, but this is {mine}; "
            f"pass --encoder {theirs.name}, or another --store for this encoder"
        )
    if source.columns:  # a column of another type is refused before anything is encoded
        gallery.make_room(source.columns)
    now = datetime.now(UTC)
    report = IngestReport(batch or f"{now:%Y-%m-%dT%H:%M:%SZ}-{source.name}")
    report.columns = dict(source.columns)
    journal = Journal(gallery.uri, source, report, now)
    job = _Job(source, gallery, encoder, report, now, journal, progress, prune is not None)
    try:
        job.run(batch_size, stop or threading.Event(), keep_going, workers, stage)
        if prune is not None and report.stopped is None:
            from ingest.prune import prune_gone

            prune_gone(gallery, source, job.present, report, delete=prune == "delete")
        # Writes nothing; asks for the version without loading a single vector.
        report.table_version = gallery.upsert(()).table_version
    except BaseException as error:
        journal.end(f"failed: {type(error).__name__}")
        raise
    report.seconds = time.monotonic() - job.begin
    report.images_per_second = job.done / report.seconds if report.seconds > 0 else 0.0
    journal.end("stopped" if report.stopped else "finished")
    return report


class _Job:
    """One run: the counters and what they are told to."""

    def __init__(
        self,
        source: Source,
        gallery: Target,
        encoder: ImageEncoder,
        report: IngestReport,
        now: datetime,
        journal: Journal,
        progress: Callable[[Progress], None] | None,
        note_present: bool,
    ) -> None:
        self.source, self.gallery, self.encoder = source, gallery, encoder
        self.report, self.now, self.journal, self.progress = report, now, journal, progress
        self.begin = time.monotonic()
        self.done = 0
        self.present: set[str] = set()
        self._note_present = note_present
        self._told = self.begin
        self._seen_ids: set[str] = set()
        self._memory = FileMemory(state_folder(gallery.uri) if source.root else None)

    def run(
        self,
        batch_size: int,
        stop: threading.Event,
        keep_going: bool,
        workers: int | None,
        stage: Stage | None,
    ) -> None:
        """Read the source to its end, or to where it is stopped."""
        self.tell()
        pool = ThreadPoolExecutor(workers or os.cpu_count() or 1, "decode")
        batch = _Batch()
        tasks = self._tasks(batch_size, pool)
        results = stage(tasks) if stage else in_order(pool, tasks, min(2 * batch_size, 512))
        try:
            for found in results:
                if isinstance(found, _End):
                    self._commit(batch)
                    batch = _Batch()
                    self.done += found.items
                    self.tell()
                    wrong = (
                        None if keep_going else suspicion(self.report, self.done, self.source.total)
                    )
                    if wrong or stop.is_set():
                        self.report.stopped = wrong or "interrupted"
                        return
                    continue
                self._sort_in(found, batch)
                if time.monotonic() - self._told > 1:
                    self.tell(batch.count)
        finally:
            results.close()  # lets go of threads that wait for their turn
            pool.shutdown(wait=True, cancel_futures=True)
            self._memory.close()
        refused = len(self.report.rejected)
        if keep_going or 2 * refused <= self.done:
            return
        self.report.warning = describe(self.report, self.done)

    def tell(self, ahead: int = 0) -> None:
        """Progress to the caller and to the status file."""
        self._told = time.monotonic()
        stage = "encoding" if self.report.encoded else "checking"
        now = Progress(
            self.done + ahead,
            self.source.total,
            self.report.encoded,
            self._told - self.begin,
            len(self.report.rejected),
            stage,
        )
        self.journal.tell(now)
        if self.progress is not None:
            self.progress(now)

    # -- what is to be done --------------------------------------------------------------------

    def _tasks(self, size: int, pool: ThreadPoolExecutor) -> Iterator[Any]:
        """For each image a callable that opens it, or its outcome; an _End after each batch."""
        items = iter(self.source.records)
        while chunk := list(islice(items, size)):
            if self._note_present:
                self.present.update(_source_of(item) for item in chunk)
            yield from self._plan(chunk, pool)
            yield _End(len(chunk))

    def _plan(
        self, chunk: list[ImageRecord | ImageFile | Rejection], pool: ThreadPoolExecutor
    ) -> Iterator[Callable[[], Outcome] | Outcome]:
        files = [item for item in chunk if isinstance(item, ImageFile)]
        remembered = self._memory.recall([file.source for file in files])
        unchanged = {
            file.source: seen
            for file in files
            if (seen := remembered.get(file.source)) and _matches(file.path, seen)
        }
        to_ask = [f for f in files if f.id is None and f.source not in unchanged]
        told = dict(zip((f.source for f in to_ask), pool.map(_identify, to_ask), strict=True))
        named: list[tuple[str, ImageRecord | ImageFile]] = []
        for item in chunk:
            found = _name(item, unchanged, told)
            if isinstance(found, Rejection):
                yield found
            elif isinstance(item, ImageRecord | ImageFile):
                refusal = self._refuse(found, item)
                if refusal is not None:
                    yield refusal
                else:
                    named.append((found, item))
        stored = self.gallery.rows([id_ for id_, _ in named])
        for id_, item in named:
            row = stored.get(id_)
            if isinstance(item, ImageRecord):
                if row is not None and item.sha256 == row.sha256:
                    yield Same(row, known_of(item))
                else:
                    yield partial(open_record, item)
                continue
            seen, header = unchanged.get(item.source), told.get(item.source)
            if seen and row and (seen.id, seen.sha256) == (id_, row.sha256):
                yield same_file(item, row)
            else:
                yield partial(open_file, item, id_, row, _kept(item, header))

    def _refuse(self, id_: str, item: ImageRecord | ImageFile) -> Rejection | None:
        source = _source_of(item)
        if not id_:
            return Rejection(source, "no_id", "the record has an empty id; every row needs one")
        if id_ in self._seen_ids:
            return Rejection(
                source,
                "duplicate_id",
                f"id {id_!r} occurred before in this source; the first one was kept",
            )
        self._seen_ids.add(id_)
        return None

    # -- what came of it -----------------------------------------------------------------------

    def _sort_in(self, found: Outcome, batch: _Batch) -> None:
        batch.count += 1
        if isinstance(found, Rejection):
            self.report.rejected.append(found)
        elif isinstance(found, Same):
            self.report.hashed += found.hashed
            batch.same.append(found)
        elif found.vector is not None:
            self.report.hashed += found.seen is not None
            self.report.encoded += 1
            self._add(found, found.vector, batch)
        else:
            self.report.hashed += found.seen is not None
            if batch.waiting_bytes + found.pixels.nbytes > _ENCODE_BYTES:
                self._encode(batch)
            batch.waiting.append(found)
            batch.waiting_bytes += found.pixels.nbytes
            if len(batch.waiting) >= _ENCODE:
                self._encode(batch)

    def _encode(self, batch: _Batch) -> None:
        """Vectors for the images that wait; their pixels are let go."""
        if not batch.waiting:
            return
        vectors = self.encoder.encode_images([one.pixels for one in batch.waiting])
        self.report.encoded += len(batch.waiting)
        for one, vector in zip(batch.waiting, vectors, strict=True):
            self._add(one, vector, batch)
        batch.waiting, batch.waiting_bytes = [], 0

    def _add(self, one: Opened, vector: npt.NDArray[np.float32], batch: _Batch) -> None:
        batch.rows.append(
            self._row(one.id, one.sha256, one.metadata, vector, one.picture, one.size)
        )
        if one.seen is not None:
            batch.remember.append((str(one.metadata["source"]), one.seen))

    def _commit(self, batch: _Batch) -> None:
        """Write one batch and count it."""
        self._encode(batch)
        if batch.same:
            self._correct(batch.same)
        if batch.rows:
            written = self.gallery.upsert(batch.rows)
            self.report.inserted += written.inserted
            self.report.updated += written.updated
            self.report.unchanged += written.unchanged
        again = [(str(one.metadata["source"]), one.seen) for one in batch.same if one.seen]
        self._memory.remember([*batch.remember, *again])

    def _correct(self, same: list[Same]) -> None:
        wrong = [
            self._row(one.row.id, one.row.sha256, one.metadata)
            for one in same
            if any(getattr(one.row, name) != one.metadata[name] for name in METADATA)
        ]
        corrected = self.gallery.update_metadata(wrong) if wrong else 0
        self.report.updated += corrected
        self.report.unchanged += len(same) - corrected

    def _row(
        self,
        id_: str,
        sha256: bytes,
        metadata: Any,
        vector: npt.NDArray[np.float32] | None = None,
        picture: bytes | None = None,
        size: tuple[int, int] = (0, 0),
    ) -> Row:
        return Row(
            id=id_,
            sha256=sha256,
            embedding=vector,
            **{name: metadata[name] for name in METADATA},
            width=size[0],
            height=size[1],
            thumbnail=picture,
            batch=self.report.batch,
            ingested_at=self.now,
        )


class _Batch:
    """What will be one commit."""

    def __init__(self) -> None:
        self.count = 0
        self.waiting: list[Opened] = []
        self.waiting_bytes = 0
        self.rows: list[Row] = []
        self.same: list[Same] = []
        self.remember: list[tuple[str, Seen]] = []


class _End:
    """The end of a batch of so many items."""

    def __init__(self, items: int) -> None:
        self.items = items


def _source_of(item: ImageRecord | ImageFile | Rejection) -> str:
    return item.source


def _matches(path: Path, seen: Seen) -> bool:
    try:
        return seen.matches(os.lstat(path))
    except OSError:
        return False


def _identify(file: ImageFile) -> dict[str, Any] | Rejection:
    assert file.identify is not None
    try:
        return dict(file.identify(file.path, file.source))
    except BadImage as error:
        return Rejection(file.source, error.reason, str(error))
    except OSError as error:
        return Rejection(
            file.source, "unreadable", f"{file.source} cannot be read ({error.strerror})"
        )


def _name(
    item: ImageRecord | ImageFile | Rejection,
    unchanged: dict[str, Seen],
    told: dict[str, dict[str, Any] | Rejection],
) -> str | Rejection:
    """An item's id, or why it is refused."""
    if isinstance(item, Rejection):
        return item
    if item.id is not None:
        return item.id
    if item.source in unchanged:
        return unchanged[item.source].id
    answer = told[item.source]
    return answer if isinstance(answer, Rejection) else str(answer["id"])


def _kept(file: ImageFile, header: dict[str, Any] | Rejection | None) -> dict[str, Any] | None:
    """What a header told of a row, without its id."""
    if not isinstance(header, dict):
        return None
    return {name: header.get(name) for name in file.tells}
