"""Reader of npz files in MedMNIST's layout, with suspicion.

``{split}_images`` uint8 (n, h, w) or (n, h, w, 3) and ``{split}_labels`` integers (n, 1) or (n, c).
Nothing is unpickled; members are read whole, which verifies their CRC.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest import npy
from ingest.images.pixels import pixels_digest
from ingest.record import ImageRecord, Pixels
from store import BadSource, CxrError

#: Larger arrays of images are streamed. ChestMNIST at 224 has 3.9 GB of them in one split.
WHOLE_BYTES = 256 << 20
_MAGIC = b"PK\x03\x04"
#: How NumPy packs the members of an npz file. Others may inflate a block without bound.
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True, slots=True)
class _Header:
    """Header of an array.

    Attributes:
        member: its name in the archive.
        start: bytes before its values.
        shape, fortran, dtype: of the array.
    """

    member: str
    start: int
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class NpzFile:
    """An npz file in MedMNIST's layout.

    Attributes:
        path: of the file.
        dataset: name for ids and the dataset column.
        label_names: names of the label numbers.
        remedy: what to do about a bad file; ends the messages.
        multi_label: labels are a 0/1 column per name instead of one number.
        side: expected height and width.
        channels: 1 or 3.
        whole_bytes: largest array that is held in memory; images beyond are streamed.
    """

    path: Path
    dataset: str
    label_names: Sequence[str]
    remedy: str
    multi_label: bool = False
    side: int = 28
    channels: int = 1
    whole_bytes: int = WHOLE_BYTES

    def count(self, splits: Sequence[str]) -> int:
        """Number of images in some splits, from the headers alone, all of them checked.

        Raises:
            BadSource: the file cannot be opened, or a member is missing or of the wrong form.
        """
        with self._archive() as archive:
            return sum(self._headers(archive, split)[0].shape[0] for split in splits)

    def read(self, splits: Sequence[str]) -> Iterator[ImageRecord]:
        """Stream the records of some splits; one split's pixels are in memory at a time.

        Raises:
            BadSource: the file is damaged, or its arrays are not what they should be. An array is
                inflated only when its size in the archive is the one that its header gives it.
        """
        for split in splits:
            yield from self._read(split)

    def _read(self, split: str) -> Iterator[ImageRecord]:
        # A generator of its own, so that one split's arrays are gone before the next is read.
        expected = (self.side, self.side, self.channels)[: 2 if self.channels == 1 else 3]
        with self._archive() as archive:
            images, about_labels = self._headers(archive, split)
            if images.shape[1:] != expected:
                raise self._bad(
                    f": {split}_images has shape {images.shape}, expected "
                    f"(n, {', '.join(map(str, expected))}) for {self.dataset}"
                )
            for name, about in (("labels", about_labels), ("images", images)):
                if about.size > self.whole_bytes and (name == "labels" or about.fortran):
                    raise self._bad(
                        f": {split}_{name} takes {about.size >> 20:,} MiB of memory, expected at "
                        f"most {self.whole_bytes >> 20:,}"
                    )
            names = self._names(split, _member(archive, about_labels))
            held = _member(archive, images) if images.size <= self.whole_bytes else None
        for index, pixels in enumerate(held if held is not None else self._streamed(images)):
            yield ImageRecord(
                id=f"{self.dataset}/{split}/{index}",
                pixels=pixels,
                sha256=pixels_digest(pixels),
                labels=names[index],
                labelled=True,  # zeros of a multi-label set are "nothing found"
                split=split,
                dataset=self.dataset,
                source=f"{self.path.name}#{split}/{index}",
            )

    def _streamed(self, about: _Header) -> Iterator[Pixels]:
        """The images of a large member, one at a time.

        Read through once before, which verifies its length and its CRC: no value is used before.
        """
        one = math.prod(about.shape[1:])
        with self._archive() as archive:
            with archive.open(about.member) as member:
                member.read(about.start)
                length = 0
                while block := member.read(1 << 20):
                    length += len(block)
            if length != about.size:
                raise ValueError(f"{about.member} has {length} bytes of values, not {about.size}")
            with archive.open(about.member) as member:
                member.read(about.start)
                for _ in range(about.shape[0]):
                    yield np.frombuffer(member.read(one), np.uint8).reshape(about.shape[1:])

    def _names(self, split: str, labels: npt.NDArray[Any]) -> list[tuple[str, ...]]:
        """Names of the labels of each image."""
        names = self.label_names
        flat = (labels[:, None] if labels.ndim == 1 else labels).astype(np.int64)
        columns, highest = (len(names), 1) if self.multi_label else (1, len(names) - 1)
        if flat.shape[1] != columns:
            raise self._bad(
                f": {split}_labels has shape {labels.shape}, expected ({len(labels)}, {columns})"
            )
        if flat.size and (flat.min() < 0 or flat.max() > highest):
            raise self._bad(
                f": {split}_labels holds values from {flat.min()} to {flat.max()}, expected "
                f"0 to {highest}"
            )
        if self.multi_label:
            return [tuple(names[i] for i in np.flatnonzero(row).tolist()) for row in flat]
        return [(names[value],) for value in flat[:, 0].tolist()]

    def _headers(self, archive: zipfile.ZipFile, split: str) -> tuple[_Header, _Header]:
        """Headers of a split's images and labels; BadSource when they cannot be that."""
        images = self._header(archive, f"{split}_images")
        labels = self._header(archive, f"{split}_labels")
        if images.dtype != np.uint8 or len(images.shape) not in (3, 4):
            raise self._bad(
                f": {split}_images is {images.dtype} of shape {images.shape}, expected uint8 "
                "(n, height, width) or (n, height, width, 3)"
            )
        if labels.dtype.kind not in "iub" or len(labels.shape) not in (1, 2):
            raise self._bad(
                f": {split}_labels is {labels.dtype} of shape {labels.shape}, expected whole "
                "numbers (n, 1) or (n, labels)"
            )
        if images.shape[0] != labels.shape[0]:
            raise self._bad(
                f": {images.shape[0]} {split}_images but {labels.shape[0]} {split}_labels, "
                "expected as many"
            )
        return images, labels

    def _header(self, archive: zipfile.ZipFile, name: str) -> _Header:
        """The header of an array, at the beginning of its member; nothing else is inflated."""
        if f"{name}.npy" not in archive.namelist():
            present = ", ".join(sorted(archive.namelist())) or "nothing"
            raise self._bad(f" has no {name}, only {present}")
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type not in _PACKED:
            raise ValueError(f"{name} is packed by method {info.compress_type}, which npz never is")
        with archive.open(info) as member:
            start, shape, fortran, dtype = npy.read_header(member)
        found = _Header(info.filename, start, shape, fortran, dtype)
        size = info.file_size - start
        if not dtype.hasobject and size != found.size:
            raise ValueError(f"{name} has {size:,} bytes of values, its header says {found.size:,}")
        return found

    @contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        """The open zip; whatever damage does to zip and npy parsing becomes BadSource."""
        try:
            with self.path.open("rb") as file:
                if file.read(4) != _MAGIC:
                    raise self._bad(" is not an npz file")
                file.seek(0)
                with zipfile.ZipFile(file) as archive:
                    yield archive
        except CxrError:
            raise
        except OSError as error:
            raise self._bad(f" cannot be read ({error.strerror or error})") from error
        except Exception as error:  # a damaged zip or npy header can fail in a dozen ways
            detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise self._bad(f" is truncated or damaged ({detail})") from error

    def _bad(self, what: str) -> BadSource:
        return BadSource(f"{self.path}{what}; {self.remedy}")


def _member(archive: zipfile.ZipFile, about: _Header) -> npt.NDArray[Any]:
    """A whole array, no larger than its header said; its CRC is verified before a value is used."""
    with archive.open(about.member) as member:
        values: npt.NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):  # at the end, the CRC is compared
            raise ValueError(f"{about.member} is longer than its header says")
    return values
