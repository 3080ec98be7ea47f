"""Teach the text tower of a checkpoint anew; its image tower, and so every film's vector, stays."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ingest.encoders.quiet import quietly
from ingest.encoders.transformers_runtime import pick_device
from ingest.record import ImageFile, ImageRecord, Rejection
from ingest.training.checkpoint import save_checkpoint
from ingest.training.curve import save_curve
from ingest.training.image_tower import Pupil, Recipe
from ingest.training.model import DIMENSION
from ingest.training.text_tower import learn_texts
from ingest.training.train import Progress, labelled_films, text_entry, text_report
from store.errors import UsageError


@dataclass(frozen=True, slots=True)
class TextReport:
    """What teaching the text tower made.

    Attributes:
        folder: a checkpoint that ``load_encoder`` takes.
        sentences: figures of ``ingest.training.sentences`` on the validation films.
        seconds: spent learning.
    """

    folder: Path
    sentences: dict[str, float]
    seconds: float


def train_texts(
    checkpoint: str | Path,
    records: Iterable[ImageRecord | ImageFile | Rejection],
    out: str | Path,
    *,
    seed: int = 0,
    recipe: Recipe | None = None,
    device: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> TextReport:
    """Give a checkpoint that ``train`` made a new text tower and tokenizer.

    With the seed and recipe that made the checkpoint it does what ``train`` does once its images
    lie still. Image vectors stay the same to the last bit.

    Args:
        checkpoint: folder of a checkpoint; only read.
        records: as for ``train``: split ``train`` teaches, split ``val`` chooses.
        out: folder for the new checkpoint; may be the same one.
        seed: of everything drawn at random.
        recipe: what begins with ``text_``, and ``weight_decay``, counts.
        device: e.g. ``cpu`` or ``cuda``; default: the best there is.
        progress: called now and then.

    Raises:
        UsageError: the folder holds no checkpoint that ``train`` made.
        BadSource: records that ``train`` would refuse.
    """
    recipe, folder, where = recipe or Recipe(), Path(out), pick_device(device)
    summary, model = _checkpoint(Path(checkpoint))
    films, validation = labelled_films(records, where)
    start = time.monotonic()
    curve: list[dict[str, Any]] = []
    with torch.random.fork_rng(devices=[]):
        pupil = Pupil(model).to(where)
    say = text_report(recipe, curve, progress or (lambda _: None))
    tokenizer, kept = learn_texts(pupil, films, validation, recipe, seed, say)
    seconds = time.monotonic() - start
    save_checkpoint(folder, pupil.model.cpu(), tokenizer)
    images = [entry for entry in summary["curve"] if entry["stage"] != "text"]
    text = {"seed": seed, "recipe": asdict(recipe), "seconds": round(seconds, 1)}
    found = {"kept_text": text_entry(kept), "text": text, "curve": [*images, *curve]}
    save_curve(folder, {**summary, **found})
    assert kept.validation is not None
    return TextReport(folder, kept.validation, seconds)


def _checkpoint(place: Path) -> tuple[dict[str, Any], Any]:
    """Training summary and model of a checkpoint that ``train`` made."""
    from transformers import VisionTextDualEncoderModel

    try:
        summary = json.loads((place / "training.json").read_text("utf-8"))
        with quietly():
            model = VisionTextDualEncoderModel.from_pretrained(place, local_files_only=True)
        if model.config.projection_dim != DIMENSION or "curve" not in summary:
            raise ValueError("another kind of checkpoint")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{place} holds no checkpoint that cxr train made ({error}); "
            "pass the folder of one, with its training.json"
        ) from error
    return summary, model
