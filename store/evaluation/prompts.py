"""Evaluation of sentences: how well they find the films they describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from store.errors import BadQuery
from store.evaluation.labelled import Labelled
from store.evaluation.whole_ranking import search_scores
from store.outcomes import NOTHING_FOUND, findings, names_nothing
from store.schema import Vectors

#: Sentences that are scored at once.
_SENTENCES = 64


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
    vectors: Vectors, labels: Sequence[str], gallery: Labelled, k: int = 10
) -> list[PromptScore]:
    """Rank a gallery for each sentence, exactly as a search does; equal scores rank by id.

    A film carries a label when it is among its findings; one that says that nothing was found
    ("no finding") when it has none.

    Args:
        vectors: float32 (n, d), unit rows, one a sentence.
        labels: the finding that each sentence describes.
        gallery: the films, all of them labelled.
        k: depth of the precision.

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
    films = gallery.vectors[order]
    carried = [findings(gallery.labels[place]) or (NOTHING_FOUND,) for place in order]
    names = {label: NOTHING_FOUND if names_nothing(label) else label for label in labels}
    relevant = {
        label: np.asarray([name in row for row in carried]) for label, name in names.items()
    }
    for label, found in relevant.items():
        if not found.any():
            known = sorted({name for row in carried for name in row})
            raise BadQuery(
                f"no film searched carries the label {label!r}; they carry {', '.join(known)}"
            )
    scored: list[PromptScore] = []
    for start in range(0, len(labels), _SENTENCES):
        some = slice(start, start + _SENTENCES)
        scores = search_scores(vectors[some], films)
        scored += [
            _score(row, relevant[label], k) for row, label in zip(scores, labels[some], strict=True)
        ]
    return scored


def _score(scores: npt.NDArray[np.float32], relevant: npt.NDArray[np.bool_], k: int) -> PromptScore:
    found = relevant[np.argsort(-scores, kind="stable")]
    at = np.flatnonzero(found)
    return PromptScore(
        precision=float(found[:k].mean()),
        average_precision=float((np.arange(1, len(at) + 1) / (at + 1)).mean()),
    )
