"""Runtime of raw pixels as an encoder: the floor that every other one is measured beside."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.encoders.baselines import NAME, SIDE, vectors_of
from ingest.encoders.runtimes.base import Framing, Runtime
from ingest.images.pixels import reduced
from ingest.record import Pixels
from store import Vectors


class PixelRuntime(Runtime):
    """Pixels of the centre square; nothing is computed on a device."""

    model = None
    framing = Framing("shortest", SIDE, (SIDE, SIDE))

    @property
    def family(self) -> str:
        """What stands in the place of a model's class."""
        return NAME

    def image_features(self, images: Sequence[Pixels]) -> Vectors:
        """Mean-centred grey pixels, float32 (n, 784), unit rows."""
        from PIL import Image

        return vectors_of(
            (Image.fromarray(reduced(image, SIDE)).convert("L") for image in images), len(images)
        )
