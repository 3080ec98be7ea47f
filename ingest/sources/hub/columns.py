"""Columns of an Arrow table that a row has: metadata, ids, paths; found by their usual headings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from ingest.metadata import OLDEST, parse_age, split
from ingest.sources.hub.labels import column_headed, feature_names, plain
from store import COLUMNS, FINDINGS, BadArtefacts

#: Of ids. A column that has one of these must hold an id in every row, and no two the same.
IDS = ("id", "ids", "imageid", "image", "name", "imageindex")
#: Of files and keys: ids where every row has one of its own.
FILES = (
    *("imagepath", "path", "paths", "filepath", "filename", "file", "files", "filenames"),
    *("key", "keys", "imagename", "uid", "dicomid", "sopinstanceuid", "url"),
)
#: Columns of Metadata that a table may hold, as an export folder has them. Labels are read by
#: themselves, and the source of a row is the table.
META_COLUMNS = tuple(
    sorted(
        (name for name in COLUMNS if name not in ("labels", "source")),
        key=lambda name: (name in FINDINGS, name != "dataset"),
    )
)
#: Not read unless asked for, or never: texts on a patient, words of a user of another gallery.
_UNASKED = ("report", "tags", "remark")
#: Of columns of a row, beside their own names.
_OTHERS = {
    "patient": ("patientid", "subjectid", "subject"),
    "study": ("studyid", "studyinstanceuid", "studyuid", "accession", "accessionnumber"),
}


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
        if name in _UNASKED:
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
        return split(text) if name == "split" else text or None
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


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type holds bytes, such as those of pictures."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
