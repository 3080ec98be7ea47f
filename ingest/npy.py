"""NumPy's npy format from bytes: header checked, nothing unpickled, nothing copied."""

from __future__ import annotations

import io
import math
from typing import IO, Any

import numpy as np
import numpy.typing as npt


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, and dtype; ValueError when it is no npy header."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"npy format {version}")


def from_bytes(data: bytes) -> npt.NDArray[Any]:
    """The array in a whole npy file, read-only, sharing its memory.

    Raises:
        ValueError: not an npy file, Python objects inside, or fewer or more bytes than it says.
    """
    stream = io.BytesIO(data[:65536])
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never unpickled")
    size, expected = len(data) - stream.tell(), math.prod(shape) * dtype.itemsize
    if size != expected:
        raise ValueError(f"it has {size} bytes of values, its header says {expected}")
    values: npt.NDArray[Any] = np.frombuffer(data, dtype, offset=stream.tell())
    return values.reshape(shape, order="F" if fortran else "C")
