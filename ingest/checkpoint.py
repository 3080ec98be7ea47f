"""Saves a dual encoder of our own as a standard transformers checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from ingest.blueprint import new_processor
from ingest.encoders.quiet import quietly
from ingest.lexicon import save_lexicon

WEIGHTS = "model.safetensors"


def save_checkpoint(folder: Path, model: Any, tokenizer: Any) -> None:
    """Write weights, configuration, processor, tokenizer and lexicon.

    Weights that are zero, as those of the stem's side branches are, take two bytes each instead of
    four. The configuration says float32, and so they are loaded; nothing is lost.

    Args:
        folder: made if it is not there.
        model: a VisionTextDualEncoderModel on the CPU.
        tokenizer: of its text tower.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with quietly():
        model.eval().save_pretrained(folder)
        new_processor(tokenizer).save_pretrained(folder)
    tensors = load_file(folder / WEIGHTS)
    small = {k: v if v.any() or not v.is_floating_point() else v.half() for k, v in tensors.items()}
    save_file(small, folder / WEIGHTS, metadata={"format": "pt"})
    save_lexicon(folder)
