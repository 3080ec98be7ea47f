"""Row, hit and encoder stamp: the values that every module of the store hands about.

A new column of metadata is one line in ``Metadata``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from datetime import date, datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from store.outcomes import Outcome, named_findings, outcome

#: A float32 matrix, one vector a row.
Vectors = npt.NDArray[np.float32]
#: A float64 array of any shape.
Floats = npt.NDArray[np.float64]
#: Positions, row ids, counts.
Integers = npt.NDArray[np.int64]
#: A value of a column of the user's own.
Value = str | int | float | bool | date
#: Callback for progress: called with the units done and the units in all.
Progress = Callable[[int, int], None]
#: Thumbnails (PNG bytes) to float32 (n, m) unit rows: a floor to compare an encoder with.
Baseline = Callable[[list[bytes]], Vectors]
#: Type of a column; ``strings`` is a list of them in every row.
Kind = Literal["string", "strings", "int", "float", "bool", "date"]
#: Kinds of columns that have an order, and so a range.
ORDERED = ("int", "float", "date")
#: Hits as JSON and as CSV, ``cxr stats``, the card of a film on the dashboard.
Output = Literal["json", "csv", "stats"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of metadata: its type, and where it plays a part.

    Attributes:
        name: of the attribute of a row, and of the column in the table.
        default: value of a row that says nothing of it.
        kind: type of its values.
        since: schema version of the table that introduced it.
        key: its name in filters; that of the column unless it has another.
        filtered: whether there is a filter on it.
        counted: whether its values are counted, and offered as filters on the dashboard. Columns
            of numbers and dates have a range instead.
        absent_from: outputs without it.
    """

    name: str
    default: Any
    kind: Kind
    since: int
    key: str = ""
    filtered: bool = True
    counted: bool = True
    absent_from: tuple[Output, ...] = ()

    def __post_init__(self) -> None:
        counted = self.counted and self.filtered and self.kind not in ORDERED
        object.__setattr__(self, "key", self.key or self.name)
        object.__setattr__(self, "counted", counted)

    @property
    def title(self) -> str:
        """Name for people, e.g. ``Label``."""
        return self.key.replace("_", " ").capitalize()


def _column(kind: Kind, default: Any = None, **traits: Any) -> Any:
    """A dataclass field whose metadata are the traits of a Column."""
    return field(default=default, metadata={"kind": kind, **traits})


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Metadata:
    """The metadata of a film, in the order of the table's columns.

    Everything else follows from these lines: the table's schema, what may be corrected, filters,
    counts, exports and the dashboard's cards. A table that lacks a column gets it when it is next
    written; rows from before have the default. Give a new column the next schema version.

    Attributes:
        labels: the findings that are present, as the source names them.
        uncertain: findings that somebody was not sure of.
        absent: findings that somebody looked for and did not find; a finding in none of the three
            is not mentioned.
        labelled: whether somebody looked: a film without findings is one in which nothing was
            found, or one that is not labelled. Findings of any of the three kinds say so
            themselves: a row with some counts as labelled, and is stored so, whatever is set.
        patient, study: pseudonyms or ids within ``dataset``.
        age: years.
        source: where the pixels came from.
        report: text of the radiologist's report; only where its ingestion was asked for.
        tags: words that users of the gallery put on the film.
        remark: a note of a user of the gallery on the film.
        extra: the user's own columns by name; see store.table.custom_columns.
    """

    labels: tuple[str, ...] = _column("strings", (), since=2, key="label")
    uncertain: tuple[str, ...] = _column("strings", (), since=3)
    absent: tuple[str, ...] = _column("strings", (), since=3)
    labelled: bool = _column("bool", False, since=5, counted=False, absent_from=("stats",))
    split: str | None = _column("string", since=2)
    dataset: str | None = _column("string", since=2)
    patient: str | None = _column("string", since=2, counted=False, absent_from=("json",))
    study: str | None = _column("string", since=5, counted=False, absent_from=("json",))
    view: str | None = _column("string", since=2, absent_from=("json", "stats"))
    sex: str | None = _column("string", since=2, absent_from=("json", "stats"))
    age: float | None = _column("float", since=2, absent_from=("json",))
    source: str = _column("string", "", since=2, filtered=False)
    report: str | None = _column(
        "string", since=6, filtered=False, absent_from=("json", "csv", "stats")
    )
    tags: tuple[str, ...] = _column("strings", (), since=6, key="tag")
    remark: str | None = _column("string", since=6, filtered=False, absent_from=("json", "stats"))
    extra: Mapping[str, Value | None] = field(default_factory=dict)

    @property
    def has_findings(self) -> bool:
        """Whether a finding is named at all: present, uncertain or absent."""
        named = (self.labels, self.uncertain, self.absent)
        return any(isinstance(one, tuple | list) and len(one) > 0 for one in named)

    @property
    def outcome(self) -> Outcome:
        """Outcome of looking at the film: found, no finding, uncertain only or not labelled."""
        return outcome(self.labels, self.labelled or self.has_findings, self.uncertain)

    @property
    def named_findings(self) -> tuple[str, ...]:
        """Findings by name, ``No finding`` alone, or none: see store.outcomes."""
        looked = self.labelled or self.has_findings
        return named_findings(self.labels, looked, self.uncertain)


