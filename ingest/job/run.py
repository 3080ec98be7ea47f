"""The ingestion job: source -> skip what is known -> decode -> encode -> upsert -> report.

Every batch is one commit, and the table alone says what is there: a job that was cut off anywhere
is finished by running it again. What is remembered of files saves hashing and may be lost.

A job that is stopped for its refusals stores nothing. Those that a table causes are counted before
anything is opened, those of a batch before it is written, and batches that were written by then are
undone. Where that would not bring back all that was there, as on object stores that keep no
replaced rows, the job is not stopped: it goes on to its end and warns.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ingest.encoders.registry import coarse_note, is_coarse
from ingest.images.reader_version import READER, is_older
from ingest.job.file_memory import FileMemory, Seen
from ingest.job.journal import Journal, entries, state_folder
from ingest.job.moved_files import check_moved
from ingest.job.pipeline import Aside, Opened, Outcome, Same, Stage, Stopped, in_order
from ingest.job.plan import End, Planner, prune_gone
from ingest.job.protocols import FromFiles, ImageEncoder, Target
from ingest.job.report import OUTCOME_KEYS, IngestReport, Progress, describe, suspicion
from ingest.record import METADATA, Rejection
from ingest.sources.source import Source
from ingest.sources.tables.blank_columns import with_blank_columns
from store import (
    Gallery,
    Kept,
    Row,
    UsageError,
    changes,
    check_encoder,
    give_back,
    outcome,
    storable,
)
from store import Outcome as LabelOutcome

# The encoder's threads wait for each other in a loop that keeps a core busy, while the decoding
# threads need it: measured 4 times slower. Read by OpenMP when torch is loaded, which is later.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

#: Images handed to the encoder at once, and their bytes; whichever comes first.
ENCODE = 128
ENCODE_BYTES = 24 << 20


@dataclass(slots=True)
class Batch:
    """Outcomes of images that will be one commit.

    Attributes:
        gallery: where to.
        encoder: from images to vectors.
        memory: notes files once their rows are written.
        report: counts.
        now: when the rows came in, in UTC.
        kept: what people decided of films.
        count: outcomes so far.
    """

    gallery: Target
    encoder: ImageEncoder
    memory: FileMemory
    report: IngestReport
    now: datetime
    kept: Kept
    count: int = 0
    _waiting: list[Opened] = field(default_factory=list)
    _waiting_bytes: int = 0
    _rows: list[Row] = field(default_factory=list)
    _same: list[Same] = field(default_factory=list)
    _remember: list[tuple[str, Seen]] = field(default_factory=list)

    def take(self, found: Outcome) -> None:
        """Add the outcome of one image; encodes when enough of them wait."""
        self.count += 1
        if isinstance(found, Rejection):
            self.report.rejected.append(found)
            return
        if isinstance(found, Opened):
            why = self.kept.digests.get(found.sha256)
            if why and not self.gallery.rows([found.id]):  # the same bytes under another name
                found = Aside(found.id, str(found.metadata.get("source", "")), why)
        if isinstance(found, Aside):
            self.report.set_aside[found.why] = self.report.set_aside.get(found.why, 0) + 1
            return
        self.report.outcomes[OUTCOME_KEYS[_outcome(found)]] += 1
        if isinstance(found, Same):
            self.report.hashed += found.hashed
            self._same.append(found)
            return
        self.report.notes.update(found.notes)
        side = getattr(self.encoder, "side", 0)
        if self.report.encoder_note is None and is_coarse(side, *found.size):
            self.report.encoder_note = coarse_note(self.encoder.stamp.name, side)
        self.report.hashed += found.seen is not None
        if found.vector is not None:
            self._add(found, found.vector)
        else:
            if self._waiting_bytes + found.pixels.nbytes > ENCODE_BYTES:
                self._encode()
            self._waiting.append(found)
            self._waiting_bytes += found.pixels.nbytes
            if len(self._waiting) >= ENCODE:
                self._encode()

    def commit(self) -> None:
        """Write everything and count it; the memory of files comes last."""
        self._encode()
        self.kept.refresh()  # somebody may have corrected labels since the batch was begun
        if self._same:
            self._correct()
        if self._rows and (kept := self._kept(self._rows)):
            written = self.gallery.upsert(kept)
            self.report.inserted += written.inserted
            self.report.updated += written.updated
            self.report.unchanged += written.unchanged
            self._count(written.changed)
        right = [one.row.id for one in self._same if is_older(one.row)]
        self.gallery.set_readers(dict.fromkeys(right, READER))
        again = [(str(one.metadata["source"]), one.seen) for one in self._same if one.seen]
        self.memory.remember([*self._remember, *again])
        give_back()

    def _encode(self) -> None:
        """Vectors for the images that wait; their pixels are let go."""
        if not self._waiting:
            return
        vectors = self.encoder.encode_images([one.pixels for one in self._waiting])
        for one, vector in zip(self._waiting, vectors, strict=True):
            self._add(one, vector)
        self._waiting, self._waiting_bytes = [], 0

    def _add(self, one: Opened, vector: npt.NDArray[np.float32]) -> None:
        self.report.encoded += 1
        self.report.reread += one.again
        row = self._row(one.id, one.sha256, one.metadata, vector, one.picture, one.size)
        self._rows.append(row)
        if one.seen is not None:
            self._remember.append((str(one.metadata["source"]), one.seen))

    def _correct(self) -> None:
        changed: Counter[str] = Counter()
        stored = {one.row.id: one.row for one in self._same}
        wrong = self._kept(
            [
                self._row(one.row.id, one.row.sha256, one.metadata)
                for one in self._same
                if not _says_as_stored(one.metadata, one.row)
            ]
        )
        for row in wrong:
            changed.update(changes(row, stored[row.id]))
        corrected = self.gallery.update_metadata(wrong) if wrong else 0
        self.report.updated += corrected
        self.report.unchanged += len(self._same) - corrected
        self._count(changed)

    def _kept(self, rows: Sequence[Row]) -> list[Row]:
        """Rows to write, without what people decided otherwise, which is counted."""
        known = [row.id for row in rows if self.kept.concerns(row)]
        found = self.kept.applied(rows, self.gallery.rows(known) if known else {})
        self.report.labels_kept += found.labels_kept
        for why, count in found.set_aside.items():
            self.report.set_aside[why] = self.report.set_aside.get(why, 0) + count
        return found.rows

    def _count(self, changed: Mapping[str, int]) -> None:
        for name, count in changed.items():
            self.report.changed[name] = self.report.changed.get(name, 0) + count

    def _row(
        self,
        id_: str,
        sha256: bytes,
        metadata: Mapping[str, Any],
        vector: npt.NDArray[np.float32] | None = None,
        picture: bytes | None = None,
        size: tuple[int, int] = (0, 0),
    ) -> Row:
        return Row(
            id=id_,
            sha256=sha256,
            embedding=vector,
            **{name: metadata[name] for name in METADATA if name in metadata},
            width=size[0],
            height=size[1],
            thumbnail=picture,
            batch=self.report.batch,
            ingested_at=self.now,
            told=frozenset(metadata),
            pixel_reader=0 if vector is None else READER,
        )


def _outcome(found: Opened | Same) -> LabelOutcome:
    """Outcome of an image's findings: those told now, else those stored."""
    told = found.metadata
    if "labels" in told or isinstance(found, Opened):
        labels, labelled, uncertain = (
            told.get(name, METADATA[name]) for name in ("labels", "labelled", "uncertain")
        )
        return outcome(labels, labelled, uncertain)
    return found.row.outcome


