"""Unused memory of allocators, given back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import sys


def give_back() -> None:
    """Give back the unused memory of Arrow and, on Linux with glibc, of the whole process.

    Takes milliseconds: meant for after a large image, a large read or a written batch.
    """
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # another C library than glibc
            ctypes.CDLL(None).malloc_trim(0)
