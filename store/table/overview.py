"""Labels and metadata at a glance: what a gallery holds, and what is missing, per split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

#: Stands for rows without a split.
NO_SPLIT = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of metadata.

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


def overview(table: pa.Table, splits: Sequence[str | None], most: int = 50) -> list[Column]:
    """Describe every column of a table.

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
