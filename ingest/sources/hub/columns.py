"""Columns of an Arrow table that a row has: metadata, ids, paths; found by their usual headings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from ingest import metadata
from ingest.metadata import OLDEST, parse_age
from ingest.reports.texts import joined
from ingest.sources.hub.labels import class_names, column_headed, feature_names, plain
from store import COLUMNS, CURATED_COLUMNS, FINDINGS, BadArtefacts

#: Of ids. A column that has one of these must hold an id in every row, and no two the same.
IDS = ("id", "ids", "imageid", "image", "name", "imageindex")
#: Of ids of films: taken unasked where every row has one of its own.
FILM_IDS = ("id", "ids", "imageid", "imageindex", "dicomid", "sopinstanceuid")
#: Of files and keys: ids where every row has one of its own.
FILES = (
    *("imagepath", "path", "paths", "filepath", "filename", "file", "files", "filenames"),
    *("key", "keys", "imagename", "uid", "dicomid", "sopinstanceuid", "url"),
)
#: Columns of Metadata that a table may hold, as an export folder has them. Labels are read by
#: themselves, and the source of a row is the table.
META_COLUMNS = tuple(
    sorted(
        (name for name in COLUMNS if name not in ("labels", "source", "report")),
        key=lambda name: (name in FINDINGS, name != "dataset"),
    )
)
#: Of columns of a row, beside their own names.
_OTHERS = {
    "sex": ("gender", "patientsex", "patientgender"),
    "age": ("patientage", "ageyears"),
    "view": ("viewposition", "projection"),
    "patient": ("patientid", "subjectid", "subject"),
    "study": ("studyid", "studyinstanceuid", "studyuid", "accession", "accessionnumber"),
}


#: Of a column that keeps the number of rows while tables are joined.
_ROWS = "\0rows"


def is_name(kind: pa.DataType) -> bool:
    """Whether a column of this type holds names: texts, or whole numbers."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = ("string", "large_string", "string_view", "integer")
    return any(getattr(pa.types, f"is_{name}")(kind) for name in texts)


def paths_in(table: pa.Table, heading: str) -> list[str]:
    """Paths or keys in a column, or those of the pictures in it; empty for other columns."""
    kind = table.schema.field(heading).type
    if pa.types.is_struct(kind) and kind.get_field_index("path") >= 0:
        return [str((cell or {}).get("path") or "") for cell in table[heading].to_pylist()]
    if plain(heading) in FILES and is_name(kind):
        return ["" if cell is None else str(cell) for cell in table[heading].to_pylist()]
    return []


def metadata_headings(table: pa.Table) -> dict[str, str]:
    """Column of a row to its heading in the table, where there is one."""
    found: dict[str, str] = {}
    for name in META_COLUMNS:
        if name in CURATED_COLUMNS:  # an export has them, other tables mean something else
            continue
        heading = column_headed(table, [plain(name)])
        if heading is None:
            heading = column_headed(table, _OTHERS.get(name, ()))
            if heading is not None and not is_name(table.schema.field(heading).type):
                continue
        # Of that name somebody may have another column.
        boolean = heading is not None and pa.types.is_boolean(table.schema.field(heading).type)
        if heading is not None and (boolean or name != "labelled"):
            found[name] = heading
    return found


def metadata_columns(table: pa.Table, path: Path, notes: list[str]) -> dict[str, list[Any]]:
    """Values of each column of a row that the table has, by the column's name.

    Args:
        table: all columns.
        path: of the file, for messages.
        notes: sentences for a person are added.

    Raises:
        BadArtefacts: a column of values that this column of a row cannot hold.
    """
    found: dict[str, list[Any]] = {}
    for name, heading in metadata_headings(table).items():
        if COLUMNS[name].kind == "strings":
            found[name] = _names(table, path, heading)
            continue
        called = dict(enumerate(feature_names(table.schema, heading)))
        read = partial(_cell, name, called)
        bad: list[Any] = []
        cells = []
        for value in table[heading].to_pylist():
            blank = value is None or (isinstance(value, float) and math.isnan(value))
            cell = None if blank else read(value)
            if cell is None and not blank and str(value).strip():
                bad.append(value)
            cells.append(COLUMNS[name].default if cell is None else cell)
        if bad and name != "age":
            raise BadArtefacts(f"{path}: column {heading!r} holds {table[heading].type} values")
        if bad:
            rows = "1 row says" if len(bad) == 1 else f"{len(bad):,} rows say"
            notes.append(f"column {heading!r}: {rows} no age, first {bad[0]!r}; left blank")
        found[name] = cells
    return found