#: The columns of Metadata by name, in order; without the user's own.
COLUMNS: Mapping[str, Column] = {
    one.name: Column(one.name, one.default, **one.metadata)
    for one in fields(Metadata)
    if one.metadata
}
#: Names of the columns that people of the gallery fill: no source clears them.
CURATED_COLUMNS = ("tags", "remark")
#: Names of the columns of findings: present, uncertain, absent.
FINDINGS = ("labels", "uncertain", "absent")


@dataclass(frozen=True, slots=True)
class EncoderStamp:
    """Identity of the encoder behind a gallery.

    Attributes:
        name: for people, e.g. ``cxr-clip-28``.
        fingerprint: hex sha256 over weights, configuration and preprocessing.
        dimension: length of its vectors.
        folder: where an encoder of one's own was read from, as ``load_encoder`` takes it; None of
            one that has a public name. No part of the identity.
    """

    name: str
    fingerprint: str
    dimension: int
    folder: str | None = field(default=None, compare=False)

    @property
    def address(self) -> str:
        """What finds the encoder: its folder where it came from one, else its name."""
        return self.folder or self.name

    def __str__(self) -> str:
        return f"{self.name} ({self.fingerprint[:12]}, {self.dimension}-d)"


@dataclass(frozen=True, slots=True, eq=False)
class Row(Metadata):
    """One film as the table keeps it.

    Attributes:
        id: primary key, e.g. ``pneumoniamnist/test/17``.
        sha256: 32 bytes, digest of the source (file bytes, or pixels with shape and dtype).
        embedding: float32 (d,), unit length; ``None`` in rows joined to hits.
        width, height: of the source, in pixels; 0 when there never were pixels.
        thumbnail: 8-bit PNG, longest side 256 or less; ``None`` in rows joined to hits.
        batch: name of the ingestion that wrote the row.
        ingested_at: when, in UTC.
        pixel_reader: version of the code that read the source's pixels, from 1; 0 where nothing
            read any, as for vectors that were imported. Rows from before versions were written
            have 1.
        told: names of the columns of Metadata that this row speaks of when it is written over a
            stored one: the others keep what is stored, and so do the user's own columns that
            ``extra`` does not name (one named with ``None`` becomes blank). ``None``: all of them.
            Rows that are read never have it.
    """

    id: str
    sha256: bytes
    embedding: npt.NDArray[np.float32] | None = None
    _: KW_ONLY
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
    """Counts of rows that one upsert inserted, updated and left alone.

    Attributes:
        table_version: after it.
        changed: of the rows updated, how many in which column; see store.table.rows.changes.
        labels_kept, set_aside: of rows of a source, see store.curation.kept.Respected.
    """

    inserted: int
    updated: int
    unchanged: int
    table_version: int
    changed: Mapping[str, int] = field(default_factory=dict)
    labels_kept: int = 0
    set_aside: Mapping[str, int] = field(default_factory=dict)
