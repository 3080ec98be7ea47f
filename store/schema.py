"""What one row is, and which encoder made its vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np
import numpy.typing as npt

#: A float32 matrix, one vector a row.
Vectors = npt.NDArray[np.float32]
#: Positions, row ids, counts.
Integers = npt.NDArray[np.int64]
#: What a free column may hold.
Value = str | int | float | bool | date


#: Called with what is done and what there is to do, in the same unit.
Progress = Callable[[int, int], None]


#: Thumbnails (PNG bytes) to float32 (n, m) unit rows: a floor to compare an encoder with.
Baseline = Callable[[list[bytes]], Vectors]


Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EncoderStamp:
    """Identity of the encoder behind a gallery.

    Attributes:
        name: what a person calls it, e.g. ``cxr-clip-28``.
        fingerprint: hex sha256 over weights, configuration and preprocessing.
        dimension: length of its vectors.
    """

    name: str
    fingerprint: str
    dimension: int

    def __str__(self) -> str:
        return f"{self.name} ({self.fingerprint[:12]}, {self.dimension}-d)"


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One image as the table keeps it.

    Attributes:
        id: primary key, e.g. ``pneumoniamnist/test/17``.
        sha256: 32 bytes, digest of the source (file bytes, or pixels with shape and dtype).
        embedding: float32 (d,), unit length; ``None`` in rows joined to hits.
        labels: the findings that are present; empty means not labelled.
        uncertain: findings that somebody was not sure of.
        absent: findings that somebody looked for and did not find; a finding in none of the three
            is not mentioned.
        age: years.
        source: where the pixels came from.
        extra: the user's own columns by name, without those that are blank; see
            store.table.custom_columns.
        width, height: of the source, in pixels; 0 when there never were pixels.
        thumbnail: 8-bit PNG, longest side 256 or less; ``None`` in rows joined to hits.
        batch: name of the ingestion that wrote the row.
        ingested_at: when, in UTC.
        pixel_reader: version of what made pixels of the source, from 1; 0 where nothing did, as for
            vectors that were imported. Rows from before versions were written have 1.
        told: which of the columns that may be corrected this row speaks of, when it is written
            over a stored one: the others keep what is stored, and so do the user's own columns
            that ``extra`` does not name (one named with ``None`` becomes blank). ``None``: of all.
            Rows that are read never have it.
    """

    id: str
    sha256: bytes
    embedding: npt.NDArray[np.float32] | None = None
    labels: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    split: str | None = None
    dataset: str | None = None
    patient: str | None = None
    view: str | None = None
    sex: str | None = None
    age: float | None = None
    source: str = ""
    extra: Mapping[str, Value | None] = field(default_factory=dict)
    width: int = 0
    height: int = 0
    thumbnail: bytes | None = None
    batch: str = ""
    ingested_at: datetime | None = None
    pixel_reader: int = 0
    told: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result.

    Attributes:
        rank: 1 for the most similar.
        score: cosine in [-1, 1].
        row: its metadata, without embedding and thumbnail.
    """

    rank: int
    score: float
    row: Row


@dataclass(frozen=True, slots=True)
class UpsertReport:
    """What one upsert did, in rows, and the table version after it.

    Attributes:
        changed: of the rows updated, how many in which column; see store.table.rows.changes.
    """

    inserted: int
    updated: int
    unchanged: int
    table_version: int
    changed: Mapping[str, int] = field(default_factory=dict)
