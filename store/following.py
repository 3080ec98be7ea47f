"""One snapshot at a time, following the table: what Gallery answers from."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from store import lease, mirror, saved, sync, table
from store.errors import StoreDamaged
from store.schema import EncoderStamp

T = TypeVar("T")


class Following:
    """A table and the snapshot that answers for it; swapped whole, so safe between threads."""

    def __init__(self, uri: str, handle: Any, stamp: EncoderStamp) -> None:
        self.uri = uri
        self.stamp = stamp
        self._live = handle
        self._lock = threading.RLock()
        self._snapshot: mirror.Snapshot | None = None
        self._lease: lease.Lease | None = None

    def refresh(self) -> bool:
        """Follow the table: load its newest version if it moved. Cheap when nothing changed.

        Returns:
            Whether searches now answer from another version.

        Raises:
            StoreNotFound, StoreDamaged, EncoderMismatch: the table is gone, cannot be read, or
                was made again by another encoder. The snapshot that was in use stays in use.
        """
        with self._lock:
            # Opened afresh: a handle does not see that its table was dropped and made again.
            self._live = table.open_(self.uri, self.stamp)
            version = int(self._live.version)
            identity = table.uuid_of(self._live), version, table.token(self._live, version)
            before = self._snapshot
            if before is not None and identity == (before.uuid, before.version, before.token):
                return False
            if self._lease is None and table.is_local(self.uri):
                self._lease = lease.Lease(self.uri)
                self._lease.claim(version)
            self._snapshot = self._follow(before, version)
            if self._lease is not None:
                self._lease.claim(version)
            return True

    def _follow(self, before: mirror.Snapshot | None, version: int) -> mirror.Snapshot:
        handle = table.pin(self.uri, version)
        local = table.is_local(self.uri)
        if before is None and local:
            before = saved.load(self.uri, handle, self.stamp.dimension)
            if before is not None:
                saved.verify_behind(self.uri, before, self._distrust)
        after = sync.follow(before, handle, self.stamp.dimension)
        if after is not before and local:
            saved.save_behind(self.uri, after)
        return after

    def _distrust(self, snapshot: mirror.Snapshot) -> None:
        """Build anew: the saved mirror that answers came from turned out to be damaged."""
        with self._lock:
            self._snapshot = mirror.build(
                table.pin(self.uri, int(self._live.version)), self.stamp.dimension
            )

    def _current(self) -> mirror.Snapshot:
        snapshot = self._snapshot
        if snapshot is None:
            self.refresh()
            snapshot = self._snapshot
            assert snapshot is not None
        return snapshot

    def _answer(self, ask: Callable[[mirror.Snapshot], T]) -> T:
        """Ask one snapshot; when its version was cleaned away under it, the newest."""
        for last in (False, True):
            try:
                return ask(self._current())
            except (RuntimeError, OSError) as error:
                if last or "not found" not in str(error).lower():
                    raise StoreDamaged(
                        f"the gallery at {self.uri} cannot be read: {str(error)[:300]}; "
                        "run: cxr check"
                    ) from error
                self._snapshot = None
        raise AssertionError("unreachable")

    @property
    def table_version(self) -> int:
        """Version of the table that searches answer from."""
        return self._current().version

    def __len__(self) -> int:
        return self._current().count
