"""Whether a row that is at hand passes a filter: decided as the table would, without asking it."""

from __future__ import annotations

from datetime import date

from store.schema import Row, Value
from store.table.filters import EQUAL, FINDINGS, Where, own_range, truth


def passes(row: Row, where: Where | None) -> bool:
    """Whether a row is among those that a filter lets through.

    Args:
        row: with its metadata.
        where: None lets everything through.

    Raises:
        BadFilter: a text of an own column that is none of its type, in a row that has a value.
    """
    if not where:
        return True
    for name, column in FINDINGS.items():
        if (asked := getattr(where, name)) and not set(asked) & set(getattr(row, column)):
            return False
    for name in EQUAL:
        if (asked := getattr(where, name)) and getattr(row, name) not in asked:
            return False
    if (where.age_min, where.age_max) != (None, None) and not (
        row.age is not None and _within(row.age, where.age_min, where.age_max)
    ):
        return False
    return all(_own(name, row.extra.get(name), texts) for name, texts in where.own_texts().items())


def _own(name: str, value: Value | None, texts: list[str]) -> bool:
    if value is None:
        return False
    if isinstance(value, str):
        return value in texts
    if isinstance(value, bool):
        return any(value == truth(name, text) for text in texts)
    kind = "date" if isinstance(value, date) else "float"
    return any(_within(value, *own_range(name, kind, text)) for text in texts)


def _within(value: float | date, low: float | date | None, high: float | date | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)  # type: ignore[operator]
