"""Maintenance of the table: merge small fragments, index ids, forget unused versions.

A reader holds a small file with the version it answers from, locked as long as the reader lives.
A lock dies with its process, so a killed reader holds nothing back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from store.errors import UsageError
from store.files import FOLDER
from store.table import filters, lance, local, object_storage, repair
from store.words import index as words_index

try:
    import fcntl

    LOCKS = True
except ImportError:  # Windows: no advisory locks; the table's primary key keeps ids unique
    LOCKS = False

log = logging.getLogger("store")

#: Fragments that call for a merge of a small table, which is quick.
_FRAGMENTS = 16
_SMALL_BYTES = 64 << 20
#: Of a larger one, once they hold a fifth of the rows, or are many.
_TOO_MANY = 64
#: From this many rows on, finding rows by id is worth an index.
_INDEXED_ROWS = 20_000
#: Rows in no index of vectors, which is where each corrected one goes: a twentieth of all rows, at
#: least the first number and at most the second, are put back into it. Each is compared by itself.
_LEAST_OUTSIDE, _MOST_OUTSIDE = 50, 20_000
#: LanceDB merges no further from here on.
_FULL_ROWS = 1_000_000

#: LanceDB counts ages from a moment later than ours: it looks for something to merge first.
#: A version that a reader holds must stay whatever that takes; without one, room is worth more.
MARGIN_READ, _MARGIN = timedelta(milliseconds=500), timedelta(milliseconds=1)
#: On object stores, where a reader that is a week behind may still take only what changed.
_KEPT = timedelta(days=7)
#: Of the tables beside a gallery's own: longer than anybody reads one version.
_BESIDE = timedelta(hours=1)
_READERS = "readers"
#: Written while a reader does not know its version yet: everything is kept.
_ANY = 0


class Lease:
    """One reader's claim on a version. Does nothing where the folder cannot be written.

    Such a reader may find its version cleaned away; Gallery then follows to the newest.
    """

    def __init__(self, uri: str) -> None:
        self._handle = -1
        self._path = Path(uri, FOLDER, _READERS, f"{os.getpid()}-{uuid.uuid4().hex[:8]}")
        if not LOCKS:
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            for _ in range(3):  # maintenance may take it for a dead one between open and lock
                self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
                fcntl.flock(self._handle, fcntl.LOCK_SH)
                self.claim(_ANY)
                if self._path.exists():
                    return
                os.close(self._handle)
                self._handle = -1

    def claim(self, version: int = _ANY) -> None:
        """Keep this version and newer ones; without a number, all of them."""
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                os.pwrite(self._handle, b"%020d" % version, 0)

    def close(self) -> None:
        """Give the claim up."""
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
                os.close(self._handle)
            self._handle = -1

    def __del__(self) -> None:
        self.close()


def oldest(uri: str) -> int | None:
    """The oldest version that a living reader claims: 0 for all, None when there is no reader."""
    if not LOCKS:
        return _ANY
    claimed: list[int] = []
    for path in Path(uri, FOLDER, _READERS).glob("*"):
        try:
            handle = os.open(path, os.O_RDWR)
        except OSError:
            continue
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                text = os.pread(handle, 20, 0)
                claimed.append(int(text) if text.isdigit() else _ANY)
            else:
                path.unlink(missing_ok=True)  # its reader is gone
        finally:
            os.close(handle)
    return min(claimed, default=None)


def due(handle: Any, *, ended: bool = False) -> bool:
    """Whether merging is worth it, so that each row is rewritten a handful of times in all.

    Args:
        handle: the table.
        ended: whether no more rows are about to come.
    """
    found = handle.stats()
    rows, fragments = found["num_rows"], found["fragment_stats"]["num_fragments"]
    others = rows - found["fragment_stats"]["lengths"]["max"]
    if _left_the_index(handle, rows) or words_index.is_due(handle, rows, ended=ended):
        return True
    if rows >= _FULL_ROWS:  # full fragments are never merged again; what is left is the tail
        return not _ids_indexed(handle) or fragments - rows // _FULL_ROWS >= _TOO_MANY
    if rows >= _INDEXED_ROWS and (5 * others >= rows or not _ids_indexed(handle)):
        return True  # a writer searches all that the index does not cover
    if fragments < _FRAGMENTS:
        return False
    small = found["total_bytes"] < _SMALL_BYTES
    return bool(small or fragments >= _TOO_MANY)


def _ids_indexed(handle: Any) -> bool:
    return any("id" in found.columns for found in handle.list_indices())


def _left_the_index(handle: Any, rows: int) -> bool:
    """Whether many rows are in no index of vectors: LanceDB takes out every row that is corrected.

    Putting them back costs a small part of what writing them did.
    """
    for found in handle.list_indices():
        if "embedding" in found.columns:
            outside = int(handle.index_stats(found.name).num_unindexed_rows)
            return outside >= min(max(rows // 20, _LEAST_OUTSIDE), _MOST_OUTSIDE)
    return False


def when_due(uri: str, handle: Any, *, ended: bool = False) -> None:
    """Run maintenance after a commit if it is due. A failure is logged, and tried again later."""
    try:
        if due(handle, ended=ended):
            run(uri, handle)
    except Exception as error:  # whatever it is: the commit is acknowledged and stays so
        log.warning("tidying the gallery at %s failed and is tried again later: %s", uri, error)


def run(uri: str, handle: Any, keep: timedelta | None = None) -> None:
    """Merge small fragments, then forget old versions.

    Args:
        uri: of the gallery.
        handle: its table.
        keep: forget versions older than this, read or not; None for those that no reader uses
            (_KEPT on object stores, where readers are not known).

    Raises:
        UsageError: an age below none.
    """
    if keep is not None and keep < timedelta():
        raise UsageError(f"keep {keep}: expected an age, zero or more")
    if not lance.is_local(uri):
        object_storage.check_writable(uri)
        with object_storage.named_faults(uri):
            _merge(handle)
            _forget(handle, lambda: _KEPT if keep is None else keep)
        return
    with local.named_faults(uri), local.writer(uri):
        try:
            with lance.panics_as_errors():
                _merge(handle)
        except lance.ReadFault:
            if not repair.quarantine_older(uri):
                raise
            _merge(handle)
        # A second manifest of the same rows: should the newest be lost, nothing else is.
        merged = int(handle.version)
        handle.delete(filters.NOTHING)
        # Old versions may go only when the new one is surely on disk.
        local.acknowledge(lance.folder(uri), int(handle.version))
        if keep is not None:
            _forget(handle, lambda: keep)
            return
        used = oldest(uri)
        floor = merged if used is None else min(used, merged)
        made = made_at(handle, floor)
        margin = _MARGIN if floor == merged else MARGIN_READ
        if made is not None:
            _forget(handle, lambda: age_of(made) + margin)


def run_beside(uri: str, handle: Any, name: str) -> None:
    """The same for another table of a gallery, of which nobody keeps a version for long.

    Args:
        uri: of the gallery.
        handle: the table.
        name: of it.
    """
    if not lance.is_local(uri):
        with object_storage.named_faults(uri):
            _forget(handle, lambda: _KEPT)
        return
    with local.named_faults(uri), local.writer(uri):
        handle.checkout_latest()
        handle.optimize(cleanup_older_than=timedelta(days=36500))
        local.acknowledge(lance.folder(uri, name), int(handle.version))
        _forget(handle, lambda: _BESIDE)
        local.acknowledge(lance.folder(uri, name), int(handle.version))


def _merge(handle: Any) -> None:
    from lancedb.index import BTree

    def work() -> None:
        if not _ids_indexed(handle) and handle.count_rows() >= _INDEXED_ROWS:
            handle.create_index("id", config=BTree())
        has_report, unchanged = filters.is_set("report"), filters.is_as_given("report")
        words_index.rewrite(handle, has_report, unchanged)
        handle.optimize(cleanup_older_than=timedelta(days=36500))

    object_storage.retry_conflicts(handle, work)


def made_at(handle: Any, version: int) -> datetime | None:
    """The time, in UTC, of the oldest of the versions to keep; None when all are to be kept.

    Not simply that of the first of them: a clock that was set back gives later ones older times.
    """
    kept = [found for found in handle.list_versions() if found["version"] >= version > 0]
    # LanceDB tells local times without a zone. In the hour that comes twice at the end of summer
    # time they are taken for the first of both, so that versions stay an hour too long at most.
    return min((found["timestamp"].astimezone(UTC) for found in kept), default=None)


def age_of(made: datetime) -> timedelta:
    """Age of a moment; zero where the clock has been set back since."""
    return max(datetime.now(UTC) - made, timedelta())


def _forget(handle: Any, keep: Callable[[], timedelta]) -> None:
    with warnings.catch_warnings():
        # LanceDB warns of short ages; which versions are in use is known here.
        warnings.simplefilter("ignore", UserWarning)
        object_storage.retry_conflicts(handle, lambda: handle.optimize(cleanup_older_than=keep()))
