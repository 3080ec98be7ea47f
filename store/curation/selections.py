"""Saved selections: films under a name, as a list of ids or as filters, kept with the gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from store.curation.edits import names
from store.curation.tables import Desk, as_columns, read
from store.errors import UsageError
from store.files import SELECTIONS
from store.table import filters, write


@dataclass(frozen=True, slots=True)
class Selection:
    """Films under a name.

    Attributes:
        name: of the selection.
        ids: of the films; None where it is made of filters.
        filters: KEY=VALUE each, as ``parse_where`` reads them; None where it is a list of ids.
        who: saved it.
        at: when, in UTC.
    """

    name: str
    ids: tuple[str, ...] | None
    filters: tuple[str, ...] | None
    who: str
    at: datetime

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        return {
            "name": self.name,
            "ids": None if self.ids is None else list(self.ids),
            "filters": None if self.filters is None else list(self.filters),
            "who": self.who,
            "at": self.at.isoformat(),
        }


def save(
    desk: Desk,
    name: str,
    ids: Sequence[str] | None,
    conditions: Sequence[str] | None,
    who: str,
) -> Selection:
    """Save films under a name, in place of what had that name."""
    (name,) = names([name], "selection")
    if (ids is None) == (conditions is None) or not (ids or conditions):
        raise UsageError(f"selection {name!r} needs ids of films or filters, one of both")
    now = datetime.now(UTC)
    found = Selection(
        name,
        None if ids is None else tuple(dict.fromkeys(ids)),
        None if conditions is None else tuple(conditions),
        who,
        now,
    )
    line = {"name": name, "ids": found.ids, "filters": found.filters, "who": who, "at": now}
    with write.writing(desk.uri):
        table = desk.made(SELECTIONS)
        made = as_columns([line], table.schema)
        merging = table.merge_insert("name").when_matched_update_all()
        desk.step(SELECTIONS, lambda: merging.when_not_matched_insert_all().execute(made))
    return found


def saved(desk: Desk) -> list[Selection]:
    """All saved selections, by name."""
    table = desk.table(SELECTIONS)
    if table is None:
        return []
    found = {}
    for one in sorted(read(table, table.schema.names).to_pylist(), key=lambda one: one["at"]):
        ids, conditions = (
            None if one[key] is None else tuple(one[key]) for key in ("ids", "filters")
        )
        found[one["name"]] = Selection(one["name"], ids, conditions, one["who"] or "", one["at"])
    return [found[name] for name in sorted(found)]


def drop(desk: Desk, name: str) -> bool:
    """Remove a saved selection; its films stay. Whether there was one."""
    table = desk.table(SELECTIONS)
    if table is None:
        return False
    with write.writing(desk.uri):
        chosen = filters.among([name], "name")
        return bool(desk.step(SELECTIONS, lambda: table.delete(chosen).num_deleted_rows))
