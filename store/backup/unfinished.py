"""Workplace of a file or folder that is not finished: it appears whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from store.errors import StoreUnwritable, UsageError
from store.table import local

_LOCK = "lock"


@contextlib.contextmanager
def workplace(target: Path) -> Iterator[Path]:
    """A hidden folder beside a place to be, for one process at a time; gone afterwards.

    What a killed process left in it goes with the next attempt.

    Args:
        target: the file or folder to come. Nothing is done to it here.

    Yields:
        An empty folder on the same file system.

    Raises:
        UsageError: another process makes the same thing.
        StoreUnwritable: the disk refused.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100  "." has no name; links stay
    folder = target.with_name(f".{target.name}.part")
    try:
        local.make_folder(folder)
        with local.locked(folder / _LOCK, wait=False) as held:
            if not held:
                raise UsageError(f"another process is making {target} just now; wait for its end")
            try:
                yield _emptied(folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except (OSError, RuntimeError) as error:
        reason = local.fault_of(error)
        if reason is None:
            raise
        raise StoreUnwritable(
            f"cannot make {target}: {reason}; nothing of it is left. Mend that, then run the same "
            "command again"
        ) from error


def _emptied(folder: Path) -> Path:
    inside = folder / "made"
    shutil.rmtree(inside, ignore_errors=True)
    inside.mkdir()
    return inside
