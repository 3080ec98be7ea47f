"""Replacement of a set of files by a new one, so that the two never mix."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from store import UsageError


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """Hidden folder inside the target (made when missing) for files that are not ready yet.

    It is gone afterwards. One that a killed process left behind, ``.export-*``, may be deleted.

    Raises:
        UsageError: the target is a file, or cannot be written to.
    """
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file; expected a folder to write to, or a new name")
    new = [folder for folder in (target, *target.parents) if not folder.exists()]
    try:
        target.mkdir(parents=True, exist_ok=True)
        # Inside the target, not beside it: never another file system, and one folder's permissions.
        with tempfile.TemporaryDirectory(prefix=".export-", dir=target) as folder:
            yield Path(folder)
    except BaseException as error:
        with suppress(OSError):  # leave no trace of a folder that came to nothing
            for missing in new:
                missing.rmdir()
        if isinstance(error, OSError) and error.errno:
            raise UsageError(
                f"cannot write to {target} ({error.strerror or error}); make room or name another "
                "folder"
            ) from error
        raise


def swap(staged: Path, target: Path, files: Sequence[str], retired: Iterable[str]) -> None:
    """Move staged files into the target in place of the old set.

    Files that are in neither list stay as they are. When a move fails, or someone interrupts, the
    old set is put back. Killed in the middle, the target lacks ``files[0]`` until all others are
    there.

    Args:
        staged: where the new files are; also takes the old ones until its owner deletes it.
        target: the folder to fill.
        files: relative POSIX paths of the new set; the first is the one it is nothing without.
        retired: relative paths of the old set; those that do not exist are ignored.

    Raises:
        UsageError: a folder is where a file should go, or the other way round.
    """
    old = staged / ".old"
    old.mkdir()
    first, *others = files
    leaving = [name for name in dict.fromkeys([*files, *retired]) if _is_here(target / name)]
    for name in files:
        for parent in PurePosixPath(name).parents:
            if _is_here(target / parent) and not (target / parent).is_dir():
                raise UsageError(f"{target / parent} is a file; move it away: a folder goes there")
    for name in leaving:
        if (target / name).is_dir():
            raise UsageError(f"{target / name} is a folder; move it away: a file goes there")
    moves: list[tuple[Path, Path]] = []
    try:
        for name in leaving:
            move(target / name, old / name, moves)
        for name in (*others, first):
            move(staged / name, target / name, moves)
    except BaseException:
        for source, destination in reversed(moves):
            if _is_here(destination):
                destination.replace(source)
        raise


def move(source: Path, destination: Path, moves: list[tuple[Path, Path]]) -> None:
    """Move a file, and note it among the moves that may have to be taken back."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    moves.append((source, destination))  # noted first: an interrupt may fall right behind the move
    source.replace(destination)


def _is_here(path: Path) -> bool:
    return path.is_symlink() or path.exists()
