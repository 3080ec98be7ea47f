"""Conditions in the table's own filter language: the only place where a value becomes text of it.

LanceDB 0.40 takes a condition as an expression object or as SQL text. Objects are right as they
are; made into text by LanceDB (``to_sql``) they are not: some apostrophes are not doubled. So what
looks rows up by id or digest passes objects, and all else is written here, where a text is put
between apostrophes and each apostrophe in it is doubled. No other character means anything in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

#: A condition that no row meets.
NOTHING = "false"


def among(values: Sequence[str] | Sequence[bytes], column: str = "id") -> Any:
    """Rows whose column is one of these, as an expression object: for searches and deletions."""
    from lancedb.expr import col

    return col(column).isin(list(values))


def quoted(text: str) -> str:
    """A text as a literal."""
    return "'" + text.replace("'", "''") + "'"


def named(column: str) -> str:
    """A column as it is called, whatever the name means otherwise and however it is written."""
    return "`" + column.replace("`", "``") + "`"


def equal(column: str, values: Iterable[str]) -> str:
    """Rows whose column is one of these texts."""
    listed = ", ".join(map(quoted, values))
    return f"{named(column)} IN ({listed})" if listed else NOTHING


def holds(column: str, values: Iterable[str]) -> str:
    """Rows whose column of lists has one of these texts in it."""
    return either(f"array_has({named(column)}, {quoted(value)})" for value in values)


def is_true(column: str, wanted: bool) -> str:
    """Rows whose column of bools is that."""
    return f"{named(column)} = {'true' if wanted else 'false'}"


def between(
    column: str, low: str | float | date | None, high: str | float | date | None
) -> str | None:
    """Rows whose column is within bounds, which belong to it; None where both are open."""
    sides = [
        f"{named(column)} {sign} {_literal(bound)}"
        for sign, bound in ((">=", low), ("<=", high))
        if bound is not None
    ]
    return both(sides)


def rows(row_ids: Iterable[int], prefix: str = "") -> str:
    """Rows with one of these row ids; in a merge the table is called ``target.``."""
    listed = ", ".join(str(int(row_id)) for row_id in row_ids)
    return f"{prefix}_rowid IN ({listed})" if listed else NOTHING


def both(parts: Iterable[str | None]) -> str | None:
    """Rows that meet all of these; None, which means every row, where there are none."""
    return " AND ".join(f"({part})" for part in parts if part is not None) or None


def either(parts: Iterable[str]) -> str:
    """Rows that meet one of these."""
    return " OR ".join(f"({part})" for part in parts) or NOTHING


def _literal(value: str | float | date) -> str:
    if isinstance(value, str):
        return quoted(value)
    return f"date '{value.isoformat()}'" if isinstance(value, date) else repr(float(value))
