"""What rows say of themselves beside their vectors, in the order of a snapshot's positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from store.mirror.snapshot import Snapshot
from store.schema import Integers
from store.table import lance, rows

if TYPE_CHECKING:
    pass


#: Columns that are no metadata: the key, the vector, the picture and their digests.
_NOT_METADATA = ("id", "embedding", "thumbnail", "sha256", rows.CHECKSUM, rows.READER.name)


def read(snapshot: Snapshot, names: Sequence[str]) -> pa.Table:
    """Columns of the table at a snapshot's version, one row per position.

    Args:
        snapshot: which version, and in which order.
        names: of columns of the table.
    """
    found = lance.scan(snapshot.handle, ["_rowid", *names])
    if len(found) > snapshot.count:  # also older rows of ids that a newer row has
        found = found.filter(pa.array(np.isin(found["_rowid"].to_numpy(), snapshot.row_ids)))
    order = np.argsort(found["_rowid"].to_numpy(), kind="stable")
    place = np.empty(snapshot.count, np.int64)
    place[snapshot.by_row_id[1]] = np.arange(snapshot.count)
    return found.take(pa.array(order[place])).select(list(names))


def names(snapshot: Snapshot) -> list[str]:
    """The metadata columns that the table has, in its order."""
    return [name for name in snapshot.handle.schema.names if name not in _NOT_METADATA]


def by_id(snapshot: Snapshot) -> Integers:
    """Positions in the order of their ids: results then do not depend on how rows are stored."""
    return np.asarray(sorted(range(snapshot.count), key=snapshot.ids.__getitem__), np.int64)
