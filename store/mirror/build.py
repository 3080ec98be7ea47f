"""Copying a version of the table into memory, and refusing one that is damaged."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store.errors import StoreDamaged
from store.mirror import faiss_index
from store.mirror.snapshot import Snapshot, metadata_names
from store.schema import Integers, Vectors
from store.table import duplicate_ids, lance, rows

#: What the mirror copies, and what tells a changed row: (row id, version of its last change).
COLUMNS = ("id", "_rowid", "_row_last_updated_at_version", "embedding")

#: Bytes of vectors read at once: a sixteenth of them within these bounds.
_PIECE_BYTES = (8 << 20, 32 << 20)
_M_MMAP_THRESHOLD = -3
_KEPT_WHILE_READING = 1 << 20
_DEFAULT_KEPT = 32 << 20  # what glibc comes to by itself where blocks are large


def build(handle: Any, dimension: int) -> Snapshot:
    """Copy the table into memory, in one scan.

    Args:
        handle: the table, pinned to one version.
        dimension: length of its vectors.

    Raises:
        StoreDamaged: the scan fails or disagrees with the row count, or a vector is not of unit
            length.

    Of an id that occurs more than once the newest row alone is in the snapshot.
    """
    _blocks_kept(_KEPT_WHILE_READING)
    try:
        count = handle.count_rows()
        index, vectors = faiss_index.empty(count, dimension)
        row_ids = np.empty(count, np.int64)
        size = min(max(vectors.nbytes // 16, _PIECE_BYTES[0]), _PIECE_BYTES[1])
        filled, worst = 0, _Worst()
        with ThreadPoolExecutor(1, "cxr-build") as beside:
            reading = beside.submit(_keys, handle)
            for batch in _pieces(handle, count, size // (4 * dimension) or 1):
                place = slice(filled, filled + batch.num_rows)
                row_ids[place] = batch.column("_rowid").to_numpy()
                values = batch.column("embedding").flatten().to_numpy()
                vectors[place] = values.reshape(-1, dimension)
                worst.see(vectors[place], filled)  # while they are in cache
                filled += batch.num_rows
            keys, ids = reading.result()
        if not np.array_equal(row_ids, keys["_rowid"].to_numpy()):
            raise ValueError("two scans of one version differ in their rows")
        changed_at = keys["_row_last_updated_at_version"].to_numpy().astype(np.int64)
    except (RuntimeError, OSError, ValueError, IndexError) as error:
        raise StoreDamaged(
            f"version {handle.version} of the gallery cannot be read: {str(error)[:300]}; "
            "run: cxr check"
        ) from error
    finally:
        _blocks_kept(_DEFAULT_KEPT)
    if not filled == len(keys) == count:
        raise StoreDamaged(
            f"version {handle.version} of the gallery counts {count} rows, but a scan found "
            f"{filled}; run: cxr check"
        )
    worst.refuse(ids)
    older = duplicate_ids.older(ids, row_ids, changed_at)
    if older.size:
        kept = np.setdiff1d(np.arange(count), older)
        whole = vectors
        index, vectors = faiss_index.empty(len(kept), dimension)
        np.take(whole, kept, axis=0, out=vectors, mode="clip")
        ids, row_ids, changed_at = ids.take(pa.array(kept)), row_ids[kept], changed_at[kept]
    return Snapshot(
        handle,
        index,
        vectors,
        ids,
        row_ids,
        changed_at,
        int(handle.version),
        lance.uuid_of(handle),
        lance.token(handle, int(handle.version)) or "",
    )


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


def check(keys: pa.StringArray, vectors: Vectors, first: int = 0) -> None:
    """Refuse vectors from position ``first`` on that are not of unit length."""
    worst = _Worst()
    worst.see(vectors[first:], first)
    worst.refuse(keys)


class _Worst:
    """Vectors seen so far that are not of unit length: how many, the first, and its norm."""

    def __init__(self) -> None:
        self.count, self.first, self.norm = 0, 0, 1.0

    def see(self, vectors: Vectors, start: int) -> None:
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        bad = np.flatnonzero(~(np.abs(norms - 1) <= 10 * rows.NORM_TOLERANCE))
        if bad.size and not self.count:
            self.first, self.norm = start + int(bad[0]), float(norms[bad[0]])
        self.count += bad.size

    def refuse(self, keys: pa.StringArray) -> None:
        if self.count:
            raise StoreDamaged(
                f"{self.count} stored vectors are not of unit length, first "
                f"{keys[self.first].as_py()!r} with norm {self.norm:.6g}; run: cxr check"
            )


#: With more than this share of the rows new or changed, one scan is quicker than many takes.
LARGEST_SHARE = 0.3
#: Row ids per take; bounds memory.
_TAKEN = 8192


def follow(before: Snapshot | None, handle: Any, dimension: int) -> Snapshot:
    """A snapshot of the version that a handle is pinned to.

    Args:
        before: an older snapshot to copy from; it is left as it is. None builds anew.
        handle: the table, pinned.
        dimension: of its vectors.

    Returns:
        The same as building.build, rows perhaps in another order; ``before`` itself when it is
        already of this version.

    Raises:
        StoreDamaged: as in building.build.
    """
    if before is not None and same_history(before, handle):
        if before.version == int(handle.version):
            return before
        try:
            after = _difference(before, handle, dimension)
        except (RuntimeError, OSError, ValueError, StoreDamaged):
            after = None  # building anew says what is wrong, if it is wrong there too
        if after is not None:
            return after
    return build(handle, dimension)


def same_history(before: Snapshot, handle: Any) -> bool:
    """Whether the version that a handle is pinned to came out of a snapshot's version."""
    return (before.uuid, before.token) == (
        lance.uuid_of(handle),
        lance.token(handle, before.version),
    )


