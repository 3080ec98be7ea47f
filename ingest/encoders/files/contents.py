"""Bytes of an encoder's files, read once: the bytes that are hashed are those that are used.

A file may be copied over, truncated or exchanged at any time. Whoever maps it into memory, or reads
it a second time, computes with other bytes than those that the fingerprint was taken over.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ingest.encoders.download import PRIVATE_COPY

#: Read at once, in bytes; hashed while the next is read.
_BLOCK = 4 << 20
#: Device, file number, size, times of change: what tells without reading that nobody wrote.
Mark = tuple[int, int, int, int, int]


@dataclass(slots=True, eq=False)
class Content:
    """One file as it was read.

    Attributes:
        path: where it was.
        size: in bytes.
        sha256: of these bytes.
        mark: of the file, after it was read.
        data: the bytes; None once they were let go.
    """

    path: Path
    size: int
    sha256: bytes
    mark: Mark
    data: memoryview | None

    @property
    def bytes(self) -> memoryview:
        """The bytes; AssertionError once they were let go."""
        assert self.data is not None, f"the bytes of {self.path} were let go"
        return self.data


class Contents:
    """The files of one encoder by their path below its folder, each read the first time asked for.

    Attributes:
        folder: where they lie.
        files: what was read so far.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, Content] = {}
        self._folders = {folder: _mark_now(folder)}

    def read(self, name: str, place: Path | None = None) -> Content:
        """A file as it was when it was first asked for.

        Args:
            name: its path below the folder.
            place: where it lies, of a file that stands for one of the folder.

        Raises:
            OSError: it cannot be read, or changed its length meanwhile.
        """
        if name not in self.files:
            path = place or self.folder / name
            self._folders.setdefault(path.parent, _mark_now(path.parent))
            self.files[name] = _read(path)
        return self.files[name]

    def digest(self, recipe: bytes) -> str:
        """Hex sha256 over a recipe and every file: its last name and the sha256 of its bytes."""
        digest = hashlib.sha256(recipe)
        for name in sorted(self.files, key=Path):
            digest.update(Path(name).name.encode() + b"\0" + self.files[name].sha256)
        return digest.hexdigest()

    def untouched(self) -> bool:
        """Whether nobody wrote to the files since, or put others there. Reads none of them."""
        marks = {content.path: content.mark for content in self.files.values()}
        return all(_mark_now(path) == mark for path, mark in {**self._folders, **marks}.items())

    def let_go(self) -> None:
        """Free the memory of weights, once a model is made of them or has copied them."""
        for name, content in self.files.items():
            if name.endswith(".safetensors"):
                content.data = None

    @contextlib.contextmanager
    def laid_out(self, but: str = ".safetensors") -> Iterator[Path]:
        """These bytes as files of a private folder, for libraries that read nothing else.

        Args:
            but: the ending of files that are left out.
        """
        with tempfile.TemporaryDirectory(prefix=PRIVATE_COPY) as folder:
            for name, content in self.files.items():
                if not name.endswith(but):
                    place = Path(folder, name)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(content.bytes)
            yield Path(folder)


def _read(path: Path) -> Content:
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        data = np.empty(size, np.uint8).data
        digest, at = hashlib.sha256(), 0
        with ThreadPoolExecutor(1, "hash") as hashing:  # one thread: blocks in their order
            while at < size and (count := file.readinto(data[at : at + _BLOCK])):
                hashing.submit(digest.update, data[at : at + count])
                at += count
        if at < size or file.read(1):
            raise OSError(f"{path.name} changed its length while it was read")
        return Content(path, size, digest.digest(), _mark(os.fstat(file.fileno())), data)


def _mark_now(path: Path) -> Mark | None:
    try:
        return _mark(path.stat())
    except OSError:
        return None


def _mark(stat: os.stat_result) -> Mark:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
