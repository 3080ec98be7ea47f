"""Shards: files of Parquet or Arrow with a picture in every row, read a piece at a time.

A picture is a struct of ``bytes`` and ``path``, as the hub's ``datasets`` keeps it, or bytes alone.
A path beside no bytes names a file of whoever made the shard: it is never opened.
"""

from __future__ import annotations

import mmap
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.images.file_tree import MAX_BYTES, open_plain, shown
from ingest.sources.hub.columns import is_bytes
from ingest.sources.hub.labels import feature, plain
from store import BadImage, BadSource

#: Endings of shards.
ENDINGS = (".parquet", ".arrow")
#: Bytes of pictures that are read at once, about, and rows at most.
PIECE_BYTES, _PIECE_ROWS = 8 << 20, 256
#: Pieces that are kept of a shard: threads ask for rows a little out of order.
_KEPT = 3
#: Of columns of pictures, by letters and digits; the first that is there is the film.
_PICTURES = (
    *("image", "img", "film", "xray", "cxr", "radiograph", "picture", "jpg", "jpeg", "png"),
    *("imagebytes", "pixels", "scan"),
)
#: Of Arrow's buffers of a Parquet column; without it, a whole row group is read into memory.
_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class Shard:
    """A file whose rows hold pictures.

    Attributes:
        path: of the file.
        rows: how many.
        schema: of its columns, with the metadata of ``datasets``.
    """

    path: Path
    rows: int
    schema: pa.Schema

    def table(self, columns: Sequence[str]) -> pa.Table:
        """Some columns, whole; none of them should hold pictures.

        Raises:
            BadSource: the file is damaged.
        """
        with _readable(self.path), _opened(self.path) as file:
            if isinstance(file, pq.ParquetFile):
                table = file.read(list(columns))
                return table.replace_schema_metadata(self.schema.metadata)
            return file.select(list(columns))

    def pictures(self) -> list[str]:
        """Names of the columns that can hold pictures."""
        return [field.name for field in self.schema if _holds_pictures(self.schema, field)]


def open_shard(path: Path) -> Shard:
    """Read the schema of a file of Parquet or Arrow.

    Raises:
        BadSource: it is none, or cannot be read.
    """
    with _readable(path), _opened(path) as file:
        if isinstance(file, pq.ParquetFile):
            return Shard(path, int(file.metadata.num_rows), file.schema_arrow)
        return Shard(path, len(file), file.schema)


def picture_column(shard: Shard, asked: str | None, notes: list[str]) -> str:
    """The column of the films.

    Args:
        shard: which.
        asked: its name; told when ``None``.
        notes: sentences for a person are added.

    Raises:
        BadSource: no column holds pictures, the one asked for does not, or there are several and
            none is called as films are.
    """
    found = shard.pictures()
    if asked is not None:
        if asked in found:
            return asked
        there = ", ".join(map(repr, found)) or "none"
        raise BadSource(
            f"{shown(str(shard.path))} has no column of pictures {asked!r} (--image-column); "
            f"columns of pictures: {there}"
        )
    if not found:
        raise BadSource(
            f"{shown(str(shard.path))} has no column of pictures, no struct of bytes and path; "
            "vectors are read by: cxr import PATH"
        )
    by_name = {plain(name): name for name in found}
    usual = next((by_name[name] for name in _PICTURES if name in by_name), None)
    chosen = usual if usual is not None else found[0]
    if usual is None and len(found) > 1:
        raise BadSource(
            f"{shown(str(shard.path))} has several columns of pictures: "
            f"{', '.join(map(repr, found))}; choose one with --image-column"
        )
    if others := [name for name in found if name != chosen]:
        notes.append(
            f"films are column {chosen!r}; {', '.join(map(repr, others))} hold pictures, too, and "
            "are not read (--image-column takes another)"
        )
    return chosen


def read_picture(path: Path, column: str, row: int) -> bytes:
    """The bytes of the picture in a row; rows are best asked for in their order.

    Raises:
        BadImage: ``no_bytes``: the row has none, or a path alone. ``too_large``, ``damaged``, and
            those of ``open_plain``.
    """
    stat = path.lstat()
    try:
        cell = _pieces(path, column, stat.st_mtime_ns, stat.st_size).cell(row)
    except (pa.ArrowException, OSError, ValueError, IndexError, StopIteration) as error:
        detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadImage("damaged", f"{shown(f'{path}#{row}')} cannot be read ({detail})") from error
    name = shown(f"{path}#{row}")
    found, told = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    if found is None:
        beside = f", only the path {told!r:.200}, which is never opened" if told else ""
        raise BadImage(
            "no_bytes",
            f"{name} has no bytes of a picture{beside}; save the set with the pictures in it",
        )
    if len(found) > MAX_BYTES:
        raise BadImage(
            "too_large", f"{name} has {len(found) >> 20} MiB; at most {MAX_BYTES >> 20} are read"
        )
    return bytes(found)


