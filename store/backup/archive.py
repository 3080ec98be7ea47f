"""Backup file: a zip of members as they are, with a list of their sizes and sha256.

The list is a member, too (``backup.json``), so any unzip shows what is in a backup. A backup comes
from anywhere: no name of a member is used before it was looked at, no byte is trusted before its
digest was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from store.errors import StoreDamaged, UsageError
from store.schema import Progress

FORMAT, VERSION = "cxr-retrieval backup", 1
LIST = "backup.json"
#: Folder of the notes of ingestions, and the file of the salt.
STATE, SALT = "state", "salt"
#: Our own folder of a gallery; only what can be undone is kept of it.
UNDO = "_cxr/replaced"
CHUNK = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: What zipfile and json raise over bytes that are no zip, or no list.
_FAULTS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)


class Member(NamedTuple):
    """Size in bytes and sha256 of a member."""

    size: int
    sha256: str


class ArchiveWriter:
    """A backup that is being written: members first, the list at the end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
        self.members: dict[str, Member] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(Exception):  # what is given up needs no end
            self._zip.close()

    def add(
        self, path: str, chunks: Iterable[bytes], told: Callable[[int], object] | None = None
    ) -> None:
        """Write a member, piece by piece.

        Args:
            path: see check_path.
            chunks: its bytes.
            told: called with the size of each piece.
        """
        check_path(path)
        digest, size = hashlib.sha256(), 0
        pieces = iter(chunks)
        first = next(pieces, b"")  # a file that is gone shows before it has a place in the zip
        with self._zip.open(zipfile.ZipInfo(path), "w", force_zip64=True) as out:
            for chunk in chain([first], pieces):
                out.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                if told is not None:
                    told(len(chunk))
        self.members[path] = Member(size, digest.hexdigest())

    def finish(self, about: dict[str, Any]) -> None:
        """Write the list, with what else is to be known, and close the zip."""
        members = [
            {"path": path, "bytes": one.size, "sha256": one.sha256}
            for path, one in self.members.items()
        ]
        document = {"format": FORMAT, "version": VERSION, **about, "members": members}
        self._zip.writestr(LIST, json.dumps(document, ensure_ascii=False, indent=1))
        self._zip.close()


class Archive:
    """A backup that is being read.

    Attributes:
        about: what its list says besides the members.
        members: path to size and digest.

    Raises:
        StoreDamaged: not a backup, or a damaged one.
        UsageError: no such file; or a backup that a later version of this program wrote.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self._zip = zipfile.ZipFile(file)
        except OSError as error:
            raise UsageError(f"cannot read the backup {file}: {error.strerror or error}") from None
        except _FAULTS as error:
            raise self._damaged(f"it is no whole zip file ({error})") from None
        try:
            self.about, self.members = self._read_list()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._zip.close()

    def chunks(self, path: str) -> Iterator[bytes]:
        """Bytes of a member, piece by piece; after the last its size and digest are compared.

        Raises:
            StoreDamaged: they are other ones than were written.
        """
        wanted, digest, size = self.members[path], hashlib.sha256(), 0
        try:
            with self._zip.open(path) as source:
                while chunk := source.read(CHUNK):
                    size += len(chunk)
                    digest.update(chunk)
                    yield chunk
        except OSError as error:
            raise self._damaged(f"{path!r} cannot be read ({error.strerror or error})") from None
        except _FAULTS as error:
            raise self._damaged(f"{path!r} cannot be read ({error})") from None
        if (size, digest.hexdigest()) != wanted:
            raise self._damaged(f"{path!r} has not the bytes that were written")

    def _read_list(self) -> tuple[dict[str, Any], dict[str, Member]]:
        try:
            about = json.loads(self._zip.read(LIST))
            form, version = about["format"], about["version"]
            if form != FORMAT:
                raise ValueError("it says that it is something else")
            if isinstance(version, int) and version > VERSION:
                raise UsageError(
                    f"the backup {self.file} is of a later version of this program (format "
                    f"{version}, this one reads {VERSION}); restore it with that"
                )
            members = {
                check_path(one["path"]): _member(one["bytes"], one["sha256"])
                for one in about.pop("members")
            }
            infos = self._zip.infolist()
            if sorted(one.filename for one in infos) != sorted([LIST, *members]):
                raise ValueError("its members are not those of its list")
            held = self.file.stat().st_size
            # Stored, and no two on the same bytes: what comes out is no larger than the file.
            if any(one.compress_type for one in infos) or held < sum(
                one.file_size for one in infos
            ):
                raise ValueError("its members are not stored as they are")
        except KeyError as error:
            raise self._damaged(f"{error} is not in it") from None
        except (OSError, *_FAULTS) as error:
            raise self._damaged(str(error)) from None
        return about, members

    def _damaged(self, why: str) -> StoreDamaged:
        return StoreDamaged(
            f"{self.file} is not a backup of a gallery, or a damaged one: {why}; nothing was "
            "restored, take another copy of it"
        )


def counter(progress: Progress | None, total: int) -> Callable[[int], None]:
    """Sum of the sizes it is called with, told to a progress."""
    done = 0

    def told(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(min(done, total), total)

    return told


def _member(size: Any, sha256: Any) -> Member:
    if type(size) is not int or size < 0 or not _SHA256.fullmatch(sha256):
        raise ValueError("its list has a size or a digest that is none")
    return Member(size, sha256)


def check_path(path: Any) -> str:
    """A member's path, when it leads to a place below the gallery on every system.

    Raises:
        ValueError: it is anything else.
    """
    parts = path.split("/") if isinstance(path, str) else [""]
    plain = all(
        part not in ("", ".", "..")
        and part.isprintable()
        and not set(part) & set('\\:*?"<>|')
        and part[-1] not in ". "
        for part in parts
    )
    ours = path == SALT or (
        len(parts) > 1
        and (parts[0].endswith(".lance") or parts[0] == STATE or "/".join(parts[:2]) == UNDO)
    )
    if not (plain and ours):
        raise ValueError(f"the name {path!r} is none of a gallery's files")
    return str(path)
