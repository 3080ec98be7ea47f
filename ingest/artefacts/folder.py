r"""Reader of an export folder: embeddings in plain files, format 1 of ``cxr export``.

A folder with

``embeddings.npy``
    float32 (n, d), unit rows, C order. Row order is free; ``cxr export`` sorts by dataset, split,
    index.
``labels.npy``
    int64 (n,): an index into ``label_names`` (without meta: the number itself is the name), -1 for
    a row without a label. When any row has several labels: int64 (n, c) of 0 and 1, one column per
    name.
``faiss_index.bin`` (optional)
    ``faiss.write_index`` of an ``IndexFlatIP`` with the same vectors in the same order.
``ids.txt`` (optional)
    UTF-8, one id a line, n lines, every line ended by ``\n``; unique, no empty ones. Without it
    row i is called ``<folder name>/<i>``.
``meta.json`` (optional)
    An object. Known keys, all optional; others are kept and ignored::

        {"format": 1,
         "encoder": "cxr-clip-28", "fingerprint": "<hex>", "dimension": 128,   # all or none
         "rows": 5856, "table_version": 13,
         "label_names": ["normal", "pneumonia"],
         "columns": {"dataset": [...], "split": [...], "patient": [...],       # n values each,
                     "view": [...], "sex": [...], "age": [...],                # null = not known
                     "study": [...], "labelled": [true, false, ...],
                     "uncertain": [["edema"], ...], "absent": [[], ...]},
         "own_columns": {"ward": {"type": "int", "values": [3, null, ...]}},  # int, float, bool,
                                                         # string, date ("2024-05-01")
         "protocol": ..., "precision": ...}

    A column that is null in every row is left out. ``report`` is a column too, written by
    ``cxr export --with-reports`` and read with ``--report-column report``. ``labelled`` tells
    films in which nothing was found from those that nobody looked at; without it, rows with
    findings are labelled, and those of an (n, c) ``labels.npy`` that this project did not write.
    Without a ``dataset`` and ``split`` column, ids of the form ``dataset/split/index`` tell them.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ingest.artefacts.files import (
    EMBEDDINGS,
    FORMAT,
    IDS,
    INDEX,
    LABELS,
    META,
    OWN,
    REPORT,
    check_index,
    is_text,
    read_embeddings,
    read_ids,
    read_labels,
    read_meta,
)
from ingest.job.journal import note
from ingest.reports.personal import Reports
from ingest.reports.texts import joined
from ingest.sources.hub.columns import META_COLUMNS
from ingest.sources.source import SPLITS
from store import (
    COLUMNS,
    FINDINGS,
    KINDS,
    BadArtefacts,
    BadRows,
    EncoderMismatch,
    EncoderStamp,
    Gallery,
    Row,
    UpsertReport,
    UsageError,
    Vectors,
    expanded,
    kind_of,
    name_of,
)

__all__ = [
    "EMBEDDINGS",
    "FORMAT",
    "IDS",
    "INDEX",
    "LABELS",
    "META",
    "OWN",
    "Artefacts",
    "import_artefacts",
    "read_artefacts",
    "store_artefacts",
]


#: How ``made_by`` begins where this project wrote a folder.
_US = "cxr-retrieval"
#: End of the note about vectors whose encoder is not named.
UNKNOWN = "so they can be searched by id and evaluated, but not compared with an image or a text"
_EXTERNAL = "external:"


@dataclass(frozen=True)
class Artefacts:
    """Embeddings with ids, labels and metadata, from a folder or a table, checked together.

    Attributes:
        folder: their folder or file.
        embeddings: float32 (n, d), unit rows.
        ids: n unique ids.
        labels: n tuples of label names.
        columns: per attribute of a row that is known, n values; ``extra`` for the user's own.
        stamp: the encoder. Without one in meta.json it is ``external:<folder name>`` with the
            fingerprint ``external:<sha256 of the vectors>``: vectors of unknown origin are
            comparable with themselves alone, and the same vectors are the same encoder.
        meta: meta.json as it is; empty without one.
        notes: for a person, one sentence each: conversions, missing files.
        tells_labels: whether there are labels at all; without, stored ones stay.
        looked: of each row whether somebody looked, where that is told by how labels are written;
            a column ``labelled`` is more.
        sources: where each vector is from, e.g. ``outputs/embeddings.npy#3``.
    """

    folder: Path
    embeddings: Vectors
    ids: list[str]
    labels: list[tuple[str, ...]]
    columns: dict[str, list[Any]]
    stamp: EncoderStamp
    meta: dict[str, Any]
    notes: tuple[str, ...]
    sources: list[str]
    tells_labels: bool = True
    looked: list[bool] | None = None

    @cached_property
    def reports(self) -> Reports:
        """The reports that come along; none where they were not asked for."""
        return Reports.of(zip(self.columns.get(REPORT, ()), self.ids, strict=False))


def read_artefacts(
    folder: str | Path, *, normalise: bool = False, report_column: Sequence[str] = ()
) -> Artefacts:
    """Read and check a folder of artefacts.

    Args:
        folder: in the layout above.
        normalise: scale rows to unit length instead of refusing others.
        report_column: columns of ``meta.json``, ``report`` or the user's own, that make up the
            report, each entry one or several with commas between; no report is read when empty.

    Raises:
        BadArtefacts: a file is missing or damaged, or two disagree; the message has both sides.
    """
    place = expanded(folder)
    if not place.is_dir():
        raise BadArtefacts(f"{place} is not a folder; pass the folder that holds {EMBEDDINGS}")
    notes: list[str] = []
    meta = read_meta(place)
    raw, embeddings = read_embeddings(place / EMBEDDINGS, normalise, notes)
    rows, dimension = embeddings.shape
    for key, found in (("rows", rows), ("dimension", dimension)):
        if meta.get(key, found) != found:
            raise BadArtefacts(
                f"{place / META} says {key} {meta[key]}, but {EMBEDDINGS} has shape "
                f"({rows}, {dimension}); export both again"
            )
    labels, several = read_labels(place / LABELS, rows, meta)
    ours = str(meta.get("made_by", "")).startswith(_US)
    ids = read_ids(place, rows)
    check_index(place / INDEX, raw, embeddings, notes)
    columns = _columns(place / META, meta, ids)
    parts = [part.strip() for entry in report_column for part in entry.split(",") if part.strip()]
    if parts:
        columns[REPORT] = _reports(place / META, meta, parts, len(ids))
    unread = sorted({*(meta.get("columns") or ())} - {*META_COLUMNS, *parts})
    if REPORT in (meta.get(OWN) or ()) and REPORT not in parts:
        unread.append(REPORT)
    if unread:
        notes.append(f"columns of {META} that are not read: {', '.join(map(repr, unread))}")
    return Artefacts(
        folder=place,
        embeddings=embeddings,
        ids=ids,
        labels=labels,
        columns=columns,
        stamp=_stamp(place, meta, embeddings, notes),
        meta=meta,
        notes=tuple(notes),
        looked=[True] * rows if several and not ours else None,
        sources=[f"{place.resolve().name}/{EMBEDDINGS}#{number}" for number in range(rows)],
    )


def import_artefacts(
    folder: str | Path, uri: str | Path, *, normalise: bool = False, batch: str | None = None
) -> tuple[Gallery, UpsertReport]:
    """Read a folder of artefacts into a gallery, which is made if need be.

    Raises:
        BadArtefacts: see read_artefacts. EncoderMismatch, UsageError: see store_artefacts.
    """
    return store_artefacts(read_artefacts(folder, normalise=normalise), uri, batch=batch)


def store_artefacts(
    artefacts: Artefacts,
    uri: str | Path,
    *,
    batch: str | None = None,
    reports_checked: bool = False,
) -> tuple[Gallery, UpsertReport]:
    """Write embeddings into a gallery in one commit; doing it again changes nothing.

    Rows have no picture, and as sha256 the digest of their vector's bytes.

    Args:
        artefacts: from read_artefacts or read_table.
        uri: a new gallery, or one made by the same encoder.
        batch: name of this ingestion in the rows; time and folder when ``None``.
        reports_checked: see ``ingest.ingest``.

    Raises:
        UncheckedReports: something in the reports looks personal. Nothing is written.
        EncoderMismatch: the gallery was made by another encoder.
        UsageError: the gallery holds some of the ids with their pictures, which would be lost.
    """
    if not reports_checked:
        artefacts.reports.refuse_unchecked()
    now = datetime.now(UTC)
    name = batch or f"{now:%Y-%m-%dT%H:%M:%SZ}-{artefacts.folder.resolve().name}"
    gallery = _gallery(artefacts.stamp, uri)
    with_pictures = sorted(row.id for row in gallery.rows(artefacts.ids).values() if row.width)
    if with_pictures:
        raise UsageError(
            f"{uri} already holds {len(with_pictures)} of these ids with their pictures, first "
            f"{with_pictures[0]!r}; importing would lose those, so pass another --store"
        )
    kept = gallery.kept().applied(_rows(artefacts, name, now), gallery.rows(artefacts.ids))
    report = replace(
        gallery.upsert(kept.rows), labels_kept=kept.labels_kept, set_aside=kept.set_aside
    )
    note(gallery.uri, name, artefacts.folder.resolve(), now, report)
    return gallery, report


def _gallery(stamp: EncoderStamp, uri: str | Path) -> Gallery:
    try:
        return Gallery.create(uri, stamp)
    except EncoderMismatch as error:
        made = Gallery.open(uri).stamp
        remedy = "pass another --store"
        name = made.name.removeprefix(_EXTERNAL)
        if made == named_stamp(name, stamp.dimension):
            remedy = (
                f"if that encoder made these, too: --encoder-name {shlex.quote(name)}; else "
                f"{remedy}"
            )
        elif is_external(stamp) and is_external(made):
            remedy = (
                "vectors that name no encoder share a gallery when they come together, cxr import "
                "A B --store NEW, or under one name, cxr import A --encoder-name NAME --store NEW; "
                "or pass another --store"
            )
        raise EncoderMismatch(
            f"the gallery at {uri} holds vectors of encoder {made}, these are of {stamp}: {remedy}"
        ) from error


def _columns(path: Path, meta: dict[str, Any], ids: Sequence[str]) -> dict[str, list[Any]]:
    """Metadata of the rows: the columns of meta.json, else data set and split from usual ids.

    Args:
        path: of meta.json, for messages.
        meta: its contents.
        ids: n ids.

    Returns:
        By name of a row's attribute, n values each.

    Raises:
        BadArtefacts: a column of another length, or with a value of another type.
    """
    given = meta.get("columns") or {}
    if not isinstance(given, dict):
        raise BadArtefacts(f"{path}: columns must be an object of lists")
    columns: dict[str, list[Any]] = {}
    for name in META_COLUMNS:
        column = COLUMNS[name]
        values = _cells(path, f"columns.{name}", given.get(name), len(ids), column.kind)
        if values is not None:
            columns[name] = [column.default if value is None else value for value in values]
    parts = [id_.split("/") for id_ in ids]
    usual = [len(p) == 3 and p[1] in SPLITS and p[2].isdecimal() for p in parts]
    for position, name in enumerate(("dataset", "split")):
        if name not in columns and any(usual):
            columns[name] = [
                p[position] if told_by_id else None
                for p, told_by_id in zip(parts, usual, strict=True)
            ]
    own = _own(path, meta, len(ids))
    if own:
        columns["extra"] = [
            {name: values[row] for name, values in own.items() if values[row] is not None}
            for row in range(len(ids))
        ]
    return columns


def _reports(path: Path, meta: dict[str, Any], parts: Sequence[str], rows: int) -> list[str | None]:
    """The report of every row, of columns of meta.json."""
    found = {}
    for part in parts:
        values = (meta.get("columns") or {}).get(part)
        if values is None:
            values = ((meta.get(OWN) or {}).get(part) or {}).get("values")
        if values is None:
            raise BadArtefacts(f"{path} has no column {part!r} (--report-column)")
        found[part] = _cells(path, f"columns.{part}", values, rows, "string") or []
    return [joined((part, found[part][row] or "") for part in parts) for row in range(rows)]


def _cells(path: Path, name: str, values: Any, rows: int, kind: str) -> list[Any] | None:
    """The values of one column, None for blanks; None where there is no column."""
    if values is None:
        return None
    what, read = _READERS[kind]
    try:
        if not isinstance(values, list):
            raise TypeError
        found = [None if value is None else read(value) for value in values]
    except (TypeError, ValueError):
        raise BadArtefacts(f"{path}: {name} must be a list of {what} or null") from None
    if len(values) != rows:
        raise BadArtefacts(f"{path}: {name} has {len(values)} values for {rows} vectors")
    return found


def _own(path: Path, meta: dict[str, Any], rows: int) -> dict[str, list[Any]]:
    """The user's own columns by name, with values of their type."""
    given = meta.get(OWN) or {}
    if not isinstance(given, dict):
        raise BadArtefacts(f"{path}: {OWN} must be an object")
    found = {}
    for name, one in given.items():
        if name == REPORT:  # of a gallery from before that column; read when it is asked for
            continue
        kind, values = (one.get("type"), one.get("values")) if isinstance(one, dict) else (None, ())
        try:
            wrong = name_of(name) != name
        except BadRows:
            wrong = True
        if wrong or kind not in KINDS:
            raise BadArtefacts(
                f"{path}: {OWN}.{name} must be an object with a type ({', '.join(KINDS)}) and "
                "values, under a name in small letters that no column of ours has"
            )
        found[name] = _cells(path, f"{OWN}.{name}", values, rows, kind) or [None] * rows
    return found