def pictures_in(shard: Shard) -> Iterator[tuple[int, bytes]]:
    """Row and bytes of every picture, column by column; cells without bytes are passed over.

    Raises:
        BadSource: the file is damaged.
    """
    with _readable(shard.path):
        for column in shard.pictures():
            pieces = _Pieces(shard.path, column)
            for row in range(shard.rows):
                cell = pieces.cell(row)
                found = cell.get("bytes") if isinstance(cell, dict) else cell
                if found is not None:
                    yield row, bytes(found)


def shard_row(source: str) -> tuple[Path, int] | None:
    """Shard and row that a film's source names; None where it names a file of its own."""
    path, mark, row = source.rpartition("#")
    if not mark or not row.isdecimal() or not path.lower().endswith(ENDINGS):
        return None
    return Path(path), int(row)


def _holds_pictures(schema: pa.Schema, field: pa.Field) -> bool:
    kind = field.type
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return bool(at >= 0 and is_bytes(kind.field(at).type))
    told = feature(schema, field.name)
    named = isinstance(told, dict) and told.get("_type") == "Image"
    return is_bytes(kind) and (named or plain(field.name) in _PICTURES)


@lru_cache(4)
def _pieces(path: Path, column: str, mtime: int, size: int) -> _Pieces:
    """The reader of a shard that all threads of a process share; another once the file changed."""
    return _Pieces(path, column)


class _Pieces:
    """Reader of a column of pictures from front to back, some rows at a time."""

    def __init__(self, path: Path, column: str) -> None:
        self._path, self._column = path, column
        self._lock = threading.Lock()
        self._kept: deque[tuple[int, pa.Array]] = deque(maxlen=_KEPT)
        self._ahead: Iterator[pa.Array] = iter(())
        self._next, self._end = 0, 0  # the first row that is not read yet; where ``ahead`` ends
        self._groups: list[tuple[int, int]] = []  # first row and end of each row group
        self._file: Any = None

    def cell(self, row: int) -> Any:
        """The cell of a row; rows before those that are kept cost another reading."""
        with self._lock:
            if self._file is None:
                self._open()
            if isinstance(self._file, pa.ChunkedArray):
                return self._file[row].as_py()
            for first, cells in self._kept:
                if first <= row < first + len(cells):
                    return cells[row - first].as_py()
            at = next(i for i, (first, end) in enumerate(self._groups) if first <= row < end)
            first = self._groups[at][0]
            if not (self._next <= row < self._end and first <= self._next):
                self._begin(at)
            while True:
                cells = next(self._ahead)
                start, self._next = self._next, self._next + len(cells)
                if row < self._next:
                    self._kept.append((start, cells))
                    return cells[row - start].as_py()

    def _open(self) -> None:
        file = open_plain(self._path)
        opened = _open_file(self._path, file)
        if isinstance(opened, pq.ParquetFile):
            first = 0
            for number in range(opened.metadata.num_row_groups):
                count = opened.metadata.row_group(number).num_rows
                self._groups.append((first, first + count))
                first += count
            self._file = opened
        else:
            self._file = opened[self._column]

    def _begin(self, group: int) -> None:
        about = self._file.metadata.row_group(group)
        size = sum(
            about.column(at).total_uncompressed_size
            for at in range(about.num_columns)
            if about.column(at).path_in_schema.partition(".")[0] == self._column
        )
        rows = PIECE_BYTES * max(about.num_rows, 1) // max(size, 1)
        pieces = self._file.iter_batches(
            max(1, min(rows, _PIECE_ROWS)),
            row_groups=range(group, len(self._groups)),
            columns=[self._column],
            use_threads=False,
        )
        self._kept.clear()
        self._next, self._end = self._groups[group][0], self._groups[-1][1]
        self._ahead = (piece.column(0) for piece in pieces)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Errors of Arrow and of the system as BadSource."""
    try:
        yield
    except BadImage as error:
        raise BadSource(str(error)) from error
    except (pa.ArrowException, OSError, ValueError) as error:
        detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadSource(
            f"{shown(str(path))} is no sound Parquet or Arrow file ({detail}); get a complete copy"
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with open_plain(path) as file:
        yield _open_file(path, file)


def _open_file(path: Path, file: Any) -> Any:
    """A ParquetFile; of Arrow the whole table, mapped and not read."""
    if path.suffix.lower() == ".parquet":
        return pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
    held = pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    start = held[:6].to_pybytes()
    opened = (pa.ipc.open_file if start == b"ARROW1" else pa.ipc.open_stream)(held)
    return opened.read_all()
