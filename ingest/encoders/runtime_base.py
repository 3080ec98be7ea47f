"""What part of an image an encoder sees after its preprocessing resized and cut it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from store import EncoderUnavailable, UsageError

if TYPE_CHECKING:
    from ingest.encoders.locate import EncoderFiles


@dataclass(frozen=True, slots=True)
class Framing:
    """How an image becomes the model's input.

    Attributes:
        edge: which edge is scaled to ``side``: ``shortest``, ``longest`` or ``both``.
        side: in pixels; 0 where an image keeps its size.
        crop: height and width that are cut from the centre, or padded to; None where nothing is.
    """

    edge: str
    side: int
    crop: tuple[int, int] | None

    def box(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what is seen, as fractions of an image's sides."""
        if self.crop is None or self.edge == "both":
            return 0.0, 0.0, 1.0, 1.0
        edge = min(height, width) if self.edge == "shortest" else max(height, width)
        scale = self.side / edge if self.side else 1.0
        left = 0.5 - self.crop[1] / (2 * scale * width)
        top = 0.5 - self.crop[0] / (2 * scale * height)
        return left, top, 1 - left, 1 - top


def framing_of(processor: Any) -> Framing:
    """Of a transformers image processor."""
    size, crop = (getattr(processor, name, None) for name in ("size", "crop_size"))
    edge, side = "shortest", 0
    if getattr(processor, "do_resize", False) and size is not None:
        side = getattr(size, "shortest_edge", None) or 0
        if not side:
            edge = "both"
    if crop is None or not getattr(processor, "do_center_crop", False):
        return Framing(edge, side, None)
    return Framing(edge, side, (crop.height, crop.width))


def framed(size: int | tuple[int, int], mode: str) -> Framing:
    """Of open_clip's preprocessing: its image size and its ``resize_mode``."""
    height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
    edge = "both" if mode == "squash" else mode
    return Framing(edge, min(height, width), (height, width))


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


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """No warnings or progress bars of transformers inside the block."""
    # A second of imports: an encoder is located without them.
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