def _as(kind: str, value: Any) -> Any:
    """A value that a column of this kind can hold; ValueError for others."""
    if kind_of(value) != kind or (kind == "string" and not is_text(value)):
        raise ValueError
    return value


def _number(value: Any) -> Any:
    return _as("float", float(value) if kind_of(value) in ("int", "float") else value)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_as("string", name) for name in value)


#: Kind of a column to its values in words, and to the reader of one value from JSON.
_READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "int": ("values of type int", partial(_as, "int")),
    "float": ("numbers", _number),
    "bool": ("values of type bool", partial(_as, "bool")),
    "string": ("strings", partial(_as, "string")),
    "strings": ("lists of strings", _names),
    "date": ("values of type date", date.fromisoformat),
}


def _rows(artefacts: Artefacts, batch: str, now: datetime) -> list[Row]:
    told = {"source", *artefacts.columns}
    if artefacts.tells_labels or told.intersection(FINDINGS):
        told |= {*FINDINGS}
    # A blank in a column that is there overwrites a stored value, too.
    own = dict.fromkeys(name for cells in artefacts.columns.get("extra", ()) for name in cells)
    columns = {name: values for name, values in artefacts.columns.items() if name != "extra"}
    if artefacts.looked is not None:
        columns = {"labelled": artefacts.looked, **columns}
    extras = artefacts.columns.get("extra", [{}] * len(artefacts.ids))
    return [
        Row(
            id=id_,
            sha256=hashlib.sha256(_little(vector)).digest(),
            embedding=vector,
            labels=artefacts.labels[number],
            **{column: values[number] for column, values in columns.items()},
            extra={**own, **extras[number]},
            source=artefacts.sources[number],
            batch=batch,
            ingested_at=now,
            told=frozenset(told),
        )
        for number, (id_, vector) in enumerate(
            zip(artefacts.ids, artefacts.embeddings, strict=True)
        )
    ]


