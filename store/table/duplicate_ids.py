"""Ids that occur more than once in a table: which row answers, and keeping that one alone.

No writer of this project leaves any. Where another program, or a version before this one, did, the
row that was changed last answers, and ``cxr check --repair`` puts the others into the undo store.
"""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

log = logging.getLogger("store")

Integers = npt.NDArray[np.int64]


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
    found = chains(keys, row_ids, changed_at).values()
    return np.sort(np.asarray([place for chain in found for place in chain[1:]], np.int64))


def chains(keys: pa.StringArray, row_ids: Integers, changed_at: Integers) -> dict[str, list[int]]:
    """The positions of each id that occurs more than once, the newest first."""
    counts = pc.value_counts(keys)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    places = np.flatnonzero(pc.is_in(keys, repeated).to_numpy(zero_copy_only=False))
    found: dict[str, list[int]] = {}
    for place in places[np.lexsort((-row_ids[places], -changed_at[places]))]:
        found.setdefault(keys[int(place)].as_py(), []).append(int(place))
    return found


def warn(uri: str, extra: int) -> None:
    """Say loudly that not all rows of a gallery answer."""
    log.warning(
        "%d rows of the gallery at %s have an id that a newer row has too: the newer ones answer; "
        "keep those alone with: cxr check --repair",
        extra,
        uri,
    )
