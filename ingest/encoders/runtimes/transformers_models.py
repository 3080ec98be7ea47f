"""Runtime of the transformers layout: a dual encoder, or an image tower alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from ingest.encoders.download import in_one_line
from ingest.encoders.files.found import EncoderFiles
from ingest.encoders.runtimes.base import (
    Inputs,
    Runtime,
    check_complete,
    framing_of,
    quietly,
    text_positions,
)
from ingest.encoders.runtimes.image_towers import class_of, pooled, taken, vectors, without_pooler
from ingest.encoders.runtimes.weights import tensors
from ingest.images.pixels import reduced
from ingest.record import Pixels
from store import EncoderUnavailable

#: Named rather than left to chance: the two backends resize differently, so vectors would depend
#: on what happens to be installed.
_BACKEND = "torchvision"
_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
#: What an image processor gives beside pixels where a model takes images of any shape (NaFlex).
_PATCHED = ("pixel_attention_mask", "spatial_shapes")


class TransformersRuntime(Runtime):
    """A model in the transformers layout."""

    def __init__(self, files: EncoderFiles, device: str | None = None) -> None:
        super().__init__(files, device)
        with quietly():
            try:
                # From the bytes that were hashed, whatever became of the files since.
                with files.contents.laid_out() as folder:
                    config = AutoConfig.from_pretrained(folder, **_LOCAL)
                    self._processor = AutoImageProcessor.from_pretrained(
                        folder, backend=_BACKEND, **_LOCAL
                    )
                model, report = class_of(config).from_pretrained(
                    None,
                    config=config,
                    state_dict=_state(files),
                    dtype=torch.float32,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # they are refused below, by their names
                    **_LOCAL,
                )
            except Exception as error:  # transformers raises many kinds, none shared
                raise EncoderUnavailable(
                    f"encoder {files.name!r}: {files.folder} does not load "
                    f"({in_one_line(error)}); expected a complete transformers model of images"
                ) from error
        absent, unknown = (set(report[f"{kind}_keys"]) for kind in ("missing", "unexpected"))
        self.model = model
        if not files.supports_text:
            absent = without_pooler(model, absent)
        check_complete(files, sorted(absent), sorted(unknown), sorted(report["mismatched_keys"]))
        if getattr(self._processor, "backend", _BACKEND) != _BACKEND:
            raise EncoderUnavailable(
                f"encoder {files.name!r}: its image processor has no {_BACKEND} backend here, and "
                "another would give other vectors; install torchvision"
            )
        if hasattr(model, "get_video_features") and not hasattr(model, "get_image_features"):
            raise EncoderUnavailable(
                f"encoder {files.name!r}: {type(model).__name__} is a model of videos; expected "
                "one of single images"
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

    def prepare(self, images: Sequence[Pixels]) -> Inputs:
        """Uint8 images as the model takes them."""
        tensors = [torch.from_numpy(_rgb(reduced(image, self._files.side))) for image in images]
        found = self._processor(
            images=tensors, input_data_format="channels_first", return_tensors="pt"
        )
        pixels: torch.Tensor = found["pixel_values"].to(self.device)
        others = {name: value for name, value in found.items() if name in _PATCHED}
        if others:
            moved = {name: value.to(self.device) for name, value in others.items()}
            return {"pixel_values": pixels, **moved}
        if pixels.ndim == 4:  # in the weights' own layout, or each convolution turns it round
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        return pixels

    def features(self, inputs: Inputs) -> torch.Tensor:
        """Raw features of prepared images, (n, dimension), in the model's own precision."""
        named = {"pixel_values": inputs} if isinstance(inputs, torch.Tensor) else inputs
        if hasattr(self.model, "get_image_features"):
            found = self.model.get_image_features(**named)
            return pooled(found, self.model.config.model_type)
        return vectors(self.model, named)

    def _load_tokenizer(self) -> Any:
        with quietly(), self._files.contents.laid_out() as folder:
            try:
                return AutoTokenizer.from_pretrained(folder, **_LOCAL)
            except ValueError:
                # SigLIP's own class reads spiece.model only; the other file holds as much.
                if not (folder / "tokenizer.json").is_file() or (folder / "spiece.model").is_file():
                    raise
                return PreTrainedTokenizerFast.from_pretrained(folder, **_LOCAL)

    def longest(self) -> int:
        """Tokens that the model reads at most, those that mark begin and end included."""
        return int(self._text_length()["max_length"])

    def count_tokens(self, text: str) -> int:
        """Tokens of a whole text, those that mark begin and end included."""
        with self._tokenizing, quietly():
            return len(self.tokenizer()(text, truncation=False).input_ids)

    def _tokens(self, texts: Sequence[str]) -> Any:
        rows = self.tokenizer()(
            list(texts), truncation=True, return_tensors="pt", **self._text_length()
        )
        return rows.to(self.device)

    def _text_length(self) -> dict[str, Any]:
        """Padding and cutting of texts: to the longest, as far as the model has positions."""
        tokenizer, config = self.tokenizer(), self.model.config
        positions = text_positions(self.model) or tokenizer.model_max_length
        # SigLIP has no attention mask: it learned with every text padded to the full length
        padding = "max_length" if config.model_type.startswith("siglip") else True
        return {"padding": padding, "max_length": min(positions, tokenizer.model_max_length)}

    def _read(self, tokens: Any) -> torch.Tensor:
        read = self.model.get_text_features
        return pooled(read(**taken(read, tokens)), self.model.config.model_type)


def _state(files: EncoderFiles) -> dict[str, torch.Tensor]:
    """Every tensor of the weights, of one file or of several."""
    found: dict[str, torch.Tensor] = {}
    for name, content in files.contents.files.items():
        if name.endswith(".safetensors"):
            found.update(tensors(content.bytes))
    return found


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
