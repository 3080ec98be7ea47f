"""Tables of curation beside a gallery's own, made when they are first needed.

``changes`` is the log, ``set_aside`` holds films that were excluded or deleted, whole,
``selections`` the saved selections. A gallery that nobody curates has none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from store.errors import StoreDamaged, UsageError
from store.files import CHANGES, SELECTIONS, SET_ASIDE
from store.table import (
    custom_columns,
    filters,
    lance,
    local,
    maintenance,
    object_storage,
    opening,
    repair,
    write,
)
from store.table.rows import missing_fields, storable

T = TypeVar("T")

#: Of the log; one ``begun`` row an operation, one for each film, one when it is finished.
LOG = pa.schema(
    [
        pa.field("number", pa.int64(), nullable=False),
        pa.field("operation", pa.string(), nullable=False),
        pa.field("step", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("film", pa.string()),
        pa.field("before", pa.string()),
        pa.field("after", pa.string()),
        pa.field("who", pa.string()),
        pa.field("at", pa.timestamp("us", tz="UTC")),
        pa.field("of", pa.string()),
        pa.field("about", pa.string()),
    ]
)
#: Of films set aside, behind the columns of the gallery.
ASIDE = (
    pa.field("set_aside_as", pa.string()),
    pa.field("set_aside_by", pa.string()),
    pa.field("set_aside_at", pa.timestamp("us", tz="UTC")),
    pa.field("set_aside_in", pa.string()),
)
_SELECTIONS = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("ids", pa.list_(pa.string())),
        pa.field("filters", pa.list_(pa.string())),
        pa.field("who", pa.string()),
        pa.field("at", pa.timestamp("us", tz="UTC")),
    ]
)
_UUID = b"cxr.table_uuid"
#: Ids beyond which one pass over the table is quicker than looking for each.
_MANY = 4000


@dataclass(slots=True)
class Desk:
    """A gallery's place and its table, with the tables of curation as they are opened.

    Attributes:
        uri: of the gallery.
        gallery: its table, to write to.
    """

    uri: str
    gallery: Any
    _open: dict[str, Any] = field(default_factory=dict)

    def table(self, name: str) -> Any | None:
        """One of the tables of curation at its newest version; None where there is none yet.

        Raises:
            StoreDamaged: it cannot be read, or is that of another gallery.
        """
        found = self._open.get(name)
        if found is None:
            found = _opened(self.uri, name)
            if found is None:
                return None
            if name == SET_ASIDE:
                self._check_whose(found)
            self._open[name] = found
        found.checkout_latest()
        return found

    def made(self, name: str) -> Any:
        """The same, made where there is none; under ``write.writing``."""
        found = self.table(name)
        if found is None:
            schemas = {CHANGES: LOG, SELECTIONS: _SELECTIONS}
            schema = schemas.get(name) or pa.schema([*self.gallery.schema, *ASIDE]).with_metadata(
                self.gallery.schema.metadata
            )
            found = self._open[name] = opening.create_table(self.uri, schema, name)
            self.step(name, lambda: None)
        if name == SET_ASIDE:
            self._make_room(found)
        return found

    def step(self, name: str, work: Callable[[], T]) -> T:
        """One commit on one of the tables; under ``write.writing``."""
        return write.step(self.uri, self._open[name], work, name)

    def _make_room(self, aside: Any) -> None:
        """Give the table of films set aside the columns that the gallery has got since."""
        lacking = [one for one in self.gallery.schema if one.name not in aside.schema.names]
        if lacking:
            self.step(SET_ASIDE, lambda: aside.add_columns(lacking))

    def _check_whose(self, aside: Any) -> None:
        mine = (self.gallery.schema.metadata or {}).get(_UUID)
        if (aside.schema.metadata or {}).get(_UUID) != mine:
            raise StoreDamaged(
                f"the films set aside at {self.uri} ({SET_ASIDE}.lance) are those of another "
                "gallery; move that away, or restore the gallery that it belongs to"
            )


def _opened(uri: str, name: str) -> Any | None:
    """A table that may be absent; what a dead writer left in it is settled."""
    if lance.is_local(uri):
        if not any(lance.folder(uri, name).glob("_versions/*")):
            return None
        try:
            found = lance.open_version(uri, name=name)
        except lance.ReadFault as error:
            found = repair.roll_back(uri, name)
            if found is None:
                raise StoreDamaged(
                    f"the table {name} of the gallery at {uri} cannot be read: "
                    f"{repair.brief(error)}; restore it from a copy, or move {name}.lance away"
                ) from error
        if local.unfinished(lance.folder(uri, name), int(found.version)):
            found = repair.settle(uri, name) or found
        return found
    with object_storage.named_faults(uri):
        try:
            return lance.open_version(uri, name=name)
        except lance.ReadFault as error:
            if "was not found" in str(error):
                return None
            raise


def room_for(handle: Any, names: Sequence[str] = ()) -> None:
    """Add the columns of ours that a gallery of an older version lacks.

    Raises:
        UsageError: one of ``names`` is a column of the user's own.
    """
    refuse_theirs(handle, names)
    if lacking := missing_fields(handle.schema):
        handle.add_columns(lacking)


def refuse_theirs(handle: Any, names: Sequence[str]) -> None:
    """Refuse names that are columns of the user's own, from before they were ours."""
    if theirs := [name for name in names if name in custom_columns.kinds(handle.schema)]:
        raise UsageError(
            f"this gallery has a column of your own called {theirs[0]!r}, where this would be "
            "kept; ingest into a new gallery, with another name for that column"
        )


def read(
    handle: Any,
    names: Sequence[str],
    ids: Sequence[str] | None = None,
    condition: Any = None,
    key: str = "id",
) -> pa.Table:
    """Columns of the rows with some ids, or of those that meet a condition, in any order.

    Args:
        handle: the table.
        names: of the columns.
        ids: that ``key`` must have; None: all.
        condition: in the table's language.
        key: column of ids.
    """
    ids = None if ids is None else [*filter(storable, ids)]  # others no table can hold
    if ids is None or len(ids) > _MANY:
        found = lance.scan(handle, [*dict.fromkeys([*names, *([key] if ids else [])])], condition)
        if ids is not None:
            found = found.filter(pc.is_in(found[key], pa.array(list(ids), pa.string())))
        return found.select(list(names))
    parts = list(lance.look_up(handle, ids, names, key))
    if not parts:
        return lance.scan(handle, list(names), filters.NOTHING)
    return pa.concat_tables(parts)


def tidy(desk: Desk, *, always: bool = False) -> None:
    """Merge the small fragments of the tables of curation, once there are many."""
    for name in (CHANGES, SET_ASIDE, SELECTIONS):
        found = desk.table(name)
        if found is not None and (always or maintenance.due(found)):
            maintenance.run_beside(desk.uri, found, name)


def as_columns(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table of a schema; absent cells are null."""
    return pa.table(
        [pa.array([row.get(one.name) for row in rows], one.type) for one in schema], schema=schema
    )
