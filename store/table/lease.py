"""Which versions of a local table are in use, so that maintenance leaves them alone.

A reader holds a small file with the version it answers from, locked as long as the reader lives.
A lock dies with its process, so a killed reader holds nothing back.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from store.files import FOLDER

try:
    import fcntl

    LOCKS = True
except ImportError:  # Windows: no advisory locks; the table's primary key keeps ids unique
    LOCKS = False

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
