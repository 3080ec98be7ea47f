"""Exact answers from shards on a cluster: a mirror in parts that need not fit one machine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from store.cluster.shard import Identity, Neighbours
from store.cluster.shards import Shards
from store.errors import StoreDamaged
from store.schema import Hit, Vectors
from store.search.base import Answerer, Remake, Spread
from store.search.table_reader import Tabled
from store.table import lance
from store.table.filters import Where

log = logging.getLogger("store")

#: Seconds that a caller waits for a new version; after that it goes on with the one it has.
_MOMENT = 1.0
#: Seconds that a version stays in the shards after another took its place, for who is asking it.
_GRACE = 5.0


class Sharded(Tabled):
    """One version, held by all shards; see Answerer."""

    def __init__(self, handle: Any, identity: Identity, shards: Shards) -> None:
        super().__init__(handle, identity[2])
        self.identity = identity
        self._shards = shards
        self._told = threading.local()

    @property
    def searching(self) -> dict[str, Any]:
        """The shards' indexes together, in memory elsewhere."""
        dimension = self.handle.schema.field("embedding").type.list_size
        return {"index": "IndexFlatIP", "bytes": 4 * self.count * dimension, "second": None}

    def search(
        self, queries: Vectors, k: int, where: Where | None, exclude: Sequence[str]
    ) -> list[list[Hit]]:
        """Hits per query: exact over the shards that answered, which ``manner`` tells."""
        found = self._shards.ask(self.identity, queries, k, where, exclude)
        self._told.missing = sorted(set(range(len(self._shards))) - set(found))
        answers = [found[number] for number in sorted(found)]
        return self.hits([merge([one[q] for one in answers], k) for q in range(len(queries))])

    @property
    def manner(self) -> dict[str, Any]:
        """How many shards; and what this thread's last answer, or the next one, is only part of."""
        missing = getattr(self._told, "missing", [])
        if not missing and self._shards.on_lost == "partial":
            missing = self._shards.lost()
        told: dict[str, Any] = {"shards": len(self._shards)}
        if missing:
            rows = self._shards.rows
            told["partial"] = {
                "shards": len(rows),
                "missing": missing,
                "rows": sum(rows),
                "searched": sum(rows) - sum(rows[number] for number in missing),
            }
        return told


def merge(found: Sequence[Neighbours], k: int) -> tuple[list[int], list[float]]:
    """Row ids and scores of the k best of several shards' best, equal scores by id."""
    if not found:
        return [], []
    scores = np.concatenate([one[1] for one in found])
    row_ids = np.concatenate([one[0] for one in found])
    ids = [id_ for one in found for id_ in one[2]]
    order = sorted(range(len(ids)), key=lambda place: (-scores[place], ids[place]))[:k]
    return row_ids[order].tolist(), scores[order].tolist()


class ShardedManner:
    """Shards follow the table: a new version is loaded beside the old one, then takes its place."""

    def __init__(self, uri: str, dimension: int, spread: Spread) -> None:
        self._shards = Shards(uri, dimension, spread)
        self._lock = threading.Lock()
        self._busy = False
        self._later: threading.Timer | None = None

    def follow(self, before: Answerer | None, handle: Any, remake: Remake) -> Answerer:
        """See Manner. What takes longer than a moment comes into place when it is ready."""
        if not isinstance(before, Sharded):
            return self._loaded(handle)
        with self._lock:
            if self._busy:
                return before
            self._busy = True
        done = threading.Event()
        made: list[Sharded | Exception] = []
        late = False

        def work() -> None:
            try:
                made.append(self._loaded(handle))
            except Exception as error:
                made.append(error)
            with self._lock:
                self._busy = False
                done.set()
            if not late:
                return
            if isinstance(made[0], Exception):
                log.warning("version %s is not loaded: %s", handle.version, made[0])
            else:
                remake(lambda _: made[0])  # type: ignore[arg-type,return-value]

        threading.Thread(target=work, name="cxr-shards", daemon=True).start()
        done.wait(_MOMENT)
        with self._lock:
            if not done.is_set():
                late = True
                return before
        if isinstance(made[0], Exception):
            raise made[0]
        return made[0]

    def _loaded(self, handle: Any) -> Sharded:
        version = int(handle.version)
        identity = (lance.uuid_of(handle), version, lance.token(handle, version) or "")
        answerer, before = Sharded(handle, identity, self._shards), self._shards.current
        rows = self._shards.load(identity)
        if rows != answerer.count:
            raise StoreDamaged(
                f"version {version} of the gallery counts {answerer.count} rows, but its shards "
                f"found {rows}; run: cxr check"
            )
        if before is not None:
            self._later = threading.Timer(_GRACE, self._shards.keep, [identity])
            self._later.daemon = True
            self._later.start()
        return answerer

    def close(self) -> None:
        """End the shards."""
        if self._later is not None:
            self._later.cancel()
        self._shards.close()
