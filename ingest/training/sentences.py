"""Validation sentences of people who did not know the grammar; they choose a text tower.

No training text is made from them, and none of them is a held-out prompt of prompts.csv: those stay
for the test films. By ``kind``: ``unheard`` ones have words that no caption holds,
``denial`` ones say "isn't", "can't see" and the like, ``search`` and ``asked`` ones are what two
hands thought that people type.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ingest.training.captions import SUBJECTS

_DEPTH = 10


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence and what it means.

    Attributes:
        text: as somebody would type it.
        label: one of ``SUBJECTS``.
        kind: ``unheard``, ``denial``, ``search`` or ``asked``.
    """

    text: str
    label: str
    kind: str


def read_sentences() -> list[Sentence]:
    """All of sentences.csv, in its order."""
    with Path(__file__).with_name("sentences.csv").open(encoding="utf-8", newline="") as file:
        return [Sentence(row["text"], row["label"], row["kind"]) for row in csv.DictReader(file)]


def figures(
    texts: Tensor, sentences: Sequence[Sentence], films: Tensor, labels: Tensor
) -> dict[str, float]:
    """Precision of sentences that search for films of their label.

    Args:
        texts: float32 unit vectors (n, d) of the sentences.
        sentences: n of them.
        films: float32 unit vectors (m, d).
        labels: int64 (m,), indices into ``SUBJECTS``.

    Returns:
        ``p10`` and ``ap``: means of Precision@10 and of average precision, both in [0, 1].
    """
    wanted = torch.tensor([SUBJECTS.index(one.label) for one in sentences])
    ranked = (texts @ films.T).cpu().argsort(dim=1, descending=True, stable=True)
    right = (labels.cpu()[ranked] == wanted[:, None]).double()
    ranks = torch.arange(1, right.shape[1] + 1)
    found = (right.cumsum(1) / ranks * right).sum(1) / right.sum(1).clamp_min(1)
    return {"p10": right[:, :_DEPTH].mean().item(), "ap": found.mean().item()}
