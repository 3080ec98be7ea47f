"""What meta.json tells of rows beside vectors and labels: one list of n values a column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from ingest.artefacts.files import is_text
from ingest.sources.published.npz import SPLITS
from store.errors import BadArtefacts, BadRows
from store.table.custom_columns import kind_of, name_of

#: Row columns that ``meta.json["columns"]`` may carry: lists of n values.
COLUMNS = ("dataset", "split", "patient", "view", "sex", "age")
#: The same, of lists of names.
FINDINGS = ("uncertain", "absent")
#: Key of the user's own columns: name to ``{"type": ..., "values": [...]}``.
OWN = "own_columns"


def read_columns(path: Path, meta: dict[str, Any], ids: Sequence[str]) -> dict[str, list[Any]]:
    """Per-row columns: what meta tells, else what ids of the usual form tell.

    Returns:
        By name of a row's attribute, n values each.
    """
    told = meta.get("columns") or {}
    if not isinstance(told, dict):
        raise BadArtefacts(f"{path}: columns must be an object of lists")
    columns: dict[str, list[Any]] = {}
    for name in COLUMNS:
        right, what = (_is_number, "numbers") if name == "age" else (is_text, "strings")
        values = _column(path, f"columns.{name}", told.get(name), len(ids), right, what)
        if values is not None:
            columns[name] = (
                [None if v is None else float(v) for v in values] if name == "age" else values
            )
    for name in FINDINGS:
        what = "lists of strings"
        values = _column(path, f"columns.{name}", told.get(name), len(ids), _is_names, what)
        if values is not None:
            columns[name] = [tuple(names or ()) for names in values]
    parts = [id_.split("/") for id_ in ids]
    usual = [len(p) == 3 and p[1] in SPLITS and p[2].isdecimal() for p in parts]
    for position, name in enumerate(("dataset", "split")):
        if name not in columns and any(usual):
            columns[name] = [
                p[position] if told_by_id else None
                for p, told_by_id in zip(parts, usual, strict=True)
            ]
    own = _own(path, meta, len(ids))
    if own:
        columns["extra"] = [
            {name: values[row] for name, values in own.items() if values[row] is not None}
            for row in range(len(ids))
        ]
    return columns


def _column(
    path: Path, name: str, values: Any, rows: int, right: Callable[[Any], bool], what: str
) -> list[Any] | None:
    if values is None:
        return None
    if not isinstance(values, list) or not all(v is None or right(v) for v in values):
        raise BadArtefacts(f"{path}: {name} must be a list of {what} or null")
    if len(values) != rows:
        raise BadArtefacts(f"{path}: {name} has {len(values)} values for {rows} vectors")
    return values


def _own(path: Path, meta: dict[str, Any], rows: int) -> dict[str, list[Any]]:
    """The user's own columns by name, with values of their type."""
    told = meta.get(OWN) or {}
    if not isinstance(told, dict):
        raise BadArtefacts(f"{path}: {OWN} must be an object")
    found = {}
    for name, one in told.items():
        kind, values = (one.get("type"), one.get("values")) if isinstance(one, dict) else (None, ())
        try:
            wrong = name_of(name) != name
        except BadRows:
            wrong = True
        if wrong or kind not in _READ:
            raise BadArtefacts(
                f"{path}: {OWN}.{name} must be an object with a type ({', '.join(_READ)}) and "
                "values, under a name in small letters that no column of ours has"
            )
        read = _READ[kind]

        def right(value: Any, kind: str = kind, read: Callable[[Any], Any] = read) -> bool:
            try:
                return kind_of(read(value)) == kind and (kind != "string" or is_text(value))
            except (TypeError, ValueError):
                return False

        cells = _column(path, f"{OWN}.{name}", values, rows, right, f"values of type {kind}")
        found[name] = [None if cell is None else read(cell) for cell in cells or [None] * rows]
    return found


def _float(value: Any) -> Any:
    return float(value) if _is_plain_number(value) else None


#: Type of a column to what reads its JSON; kind_of judges what came out.
_READ: dict[str, Callable[[Any], Any]] = {
    "int": lambda value: value,
    "float": _float,
    "bool": lambda value: value,
    "string": lambda value: value,
    "date": date.fromisoformat,
}


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(map(is_text, value))


def _is_plain_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_plain_number(value) and abs(value) < 1e6
