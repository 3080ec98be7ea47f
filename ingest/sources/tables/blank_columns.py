"""Columns that a run blanks for the films that it reads (``--clear``)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ingest.record import METADATA, ImageRecord, Item, Rejection
from ingest.sources.source import Source
from store import CURATED_COLUMNS, BadRows, UsageError, name_of

#: The name of its data set is part of a film; what people write on films no source clears.
_KEPT = ("dataset", *CURATED_COLUMNS)
#: Columns of every row that may be cleared; ``labels`` clears all findings.
CLEARABLE = (
    "labels",
    *(name for name, blank in METADATA.items() if blank is None and name not in _KEPT),
)


def with_blank_columns(source: Source, columns: Sequence[str], own: Collection[str]) -> Source:
    """A source whose films have blanks in some columns, wherever it has nothing else for them.

    What a header tells of such a column is not taken either.

    Args:
        source: what is read.
        columns: names, each of CLEARABLE or of the user's own.
        own: the user's own columns that the gallery has.

    Raises:
        UsageError: a column that is not there, or that no row can be without.
    """
    names = list(dict.fromkeys(_known(name, own) for name in columns))
    known = {name: METADATA[name] for name in names if name in CLEARABLE}
    blank = {name: None for name in names if name not in CLEARABLE}
    return replace(
        source,
        records=(_with_blanks(item, known, blank) for item in source.records),
        tells=(*source.tells, *known),
    )


def _known(asked: str, own: Collection[str]) -> str:
    name = asked.strip()
    if name.lower() in CLEARABLE:
        return name.lower()
    with suppress(BadRows):
        if (column := name_of(name)) in own:
            return column
    there = ", ".join([*CLEARABLE, *own])
    raise UsageError(f"--clear {name!r}: no column that can be cleared here; expected {there}")


def _with_blanks(item: Item, known: dict[str, Any], own: dict[str, None]) -> Item:
    if isinstance(item, ImageRecord):
        return replace(item, extra={**own, **item.extra}) if own else item
    if isinstance(item, Rejection):
        return item
    said: dict[str, Any] = {**known, **item.metadata}
    if own:
        said["extra"] = {**own, **said.get("extra", {})}
    return replace(
        item, metadata=said, tells=tuple(name for name in item.tells if name not in known)
    )
