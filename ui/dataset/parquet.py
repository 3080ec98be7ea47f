"""Writer of shards: Parquet with the pictures in it, as ``datasets`` reads it.

``Dataset.to_parquet`` leaves the bytes of pictures that are files out; here they are in every row,
and what the columns mean is in the schema's metadata under ``huggingface``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ui.dataset.columns import Column, name_of_split

if TYPE_CHECKING:
    from store import Row
    from ui.dataset.pictures import Picture

#: Bytes of pictures in one shard, and in one row group, about; rows of one row group, at most.
SHARD_BYTES, GROUP_BYTES, GROUP_ROWS = 256 << 20, 32 << 20, 100
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_shards(
    folder: Path, films: Iterator[tuple[Row, Picture]], columns: Sequence[Column]
) -> list[str]:
    """Write films, whose splits follow one another, to ``data/SPLIT-00000-of-00002.parquet``.

    Returns:
        Paths of the shards below the folder; none when there was no film.
    """
    schema = _schema(columns)
    (folder / "data").mkdir()
    numbers: dict[str, int] = {}  # of shards of each split
    open_: _Shard | None = None
    for row, picture in films:
        split = name_of_split(row.split)
        if open_ is None or open_.split != split or open_.size >= SHARD_BYTES:
            if open_ is not None:
                open_.close()
            number = numbers.get(split, 0)
            numbers[split] = number + 1
            open_ = _Shard(folder / _part(split, number), split, schema)
        image = {"bytes": picture.data, "path": _name(row, picture)}
        open_.add({"image": image, **{one.name: one.value(row) for one in columns}})
    if open_ is not None:
        open_.close()
    files = []
    for split, count in numbers.items():
        for number in range(count):
            name = f"data/{split}-{number:05d}-of-{count:05d}.parquet"
            (folder / _part(split, number)).rename(folder / name)
            files.append(name)
    return files


def _part(split: str, number: int) -> str:
    return f"data/{split}-{number:05d}.part"  # how many there will be is not known yet


def _name(row: Row, picture: Picture) -> str:
    return f"{row.id.rpartition('/')[2] or 'film'}.{picture.ending}"


def _schema(columns: Sequence[Column]) -> pa.Schema:
    from ingest import OWN

    features: dict[str, Any] = {"image": {"_type": "Image"}}
    features |= {one.name: one.feature for one in columns}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    own = {one.name: one.own for one in columns if one.own}
    if own:
        metadata[OWN] = json.dumps(own).encode()
    fields = [pa.field("image", _IMAGE), *(pa.field(one.name, one.type) for one in columns)]
    return pa.schema(fields, metadata)


class _Shard:
    """A shard that is being written, a row group at a time."""

    def __init__(self, path: Path, split: str, schema: pa.Schema) -> None:
        self.split, self.size = split, 0
        self._schema, self._waiting = schema, 0
        self._rows: list[dict[str, Any]] = []
        # Pictures are packed already, and of no two the same: a dictionary would only cost memory.
        self._writer = pq.ParquetWriter(path, schema, use_dictionary=False, write_page_index=True)

    def add(self, row: dict[str, Any]) -> None:
        """One more row."""
        self._rows.append(row)
        size = len(row["image"]["bytes"])
        self.size, self._waiting = self.size + size, self._waiting + size
        if len(self._rows) >= GROUP_ROWS or self._waiting >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what waits and the end of the file."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows, self._waiting = [], 0
