"""Copies of a table version in memory: whole, or by what changed; damaged ones are refused."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store.errors import StoreDamaged
from store.mirror import faiss_index
from store.mirror.snapshot import Snapshot, metadata_names
from store.schema import Integers, Vectors
from store.table import duplicate_ids, lance, rows

S = TypeVar("S", bound=Snapshot)
#: Which of some row ids belong to a copy: int64 (n,) to bool (n,).
Mine = Callable[[Integers], npt.NDArray[np.bool_]]

#: What a snapshot copies. Row id and version of its last change together tell a changed row.
COLUMNS = ("id", "_rowid", lance.CHANGED_AT, "embedding")
_TYPES = (pa.string(), pa.int64(), pa.int64())

#: Bytes of vectors read at once: a sixteenth of them within these bounds.
_PIECE_BYTES = (8 << 20, 32 << 20)
_M_MMAP_THRESHOLD = -3
_KEPT_WHILE_READING = 1 << 20
_DEFAULT_KEPT = 32 << 20  # what glibc comes to by itself where blocks are large


def build(
    handle: Any,
    dimension: int,
    kind: type[S] = Snapshot,  # type: ignore[assignment]
    token: str | None = None,
) -> S:
    """Copy the table into memory, in one scan.

    Of an id that occurs more than once the newest row alone is in the snapshot.

    Args:
        handle: the table, pinned to one version.
        dimension: length of its vectors.
        kind: of snapshot.
        token: of the version's manifest, where it is known.

    Raises:
        StoreDamaged: the scan fails or disagrees with the row count, or a vector is not of unit
            length.
    """
    _blocks_kept(_KEPT_WHILE_READING)
    try:
        count = handle.count_rows()
        index, vectors = faiss_index.empty(count, dimension)
        row_ids, norms = np.empty(count, np.int64), np.empty(count, np.float32)
        size = min(max(vectors.nbytes // 16, _PIECE_BYTES[0]), _PIECE_BYTES[1])
        filled = 0
        with ThreadPoolExecutor(1, "cxr-build") as beside:
            reading = beside.submit(_keys, handle)
            for batch in _pieces(handle, count, size // (4 * dimension) or 1):
                place = slice(filled, filled + batch.num_rows)
                row_ids[place] = batch.column("_rowid").to_numpy()
                values = batch.column("embedding").flatten().to_numpy()
                vectors[place] = values.reshape(-1, dimension)
                norms[place] = _norms(vectors[place])  # while they are in cache
                filled += batch.num_rows
            keys, ids = reading.result()
        if not np.array_equal(row_ids, keys["_rowid"].to_numpy()):
            raise ValueError("two scans of one version differ in their rows")
        changed_at = keys[lance.CHANGED_AT].to_numpy().astype(np.int64)
    except (RuntimeError, OSError, ValueError, IndexError) as error:
        raise StoreDamaged(
            f"version {handle.version} of the gallery cannot be read: {str(error)[:300]}; "
            "run: cxr check"
        ) from error
    finally:
        _blocks_kept(_DEFAULT_KEPT)
    if not filled == len(keys) == count:
        raise _miscounted(handle, count, filled)
    _check(ids, norms)
    older = duplicate_ids.older(ids, row_ids, changed_at)
    if older.size:
        kept = np.setdiff1d(np.arange(count), older)
        whole = vectors
        index, vectors = faiss_index.empty(len(kept), dimension)
        np.take(whole, kept, axis=0, out=vectors, mode="clip")
        ids, row_ids, changed_at = ids.take(pa.array(kept)), row_ids[kept], changed_at[kept]
    return kind.of(handle, token, index, vectors, ids, row_ids, changed_at)


def _keys(handle: Any) -> tuple[pa.Table, pa.StringArray]:
    # All columns but the vectors, and the ids in one piece.
    keys = lance.scan(handle, list(COLUMNS[:3]))
    return keys, pa.concat_arrays([*keys["id"].chunks, pa.array([], pa.string())])


def _pieces(handle: Any, count: int, rows: int) -> Iterator[pa.RecordBatch]:
    # A stream of the whole column reads ahead as far as it can: twice the memory.
    for start in range(0, count, rows):
        piece = handle.search().select(["_rowid", "embedding"]).offset(start).limit(rows)
        with lance.panics_as_errors():
            yield from piece.to_batches(batch_size=lance.BATCH)


def _blocks_kept(size: int) -> None:
    # By default glibc keeps the large blocks that LanceDB frees after each piece.
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, size)


def _norms(vectors: Vectors) -> Vectors:
    found: Vectors = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return found


def _check(keys: pa.StringArray, norms: Vectors) -> None:
    """Refuse vectors that are not of unit length."""
    bad = np.flatnonzero(~(np.abs(norms - 1) <= 10 * rows.NORM_TOLERANCE))
    if bad.size:
        raise StoreDamaged(
            f"{bad.size} stored vectors are not of unit length, first {keys[bad[0]].as_py()!r} "
            f"with norm {norms[bad[0]]:.6g}; run: cxr check"
        )


#: With more than this share of the rows new or changed, one scan is quicker than many takes.
LARGEST_SHARE = 0.3
#: Bytes of vectors taken from the table at once.
_TAKEN_BYTES = 16 << 20


def follow(
    before: S | None,
    handle: Any,
    dimension: int,
    kind: type[S] = Snapshot,  # type: ignore[assignment]
    token: str | None = None,
) -> S:
    """The same as ``build``, copied from an older snapshot as far as that has the rows.

    Rows are perhaps in another order; ``before`` is left as it is, and is the result when it is
    already of this version.
    """
    if before is not None and same_history(before, handle):
        if before.version == int(handle.version):
            return before
        try:
            difference = Difference.of(before, handle)
            if len(difference.wanted) <= LARGEST_SHARE * difference.count:
                after = copy(before, difference, handle, dimension, kind, token)
                if not duplicate_ids.any_among(after.keys):
                    return after
        except (RuntimeError, OSError, ValueError, StoreDamaged):
            pass  # building anew says what is wrong, if it is wrong there too
    return build(handle, dimension, kind, token)


def same_history(before: Snapshot, handle: Any) -> bool:
    """Whether the version that a handle is pinned to came out of a snapshot's version."""
    return (before.uuid, before.token) == (
        lance.uuid_of(handle),
        lance.token(handle, before.version),
    )


