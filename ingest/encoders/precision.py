"""Arithmetic of the forward pass: it changes the vectors, so it is part of who made them."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from store.errors import EncoderUnavailable, UsageError

if TYPE_CHECKING:
    from ingest.encoders.locate import EncoderFiles

#: As a suffix of an encoder's name: ``pubmed-clip@bf16``.
PRECISIONS = ("float32", "bf16")


def split_name(name: str) -> tuple[str, str]:
    """``clip@bf16`` as (``clip``, ``bf16``); a name without a suffix is float32."""
    head, at, tail = name.rpartition("@")
    if at and tail in PRECISIONS:
        return head, tail
    return name, "float32"


def with_precision(files: EncoderFiles, precision: str) -> EncoderFiles:
    """The same encoder computing in another precision: another name, another fingerprint.

    Raises:
        UsageError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r}: expected {' or '.join(PRECISIONS)}")
    if precision == "float32":
        return files
    digest = hashlib.sha256(f"{files.fingerprint} {precision}".encode()).hexdigest()
    return replace(files, name=f"{files.name}@{precision}", fingerprint=digest, precision=precision)


def cast(precision: str, device: Any) -> contextlib.AbstractContextManager[Any]:
    """A context for forward passes.

    Raises:
        EncoderUnavailable: bf16 on anything but cuda, where it is slower or not there.
    """
    if precision == "float32":
        return contextlib.nullcontext()
    if device.type != "cuda":
        raise EncoderUnavailable(
            f"precision {precision} is for cuda, and the device here is {device.type}; drop "
            f"@{precision} from the encoder's name, or pass --device cuda"
        )
    import torch

    return torch.autocast("cuda", dtype=torch.bfloat16)
