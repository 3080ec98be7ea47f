"""Training runs of the bundled encoder: learnt from the training split, chosen by validation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ingest.encoders.locate import KEY, as_entries
from ingest.encoders.runtimes.base import pick_device, quietly
from ingest.record import ImageFile, ImageRecord, Item, Rejection, RemoteImage
from ingest.training.augment import Augmentation, augment
from ingest.training.captions import SUBJECTS
from ingest.training.checkpoint import Snapshot, save_checkpoint, save_curve
from ingest.training.image_tower import (
    Average,
    Films,
    Pupil,
    Recipe,
    descend,
    image_loss,
    look,
    new_optimizer,
    rate_at,
)
from ingest.training.model import DIMENSION, SIDE, completed, new_model, slim
from ingest.training.text_tower import TextProgress, learn_texts
from ingest.training.whitening import whitened
from store import BadSource, UsageError, expanded

#: Sources, as ``open_source`` takes them, that hold such films.
SOURCES = ("medmnist:pneumoniamnist", "synthetic")
TAKES = (
    "cxr train makes the bundled encoder again and takes the films of medmnist:pneumoniamnist "
    "alone (grey, 28 x 28, labelled normal or pneumonia, with the splits train and val); to teach "
    "an encoder with other films: cxr adapt"
)
#: Changes of the validation films that make a second, harder set: other machines, other hands.
_SHIFTED = Augmentation(flip=0.0, erase=0.0, spare=0.0)


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Progress of a training run.

    Attributes:
        stage: ``images`` or ``text``.
        done, total: epochs, or steps of all text towers.
        loss: mean of what was done since the last report.
        validation: figures on the validation split, when it was just looked at.
    """

    stage: str
    done: int
    total: int
    loss: float
    validation: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class TrainReport:
    """Result of a training run.

    Attributes:
        folder: a checkpoint that ``load_encoder`` takes.
        epoch: the one that was kept, chosen on the validation split.
        validation: its figures there.
        sentences: figures of ``ingest.training.sentences`` there, by the text tower that was kept.
        seconds: spent learning, interrupted runs included.
    """

    folder: Path
    epoch: int
    validation: dict[str, float]
    sentences: dict[str, float]
    seconds: float


@dataclass(frozen=True, slots=True)
class TextReport:
    """Result of training the text tower.

    Attributes:
        folder: a checkpoint that ``load_encoder`` takes.
        sentences: figures of ``ingest.training.sentences`` on the validation films.
        seconds: spent learning.
    """

    folder: Path
    sentences: dict[str, float]
    seconds: float


def train(
    records: Iterable[Item],
    out: str | Path,
    *,
    seed: int = 0,
    recipe: Recipe | None = None,
    device: str | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
) -> TrainReport:
    """Train a dual encoder and save it as a standard transformers checkpoint.

    A run that is interrupted goes on from its last epoch when called again with the same records,
    settings and folder, and ends where it would have ended.

    Args:
        records: 28 x 28 images labelled ``normal`` or ``pneumonia``; split ``train`` is learnt
            from, split ``val`` chooses, every other split is ignored.
        out: folder for the checkpoint, its training curve and, meanwhile, the saved state.
        seed: of everything drawn at random.
        recipe: settings; the defaults make the bundled checkpoint.
        device: e.g. ``cpu`` or ``cuda``; default: the best there is.
        progress: called after each epoch.

    Raises:
        BadSource: records without both splits and both labels, or of another size.
        UsageError: the folder holds the state of a run with other settings.
    """
    recipe, folder, where = recipe or Recipe(), expanded(out), pick_device(device)
    learnt: list[tuple[str, str]] = []
    films = labelled_films(_noting(records, learnt), where)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pupil = Pupil(slim(new_model(None))).to(where)
        pupil.to(memory_format=torch.channels_last)
    run = _Run(pupil, recipe, seed, films, progress or (lambda _: None))
    settings = {"seed": seed, "recipe": asdict(recipe), "films": _digest(*films)}
    run.learn_images(folder, _of_images(settings))
    tokenizer, kept = run.learn_texts()
    save_checkpoint(folder, completed(pupil.model.cpu()), tokenizer)
    report = TrainReport(
        folder, run.best["epoch"], run.best["validation"], kept["validation"], run.seconds
    )
    save_curve(
        folder,
        {
            KEY: as_entries(learnt),
            "settings": settings,
            "kept_epoch": report.epoch,
            "validation": report.validation,
            "kept_text": kept,
            "seconds": round(report.seconds, 1),
            "curve": run.curve,
        },
    )
    Snapshot.forget(folder)
    return report


