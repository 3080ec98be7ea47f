"""How a snapshot follows the table: copy what changed, or build anew where anything is odd."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store.errors import StoreDamaged
from store.mirror import build, faiss_index
from store.mirror.snapshot import Snapshot, metadata_names
from store.schema import Integers
from store.table import duplicate_ids, lance

#: With more than this share of the rows new or changed, one scan is quicker than many takes.
_LARGEST_SHARE = 0.3
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
    return build.build(handle, dimension)


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
    if len(wanted) > _LARGEST_SHARE * max(count, 1):
        return None
    known = before.metadata_in_memory
    if known is not None and known.column_names != metadata_names(handle):
        known = None
    fetched = _fetch(handle, wanted, known.column_names if known is not None else [])
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
    build.check(keys, vectors, len(kept))
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


def _fetch(handle: Any, row_ids: Integers, names: list[str]) -> pa.Table | None:
    parts = [
        handle.take_row_ids(row_ids[start : start + _TAKEN].tolist())
        .select([*build.COLUMNS, *names])
        .to_arrow()
        for start in range(0, max(len(row_ids), 1), _TAKEN)
    ]
    found = pa.concat_tables(parts)
    return found if len(found) == len(row_ids) else None


def _joined(old: Integers, kept: Integers, new: pa.ChunkedArray) -> Integers:
    return np.concatenate([old[kept], new.to_numpy().astype(np.int64)])
