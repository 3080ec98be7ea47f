"""NumPy's npy format from bytes: header checked, nothing unpickled, nothing copied."""

from __future__ import annotations

import io
import math
from typing import IO, Any

import numpy as np
import numpy.typing as npt

#: Bytes of the magic string with the version, and of the header's length, by version.
_MAGIC, _LENGTH = 8, {(1, 0): 2, (2, 0): 4}
#: Longest header; numpy itself reads at most 10,000 characters.
_LONGEST = 1 << 16


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, and dtype; ValueError when it is no npy header."""
    start = file.read(_MAGIC + 4)
    version = np.lib.format.read_magic(io.BytesIO(start))
    if version not in _LENGTH:
        raise ValueError(f"npy format {version}")
    begin = _MAGIC + _LENGTH[version]
    length = int.from_bytes(start[_MAGIC:begin], "little")
    if length > _LONGEST:  # before so much is read, or inflated
        raise ValueError(f"an npy header of {length} bytes")
    stream = io.BytesIO(start + file.read(begin + length - len(start)))
    stream.seek(_MAGIC)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


def from_bytes(data: bytes | bytearray) -> npt.NDArray[Any]:
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
    values.flags.writeable = False
    return values.reshape(shape, order="F" if fortran else "C")
