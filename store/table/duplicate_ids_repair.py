"""Keeping the newest row of each id that occurs more than once; the others go to the undo store."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from store.table import counted, duplicate_ids, lance, undo, write


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did.

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
    it back; where that row has no batch or the same one, undoing ``replaced.REPAIR`` does.
    """

    def work() -> Repaired:
        found = lance.scan(handle, ["id", "_rowid", lance.CHANGED_AT])
        keys = pa.concat_arrays([*found["id"].chunks, pa.array([], pa.string())])
        row_ids = found["_rowid"].to_numpy().astype(np.int64)
        changed_at = found[lance.CHANGED_AT].to_numpy().astype(np.int64)
        if not duplicate_ids.any_among(keys):
            return Repaired([], 0, True)
        found_chains = duplicate_ids.chains(keys, row_ids, changed_at)
        pairs = [
            (int(row_ids[newer]), int(row_ids[old]))
            for chain in found_chains.values()
            for newer, old in pairwise(chain)
        ]
        kept = undo.keep_twins(uri, handle, pairs)
        removed = counted.removed(uri, handle, [old for _, old in pairs])
        return Repaired(sorted(found_chains), removed, kept)

    return write.commit(uri, handle, work)
