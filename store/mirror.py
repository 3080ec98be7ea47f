"""The FAISS copy of the table: an immutable snapshot of one version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store import arrow, table
from store.errors import StoreDamaged, UnknownId
from store.filters import Where
from store.schema import Vectors

_METADATA_COLUMNS = ("labels", "split", "dataset", "view", "sex")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One version of the table, in memory. Never changed after it was built.

    Positions run over rows in id order, so that equal scores sort by id.

    Attributes:
        handle: the table, pinned to ``version``.
        index: faiss.IndexFlatIP over ``vectors``.
        vectors: float32 (n, d), a view of the index's own memory.
        ids: the ids, ascending.
        row_ids: int64 (n,), the table's row ids.
        version: of the table.
        uuid: identity of the table.
    """

    handle: Any
    index: Any = field(repr=False)
    vectors: Vectors = field(repr=False)
    ids: list[str] = field(repr=False)
    row_ids: npt.NDArray[np.int64] = field(repr=False)
    version: int
    uuid: str

    @cached_property
    def position(self) -> dict[str, int]:
        """Position of each id."""
        return {id_: position for position, id_ in enumerate(self.ids)}

    @cached_property
    def by_row_id(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Row ids ascending, and the position of each."""
        order = np.argsort(self.row_ids, kind="stable")
        return self.row_ids[order], order.astype(np.int64)

    @cached_property
    def metadata(self) -> pa.Table:
        """The columns that evaluation and facets use, in position order."""
        found = table.scan(self.handle, ["_rowid", *_METADATA_COLUMNS])
        rows = found["_rowid"].to_numpy()
        return found.take(pa.array(np.argsort(rows, kind="stable")[_inverse(self.by_row_id[1])]))

    def positions_of(self, where: Where | None) -> npt.NDArray[np.int64] | None:
        """Positions of the rows that pass a filter, ascending; None when all do."""
        condition = where.to_filter() if where else None
        if condition is None:
            return None
        passing = table.scan(self.handle, ["_rowid"], condition)["_rowid"].to_numpy()
        sorted_ids, positions = self.by_row_id
        return np.sort(positions[np.searchsorted(sorted_ids, passing)])

    def ids_of(self, where: Where | None) -> list[str]:
        """The ids that pass a filter, ascending."""
        allowed = self.positions_of(where)
        return list(self.ids) if allowed is None else [self.ids[place] for place in allowed]

    def row_ids_of(self, ids: Iterable[str]) -> list[int]:
        """The table's row ids of these ids, in the order asked. UnknownId as in find."""
        return [int(row_id) for row_id in self.row_ids[self.find(ids)]]

    def facets(self, where: Where | None) -> dict[str, dict[str, int]]:
        """How many of the rows that pass carry each value, by column."""
        allowed = self.positions_of(where)
        columns = self.metadata if allowed is None else self.metadata.take(allowed)
        counts = {"labels": Counter(name for row in columns["labels"].to_pylist() for name in row)}
        for column in ("split", "dataset", "view", "sex"):
            counts[column] = Counter(value for value in columns[column].to_pylist() if value)
        return {column: dict(sorted(found.items())) for column, found in counts.items()}

    def find(self, ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """Positions of these ids, in the order asked. UnknownId when one is missing."""
        positions = []
        for id_ in ids:
            if id_ not in self.position:
                example = f"; ids look like {self.ids[0]!r}" if self.ids else ""
                raise UnknownId(f"no row {id_!r} among {len(self.ids)} rows{example}")
            positions.append(self.position[id_])
        return np.asarray(positions, np.int64)


def _inverse(permutation: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    result = np.empty_like(permutation)
    result[permutation] = np.arange(len(permutation))
    return result


def build(handle: Any, dimension: int) -> Snapshot:
    """Copy the table into memory.

    Args:
        handle: the table, pinned to one version.
        dimension: length of its vectors.

    Raises:
        StoreDamaged: the scan fails or disagrees with the row count, an id occurs twice, or a
            vector is not of unit length.
    """
    import faiss

    try:
        count = handle.count_rows()
        index = faiss.IndexFlatIP(dimension)
        index.codes.resize(count * dimension * 4)
        index.ntotal = count
        vectors: Vectors = (
            faiss.rev_swig_ptr(index.get_xb(), count * dimension).reshape(count, dimension)
            if count
            else np.empty((0, dimension), np.float32)
        )
        keys = table.scan(handle, ["id", "_rowid"])
        order = np.argsort(np.asarray(keys["id"].to_pylist(), dtype=object), kind="stable")
        ids = keys["id"].take(pa.array(order)).to_pylist()
        row_ids = keys["_rowid"].to_numpy().astype(np.int64)[order]
        by_row_id = np.argsort(row_ids, kind="stable")
        filled = 0
        for batch in table.scan_batches(handle, ["_rowid", "embedding"]):
            found = batch.column("_rowid").to_numpy().astype(np.int64)
            places = by_row_id[np.searchsorted(row_ids[by_row_id], found)]
            column = batch.column("embedding")
            vectors[places] = column.flatten().to_numpy().reshape(-1, dimension)
            filled += len(found)
    except (RuntimeError, OSError, ValueError, IndexError) as error:
        raise StoreDamaged(
            f"version {handle.version} of the gallery cannot be read: {str(error)[:300]}; "
            "run: cxr check"
        ) from error
    if not filled == len(ids) == count:
        raise StoreDamaged(
            f"version {handle.version} of the gallery counts {count} rows, but a scan found "
            f"{filled}; run: cxr check"
        )
    _check(ids, vectors)
    _use_blas_for_batches()
    return Snapshot(
        handle, index, vectors, ids, row_ids, int(handle.version), table.uuid_of(handle)
    )


def _check(ids: Sequence[str], vectors: Vectors) -> None:
    for left, right in pairwise(ids):
        if left == right:
            raise StoreDamaged(f"id {left!r} occurs more than once in the table; run: cxr check")
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    bad = np.flatnonzero(~(np.abs(norms - 1) <= 10 * arrow.NORM_TOLERANCE))
    if bad.size:
        raise StoreDamaged(
            f"{bad.size} stored vectors are not of unit length, first {ids[bad[0]]!r} with norm "
            f"{norms[bad[0]]:.6g}; ingest these ids again"
        )


def _use_blas_for_batches() -> None:
    # Since 1.15 FAISS scans small batches row by row, up to nine times slower than a matrix
    # product on few cores; the crossover is near 800 per thread (facebookresearch/faiss#5109).
    import faiss

    faiss.cvar.distance_compute_blas_threshold = 800 * faiss.omp_get_max_threads()