def _little(vectors: Vectors) -> bytes:
    return vectors.astype("<f4", copy=False).tobytes()


def _stamp(
    folder: Path, meta: dict[str, Any], embeddings: Vectors, notes: list[str]
) -> EncoderStamp:
    name, fingerprint, dimension = meta.get("encoder"), meta.get("fingerprint"), embeddings.shape[1]
    if name and fingerprint and is_text(name) and is_text(fingerprint):
        return EncoderStamp(str(name), str(fingerprint), dimension)
    missing = f"no encoder with a fingerprint in {META}" if meta else f"no {META}"
    return external_stamp(folder.resolve().name, embeddings, notes, missing)


def external_stamp(name: str, embeddings: Vectors, notes: list[str], missing: str) -> EncoderStamp:
    """The stamp of vectors whose encoder is unknown: the same vectors are the same encoder."""
    notes.append(f"{missing}: the vectors' encoder is unknown, {UNKNOWN}")
    digest = hashlib.sha256(f"{embeddings.shape}".encode() + _little(embeddings)).hexdigest()
    return EncoderStamp(f"{_EXTERNAL}{name}", f"{_EXTERNAL}{digest}", embeddings.shape[1])


def named_stamp(name: str, dimension: int) -> EncoderStamp:
    """The stamp of vectors whose encoder has a name by the user's word alone."""
    digest = hashlib.sha256(f"named {name}".encode()).hexdigest()
    return EncoderStamp(f"{_EXTERNAL}{name}", f"{_EXTERNAL}{digest}", dimension)


def is_external(stamp: EncoderStamp) -> bool:
    """Whether a stamp is of vectors that name no encoder."""
    return stamp.name.startswith(_EXTERNAL)
