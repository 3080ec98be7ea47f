"""An IndexFlatIP over memory of our own: fresh, or mapped from a file."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from store.schema import Vectors

#: The vectors start here, aligned for vector instructions; the index's own header is just before.
OFFSET = 64


def header(count: int, dimension: int) -> bytes:
    """What FAISS writes before the vectors of an IndexFlatIP, padded to OFFSET bytes."""
    import faiss

    made = bytearray(faiss.serialize_index(faiss.IndexFlatIP(dimension)).tobytes())
    made[8:16] = count.to_bytes(8, "little")
    made[-8:] = (count * dimension).to_bytes(8, "little")
    return bytes(OFFSET - len(made)) + bytes(made)


def over(memory: npt.NDArray[np.uint8], count: int, dimension: int) -> tuple[Any, Vectors]:
    """An index over header and vectors that are in memory already, and its vectors (n, d).

    Raises:
        ValueError, RuntimeError: the memory holds another kind or size of index.
    """
    import faiss

    source = memory[OFFSET - len(header(0, dimension).lstrip(b"\0")) :]
    # FAISS reads the header and keeps pointing at the vectors where they are.
    index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(source), source.size))
    if not isinstance(index, faiss.IndexFlatIP) or (index.ntotal, index.d) != (count, dimension):
        raise ValueError("its index is not what its description says")
    index.referenced_objects = [memory]  # it must live as long as the index
    return index, memory[OFFSET:].view(np.float32).reshape(count, dimension)


def fresh(count: int, dimension: int) -> tuple[Any, Vectors]:
    """An index with room for this many vectors, and its memory to fill, float32 (n, d)."""
    memory = np.empty(OFFSET + 4 * count * dimension, np.uint8)
    memory[:OFFSET] = np.frombuffer(header(count, dimension), np.uint8)
    return over(memory, count, dimension)
