"""Columns of an exported data set: which there are, of which type, and the values of a film."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from store import Row

#: What ``datasets`` calls a split, and what films without one are called.
_SPLITS = {"val": "validation", None: "films"}
_KINDS = {
    "int": (pa.int64(), "int64"),
    "float": (pa.float64(), "float64"),
    "bool": (pa.bool_(), "bool"),
    "date": (pa.date32(), "date32"),
    "string": (pa.string(), "string"),
}
#: Columns of text that every row has.
_TEXTS = ("dataset", "patient", "study", "view", "sex")


@dataclass(frozen=True, slots=True)
class Column:
    """One column beside the picture.

    Attributes:
        name: its heading.
        type: Arrow's.
        feature: what ``datasets`` has for it.
        value: of a row.
        own: type of a column of the user's own; empty of others.
    """

    name: str
    type: pa.DataType
    feature: Mapping[str, Any]
    value: Callable[[Row], Any]
    own: str = ""


def name_of_split(split: str | None) -> str:
    """A split as ``datasets`` may call it: letters, digits and underscores."""
    known = _SPLITS.get(split, split) or ""
    return re.sub(r"\W+", "_", known, flags=re.ASCII).strip("_") or "films"


def columns_of(
    rows: Sequence[Row], own: Mapping[str, str], *, with_reports: bool
) -> tuple[Column, ...]:
    """The columns of a data set; one that is blank in every row is left out.

    ``label`` is a class where every film that somebody looked at has exactly one; otherwise
    ``labels`` is a list of classes, empty where nothing was found. Both are null where nobody
    looked.

    Args:
        rows: all of them.
        own: the gallery's columns of the user's own, name to type.
        with_reports: whether there is one for reports.
    """
    names = sorted({name for row in rows for name in row.labels})
    number = {name: place for place, name in enumerate(names)}
    classes = {"names": names, "_type": "ClassLabel"}
    found = [Column("id", pa.string(), _value("string"), lambda row: row.id)]
    if all(len(row.labels) == 1 for row in rows if _looked(row)) and names:
        found.append(
            Column(
                "label",
                pa.int64(),
                classes,
                lambda row: number[row.labels[0]] if row.labels else None,
            )
        )
    elif any(map(_looked, rows)):
        found.append(
            Column(
                "labels",
                pa.list_(pa.int64()),
                {"feature": classes, "_type": "Sequence"},
                lambda row: sorted(number[one] for one in row.labels) if _looked(row) else None,
            )
        )
    lists: dict[str, Callable[[Row], Any]] = {
        "uncertain": lambda row: row.uncertain,
        "absent": lambda row: row.absent,
        "tags": lambda row: row.tags,
    }
    found += [_list(name, value) for name, value in lists.items() if any(map(value, rows))]
    if any(row.split not in ("train", "val", "test", None) for row in rows):
        found.append(_text("split"))  # names of files say the usual ones
    texts = [name for name in _TEXTS if any(getattr(row, name) for row in rows)]
    found += [_text(name) for name in texts]
    if any(row.age is not None for row in rows):
        found.append(Column("age", pa.float64(), _value("float64"), lambda row: row.age))
    if with_reports and any(row.report for row in rows):
        found.append(_text("report"))
    for name, kind in own.items():
        if any(row.extra.get(name) is not None for row in rows):
            found.append(_own(name, kind))
    return tuple(found)


def _looked(row: Row) -> bool:
    return row.labelled or row.has_findings


def _value(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "_type": "Value"}


def _text(name: str) -> Column:
    return Column(name, pa.string(), _value("string"), lambda row: getattr(row, name))


def _list(name: str, value: Callable[[Row], Any]) -> Column:
    feature = {"feature": _value("string"), "_type": "Sequence"}
    return Column(name, pa.list_(pa.string()), feature, lambda row: list(value(row)))


def _own(name: str, kind: str) -> Column:
    type_, dtype = _KINDS[kind]
    return Column(name, type_, _value(dtype), lambda row: row.extra.get(name), kind)
