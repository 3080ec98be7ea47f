"""Training of the image tower: recipe, batches, losses, optimizer steps. Knows no files."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from ingest.training.augment import Augmentation, augment
from ingest.training.captions import SUBJECTS
from ingest.training.model import DEVIATION, DIMENSION, MEAN


@dataclass(frozen=True)
class Recipe:
    """The settings of a training run; the defaults make the bundled checkpoint.

    Attributes:
        epochs: passes over the training split by the image tower.
        batch: images in a step, half of each class; each is seen in two random views.
        learning_rate, weight_decay: of AdamW, warmed up over 5 % of the steps, then a cosine to 0.
        temperature: of the supervised contrastive loss.
        instance: weight of the loss that tells one film from all others.
        instance_temperature: its temperature.
        averaging: decay of the exponential moving average of the weights, which is what is kept.
        whitening: how far the image vectors that are kept are whitened within classes, from 0 to
            1; see ``ingest.training.whitening``.
        origin: where the origin of the image vectors lies, from 0, at the mean normal film, to 1,
            at the mean film with pneumonia.
        look_every: epochs between looks at the validation split.
        text_steps, text_batch: captions that the text tower learns from, once the images lie still.
        text_rate: its learning rate, steady after a rise over 5 % of the steps.
        text_averaging: decay of the average of its weights, over most of the run: sentences of
            others are read better by it than after a cosine to 0 (Izmailov et al. 2018).
        text_tries: text towers that are taught, from other draws; one of them is kept.
        text_look_every: steps between looks at the sentences that choose it.
    """

    epochs: int = 60
    batch: int = 256
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    temperature: float = 0.1
    instance: float = 0.5
    instance_temperature: float = 0.2
    averaging: float = 0.998
    whitening: float = 0.7
    origin: float = 0.7
    look_every: int = 5
    text_steps: int = 4400
    text_batch: int = 128
    text_rate: float = 6e-4
    text_averaging: float = 0.9993
    text_tries: int = 3
    text_look_every: int = 400


@dataclass
class Films:
    """Images and labels of one split, on the training device.

    Attributes:
        images: float32 (n, 1, side, side) in [0, 1].
        labels: int64 (n,), indices into ``SUBJECTS``.
    """

    images: Tensor
    labels: Tensor

    def balanced(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw images and labels, half of each class."""
        picks = []
        for label, share in ((0, count // 2), (1, count - count // 2)):
            members = (self.labels == label).nonzero()[:, 0]
            draw = torch.randint(len(members), (share,), generator=generator, device=members.device)
            picks.append(members[draw])
        chosen = torch.cat(picks)
        return self.images[chosen], self.labels[chosen]


class Pupil(nn.Module):
    """The dual encoder with what only training needs: class prototypes and an instance head."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        width = model.config.vision_config.hidden_size
        self.prototypes = nn.Parameter(torch.randn(len(SUBJECTS), DIMENSION) * 0.1)
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.instance = nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 64))

    def see(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features (n, width) and unit vectors (n, DIMENSION) of images in [0, 1]."""
        pixels = ((images - MEAN) / DEVIATION).expand(-1, 3, -1, -1)
        pooled = self.model.vision_model(pixel_values=pixels).pooler_output
        return pooled, functional.normalize(self.model.visual_projection(pooled), dim=-1)

    def read(self, tokens: Any) -> Tensor:
        """Unit vectors (n, DIMENSION) of tokenized texts."""
        return read(self.model, tokens)


def read(model: Any, tokens: Any) -> Tensor:
    """Unit vectors (n, DIMENSION) of tokenized texts, from a dual encoder."""
    pooled = model.text_model(**tokens).pooler_output
    return functional.normalize(model.text_projection(pooled), dim=-1)


class Average:
    """An exponential moving average of a module's weights and running statistics."""

    def __init__(self, module: Pupil, decay: float) -> None:
        self.module: Pupil = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def follow(self, module: nn.Module, step: int) -> None:
        """Move towards the module; in larger steps while training is young."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        mine, theirs = self.module.state_dict(), module.state_dict()
        for name, value in mine.items():
            if value.is_floating_point():
                value.lerp_(theirs[name], weight)
            else:
                value.copy_(theirs[name])


def image_loss(
    pupil: Pupil, films: Films, recipe: Recipe, how: Augmentation, generator: torch.Generator
) -> Tensor:
    """Loss of one batch: same findings together, classes at their prototypes, each film itself."""
    images, labels = films.balanced(recipe.batch, generator)
    views, labels = augment(images.repeat(2, 1, 1, 1), how, generator), labels.repeat(2)
    pooled, vectors = pupil.see(views.contiguous(memory_format=torch.channels_last))
    prototypes = functional.normalize(pupil.prototypes, dim=-1)
    classes = pupil.scale.exp().clamp(max=50) * vectors @ prototypes.T
    one, other = functional.normalize(pupil.instance(pooled), dim=-1).chunk(2)
    return (
        supervised_contrastive(vectors, labels, recipe.temperature)
        + functional.cross_entropy(classes, labels)
        + recipe.instance * instance_loss(one, other, recipe.instance_temperature)
    )


def supervised_contrastive(vectors: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Khosla et al. 2020: all images of a class are positives of each other."""
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    logits = (vectors @ vectors.T / temperature).masked_fill(itself, -1e9)
    return multi_positive(logits, (labels[:, None] == labels[None]) & ~itself)


def instance_loss(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Chen et al. 2020: two views of a film are nearer to each other than to any other film."""
    both = torch.cat([one, other])
    itself = torch.eye(len(both), dtype=torch.bool, device=both.device)
    logits = (both @ both.T / temperature).masked_fill(itself, -1e9)
    twin = torch.arange(len(both), device=both.device).roll(len(one))
    return functional.cross_entropy(logits, twin)


def multi_positive(logits: Tensor, positive: Tensor) -> Tensor:
    """Mean negative log share of a row's positives, each against all of the row."""
    share = logits.log_softmax(dim=1).masked_fill(~positive, 0)
    return -(share.sum(1) / positive.sum(1).clamp_min(1)).mean()


def rate_at(step: int, steps: int) -> float:
    """Share of the full learning rate at a step: a short rise, then a cosine."""
    rise = min(1.0, (step + 1) / max(1, steps // 20))
    return rise * (0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01)


def new_optimizer(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; matrices and kernels decay, offsets and gains do not."""
    return torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
    )


def descend(
    loss: Tensor, optimizer: torch.optim.Optimizer, full_rate: float, share: float
) -> float:
    """One optimizer step with clipped gradients; the loss as a number."""
    for group in optimizer.param_groups:
        group["lr"] = full_rate * share
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def look(pupil: Pupil, gallery: Films, queries: dict[str, Films]) -> dict[str, float]:
    """Precision@1 and @10 of sets of films in a gallery, each the mean over the two classes."""
    known = vectors_of(pupil, gallery.images)
    figures = {}
    for name, films in queries.items():
        nearest = (vectors_of(pupil, films.images) @ known.T).topk(10, dim=1).indices
        right = (gallery.labels[nearest] == films.labels[:, None]).float()
        for k in (1, 10):
            classes = [
                right[films.labels == label, :k].mean().item() for label in range(len(SUBJECTS))
            ]
            figures[f"{name}_p{k}"] = sum(classes) / len(classes)
    return figures


@torch.no_grad()
def vectors_of(pupil: Pupil, images: Tensor) -> Tensor:
    """Unit vectors (n, DIMENSION) of images in [0, 1], in evaluation mode."""
    return _seen(pupil, images)[1]


@torch.no_grad()
def pooled_of(pupil: Pupil, images: Tensor) -> Tensor:
    """Pooled features (n, width) of images in [0, 1], in evaluation mode."""
    return _seen(pupil, images)[0]


def _seen(pupil: Pupil, images: Tensor) -> tuple[Tensor, Tensor]:
    pupil.eval()
    pooled, vectors = zip(*(pupil.see(part) for part in torch.split(images, 512)), strict=True)
    return torch.cat(pooled), torch.cat(vectors)