def _says_as_stored(told: Mapping[str, Any], row: Row) -> bool:
    return all(
        all(row.extra.get(own) == cell for own, cell in value.items())
        if name == "extra"
        else getattr(row, name) == value
        for name, value in told.items()
        if name in METADATA
    )


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
    clear: Sequence[str] = (),
    take_over: bool = False,
    reports_checked: bool = False,
) -> IngestReport:
    """Bring a gallery up to date with a source.

    An image whose id, digest and encoder are known is not encoded again; if only its labels or
    other metadata changed, those are corrected. Columns of which the source does not speak keep
    what is stored, also where the image itself changed. A file whose stat is that of its last
    visit is not even read. The model is loaded only if something must be encoded.

    Args:
        source: what to read; its records are used up.
        gallery: where to; made by the same encoder.
        encoder: from images to vectors.
        batch: name of this ingestion in the rows it writes; time and source when ``None``.
        batch_size: images per commit; fewer where the source says so.
        progress: called before the first and after every batch, and about once a second.
        stop: once set, the batch in hand is finished and no other begun.
        prune: ``list`` the ids of rows whose file is gone from this source, or ``delete`` them.
            Only for a source with a root, and only when it was read to its end.
        keep_going: do not stop when more than half is refused.
        workers: threads that decode; one per core when ``None``.
        stage: opens and encodes images elsewhere, e.g. ``ingest.on_ray``; in threads of this
            process when ``None``.
        clear: columns to blank for the images of this source where it tells nothing else; see
            ingest.sources.tables.blank_columns.
        take_over: let films take the place of stored ones that came from another folder under the
            same ids and have other bytes; see ingest.job.moved_files.
        reports_checked: somebody looked at the reports and knows that they may be stored, whatever
            looks personal in them; see ingest.reports.personal.

    Raises:
        EncoderMismatch: the gallery belongs to another encoder. Nothing is written then.
        UncheckedReports: something in the reports looks personal. Nothing is written.
        UsageError: a batch size below 1; a prune that would remove all or has no root; a column to
            clear that is not there; films from another folder under stored ids. Nothing is written.
        BadRows: a column of the user's own has another type in the gallery. Nothing is written.
        BadSource: the source broke on the way. Batches before that are in the gallery.
    """
    batch_size = min(batch_size, source.batch or batch_size)
    if batch_size < 1:
        raise UsageError(f"batch_size must be 1 or more, got {batch_size}")
    if batch is not None and not storable(batch):
        raise UsageError(f"batch {batch!r} is no text that can be stored; choose another name")
    if prune is not None and source.root is None:
        raise UsageError(f"source {source.name!r} is not a folder: there is nothing to prune")
    if source.remote and stage is not None:
        raise UsageError(f"source {source.name!r} is fetched by this machine alone; no --ray")
    check_encoder(f"the gallery at {gallery.uri}", gallery.stamp, encoder.stamp)
    if not reports_checked:
        source.reports.refuse_unchecked()
    if clear:
        source = with_blank_columns(source, clear, {**gallery.columns(), **source.columns})
    wrong = None if keep_going else suspicion(source.refused, source.total, source.total)
    memory = FileMemory(state_folder(gallery.uri) if source.root else None)
    hashed = 0
    if not (take_over or wrong):
        try:
            source, hashed = check_moved(source, gallery, memory, _hashing(progress))
        except BaseException:
            memory.close()
            raise
    if source.columns and not wrong:  # another type is refused before anything is encoded
        gallery.make_room(source.columns)
    now = datetime.now(UTC)
    report = IngestReport(batch or f"{now:%Y-%m-%dT%H:%M:%SZ}-{source.name}")
    report.columns, report.hashed = dict(source.columns), hashed
    report.labelling = dict(source.labelling)
    if source.reports.films:
        report.reports = source.reports.as_dict()
    journal = Journal(gallery.uri, source, report, now)
    planner = Planner(
        gallery,
        memory,
        note_present=prune is not None,
        side=getattr(encoder, "side", 0),
        tells=source.tells,
        kept=gallery.kept(),
    )
    job = _Job(source, gallery, encoder, report, now, journal, memory, progress, planner)
    try:
        if wrong:
            job.refuse(wrong)
        else:
            job.run(batch_size, stop or threading.Event(), keep_going, workers, stage)
        if prune is not None and report.stopped is None:
            prune_gone(gallery, source, planner.present, report, delete=prune == "delete")
        if report.encoded and isinstance(encoder, FromFiles):
            report.encoder_changed = encoder.changed()
        if report.inserted or report.updated:
            gallery.settle()
        # Writes nothing; asks for the version without loading a single vector.
        report.table_version = gallery.upsert(()).table_version
    except BaseException as error:
        journal.end(f"failed: {type(error).__name__}")
        raise
    report.seconds = time.monotonic() - job.begin
    report.images_per_second = job.done / report.seconds if report.seconds > 0 else 0.0
    journal.end("stopped" if report.stopped else "finished")
    return report


