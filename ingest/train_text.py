"""Teach the text tower of a checkpoint anew; its image tower, and so every film's vector, stays."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ingest.blueprint import DIMENSION, give_text_tower
from ingest.checkpoint import save_checkpoint
from ingest.curve import save_curve
from ingest.encoders.quiet import quietly
from ingest.encoders.runtime import pick_device
from ingest.learn import Pupil, Recipe
from ingest.learn_text import caption_tokenizer, learn_texts
from ingest.record import ImageFile, ImageRecord, Rejection
from ingest.train import Progress, labelled_films
from store.errors import UsageError


@dataclass(frozen=True, slots=True)
class TextReport:
    """What teaching the text tower made.

    Attributes:
        folder: a checkpoint that ``load_encoder`` takes.
        loss: mean of the last steps.
        seconds: spent learning.
    """

    folder: Path
    loss: float
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
        records: as for ``train``; only split ``train`` teaches.
        out: folder for the new checkpoint; may be the same one.
        seed: of everything drawn at random.
        recipe: ``text_steps``, ``text_batch`` and ``text_rate`` count.
        device: e.g. ``cpu`` or ``cuda``; default: the best there is.
        progress: called now and then.

    Raises:
        UsageError: the folder holds no checkpoint that ``train`` made.
        BadSource: records that ``train`` would refuse.
    """
    recipe, folder, where = recipe or Recipe(), Path(out), pick_device(device)
    summary, model = _checkpoint(Path(checkpoint))
    films, _ = labelled_films(records, where)
    start = time.monotonic()
    curve: list[dict[str, Any]] = []
    tokenizer = caption_tokenizer(seed)
    give_text_tower(model, len(tokenizer), seed)
    pupil = Pupil(model).to(where)

    def report(done: int, loss: float) -> None:
        curve.append({"stage": "text", "step": done, "loss": loss})
        if progress is not None:
            progress(Progress("text", done, recipe.text_steps, loss))

    tokenizer = learn_texts(pupil, films, tokenizer, recipe, seed + 1, report)
    seconds = time.monotonic() - start
    save_checkpoint(folder, pupil.model.cpu(), tokenizer)
    images = [entry for entry in summary["curve"] if entry["stage"] != "text"]
    text = {"seed": seed, "recipe": asdict(recipe), "seconds": round(seconds, 1)}
    save_curve(folder, {**summary, "text": text, "curve": [*images, *curve]})
    return TextReport(folder, curve[-1]["loss"], seconds)


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
