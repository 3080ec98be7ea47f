"""Exact search over shards on a cluster: a mirror in parts that need not fit one machine.

Vectors never come here: shards read the table themselves, and answer with ids and scores.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from store.cluster import connection
from store.cluster.shard import Identity, Neighbours, Shard
from store.errors import ClusterUnavailable, CxrError, StoreDamaged, UsageError
from store.schema import Vectors
from store.search.base import Ranked, Remake, Searcher, Sharding
from store.search.table_reader import TableReader
from store.table import lance
from store.table.filters import Where

log = logging.getLogger("store")

ON_LOST = ("wait", "partial")
#: Seconds in which a shard must answer, and in which a lost one must be back.
_ANSWER, _REBUILD = 60.0, 1800.0
#: Seconds until a lost shard is asked again.
_PAUSE = 0.2
#: Searches that one shard works at, beside loading.
_AT_ONCE = 8
#: Seconds that a caller waits for a new version; after that it goes on with the one it has.
MOMENT = 1.0
#: Seconds that a version stays in the shards after another took its place, for running searches.
GRACE = 5.0


class Shards:
    """Actors of one Gallery, a shard each. Safe between threads."""

    def __init__(self, uri: str, dimension: int, sharding: Sharding) -> None:
        if sharding.shards < 1:
            raise UsageError(f"{sharding.shards} shards: expected 1 or more")
        if sharding.on_lost not in ON_LOST:
            raise UsageError(f"on_lost {sharding.on_lost!r}: expected {' or '.join(ON_LOST)}")
        self.address, self.on_lost, shards = sharding.ray, sharding.on_lost, sharding.shards
        self._ray = connection.connect(self.address)
        self._given = (uri, dimension)
        self._lock = threading.Lock()
        self._loading: dict[int, tuple[Identity, Any]] = {}
        self._actors = [self._make(number, shards) for number in range(shards)]
        self.rows = [0] * shards
        self.current: Identity | None = None

    def __len__(self) -> int:
        return len(self._actors)

    def _make(self, number: int, shards: int) -> Any:
        actor = self._ray.remote(Shard).options(
            # A Ray of this process has this machine's cores anyway; a cluster is to spread them.
            num_cpus=0 if self.address == connection.LOCAL else 1,
            scheduling_strategy="SPREAD",
            max_concurrency=_AT_ONCE,
            max_restarts=-1,
        )
        return actor.remote(*self._given, number, shards)

    def load(self, identity: Identity) -> int:
        """Make a version ready in all shards; those in use stay so. How many rows they hold."""
        end = time.monotonic() + _REBUILD
        refs = [actor.load.remote(identity) for actor in self._actors]
        rows = []
        for number, ref in enumerate(refs):
            found = self._got(number, ref, _REBUILD)
            if found is None:  # lost while it loaded
                self._begin(number, identity)
            rows.append(self._finish(number, end) if found is None else int(found["rows"]))
        self.rows, self.current = rows, identity
        return sum(rows)

    def keep(self, identity: Identity) -> None:
        """Let go of all versions but one, if that is still the newest."""
        # Asked of no Ray, an actor would start one.
        if self._ray.is_initialized() and self.current == identity:
            for actor in self._actors:
                actor.keep.remote(identity)

    def lost(self) -> list[int]:
        """Numbers of the shards that are being rebuilt."""
        with self._lock:
            waiting = dict(self._loading)
        for number, (identity, ref) in waiting.items():
            if self._ray.wait([ref], timeout=0)[0] and self._loaded(number, ref, 0) is None:
                self._begin(number, identity)
        with self._lock:
            return sorted(self._loading)

    def ask(
        self,
        identity: Identity,
        queries: Vectors,
        k: int,
        where: Where | None,
        exclude: Sequence[str],
    ) -> dict[int, list[Neighbours]]:
        """Neighbours from each shard; without the lost shards where these are not waited for.

        Raises:
            RuntimeError: "not found", when another version has taken this one's place.
            ClusterUnavailable: a lost shard does not come back.
        """
        asked = self._ray.put((queries, tuple(exclude)))
        wait = self.on_lost == "wait"
        missing = set(range(len(self))) - (set() if wait else set(self.lost()))
        answers: dict[int, list[Neighbours]] = {}
        end = time.monotonic() + _REBUILD
        while missing:
            refs = {
                number: self._actors[number].search.remote(identity, asked, k, where)
                for number in missing
            }
            for number, ref in refs.items():
                found = self._got(number, ref, _ANSWER)
                if found is not None:
                    answers[number] = found
                    missing.discard(number)
            if missing and identity != self.current:
                raise RuntimeError(f"version {identity[1]} was not found in shard {min(missing)}")
            for number in missing:
                self._begin(number, identity)
            if not wait:
                break
            for number in sorted(missing):
                self._finish(number, end)
        return answers

    # -- loading and losing --------------------------------------------------------------------

    def _begin(self, number: int, identity: Identity) -> None:
        """Have a shard load a version, unless it is at it."""
        with self._lock:
            if number not in self._loading:
                self._loading[number] = (identity, self._actors[number].load.remote(identity))

    def _finish(self, number: int, end: float) -> int:
        """Wait until a shard has loaded; how many rows it holds."""
        while time.monotonic() < end:
            with self._lock:
                loading = self._loading.get(number)
            if loading is None:  # another thread waited for it too
                return self.rows[number]
            identity, ref = loading
            rows = self._loaded(number, ref, end - time.monotonic())
            if rows is not None:
                return rows
            time.sleep(_PAUSE)
            self._begin(number, identity)
        raise ClusterUnavailable(
            f"shard {number} of {len(self)} was lost and is not back after {_REBUILD:.0f} s; has "
            "the cluster room for it? Look at: ray status"
        )

    def _loaded(self, number: int, ref: Any, seconds: float) -> int | None:
        """Rows of a shard when its loading is over; None when it failed."""
        try:
            found = self._got(number, ref, seconds)
        finally:
            with self._lock:
                if self._loading.get(number, (None, None))[1] is ref:
                    del self._loading[number]
        return None if found is None else int(found["rows"])

    def _got(self, number: int, ref: Any, seconds: float) -> Any:
        """Answer of a shard; None when it is lost, or slower than that."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref, timeout=max(seconds, 0))
        except errors.ActorUnavailableError:
            log.warning("shard %d is lost; it is started again", number)
        except errors.ActorDiedError:
            log.warning("shard %d is lost; another takes its place", number)
            with self._lock:
                self._loading.pop(number, None)
                self._actors[number] = self._make(number, len(self))
        except errors.GetTimeoutError:
            log.warning("shard %d does not answer", number)
        except Exception as error:
            found = connection.fault(error)
            raise found if isinstance(found, CxrError) else error from None
        return None

    def pids(self) -> list[int]:
        """Process ids of the actors."""
        return [int(pid) for pid in self._ray.get([one.pid.remote() for one in self._actors])]

    def versions(self) -> list[list[int]]:
        """Versions that each of them holds."""
        return [list(held) for held in self._ray.get([a.versions.remote() for a in self._actors])]

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors if self._ray.is_initialized() else ():
            self._ray.kill(actor)


