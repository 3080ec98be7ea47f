"""Least and greatest value of columns of numbers and dates: what a filter on a range is offered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from store.table import custom_columns

#: Kinds of the user's columns that have an order.
ORDERED = ("int", "float", "date")


class Range(NamedTuple):
    """The values of one column.

    Attributes:
        kind: ``int``, ``float`` or ``date``.
        low, high: least and greatest, both of that kind.
        rows: how many have a value.
    """

    kind: str
    low: float | date
    high: float | date
    rows: int


def columns_of(schema: pa.Schema) -> list[str]:
    """Age and the user's own columns of numbers and dates, in the table's order."""
    own = [name for name, kind in custom_columns.kinds(schema).items() if kind in ORDERED]
    return ["age", *own]


def of(table: pa.Table | pa.RecordBatch, kinds: Mapping[str, str]) -> dict[str, Range]:
    """The range of each column that has a value.

    Args:
        table: the columns of columns_of.
        kinds: of the user's own among them, from columns.kinds.
    """
    found = {}
    for name in table.schema.names:
        column, kind = table[name], kinds.get(name, "float")
        if pa.types.is_floating(column.type):  # a nan is no value
            column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
        rows = len(column) - column.null_count
        if rows:
            low, high = pc.min_max(column).as_py().values()
            whole = kind == "int"
            found[name] = Range(
                kind, int(low) if whole else low, int(high) if whole else high, rows
            )
    return found


def joined(left: Mapping[str, Range], right: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges of two parts of a table as those of the whole."""
    both = dict(left)
    for name, one in right.items():
        other = both.get(name, one)
        low, high = min(other.low, one.low), max(other.high, one.high)
        rows = one.rows + (other.rows if name in both else 0)
        both[name] = Range(one.kind, low, high, rows)
    return both
