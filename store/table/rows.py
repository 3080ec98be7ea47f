"""Schema of the table, and conversion between rows and Arrow."""

from __future__ import annotations

import math
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.errors import BadRows
from store.library import lancedb
from store.outcomes import (
    FOUND,
    NOT_LABELLED,
    NOTHING_FOUND,
    OUTCOMES,
    UNCERTAIN,
    names_nothing,
)
from store.schema import (
    COLUMNS,
    CURATED_COLUMNS,
    FINDINGS,
    EncoderStamp,
    Floats,
    Integers,
    Row,
    Vectors,
)
from store.table import custom_columns
from store.words import index

#: Schema version of new galleries; pixel_reader came with 4.
SCHEMA_VERSION = str(max(4, *(column.since for column in COLUMNS.values())))
#: Also read: the columns that a gallery of these versions lacks are added when it is next written.
OLDER_VERSIONS = tuple(map(str, range(2, int(SCHEMA_VERSION))))
#: How far from 1 a stored vector's length may be.
NORM_TOLERANCE = 1e-4

#: crc32 of a row's embedding as little-endian float32: LanceDB itself reads a flipped bit silently.
CHECKSUM = "embedding_crc32"

#: Columns that a caller may correct without a new vector.
EDITABLE = tuple(COLUMNS)
_STRINGS, _LISTS, _NUMBERS, _BOOLS = (
    tuple(name for name, column in COLUMNS.items() if column.kind == kind)
    for kind in ("string", "strings", "float", "bool")
)
#: Type of a column in the table, by its kind.
_TYPES = {**custom_columns.KINDS, "strings": pa.list_(pa.string())}
#: Null, and a table that lacks it, stand for the first reader.
READER = pa.field("pixel_reader", pa.int32())
_FIRST_READER = 1
_JOINED = (
    pa.field("id", pa.string(), nullable=False),
    *(pa.field(name, _TYPES[column.kind]) for name, column in COLUMNS.items()),
    pa.field("sha256", pa.binary(32), nullable=False),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("batch", pa.string()),
    pa.field("ingested_at", pa.timestamp("us", tz="UTC")),
    READER,
)
#: Stands for the columns of a film itself among names of columns that changed.
IMAGE = "image"
#: Columns joined to a hit: everything but the vector, the picture and the user's own.
METADATA = tuple(field.name for field in _JOINED)


def table_schema(stamp: EncoderStamp) -> Any:
    """The Arrow schema of a new gallery, with the encoder's stamp in its metadata."""
    picture = METADATA.index("batch")
    return pa.schema(
        [
            *_JOINED[:picture],
            lancedb().blob("thumbnail"),
            *_JOINED[picture:],
            pa.field("embedding", pa.list_(pa.float32(), stamp.dimension), nullable=False),
            pa.field(CHECKSUM, pa.uint32(), nullable=False),
            index.field(),
        ]
    ).with_metadata(_identity(stamp))


def _identity(stamp: EncoderStamp, version: str = SCHEMA_VERSION) -> dict[str, str]:
    """Metadata of the schema of a new table."""
    return {
        "cxr.table_uuid": uuid.uuid4().hex,
        "cxr.schema_version": version,
        "cxr.encoder": stamp.name,
        "cxr.fingerprint": stamp.fingerprint,
        "cxr.dimension": str(stamp.dimension),
        **({} if stamp.folder is None else {"cxr.encoder_folder": stamp.folder}),
        "cxr.normalised": "true",
        "cxr.stable_row_ids": "true",
    }


def restamped(schema: pa.Schema, stamp: EncoderStamp) -> pa.Schema:
    """The schema of a new table with the columns of another one, for another encoder's vectors."""
    vector = pa.field("embedding", pa.list_(pa.float32(), stamp.dimension), nullable=False)
    fields = [vector if field.name == vector.name else field for field in schema]
    version = schema_version_of(schema.metadata) or SCHEMA_VERSION
    return pa.schema(fields).with_metadata(_identity(stamp, version))


def missing_fields(schema: pa.Schema) -> list[pa.Field]:
    """The columns that a table of an older schema version does not have yet."""
    ours = [field for field in _JOINED if field.name not in schema.names]
    terms = index.missing_field(schema)
    return ours if terms is None else [*ours, terms]


def joined_columns(schema: pa.Schema) -> list[str]:
    """The columns of a table that make a row without vector and picture, the user's own included.

    Args:
        schema: the table's; one of an older version lacks some.
    """
    return [*_ours(schema), *custom_columns.kinds(schema)]