class ShardedSearcher(TableReader):
    """One version, held by all shards; see Searcher."""

    def __init__(self, handle: Any, identity: Identity, shards: Shards) -> None:
        super().__init__(handle, identity[2])
        self.identity = identity
        self._shards = shards
        self._last = threading.local()

    @property
    def index_facts(self) -> dict[str, Any]:
        """Sum of the shards' indexes, in memory elsewhere."""
        dimension = self.handle.schema.field("embedding").type.list_size
        return {"index": "IndexFlatIP", "bytes": 4 * self.count * dimension, "second": None}

    def ranked(
        self, queries: Vectors, k: int, where: Where | None, exclude: Sequence[str]
    ) -> list[Ranked]:
        """Exact over the shards that answered, which ``caveats`` names; without metadata."""
        found = self._shards.ask(self.identity, queries, k, where, exclude)
        self._last.missing = sorted(set(range(len(self._shards))) - set(found))
        answers = [found[number] for number in sorted(found)]
        return [merge([one[q] for one in answers], k) for q in range(len(queries))]

    @property
    def caveats(self) -> dict[str, Any]:
        """Number of shards, and the shards that this thread's last answer, or its next, lacks."""
        missing = getattr(self._last, "missing", [])
        if not missing and self._shards.on_lost == "partial":
            missing = self._shards.lost()
        found: dict[str, Any] = {"shards": len(self._shards)}
        if missing:
            rows = self._shards.rows
            found["partial"] = {
                "shards": len(rows),
                "missing": missing,
                "rows": sum(rows),
                "searched": sum(rows) - sum(rows[number] for number in missing),
            }
        return found


def merge(found: Sequence[Neighbours], k: int) -> Ranked:
    """The k best of several shards' best, equal scores by id."""
    if not found:
        return Ranked([], [], [])
    scores = np.concatenate([one[1] for one in found])
    row_ids = np.concatenate([one[0] for one in found])
    ids = [id_ for one in found for id_ in one[2]]
    order = sorted(range(len(ids)), key=lambda place: (-scores[place], ids[place]))[:k]
    return Ranked(row_ids[order].tolist(), [ids[at] for at in order], scores[order].tolist())


class ShardedBackend:
    """Shards that follow a table: a new version is loaded beside the old one, then replaces it."""

    def __init__(self, uri: str, dimension: int, sharding: Sharding) -> None:
        self.shards = Shards(uri, dimension, sharding)
        self._lock = threading.Lock()
        self._busy = False
        self._later: threading.Timer | None = None

    def follow(self, before: Searcher | None, handle: Any, token: str, remake: Remake) -> Searcher:
        """See Backend. What takes longer than a moment comes into place when it is ready."""
        if not isinstance(before, ShardedSearcher):
            return self._loaded(handle, token)
        with self._lock:
            if self._busy:
                return before
            self._busy = True
        done = threading.Event()
        made: list[ShardedSearcher | Exception] = []
        late = False

        def work() -> None:
            try:
                made.append(self._loaded(handle, token))
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
        done.wait(MOMENT)
        with self._lock:
            if not done.is_set():
                late = True
                return before
        if isinstance(made[0], Exception):
            raise made[0]
        return made[0]

    def _loaded(self, handle: Any, token: str) -> ShardedSearcher:
        version = int(handle.version)
        identity = (lance.uuid_of(handle), version, token)
        searcher, before = ShardedSearcher(handle, identity, self.shards), self.shards.current
        rows = self.shards.load(identity)
        if rows != searcher.count:
            raise StoreDamaged(
                f"version {version} of the gallery counts {searcher.count} rows, but its shards "
                f"found {rows}; run: cxr check"
            )
        if before is not None:
            self._later = threading.Timer(GRACE, self.shards.keep, [identity])
            self._later.daemon = True
            self._later.start()
        return searcher

    def close(self) -> None:
        """End the shards."""
        if self._later is not None:
            self._later.cancel()
        self.shards.close()
