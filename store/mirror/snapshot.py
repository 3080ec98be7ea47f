"""Snapshot: an immutable copy of one table version in memory, with its FAISS index."""

from __future__ import annotations

import itertools
import logging
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store import memory
from store.errors import StoreDamaged, UnknownId, counted
from store.schema import COLUMNS, Integers, Row, Vectors
from store.table import column_stats, custom_columns, lance, rows
from store.table.column_stats import Range
from store.table.filters import Where
from store.words import index

log = logging.getLogger("store")

#: Columns stored dictionary-encoded, as are the user's own strings.
_REPEATING = (
    *(name for name, column in COLUMNS.items() if column.counted and column.kind == "string"),
    "batch",
    "report",  # films of a study have the same
)
#: Filters whose rows a snapshot remembers.
_REMEMBERED = 16
#: All metadata is loaded after max(32, rows / 2000) joins: one join costs about as much as scanning
#: 2,000 rows.
ASKED, _ROWS_READ = 32, 2000
#: Ids that are looked up one by one, 50 us each; of more, one table of all ids takes 5 ms.
_ONE_BY_ONE = 100
#: Rows of hits that a snapshot keeps as they were made, a kilobyte each: making ten takes .3 ms,
#: three searches of a small gallery. And how many are made at once ahead.
_ROWS_KEPT, _ROWS_MADE = 20_000, 500


