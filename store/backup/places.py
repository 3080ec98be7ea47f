"""Files of a gallery's tables, in a folder or in a bucket: which belong to a version, their bytes.

LanceDB never changes a file of a table: it adds some and names them in the manifest of a new
version. So the files that the newest manifest names are a whole table whatever comes in meanwhile,
as long as none of them is cleaned away.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from store.backup.archive import CHUNK
from store.errors import StoreDamaged
from store.files import version_of
from store.table import lance, object_storage

_ENDING = ".lance"
_DATA_FILE = re.compile(rb"[\w-]+\.lance")


class Place(Protocol):
    """Place of a gallery: names below it, with ``/`` between folders."""

    def tables(self) -> list[str]:
        """Names of the folders of its tables."""

    def sizes(self, folder: str) -> dict[str, int]:
        """Names of all files below a folder, relative to it, and their sizes in bytes."""

    def read(self, name: str) -> Iterator[bytes]:
        """Bytes of a file, piece by piece; FileNotFoundError when it is gone."""


class Folder:
    """Gallery in a folder of this machine."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def tables(self) -> list[str]:
        """See Place."""
        return sorted(one.name for one in self.place.glob(f"*{_ENDING}") if one.is_dir())

    def sizes(self, folder: str) -> dict[str, int]:
        """See Place."""
        return {
            path.relative_to(self.place / folder).as_posix(): path.stat().st_size
            for path in sorted(Path(self.place, folder).rglob("*"))
            if path.is_file()
        }

    def read(self, name: str) -> Iterator[bytes]:
        """See Place."""
        with Path(self.place, name).open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk


class Bucket:
    """Gallery in an object store."""

    def __init__(self, uri: str) -> None:
        self.client = object_storage.client_of(uri)

    def tables(self) -> list[str]:
        """See Place."""
        import obstore

        found = obstore.list_with_delimiter(self.client)["common_prefixes"]
        names = (one.strip("/").rpartition("/")[2] for one in found)
        return sorted(name for name in names if name.endswith(_ENDING))

    def sizes(self, folder: str) -> dict[str, int]:
        """See Place."""
        import obstore

        prefix = f"{folder}/"
        return {
            entry["path"].removeprefix(prefix): entry["size"]
            for batch in obstore.list(self.client, prefix=prefix)
            for entry in batch
        }

    def read(self, name: str) -> Iterator[bytes]:
        """See Place."""
        import obstore

        for chunk in obstore.get(self.client, name).stream(min_chunk_size=CHUNK):
            yield bytes(chunk)


def place_of(uri: str) -> Folder | Bucket:
    """The place of a gallery."""
    return Folder(Path(uri)) if lance.is_local(uri) else Bucket(uri)


class Pinned(NamedTuple):
    """One version of a table.

    Attributes:
        version: its number.
        files: names relative to the gallery, to sizes in bytes; its manifest is the last.
    """

    version: int
    files: dict[str, int]


def newest(place: Place, table: str) -> tuple[int, str] | None:
    """Newest version of a table and the name of its manifest; None where there is no version."""
    found = [(version_of(name), name) for name in place.sizes(f"{table}/_versions")]
    return max(((one, name) for one, name in found if one is not None), default=None)


def pin(place: Place, table: str, version: int, manifest: str) -> Pinned:
    """List the files of a table's version.

    Raises:
        StoreDamaged: the manifest names a file that is not there.
    """
    last = f"{table}/_versions/{manifest}"
    said = b"".join(place.read(last))
    sizes = place.sizes(table)
    own = [name for name in sizes if not name.startswith("_versions/") and _is_of(name, said)]
    data = [Path(name).name.encode() for name in own if name.startswith("data/")]
    for named in _DATA_FILE.findall(said):  # the byte before a name may look like a part of it
        if not any(named.endswith(one) for one in data):
            raise StoreDamaged(
                f"version {version} of {table} names a file that is not there, {named.decode()!r}"
            )
    files = {f"{table}/{name}": sizes[name] for name in own}
    return Pinned(version, {**files, last: sizes[f"_versions/{manifest}"]})


def _is_of(name: str, manifest: bytes) -> bool:
    """Whether a file may belong to the version of a manifest, which names its parts as they are.

    What is not surely of another version counts as belonging.
    """
    top, _, rest = name.partition("/")
    first = rest.partition("/")[0]
    if top == "data":
        return first.partition(".")[0].encode() in manifest
    if top == "_transactions":
        return first.encode() in manifest
    if top == "_indices":
        try:
            return uuid.UUID(first).bytes in manifest
        except ValueError:
            return True
    return bool(rest) and not name.endswith(".tmp")
