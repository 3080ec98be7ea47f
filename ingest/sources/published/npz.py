"""MedMNIST's npz layout, read with suspicion.

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
from store import BadSource, CxrError, UsageError

SPLITS = ("train", "val", "test")
#: Larger arrays of images are streamed. ChestMNIST at 224 has 3.9 GB of them in one split.
WHOLE_BYTES = 256 << 20
_MAGIC = b"PK\x03\x04"
#: How NumPy packs the members of an npz file. Others may inflate a block without bound.
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True, slots=True)
class _Header:
    """What an array's header says.

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


def check_splits(splits: Sequence[str] | None) -> tuple[str, ...]:
    """The splits to read, each once, in the order asked; all three when ``None``."""
    if splits is None:
        return SPLITS
    unknown = [split for split in splits if split not in SPLITS]
    if unknown or not splits or isinstance(splits, str):
        asked = splits if isinstance(splits, str) else ", ".join(splits)
        raise UsageError(f"splits must be some of {', '.join(SPLITS)}; got {asked!r}")
    return tuple(dict.fromkeys(splits))


def count(path: Path, splits: Sequence[str], remedy: str) -> int:
    """How many images the splits hold, from the headers alone, all of them checked.

    Args:
        path: the npz file.
        splits: which to look at.
        remedy: what to do about a bad file; ends the messages.

    Raises:
        BadSource: the file cannot be opened, or a member is missing or of the wrong form.
    """
    total = 0
    with _archive(path, remedy) as archive:
        for split in splits:
            images = _header(archive, f"{split}_images", path, remedy)
            labels = _header(archive, f"{split}_labels", path, remedy)
            _check(path, split, images, labels, remedy)
            total += images.shape[0]
    return total


def read(
    path: Path,
    dataset: str,
    splits: Sequence[str],
    *,
    label_names: Sequence[str],
    multi_label: bool,
    side: int,
    channels: int,
    remedy: str,
    whole_bytes: int = WHOLE_BYTES,
) -> Iterator[ImageRecord]:
    """Stream the records of some splits; one split's pixels are in memory at a time.

    Args:
        path: the npz file.
        dataset: name for ids and the dataset column.
        splits: which, in order.
        label_names: what the label numbers mean.
        multi_label: labels are a 0/1 column per name instead of one number.
        side: expected height and width.
        channels: 1 or 3.
        remedy: what to do about a bad file; ends the messages.
        whole_bytes: largest array that is held in memory; images beyond are streamed.

    Raises:
        BadSource: the file is damaged, or its arrays are not what they should be. An array is
            inflated only when its size in the archive is the one that its header gives it.
    """
    for split in splits:
        yield from _read_split(
            path, dataset, split, label_names, multi_label, side, channels, remedy, whole_bytes
        )


def _read_split(
    path: Path,
    dataset: str,
    split: str,
    label_names: Sequence[str],
    multi_label: bool,
    side: int,
    channels: int,
    remedy: str,
    whole_bytes: int,
) -> Iterator[ImageRecord]:
    # A generator of its own, so that one split's arrays are gone before the next is read.
    expected = (side, side) if channels == 1 else (side, side, channels)
    with _archive(path, remedy) as archive:
        images = _header(archive, f"{split}_images", path, remedy)
        about_labels = _header(archive, f"{split}_labels", path, remedy)
        _check(path, split, images, about_labels, remedy)
        if images.shape[1:] != expected:
            raise BadSource(
                f"{path}: {split}_images has shape {images.shape}, expected "
                f"(n, {', '.join(map(str, expected))}) for {dataset}; {remedy}"
            )
        whole = images.size <= whole_bytes
        for name, about in (("labels", about_labels), ("images", images)):
            if about.size > whole_bytes and (name == "labels" or about.fortran):
                raise BadSource(
                    f"{path}: {split}_{name} takes {about.size >> 20:,} MiB of memory, expected at "
                    f"most {whole_bytes >> 20:,}; {remedy}"
                )
        labels = _member(archive, about_labels)
        names = _label_names(path, split, labels, label_names, multi_label, remedy)
        held = _member(archive, images) if whole else None
    for index, pixels in enumerate(held if held is not None else _streamed(path, images, remedy)):
        yield ImageRecord(
            id=f"{dataset}/{split}/{index}",
            pixels=pixels,
            sha256=pixels_digest(pixels),
            labels=names[index],
            labelled=True,  # zeros of a multi-label set are "nothing found"
            split=split,
            dataset=dataset,
            source=f"{path.name}#{split}/{index}",
        )


