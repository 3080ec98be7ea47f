"""A loaded dual encoder: the only place that touches torch and transformers to encode."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import MODEL_MAPPING, AutoConfig, AutoImageProcessor, AutoTokenizer

from ingest.encoders.download import first_line
from ingest.encoders.locate import EncoderFiles
from ingest.encoders.runtime_base import Framing, cast, framing_of, quietly
from ingest.encoders.weights import tensors
from ingest.images.pixels import reduced
from ingest.record import Pixels
from store import EncoderUnavailable, Vectors

#: Named rather than left to chance: the two backends resize differently, so vectors would depend
#: on what happens to be installed.
_BACKEND = "torchvision"


class Runtime:
    """Model, image processor and tokenizer on one device, in inference mode.

    Raises:
        EncoderUnavailable: the files do not load completely, or the device is not there.
    """

    def __init__(self, files: EncoderFiles, device: str | None = None) -> None:
        self._name = files.name
        self._dimension = files.dimension
        self._side = files.side
        self._tokenizing = threading.Lock()
        self.device = pick_device(device)
        self._precision = files.precision
        cast(self._precision, self.device)
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        with quietly():
            try:
                # From the bytes that were hashed, whatever became of the files since.
                with files.contents.laid_out() as folder:
                    config = AutoConfig.from_pretrained(folder, **local)
                    self._processor = AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
                        folder, backend=_BACKEND, **local
                    )
                    self._tokenizer = (
                        AutoTokenizer.from_pretrained(folder, **local)
                        if files.supports_text
                        else None
                    )
                model, report = _model_class(config).from_pretrained(
                    None,
                    config=config,
                    state_dict=_state(files),
                    dtype=torch.float32,
                    output_loading_info=True,
                    **local,
                )
            except Exception as error:  # transformers raises many kinds, none shared
                raise EncoderUnavailable(
                    f"encoder {files.name!r}: {files.folder} does not load "
                    f"({first_line(error)}); expected a complete transformers image-text model"
                ) from error
        self._check(files, model, report)
        _drop_idle_branches(model)
        # this layout of kernels makes convolutions on a CPU about a third faster
        self._model = model.to(self.device).to(memory_format=torch.channels_last).eval()
        self._text_length = _text_length(model.config, self._tokenizer)

    @property
    def model(self) -> Any:
        """The model itself, in inference mode; shared by threads, so never changed."""
        return self._model

    @property
    def framing(self) -> Framing:
        """What part of an image the model sees."""
        return framing_of(self._processor)

    def prepare(self, images: Sequence[Pixels]) -> torch.Tensor:
        """Uint8 images as the model takes them, float32 (n, channels, height, width)."""
        tensors = [torch.from_numpy(_rgb(reduced(image, self._side))) for image in images]
        inputs = self._processor(
            images=tensors, input_data_format="channels_first", return_tensors="pt"
        )
        pixels: torch.Tensor = inputs["pixel_values"].to(self.device)
        if pixels.ndim == 4:  # in the weights' own layout, or each convolution turns it round
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        return pixels

    def image_features(self, images: Sequence[Pixels]) -> Vectors:
        """Raw features of uint8 images, float32 (n, dimension), not normalised."""
        pixels = self.prepare(images)
        with torch.inference_mode(), cast(self._precision, self.device):
            return self._array(self.features(pixels))

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Raw features of prepared images, (n, dimension), in the model's own precision."""
        if hasattr(self._model, "get_image_features"):
            found = self._model.get_image_features(pixel_values=pixels)
        else:
            found = self._model(pixel_values=pixels)
        return _tensor(found)

    def text_features(self, texts: Sequence[str]) -> Vectors:
        """Raw features of texts, float32 (n, dimension), not normalised."""
        assert self._tokenizer is not None
        with self._tokenizing:  # the fast tokenizers keep padding and truncation as shared state
            inputs = self._tokenizer(
                list(texts), truncation=True, return_tensors="pt", **self._text_length
            )
        with torch.inference_mode(), cast(self._precision, self.device):
            features = self._model.get_text_features(**inputs.to(self.device))
        return self._array(_tensor(features))

    def _array(self, features: torch.Tensor) -> Vectors:
        return to_vectors(features, self._dimension, self._name)

    def _check(self, files: EncoderFiles, model: Any, report: dict[str, Any]) -> None:
        absent = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
        if absent:
            raise EncoderUnavailable(
                f"encoder {files.name!r}: the weights in {files.folder} lack {len(absent)} of the "
                f"model's parameters (e.g. {absent[0]}); untrained weights are never used: fetch "
                "or train it again"
            )
        if getattr(self._processor, "backend", _BACKEND) != _BACKEND:
            raise EncoderUnavailable(
                f"encoder {files.name!r}: its image processor has no {_BACKEND} backend here, and "
                "another would give other vectors; install torchvision"
            )
        if files.supports_text and not hasattr(model, "get_text_features"):
            raise EncoderUnavailable(
                f"encoder {files.name!r}: {type(model).__name__} has no get_text_features; "
                "expected a dual encoder such as CLIPModel"
            )


