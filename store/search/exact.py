"""Exact answers from the mirror: all vectors in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from store.mirror import build, disk_cache, second_index, sync
from store.mirror.snapshot import Snapshot
from store.schema import Hit, Row, Vectors
from store.search import nearest
from store.search.base import Answerer, Remake, Sample
from store.table.filters import Where
from store.table.ranges import Range


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Exact:
    """A snapshot that answers; see Answerer."""

    mirror: Snapshot

    @property
    def handle(self) -> Any:
        """The table, pinned to the version."""
        return self.mirror.handle

    @property
    def version(self) -> int:
        """Of the table."""
        return self.mirror.version

    @property
    def uuid(self) -> str:
        """Identity of the table."""
        return self.mirror.uuid

    @property
    def token(self) -> str:
        """Digest of the version's manifest."""
        return self.mirror.token

    @property
    def count(self) -> int:
        """How many rows."""
        return self.mirror.count

    @property
    def manner(self) -> dict[str, Any]:
        """Nothing to say: exact."""
        return {}

    @property
    def searching(self) -> dict[str, Any]:
        """The mirror's index, and the second one where there is one."""
        index, second = self.mirror.index, second_index.known(self.mirror)
        told = None
        if second is not None:
            told = {
                "index": "IndexFlatIPPanorama",
                "bytes": second.bytes,
                "parts": len(second.parts),
            }
        return {
            "index": type(index).__name__,
            "bytes": 4 * int(index.ntotal) * int(index.d),
            "second": told,
        }

    def search(
        self, queries: Vectors, k: int, where: Where | None, exclude: Sequence[str]
    ) -> list[list[Hit]]:
        """Hits per query, exact."""
        now = self.mirror
        excluded = now.known_positions(exclude)
        return nearest.hits(
            now, nearest.nearest(now, queries, k, now.positions_of(where), excluded)
        )

    def vectors_of(self, ids: Sequence[str]) -> Vectors:
        """From memory."""
        found: Vectors = self.mirror.vectors[self.mirror.find(ids)]
        return found

    def row_ids_of(self, ids: Sequence[str]) -> list[int]:
        """From memory."""
        return self.mirror.row_ids_of(ids)

    def rows_of(self, ids: Sequence[str]) -> list[Row]:
        """Metadata, from the table at this version."""
        return nearest.join(self.mirror, self.mirror.find(ids))

    def ids_of(self, where: Where | None) -> list[str]:
        """The ids that pass, ascending."""
        return self.mirror.ids_of(where)

    def facets(self, where: Where | None) -> dict[str, dict[str, int]]:
        """Counts of the rows that pass."""
        return self.mirror.facets(where)

    def ranges(self, where: Where | None) -> dict[str, Range]:
        """Least and greatest values of the rows that pass."""
        return self.mirror.ranges(where)

    def sample(self, most: int) -> Sample:
        """Evenly spread over the row ids."""
        now = self.mirror
        order = now.by_row_id[1]
        if now.count:
            order = order[
                np.unique(np.linspace(0, now.count - 1, min(now.count, most)).astype(int))
            ]
        whole = now if len(order) == now.count else None
        return Sample(now.row_ids[order], now.changed_at[order], now.vectors[order], whole)


class ExactManner:
    """The mirror follows the table, helped by the saved one."""

    def __init__(self, uri: str, dimension: int) -> None:
        self._uri, self._dimension = uri, dimension

    def follow(self, before: Answerer | None, handle: Any, remake: Remake) -> Exact:
        """See Manner."""
        now = None if before is None else before.mirror
        if now is None:
            now = disk_cache.load(self._uri, handle, self._dimension)
            if now is not None:
                # Answers came from a damaged file: everything made of it goes.
                disk_cache.verify_behind(
                    self._uri,
                    now,
                    lambda _: remake(lambda newest: Exact(build.build(newest, self._dimension))),
                )
        after = sync.follow(now, handle, self._dimension)
        if after is not now:
            disk_cache.save_behind(self._uri, after)
        return Exact(after)

    def close(self) -> None:
        """Memory only."""
