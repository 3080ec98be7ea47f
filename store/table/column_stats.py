"""Counts and ranges of the values of metadata columns, for filters, statistics and overviews."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.outcomes import OUTCOMES
from store.schema import COLUMNS, ORDERED
from store.table import custom_columns
from store.table.rows import findings_columns, outcome_counts

#: Columns counted by value, beside the user's own.
_COUNTED = tuple(name for name, column in COLUMNS.items() if column.counted)
#: Of the user's columns, those with more different values are not counted.
_MOST_VALUES = 100
#: Stands for rows without a split.
NO_SPLIT = ""


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


@dataclass(frozen=True, slots=True)
class Column:
    """Distribution of one column of metadata over the splits.

    Attributes:
        name: of the column.
        missing: split to rows without a value; splits without any row are left out.
        distinct: how many different values.
        values: the most frequent values with split to rows, most frequent first.
        range: least, median and greatest value of a column of numbers; None for others.
    """

    name: str
    missing: dict[str, int]
    distinct: int
    values: dict[str, dict[str, int]]
    range: tuple[float, float, float] | None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        found = asdict(self)
        return {**found, "range": list(self.range) if self.range else None}


def counted_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns that value_counts reads.

    Ours of few values, the user's own of strings and bools, and those that tell an outcome.
    """
    return list(dict.fromkeys([*_counted(schema), *findings_columns(schema)]))


def _counted(schema: pa.Schema) -> list[str]:
    return [name for name in dict.fromkeys([*_COUNTED, *_own(schema)]) if name in schema.names]


def value_counts(
    parts: Iterable[pa.Table | pa.RecordBatch], schema: pa.Schema
) -> dict[str, dict[str, int]]:
    """Counts of rows by value, by column; the user's own with too many values are left out.

    ``outcome`` is counted as a column would be, unless the user has one of that name.

    Args:
        parts: the rows, with the columns of counted_columns.
        schema: theirs.
    """
    own = _own(schema)
    counts: dict[str, Counter[Any]] = {name: Counter() for name in _counted(schema)}
    outcomes: Counter[str] = Counter()
    for part in parts:
        outcomes.update(outcome_counts(part))
        for name in list(counts):
            column = part[name]
            cells = pc.list_flatten(column) if pa.types.is_list(column.type) else column
            for one in pc.value_counts(cells).to_pylist():
                if one["values"] not in (None, ""):
                    counts[name][one["values"]] += one["counts"]
            if name in own and len(counts[name]) > _MOST_VALUES:
                del counts[name]
    sorted_counts: dict[str, dict[str, int]] = {name: {} for name in _COUNTED}
    for name, found in counts.items():
        sorted_counts[name] = {
            str(value).lower() if isinstance(value, bool) else value: found[value]
            for value in sorted(found)
        }
    if "outcome" not in custom_columns.kinds(schema):
        sorted_counts["outcome"] = {name: outcomes[name] for name in OUTCOMES if outcomes[name]}
    return sorted_counts


def ranged_columns(schema: pa.Schema) -> list[str]:
    """Our columns and the user's own of numbers and dates, in the table's order."""
    own = [name for name, kind in custom_columns.kinds(schema).items() if kind in ORDERED]
    ours = (name for name, column in COLUMNS.items() if column.kind in ORDERED)
    return list(dict.fromkeys([*(name for name in ours if name in schema.names), *own]))


def ranges_of(table: pa.Table | pa.RecordBatch, kinds: Mapping[str, str]) -> dict[str, Range]:
    """The range of each column that has a value.

    Args:
        table: the columns of ranged_columns.
        kinds: of the user's own among them, from custom_columns.kinds.
    """
    found = {}
    for name in table.schema.names:
        ours = COLUMNS[name].kind if name in COLUMNS else "float"
        column, kind = table[name], kinds.get(name, ours)
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


def merged_ranges(left: Mapping[str, Range], right: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges of a table from those of two parts of it."""
    both = dict(left)
    for name, one in right.items():
        other = both.get(name, one)
        low, high = min(other.low, one.low), max(other.high, one.high)
        rows = one.rows + (other.rows if name in both else 0)
        both[name] = Range(one.kind, low, high, rows)
    return both


def _own(schema: pa.Schema) -> list[str]:
    return [
        name for name, kind in custom_columns.kinds(schema).items() if kind in ("string", "bool")
    ]


def overview(table: pa.Table, splits: Sequence[str | None], most: int = 50) -> list[Column]:
    """The distribution of every column of a table.

    Args:
        table: metadata, one row per film; lists hold several values a row.
        splits: of the rows, in their order; None and "" are rows without a split.
        most: values listed per column.
    """
    where = [split or NO_SPLIT for split in splits]
    present = sorted(set(where))
    return [
        _column(name, table[name].to_pylist(), where, present, most) for name in table.column_names
    ]


def _column(
    name: str, cells: Sequence[Any], where: Sequence[str], present: Sequence[str], most: int
) -> Column:
    counts: dict[str, Counter[str]] = {}
    totals: Counter[str] = Counter()
    missing = dict.fromkeys(present, 0)
    numbers = []
    for cell, split in zip(cells, where, strict=True):
        values = cell if isinstance(cell, list) else [cell]
        values = [value for value in values if not _absent(value)]
        if not values:
            missing[split] += 1
        for value in values:
            if isinstance(value, int | float) and not isinstance(value, bool):
                numbers.append(float(value))
            text = f"{value:g}" if isinstance(value, float) else str(value)
            counts.setdefault(text, Counter())[split] += 1
            totals[text] += 1
    ranked = sorted(totals, key=lambda value: (-totals[value], value))
    shown = {value: {split: counts[value][split] for split in present} for value in ranked[:most]}
    bounds = None
    if numbers:
        low, middle, high = np.min(numbers), np.median(numbers), np.max(numbers)
        bounds = (float(low), float(middle), float(high))
    return Column(name, missing, len(totals), shown, bounds)


def _absent(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and not np.isfinite(value))
