"""The vectors in a file of faiss's IndexFlatIP, without faiss.

``faiss.read_index`` trusts what it reads; a flat index is a small header and a matrix, so the file
is taken apart here, and every length in it is checked against the file's own.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from store.errors import BadArtefacts
from store.schema import Vectors

# fourcc, dimension, rows, two unused numbers, is_trained, metric, number of floats that follow.
_HEADER = struct.Struct("<4siqqqBiQ")
_INNER_PRODUCT = 0
_KNOWN = {
    b"IxF2": "IndexFlatL2",
    b"IxFl": "IndexFlat",
    b"IwFl": "IndexIVFFlat",
    b"IxMp": "IndexIDMap",
}


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
