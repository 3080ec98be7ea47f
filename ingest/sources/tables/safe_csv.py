"""Writer of CSV that no spreadsheet takes for formulas, and reader of what it wrote."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

#: A spreadsheet would take a cell that begins so for a formula, or split it; the last four are the
#: wide forms that some read like the first.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_GUARD = "'"


def csv_bytes(
    head: Sequence[str], rows: Iterable[Sequence[object]], *, guarded: bool = True
) -> bytes:
    """A table as CSV: UTF-8, RFC 4180.

    Args:
        head: names of the columns.
        rows: numbers, texts, None for an empty cell.
        guarded: texts that a spreadsheet would take for formulas get a ' in front, which
            ``unguarded`` takes off. Not for a table that only this program reads.

    Returns:
        The file; what UTF-8 cannot say is written as escapes.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    for row in ([*head], *rows):
        writer.writerow([_cell(cell) if guarded else cell for cell in row])
    return file.getvalue().encode("utf-8", "backslashreplace")


def unguarded(cell: str) -> str:
    """A cell as it was before it was written."""
    return cell.removeprefix(_GUARD) if _would_run(cell) else cell


def rows_of(data: bytes) -> list[list[str]]:
    """The rows of a file by ``csv_bytes``, the head first, as they were before.

    Raises:
        ValueError: not UTF-8, or not CSV.
    """
    try:
        rows = [*csv.reader(io.StringIO(data.decode("utf-8"), newline=""))]
    except csv.Error as error:
        raise ValueError(f"not a CSV file: {error}") from error
    return [[unguarded(cell) for cell in row] for row in rows]


def _cell(value: object) -> object:
    if isinstance(value, str) and _would_run(value):
        return _GUARD + value
    return value


def _would_run(cell: str) -> bool:
    """Whether a cell would be a formula, were it not for leading quotes."""
    return cell.lstrip(_GUARD).startswith(_FORMULA)
