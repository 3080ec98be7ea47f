"""Reader of one table version without its vectors in memory: rows by id, filters, counts.

The base of searchers that have no mirror: they add how the nearest rows are found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store.errors import UnknownId, counted
from store.schema import Hit, Row, Vectors
from store.search.base import Ranked, Sample
from store.table import column_stats, custom_columns, lance, rows
from store.table.column_stats import Range

if TYPE_CHECKING:
    from store.table.filters import Where


class TableReader:
    """Reader of one table version; see Searcher. Subclasses add ``ranked`` and ``caveats``."""

    def __init__(self, handle: Any, token: str) -> None:
        self.handle = handle
        self.version = int(handle.version)
        self.uuid = lance.uuid_of(handle)
        self.token = token

    @cached_property
    def count(self) -> int:
        """Number of rows."""
        return int(self.handle.count_rows())

    def vectors_of(self, ids: Sequence[str]) -> Vectors:
        """float32 (n, d), in the order asked. UnknownId when one is missing."""
        found: dict[str, npt.NDArray[np.float32]] = {}
        for part in lance.look_up(self.handle, filter(rows.storable, ids), ["id", "embedding"]):
            if len(part):
                found.update(zip(part["id"].to_pylist(), matrix(part["embedding"]), strict=True))
        return np.stack(self._in_order(ids, found)) if len(ids) else np.empty((0, 0), np.float32)

    def row_ids_of(self, ids: Sequence[str]) -> list[int]:
        """The table's row ids, in the order asked. UnknownId when one is missing."""
        found: dict[str, int] = {}
        for part in lance.look_up(self.handle, filter(rows.storable, ids), ["id", "_rowid"]):
            found.update(zip(part["id"].to_pylist(), part["_rowid"].to_pylist(), strict=True))
        return self._in_order(ids, found)

    def rows_of(self, ids: Sequence[str]) -> list[Row]:
        """Metadata, in the order asked. UnknownId when one is missing."""
        return self._in_order(ids, lance.rows_by_id(self.handle, ids))

    def ids_of(self, where: Where | None) -> list[str]:
        """The ids that pass a filter, ascending."""
        return sorted(lance.scan(self.handle, ["id"], self._condition(where))["id"].to_pylist())

    def facets(self, where: Where | None) -> dict[str, dict[str, int]]:
        """Counts of the rows that pass by value, by column; read as a stream."""
        schema = self.handle.schema
        return column_stats.value_counts(
            self._stream(column_stats.counted_columns(schema), where), schema
        )

    def ranges(self, where: Where | None) -> dict[str, Range]:
        """Least and greatest value of the rows that pass, by column; read as a stream."""
        schema = self.handle.schema
        names, kinds = column_stats.ranged_columns(schema), custom_columns.kinds(schema)
        found: dict[str, Range] = {}
        for batch in self._stream(names, where):
            found = column_stats.merged_ranges(found, column_stats.ranges_of(batch, kinds))
        return {name: found[name] for name in names if name in found}

    def _stream(self, names: list[str], where: Where | None) -> Iterator[pa.RecordBatch]:
        return lance.scan_batches(self.handle, names, self._condition(where))

    def sample(self, most: int) -> Sample:
        """At most this many rows, evenly spread over a scan."""
        places = np.unique(np.linspace(0, self.count - 1, min(self.count, most)).astype(np.int64))
        if not self.count:
            empty = np.empty(0, np.int64)
            return Sample(empty, empty, np.empty((0, 0), np.float32))
        names = ["_rowid", lance.CHANGED_AT, "embedding"]
        with lance.panics_as_errors():
            found = self.handle.take_offsets(places.tolist()).select(names).to_arrow()
        order = np.argsort(found["_rowid"].to_numpy(), kind="stable")
        row_ids, changed_at = (found[name].to_numpy().astype(np.int64)[order] for name in names[:2])
        return Sample(row_ids, changed_at, matrix(found["embedding"])[order])

    def rows_at(self, row_ids: Sequence[int]) -> list[Row]:
        """Metadata of rows that are stored, by the table's row ids, in the order asked."""
        found = lance.take(self.handle, sorted(set(row_ids)))
        return [found[row_id] for row_id in row_ids]

    def vectors_at(self, row_ids: Sequence[int]) -> Vectors:
        """Vectors of rows that are stored, float32 (n, d), in the order asked."""
        if not row_ids:
            return np.empty((0, 0), np.float32)
        with lance.panics_as_errors():
            asked = self.handle.take_row_ids(list(row_ids)).select(["_rowid", "embedding"])
            found = asked.to_arrow()
        place = {row_id: at for at, row_id in enumerate(found["_rowid"].to_pylist())}
        return matrix(found["embedding"])[[place[row_id] for row_id in row_ids]]

    def search(
        self, queries: Vectors, k: int, where: Where | None, exclude: Sequence[str]
    ) -> list[list[Hit]]:
        """Hits per query, best first, equal scores by id, with metadata read in one take."""
        ranked = self.ranked(queries, k, where, exclude)
        rows = lance.take(self.handle, sorted({one for found in ranked for one in found.row_ids}))
        return [
            [
                Hit(rank, float(score), rows[row_id])
                for rank, (row_id, score) in enumerate(
                    zip(found.row_ids, found.scores, strict=True), start=1
                )
            ]
            for found in ranked
        ]

    def ranked(
        self, queries: Vectors, k: int, where: Where | None, exclude: Sequence[str]
    ) -> list[Ranked]:
        """What ``search`` finds, without the metadata of the rows."""
        raise NotImplementedError

    def _condition(self, where: Where | None) -> str | None:
        return where.to_filter(self.handle.schema) if where else None

    def _in_order(self, ids: Sequence[str], found: dict[str, Any]) -> list[Any]:
        for id_ in ids:
            if id_ not in found:
                raise UnknownId(f"no row {id_!r} among {counted(self.count, 'row')}")
        return [found[id_] for id_ in ids]


def matrix(column: pa.ChunkedArray) -> Vectors:
    """A column of vectors as float32 (n, d)."""
    cells = column.combine_chunks()
    values: Vectors = cells.flatten().to_numpy().reshape(len(cells), column.type.list_size)
    return values


def rescored(
    query: npt.NDArray[np.float32], vectors: Vectors, ids: Sequence[str], k: int
) -> tuple[list[int], Vectors]:
    """The k best of some candidates by cosine in float64, equal scores by id.

    Args:
        query: float32 (d,), unit length.
        vectors: float32 (n, d), the stored ones.
        ids: of the candidates.
        k: how many.

    Returns:
        Places among the candidates and float32 scores, best first: the same numbers as those of an
        exact search.
    """
    products = vectors.astype(np.float64) * query.astype(np.float64)
    scores = np.clip(products.sum(axis=1), -1, 1).astype(np.float32)
    order = sorted(range(len(ids)), key=lambda place: (-scores[place], ids[place]))[:k]
    return order, scores[order]