def _ours(schema: pa.Schema) -> list[str]:
    """The columns of METADATA in a schema. A name that was the user's own before stays so."""
    own = custom_columns.kinds(schema)
    return [name for name in METADATA if name in schema.names and name not in own]


def wire(schema: pa.Schema) -> pa.Schema:
    """The schema of rows to write: the table's, with a blob as plain bytes."""
    return pa.schema(
        [
            pa.field("thumbnail", pa.large_binary()) if field.name == "thumbnail" else field
            for field in schema
        ]
    )


def check_rows(rows: Sequence[Row], dimension: int) -> None:
    """Refuse rows that must not be stored.

    Raises:
        BadRows: an empty or repeated id, an age that is no number, a digest that is not 32 bytes,
            a missing embedding, one of another dimension, with NaN or infinity, or not of unit
            length.
    """
    check_metadata(rows)
    for row in rows:
        if fault := _fault(row, dimension):
            raise BadRows(f"row {row.id!r}: {fault}")
    norms = lengths(_matrix(rows, dimension))
    bad = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))  # NaN counts as bad
    if bad.size:
        first = int(bad[0])
        raise BadRows(
            f"{bad.size} of {len(rows)} embeddings are not finite and of unit length, first "
            f"{rows[first].id!r} with norm {norms[first]:.6g}; L2-normalise vectors before upsert"
        )


def _fault(row: Any, dimension: int) -> str | None:
    """Fault of a row's digest, vector, picture or time; None where there is none."""
    if not isinstance(row.ingested_at, datetime | None):
        return f"ingested_at is {_kind(row.ingested_at)}, no datetime"
    if row.ingested_at is not None and row.ingested_at.tzinfo is None:
        # Arrow would read a naive time as UTC without a word.
        return f"ingested_at {row.ingested_at} has no time zone; pass UTC"
    if not isinstance(row.sha256, bytes):
        return f"sha256 is {_kind(row.sha256)}, expected 32 bytes"
    if len(row.sha256) != 32:
        size = len(row.sha256)
        return f"sha256 has {size} bytes, expected 32; pass hashlib.sha256(...).digest()"
    if not isinstance(row.thumbnail, bytes | None):
        return f"thumbnail is {_kind(row.thumbnail)}, expected PNG bytes"
    if not is_reader_version(row.pixel_reader):
        return f"{row.pixel_reader!r} is no version of a pixel reader"
    if row.embedding is None:
        return "it has no embedding; encode it before upsert"
    if getattr(getattr(row.embedding, "dtype", None), "kind", "") not in ("f", "i", "u"):
        what = getattr(row.embedding, "dtype", None) or _kind(row.embedding)
        return f"embedding is of {what}, expected an array of real numbers"
    if row.embedding.shape != (dimension,):
        return (
            f"embedding has shape {row.embedding.shape}, this gallery holds vectors of shape "
            f"({dimension},); use the encoder that made the gallery"
        )
    return None


def lengths(vectors: Vectors) -> Floats:
    """Lengths of rows, float64 (n,)."""
    found: Floats = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return found


def _matrix(rows: Sequence[Row], dimension: int) -> Vectors:
    """The embeddings of rows, float32 (n, dimension)."""
    vectors = np.empty((len(rows), dimension), np.float32)
    for position, row in enumerate(rows):
        vectors[position] = row.embedding
    return vectors


def check_metadata(rows: Sequence[Row]) -> None:
    """Refuse metadata that no column can hold, and empty and repeated ids.

    Raises:
        BadRows: the first such row, with the value and what was expected.
    """
    seen: set[str] = set()
    for row in rows:
        if not isinstance(row.id, str):
            raise BadRows(f"id {row.id!r} is {_kind(row.id)}; ids are texts, e.g. str(id)")
        if not isinstance(row.extra, Mapping):
            raise BadRows(f"row {row.id!r}: extra is {_kind(row.extra)}, expected names and values")
        if not row.id:
            raise BadRows(f"a row from {row.source!r} has an empty id; every row needs one")
        if row.id in seen:
            raise BadRows(f"id {row.id!r} occurs twice in one batch; ids must be unique")
        texts = [row.id, row.batch]
        for name in _LISTS:
            found = getattr(row, name)
            if not isinstance(found, tuple):
                raise BadRows(f"row {row.id!r}: {name} {found!r}: expected a tuple of texts")
            texts += found
        texts += [text for n in _STRINGS if (text := getattr(row, n)) != COLUMNS[n].default]
        texts += [value for value in row.extra.values() if isinstance(value, str)]
        for text in texts:
            if not isinstance(text, str):
                raise BadRows(f"row {row.id!r}: {text!r} is {_kind(text)}, where a text belongs")
        try:
            "".join(texts).encode()
        except UnicodeEncodeError:
            wrong = next(text for text in texts if not storable(text))
            raise BadRows(
                f"row {row.id!r}: {wrong!r} has half of a character (a lone surrogate) in it and "
                "cannot be stored; decode it anew, or replace that"
            ) from None
        for name in _NUMBERS:
            value = getattr(row, name)
            if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
                raise BadRows(
                    f"row {row.id!r}: {name} {value!r} is no finite number; pass None where it is "
                    "unknown"
                )
        for name in _BOOLS:
            value = getattr(row, name)
            if not isinstance(value, bool):
                raise BadRows(f"row {row.id!r}: {name} {value!r} is neither True nor False")
        for size in (row.width, row.height):
            if not isinstance(size, int) or not 0 <= size < 2**31:
                raise BadRows(f"row {row.id!r}: {size!r} is no width or height in pixels")
        seen.add(row.id)


