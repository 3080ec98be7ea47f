"""One version at a time, following the table: what Gallery answers from."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any, Self, TypeVar

from store.errors import StoreDamaged
from store.schema import EncoderStamp
from store.search.base import Answerer, Manner
from store.table import duplicate_ids, lance, maintenance, object_storage, opening

T = TypeVar("T")


class Following:
    """A table and what answers for it; swapped whole, so safe between threads."""

    def __init__(self, uri: str, handle: Any, stamp: EncoderStamp, manner: Manner) -> None:
        self.uri = uri
        self.stamp = stamp
        self._live = handle
        self._manner = manner
        self._lock = threading.RLock()
        self._answerer: Answerer | None = None
        self._lease: maintenance.Lease | None = None

    def refresh(self) -> bool:
        """Follow the table: load its newest version if it moved. Cheap when nothing changed.

        Returns:
            Whether searches now answer from another version.

        Raises:
            StoreNotFound, StoreDamaged, EncoderMismatch: the table is gone, cannot be read, or
                was made again by another encoder. What answered until now stays in use.
        """
        with self._lock:
            before = self._answerer
            local = lance.is_local(self.uri)
            # One listing, where opening the table takes ten times as long, or many requests.
            if before is not None and lance.newest(self.uri) == (before.version, before.token):
                return False
            # Opened afresh: a handle does not see that its table was dropped and made again.
            self._live = opening.open_(self.uri, self.stamp)
            version = int(self._live.version)
            identity = lance.uuid_of(self._live), version, lance.token(self._live, version)
            if before is not None and identity == (before.uuid, before.version, before.token):
                return False
            if self._lease is None and local:
                self._lease = maintenance.Lease(self.uri)
                self._lease.claim(version)
            with object_storage.named_faults(self.uri):
                after = self._manner.follow(before, lance.pin(self.uri, version), self._remake)
            self._put(after)
            return after is not before

    def pinned(self) -> Self:
        """A reader that stays at what answers now while this one follows the table.

        For a page that asks several questions and must not mix versions. Should maintenance
        clean that version away meanwhile, it follows to the newest, which ``state`` tells.
        """
        self._now()
        reader = copy.copy(self)
        reader._lease = None
        return reader

    @property
    def state(self) -> tuple[str, int, str]:
        """Identity of what answers now: of the table, its version, and that version's content."""
        now = self._now()
        return now.uuid, now.version, now.token

    def _remake(self, make: Callable[[Any], Answerer]) -> None:
        """Put another answerer in place, made of the newest version."""
        with self._lock:
            self._put(make(lance.pin(self.uri, int(self._live.version))))

    def _put(self, answerer: Answerer) -> None:
        self._answerer = answerer
        if answerer.mirror is not None:
            extra = answerer.mirror.stored_rows - answerer.mirror.count
            if extra:
                duplicate_ids.warn(self.uri, extra)
        if self._lease is not None:
            self._lease.claim(answerer.version)

    def _now(self) -> Answerer:
        """What answers now."""
        answerer = self._answerer
        if answerer is None:
            self.refresh()
            answerer = self._answerer
            assert answerer is not None
        return answerer

    def _answer(self, ask: Callable[[Answerer], T]) -> T:
        """Ask one version; when it was cleaned away meanwhile, the newest."""
        for last in (False, True):
            try:
                with object_storage.named_faults(self.uri):
                    return ask(self._now())
            except (RuntimeError, OSError) as error:
                if last or "not found" not in str(error).lower():
                    raise StoreDamaged(
                        f"the gallery at {self.uri} cannot be read: {str(error)[:300]}; "
                        "run: cxr check"
                    ) from error
                self._answerer = None
        raise AssertionError("unreachable")

    @property
    def table_version(self) -> int:
        """Version of the table that searches answer from."""
        return self._now().version

    def __len__(self) -> int:
        return self._now().count

    def close(self) -> None:
        """Let go of what it holds beyond memory. It must not be asked afterwards."""
        self._manner.close()
        if self._lease is not None:
            self._lease.close()
