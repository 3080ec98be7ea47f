"""SQLite memory of files that were hashed before, so that unchanged ones are not read again.

All of it may be deleted at any time: the table alone says what is stored. The file memory saves
hashing, the rest is for people to read.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: A file changed this shortly before it was hashed may have changed again within one clock tick.
SETTLED_NS = 2_000_000_000
_FIRST = "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, "
_LAST = "ctime INTEGER, sha256 BLOB, id TEXT) WITHOUT ROWID"


@dataclass(frozen=True, slots=True)
class Seen:
    """Stat, digest and row of a file, as they were when it was last hashed.

    Attributes:
        size, mtime, ctime: bytes and nanoseconds, as stat tells them.
        sha256: of its bytes.
        id: of the row that it became.
    """

    size: int
    mtime: int
    ctime: int
    sha256: bytes
    id: str

    def matches(self, now: os.stat_result) -> bool:
        """Whether the file still has that stat, so that its bytes need no look."""
        return (self.size, self.mtime, self.ctime) == (
            now.st_size,
            now.st_mtime_ns,
            now.st_ctime_ns,
        )


def seen_now(stat: os.stat_result, sha256: bytes, id_: str) -> Seen | None:
    """The entry of a file just hashed; None when it changed too shortly before."""
    if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) < SETTLED_NS:
        return None
    return Seen(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, sha256, id_)


class FileMemory:
    """Table of path to Seen, in SQLite. Forgets everything rather than fail: it only saves time."""

    def __init__(self, folder: Path | None) -> None:
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        if folder is None:
            return
        with suppress(sqlite3.Error, OSError):
            folder.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(
                folder / "files.sqlite", timeout=10, check_same_thread=False, isolation_level=None
            )
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(_FIRST + _LAST)
            self._database = database

    def recall(self, paths: Sequence[str]) -> dict[str, Seen]:
        """The entries of some files."""
        found: dict[str, Seen] = {}
        with self._lock, suppress(sqlite3.Error, TypeError):
            if self._database is None:
                return found
            for start in range(0, len(paths), 500):
                part = paths[start : start + 500]
                marks = ",".join("?" * len(part))
                for path, size, mtime, ctime, sha256, id_ in self._database.execute(
                    f"SELECT * FROM files WHERE path IN ({marks})",  # noqa: S608 - marks only
                    part,
                ):
                    found[path] = Seen(size, mtime, ctime, bytes(sha256), id_)
        return found

    def remember(self, entries: Iterable[tuple[str, Seen]]) -> None:
        """Store entries, in one transaction."""
        rows = [(path, one.size, one.mtime, one.ctime, one.sha256, one.id) for path, one in entries]
        with self._lock, suppress(sqlite3.Error):
            if self._database is not None and rows:
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    self._database.executemany(
                        "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", rows
                    )
                finally:
                    self._database.execute("COMMIT")

    def close(self) -> None:
        """Let the file go."""
        with self._lock, suppress(sqlite3.Error):
            if self._database is not None:
                self._database.close()
                self._database = None
