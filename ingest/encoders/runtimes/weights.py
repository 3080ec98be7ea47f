"""Reader of safetensors from bytes in memory: checked, and nothing copied.

The library's own reader of bytes makes a copy of every tensor, twice the memory of a model while it
is loaded; its reader of files maps them, so that whoever writes there changes the model.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Names of the format to names of torch.
_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


#: As the format has it, in bytes.
_LARGEST_HEADER = 100_000_000


def header(data: memoryview) -> tuple[int, dict[str, Any]]:
    """The place where values begin, and the header's entry of each tensor.

    Raises:
        ValueError: not this format, or not as many bytes as the header promises.
    """
    begin = 8 + int.from_bytes(data[:8], "little")
    try:
        found = json.loads(bytes(data[8:begin]))
        found.pop("__metadata__", None)
        promised = begin + max((one["data_offsets"][1] for one in found.values()), default=0)
    except (ValueError, AttributeError, TypeError, LookupError, RecursionError) as error:
        raise ValueError("is not a safetensors file (or only a Git LFS pointer to one)") from error
    if promised != len(data):
        raise ValueError(f"is damaged: {len(data)} bytes where its header promises {promised}")
    return begin, found


def parameters(path: Path) -> int:
    """Number of values in a safetensors file, by its header alone.

    Raises:
        OSError: it cannot be read.
        ValueError: not this format.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > _LARGEST_HEADER:
            raise ValueError(f"a header of {size} bytes; expected at most {_LARGEST_HEADER}")
        try:
            found = json.loads(file.read(size))
            found.pop("__metadata__", None)
            return sum(math.prod(one["shape"]) for one in found.values())
        except (ValueError, AttributeError, TypeError, LookupError, RecursionError) as error:
            raise ValueError("is not a safetensors file") from error


def tensors(data: memoryview) -> dict[str, torch.Tensor]:
    """The tensors in the bytes of a safetensors file, sharing their memory.

    Raises:
        ValueError: not this format, or a tensor that the bytes do not hold.
    """
    import torch

    first, told = header(data)
    whole = torch.frombuffer(data, dtype=torch.uint8)
    found = {}
    for name, one in told.items():
        begin, end = (first + int(offset) for offset in one["data_offsets"])
        shape = [int(side) for side in one["shape"]]
        if one["dtype"] not in _TYPES:
            raise ValueError(f"{name} is {one['dtype']}; expected one of {', '.join(_TYPES)}")
        dtype: torch.dtype = getattr(torch, _TYPES[one["dtype"]])
        fits = first <= begin <= end <= len(data) and min(shape, default=0) >= 0
        if not fits or math.prod(shape) * dtype.itemsize != end - begin:
            raise ValueError(f"{name} of shape {shape} does not fit bytes {begin} to {end}")
        part = whole[begin:end]
        if begin % dtype.itemsize:  # torch looks at whole values only where one could begin
            part = part.clone()
        found[name] = part.view(dtype).reshape(shape)
    return found
