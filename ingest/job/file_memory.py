"""What ingestion remembers beside a gallery: looked-at files, reports, rejections, status.

All of it may be deleted at any time: the table alone says what is stored. The file memory saves
hashing, the rest is for people to read.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.record import Rejection
from ingest.sources.tables.csv_table import csv_bytes

#: Head of the CSV of what was refused.
REJECTION = ("source", "reason", "detail")
#: A file changed this shortly before it was hashed may have changed again within one clock tick.
_SETTLED_NS = 2_000_000_000
#: Bytes of a batch's name in a file's: file systems take 255, and there is an ending, too.
_LONGEST_NAME = 200
_FIRST = "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, "
_LAST = "ctime INTEGER, sha256 BLOB, id TEXT) WITHOUT ROWID"


def state_folder(uri: str) -> Path:
    """Where a gallery's ingestion state is: inside it, or in the user's data folder if remote."""
    if "://" not in uri:
        return Path(uri) / "ingest"
    from platformdirs import user_data_path

    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    return user_data_path("cxr-retrieval", appauthor=False) / "ingest" / name


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was when it was last hashed.

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
    """What to remember of a file just hashed; None when it changed too shortly before."""
    if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) < _SETTLED_NS:
        return None
    return Seen(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, sha256, id_)


class FileMemory:
    """Path to Seen, in SQLite. Forgets everything rather than fail: it only saves time."""

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
        """What is known of some files."""
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
        """Keep what was seen, in one transaction."""
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


def write_json(path: Path, document: Any) -> None:
    """Write a document so that a reader sees the old one or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        # Half a character, as of an undecodable file name, becomes JSON's own escape of it.
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(document, file, ensure_ascii=False, indent=1)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """A document written by write_json; None when there is none that can be read."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def read_status(uri: str) -> dict[str, Any] | None:
    """How the newest ingestion into a gallery stands, or stood; None when there never was one.

    Keys: ``batch``, ``source``, ``state`` (``running``, ``finished``, ``stopped``, ``failed``),
    ``stage``, ``done``, ``total``, ``encoded``, ``refused`` (reason to count),
    ``images_per_second``, ``seconds``, ``seconds_left`` (or null), ``updated_at`` (UTC), ``pid``.
    A job that was killed stays ``running`` with an old ``updated_at``; it writes every second.
    """
    return read_json(state_folder(uri) / "status.json")


def write_rejections(path: Path, rejected: Sequence[Rejection]) -> None:
    """A CSV of source, reason, detail; cells that a spreadsheet would run are quoted with '."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ([one.source, one.reason, one.detail] for one in rejected)
    path.write_bytes(csv_bytes(REJECTION, rows))


def file_name(batch: str) -> str:
    """A batch's name as a file name: never a path, never two batches the same."""
    plain = "".join(char if char.isalnum() or char in "-_." else "_" for char in batch)[:80]
    if plain == batch and not plain.startswith(".") and len(plain.encode()) <= _LONGEST_NAME:
        return plain
    while len(plain.encode()) > _LONGEST_NAME:
        plain = plain[:-1]
    return f"{plain.lstrip('.')}-{hashlib.sha256(batch.encode()).hexdigest()[:8]}"
