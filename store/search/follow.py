"""Follower of a table: the Searcher of its newest version, swapped whole as the table moves."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any, Self, TypeVar

from store.errors import StoreDamaged
from store.mirror.snapshot import Snapshot
from store.schema import EncoderStamp
from store.search.base import Backend, Searcher
from store.table import duplicate_ids, lance, maintenance, object_storage, opening

T = TypeVar("T")


class Follower:
    """Follower of a table: holds the Searcher of one of its versions. Safe between threads."""

    def __init__(self, uri: str, handle: Any, stamp: EncoderStamp, backend: Backend) -> None:
        self.uri = uri
        self.stamp = stamp
        self.backend = backend
        self._lock = threading.RLock()
        self._handle: Any = handle
        # Manifest of the handle, until somebody may write with it.
        self._opened_at = lance.newest(uri)
        self._searcher: Searcher | None = None
        self._lease: maintenance.Lease | None = None
        self._pinned = False

    def refresh(self) -> bool:
        """Follow the table: load its newest version if it moved. Cheap when nothing changed.

        Returns:
            Whether searches now answer from another version.

        Raises:
            StoreNotFound, StoreDamaged, EncoderMismatch: the table is gone, cannot be read, or
                was made again by another encoder. What answered until now stays in use.
        """
        with self._lock:
            before = self._searcher
            # One listing, where opening the table takes ten times as long, or many requests.
            newest = lance.newest(self.uri)
            if before is not None and newest == (before.version, before.token):
                return False
            handle = self._handle
            if newest is None or newest != self._opened_at:
                # Opened afresh: a handle does not see that its table was dropped and made again.
                handle = opening.open_(self.uri, self.stamp)
            version = int(handle.version)
            known = newest and newest[0] == version
            token = newest[1] if newest and known else lance.token(handle, version) or ""
            identity = lance.uuid_of(handle), version, token
            if before is not None and identity == (before.uuid, before.version, before.token):
                return False
            if self._lease is None and lance.is_local(self.uri):
                self._lease = maintenance.Lease(self.uri)
                self._lease.claim(version)
            with object_storage.named_faults(self.uri):
                handle.checkout(version)  # it stays there; for writing another one is opened
                self._handle = self._opened_at = None
                after = self.backend.follow(before, handle, token, self._remake)
            self._put(after)
            return after is not before

    def pinned(self) -> Self:
        """Pinned reader: it stays at the present version while this gallery follows the table.

        For a page that asks several questions and must not mix versions. Should maintenance
        clean that version away meanwhile, it follows to the newest, which shows in ``state``.
        """
        reader = copy.copy(self)
        reader._searcher = self.searcher
        reader._handle = reader._opened_at = reader._lease = None
        reader._pinned = True
        return reader

    @property
    def searcher(self) -> Searcher:
        """Searcher of the version that answers now."""
        found = self._searcher
        if found is None:
            self.refresh()
            found = self._searcher
            assert found is not None
        return found

    @property
    def table(self) -> Any:
        """The LanceDB table at its newest version; of a pinned reader, at the version it reads."""
        if self._pinned:
            return self.searcher.handle
        found = self._live
        found.checkout_latest()
        return found

    @property
    def state(self) -> tuple[str, int, str]:
        """Identity of the version that answers now: table, number, and digest of its content."""
        now = self.searcher
        return now.uuid, now.version, now.token

    @property
    def _live(self) -> Any:
        """The table to write to, opened where it is not."""
        with self._lock:
            if self._handle is None:
                self._handle = opening.open_(self.uri, self.stamp)
            self._opened_at = None
            return self._handle

    def _remake(self, make: Callable[[Any], Searcher]) -> None:
        """Put another searcher in place, of the same version."""
        with self._lock:
            self._put(make(lance.pin(self.uri, self.searcher.version)))

    def _put(self, searcher: Searcher) -> None:
        self._searcher = searcher
        if isinstance(searcher, Snapshot) and searcher.stored_rows > searcher.count:
            duplicate_ids.warn(self.uri, searcher.stored_rows - searcher.count)
        if self._lease is not None:
            self._lease.claim(searcher.version)

    def _answer(self, ask: Callable[[Searcher], T]) -> T:
        """Ask one version; when it was cleaned away meanwhile, the newest."""
        for last in (False, True):
            try:
                with object_storage.named_faults(self.uri):
                    return ask(self.searcher)
            except (RuntimeError, OSError) as error:
                if last or "not found" not in str(error).lower():
                    raise StoreDamaged(
                        f"the gallery at {self.uri} cannot be read: {str(error)[:300]}; "
                        "run: cxr check"
                    ) from error
                self._searcher = None
        raise AssertionError("unreachable")

    def _look_up(self, ask: Callable[[Any], T]) -> T:
        """Ask ``table``, for which no vectors need to be in memory."""
        return self._answer(lambda _: ask(self.table)) if self._pinned else ask(self.table)

    @property
    def table_version(self) -> int:
        """Version of the table that searches answer from."""
        return self.searcher.version

    def __len__(self) -> int:
        return self.searcher.count

    def close(self) -> None:
        """Let go of what it holds beyond memory. It must not be asked afterwards."""
        self.backend.close()
        if self._lease is not None:
            self._lease.close()