@dataclass(frozen=True, eq=False)
class Difference:
    """Rows of a version that a snapshot has already, and rows that must be read.

    Attributes:
        kept: int64 (n,), ascending positions of the snapshot.
        wanted: int64 (m,), ascending row ids of the table.
    """

    kept: Integers
    wanted: Integers

    @property
    def count(self) -> int:
        """Rows of the version."""
        return len(self.kept) + len(self.wanted)

    @classmethod
    def of(cls, before: Snapshot | None, handle: Any, mine: Mine | None = None) -> Difference:
        """Compare (row id, last change) of all rows.

        ``before`` is of the same history; None has nothing. Of a shard, ``mine`` chooses its rows.

        Raises:
            StoreDamaged: a scan disagrees with the row count.
        """
        now = lance.scan(handle, ["_rowid", lance.CHANGED_AT])
        row_ids, changed_at = (column.to_numpy().astype(np.int64) for column in now.columns)
        count = int(handle.count_rows())
        if len(row_ids) != count:
            raise _miscounted(handle, count, len(row_ids))
        if mine is not None:
            chosen = mine(row_ids)
            row_ids, changed_at = row_ids[chosen], changed_at[chosen]
        if before is None or not before.count:
            return cls(np.empty(0, np.int64), np.sort(row_ids))
        sorted_ids, positions = before.by_row_id
        places = np.minimum(np.searchsorted(sorted_ids, row_ids), len(sorted_ids) - 1)
        old = positions[places]
        same = (sorted_ids[places] == row_ids) & (before.changed_at[old] == changed_at)
        if not _plausible(before, int(handle.version), changed_at, same):
            same[:] = False
        return cls(np.sort(old[same]), np.sort(row_ids[~same]))