def storable(text: object) -> bool:
    """Whether this is a text that a table can hold: not one with half of a character in it."""
    if not isinstance(text, str):
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def normalised(rows: Sequence[Row]) -> list[Row]:
    """Rows with numpy's scalars as the numbers that they are, lists as tuples, ages as floats.

    Rows with findings are labelled.
    """
    return [_looked(replace(row, **other) if (other := _unlike(row)) else row) for row in rows]


def _looked(row: Row) -> Row:
    """A row that is labelled where it has findings, or as it says."""
    if row.labelled is None or (row.labelled is False and row.has_findings):
        return replace(row, labelled=row.has_findings)
    return row


def _unlike(row: Row) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name in (*EDITABLE, "width", "height", "batch", "pixel_reader"):
        value = getattr(row, name)
        if isinstance(value, np.generic):
            value = changes[name] = value.item()
        if name in _NUMBERS and type(value) is int:
            changes[name] = float(value)
        elif isinstance(value, list):
            changes[name] = tuple(value)
    own = row.extra.values() if isinstance(row.extra, Mapping) else ()  # else to be refused
    if any(isinstance(value, np.generic) for value in own):
        changes["extra"] = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in row.extra.items()
        }
    return changes


def fitting(rows: Sequence[Row], schema: pa.Schema) -> Sequence[Row]:
    """Rows as a gallery holds them in which a name in LATER is a column of the user's own.

    What comes for our column of that name goes to the user's, ``labelled`` alone goes nowhere; and
    where the column is ours, a value among the user's own is for it.

    Raises:
        BadRows: a text that the user's column cannot hold.
    """
    own = custom_columns.kinds(schema)
    theirs = [name for name in custom_columns.LATER if name in own]
    ours = [name for name in custom_columns.LATER if name not in own]
    kinds = {name: own[name] for name in theirs}
    return [
        _fitting(row, kinds, ours)
        if isinstance(row.extra, Mapping) and (kinds or not row.extra.keys().isdisjoint(ours))
        else row  # one with no mapping is to be refused
        for row in rows
    ]


def _fitting(row: Row, theirs: Mapping[str, str], ours: Sequence[str]) -> Row:
    extra, told = dict(row.extra), row.told
    changes: dict[str, Any] = {}
    for name, kind in theirs.items():
        value = changes[name] = COLUMNS[name].default
        if name not in extra and (value := getattr(row, name)) and isinstance(value, str):
            extra[name] = custom_columns.from_text(name, value, kind)
    for name in ours:
        value = extra.pop(name, None)
        if value is not None and getattr(row, name) == COLUMNS[name].default:
            changes[name] = str(value) if name in _STRINGS else value
            told = told if told is None else told | {name}
    return _looked(replace(row, **changes, extra=extra, told=told))


def is_reader_version(version: object) -> bool:
    """Whether this is a version of the pixel reader, or 0 for none."""
    return isinstance(version, int) and 0 <= version < 2**31


def _kind(value: object) -> str:
    return f"of type {type(value).__name__}"


