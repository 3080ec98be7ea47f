"""Durability of a table on a local disk: the writer's lock, fsync, the acknowledged version.

LanceDB renames and links its files into place but never calls fsync, so after a power loss the
newest version may be empty. An acknowledged version has been forced to disk here.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from store.errors import StoreUnwritable
from store.files import FOLDER, version_of

_MARK = "_cxr_acknowledged.json"
#: Files that another process left are forced to disk once; the system has written older ones.
_RECENT_S = 3600.0
#: Between two looks at a lock that another holds.
_POLL_S = 0.002
#: What a file system without locks answers.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)

#: Per table: (path, inode, mtime) that this process has forced to disk.
synced: dict[str, set[tuple[str, int, int]]] = {}


def writer(uri: str, *, wait: bool = True) -> contextlib.AbstractContextManager[bool]:
    """Be the only writer of a local gallery on this machine; see locked."""
    return locked(Path(uri, FOLDER, "lock"), wait=wait)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file, made if absent, against other processes and threads of this machine.

    The file stays when the lock is given up: ``flock`` of the shell locks it too.

    Yields:
        Whether the lock is held; False only with ``wait=False``, when somebody else has it or the
        folder cannot be written.
    """
    # A file kept is never a soft lock, which would outlive a killed process.
    lock = FileLock(path, blocking=wait, poll_interval=_POLL_S, preserve_lock_file=True)
    held = True
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:  # without locks, the primary key keeps ids unique
            if wait:
                raise
            held = False
    try:
        yield held
    finally:
        lock.release()


def sync(folder: Path) -> None:
    """Force every file below a table's folder to disk that this process has not forced yet."""
    known = synced.get(str(folder))
    there: dict[tuple[str, int, int], Path] = {}
    for path in folder.rglob("*"):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue  # a temporary file that was renamed meanwhile
        if not stat.S_ISDIR(found.st_mode):
            there[str(path), found.st_ino, found.st_mtime_ns] = path
    # Counted from the newest file or the last acknowledgement where that is older: the clock may
    # have been set since, also between two files of one commit.
    newest = min([time.time_ns(), max((key[2] for key in there), default=0)])
    newest = min([newest, *(key[2] for key, path in there.items() if path.name == _MARK)])
    oldest = 0 if known is not None else newest - int(_RECENT_S * 1e9)
    folders: set[Path] = set()
    for key, path in there.items():
        if (known is None or key not in known) and key[2] >= oldest:
            fsync(path)
            folders.update((path.parent, path.parent.parent))
    for one in sorted(folders):
        fsync(one)
    synced[str(folder)] = set(there)


def fsync(path: Path) -> None:
    """Force a file or a folder's names to disk; one that is gone meanwhile is left out."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def acknowledge(folder: Path, version: int) -> None:
    """Force a table to disk, then note that this version of it is there."""
    sync(folder)
    write_whole(folder / _MARK, json.dumps({"version": version}).encode())


def acknowledged(folder: Path) -> int | None:
    """The newest version known to be on disk; None when that is not known."""
    try:
        return int(json.loads((folder / _MARK).read_bytes())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are not there yet, to outlast a power loss."""
    new = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for one in new:
        fsync(one.parent)


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file: whoever reads it, also after a power loss, finds all of it or the old."""
    # Threads of one process replace one file at once, too.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    fsync(path.parent)


_REASONS = {
    errno.ENOSPC: "no space is left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would be larger than this process may write",
    errno.EIO: "the device reports an input/output error",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "the operation is not permitted",
}


def fault_of(error: Exception) -> str | None:
    """Fault of a full, broken or write-protected disk behind an error; None of another kind."""
    code = error.errno if isinstance(error, OSError) else None
    if code is None:
        # LanceDB reports faults of the system as text: "... (os error 28)".
        found = re.search(r"\(os error (\d+)\)", str(error))
        code = int(found[1]) if found else None
    return None if code is None else _REASONS.get(code)


@contextlib.contextmanager
def named_faults(uri: str) -> Iterator[None]:
    """Turn a full, broken or write-protected disk into StoreUnwritable."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        reason = fault_of(error)
        if reason is None:
            raise
        raise StoreUnwritable(
            f"cannot write to the gallery at {uri}: {reason}; this batch is not "
            "acknowledged, what was stored before can still be read; mend that, then run the same "
            "command again"
        ) from error


def manifests(folder: Path) -> list[tuple[int, Path]]:
    """Version and manifest file of all versions of a table, newest first."""
    found = [(version_of(path.name), path) for path in folder.glob("_versions/*.manifest")]
    return sorted(((number, path) for number, path in found if number is not None), reverse=True)


def unfinished(folder: Path, version: int) -> bool:
    """Whether a version is not acknowledged: its writer is still at it, or died."""
    return acknowledged(folder) != version
