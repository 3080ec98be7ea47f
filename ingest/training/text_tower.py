"""Training of the text tower: captions find their place among films whose vectors lie still."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from ingest.training.captions import SUBJECTS, caption, lesson
from ingest.training.image_tower import (
    Average,
    Films,
    Pupil,
    Recipe,
    descend,
    multi_positive,
    new_optimizer,
    read,
    vectors_of,
)
from ingest.training.model import give_text_tower, new_tokenizer, take_text_tower
from ingest.training.sentences import figures, read_sentences
from ingest.training.vocabulary import learn_synonyms, with_vocabulary

#: Captions that the tokenizer's vocabulary is made from, per class.
CORPUS = 20_000
#: Steps between reports.
_REPORT = 100
#: Groups of texts of like length that a batch is read in.
_GROUPS = 4
#: Share of the longer pieces of the vocabulary that a batch does without, at most.
_WITHHELD = 0.5
#: Share of a sentence's vector that is kept of what does not tell the classes apart.
KEPT = 0.25


def caption_tokenizer(seed: int) -> Any:
    """A tokenizer for the words of the captions; it spells all others.

    Args:
        seed: of the captions that its pieces are counted in.
    """
    random = Random(seed)  # noqa: S311 - reproducible, not secret
    return new_tokenizer(caption(subject, random) for _ in range(CORPUS) for subject in SUBJECTS)


@dataclass(frozen=True, slots=True)
class TextProgress:
    """Progress of a text tower's training.

    Attributes:
        tower: which one, from 1.
        step: batches of captions that it has learnt from.
        loss: mean of what was done since the last report.
        validation: figures of the sentences on the validation films, when they were looked at.
    """

    tower: int
    step: int
    loss: float
    validation: dict[str, float] | None


def learn_texts(
    pupil: Pupil,
    films: Films,
    validation: Films,
    recipe: Recipe,
    seed: int,
    report: Callable[[TextProgress], None],
) -> tuple[Any, TextProgress]:
    """Teach a dual encoder a text tower; its image tower stays as it is.

    Several towers learn, each from its own draws. The tower and the step are kept whose sentences
    (``ingest.training.sentences``) find most of the validation films; towers of one recipe differ
    by some hundredths there.

    Args:
        pupil: changed in place: whatever text tower it had is replaced.
        films: the training split, on the pupil's device.
        validation: the validation split, there too.
        recipe: the settings that begin with ``text_``, and ``weight_decay``.
        seed: of weights, captions, films and spellings.
        report: called now and then.

    Returns:
        The tokenizer of the tower that is kept, which knows synonyms, too; and when it was kept.
    """
    device = films.labels.device
    banks = [Films(vectors_of(pupil, part.images), part.labels) for part in (films, validation)]
    best, kept = -1.0, None
    for attempt in range(recipe.text_tries):
        draws = seed * recipe.text_tries + attempt
        tokenizer = caption_tokenizer(draws)
        give_text_tower(pupil.model, len(tokenizer), draws)
        pupil.to(device)
        for step, loss, average in _learn(pupil, banks[0], tokenizer, recipe, draws + 1):
            found = None
            if average is not None:
                model, wider = _finished(average, banks[0], tokenizer)
                found = _look(model, wider, banks[1])
            now = TextProgress(attempt + 1, step, loss, found)
            if found and sum(found.values()) >= best:
                best, kept = sum(found.values()), (model, wider, now)
            report(now)
    assert kept is not None
    told, wider, then = kept
    take_text_tower(pupil.model, told)
    return wider, then


def _learn(
    pupil: Pupil, bank: Films, tokenizer: Any, recipe: Recipe, seed: int
) -> Iterator[tuple[int, float, Pupil | None]]:
    """Train one text tower, in place; yields steps, loss and, to be looked at, the average."""
    random = Random(seed)  # noqa: S311 - reproducible, not secret
    generator = torch.Generator(device=bank.labels.device).manual_seed(seed)
    model = pupil.model.train()
    towers = (model.text_model, model.text_projection)
    optimizer = new_optimizer([p for t in towers for p in t.parameters()], recipe)
    average = Average(pupil, recipe.text_averaging)
    rise = max(1, recipe.text_steps // 20)
    losses: list[float] = []
    for step in range(recipe.text_steps):
        loss = text_loss(pupil, bank, tokenizer, recipe, random, generator)
        losses.append(descend(loss, optimizer, recipe.text_rate, min(1.0, (step + 1) / rise)))
        average.follow(pupil, step)
        done, last = step + 1, step + 1 == recipe.text_steps
        looked = last or done % recipe.text_look_every == 0
        if looked or done % _REPORT == 0:
            yield done, float(np.mean(losses[-_REPORT:])), average.module if looked else None


def _finished(pupil: Pupil, bank: Films, tokenizer: Any) -> tuple[Any, Any]:
    """A copy of a model as it would be kept, aimed, with synonyms; and its tokenizer."""
    model = copy.deepcopy(pupil.model).eval()
    aim(model.text_projection.weight, bank)
    return model, learn_synonyms(model, tokenizer)


@torch.no_grad()
def _look(model: Any, tokenizer: Any, films: Films) -> dict[str, float]:
    """Figures of the validation sentences on the vectors of films."""
    sentences = read_sentences()
    rows = tokenizer(
        [one.text for one in sentences], truncation=True, padding=True, return_tensors="pt"
    )
    texts = read(model, rows.to(films.labels.device))
    return figures(texts, sentences, films.images, films.labels)


@torch.no_grad()
def aim(projection: Tensor, bank: Films) -> None:
    """Turn a text projection, in place, towards what tells the classes of films apart.

    A sentence that the tower is not sure of lies between the classes. Its nearest films would be
    the odd ones that lie there too; the more the direction between the classes counts, the more
    they are clear films of the class that it leans to.

    Args:
        projection: float32 (DIMENSION, width).
        bank: ``images`` holds unit vectors (n, DIMENSION) of films of both classes.
    """
    centres = torch.stack([bank.images[bank.labels == i].mean(0) for i in range(len(SUBJECTS))])
    normal, pneumonia = functional.normalize(centres, dim=-1)
    apart = functional.normalize(pneumonia - normal, dim=0)
    telling = torch.outer(apart, apart @ projection)
    projection.copy_(telling + KEPT * (projection - telling))


def text_loss(
    pupil: Pupil,
    bank: Films,
    tokenizer: Any,
    recipe: Recipe,
    random: Random,
    generator: torch.Generator,
) -> Tensor:
    """Loss of one batch of captions against vectors of films: each caption near its own kind.

    Args:
        pupil: its text tower learns; the films' vectors stay as they are.
        bank: ``images`` holds unit vectors (n, DIMENSION) here.
        tokenizer: of the text tower.
        recipe: batch size.
        random: draws captions and spellings.
        generator: draws films.
    """
    labels = [index % len(SUBJECTS) for index in range(recipe.text_batch)]
    texts = [lesson(SUBJECTS[label], random) for label in labels]
    device = bank.labels.device
    order, vectors_read = _read_by_length(pupil, respelling(tokenizer, random), texts, device)
    vectors, film_labels = bank.balanced(recipe.text_batch, generator)
    logits = pupil.model.logit_scale.exp().clamp(max=50) * vectors_read @ vectors.T
    same = torch.tensor(labels, device=device)[order, None] == film_labels[None]
    return (multi_positive(logits, same) + multi_positive(logits.T, same.T)) / 2


def _read_by_length(
    pupil: Pupil, tokenizer: Any, texts: list[str], device: torch.device
) -> tuple[list[int], Tensor]:
    """Vectors of texts, short ones first, so that little time goes into padding; and the order."""
    numbers = tokenizer(texts, truncation=True)["input_ids"]
    order = sorted(range(len(texts)), key=lambda index: len(numbers[index]))
    size = -(-len(texts) // _GROUPS)
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    parts = []
    for group in groups:
        rows = {"input_ids": [numbers[index] for index in group]}
        parts.append(pupil.read(tokenizer.pad(rows, return_tensors="pt").to(device)))
    return order, torch.cat(parts)


def respelling(tokenizer: Any, random: Random) -> Any:
    """The tokenizer without some of its longer pieces, so that it spells words in other ways.

    A word that was only ever met whole says nothing about its relations: "opacity" and "opaque"
    share their letters, not their token.

    Args:
        tokenizer: a fast WordPiece tokenizer; not changed.
        random: draws the share and the pieces.
    """
    share = random.choice((0.0, 0.5 * _WITHHELD, _WITHHELD))
    if not share:
        return tokenizer
    # In the order of the numbers: what is drawn for a piece must not hang on a dictionary's order.
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    special = set(tokenizer.all_special_tokens)
    kept = {
        piece: number
        for piece, number in pieces
        if piece in special or len(piece.removeprefix("##")) == 1 or random.random() >= share
    }
    return with_vocabulary(tokenizer, kept)
