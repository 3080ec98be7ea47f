"""How many rows carry each value of a column: what a filter on values is offered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from store.table import custom_columns, rows

#: Columns counted by value, beside the user's own.
_COUNTED = (*rows.FINDINGS, "split", "dataset", "view", "sex")
#: Of the user's columns, only those with at most so many different values are counted.
_MOST_VALUES = 100


def columns_of(schema: pa.Schema) -> list[str]:
    """Columns of findings, our own of few values, and the user's own of strings and bools."""
    return [name for name in (*_COUNTED, *_own(schema)) if name in schema.names]


def of(parts: Iterable[pa.Table | pa.RecordBatch], schema: pa.Schema) -> dict[str, dict[str, int]]:
    """Rows by value, by column; the user's own with too many values are left out.

    Args:
        parts: the rows, with the columns of columns_of.
        schema: theirs, which tells the user's own columns.
    """
    own = _own(schema)
    counts: dict[str, Counter[Any]] = {name: Counter() for name in columns_of(schema)}
    for part in parts:
        for name in list(counts):
            column = part[name]
            cells = pc.list_flatten(column) if pa.types.is_list(column.type) else column
            for one in pc.value_counts(cells).to_pylist():
                if one["values"] not in (None, ""):
                    counts[name][one["values"]] += one["counts"]
            if name in own and len(counts[name]) > _MOST_VALUES:
                del counts[name]
    told: dict[str, dict[str, int]] = {name: {} for name in rows.FINDINGS}
    for name, found in counts.items():
        told[name] = {
            str(value).lower() if isinstance(value, bool) else value: found[value]
            for value in sorted(found)
        }
    return told


def _own(schema: pa.Schema) -> list[str]:
    return [
        name for name, kind in custom_columns.kinds(schema).items() if kind in ("string", "bool")
    ]
