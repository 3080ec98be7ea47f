"""NumPy's npy files: an array's size is checked before it is read, and nothing is unpickled."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
#: Bytes that are read for a header, which may say that it has 4 GiB; numpy takes 10,000 of them.
_LONGEST = 10_012


def read_header(file: IO[bytes]) -> tuple[int, tuple[int, ...], bool, np.dtype[Any]]:
    """Bytes before the values of an array, its shape, whether in Fortran order, and its dtype.

    Reads on behind the header.

    Raises:
        ValueError: no npy header.
    """
    start = io.BytesIO(file.read(_LONGEST))
    version = np.lib.format.read_magic(start)
    if version not in _HEADERS:
        raise ValueError(f"npy format {version}")
    shape, fortran, dtype = _HEADERS[version](start)
    return start.tell(), shape, fortran, dtype


def size_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Bytes of the values of an array."""
    return math.prod(shape) * dtype.itemsize


def load(path: Path) -> npt.NDArray[Any]:
    """The array in an npy file.

    Raises:
        OSError: it cannot be read.
        ValueError: not an npy file, Python objects inside, or fewer or more bytes than it says.
    """
    with path.open("rb") as file:
        begin, shape, _, dtype = read_header(file)
        if dtype.hasobject:
            raise ValueError(
                "it holds Python objects, which are never unpickled; save numbers, such as float32"
            )
        size, expected = os.fstat(file.fileno()).st_size - begin, size_of(shape, dtype)
        if size != expected:
            raise ValueError(f"it has {size} bytes of values, its header says {expected}")
        file.seek(0)
        values: npt.NDArray[Any] = np.load(file, allow_pickle=False)
        return values
