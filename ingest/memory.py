"""Give freed memory back to the system, which the allocators keep for themselves."""

from __future__ import annotations

import ctypes
import sys


def release() -> None:
    """Return what glibc and Arrow hold without using it; elsewhere only what Arrow holds.

    Takes milliseconds: meant for after a large image or a written batch, not for every image.
    """
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
