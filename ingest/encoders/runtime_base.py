"""What part of an image an encoder sees after its preprocessing resized and cut it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
