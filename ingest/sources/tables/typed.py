"""Columns of text as columns of values: int, float, bool, date or string, by all their cells."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date

from ingest.sources.tables.findings import BLANK
from store.schema import Value
from store.table.custom_columns import LARGEST_INT

_TRUTH = {
    **dict.fromkeys(("true", "yes", "y"), True),
    **dict.fromkeys(("false", "no", "n"), False),
}
# No leading zeros: 007 is a name for somebody, not the number 7.
_INT = re.compile(r"[+-]?(0|[1-9][0-9]{0,15})")
_FLOAT = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_COMMA = re.compile(r"[+-]?(0|[1-9][0-9]*)(,[0-9]+)?")
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DOTS = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})")


@dataclass(frozen=True, slots=True)
class Typed:
    """A column and what its cells mean.

    Attributes:
        heading: of the sheet.
        kind: ``int``, ``float``, ``bool``, ``date`` or ``string``.
        read: one cell that is not blank; ValueError when it is not of this kind.
    """

    heading: str
    kind: str
    read: Callable[[str], Value]

    def value(self, cell: str) -> Value | None:
        """What a cell says; None when it is blank."""
        blank = not cell if self.kind == "string" else cell.casefold() in BLANK
        return None if blank else self.read(cell)


def _int(cell: str) -> int:
    if not _INT.fullmatch(cell) or abs(int(cell)) > LARGEST_INT:
        raise ValueError
    return int(cell)


def _float(cell: str) -> float:
    whole = cell.lstrip("+-").isdecimal()
    if not _FLOAT.fullmatch(cell) or abs(float(cell)) == float("inf"):
        raise ValueError
    if whole and abs(int(cell)) > LARGEST_INT:
        raise ValueError  # a number of something, which must keep its last digits
    return float(cell)


def _comma(cell: str) -> float:
    if not _COMMA.fullmatch(cell):
        raise ValueError
    return _float(cell.replace(",", "."))


def _bool(cell: str) -> bool:
    try:
        return _TRUTH[cell.casefold()]
    except KeyError:
        raise ValueError from None


def _date(cell: str) -> date:
    if _ISO.fullmatch(cell):
        return date.fromisoformat(cell)
    # 01/02/2024 is January in one country and February in another: left as text.
    found = _DOTS.fullmatch(cell)
    if found is None:
        raise ValueError
    return date(int(found[3]), int(found[2]), int(found[1]))


#: Tried in this order.
_READERS: tuple[tuple[str, Callable[[str], Value]], ...] = (
    ("int", _int),
    ("float", _float),
    ("float", _comma),
    ("bool", _bool),
    ("date", _date),
    ("string", str),
)


def infer(heading: str, cells: Iterable[str]) -> Typed | None:
    """The narrowest type that every cell of a column has; None when all are blank.

    0 and 1 are ints, ``yes`` and ``no`` are bools. Numbers with a decimal comma are floats unless
    all could as well be thousands. Dates are ``2024-05-01`` or ``1.5.2024``.
    """
    told = {cell for cell in cells if cell.casefold() not in BLANK}
    if not told:
        return None
    for kind, read in _READERS:
        if read is _comma and all(re.search(r",[0-9]{3}$", one) for one in told if "," in one):
            continue
        try:
            for cell in told:
                read(cell)
        except ValueError:
            continue
        return Typed(heading, kind, read)
    raise AssertionError("every cell is a string")
