"""Writer of an image folder: ``train/*.png`` and so on, with a ``metadata.csv`` in each split.

``datasets`` 5.2 makes the types of columns of every ``metadata.csv`` by itself and refuses a set
whose splits differ: a column that is blank in one split is reason enough. One ``metadata.csv`` for
all splits would put every film into every split. Where types differ, the metadata is
``metadata.parquet``, which has types, and a ``films.csv`` for people stands beside the splits.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ui.dataset.columns import Column, name_of_split

if TYPE_CHECKING:
    from store import Row
    from ui.dataset.pictures import Picture

CSV, PARQUET, ALL = "metadata.csv", "metadata.parquet", "films.csv"
_FILE = "file_name"
#: Characters of an id that may stand in the name of a file, and how many of them.
_ODD, _LONGEST = re.compile(r"[^A-Za-z0-9.-]+"), 80


def write_folder(
    folder: Path, films: Iterator[tuple[Row, Picture]], columns: Sequence[Column]
) -> list[str]:
    """Write films to a folder for each split, with its metadata.

    A list is a JSON list in its cell, a class its name.

    Returns:
        Paths below the folder, the metadata last.
    """
    rows: dict[str, list[list[Any]]] = {}
    files: list[str] = []
    for row, picture in films:
        split = name_of_split(row.split)
        of_split = rows.setdefault(split, [])
        (folder / split).mkdir(exist_ok=True)
        name = f"{len(of_split):06d}-{_tame(row.id)}.{picture.ending}"
        (folder / split / name).write_bytes(picture.data)
        files.append(f"{split}/{name}")
        of_split.append([name, *(_value(one, row) for one in columns)])
    return [*files, *_write_metadata(folder, rows, columns)] if files else []


def _write_metadata(
    folder: Path, rows: dict[str, list[list[Any]]], columns: Sequence[Column]
) -> list[str]:
    head = [_FILE, *(one.name for one in columns)]
    tables = {split: _csv(head, of_split) for split, of_split in rows.items()}
    if _alike(list(tables.values())):
        for split, table in tables.items():
            (folder / split / CSV).write_bytes(table)
        return [f"{split}/{CSV}" for split in tables]
    for split, of_split in rows.items():
        _write_parquet(folder / split / PARQUET, head, of_split, columns)
    whole = [
        [f"{split}/{name}", *rest] for split, of_split in rows.items() for name, *rest in of_split
    ]
    (folder / ALL).write_bytes(_csv(head, whole))
    return [*(f"{split}/{PARQUET}" for split in rows), ALL]


def _csv(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    from ingest import csv_bytes

    # Cells that a spreadsheet would run get a ' in front, which `cxr ingest hf` takes off again.
    return csv_bytes(head, ([_cell(value) for value in row] for row in rows))


def _alike(tables: Sequence[bytes]) -> bool:
    """Whether pandas, with which ``datasets`` reads them, gives all tables the same types."""
    import pandas as pd

    types = [pd.read_csv(io.BytesIO(one)).dtypes.to_dict() for one in tables]
    return all(one == types[0] for one in types)


def _write_parquet(
    path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]], columns: Sequence[Column]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    named = {"label": pa.string(), "labels": pa.list_(pa.string())}
    types = [pa.string(), *(named.get(one.name, one.type) for one in columns)]
    arrays = [pa.array([row[at] for row in rows], kind) for at, kind in enumerate(types)]
    pq.write_table(pa.table(arrays, list(head)), path)


def _tame(id_: str) -> str:
    stem = _ODD.sub("_", id_).strip("._-")
    stem = re.sub(r"\.(png|jpe?g|tiff?|webp|bmp|dcm|dicom)$", "", stem, flags=re.IGNORECASE)
    return stem[-_LONGEST:].lstrip("._-") or "film"


def _value(column: Column, row: Row) -> Any:
    """The value of a column, with the names of classes in place of their numbers."""
    value = column.value(row)
    if column.name == "label" and value is not None:
        return row.labels[0]
    return list(row.labels) if column.name == "labels" and value is not None else value


def _cell(value: Any) -> object:
    if value is None:
        return ""
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.isoformat() if isinstance(value, date) else value