def _cell(name: str, called: Mapping[int, str], value: Any) -> Any:
    """A cell as a row keeps it; None where it is of another kind."""
    kind = COLUMNS[name].kind
    if kind == "bool" or isinstance(value, bool):
        return value if kind == "bool" and isinstance(value, bool) else None
    if kind == "date":
        return value if isinstance(value, date) else None
    if kind == "string":
        if isinstance(value, float) and value.is_integer():  # numbers beside blanks, by pandas
            value = int(value)
        if not isinstance(value, str | int):
            return None
        text = called.get(value, str(value)) if isinstance(value, int) else value
        if name == "sex":
            return metadata.sex(text) or text or None
        if name in ("split", "view"):
            return metadata.split(text) if name == "split" else metadata.view(text)
        return text or None
    if isinstance(value, str):
        value = parse_age(value)
    good = isinstance(value, int | float) and math.isfinite(value)
    if name == "age":
        good = good and 0 <= value <= OLDEST
    return (int(value) if kind == "int" else float(value)) if good else None


def _names(table: pa.Table, path: Path, name: str) -> list[tuple[str, ...]]:
    """Names of findings in each row."""
    found: list[tuple[str, ...]] = []
    for value in table[name].to_pylist():
        cells = value if isinstance(value, list) else [] if value in (None, "") else [value]
        if not all(isinstance(cell, str | int) for cell in cells):
            raise BadArtefacts(f"{path}: column {name!r} must hold strings or lists of strings")
        found.append(tuple(str(cell) for cell in cells))
    return found


def report_headings(table: pa.Table, path: Path, entries: Sequence[str]) -> list[str]:
    """The columns that ``--report-column`` names, each entry one or several with commas between.

    Raises:
        BadArtefacts: one is not there.
    """
    found = []
    for entry in entries:
        names = [entry] if entry in table.column_names else entry.split(",")
        for name in (one.strip() for one in names if one.strip()):
            heading = name if name in table.column_names else column_headed(table, [plain(name)])
            if heading is None:
                raise BadArtefacts(
                    f"{path} has no column {name!r} (--report-column); it has: "
                    f"{', '.join(table.column_names)}"
                )
            found.append(heading)
    return [*dict.fromkeys(found)]


def report_texts(table: pa.Table, path: Path, headings: Sequence[str]) -> list[str | None]:
    """The report of every row, of columns of texts, or of lists of sentences.

    Raises:
        BadArtefacts: a column of other values.
    """
    columns: list[list[str]] = []
    for heading in headings:
        cells = [
            " ".join(map(str, cell)) if isinstance(cell, list) else cell
            for cell in table[heading].to_pylist()
        ]
        if bad := next((c for c in cells if not (c is None or isinstance(c, str))), None):
            raise BadArtefacts(
                f"{path}: column {heading!r} (--report-column) holds {type(bad).__name__} values; "
                "expected texts"
            )
        columns.append(["" if cell is None else cell for cell in cells])
    return [joined(zip(headings, row, strict=True)) for row in zip(*columns, strict=True)]


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type holds bytes, such as those of pictures."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def join(paths: Sequence[Path], tables: Sequence[pa.Table]) -> pa.Table:
    """One table of several files'; a column that one lacks is blank there.

    Args:
        paths: of the files, for messages.
        tables: as many; their order is that of the rows.

    Raises:
        BadArtefacts: they disagree in the type of a column, or in what its classes are called.
    """
    # A table without columns has no rows: of parts that hold vectors alone, one is kept for them.
    counted = [table.append_column(_ROWS, pa.nulls(len(table))) for table in tables]
    told: dict[bytes, bytes] = {}
    for table in reversed(tables):
        told |= table.schema.metadata or {}
    try:
        whole = pa.concat_tables(
            [table.replace_schema_metadata(None) for table in counted],
            promote_options="permissive",
        ).drop_columns([_ROWS])
        whole = whole.replace_schema_metadata(told)
    except pa.ArrowException as error:
        raise BadArtefacts(
            f"{len(paths)} files disagree in a column: "
            f"{_types(paths, tables) or str(error).splitlines()[0]}; write it with one type in all"
        ) from error
    for path, table in zip(paths, tables, strict=True):
        for name in table.column_names:
            here = class_names(table.schema, name, path)
            known = class_names(whole.schema, name, path)
            if here and here != known:
                raise BadArtefacts(
                    f"{path} calls the classes of {name!r} {here}, another file {known}; "
                    "write both with the same names"
                )
    return whole


def _types(paths: Sequence[Path], tables: Sequence[pa.Table]) -> str:
    """The first column of two types that cannot be one, with these; empty without any."""
    seen: dict[str, tuple[Path, pa.Field]] = {}
    for path, table in zip(paths, tables, strict=True):
        for field in table.schema:
            earlier, first = seen.setdefault(field.name, (path, field))
            try:
                pa.unify_schemas(
                    [pa.schema([first]), pa.schema([field])], promote_options="permissive"
                )
            except pa.ArrowException:
                return f"column {field.name!r} is in {earlier} {first.type}, in {path} {field.type}"
    return ""