def _plausible(
    before: Snapshot, version: int, changed_at: Integers, same: npt.NDArray[np.bool_]
) -> bool:
    """Whether what differs was changed after ``before`` was made: else history was rewritten.

    A restored version brings rows back with their old numbers; a table without stable row ids
    says 1 for every row.
    """
    fresh = changed_at[~same]
    if version == before.version:
        return not fresh.size
    return version > before.version and bool(
        ((fresh > before.version) & (fresh <= version)).all() and (changed_at > 1).all()
    )


def copy(
    before: S | None,
    difference: Difference,
    handle: Any,
    dimension: int,
    kind: type[S],
    token: str | None = None,
) -> S:
    """A snapshot of a version from an older one, with the rows in which they differ read.

    Raises:
        StoreDamaged: rows are missing, or vectors are not of unit length.
    """
    kept, count = difference.kept, difference.count
    index, vectors = faiss_index.empty(count, dimension)
    known = None if before is None else before.metadata_in_memory
    if known is not None and known.column_names != metadata_names(handle):
        known = None
    all_kept = before is not None and len(kept) == before.count
    parts, joined = [], []
    if before is not None and len(kept):
        if all_kept:
            vectors[: len(kept)] = before.vectors
        else:
            np.take(before.vectors, kept, axis=0, out=vectors[: len(kept)], mode="clip")
        keys = before.keys if all_kept else before.keys.take(pa.array(kept))
        old = [keys, before.row_ids[kept], before.changed_at[kept]]
        parts.append(pa.table(old, names=list(COLUMNS[:3])))
    filled, names = len(kept), known.column_names if known is not None else []
    for found in fetch(handle, difference.wanted, names):
        values = found["embedding"].combine_chunks().flatten().to_numpy()
        vectors[filled : filled + len(found)] = values.reshape(-1, dimension)
        filled += len(found)
        cells = [found[name].cast(of) for name, of in zip(COLUMNS, _TYPES, strict=False)]
        parts.append(pa.table(cells, names=list(COLUMNS[:3])))
        joined.append(found.select(names))
    if filled != count:
        raise _miscounted(handle, count, filled)
    whole = pa.concat_tables(parts)
    keys = pa.concat_arrays([pa.array([], pa.string()), *whole["id"].chunks])  # of no rows too
    _check(keys[len(kept) :], _norms(vectors[len(kept) :]))
    row_ids, changed_at = (whole[name].to_numpy() for name in COLUMNS[1:3])
    after = kind.of(handle, token, index, vectors, keys, row_ids, changed_at)
    if known is not None:
        old_rows = known if all_kept else known.take(pa.array(kept))
        after.keep_metadata(old_rows, pa.concat_tables(joined))
    return after


def fetch(handle: Any, row_ids: Integers, names: Sequence[str] = ()) -> Iterator[pa.Table]:
    """Rows by id with the columns of a snapshot and others, piece by piece; one piece at least."""
    size = handle.schema.field("embedding").type.list_size
    rows = max(_TAKEN_BYTES // (4 * size), 1)
    for start in range(0, max(len(row_ids), 1), rows):
        with lance.panics_as_errors():
            taken = handle.take_row_ids(row_ids[start : start + rows].tolist())
            found = taken.select([*COLUMNS, *names]).to_arrow()
        yield found


def _miscounted(handle: Any, count: int, found: int) -> StoreDamaged:
    return StoreDamaged(
        f"version {handle.version} of the gallery counts {count} rows, but a scan found {found}; "
        "run: cxr check"
    )
