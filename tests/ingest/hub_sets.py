"""Data sets in the forms of the hub, made by code: shards of Parquet, image folders."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.ingest.fakes import picture

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
IMAGE = {"_type": "Image"}


def png(seed: int, side: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(seed, side)).save(buffer, "PNG")
    return buffer.getvalue()


def classes(*names: str) -> dict[str, Any]:
    return {"names": list(names), "_type": "ClassLabel"}


def cell(seed: int, path: str | None = None) -> dict[str, Any]:
    return {"bytes": png(seed), "path": path or f"{seed}.png"}


def shard(
    path: Path,
    columns: Mapping[str, Sequence[Any]],
    features: Mapping[str, Any] | None = None,
    **options: Any,
) -> Path:
    """A shard; columns of dicts are pictures, others are as pyarrow takes them."""
    arrays = {
        name: pa.array(values, PICTURE) if any(isinstance(one, dict) for one in values) else values
        for name, values in columns.items()
    }
    table = pa.table(arrays)
    if features is not None:
        told = json.dumps({"info": {"features": {"image": IMAGE, **features}}})
        table = table.replace_schema_metadata({"huggingface": told})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def films(folder: Path, names: Mapping[str, int]) -> Path:
    """Image files by relative path, each of a seed."""
    for name, seed in names.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(seed))
    return folder
