"""Memory of curation that an ingestion keeps to: corrected labels, and films that stay out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.curation import log
from store.curation.edits import LABELS, same_findings
from store.curation.tables import Desk, read
from store.files import CHANGES, SET_ASIDE
from store.schema import Row


class Kept:
    """What people decided, as the next run of a source has to respect it.

    Attributes:
        aside: film to ``excluded`` or ``deleted``.
        digests: sha256 of their sources, to the same.
    """

    def __init__(self, desk: Desk) -> None:
        self.aside: Mapping[str, str] = {}
        self.digests: Mapping[bytes, str] = {}
        self._desk = desk
        self._statements: Mapping[str, Mapping[str, Any]] = {}
        self._seen: dict[str, int] = {}
        self.refresh()

    def refresh(self) -> None:
        """Follow the tables of curation; cheap where nothing changed."""
        if self._moved(CHANGES):
            self._statements = log.statements(self._desk)
        if self._moved(SET_ASIDE):
            table = self._desk.table(SET_ASIDE)
            found = read(table, ["id", "sha256", "set_aside_as"])
            ids, digests, whys = (found[name].to_pylist() for name in found.column_names)
            self.aside = dict(zip(ids, whys, strict=True))
            self.digests = dict(zip(digests, whys, strict=True))

    def holds_labels(self, row: Row) -> bool:
        """Whether somebody corrected or confirmed the findings that a row has."""
        stated = self._statements.get(row.id)
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