def _model_class(config: Any) -> Any:
    """The library's own class for a configuration; never code that came with the weights."""
    found = MODEL_MAPPING[type(config)]
    return found[0] if isinstance(found, tuple | list) else found


def _state(files: EncoderFiles) -> dict[str, torch.Tensor]:
    """Every tensor of the weights, of one file or of several."""
    found: dict[str, torch.Tensor] = {}
    for name, content in files.contents.files.items():
        if name.endswith(".safetensors"):
            found.update(tensors(content.bytes))
    return found


def to_vectors(features: torch.Tensor, dimension: int, name: str) -> Vectors:
    """Features as float32 (n, dimension); EncoderUnavailable when the model gives another shape."""
    array: Vectors = features.float().cpu().numpy()
    if array.ndim != 2 or array.shape[1] != dimension:
        raise EncoderUnavailable(
            f"encoder {name!r} gave vectors of shape {array.shape[1:]} where its "
            f"configuration declares ({dimension},); it is not a supported model"
        )
    return array


def pick_device(wanted: str | None = None) -> torch.device:
    """The device asked for, else cuda, else mps, else cpu.

    Raises:
        EncoderUnavailable: torch does not know or does not see the device.
    """
    if wanted is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EncoderUnavailable(
            f"device {wanted!r} cannot be used here; choose cpu, or install a torch build for it"
        ) from error
    return device


def _tensor(found: Any) -> torch.Tensor:
    """The tensor itself: transformers 5 returns an output object around it, 4 did not."""
    tensor: torch.Tensor = found if isinstance(found, torch.Tensor) else found.pooler_output
    return tensor


def _drop_idle_branches(model: torch.nn.Module) -> None:
    """Take out TextNet's side convolutions that add exactly zero: the same vectors, sooner."""
    for layer in model.modules():
        for side in ("vertical", "horizontal"):
            convolution = getattr(layer, f"{side}_conv", None)
            norm = getattr(layer, f"{side}_batch_norm", None)
            if convolution is None or norm is None or convolution.bias is not None:
                continue
            if not (convolution.weight.any() or norm.bias.any() or norm.running_mean.any()):
                setattr(layer, f"{side}_conv", None)
                setattr(layer, f"{side}_batch_norm", None)


def _rgb(image: Pixels) -> Pixels:
    """(3, height, width): grey is three equal channels."""
    if image.ndim == 2:
        return np.repeat(image[None], 3, axis=0)
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _text_length(config: Any, tokenizer: Any) -> dict[str, Any]:
    """How the tokenizer pads and cuts: to the longest text, as far as the model has positions."""
    text_config = getattr(config, "text_config", None)
    if tokenizer is None or text_config is None:
        return {}
    positions = getattr(text_config, "max_position_embeddings", None) or tokenizer.model_max_length
    longest = min(positions, tokenizer.model_max_length)
    # SigLIP has no attention mask: it learned with every text padded to the full length
    padding = "max_length" if config.model_type.startswith("siglip") else True
    return {"padding": padding, "max_length": longest}
