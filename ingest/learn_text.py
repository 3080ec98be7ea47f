"""How the text tower learns: captions find their place among films whose vectors lie still."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from ingest.blueprint import new_tokenizer
from ingest.captions import SUBJECTS, caption, lesson
from ingest.learn import (
    Average,
    Films,
    Pupil,
    Recipe,
    descend,
    multi_positive,
    new_optimizer,
    rate_at,
    vectors_of,
)
from ingest.synonyms import learn_synonyms, with_vocabulary

#: Captions that the tokenizer's vocabulary is made from, per class.
_CORPUS = 20_000
#: Steps between reports.
_REPORT = 100
#: Groups of texts of like length that a batch is read in.
_GROUPS = 4
#: Share of the longer pieces of the vocabulary that a batch does without, at most.
_WITHHELD = 0.5
#: Share of a sentence's vector that is kept of what does not tell the classes apart.
_KEPT = 0.25


def caption_tokenizer(seed: int) -> Any:
    """A tokenizer for the words of the captions; it spells all others.

    Args:
        seed: of the captions that its pieces are counted in.
    """
    random = Random(seed)  # noqa: S311 - reproducible, not secret
    return new_tokenizer(caption(subject, random) for _ in range(_CORPUS) for subject in SUBJECTS)


def learn_texts(
    pupil: Pupil,
    films: Films,
    tokenizer: Any,
    recipe: Recipe,
    seed: int,
    report: Callable[[int, float], None],
) -> Any:
    """Teach the text tower of a dual encoder; its image tower stays as it is.

    Args:
        pupil: changed in place; ends with averaged weights.
        films: the training split, on the pupil's device.
        tokenizer: of the text tower.
        recipe: steps, batch, learning rate.
        seed: of captions, films and spellings.
        report: called with the steps done and the mean loss of the last ones.

    Returns:
        The tokenizer that the tower ends with: it knows synonyms, too.
    """
    random = Random(seed)  # noqa: S311 - reproducible, not secret
    device = films.labels.device
    generator = torch.Generator(device=device).manual_seed(seed)
    bank = Films(vectors_of(pupil, films.images), films.labels)
    model = pupil.model.train()
    towers = (model.text_model, model.text_projection)
    optimizer = new_optimizer([p for t in towers for p in t.parameters()], recipe)
    average = Average(pupil, recipe.averaging)
    losses: list[float] = []
    for step in range(recipe.text_steps):
        loss = text_loss(pupil, bank, tokenizer, recipe, random, generator)
        share = rate_at(step, recipe.text_steps)
        losses.append(descend(loss, optimizer, recipe.text_rate, share))
        average.follow(pupil, step)
        if (step + 1) % _REPORT == 0 or step + 1 == recipe.text_steps:
            report(step + 1, float(np.mean(losses[-_REPORT:])))
    pupil.load_state_dict(average.module.state_dict())
    aim(pupil.model.text_projection.weight, bank)
    return learn_synonyms(pupil.model, tokenizer)


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
    projection.copy_(telling + _KEPT * (projection - telling))


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
    order, read = _read_by_length(pupil, respelling(tokenizer, random), texts, device)
    vectors, film_labels = bank.balanced(recipe.text_batch, generator)
    logits = pupil.model.logit_scale.exp().clamp(max=50) * read @ vectors.T
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
