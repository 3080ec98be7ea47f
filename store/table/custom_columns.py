"""The user's own columns: one nullable table column for each, under the user's name for it.

A column is an int, float, bool, string or date. Its kind is written in the metadata of its Arrow
field; our own columns, also those of later versions, have no such note. Ints are kept as float64,
which is exact to 2^53, so that a column of ints becomes one of floats by a change of that note
alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from store.errors import BadRows
from store.schema import COLUMNS, Row, Value

#: Kind of a column to its type in the table.
KINDS: dict[str, pa.DataType] = {
    "int": pa.float64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "date": pa.date32(),
}
#: Ints beyond are not exact in a float64.
LARGEST_INT = 2**53
#: Key in a field's metadata.
_NOTE = b"cxr.column"
#: Names that mean something else in rows, filters and JSON.
RESERVED = frozenset(
    {
        *(one.name for one in fields(Row)),
        *(column.key for column in COLUMNS.values()),
        *("embedding_crc32", "distance", "report_words"),
    }
) - {"told"}
#: Of these, names of columns that are younger than the user's own: a gallery from before may have
#: such a column of the user's.
LATER = frozenset(name for name, column in COLUMNS.items() if column.since > 4)
#: Most columns of the user's own in a gallery.
MOST = 200


def kinds(schema: pa.Schema) -> dict[str, str]:
    """The user's columns in a schema: name to kind, in order."""
    return {
        field.name: field.metadata[_NOTE].decode()
        for field in schema
        if field.metadata and _NOTE in field.metadata
    }


def name_of(heading: str) -> str:
    """A heading as the name of a column: small letters, digits and underscores.

    Raises:
        BadRows: nothing is left, or the name is one of ours. Of names in LATER the gallery decides.
    """
    name = "_".join(re.findall(r"\w+", heading.lower())).strip("_")
    problem = _wrong_name(name, LATER)
    if problem:
        raise BadRows(f"column {heading!r}: {problem}")
    return name


def _wrong_name(name: str, allowed: Collection[str] = ()) -> str | None:
    if name in RESERVED and name not in allowed:
        return f"{name!r} means something else in every row; give it another name"
    if not re.fullmatch(r"[^\W\d_]\w*", name) or name != name.lower() or len(name) > 100:
        return f"{name!r} is no name for a column; use small letters, digits and underscores"
    return None


def known(extra: Mapping[str, Value | None]) -> dict[str, Value]:
    """A row's own columns without the blank ones."""
    return {name: value for name, value in extra.items() if value is not None}


def values(cells: Mapping[str, Any], of: Mapping[str, str]) -> dict[str, Value]:
    """Cells of the table as values, without the blank ones."""
    return {
        name: int(cell) if of[name] == "int" else cell
        for name, cell in cells.items()
        if cell is not None
    }


def kind_of(value: object) -> str | None:
    """The kind of a value; None when no column can hold it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if abs(value) <= LARGEST_INT else None
    if isinstance(value, float):
        return "float" if math.isfinite(value) else None
    if isinstance(value, str):
        return "string"
    return "date" if isinstance(value, date) and not isinstance(value, datetime) else None


def from_text(name: str, text: str, kind: str) -> Value:
    """A text as a value of a column of the user's own.

    Raises:
        BadRows: it is none of that kind.
    """
    try:
        value = _FROM_TEXT[kind](text)
    except (KeyError, ValueError):
        value = None
    if value is None or kind_of(value) != kind:
        raise BadRows(
            f"column {name!r} of this gallery is your own and holds values of type {kind}, not "
            f"{text!r}; correct the values, or use a new gallery"
        )
    return value


_FROM_TEXT: dict[str, Callable[[str], Value]] = {
    "string": str,
    "int": int,
    "float": float,
    "bool": {"true": True, "yes": True, "false": False, "no": False}.__getitem__,
    "date": date.fromisoformat,
}


def needed(rows: Iterable[Row], have: Collection[str] = ()) -> dict[str, str]:
    """The columns of their own that rows need: name to kind; ints among floats are floats.

    Args:
        rows: with their values.
        have: the names of those that the gallery has.

    Raises:
        BadRows: a name that is none, a value that no column can hold, or two kinds in one column.
    """
    found: dict[str, str] = {}
    for row in rows:
        for name, value in row.extra.items():
            if value is None:
                continue
            kind = kind_of(value)
            if kind is None:
                raise BadRows(
                    f"row {row.id!r}: column {name!r} holds {value!r}; expected a finite number, "
                    f"an int up to 2^53, a string, a bool or a date"
                )
            before = found.setdefault(name, kind)
            if before != kind:
                if {before, kind} != {"int", "float"}:
                    raise BadRows(
                        f"row {row.id!r}: column {name!r} holds {value!r}, a {kind}, and a "
                        f"{before} in rows before; give the column one type"
                    )
                found[name] = "float"
    for name in found:
        problem = _wrong_name(name, have)
        if problem:
            raise BadRows(f"column {name!r}: {problem}")
    return found


def missing(schema: pa.Schema, wanted: Mapping[str, str]) -> tuple[list[pa.Field], list[str]]:
    """Fields that a table lacks for some columns, and ints that have to become floats.

    Returns:
        Fields to add, and names of int columns that have to become float.

    Raises:
        BadRows: the table has a column of this name and another kind, or too many columns.
    """
    have = kinds(schema)
    wider = []
    for name, kind in wanted.items():
        there = have.get(name, kind)
        if (there, kind) == ("int", "float"):
            wider.append(name)
        elif there != kind and (there, kind) != ("float", "int"):
            raise BadRows(
                f"column {name!r} holds values of type {there} in this gallery, but {kind} came; "
                f"correct the values, or give the column another name"
            )
    new = {name: kind for name, kind in wanted.items() if name not in have}
    if len(have) + len(new) > MOST:
        raise BadRows(f"{len(have) + len(new)} columns of your own; a gallery has at most {MOST}")
    fields = [
        pa.field(name, KINDS[kind], metadata={_NOTE: kind.encode()}) for name, kind in new.items()
    ]
    return fields, wider


def make_room(handle: Any, wanted: Mapping[str, str], others: Iterable[pa.Field] = ()) -> None:
    """Add columns to a table, and make ints floats where floats come; no row is rewritten.

    Args:
        handle: the table, writable.
        wanted: name to kind.
        others: further fields to add in the same commit.

    Raises:
        BadRows: see missing.
    """
    new, wider = missing(handle.schema, wanted)
    if fields := [*others, *new]:
        handle.add_columns(fields)
    if wider:
        note = _NOTE.decode()
        handle.update_field_metadata(
            *({"path": name, "metadata": {note: "float"}} for name in wider)
        )
