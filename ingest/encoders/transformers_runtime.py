"""Runtime of the transformers layout: a dual encoder, or an image tower alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import MODEL_MAPPING, AutoConfig, AutoImageProcessor, AutoTokenizer

from ingest.encoders.download import first_line
from ingest.encoders.locate import EncoderFiles
from ingest.encoders.runtime_base import Runtime, check_complete, framing_of, quietly
from ingest.encoders.weights import tensors
from ingest.images.pixels import reduced
from ingest.record import Pixels
from store import EncoderUnavailable

#: Named rather than left to chance: the two backends resize differently, so vectors would depend
#: on what happens to be installed.
_BACKEND = "torchvision"


class TransformersRuntime(Runtime):
    """A model in the transformers layout."""

    def __init__(self, files: EncoderFiles, device: str | None = None) -> None:
        super().__init__(files, device)
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
        check_complete(files, [*map(str, (*report["missing_keys"], *report["mismatched_keys"]))])
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
        _drop_idle_branches(model)
        # this layout of kernels makes convolutions on a CPU about a third faster
        self.model = model.to(self.device).to(memory_format=torch.channels_last).eval()
        self.framing = framing_of(self._processor)
        self._text_length = _text_length(model.config, self._tokenizer)

    def prepare(self, images: Sequence[Pixels]) -> torch.Tensor:
        """Uint8 images as the model takes them, float32 (n, channels, height, width)."""
        tensors = [torch.from_numpy(_rgb(reduced(image, self._files.side))) for image in images]
        inputs = self._processor(
            images=tensors, input_data_format="channels_first", return_tensors="pt"
        )
        pixels: torch.Tensor = inputs["pixel_values"].to(self.device)
        if pixels.ndim == 4:  # in the weights' own layout, or each convolution turns it round
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        return pixels

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Raw features of prepared images, (n, dimension), in the model's own precision."""
        if hasattr(self.model, "get_image_features"):
            return _tensor(self.model.get_image_features(pixel_values=pixels))
        return _tensor(self.model(pixel_values=pixels))

    def _tokens(self, texts: Sequence[str]) -> Any:
        assert self._tokenizer is not None
        rows = self._tokenizer(
            list(texts), truncation=True, return_tensors="pt", **self._text_length
        )
        return rows.to(self.device)

    def _read(self, tokens: Any) -> torch.Tensor:
        return _tensor(self.model.get_text_features(**tokens))


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
    """Padding and cutting of texts: to the longest, as far as the model has positions."""
    text_config = getattr(config, "text_config", None)
    if tokenizer is None or text_config is None:
        return {}
    positions = getattr(text_config, "max_position_embeddings", None) or tokenizer.model_max_length
    longest = min(positions, tokenizer.model_max_length)
    # SigLIP has no attention mask: it learned with every text padded to the full length
    padding = "max_length" if config.model_type.startswith("siglip") else True
    return {"padding": padding, "max_length": longest}