def _difference(before: Snapshot, handle: Any, dimension: int) -> Snapshot | None:
    """The new snapshot by set difference on (row id, last change); None where it is no use."""
    now = lance.scan(handle, ["_rowid", "_row_last_updated_at_version"])
    row_ids = now["_rowid"].to_numpy().astype(np.int64)
    changed_at = now["_row_last_updated_at_version"].to_numpy().astype(np.int64)
    count = handle.count_rows()
    if len(row_ids) != count:
        return None
    sorted_ids, positions = before.by_row_id
    places = np.minimum(np.searchsorted(sorted_ids, row_ids), max(len(sorted_ids) - 1, 0))
    same = np.zeros(count, bool)
    if len(sorted_ids):
        old = positions[places]
        same = (sorted_ids[places] == row_ids) & (before.changed_at[old] == changed_at)
        kept = np.sort(old[same])
    else:
        kept = np.empty(0, np.int64)
    if not _plausible(before, int(handle.version), changed_at, same):
        return None
    wanted = row_ids[~same]
    if len(wanted) > LARGEST_SHARE * max(count, 1):
        return None
    known = before.metadata_in_memory
    if known is not None and known.column_names != metadata_names(handle):
        known = None
    fetched = fetch(handle, wanted, known.column_names if known is not None else [])
    if fetched is None or len(kept) + len(wanted) != count:
        return None

    index, vectors = faiss_index.empty(count, dimension)
    whole = len(kept) == before.count
    if whole:
        vectors[: len(kept)] = before.vectors
    elif len(kept):
        np.take(before.vectors, kept, axis=0, out=vectors[: len(kept)], mode="clip")
    values = fetched["embedding"].combine_chunks().flatten().to_numpy()
    vectors[len(kept) :] = values.reshape(-1, dimension)
    keys = before.keys if whole else before.keys.take(pa.array(kept))
    keys = pa.concat_arrays([keys, *fetched["id"].chunks])
    if duplicate_ids.any_among(keys):
        return None
    check(keys, vectors, len(kept))
    after = Snapshot(
        handle,
        index,
        vectors,
        keys,
        _joined(before.row_ids, kept, fetched["_rowid"]),
        _joined(before.changed_at, kept, fetched["_row_last_updated_at_version"]),
        int(handle.version),
        before.uuid,
        lance.token(handle, int(handle.version)) or "",
    )
    if known is not None:
        kept_rows = known if whole else known.take(pa.array(kept))
        after.keep_metadata(kept_rows, fetched.select(known.column_names))
    return after


def _plausible(
    before: Snapshot, version: int, changed_at: Integers, same: npt.NDArray[np.bool_]
) -> bool:
    """Whether what differs was changed after ``before`` was made: else history was rewritten.

    A restored version brings rows back with their old numbers; a table without stable row ids
    says 1 for every row.
    """
    fresh = changed_at[~same]
    return version > before.version and bool(
        ((fresh > before.version) & (fresh <= version)).all() and (changed_at > 1).all()
    )


def fetch(handle: Any, row_ids: Integers, names: list[str]) -> pa.Table | None:
    """Rows of the table by row id, with their vectors; None when one of them is not there."""
    parts = [
        handle.take_row_ids(row_ids[start : start + _TAKEN].tolist())
        .select([*COLUMNS, *names])
        .to_arrow()
        for start in range(0, max(len(row_ids), 1), _TAKEN)
    ]
    found = pa.concat_tables(parts)
    return found if len(found) == len(row_ids) else None


def _joined(old: Integers, kept: Integers, new: pa.ChunkedArray) -> Integers:
    return np.concatenate([old[kept], new.to_numpy().astype(np.int64)])
