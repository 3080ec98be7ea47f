"""Restoring of a gallery from a backup, at a place where nothing is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.backup.archive import SALT, STATE, Archive, counter
from store.backup.places import Bucket, newest, pin, place_of
from store.backup.unfinished import workplace
from store.errors import StoreDamaged, UsageError
from store.files import FOLDER, TABLE, location, version_of
from store.mapped_copy import check_free
from store.schema import Progress
from store.table import lance, local, object_storage, opening

_MAIN = f"{TABLE}.lance"


@dataclass(frozen=True, slots=True)
class Restored:
    """A gallery that came out of a backup, or would.

    Attributes:
        uri: where it is; empty where the backup was only looked at.
        made_at: when the backup was made, UTC.
        rows: films.
        version: of its table.
        tables: names of all tables beside each other.
        members: files of the backup.
        size: of all of them, in bytes.
        salt: of the pseudonyms, when the backup holds it; it is put nowhere here.
        left_out: what a bucket has no place for, or what is there already, in words.
    """

    uri: str
    made_at: str
    rows: int
    version: int
    tables: tuple[str, ...]
    members: int
    size: int
    salt: bytes | None
    left_out: tuple[str, ...] = ()


def look_into(file: Path, progress: Progress | None = None) -> Restored:
    """Read a backup whole, compare its digests, and write nothing.

    Raises:
        UsageError: no such file.
        StoreDamaged: it is damaged, or no backup.
    """
    with Archive(file) as archive:
        found = _described(archive, "")
        told = counter(progress, found.size)
        for name in archive.members:
            for chunk in archive.chunks(name):
                told(len(chunk))
        return found


def restore(
    file: Path, uri: str | Path, *, state: Path, progress: Progress | None = None
) -> Restored:
    """Make a gallery of a backup. It appears whole or not at all, and takes nothing's place.

    Args:
        file: the backup.
        uri: where the gallery is to be; nothing may be there.
        state: folder for the notes of its ingestions; inside the gallery if that is a folder.
        progress: called with bytes done and in all.

    Raises:
        UsageError: something is at ``uri``; no such file.
        StoreDamaged: the backup is damaged, or no backup. Nothing is left at ``uri`` then.
        StoreUnwritable, StoreUnreachable: disk or object store refused.
    """
    uri = location(uri)
    with Archive(file) as archive:
        described = _described(archive, uri)
        check_free(uri)
        if lance.is_local(uri):
            place = Path(os.path.abspath(uri))  # noqa: PTH100  "." may be empty, too; links stay
            _into_folder(archive, described, place, state.relative_to(uri), progress)
            return described
        left_out = _into_bucket(archive, described, uri, state, progress)
    return Restored(
        **{name: getattr(described, name) for name in Restored.__slots__ if name != "left_out"},
        left_out=left_out,
    )


def _described(archive: Archive, uri: str) -> Restored:
    about = archive.about
    tables, rows = about.get("tables"), about.get("rows")
    if not isinstance(tables, dict) or _MAIN not in tables or type(rows) is not int:
        raise StoreDamaged(f"{archive.file} holds no gallery; nothing was restored")
    named = [
        (name.split("/")[0], version_of(Path(name).name))
        for name in archive.members
        if name.split("/")[1:2] == ["_versions"]
    ]
    if len(named) != len(tables) or dict(named) != tables:
        raise StoreDamaged(
            f"{archive.file} does not hold the tables that it names; nothing was restored"
        )
    salt = b"".join(archive.chunks(SALT)) if SALT in archive.members else None
    sizes = sum(one.size for one in archive.members.values())
    made_at = str(about.get("made_at"))
    return Restored(
        uri, made_at, rows, tables[_MAIN], tuple(tables), len(archive.members), sizes, salt
    )


# -- a folder --------------------------------------------------------------------------------------


def _into_folder(
    archive: Archive, described: Restored, place: Path, notes: Path, progress: Progress | None
) -> None:
    told = counter(progress, described.size)
    with workplace(place) as made:
        for name in archive.members:
            if name == SALT:
                continue
            top, _, rest = name.partition("/")
            target = made / (notes / rest if top == STATE else name)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with target.open("xb") as out:
                    for chunk in archive.chunks(name):
                        out.write(chunk)
                        told(len(chunk))
            except FileExistsError:
                raise StoreDamaged(
                    f"{archive.file} holds {name!r} twice for this file system; nothing was "
                    "restored"
                ) from None
        for table in described.tables:
            folder = made / table
            local.acknowledge(folder, version_at(folder))
        local.sync(made)
        _check(archive.file, str(made), described.rows, described.tables)
        with contextlib.suppress(FileNotFoundError):
            place.rmdir()
        try:
            made.rename(place)
        except OSError as error:
            if place.exists():
                raise UsageError(f"something came to be at {place} meanwhile") from error
            raise
        local.fsync(place.parent)


def version_at(folder: Path) -> int:
    """Version of a table of one version."""
    ((version, _),) = local.manifests(folder)
    return version


def _check(file: Path, uri: str, rows: int, tables: Iterable[str]) -> None:
    """Open what was restored, look for the files that it names, and count its films."""
    try:
        place = place_of(uri)
        for table in tables:
            found = newest(place, table)
            if found is not None:
                pin(place, table, *found)
        handle = opening.open_(uri)
        count = int(handle.count_rows())
    except (StoreDamaged, *lance.ReadFault) as error:
        raise StoreDamaged(
            f"what is in {file} does not open as a gallery: {error}; nothing was restored"
        ) from error
    if count != rows:
        raise StoreDamaged(f"{file} says {rows:,} films and holds {count:,}; nothing was restored")


# -- a bucket --------------------------------------------------------------------------------------


def _into_bucket(
    archive: Archive, described: Restored, uri: str, state: Path, progress: Progress | None
) -> tuple[str, ...]:
    """Put all files, the manifest of the gallery's own table last: with it the gallery is there."""
    import obstore

    client = Bucket(uri).client
    told = counter(progress, 2 * described.size)
    for name in archive.members:  # nothing is put there of a backup that is damaged
        for chunk in archive.chunks(name):
            told(len(chunk))
    names = [name for name in archive.members if name.split("/")[0] in described.tables]
    names.sort(key=lambda name: (name.split("/")[1] == "_versions", name.startswith(f"{_MAIN}/")))
    left_out = []
    if any(name.startswith(f"{FOLDER}/") for name in archive.members):
        left_out.append("what batches replaced, which a bucket has no place for")
    with object_storage.named_faults(uri):
        _check_leftovers(client, uri, names)
        for name in names[:-1]:
            obstore.put(client, name, _counted(archive.chunks(name), told))
        if not _restore_notes(archive, state):
            left_out.append(f"the notes of ingestions, as some are at {state} already")
        last = b"".join(archive.chunks(names[-1]))
        obstore.put(client, names[-1], last, mode="create")
        try:
            _check(archive.file, uri, described.rows, described.tables)
        except StoreDamaged:
            obstore.delete(client, names[::-1])
            raise
    return tuple(left_out)


def _check_leftovers(client: Any, uri: str, names: list[str]) -> None:
    """Refuse a place with files of tables that a restore of this backup did not leave there."""
    import obstore

    there = (entry["path"] for batch in obstore.list(client) for entry in batch)
    for path in there:
        if path.partition("/")[0].endswith(".lance") and path not in names:
            raise UsageError(f"there is something at {uri} already, {path}; name another place")


def _restore_notes(archive: Archive, state: Path) -> bool:
    """Write the notes of ingestions, unless there are some. Whether that was done."""
    notes = [name for name in archive.members if name.startswith(f"{STATE}/")]
    if not notes:
        return True
    if state.exists():
        return False
    with workplace(state) as made:
        for name in notes:
            target = made / name.partition("/")[2]
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as out:
                out.writelines(archive.chunks(name))
        made.rename(state)
    return True


def _counted(chunks: Iterator[bytes], told: Callable[[int], None]) -> Iterator[bytes]:
    for chunk in chunks:
        told(len(chunk))
        yield chunk
