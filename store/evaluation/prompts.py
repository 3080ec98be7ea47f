"""Evaluation of sentences: how well they find the films they describe."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from store.errors import BadQuery
from store.evaluation.labelled import Labelled
from store.outcomes import NOTHING_FOUND, names_nothing
from store.schema import Integers, Vectors
from store.search import exact


@dataclass(frozen=True, slots=True)
class PromptScore:
    """Scores of one sentence.

    Attributes:
        precision: share of the first k films that carry its label.
        average_precision: over the whole ranking.
    """

    precision: float
    average_precision: float


def score_prompts(
    vectors: Vectors,
    labels: Sequence[str],
    gallery: Labelled,
    k: int = 10,
    uncertain: Sequence[Collection[str]] | None = None,
) -> list[PromptScore]:
    """Rank a gallery for each sentence, as a search does; equal scores rank by id.

    Args:
        vectors: float32 (n, d), unit rows, one a sentence.
        labels: the finding that each sentence describes; ``no finding`` for films in which nothing
            was found.
        gallery: the films.
        k: depth of the precision.
        uncertain: findings that each film is not sure of: it takes no part in their sentences.

    Raises:
        BadQuery: k beyond the gallery, a label that no film carries, or other dimensions.
    """
    if not 1 <= k <= len(gallery.ids):
        raise BadQuery(f"k = {k}: expected 1 to {len(gallery.ids)}, the films searched")
    if vectors.ndim != 2 or vectors.shape != (len(labels), gallery.vectors.shape[1]):
        raise BadQuery(
            f"sentence vectors of shape {vectors.shape}: expected "
            f"({len(labels)}, {gallery.vectors.shape[1]})"
        )
    order = np.argsort(np.asarray(gallery.ids, dtype=object), kind="stable")
    carried = [gallery.labels[place] for place in order]
    unsure = [() if uncertain is None else uncertain[place] for place in order]
    relevant = {label: np.asarray([_carries(row, label) for row in carried]) for label in labels}
    for label, found in relevant.items():
        if not found.any():
            known = sorted({name for row in carried for name in row or (NOTHING_FOUND,)})
            raise BadQuery(
                f"no film searched carries the label {label!r}; they carry {', '.join(known)}"
            )
    sure = {
        label: found | np.asarray([label not in row for row in unsure])
        for label, found in relevant.items()
    }
    films = exact.Rows.of(gallery.vectors[order])
    scores = []
    for vector, label in zip(vectors, labels, strict=True):
        ((ranking, _),) = exact.nearest(films, vector[None], len(order))
        scores.append(_score(ranking[sure[label][ranking]], relevant[label], k))
    return scores


def _carries(findings: Sequence[str], label: str) -> bool:
    return not findings if names_nothing(label) else label in findings


def _score(ranking: Integers, relevant: npt.NDArray[np.bool_], k: int) -> PromptScore:
    found = relevant[ranking]
    at = np.flatnonzero(found)
    return PromptScore(
        precision=float(found[:k].sum() / k),
        average_precision=float((np.arange(1, len(at) + 1) / (at + 1)).mean()),
    )