def clear_away(gallery: Gallery) -> bool:
    """Remove a gallery that its first ingestion left without rows, and that ingestion's journal.

    Returns:
        Whether it is gone; one that has rows, or had others before, stays as it is.
    """
    if len(entries(gallery.uri)) > 1 or not gallery.remove_if_empty():
        return False
    shutil.rmtree(state_folder(gallery.uri), ignore_errors=True)
    if "://" not in gallery.uri:
        with suppress(OSError):  # others' files may be in there
            Path(gallery.uri).rmdir()
    return True


def _hashing(
    progress: Callable[[Progress], None] | None,
) -> Callable[[int, int], None] | None:
    """A callback for files hashed before anything is planned, to see what was moved."""
    if progress is None:
        return None
    begin = time.monotonic()
    return lambda done, total: progress(
        Progress(done, total, 0, time.monotonic() - begin, 0, "checking")
    )


@dataclass(slots=True)
class _Job:
    """One run over a source: its batches, its counters, its reports of progress."""

    source: Source
    gallery: Target
    encoder: ImageEncoder
    report: IngestReport
    now: datetime
    journal: Journal
    memory: FileMemory
    progress: Callable[[Progress], None] | None
    planner: Planner
    begin: float = field(default_factory=time.monotonic)
    done: int = 0
    _reported: float = 0.0

    def refuse(self, wrong: str) -> None:
        """End before anything is opened, because of refusals that are known before."""
        self.memory.close()
        self.report.rejected, self.report.stopped = list(self.source.refused), wrong

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
        batch = self._batch()
        stoppable = not keep_going
        tasks = self.planner.tasks(iter(self.source.records), batch_size, pool)
        results = stage(tasks) if stage else in_order(pool, tasks, min(2 * batch_size, 512))
        try:
            for found in results:
                if isinstance(found, End):
                    self.done += found.items
                    seen = self.report.rejected, self.done, self.source.total
                    wrong = suspicion(*seen) if stoppable else None
                    if wrong and self._taken_back():
                        self.tell()
                        self.report.stopped = wrong
                        return
                    stoppable = stoppable and not wrong
                    batch.commit()
                    batch = self._batch()
                    self.tell()
                    if stop.is_set():
                        self.report.stopped = "interrupted"
                        return
                    continue
                batch.take(found)
                if time.monotonic() - self._reported > 1:
                    self.tell(batch.count)
        except Stopped:
            self.report.stopped = "interrupted"
            return
        finally:
            results.close()  # lets go of threads that wait for their turn
            pool.shutdown(wait=True, cancel_futures=True)
            self.memory.close()
        refused = len(self.report.rejected)
        if keep_going or 2 * refused <= self.done:
            return
        self.report.warning = describe(self.report.rejected, self.done)

    def _taken_back(self) -> bool:
        """Undo what this job wrote so far, unless that leaves anything else than there was."""
        report = self.report
        wrote = report.inserted, report.updated
        if wrote == (0, 0):
            return True
        would = self.gallery.undo(report.batch, dry_run=True)
        if (would.removed, would.restored + would.corrected) != wrote or would.later or would.lost:
            return False
        self.gallery.undo(report.batch)
        report.inserted = report.updated = 0
        report.changed.clear()
        return True

    def _batch(self) -> Batch:
        return Batch(
            self.gallery, self.encoder, self.memory, self.report, self.now, self.planner.kept
        )

    def tell(self, ahead: int = 0) -> None:
        """Report progress to the caller and to the status file."""
        self._reported = time.monotonic()
        stage = "encoding" if self.report.encoded else "checking"
        now = Progress(
            self.done + ahead,
            self.source.total,
            self.report.encoded,
            self._reported - self.begin,
            len(self.report.rejected),
            stage,
            self.report.encoder_note,
        )
        self.journal.tell(now)
        if self.progress is not None:
            self.progress(now)
