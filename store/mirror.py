"""The FAISS copy of the table: an immutable snapshot of one version."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from store import arrow, columns, table
from store.errors import UnknownId
from store.filters import Where
from store.schema import Vectors

_METADATA_COLUMNS = ("labels", "uncertain", "absent", "split", "dataset", "view", "sex")
#: Of the user's columns, only those with few different values are counted.
_MOST_VALUES = 100
#: Filters whose rows a snapshot remembers.
_REMEMBERED = 16
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One version of the table, in memory. Never changed after it was built.

    Positions run in any order; equal scores are ranked by id when hits are made.

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

    @property
    def count(self) -> int:
        """How many rows."""
        return len(self.keys)

    @cached_property
    def ids(self) -> list[str]:
        """The ids, by position."""
        found: list[str] = self.keys.to_pylist()
        return found

    @cached_property
    def _by_id(self) -> Integers:
        order: Integers = pc.sort_indices(self.keys).to_numpy().astype(np.int64)
        return order

    @cached_property
    def by_row_id(self) -> tuple[Integers, Integers]:
        """Row ids ascending, and the position of each."""
        order = np.argsort(self.row_ids, kind="stable")
        return self.row_ids[order], order.astype(np.int64)

    @cached_property
    def metadata(self) -> pa.Table:
        """The columns that evaluation and facets use, in position order."""
        schema = self.handle.schema  # one of an older version lacks some
        own = [name for name, kind in columns.kinds(schema).items() if kind in ("string", "bool")]
        names = [name for name in (*_METADATA_COLUMNS, *own) if name in schema.names]
        found = table.scan(self.handle, ["_rowid", *names])
        order = np.argsort(found["_rowid"].to_numpy(), kind="stable")
        sorted_place = np.empty(self.count, np.int64)
        sorted_place[self.by_row_id[1]] = np.arange(self.count)
        return found.take(pa.array(order[sorted_place]))

    def places(self, row_ids: Integers) -> Integers:
        """Positions of rows of this version."""
        sorted_ids, positions = self.by_row_id
        return positions[np.searchsorted(sorted_ids, row_ids)]

    def positions_of(self, where: Where | None) -> Integers | None:
        """Positions of the rows that pass a filter, ascending; None when all do."""
        if not where:
            return None
        known = self._passing.get(where)
        if known is None:
            condition = where.to_filter(self.handle.schema)
            passing = table.scan(self.handle, ["_rowid"], condition)["_rowid"].to_numpy()
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

    def row_ids_of(self, ids: Iterable[str]) -> list[int]:
        """The table's row ids of these ids, in the order asked. UnknownId as in find."""
        return [int(row_id) for row_id in self.row_ids[self.find(ids)]]

    def facets(self, where: Where | None) -> dict[str, dict[str, int]]:
        """How many of the rows that pass carry each value, by column."""
        allowed = self.positions_of(where)
        found = self.metadata if allowed is None else self.metadata.take(allowed)
        counts: dict[str, dict[str, int]] = {name: {} for name in arrow.FINDINGS}
        for name in found.column_names[1:]:
            column = found[name]
            cells = pc.list_flatten(column) if pa.types.is_list(column.type) else column
            values = pc.value_counts(cells).to_pylist()
            if name not in _METADATA_COLUMNS and len(values) > _MOST_VALUES:
                continue
            counted = {one["values"]: one["counts"] for one in values}
            counts[name] = {
                str(value).lower() if isinstance(value, bool) else value: counted[value]
                for value in sorted(value for value in counted if value not in (None, ""))
            }
        return counts

    def find(self, ids: Iterable[str]) -> Integers:
        """Positions of these ids, in the order asked. UnknownId when one is missing."""
        positions = []
        for id_ in ids:
            position = self._position(id_)
            if position is None:
                example = f"; ids look like {min(self.ids)!r}" if self.count else ""
                raise UnknownId(f"no row {id_!r} among {self.count} rows{example}")
            positions.append(position)
        return np.asarray(positions, np.int64)

    def known_positions(self, ids: Iterable[str]) -> list[int]:
        """Positions of those of these ids that are here."""
        found = (self._position(id_) for id_ in ids)
        return [position for position in found if position is not None]

    def _position(self, id_: str) -> int | None:
        order = self._by_id
        # Arrow sorts by UTF-8 bytes, Python by code points: the same order.
        place = bisect_left(range(self.count), id_, key=lambda i: self.keys[order[i]].as_py())
        if place == self.count or self.keys[order[place]].as_py() != id_:
            return None
        return int(order[place])

    def differing(self, row_ids: Integers, vectors: Vectors) -> list[int]:
        """Which of these rows of the table are absent here, or have another vector."""
        sorted_ids, positions = self.by_row_id
        if not len(sorted_ids):
            return list(range(len(row_ids)))
        places = np.minimum(np.searchsorted(sorted_ids, row_ids), len(sorted_ids) - 1)
        wrong = sorted_ids[places] != row_ids
        wrong |= (self.vectors[positions[places]] != vectors).any(axis=1)
        return [int(place) for place in np.flatnonzero(wrong)]