def to_arrow(rows: Sequence[Row], dimension: int, schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table that the gallery accepts.

    Args:
        rows: with vectors, as check_rows lets them through.
        dimension: of the vectors.
        schema: the gallery's own, which has every column that the rows need.
    """
    vectors = _matrix(rows, dimension)
    made = {
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dimension),
        CHECKSUM: pa.array(checksums(vectors)),
    }
    return _table(rows, wire(schema), made)


def _table(rows: Sequence[Row], wire: pa.Schema, made: dict[str, pa.Array]) -> pa.Table:
    own = custom_columns.kinds(wire)
    if index.has_column(wire):
        made = {**made, index.COLUMN: index.terms_of(report_of(row) for row in rows)}
    cells = []
    for field in wire:
        cell = made.get(field.name)
        if cell is None:
            values = [_cell(row, field.name, field.name in own) for row in rows]
            try:
                cell = pa.array(values, field.type)
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                raise BadRows(
                    f"column {field.name!r} has a value that it cannot hold: "
                    f"{str(error).splitlines()[0]}"
                ) from error
        cells.append(cell)
    return pa.table(cells, schema=wire)


def checksums(vectors: Vectors) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """crc32 of each row's bytes (little-endian float32), uint32 (n,)."""
    data = np.ascontiguousarray(vectors, "<f4").data.cast("B")
    size = 4 * vectors.shape[1]
    return np.fromiter(
        (zlib.crc32(data[start : start + size]) for start in range(0, len(data), size)),
        np.uint32,
        len(vectors),
    )


def metadata_to_arrow(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Id, editable columns and the user's own, for a correction that keeps the vector.

    Args:
        rows: as check_metadata lets them through.
        schema: the gallery's own.
    """
    names = {"id", *EDITABLE, *custom_columns.kinds(schema)}
    if index.has_column(schema):
        names.add(index.COLUMN)
    return _table(rows, pa.schema([field for field in wire(schema) if field.name in names]), {})


def _cell(row: Row, column: str, own: bool) -> Any:
    value = row.extra.get(column) if own else getattr(row, column)
    return list(value) if isinstance(value, tuple) else value


def report_of(row: Row) -> str | None:
    """Report of a row: in galleries from before, perhaps in a column of the user's own."""
    own = row.extra.get(index.REPORT)
    return own if isinstance(own, str) else row.report


def from_arrow(table: pa.Table) -> list[Row]:
    """Metadata columns back to rows, in the order of the table."""
    own = custom_columns.kinds(table.schema)
    names = _ours(table.schema)
    defaults = {name: column.default for name, column in COLUMNS.items() if name in names}
    lists = [name for name in _LISTS if name in names]
    found = []
    for record in table.select([*names, *own]).to_pylist():
        extra = custom_columns.values({name: record.pop(name) for name in own}, own) if own else {}
        record |= {name: defaults[name] for name in defaults if record[name] is None}
        record |= {name: tuple(record[name]) for name in lists}
        named = record["labels"] or record.get("uncertain") or record.get("absent")
        record["labelled"] = bool(named or record.get("labelled"))
        if record.get(READER.name) is None:
            record[READER.name] = _FIRST_READER
        found.append(Row(**record, extra=extra))
    return found


def findings_columns(schema: pa.Schema) -> list[str]:
    """The columns that findings_of and outcomes_of read, as far as a table has them."""
    names = (*FINDINGS, "labelled")
    return [name for name in _ours(schema) if name in names]


def findings_of(table: pa.Table | pa.RecordBatch) -> pa.Table:
    """Labels, uncertain, absent, labelled and outcome of every row, in the order of the table.

    Args:
        table: rows with the columns of findings_columns; one of an older version lacks some.

    Returns:
        ``labels``, ``uncertain`` and ``absent``: lists of strings, none null. ``labelled``: bools.
        ``outcome``: one of store.outcomes.OUTCOMES, as a dictionary.
    """
    found = {name: _lists(table, name) for name in FINDINGS}
    places = _outcome_places(table)
    return pa.table(
        {
            **found,
            "labelled": pa.array(places != OUTCOMES.index(NOT_LABELLED)),
            "outcome": pa.DictionaryArray.from_arrays(pa.array(places, pa.int8()), OUTCOMES),
        }
    )


def outcome_counts(table: pa.Table | pa.RecordBatch) -> dict[str, int]:
    """Rows by outcome, in the order of OUTCOMES; see findings_of."""
    counts = np.bincount(_outcome_places(table), minlength=len(OUTCOMES))
    return dict(zip(OUTCOMES, counts.tolist(), strict=True))


def _outcome_places(table: pa.Table | pa.RecordBatch) -> Integers:
    """Places in OUTCOMES, int64 (n,); the same as ``outcome`` of each row."""
    labels, uncertain, absent = (_lists(table, name) for name in FINDINGS)
    named, doubted, denied = (
        np.asarray(pc.list_value_length(one)) > 0 for one in (labels, uncertain, absent)
    )
    texts = labels.flatten().dictionary_encode()
    names = np.array([not names_nothing(text) for text in texts.dictionary.to_pylist()], bool)
    found = np.zeros(len(labels), bool)
    if len(texts):
        parents = np.asarray(pc.list_parent_indices(labels))
        found[parents[names[np.asarray(texts.indices)]]] = True
    looked = denied
    if "labelled" in _ours(table.schema):
        looked = denied | np.asarray(_whole(table["labelled"]).fill_null(False))
    outcomes = [
        (found, FOUND),
        (named, NOTHING_FOUND),
        (doubted, UNCERTAIN),
        (looked, NOTHING_FOUND),
    ]
    places: Integers = np.select(
        [mask for mask, _ in outcomes],
        [OUTCOMES.index(name) for _, name in outcomes],
        OUTCOMES.index(NOT_LABELLED),
    )
    return places


def _lists(table: pa.Table | pa.RecordBatch, name: str) -> pa.ListArray:
    """A column of findings without nulls; empty lists where the table lacks it."""
    if name not in _ours(table.schema):
        return pa.repeat(pa.scalar([], _TYPES["strings"]), len(table))
    cells = _whole(table[name])
    # Filling copies all of them.
    return cells.fill_null(pa.scalar([], _TYPES["strings"])) if cells.null_count else cells


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def merged(row: Row, stored: Row | None) -> Row:
    """A row as it is to be written over a stored one, whose values it keeps where it has none.

    See Row.told. Tags and the note of a stored row are never blanked.
    """
    if stored is None:
        return row if row.told is None else replace(row, told=None)
    stay = {
        name: getattr(stored, name)
        for name in CURATED_COLUMNS
        if getattr(row, name) == COLUMNS[name].default != getattr(stored, name)
    }
    if row.told is None:
        return replace(row, **stay) if stay else row
    told = row.told | {"labelled"} if row.told.intersection(FINDINGS) else row.told
    kept = {name: getattr(stored, name) for name in EDITABLE if name not in told} | stay
    extra = custom_columns.known({**stored.extra, **row.extra})
    return _looked(replace(row, **kept, extra=extra, told=None))


def changes(row: Row, stored: Row) -> list[str]:
    """Names of the columns in which a row differs from the stored one that it is written over.

    The user's own are among them. IMAGE stands for digest, pixel reader, vector and picture; a row
    with reader 0 does not differ from one of any reader. ``labelled`` is named where findings stay.
    """
    whole = merged(row, stored)
    own, before = custom_columns.known(whole.extra), custom_columns.known(stored.extra)
    read_anew = whole.pixel_reader not in (0, stored.pixel_reader)
    ours = [name for name in EDITABLE if getattr(whole, name) != getattr(stored, name)]
    if not set(FINDINGS).isdisjoint(ours):
        ours = [name for name in ours if name != "labelled"]
    return [
        *([IMAGE] if read_anew or whole.sha256 != stored.sha256 else []),
        *ours,
        *(name for name in {**before, **own} if own.get(name) != before.get(name)),
    ]


def readers_to_arrow(readers: Mapping[str, int]) -> pa.Table:
    """Ids and pixel reader versions, for a correction of these alone."""
    key = pa.field("id", pa.string(), nullable=False)
    return pa.table([list(readers), list(readers.values())], schema=pa.schema([key, READER]))


def reader_counts(cells: pa.ChunkedArray) -> dict[int, int]:
    """Rows by the version of the pixel reader that read them, ascending."""
    counts: dict[int, int] = {}
    for one in cells.value_counts().to_pylist():
        version = _FIRST_READER if one["values"] is None else one["values"]
        counts[version] = counts.get(version, 0) + one["counts"]
    return dict(sorted(counts.items()))


def schema_version_of(metadata: dict[bytes, bytes] | None) -> str | None:
    """The schema version of one of our tables; None when it is not one of ours."""
    found = (metadata or {}).get(b"cxr.schema_version")
    return found.decode() if found else None


def stamp_of(metadata: dict[bytes, bytes] | None) -> EncoderStamp | None:
    """The stamp in a table's schema metadata; None when it is not one of ours."""
    text = {key.decode(): value.decode() for key, value in (metadata or {}).items()}
    try:
        return EncoderStamp(
            text["cxr.encoder"],
            text["cxr.fingerprint"],
            int(text["cxr.dimension"]),
            text.get("cxr.encoder_folder"),
        )
    except (KeyError, ValueError):
        return None