def train_texts(
    checkpoint: str | Path,
    records: Iterable[Item],
    out: str | Path,
    *,
    seed: int = 0,
    recipe: Recipe | None = None,
    device: str | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
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
        device: as for ``train``.
        progress: called now and then.

    Raises:
        UsageError: the folder holds no checkpoint that ``train`` made.
        BadSource: records that ``train`` would refuse.
    """
    recipe, folder, where = recipe or Recipe(), expanded(out), pick_device(device)
    summary, model = _checkpoint(expanded(checkpoint))
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


class _Run:
    """One training run: what changes from step to step."""

    def __init__(
        self,
        pupil: Pupil,
        recipe: Recipe,
        seed: int,
        films: tuple[Films, Films],
        progress: Callable[[TrainingProgress], None],
    ) -> None:
        self.pupil, self.recipe, self.seed, self.progress = pupil, recipe, seed, progress
        self.gallery, self.validation = films
        where = self.gallery.labels.device
        self.average = Average(pupil, recipe.averaging)
        self.generator = torch.Generator(device=where).manual_seed(seed)
        steady = torch.Generator(device=where).manual_seed(0)
        images = augment(self.validation.images, _SHIFTED, steady)
        self.shifted = Films(images, self.validation.labels)
        self.curve: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {"epoch": 0, "score": -1.0, "validation": {}}
        self.best_weights: dict[str, torch.Tensor] = {}
        self.seconds = 0.0

    def learn_images(self, folder: Path, settings: dict[str, Any]) -> None:
        """The image tower: many epochs, each saved; keeps the averaged weights of the best."""
        recipe, pupil = self.recipe, self.pupil
        towers = (pupil.model.vision_model, pupil.model.visual_projection, pupil.instance)
        parameters = [p for tower in towers for p in tower.parameters()]
        optimizer = new_optimizer([*parameters, pupil.prototypes, pupil.scale], recipe)
        per_epoch = -(-len(self.gallery.labels) // recipe.batch)
        snapshot = Snapshot(folder, settings, pupil, self.average.module, optimizer, self.generator)
        first = self._resume(snapshot)
        for epoch in range(first, recipe.epochs):
            start = time.monotonic()
            pupil.train()
            losses = []
            for step in range(epoch * per_epoch, (epoch + 1) * per_epoch):
                loss = image_loss(pupil, self.gallery, recipe, Augmentation(), self.generator)
                share = rate_at(step, recipe.epochs * per_epoch)
                losses.append(descend(loss, optimizer, recipe.learning_rate, share))
                self.average.follow(pupil, step)
            report = self._conclude(epoch + 1, float(np.mean(losses)))
            self.seconds += time.monotonic() - start
            snapshot.save(epoch + 1, self._notes(), self.best_weights)
            self.progress(report)
        pupil.load_state_dict(self.best_weights)

    def learn_texts(self) -> tuple[Any, dict[str, Any]]:
        """The text tower: captions find their place among the films' vectors, which stay.

        Returns:
            The tokenizer that the tower ends with, and the entry of the curve at which it was kept.
        """
        start = time.monotonic()
        say = text_report(self.recipe, self.curve, self.progress)
        found = learn_texts(self.pupil, self.gallery, self.validation, self.recipe, self.seed, say)
        self.seconds += time.monotonic() - start
        return found[0], text_entry(found[1])

    def _conclude(self, epoch: int, loss: float) -> TrainingProgress:
        """Look at the validation films when it is time to, and keep what does best there."""
        found = None
        if epoch % self.recipe.look_every == 0 or epoch == self.recipe.epochs:
            recipe, average = self.recipe, self.average.module
            kept = whitened(average, self.gallery, recipe.whitening, recipe.origin)
            queries = {"val": self.validation, "shifted_val": self.shifted}
            found = look(kept, self.gallery, queries)
            score = sum(found.values()) / len(found)
            if score >= self.best["score"]:
                self.best = {"epoch": epoch, "score": score, "validation": found}
                self.best_weights = {k: v.clone() for k, v in kept.state_dict().items()}
        self.curve.append({"stage": "images", "epoch": epoch, "loss": loss, "validation": found})
        return TrainingProgress("images", epoch, self.recipe.epochs, loss, found)

    def _notes(self) -> dict[str, Any]:
        return {"curve": self.curve, "best": self.best, "seconds": self.seconds}

    def _resume(self, snapshot: Snapshot) -> int:
        found = snapshot.load()
        if found is None:
            return 0
        epoch, notes, self.best_weights = found
        self.curve, self.best, self.seconds = notes["curve"], notes["best"], notes["seconds"]
        return epoch


def text_entry(now: TextProgress) -> dict[str, Any]:
    """An entry of a curve."""
    return {"stage": "text", **asdict(now)}


def text_report(
    recipe: Recipe, curve: list[dict[str, Any]], progress: Callable[[TrainingProgress], None]
) -> Callable[[TextProgress], None]:
    """A callback for ``learn_texts`` that adds to a curve and reports progress."""

    def report(now: TextProgress) -> None:
        curve.append(text_entry(now))
        steps = recipe.text_steps
        done, total = (now.tower - 1) * steps + now.step, recipe.text_tries * steps
        progress(TrainingProgress("text", done, total, now.loss, now.validation))

    return report


def refused(what: str) -> BadSource:
    """The refusal of other films.

    Args:
        what: they are, a clause.
    """
    return BadSource(f"{what}: {TAKES}")


def check_source(spec: str) -> None:
    """Refuse a source of other films by its name, before anything is downloaded or read.

    Raises:
        BadSource: with what is taken instead.
    """
    if spec not in SOURCES:
        raise refused(f"--source {spec}")


def labelled_films(records: Iterable[Item], where: torch.device) -> tuple[Films, Films]:
    """Films to train on and to validate with; those also trained on are left out of the second."""
    splits: dict[str, dict[bytes, list[ImageRecord]]] = {"train": {}, "val": {}}
    for record in records:
        if isinstance(record, ImageFile | RemoteImage):
            raise refused(f"{record.source} is a file")
        if isinstance(record, Rejection) or record.split not in splits:
            continue
        if record.pixels.shape != (SIDE, SIDE) or record.labels not in {(s,) for s in SUBJECTS}:
            raise refused(
                f"{record.id} has {record.pixels.shape} pixels and labels {record.labels}"
            )
        splits[record.split].setdefault(record.sha256, []).append(record)
    seen = splits["train"].keys()
    val = {digest: found for digest, found in splits["val"].items() if digest not in seen}
    return _tensors("train", splits["train"], where), _tensors("val", val, where)


def _noting(records: Iterable[Any], learnt: list[tuple[str, str]]) -> Iterable[Any]:
    """The same records, while noting the data sets whose training split passes by."""
    for record in records:
        if isinstance(record, ImageRecord) and record.split == "train" and record.dataset:
            entry = (record.dataset, "train")
            if entry not in learnt:
                learnt.append(entry)
        yield record


def _tensors(split: str, records: dict[bytes, list[ImageRecord]], where: torch.device) -> Films:
    ordered = [record for group in records.values() for record in group]
    labels = [SUBJECTS.index(record.labels[0]) for record in ordered]
    if set(labels) != set(range(len(SUBJECTS))):
        raise refused(
            f"the {split} split has {len(ordered)} films of {len(set(labels))} kinds, and training "
            f"needs both {' and '.join(SUBJECTS)}"
        )
    pixels = np.stack([record.pixels for record in ordered])
    images = torch.from_numpy(pixels).to(where).float()[:, None] / 255
    return Films(images, torch.tensor(labels, device=where))


def _of_images(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that a saved state depends on: it holds the image tower alone."""
    recipe = {k: v for k, v in settings["recipe"].items() if not k.startswith("text_")}
    return {**settings, "recipe": recipe}


def _digest(*films: Films) -> list[list[float]]:
    """Checksums of the films, to notice that a saved run was made from another set."""
    return [[len(f.labels), float(f.labels.sum()), float(f.images.double().sum())] for f in films]
