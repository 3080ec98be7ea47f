"""Runtime of the open_clip layout, BiomedCLIP above all.

A folder of this layout holds open_clip_config.json, open_clip_model.safetensors and, where the text
tower is a transformers model, that one's configuration in ``text``. Where the configuration names a
tokenizer, its files are in the folder itself, as open_clip expects them, or in ``text``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ingest.encoders.download import in_one_line
from ingest.encoders.files.found import TOKENIZERS, EncoderFiles
from ingest.encoders.registry import OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, TEXT_TOWER
from ingest.encoders.runtimes.base import (
    Inputs,
    Runtime,
    check_complete,
    framed,
    quietly,
    text_positions,
)
from ingest.encoders.runtimes.weights import tensors
from ingest.images.pixels import reduced
from ingest.record import Pixels
from store import EncoderUnavailable

#: Longest text where the configuration does not say: open_clip's own default.
_CONTEXT = 77


class OpenClipRuntime(Runtime):
    """A model in the open_clip layout; EncoderUnavailable also where open_clip is not installed."""

    def __init__(self, files: EncoderFiles, device: str | None = None) -> None:
        try:
            import open_clip
            from open_clip.transform import PreprocessCfg, image_transform_v2
        except ImportError as error:
            raise EncoderUnavailable(
                f"encoder {files.name!r} is built by open_clip, which is not installed here; "
                "install it with: pip install 'cxr-retrieval[open-clip]'"
            ) from error
        super().__init__(files, device)
        try:
            config = json.loads(bytes(files.contents.read(OPEN_CLIP_CONFIG).bytes))
            self._text = config["model_cfg"]["text_cfg"]
            # From the bytes that were hashed, whatever became of the files since.
            with quietly(), files.contents.laid_out() as folder:
                text = folder / TEXT_TOWER
                model = _build(open_clip, files, copy.deepcopy(config["model_cfg"]), text)
            wanted = {**config.get("preprocess_cfg", {})}
            wanted.setdefault("size", config["model_cfg"]["vision_cfg"].get("image_size", 224))
            preprocess = PreprocessCfg(**wanted)
            self._transform = image_transform_v2(preprocess, is_train=False)
            self.framing = framed(preprocess.size, preprocess.resize_mode)
        except EncoderUnavailable:
            raise
        except Exception as error:  # open_clip, timm and transformers raise many kinds
            raise EncoderUnavailable(
                f"encoder {files.name!r}: {files.folder} does not load ({in_one_line(error)}); "
                "expected a complete open_clip model"
            ) from error
        self.model = model.to(self.device).eval()

    def prepare(self, images: Sequence[Pixels]) -> torch.Tensor:
        """Uint8 images as the model takes them, float32 (n, channels, height, width)."""
        from PIL import Image

        small = (reduced(image, self._files.side) for image in images)
        rgb = (np.stack([image] * 3, axis=-1) if image.ndim == 2 else image for image in small)
        pixels = torch.stack([self._transform(Image.fromarray(image)) for image in rgb])
        return pixels.to(self.device)

    def features(self, inputs: Inputs) -> torch.Tensor:
        """Raw features of prepared images, (n, dimension), in the model's own precision."""
        found: torch.Tensor = self.model.encode_image(inputs)
        return found

    def longest(self) -> int:
        """Tokens that the model reads at most, those that mark begin and end included."""
        context = int(self._text.get("context_length", _CONTEXT))
        tower = getattr(getattr(self.model, "text", None), "transformer", None)
        if "hf_model_name" not in self._text:
            return context
        return min(context, text_positions(tower) or context)

    def count_tokens(self, text: str) -> int:
        """Tokens of a whole text, those that mark begin and end included."""
        tokenizer = self.tokenizer()
        with self._tokenizing, quietly():
            if not hasattr(tokenizer, "tokenizer"):  # CLIP's own
                return len(tokenizer.encode(text)) + 2
            rows = tokenizer.tokenizer
            clean = tokenizer.clean_fn(text)
            if tokenizer.tokenizer_mode == "clips":
                return len(rows(clean, add_special_tokens=False).input_ids) + 3
            return len(rows(clean, truncation=False).input_ids)

    def _load_tokenizer(self) -> Any:
        from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

        given = {"context_length": self.longest(), **self._text.get("tokenizer_kwargs", {})}
        if not ({"hf_tokenizer_name", "hf_model_name"} & self._text.keys()):
            return SimpleTokenizer(**given)
        with quietly(), self._files.contents.laid_out() as folder:
            own = any((folder / name).is_file() for name in TOKENIZERS)
            return HFTokenizer(
                str(folder if own else folder / TEXT_TOWER),
                tokenizer_mode=self._text.get("tokenizer_mode"),
                local_files_only=True,
                trust_remote_code=False,
                **given,
            )

    def _tokens(self, texts: Sequence[str]) -> torch.Tensor:
        found: torch.Tensor = self._tokenizer(list(texts))
        return found.to(self.device)

    def _read(self, tokens: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.model.encode_text(tokens)
        return found


def _build(open_clip: Any, files: EncoderFiles, config: dict[str, Any], tower: Path) -> Any:
    """The model with every weight from the file: nothing is fetched, nothing is left untrained."""
    text, vision = config["text_cfg"], config["vision_cfg"]
    custom = config.pop("custom_text", False) or "hf_model_name" in text
    if "hf_model_name" in text:
        text["hf_model_name"] = str(tower)
        text["hf_model_pretrained"] = False
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    if custom and "multimodal_cfg" in config:
        model = open_clip.CoCa(**config)
    else:
        model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config)
    found = model.load_state_dict(
        tensors(files.contents.read(OPEN_CLIP_WEIGHTS).bytes), strict=False
    )
    absent = [key for key in found.missing_keys if not key.endswith("position_ids")]
    check_complete(files, absent, found.unexpected_keys)
    return model
