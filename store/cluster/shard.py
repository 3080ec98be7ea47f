"""Shard actor: its own rows of a pinned table version, in memory, and exact search over them.

Which rows are its own follows from their row ids alone, so that shards never have to agree on
anything, and a new version costs each of them only what changed in it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store.mirror import build
from store.mirror.snapshot import Snapshot
from store.schema import Integers, Vectors
from store.search import exact
from store.table import lance
from store.table.filters import Where

#: Neighbouring row ids stay together, so that a shard reads runs of rows, not single ones.
BLOCK = 1024

#: Identity of one state of a table: uuid, version, digest of the manifest.
Identity = tuple[str, int, str]
#: Row ids, float32 scores and ids of one query's neighbours in a shard, best first.
Neighbours = tuple[Integers, npt.NDArray[np.float32], list[str]]


def own(row_ids: Integers, number: int, shards: int) -> npt.NDArray[np.bool_]:
    """Mask of the rows that belong to a shard."""
    mine: npt.NDArray[np.bool_] = row_ids // BLOCK % shards == number
    return mine


def follow(
    before: Snapshot | None, handle: Any, dimension: int, number: int, shards: int
) -> Snapshot:
    """A shard's rows of the version that a handle is pinned to, copied from ``before`` if it can.

    Raises:
        StoreDamaged: rows are missing, or vectors are not of unit length.
    """
    if before is not None and not build.same_history(before, handle):
        before = None
    difference = build.Difference.of(before, handle, lambda ids: own(ids, number, shards))
    return build.copy(before, difference, handle, dimension, Snapshot)


class Shard:
    """Ray actor with the rows of one shard, of each version in use."""

    def __init__(self, uri: str, dimension: int, number: int, shards: int) -> None:
        self._uri, self._dimension = uri, dimension
        self._number, self._shards = number, shards
        self._parts: dict[Identity, Snapshot] = {}
        self._loading = threading.Lock()

    def load(self, identity: Identity) -> dict[str, Any]:
        """Make a version ready beside those that are; searches go on meanwhile.

        Returns:
            ``rows`` and ``bytes`` of vectors held, and ``seconds`` it took.
        """
        begin = time.monotonic()
        with self._loading:
            part = self._parts.get(identity)
            if part is None:
                handle = lance.pin(self._uri, identity[1])
                if lance.uuid_of(handle) != identity[0]:
                    raise RuntimeError(f"version {identity[1]} of that table was not found")
                before = next(reversed(self._parts.values()), None)
                part = follow(before, handle, self._dimension, self._number, self._shards)
                self._parts = {**self._parts, identity: part}
        spent = time.monotonic() - begin
        return {"rows": part.count, "bytes": part.vectors.nbytes, "seconds": spent}

    def pid(self) -> int:
        """Id of the actor's process."""
        return os.getpid()

    def versions(self) -> list[int]:
        """Versions that it holds."""
        return [version for _, version, _ in self._parts]

    def keep(self, identity: Identity) -> None:
        """Let go of all versions but one."""
        with self._loading:
            self._parts = {one: part for one, part in self._parts.items() if one == identity}

    def search(
        self,
        identity: Identity,
        asked: tuple[Vectors, Sequence[str]],
        k: int,
        where: Where | None,
    ) -> list[Neighbours] | None:
        """The k nearest rows of this shard per query.

        Args:
            identity: the version that is asked.
            asked: float32 (q, d) unit rows, and ids that are not found.
            k: how many.
            where: only rows that pass are found.

        Returns:
            None when it does not hold that version.
        """
        part = self._parts.get(identity)
        if part is None:
            return None
        queries, exclude = asked
        excluded = part.known_positions(exclude)
        found = exact.nearest(part, queries, k, part.positions_of(where), excluded)
        return [
            (part.row_ids[places], scores, part.keys.take(pa.array(places)).to_pylist())
            for places, scores in found
        ]
