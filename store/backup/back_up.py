"""Backup of a gallery into one file, consistent while others write."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from store.backup.archive import SALT, STATE, UNDO, ArchiveWriter, counter
from store.backup.places import Folder, Pinned, Place, newest, pin, place_of
from store.backup.unfinished import workplace
from store.errors import StoreDamaged, UsageError
from store.files import TABLE, location
from store.schema import Progress
from store.table import lance, local, maintenance, object_storage, opening, rows

#: How often a table is looked at anew that moved while its files were listed.
_ATTEMPTS = 5
_MAIN = f"{TABLE}.lance"


@dataclass(frozen=True, slots=True)
class BackedUp:
    """Contents of a backup.

    Attributes:
        file: where it is.
        rows: films of the gallery.
        version: of its table.
        tables: names of all tables beside each other.
        members: files in it.
        size: of all of them, in bytes.
        salt: whether the salt of the pseudonyms is in it.
        encoder_folder: of the gallery's encoder where it is one of the user's own; not in it.
    """

    file: Path
    rows: int
    version: int
    tables: tuple[str, ...]
    members: int
    size: int
    salt: bool
    encoder_folder: str | None


def back_up(
    uri: str | Path,
    file: Path,
    *,
    state: Path,
    without: Collection[str] = (),
    salt: bytes | None = None,
    progress: Progress | None = None,
) -> BackedUp:
    """Write a backup of a gallery: one version of every table, and the notes beside them.

    Others may read and write meanwhile; writers of a folder wait while the notes are copied, not
    while the table is. Saved copies that can be made again are left out.

    Args:
        uri: of the gallery: a folder or an object-store location.
        file: to write; it must not be there. It appears whole or not at all.
        state: folder of the notes of its ingestions.
        without: names in ``state`` that are left out, e.g. of films still on their way.
        salt: of the pseudonyms of patients; left out when None. With it the file is only for the
            user's own eyes.
        progress: called with bytes written and in all.

    Raises:
        UsageError: something is at ``file``, or its folder is missing.
        StoreNotFound, StoreDamaged, StoreUnreachable: as Gallery.open.
        StoreUnwritable: the disk refused.
    """
    uri = location(uri)
    if file.exists() or file.is_symlink():
        raise UsageError(f"there is something at {file} already; name another file for the backup")
    if not file.parent.is_dir():
        raise UsageError(f"there is no folder {file.parent}; make it, or name another file")
    with workplace(file) as folder:
        part = folder / file.name
        for attempt in range(_ATTEMPTS):
            try:
                with part.open("wb") as out:
                    with ArchiveWriter(out) as archive, object_storage.named_faults(uri):
                        done = _write(uri, archive, _notes(state, without), salt, progress)
                    out.flush()
                    os.fsync(out.fileno())
                break
            except FileNotFoundError as error:
                # A file was cleaned away under our hands, as `optimize` may be asked to.
                if attempt == _ATTEMPTS - 1:
                    raise StoreDamaged(
                        f"files of the gallery at {uri} go away while they are copied, last "
                        f"{error.filename}; try again, or run: cxr check"
                    ) from error
        if salt is not None:
            part.chmod(0o600)
        _publish(part, file)
    return BackedUp(file, *done)


def _write(
    uri: str,
    archive: ArchiveWriter,
    notes: dict[str, Path],
    salt: bytes | None,
    progress: Progress | None,
) -> tuple[int, int, tuple[str, ...], int, int, bool, str | None]:
    place = place_of(uri)
    lease = maintenance.Lease(uri) if isinstance(place, Folder) else None
    handle = opening.open_(uri)
    try:
        with _alone(uri):
            pinned = _pin_all(place)
            if isinstance(place, Folder):
                kept = Path(place.place, UNDO)
                notes = {**notes, **_below(kept, UNDO)}
            total = sum(path.stat().st_size for path in notes.values())
            total += sum(sum(one.files.values()) for one in pinned.values())
            told = counter(progress, total)
            for name, path in notes.items():
                with contextlib.suppress(FileNotFoundError):  # a note may be replaced, or go
                    archive.add(name, _pieces(path), told)
            # Tables beside the gallery's own are small, and no reader claims their versions.
            for name in [*pinned][1:]:
                _add_table(archive, place, pinned[name], told)
        main = pinned[_MAIN]
        if salt is not None:
            archive.add(SALT, [salt])
        _add_table(archive, place, main, told)
        stamp = rows.stamp_of(handle.schema.metadata)
        handle.checkout(main.version)
        count = int(handle.count_rows())
        archive.finish(
            {
                "made_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
                "rows": count,
                "encoder": None if stamp is None else str(stamp),
                "tables": {name: one.version for name, one in pinned.items()},
                "salt": salt is not None,
            }
        )
    finally:
        if lease is not None:
            lease.close()
    members = archive.members
    sizes = sum(one.size for one in members.values())
    own = None if stamp is None or not stamp.folder else str(stamp.folder)
    return count, main.version, tuple(pinned), len(members), sizes, salt is not None, own


def _pin_all(place: Place) -> dict[str, Pinned]:
    """Versions of all tables that were the newest at one moment, the gallery's own first."""
    for _ in range(_ATTEMPTS):
        names = [_MAIN, *(name for name in place.tables() if name != _MAIN)]
        before = {name: newest(place, name) for name in names}
        pinned = {name: pin(place, name, *one) for name, one in before.items() if one is not None}
        if before == {name: newest(place, name) for name in names} and _MAIN in pinned:
            return pinned
    raise StoreDamaged(
        f"the tables of the gallery moved {_ATTEMPTS} times while their files were listed; "
        "try again when less is written"
    )


def _add_table(
    archive: ArchiveWriter, place: Place, pinned: Pinned, told: Callable[[int], object]
) -> None:
    for name in pinned.files:
        archive.add(name, place.read(name), told)


@contextlib.contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Keep other writers of a folder waiting, where this process may."""
    with contextlib.ExitStack() as stack:
        if lance.is_local(uri):
            # A gallery that may only be read is guarded by nobody; _pin_all sees a commit.
            with contextlib.suppress(PermissionError):
                stack.enter_context(local.writer(uri))
        yield


def _notes(state: Path, without: Collection[str]) -> dict[str, Path]:
    found = _below(state, STATE)
    return {name: path for name, path in found.items() if name.split("/")[1] not in without}


def _below(folder: Path, prefix: str) -> dict[str, Path]:
    """Plain files below a folder, without temporary ones, by their names in the backup."""
    return {
        f"{prefix}/{path.relative_to(folder).as_posix()}": path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.suffix != ".tmp"
    }


def _pieces(path: Path) -> Iterable[bytes]:
    return Folder(path.parent).read(path.name)


def _publish(part: Path, file: Path) -> None:
    """Give a finished file its name, unless somebody else took it meanwhile."""
    try:
        try:
            os.link(part, file)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            if file.exists():
                raise FileExistsError from None
            part.rename(file)
    except FileExistsError:
        raise UsageError(
            f"there is something at {file} already; name another file for the backup"
        ) from None
    local.fsync(file.parent)
