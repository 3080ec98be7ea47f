"""Memory of curation that an ingestion keeps to: corrected labels, and films that stay out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from store.curation import log
from store.curation.edits import LABELS, same_findings
from store.curation.tables import Desk, read
from store.files import CHANGES, SET_ASIDE
from store.schema import COLUMNS, FINDINGS, Row


@dataclass(slots=True)
class Respected:
    """Rows of a source that may be written.

    Attributes:
        rows: the rows; those whose labels somebody corrected or confirmed do not tell labels.
        labels_kept: how many of these told other labels.
        set_aside: rows left out, of films that are ``excluded`` or ``deleted``, by which it is.
    """

    rows: list[Row]
    labels_kept: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)


def _says_the_same(row: Row, told: Collection[str], stored: Row) -> bool:
    names = [name for name in FINDINGS if name in told]
    if any(set(getattr(row, name)) != set(getattr(stored, name)) for name in names):
        return False
    return bool(names) or "labelled" not in told or row.labelled == stored.labelled


class Kept:
    """What people decided, as the next run of a source has to respect it.

    Attributes:
        aside: film to ``excluded`` or ``deleted``.
        digests: sha256 of their sources, to the same.
        stated: film to the findings that somebody last gave it, or confirmed.
    """

    def __init__(self, desk: Desk) -> None:
        self.aside: Mapping[str, str] = {}
        self.digests: Mapping[bytes, str] = {}
        self._desk = desk
        self.stated: Mapping[str, Mapping[str, Any]] = {}
        self._seen: dict[str, int] = {}
        self.refresh()

    def refresh(self) -> None:
        """Follow the tables of curation; cheap where nothing changed."""
        if self._moved(CHANGES):
            self.stated = log.statements(self._desk)
        if self._moved(SET_ASIDE):
            table = self._desk.table(SET_ASIDE)
            found = read(table, ["id", "sha256", "set_aside_as"])
            ids, digests, whys = (found[name].to_pylist() for name in found.column_names)
            self.aside = dict(zip(ids, whys, strict=True))
            self.digests = dict(zip(digests, whys, strict=True))

    def applied(self, rows: Sequence[Row], stored: Mapping[str, Row]) -> Respected:
        """Rows of a source as they may be written: without films that stay out, and corrections.

        Args:
            rows: to be written.
            stored: the rows that are stored under their ids, as they are now.
        """
        found = Respected([])
        for row in rows:
            before = stored.get(row.id)
            why = self.aside.get(row.id) or self.digests.get(row.sha256)
            if before is None and why:
                found.set_aside[why] = found.set_aside.get(why, 0) + 1
                continue
            if before is None or not self.holds_labels(before):
                found.rows.append(row)
                continue
            told = frozenset(COLUMNS) if row.told is None else row.told
            found.labels_kept += not _says_the_same(row, told, before)
            found.rows.append(replace(row, told=told - {*LABELS}))
        return found

    def concerns(self, row: Row) -> bool:
        """Whether anybody decided anything of this film, or of the same bytes."""
        return row.id in self.stated or row.id in self.aside or row.sha256 in self.digests

    def holds_labels(self, row: Row) -> bool:
        """Whether somebody corrected or confirmed the findings that a row has."""
        stated = self.stated.get(row.id)
        return stated is not None and same_findings(
            {name: getattr(row, name) for name in LABELS}, stated
        )

    def _moved(self, name: str) -> bool:
        table = self._desk.table(name)
        version = 0 if table is None else int(table.version)
        if self._seen.get(name) == version or (table is None and name not in self._seen):
            return False
        self._seen[name] = version
        return table is not None
