"""Ids that occur more than once in a table: the newest row of each answers, and repair keeps it.

No writer of this project leaves any. Where another program, or a version before this one, did, the
row that was changed last is the newest, and ``cxr check --repair`` puts the others into the undo
store.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.schema import Integers
from store.table import checked_commit, lance, undo, write

log = logging.getLogger("store")


def any_among(keys: pa.StringArray) -> bool:
    """Whether an id occurs more than once."""
    # A pool that gives back at once what this takes, a fifth of the vectors of a narrow gallery.
    return len(pc.unique(keys, memory_pool=pa.system_memory_pool())) != len(keys)


def older(keys: pa.StringArray, row_ids: Integers, changed_at: Integers) -> Integers:
    """Positions of rows whose id a newer row has, ascending; mostly none.

    Args:
        keys: the ids.
        row_ids: of the table; they rise with time.
        changed_at: the version that last changed each row.
    """
    if not any_among(keys):
        return np.empty(0, np.int64)
    found = positions_by_id(keys, row_ids, changed_at).values()
    return np.sort(np.asarray([place for chain in found for place in chain[1:]], np.int64))


def positions_by_id(
    keys: pa.StringArray, row_ids: Integers, changed_at: Integers
) -> dict[str, list[int]]:
    """The positions of each id that occurs more than once, the newest first."""
    counts = pc.value_counts(keys)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    places = np.flatnonzero(pc.is_in(keys, repeated).to_numpy(zero_copy_only=False))
    found: dict[str, list[int]] = {}
    for place in places[np.lexsort((-row_ids[places], -changed_at[places]))]:
        found.setdefault(keys[int(place)].as_py(), []).append(int(place))
    return found


def warn(uri: str, extra: int) -> None:
    """Log that older rows of repeated ids do not answer."""
    log.warning(
        "%d rows of the gallery at %s have an id that a newer row has too: the newer ones answer; "
        "keep those alone with: cxr check --repair",
        extra,
        uri,
    )


@dataclass(frozen=True, slots=True)
class Repaired:
    """Ids and rows that a repair changed.

    Attributes:
        ids: that occurred more than once, ascending.
        removed: older rows that are gone from the table.
        kept: whether they are in the undo store; galleries on object stores have none.
    """

    ids: list[str]
    removed: int
    kept: bool


def repair(uri: str, handle: Any) -> Repaired:
    """Keep the newest row of each id, in one commit; the others go into the undo store.

    There each is what the batch of the next newer row replaced, so that undoing that batch brings
    it back; where that row has no batch or the same one, undoing ``undo.REPAIR`` does.
    """

    def work() -> Repaired:
        found = lance.scan(handle, ["id", "_rowid", lance.CHANGED_AT])
        keys = pa.concat_arrays([*found["id"].chunks, pa.array([], pa.string())])
        row_ids = found["_rowid"].to_numpy().astype(np.int64)
        changed_at = found[lance.CHANGED_AT].to_numpy().astype(np.int64)
        if not any_among(keys):
            return Repaired([], 0, True)
        chains = positions_by_id(keys, row_ids, changed_at)
        pairs = [
            (int(row_ids[newer]), int(row_ids[old]))
            for chain in chains.values()
            for newer, old in pairwise(chain)
        ]
        kept = undo.keep_older(uri, handle, pairs)
        removed = checked_commit.delete(uri, handle, [old for _, old in pairs])
        return Repaired(sorted(chains), removed, kept)

    return write.commit(uri, handle, work)
