"""Runtime of the open_clip layout, BiomedCLIP above all.

A folder of this layout holds open_clip_config.json, open_clip_model.safetensors and, where the text
tower is a transformers model, that one's configuration and vocabulary in ``text``. Texts are
tokenized here: open_clip's own wrapper calls what transformers 5 removed.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ingest.encoders.download import first_line
from ingest.encoders.locate import EncoderFiles
from ingest.encoders.registry import OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, TEXT_TOWER
from ingest.encoders.runtime_base import Runtime, check_complete, framed, quietly
from ingest.encoders.weights import tensors
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
            context = int(config["model_cfg"]["text_cfg"].get("context_length", _CONTEXT))
            # From the bytes that were hashed, whatever became of the files since.
            with quietly(), files.contents.laid_out() as folder:
                text = folder / TEXT_TOWER
                model = _build(open_clip, files, copy.deepcopy(config["model_cfg"]), text)
                self._tokenizer = _tokenizer(open_clip, text, context)
            wanted = {**config.get("preprocess_cfg", {})}
            wanted.setdefault("size", config["model_cfg"]["vision_cfg"].get("image_size", 224))
            preprocess = PreprocessCfg(**wanted)
            self._transform = image_transform_v2(preprocess, is_train=False)
            self.framing = framed(preprocess.size, preprocess.resize_mode)
        except EncoderUnavailable:
            raise
        except Exception as error:  # open_clip, timm and transformers raise many kinds
            raise EncoderUnavailable(
                f"encoder {files.name!r}: {files.folder} does not load ({first_line(error)}); "
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

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Raw features of prepared images, (n, dimension), in the model's own precision."""
        found: torch.Tensor = self.model.encode_image(pixels)
        return found

    def _tokens(self, texts: Sequence[str]) -> torch.Tensor:
        found: torch.Tensor = self._tokenizer([" ".join(text.split()) for text in texts])
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
    model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config)
    found = model.load_state_dict(
        tensors(files.contents.read(OPEN_CLIP_WEIGHTS).bytes), strict=False
    )
    # A table of positions 0, 1, 2 ... that older files carry, and newer ones do not.
    check_complete(files, [key for key in found.missing_keys if not key.endswith("position_ids")])
    return model


def _tokenizer(open_clip: Any, folder: Path, context: int) -> Any:
    if not folder.is_dir():
        return open_clip.SimpleTokenizer(context_length=context)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )

    def tokens(texts: list[str]) -> torch.Tensor:
        found: torch.Tensor = tokenizer(
            texts,
            max_length=context,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return found

    return tokens
