"""Keep transformers off stderr: what matters is checked and raised."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import transformers
from transformers.utils import logging as transformers_logging


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """No warnings or progress bars of transformers inside the block."""
    verbosity = transformers.logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