#: Columns that are no metadata: the key, the vector, the picture and their digests.
_NOT_METADATA = (
    *("id", "embedding", "thumbnail", "sha256", rows.CHECKSUM, rows.READER.name),
    index.COLUMN,
)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Copy of one version of the table in memory. Never changed after it was built.

    Positions run in any order; equal scores are ranked by id when hits are made. Of a shard's
    snapshot the rows are some of the table's.

    Attributes:
        handle: the table, pinned to ``version``.
        index: faiss.IndexFlatIP over ``vectors``.
        vectors: float32 (n, d), a view of the index's own memory.
        keys: the ids, by position.
        row_ids: int64 (n,), the table's row ids.
        changed_at: int64 (n,), the version that last changed each row.
        version: of the table.
        uuid: identity of the table.
        token: digest of the version's manifest; after a damaged version was given up, another
            one may take its number.
    """

    handle: Any
    index: Any = field(repr=False)
    vectors: Vectors = field(repr=False)
    keys: pa.StringArray = field(repr=False)
    row_ids: Integers = field(repr=False)
    changed_at: Integers = field(repr=False)
    version: int
    uuid: str
    token: str
    _passing: dict[Where, Integers] = field(default_factory=dict, repr=False)
    _rows: dict[int, Row] = field(default_factory=dict, repr=False)
    _asked: Iterator[int] = field(default_factory=itertools.count, repr=False)

    @classmethod
    def of(
        cls,
        handle: Any,
        token: str | None,
        index: Any,
        vectors: Vectors,
        keys: pa.StringArray,
        row_ids: Integers,
        changed_at: Integers,
    ) -> Self:
        """A snapshot of the version that a handle is pinned to; its token is looked up if None."""
        version = int(handle.version)
        token = token or lance.token(handle, version) or ""
        uuid = lance.uuid_of(handle)
        return cls(handle, index, vectors, keys, row_ids, changed_at, version, uuid, token)

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.keys)

    @cached_property
    def stored_rows(self) -> int:
        """Rows of the table; more than here where an id occurs more than once there."""
        return int(self.handle.count_rows())

    @cached_property
    def ids(self) -> list[str]:
        """The ids, by position."""
        found: list[str] = self.keys.to_pylist()
        return found

    @cached_property
    def by_id(self) -> Integers:
        """Positions in the order of their ids, int64 (n,).

        Results in this order do not depend on how rows are stored. Arrow sorts by UTF-8 bytes,
        Python by code points: the same order.
        """
        order: Integers = pc.sort_indices(self.keys).to_numpy().astype(np.int64)
        return order

    @cached_property
    def by_row_id(self) -> tuple[Integers, Integers]:
        """Row ids ascending, and the position of each."""
        order = np.argsort(self.row_ids, kind="stable")
        return self.row_ids[order], order.astype(np.int64)

    def columns(self, names: Sequence[str], *, encoded: bool = False) -> pa.Table:
        """Columns of the table at this version, one row per position.

        Args:
            names: of columns of the table.
            encoded: repeating strings come dictionary-encoded, and all in one chunk.

        Raises:
            StoreDamaged: the table has other rows.
        """
        found = lance.scan(self.handle, ["_rowid", *names])
        if len(found) > self.count:  # also older rows of ids that a newer row has
            found = found.filter(pa.array(np.isin(found["_rowid"].to_numpy(), self.row_ids)))
        order = np.argsort(found["_rowid"].to_numpy(), kind="stable")
        if not np.array_equal(found["_rowid"].to_numpy()[order], self.by_row_id[0]):
            raise StoreDamaged(
                f"version {self.version} has other rows in the mirror than in the table; "
                "run: cxr check"
            )
        place = np.empty(self.count, np.int64)
        place[self.by_row_id[1]] = order
        found = found.select(list(names))
        if encoded:
            found = _encoded(found)
        if not np.array_equal(place, np.arange(self.count)):
            found = found.take(pa.array(place))
        return found.combine_chunks() if encoded else found

    @property
    def column_names(self) -> list[str]:
        """The metadata columns that the table has, in its order."""
        return [name for name in self.handle.schema.names if name not in _NOT_METADATA]

    @cached_property
    def metadata(self) -> pa.Table:
        """Metadata columns of hits without the ids, in position order."""
        found = self.columns(metadata_names(self.handle), encoded=True)
        memory.give_back()  # twice as much as what is kept
        return found

    @property
    def metadata_in_memory(self) -> pa.Table | None:
        """The metadata if it has been read, else None."""
        return self.__dict__.get("metadata")

    def keep_metadata(self, first: pa.Table, rest: pa.Table) -> None:
        """Take over what an older snapshot had read, and what has changed since, in position order.

        Args:
            first: rows of an older snapshot's metadata.
            rest: rows of the table, with the same columns.
        """
        whole = pa.concat_tables([first, _encoded(rest)]).unify_dictionaries()
        self.__dict__["metadata"] = whole.combine_chunks()

    def rows(self, positions: Integers) -> list[Row]:
        """Metadata of these positions, in order: from memory, or in one take from the table.

        Being asked often brings it into memory, on a thread.
        """
        metadata = self.metadata_in_memory
        if metadata is None:
            if next(self._asked) == asked_often(self.count):
                # Not a daemon: the process ends when it is done, a second at a million rows.
                threading.Thread(target=self._load, name="cxr-metadata").start()
            return self._taken(positions)
        wanted = positions.tolist()
        found = {place: self._rows[place] for place in wanted if place in self._rows}
        missing = [place for place in dict.fromkeys(wanted) if place not in found]
        if missing:
            found.update(zip(missing, self._made(metadata, missing), strict=True))
            if len(self._rows) > _ROWS_KEPT:
                self._rows.clear()
            self._rows.update(found)
        return [_own(found[place]) for place in wanted]

    def _taken(self, positions: Integers) -> list[Row]:
        wanted = self.row_ids[positions].tolist()
        found = lance.take(self.handle, sorted(set(wanted)))
        missing = [row_id for row_id in wanted if row_id not in found]
        if missing:
            raise StoreDamaged(
                f"{len(missing)} rows of version {self.version} are in the mirror but not in the "
                "table; run: cxr check"
            )
        return [found[row_id] for row_id in wanted]

    def _made(self, metadata: pa.Table, positions: list[int]) -> list[Row]:
        places = pa.array(positions, pa.int64())
        found = metadata.take(places)
        return rows.from_arrow(found.append_column("id", self.keys.take(places)))

    def _load(self) -> None:
        try:
            metadata = self.metadata
            # Of a small gallery every row is made here, so that no search waits for one.
            for start in range(0, self.count if self.count <= _ROWS_KEPT else 0, _ROWS_MADE):
                places = list(range(start, min(start + _ROWS_MADE, self.count)))
                self._rows.update(zip(places, self._made(metadata, places), strict=True))
        except (MemoryError, RuntimeError, OSError, ValueError, StoreDamaged) as error:
            log.info("metadata stays in the table: %s", error)

    def places(self, row_ids: Integers) -> Integers:
        """Positions of the given rows of the table; rows that are not here are left out."""
        sorted_ids, positions = self.by_row_id
        places = np.searchsorted(sorted_ids, row_ids)
        if len(sorted_ids) != self.stored_rows:
            places = places[np.isin(row_ids, sorted_ids)]
        return positions[places]

    def positions_of(self, where: Where | None) -> Integers | None:
        """Positions of the rows that pass a filter, ascending; None when all do."""
        if not where:
            return None
        known = self._passing.get(where)
        if known is None:
            condition = where.to_filter(self.handle.schema)
            passing = lance.scan(self.handle, ["_rowid"], condition)["_rowid"].to_numpy()
            known = np.sort(self.places(passing))
            while len(self._passing) >= _REMEMBERED:
                self._passing.pop(next(iter(self._passing)), None)
            self._passing[where] = known
        return known

    def ids_of(self, where: Where | None) -> list[str]:
        """The ids that pass a filter, ascending."""
        allowed = self.positions_of(where)
        keys = self.keys if allowed is None else self.keys.take(pa.array(allowed))
        return sorted(keys.to_pylist())

    def vectors_of(self, ids: Iterable[str]) -> Vectors:
        """float32 (n, d), in the order asked. UnknownId when one is missing."""
        found: Vectors = self.vectors[self.find(ids)]
        return found

    def rows_of(self, ids: Iterable[str]) -> list[Row]:
        """Metadata, in the order asked. UnknownId when one is missing."""
        return self.rows(self.find(ids))

    def row_ids_of(self, ids: Iterable[str]) -> list[int]:
        """The table's row ids, in the order asked. UnknownId when one is missing."""
        return [int(row_id) for row_id in self.row_ids[self.find(ids)]]

    def facets(self, where: Where | None) -> dict[str, dict[str, int]]:
        """Counts of the rows that pass by value, by column."""
        allowed = self.positions_of(where)
        found = self.metadata if allowed is None else self.metadata.take(allowed)
        return column_stats.value_counts([found], found.schema)

    def ranges(self, where: Where | None) -> dict[str, Range]:
        """Least and greatest value of the rows that pass, by column of numbers or dates."""
        allowed = self.positions_of(where)
        schema = self.metadata.schema
        found = self.metadata.select(column_stats.ranged_columns(schema))
        found = found if allowed is None else found.take(allowed)
        return column_stats.ranges_of(found, custom_columns.kinds(schema))

    def find(self, ids: Iterable[str]) -> Integers:
        """Positions of these ids, in the order asked. UnknownId when one is missing."""
        positions = []
        for id_ in ids:
            position = self._position(id_)
            if position is None:
                example = f"; ids look like {min(self.ids)!r}" if self.count else ""
                raise UnknownId(f"no row {id_!r} among {counted(self.count, 'row')}{example}")
            positions.append(position)
        return np.asarray(positions, np.int64)

    def known_positions(self, ids: Iterable[str]) -> list[int]:
        """Positions of the given ids; ids that are not here are left out."""
        ids = list(ids)
        if len(ids) > _ONE_BY_ONE:
            places = pc.index_in(pa.array(ids, pa.string()), value_set=self.keys)
            return [int(place) for place in places.drop_null().to_pylist()]
        found = (self._position(id_) for id_ in ids)
        return [position for position in found if position is not None]

    def ranks(self, positions: Integers) -> Integers:
        """Numbers that order these rows by id, int64 (m,)."""
        ids = self.keys.take(pa.array(positions)).to_pylist()
        order = sorted(range(len(ids)), key=ids.__getitem__)
        ranks = np.empty(len(ids), np.int64)
        ranks[order] = np.arange(len(ids))
        return ranks

    def _position(self, id_: str) -> int | None:
        order = self.by_id
        place = bisect_left(range(self.count), id_, key=lambda i: self.keys[order[i]].as_py())
        if place == self.count or self.keys[order[place]].as_py() != id_:
            return None
        return int(order[place])

    def differing(self, row_ids: Integers, vectors: Vectors) -> list[int]:
        """Places of the given rows of the table that are absent here, or have another vector."""
        sorted_ids, positions = self.by_row_id
        if not len(sorted_ids):
            return list(range(len(row_ids)))
        places = np.minimum(np.searchsorted(sorted_ids, row_ids), len(sorted_ids) - 1)
        wrong = sorted_ids[places] != row_ids
        wrong |= (self.vectors[positions[places]] != vectors).any(axis=1)
        return [int(place) for place in np.flatnonzero(wrong)]


def _own(row: Row) -> Row:
    """A row for one caller: what can be changed in it is not shared."""
    return replace(row, extra=dict(row.extra)) if row.extra else row


def asked_often(rows: int) -> int:
    """Joins after which the metadata of a snapshot with this many rows comes into memory."""
    return max(ASKED, rows // _ROWS_READ)


def metadata_names(handle: Any) -> list[str]:
    """The columns of a snapshot's metadata; a table of an older version lacks some."""
    return [name for name in rows.joined_columns(handle.schema) if name != "id"]


def _encoded(metadata: pa.Table) -> pa.Table:
    """The same with repeating strings dictionary-encoded, in one chunk."""
    own = custom_columns.kinds(metadata.schema)
    for number, column in enumerate(metadata.schema):
        if column.name in _REPEATING or own.get(column.name) == "string":
            cells = metadata[column.name].dictionary_encode()
            metadata = metadata.set_column(number, column.with_type(cells.type), cells)
    return metadata.combine_chunks()
