"""Saves a dual encoder of our own as a standard transformers checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingest.encoders.quiet import quietly
from ingest.training.lexicon import save_lexicon
from ingest.training.model import new_processor


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
    state = {
        name: value if value.any() or not value.is_floating_point() else value.half()
        for name, value in model.eval().state_dict().items()
    }
    with quietly():
        model.save_pretrained(folder, state_dict=state)
        new_processor(tokenizer).save_pretrained(folder)
    save_lexicon(folder)