def _streamed(path: Path, about: _Header, remedy: str) -> Iterator[Pixels]:
    """The images of a large member, one at a time.

    Read through once before, which verifies its length and its CRC: no value is used before that.
    """
    one = math.prod(about.shape[1:])
    with _archive(path, remedy) as archive:
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


def _label_names(
    path: Path,
    split: str,
    labels: npt.NDArray[Any],
    label_names: Sequence[str],
    multi_label: bool,
    remedy: str,
) -> list[tuple[str, ...]]:
    """Per image the names of its labels."""
    flat = (labels[:, None] if labels.ndim == 1 else labels).astype(np.int64)
    columns, highest = (len(label_names), 1) if multi_label else (1, len(label_names) - 1)
    if flat.shape[1] != columns:
        raise BadSource(
            f"{path}: {split}_labels has shape {labels.shape}, expected "
            f"({len(labels)}, {columns}); {remedy}"
        )
    if flat.size and (flat.min() < 0 or flat.max() > highest):
        raise BadSource(
            f"{path}: {split}_labels holds values from {flat.min()} to {flat.max()}, expected "
            f"0 to {highest}; {remedy}"
        )
    if multi_label:
        return [tuple(label_names[i] for i in np.flatnonzero(row).tolist()) for row in flat]
    return [(label_names[value],) for value in flat[:, 0].tolist()]


def _check(path: Path, split: str, images: _Header, labels: _Header, remedy: str) -> None:
    """Refuse arrays that cannot be images with labels."""
    image_shape, image_type = images.shape, images.dtype
    label_shape, label_type = labels.shape, labels.dtype
    if image_type != np.uint8 or len(image_shape) not in (3, 4):
        raise BadSource(
            f"{path}: {split}_images is {image_type} of shape {image_shape}, expected uint8 "
            f"(n, height, width) or (n, height, width, 3); {remedy}"
        )
    if label_type.kind not in "iub" or len(label_shape) not in (1, 2):
        raise BadSource(
            f"{path}: {split}_labels is {label_type} of shape {label_shape}, expected whole "
            f"numbers (n, 1) or (n, labels); {remedy}"
        )
    if image_shape[0] != label_shape[0]:
        raise BadSource(
            f"{path}: {image_shape[0]} {split}_images but {label_shape[0]} {split}_labels, "
            f"expected as many; {remedy}"
        )


@contextmanager
def _archive(path: Path, remedy: str) -> Iterator[zipfile.ZipFile]:
    """Open the zip; whatever damage does to zip and npy parsing becomes BadSource."""
    try:
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                raise BadSource(f"{path} is not an npz file; {remedy}")
            file.seek(0)
            with zipfile.ZipFile(file) as archive:
                yield archive
    except CxrError:
        raise
    except OSError as error:
        raise BadSource(f"{path} cannot be read ({error.strerror or error}); {remedy}") from error
    except Exception as error:  # a damaged zip or npy header can fail in a dozen ways
        detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadSource(f"{path} is truncated or damaged ({detail}); {remedy}") from error


def _header(archive: zipfile.ZipFile, name: str, path: Path, remedy: str) -> _Header:
    """What an array is, from the beginning of its member; nothing else of it is inflated."""
    if f"{name}.npy" not in archive.namelist():
        present = ", ".join(sorted(archive.namelist())) or "nothing"
        raise BadSource(f"{path} has no {name}, only {present}; {remedy}")
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in _PACKED:
        raise ValueError(f"{name} is packed by method {info.compress_type}, which npz never is")
    with archive.open(info) as member:
        start, shape, fortran, dtype = npy.read_header(member)
    found = _Header(info.filename, start, shape, fortran, dtype)
    if not dtype.hasobject and info.file_size != start + found.size:
        raise ValueError(
            f"{name} has {info.file_size - start:,} bytes of values, its header says {found.size:,}"
        )
    return found


def _member(archive: zipfile.ZipFile, about: _Header) -> npt.NDArray[Any]:
    """A whole array, no larger than its header said; its CRC is verified before a value is used."""
    with archive.open(about.member) as member:
        values: npt.NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):  # at the end, the CRC is compared
            raise ValueError(f"{about.member} is longer than its header says")
    return values
