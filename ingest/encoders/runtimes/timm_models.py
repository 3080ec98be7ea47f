"""Runtime of timm's layout: an image tower alone, with config.json as timm's hub has it.

The vector is what timm gives before the classifier: ``forward_head(..., pre_logits=True)``, the
same as a model made with ``num_classes=0``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform

from ingest.encoders.download import in_one_line
from ingest.encoders.files.found import WEIGHTS, EncoderFiles
from ingest.encoders.runtimes.base import Inputs, Runtime, check_complete, framed
from ingest.encoders.runtimes.weights import tensors
from ingest.images.pixels import reduced
from ingest.record import Pixels
from store import EncoderUnavailable

#: Model type of transformers for a model of timm, and what it puts before the names of weights.
_WRAPPED, _INSIDE = "timm_wrapper", "timm_model."
#: timm's names of how an image is fitted to a square, and ours.
_MODES = {"center": "shortest", "border": "longest", "squash": "squash"}


def measured(folder: Path) -> tuple[int, int]:
    """Length of the vectors, and side of the images, by a folder's config.json, without weights.

    Raises:
        Exception: of many kinds, where timm cannot build it.
    """
    with torch.device("meta"), torch.inference_mode():
        model = _built(folder)
        data: dict[str, Any] = _images_of(model)
        found = _vectors(model, torch.empty(1, *data["input_size"]))
    return int(found.shape[1]), int(min(data["input_size"][1:]))


class TimmRuntime(Runtime):
    """A model in timm's layout."""

    def __init__(self, files: EncoderFiles, device: str | None = None) -> None:
        super().__init__(files, device)
        try:
            with files.contents.laid_out() as folder:
                model = _built(folder)
            state = {
                key.removeprefix(_INSIDE): value
                for key, value in tensors(files.contents.read(WEIGHTS).bytes).items()
            }
            found = model.load_state_dict(state, strict=False)
            data = _images_of(model)
            self._transform: Any = create_transform(**data, is_training=False)
        except Exception as error:  # timm raises many kinds, none shared
            raise EncoderUnavailable(
                f"encoder {files.name!r}: {files.folder} does not load ({in_one_line(error)}); "
                "expected the config.json and weights of one timm model"
            ) from error
        # Vectors are taken before the classifier: a tower saved without one lacks nothing.
        heads = tuple(f"{one}." for one in _classifiers(model))
        absent = [key for key in found.missing_keys if not key.startswith(heads)]
        check_complete(files, absent, found.unexpected_keys)
        self._grey = data["input_size"][0] == 1
        side = tuple(data["input_size"][1:])
        self.framing = framed(side, _MODES.get(data["crop_mode"], "shortest"))
        self.model = model.to(self.device)

    def prepare(self, images: Sequence[Pixels]) -> torch.Tensor:
        """Uint8 images as the model takes them, float32 (n, channels, height, width)."""
        from PIL import Image

        small = (reduced(image, self._files.side) for image in images)
        rgb = (np.stack([image] * 3, axis=-1) if image.ndim == 2 else image for image in small)
        pictures = (Image.fromarray(image) for image in rgb)
        if self._grey:
            pictures = (picture.convert("L") for picture in pictures)
        return torch.stack([self._transform(picture) for picture in pictures]).to(self.device)

    def features(self, inputs: Inputs) -> torch.Tensor:
        """Raw features of prepared images, (n, dimension), in the model's own precision."""
        return _vectors(self.model, inputs)


def _built(folder: Path) -> Any:
    """The model by a folder's config.json, with its classifier and without its weights."""
    # Weights are loaded here: timm copies those that it is given, each with the whole file.
    config = json.loads((folder / "config.json").read_bytes())
    if config.get("model_type") == _WRAPPED:
        return timm.create_model(
            config["architecture"],
            pretrained=False,
            pretrained_cfg=config.get("pretrained_cfg"),
            num_classes=config.get("num_classes"),
            **(config.get("model_args") or {}),
        ).eval()
    return timm.create_model(f"local-dir:{folder}", pretrained=False).eval()


def _vectors(model: Any, pixels: Any) -> torch.Tensor:
    found: torch.Tensor = model.forward_head(model.forward_features(pixels), pre_logits=True)
    return found


def _classifiers(model: Any) -> list[str]:
    """Names of a model's classifiers, of which some have two."""
    named = model.pretrained_cfg.get("classifier") or ()
    return [named] if isinstance(named, str) else list(named)


def _images_of(model: Any) -> dict[str, Any]:
    """What of an image the model takes: size, mean, cropping."""
    found: dict[str, Any] = resolve_model_data_config(model)
    return found
