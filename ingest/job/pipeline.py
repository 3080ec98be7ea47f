"""Decoding pipeline: threads ahead of the encoder, in order, bounded in number and in bytes."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from ingest.images.file_tree import open_plain, read_plain
from ingest.images.pixels import check_contrast, large_alone, reduced, thumbnail
from ingest.images.reader_version import is_older, is_read_anew
from ingest.job.file_memory import Seen, seen_now
from ingest.record import (
    METADATA,
    ImageFile,
    ImageRecord,
    Item,
    Pixels,
    Rejection,
    RemoteImage,
    told,
)
from store import BadImage, Row, Vectors

#: Decoded pixels that wait for the encoder, at most about this many bytes.
AHEAD_BYTES = 64 << 20


@dataclass(slots=True)
class Opened:
    """An image that has to be encoded.

    Attributes:
        id: of the row.
        pixels: uint8, those of large images averaged over blocks as far as the encoder allows; let
            go once there is a vector.
        sha256: of the file, or of the pixels.
        metadata: what is told of it; see record.told.
        picture: its thumbnail, PNG.
        seen: what to remember of the file.
        size: width and height of the whole image.
        vector: float32 (d,), where it was encoded elsewhere; its pixels are let go then.
        notes: what a person should know of the file, one short sentence each.
        again: whether the gallery has it, read by an older version of the pixel reader.
    """

    id: str
    pixels: Pixels
    sha256: bytes
    metadata: Mapping[str, Any]
    picture: bytes
    seen: Seen | None = None
    size: tuple[int, int] = field(default=(0, 0))
    vector: Vectors | None = None
    notes: tuple[str, ...] = ()
    again: bool = False


@dataclass(frozen=True, slots=True)
class Same:
    """An image that the gallery has: same bytes, same encoder.

    Attributes:
        row: as it is stored.
        metadata: what is told of it now; see record.told.
        hashed: whether the file was read to know.
        seen: what to remember of the file; ``None`` when that is known.
    """

    row: Row
    metadata: Mapping[str, Any]
    hashed: bool = False
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Aside:
    """An image of a film that somebody excluded or deleted: it stays out.

    Attributes:
        id: of the film.
        source: where the image is.
        why: ``excluded`` or ``deleted``.
    """

    id: str
    source: str
    why: str


Outcome = Opened | Same | Rejection | Aside
#: Opens an image; whatever else travels among tasks is handed through in its place.
Task = Callable[[], Outcome]
#: Tasks in order to what came of them, in the same order: in_order, or a cluster.
Stage = Callable[[Iterator[Task | Any]], Generator[Any, None, None]]


class Stopped(Exception):
    """Signal that a stage was asked to stop and that nobody works at the batch in hand."""


def known_of(record: ImageRecord, tells: Collection[str] = ()) -> dict[str, Any]:
    """Metadata of a record: all that is not blank, and all that its source answers for."""
    said = {name: getattr(record, name) for name in METADATA}
    return told({n: value for n, value in said.items() if n in tells or value != METADATA[n]})


def open_record(
    record: ImageRecord, side: int = 0, tells: Collection[str] = (), *, again: bool = False
) -> Outcome:
    """Check the pixels of a record and make its thumbnail.

    Args:
        record: which.
        side: of what the encoder sees; see ``ingest.images.pixels.reduction``.
        tells: of its source.
        again: see Opened.
    """
    problem = _bad_pixels(record.pixels)
    if problem:
        return Rejection(record.source, "bad_pixels", problem)
    height, width = record.pixels.shape[:2]
    pixels = reduced(record.pixels, side)
    picture, said = thumbnail(pixels), known_of(record, tells)
    size = (width, height)
    return Opened(record.id, pixels, record.sha256, said, picture, None, size, again=again)


def same_file(
    file: ImageFile,
    row: Row,
    *,
    hashed: bool = False,
    seen: Seen | None = None,
) -> Same:
    """The outcome of a file whose row needs no new vector.

    Its header is asked for its study where a row from before that column lacks one.
    """
    said = told(file.metadata)
    if lacks_study(file, row) and isinstance(header := identify(file), Mapping):
        said |= {"study": study} if (study := header.get("study")) else {}
    return Same(row, said, hashed, seen)


def lacks_study(file: ImageFile, row: Row) -> bool:
    """Whether a header may tell the study of a row that has none.

    A study stood in for a patient that was not told, so a row without either has no study.
    """
    asked = file.identify is not None and "study" in file.tells
    return asked and row.study is None and row.patient is not None


def open_file(
    file: ImageFile, id_: str, row: Row | None, *, side: int = 0, unchanged: bool = False
) -> Outcome:
    """Read a file; decode it unless its digest is that of its row, and its reading the same.

    Args:
        file: which.
        id_: of its row.
        row: the row that the gallery has, made by the same encoder.
        side: of what the encoder sees; see ``ingest.images.pixels.reduction``.
        unchanged: whether its stat says that its bytes are those of the row, so that only the
            header is looked at.
    """
    try:
        if unchanged and row is not None:
            with _opened(file) as opened_file:
                if not is_read_anew(row, side, opened_file):
                    return same_file(file, row)
        stat = os.lstat(file.path)
        with large_alone(0, stat.st_size if file.extract is None else 0):
            data, sha256, seen = read_file(file, id_, stat)
            again = False
            if row is not None and sha256 == row.sha256:
                again = is_older(row) and is_read_anew(row, side, io.BytesIO(data))
                if not again:
                    return same_file(file, row, hashed=True, seen=seen)
            return _decoded(file, id_, data, sha256, row if again else None, side, seen)
    except (BadImage, OSError) as error:
        return _refused(file, error)


def open_remote(image: RemoteImage, row: Row | None, *, side: int = 0) -> Outcome:
    """Fetch an image and decode it.

    Args:
        image: which.
        row: the row that the gallery has, read by an older version of the pixel reader.
        side: of what the encoder sees; see ``ingest.images.pixels.reduction``.

    Raises:
        CxrError: other than BadImage: the server cannot be had, so that the job breaks off.
    """
    try:
        data = image.fetch()
        with large_alone(0, len(data)):
            sha256 = hashlib.sha256(data).digest()
            again = row if row is not None and row.sha256 == sha256 else None
            return _decoded(image, image.id, data, sha256, again, side)
    except (BadImage, OSError) as error:
        return _refused(image, error)


def read_file(file: ImageFile, id_: str, stat: os.stat_result) -> tuple[bytes, bytes, Seen | None]:
    """The bytes of a file's image, their sha256, and what to remember of the file.

    Args:
        file: which.
        id_: of its row.
        stat: of the file, from before: a change during the reading shows at the next run.

    Raises:
        BadImage: it cannot be read, or its shard has no bytes of it.
    """
    if file.extract is None:
        data = read_plain(file.path)
        whole = len(data) == stat.st_size
    else:
        data = file.extract()
        whole = os.lstat(file.path).st_mtime_ns == stat.st_mtime_ns
    sha256 = hashlib.sha256(data).digest()
    return data, sha256, seen_now(stat, sha256, id_) if whole else None


def _opened(file: ImageFile) -> BinaryIO:
    return open_plain(file.path) if file.extract is None else io.BytesIO(file.extract())


def _decoded(
    image: ImageFile | RemoteImage,
    id_: str,
    data: bytes,
    sha256: bytes,
    row: Row | None,
    side: int,
    seen: Seen | None = None,
) -> Outcome:
    """An image to be encoded, by its bytes; ``row`` is that of the same bytes, read before."""
    pixels, header = image.read(data, image.source)
    del data
    problem = _bad_pixels(pixels)
    if problem:
        return Rejection(image.source, "bad_pixels", problem)
    check_contrast(pixels, image.source)
    height, width = pixels.shape[:2]
    pixels = reduced(pixels, side)
    picture = thumbnail(pixels)
    said = told({**image.metadata, **_from_header(image, header, row)})
    size, notes = (width, height), tuple(header.get("notes", ()))
    again = row is not None
    return Opened(id_, pixels, sha256, said, picture, seen, size, notes=notes, again=again)


def identify(file: ImageFile) -> Mapping[str, Any] | Rejection:
    """Id and metadata by the header of a file that has its id there, or why it is refused."""
    assert file.identify is not None
    try:
        return file.identify(file.path, file.source)
    except (BadImage, OSError) as error:
        return _refused(file, error)


def _refused(file: ImageFile | RemoteImage, error: BadImage | OSError) -> Rejection:
    if isinstance(error, BadImage):
        return Rejection(file.source, error.reason, str(error))
    detail = f"{file.source} cannot be read ({error.strerror})"
    return Rejection(file.source, "unreadable", detail)


def _from_header(
    file: ImageFile | RemoteImage, header: Mapping[str, Any], row: Row | None
) -> dict[str, Any]:
    """Metadata from the file's header: where its table has no column, or a blank cell.

    Of a row whose bytes are the same it told that before; then it only fills what is blank there.
    """
    known = file.metadata
    open_ = [name for name in file.tells if known.get(name, METADATA[name]) == METADATA[name]]
    if row is not None:
        open_ = [name for name in open_ if getattr(row, name) == METADATA[name]]
        open_ = [name for name in open_ if header.get(name) is not None]
    return {name: header.get(name, METADATA[name]) for name in open_}


def opened(
    items: Iterable[Item],
) -> Iterator[ImageRecord | Rejection]:
    """Records of a source with every file decoded, for training and others that need all pixels."""
    for item in items:
        if isinstance(item, ImageRecord | Rejection):
            yield item
            continue
        id_ = item.id
        if id_ is None and isinstance(item, ImageFile) and item.identify is not None:
            header = identify(item)
            if isinstance(header, Rejection):
                yield header
                continue
            id_ = str(header.get("id") or item.otherwise)
        if isinstance(item, RemoteImage):
            found = open_remote(item, None)
        else:
            found = open_file(item, id_ or "", None)
        if isinstance(found, Opened):
            yield ImageRecord(found.id, found.pixels, found.sha256, **found.metadata)
        elif isinstance(found, Rejection):
            yield found


def _bad_pixels(pixels: Pixels) -> str | None:
    shape, dtype = pixels.shape, pixels.dtype
    grey_or_rgb = len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
    if dtype == np.uint8 and grey_or_rgb and 0 not in shape:
        return None
    return f"pixels are {dtype} of shape {shape}; expected uint8 (h, w) or (h, w, 3)"


class _Budget:
    """Budget of decoded bytes that nobody took yet; a task that would exceed it waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._used = 0
        self._turn = 0
        self._closed = False

    def wait(self, number: int) -> None:
        """Wait for room, unless it is this task that everybody waits for."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._used < AHEAD_BYTES or number <= self._turn or self._closed
            )

    def add(self, size: int) -> None:
        with self._changed:
            self._used += size
            self._changed.notify_all()

    def turn(self, number: int) -> None:
        with self._changed:
            self._turn = number
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def in_order(
    pool: ThreadPoolExecutor,
    tasks: Iterator[Callable[[], Outcome] | Any],
    ahead: int,
) -> Generator[Any, None, None]:
    """Results of tasks in their order, computed ahead of time by a pool.

    Args:
        pool: works at the tasks, first come, first served.
        tasks: callables; anything else is handed through in its place.
        ahead: how many are taken up before their turn, at most.

    Raises:
        Exception: whatever ``tasks`` raised, once all that came before it is handed out.
    """
    window: deque[tuple[int, Future[Outcome] | Any]] = deque()
    budget = _Budget()

    def work(task: Callable[[], Outcome], number: int) -> Outcome:
        budget.wait(number)
        found = task()
        if isinstance(found, Opened):
            budget.add(found.pixels.nbytes)
        return found

    numbered = enumerate(tasks)
    more, broken = True, None
    try:
        while True:
            while more and len(window) < ahead:
                try:
                    number, task = next(numbered)
                except StopIteration:
                    more = False
                except Exception as error:  # told once all that came before it is dealt with
                    more, broken = False, error
                else:
                    taken = pool.submit(work, task, number) if callable(task) else task
                    window.append((number, taken))
            if not window:
                if broken is not None:
                    raise broken
                return
            number, head = window.popleft()
            budget.turn(number)
            found = head.result() if isinstance(head, Future) else head
            del head
            if isinstance(found, Opened):
                budget.add(-found.pixels.nbytes)
            yield found
            del found
    finally:
        for _, waiting in window:
            if isinstance(waiting, Future):
                waiting.cancel()
        budget.close()
