"""One batch on its way into the gallery: images wait for the encoder, rows for the commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.images.readers import READER, is_older
from ingest.job.file_memory import FileMemory, Seen
from ingest.job.pipeline import Opened, Outcome, Same
from ingest.job.protocols import ImageEncoder, Target
from ingest.job.report import IngestReport
from ingest.record import METADATA, Rejection
from ingest.sources.tables.findings import Outcome as LabelOutcome
from ingest.sources.tables.findings import outcome
from store.memory import give_back
from store.schema import Row
from store.table.rows import changes

#: Images handed to the encoder at once, and their bytes; whichever comes first.
ENCODE = 128
ENCODE_BYTES = 24 << 20


class Batch:
    """What will be one commit.

    Args:
        gallery: where to.
        encoder: from images to vectors.
        memory: told of files once their rows are written.
        report: counts.
        now: when the rows came in, in UTC.

    Attributes:
        count: outcomes so far.
    """

    def __init__(
        self,
        gallery: Target,
        encoder: ImageEncoder,
        memory: FileMemory,
        report: IngestReport,
        now: datetime,
    ) -> None:
        self.count = 0
        self._gallery, self._encoder, self._memory = gallery, encoder, memory
        self._report, self._now = report, now
        self._waiting: list[Opened] = []
        self._waiting_bytes = 0
        self._rows: list[Row] = []
        self._same: list[Same] = []
        self._remember: list[tuple[str, Seen]] = []

    def take(self, found: Outcome) -> None:
        """Sort in what came of one image; encodes when enough of them wait."""
        self.count += 1
        if isinstance(found, Rejection):
            self._report.rejected.append(found)
            return
        self._report.outcomes[_outcome(found)] += 1
        if isinstance(found, Opened):
            self._report.notes.update(found.notes)
        if isinstance(found, Same):
            self._report.hashed += found.hashed
            self._same.append(found)
        elif found.vector is not None:
            self._report.hashed += found.seen is not None
            self._report.encoded += 1
            self._report.reread += found.again
            self._add(found, found.vector)
        else:
            self._report.hashed += found.seen is not None
            if self._waiting_bytes + found.pixels.nbytes > ENCODE_BYTES:
                self._encode()
            self._waiting.append(found)
            self._waiting_bytes += found.pixels.nbytes
            if len(self._waiting) >= ENCODE:
                self._encode()

    def commit(self) -> None:
        """Write everything and count it; what is remembered of files comes last."""
        self._encode()
        if self._same:
            self._correct()
        if self._rows:
            written = self._gallery.upsert(self._rows)
            self._report.inserted += written.inserted
            self._report.updated += written.updated
            self._report.unchanged += written.unchanged
            self._count(written.changed)
        right = [one.row.id for one in self._same if is_older(one.row)]
        self._gallery.set_readers(dict.fromkeys(right, READER))
        again = [(str(one.metadata["source"]), one.seen) for one in self._same if one.seen]
        self._memory.remember([*self._remember, *again])
        give_back()

    def _encode(self) -> None:
        """Vectors for the images that wait; their pixels are let go."""
        if not self._waiting:
            return
        vectors = self._encoder.encode_images([one.pixels for one in self._waiting])
        self._report.encoded += len(self._waiting)
        self._report.reread += sum(one.again for one in self._waiting)
        for one, vector in zip(self._waiting, vectors, strict=True):
            self._add(one, vector)
        self._waiting, self._waiting_bytes = [], 0

    def _add(self, one: Opened, vector: npt.NDArray[np.float32]) -> None:
        row = self._row(one.id, one.sha256, one.metadata, vector, one.picture, one.size)
        self._rows.append(row)
        if one.seen is not None:
            self._remember.append((str(one.metadata["source"]), one.seen))

    def _correct(self) -> None:
        wrong = []
        changed: Counter[str] = Counter()
        for one in self._same:
            if _says_as_stored(one.metadata, one.row):
                continue
            wrong.append(self._row(one.row.id, one.row.sha256, one.metadata))
            changed.update(changes(wrong[-1], one.row))
        corrected = self._gallery.update_metadata(wrong) if wrong else 0
        self._report.updated += corrected
        self._report.unchanged += len(self._same) - corrected
        self._count(changed)

    def _count(self, changed: Mapping[str, int]) -> None:
        for name, count in changed.items():
            self._report.changed[name] = self._report.changed.get(name, 0) + count

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
            batch=self._report.batch,
            ingested_at=self._now,
            told=frozenset(metadata),
            pixel_reader=0 if vector is None else READER,
        )


def _outcome(found: Opened | Same) -> LabelOutcome:
    """What the labels of an image say: as it is told, or as it is stored where it is not."""
    said = found.metadata
    if "labels" in said or isinstance(found, Opened):
        return outcome(said.get("labels", ()), bool(said.get("labelled")))
    row = found.row
    return outcome(row.labels, bool(row.uncertain or row.absent))


def _says_as_stored(told: Mapping[str, Any], row: Row) -> bool:
    return all(
        all(row.extra.get(own) == cell for own, cell in value.items())
        if name == "extra"
        else getattr(row, name) == value
        for name, value in told.items()
        if name in METADATA
    )
