"""Originals kept in memory for a while: bounded in bytes, few decoded at once, each only once."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from ingest.originals.film import Original

#: Device, inode, size and times of a file.
Identity = tuple[int, int, int, int, int]
Key = tuple[str, bytes]
#: Bytes of decoded films that are kept, at most; a larger film is handed out and not kept.
MOST_BYTES = 192 << 20
#: Films that are read and decoded at once.
MOST_DECODERS = min(4, max(2, (os.cpu_count() or 1) // 2))


@dataclass(slots=True)
class Kept:
    """Decoded originals, the least recently used forgotten first.

    Attributes:
        most_bytes: of all that is kept.
        decoders: how many films may be decoded at once.
    """

    most_bytes: int = MOST_BYTES
    decoders: int = MOST_DECODERS
    _films: OrderedDict[Key, tuple[Identity, Original]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _turns: dict[Key, tuple[threading.Lock, int]] = field(default_factory=dict)
    _slots: threading.BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = threading.BoundedSemaphore(self.decoders)

    @property
    def bytes(self) -> int:
        """Bytes of what is kept now."""
        with self._lock:
            return sum(film.values.nbytes for _, film in self._films.values())

    def get(
        self, key: Key, identity: Callable[[], Identity], decode: Callable[[], Original]
    ) -> Original:
        """The film that is kept, where its file is still the same; else decoded and kept.

        Those who ask for a film that another is decoding wait for it instead.

        Args:
            key: of the film.
            identity: asks the file who it is; its errors are the caller's.
            decode: reads it.
        """
        now = identity()
        if (found := self._find(key, now)) is not None:
            return found
        with self._turn(key):
            if (found := self._find(key, now)) is not None:
                return found
            with self._slots:
                film = decode()
            film.values.flags.writeable = False  # shared by all who ask
            self._keep(key, now, film)
            return film

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._films.clear()

    def _find(self, key: Key, now: Identity) -> Original | None:
        with self._lock:
            found = self._films.get(key)
            if found is None:
                return None
            if found[0] != now:
                del self._films[key]
                return None
            self._films.move_to_end(key)
            return found[1]

    def _keep(self, key: Key, now: Identity, film: Original) -> None:
        if film.values.nbytes > self.most_bytes:
            return
        with self._lock:
            self._films[key] = now, film
            self._films.move_to_end(key)
            held = sum(one.values.nbytes for _, one in self._films.values())
            while held > self.most_bytes:
                _, (_, oldest) = self._films.popitem(last=False)
                held -= oldest.values.nbytes

    def _turn(self, key: Key) -> _Turn:
        return _Turn(self._turns, self._lock, key)


class _Turn:
    """A lock for one film, that is there for as long as somebody waits for it."""

    def __init__(
        self, turns: dict[Key, tuple[threading.Lock, int]], guard: threading.Lock, key: Key
    ) -> None:
        self._turns, self._guard, self._key = turns, guard, key

    def __enter__(self) -> None:
        with self._guard:
            lock, waiting = self._turns.get(self._key, (threading.Lock(), 0))
            self._turns[self._key] = lock, waiting + 1
        lock.acquire()

    def __exit__(self, *_: object) -> None:
        with self._guard:
            lock, waiting = self._turns[self._key]
            if waiting == 1:
                del self._turns[self._key]
            else:
                self._turns[self._key] = lock, waiting - 1
        lock.release()


#: Those of this process.
KEPT = Kept()
