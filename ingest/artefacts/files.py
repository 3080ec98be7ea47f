"""Readers of the single files of an export folder, with the constants of its format.

Each file is checked by itself and refused by name and number; ``ingest.artefacts.folder`` describes
the layout.

``faiss.read_index`` trusts what it reads; a flat index is a small header and a matrix, so the file
is taken apart here, and every length in it is checked against the file's own.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest import npy
from store import BadArtefacts, Vectors

#: Version of the layout, ``meta.json["format"]``.
FORMAT = 1
EMBEDDINGS = "embeddings.npy"
LABELS = "labels.npy"
INDEX = "faiss_index.bin"
IDS = "ids.txt"
META = "meta.json"
#: Column of reports in ``meta.json["columns"]``, written and read only when asked for.
REPORT = "report"
#: Key of the user's own columns in meta.json: name to ``{"type": ..., "values": [...]}``.
OWN = "own_columns"

#: How far from 1 the length of a vector may be.
_UNIT = 1e-4
#: The same for float16, whose values are that coarse.
_UNIT_HALF = 2e-3

# fourcc, dimension, rows, two unused numbers, is_trained, metric, number of floats that follow.
_HEADER = struct.Struct("<4siqqqBiQ")
_INNER_PRODUCT = 0
_KNOWN = {
    b"IxF2": "IndexFlatL2",
    b"IxFl": "IndexFlat",
    b"IwFl": "IndexIVFFlat",
    b"IxMp": "IndexIDMap",
}


def _load(path: Path, what: str) -> npt.NDArray[Any]:
    if not path.is_file():
        raise BadArtefacts(f"{path} is missing; it should hold {what}")
    try:
        return npy.load(path)
    except OSError as error:
        raise BadArtefacts(f"{path} cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged npy header can fail in a dozen ways
        detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadArtefacts(
            f"{path} is truncated or damaged ({detail}); save it again with np.save"
        ) from error


def read_embeddings(path: Path, normalise: bool, notes: list[str]) -> tuple[Vectors, Vectors]:
    """Vectors of a file as stored, and as unit rows; both float32 (n, d). See unit_rows."""
    return unit_rows(path, _load(path, "float32 (n, d) vectors"), normalise, notes)


def unit_rows(
    path: Path, values: npt.NDArray[Any], normalise: bool, notes: list[str]
) -> tuple[Vectors, Vectors]:
    """Vectors as they are, and as unit rows; both float32 (n, d).

    Args:
        path: of their file, for messages.
        values: the vectors, expected as float (n, d).
        normalise: scale rows to unit length instead of refusing others.
        notes: conversions are added here.

    Raises:
        BadArtefacts: another dtype or shape, NaN or infinity, or rows not of unit length.
    """
    if values.dtype.kind != "f" or values.itemsize > 8 or values.ndim != 2 or 0 in values.shape:
        raise BadArtefacts(
            f"{path} is {values.dtype} of shape {values.shape}, expected float32 (n, d)"
        )
    if values.dtype != np.float32:
        notes.append(f"{path.name} is {values.dtype}; converted to float32")
    with np.errstate(over="ignore"):
        raw: Vectors = np.ascontiguousarray(values, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(raw).all(axis=1))
    if bad.size:
        raise BadArtefacts(
            f"{path}: {bad.size} of {len(raw)} vectors hold NaN or infinity, first row {bad[0]}; "
            "leave those images out"
        )
    norms = np.linalg.norm(raw.astype(np.float64), axis=1)
    low, high = float(norms.min()), float(norms.max())
    off = max(1 - low, high - 1)
    half = values.itemsize == 2
    if off <= _UNIT and not half:
        return raw, raw
    if low == 0:
        raise BadArtefacts(
            f"{path}: row {int(norms.argmin())} is all zeros and has no direction; leave it out"
        )
    if not normalise and not (half and off <= _UNIT_HALF):
        raise BadArtefacts(
            f"{path}: vectors have lengths from {low:.6g} to {high:.6g}, expected 1; "
            "L2-normalise them, or ask for it with --normalise"
        )
    notes.append(f"{path.name} has vectors of lengths {low:.6g} to {high:.6g}; scaled to 1")
    return raw, (raw / norms[:, None]).astype(np.float32)


def read_labels(path: Path, rows: int, meta: dict[str, Any]) -> tuple[list[tuple[str, ...]], bool]:
    """Label names per row, and whether they are a 0/1 column each rather than class indices."""
    values = _load(path, "int64 (n,) class indices")
    if values.dtype.kind not in "iu" or values.ndim not in (1, 2) or 0 in values.shape:
        raise BadArtefacts(
            f"{path} is {values.dtype} of shape {values.shape}, expected int64 ({rows},), or "
            f"({rows}, c) of 0 and 1 for several labels a row"
        )
    if len(values) != rows:
        raise BadArtefacts(
            f"{path} has {len(values)} labels for {rows} vectors in {EMBEDDINGS}; "
            "save both from the same run"
        )
    names = meta.get("label_names")
    if names is not None and not (isinstance(names, list) and all(map(is_text, names))):
        raise BadArtefacts(f"{path.with_name(META)}: label_names must be a list of strings")
    flat = values.reshape(rows, -1).astype(np.int64)
    several = flat.shape[1] > 1
    low, high = int(flat.min()), int(flat.max())
    if several:
        count = flat.shape[1]
        if names is not None and len(names) != count:
            raise BadArtefacts(
                f"{path} has {count} columns, but {META} has {len(names)} label_names"
            )
        allowed = (0, 1)
    else:
        count = len(names) if names is not None else high + 1
        allowed = (-1, count - 1)
    if low < allowed[0] or high > allowed[1]:
        raise BadArtefacts(
            f"{path} holds values from {low} to {high}, expected {allowed[0]} to {allowed[1]}"
            + ("" if names is None else f" for the label names {names}")
        )
    if several:
        names = names or [str(column) for column in range(count)]
        return [tuple(names[i] for i in np.flatnonzero(row).tolist()) for row in flat], True
    return [
        () if value < 0 else (str(value) if names is None else names[value],)
        for value in flat[:, 0].tolist()
    ], False


def read_ids(folder: Path, rows: int) -> list[str]:
    """The n ids in ids.txt, or ``<folder name>/<i>`` without one; BadArtefacts for other counts."""
    path = folder / IDS
    if not path.exists():
        return [f"{folder.resolve().name}/{number}" for number in range(rows)]
    try:
        lines = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadArtefacts(f"{path} cannot be read as UTF-8 text ({error})") from error
    if lines[-1] == "":
        lines.pop()
    if len(lines) != rows:
        raise BadArtefacts(
            f"{path} has {len(lines)} ids for {rows} vectors in {EMBEDDINGS}; "
            "write one id a line, in the order of the vectors"
        )
    id_, times = Counter(lines).most_common(1)[0]
    if times > 1:
        raise BadArtefacts(f"{path} has the id {id_!r} {times} times; ids must be unique")
    if "" in lines:
        raise BadArtefacts(f"{path}: line {lines.index('') + 1} is empty; every row needs an id")
    return lines


def read_meta(folder: Path) -> dict[str, Any]:
    """The object in meta.json, or an empty one without the file; BadArtefacts if damaged."""
    path = folder / META
    if not path.exists():
        return {}
    try:
        meta = json.loads(path.read_bytes(), parse_constant=_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise BadArtefacts(f"{path} cannot be read as JSON ({error})") from error
    if not isinstance(meta, dict):
        raise BadArtefacts(f"{path} holds a {type(meta).__name__}, expected a JSON object")
    if meta.get("format", FORMAT) != FORMAT:
        raise BadArtefacts(
            f"{path} is of format {meta['format']!r}, this version reads format {FORMAT}"
        )
    return meta


def _constant(name: str) -> None:
    """NaN, as Python writes a number that is not known, is null; infinity is nothing."""
    if name != "NaN":
        raise ValueError(f"{name} is not JSON; write null")


def read_flat_index(path: Path) -> Vectors:
    """The vectors of an IndexFlatIP, float32 (n, d), read-only.

    Raises:
        BadArtefacts: another kind of index, or a file whose lengths do not add up.
    """
    remedy = "write an IndexFlatIP with faiss.write_index"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadArtefacts(f"{path} cannot be read ({error.strerror or error})") from error
    if data[:4] != b"IxFI":
        kind = _KNOWN.get(data[:4], f"a file that begins with {data[:4]!r}")
        raise BadArtefacts(f"{path} is {kind}, expected an IndexFlatIP; {remedy}")
    if len(data) < _HEADER.size:
        raise BadArtefacts(
            f"{path} has {len(data)} bytes, a header alone has {_HEADER.size}; {remedy}"
        )
    _, dimension, rows, _, _, _, metric, floats = _HEADER.unpack_from(data)
    if metric != _INNER_PRODUCT:
        raise BadArtefacts(f"{path} has metric {metric}, expected 0, inner product; {remedy}")
    if dimension < 1 or rows < 0 or floats != rows * dimension:
        raise BadArtefacts(
            f"{path} says {rows} vectors of dimension {dimension} in {floats} floats; {remedy}"
        )
    if len(data) - _HEADER.size != 4 * floats:
        raise BadArtefacts(
            f"{path} has {len(data) - _HEADER.size} bytes of vectors, its header says "
            f"{4 * floats}; {remedy}"
        )
    return np.frombuffer(data, "<f4", offset=_HEADER.size).reshape(rows, dimension)


def check_index(path: Path, raw: Vectors, embeddings: Vectors, notes: list[str]) -> None:
    """Refuse an index file with other vectors than embeddings.npy, raw or scaled to 1."""
    if not path.exists():
        notes.append(f"no {INDEX}: searched with an index of its own")
        return
    vectors = read_flat_index(path)
    if vectors.shape != raw.shape:
        raise BadArtefacts(
            f"{path} holds {vectors.shape[0]} vectors of dimension {vectors.shape[1]}, but "
            f"{EMBEDDINGS} has shape {raw.shape}; build the index from these embeddings"
        )
    if np.array_equal(vectors, raw):
        return
    if raw is not embeddings and np.allclose(vectors, embeddings, rtol=0, atol=1e-6):
        return  # normalised by its maker before it was indexed
    different = np.flatnonzero((vectors != raw).any(axis=1))
    raise BadArtefacts(
        f"{path} disagrees with {EMBEDDINGS} in {different.size} of {len(raw)} vectors, first row "
        f"{different[0]}; build the index from these embeddings"
    )


def is_text(value: object) -> bool:
    """Whether a value from JSON is a string that can be stored."""
    # JSON can spell half a surrogate pair, which no table can hold.
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)
