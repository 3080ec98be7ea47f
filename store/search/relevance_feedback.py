"""Relevance feedback: several films and a query as one query, by Rocchio's formula.

Rocchio, "Relevance feedback in information retrieval", in Salton (ed.), The SMART Retrieval System,
1971; the formula and the default weights are those of Manning, Raghavan and Schütze, Introduction
to Information Retrieval, 2008, equation 9.3 and the text below it.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields

import numpy as np
import numpy.typing as npt

from store.errors import BadQuery

#: Largest weight of one part. Only their proportions matter.
WEIGHT_MAX = 10.0
#: Shorter sums point nowhere: what is left of them is rounding.
_SHORTEST = 1e-6


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the parts of a combined query, 0 to 10 each.

    Attributes:
        query: of the image, film or sentence that was asked first (alpha).
        like: of the mean of the films marked + (beta).
        unlike: of the mean of the films marked − (gamma), which is subtracted.
    """

    query: float = 1.0
    like: float = 0.75
    unlike: float = 0.15

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and 0 <= value <= WEIGHT_MAX):
                raise BadQuery(
                    f"weight {field.name} = {value}: expected a number from 0 to {WEIGHT_MAX:g}"
                )

    def __str__(self) -> str:
        return ",".join(f"{value:g}" for value in astuple(self))


def parse_weights(text: str) -> Weights:
    """Read ``1,0.75,0.15``: the weights of the query, of + and of −.

    Raises:
        BadQuery: not three numbers from 0 to 10.
    """
    try:
        query, like, unlike = (float(part) for part in text.split(","))
    except ValueError:
        raise BadQuery(
            f"weights {text!r}: expected three numbers, of the query, of + and of −, "
            f"e.g. {Weights()}"
        ) from None
    return Weights(query, like, unlike)


def rocchio(
    query: npt.ArrayLike | None,
    liked: npt.ArrayLike,
    unliked: npt.ArrayLike,
    weights: Weights | None = None,
) -> npt.NDArray[np.float32]:
    """``alpha * query + beta * mean(liked) - gamma * mean(unliked)``, scaled to unit length.

    Args:
        query: float (d,), unit length; None when only films are given.
        liked: float (n, d), unit rows; n may be 0.
        unliked: float (m, d), unit rows; m may be 0.
        weights: the usual ones when None. A part that is absent has no weight.

    Returns:
        float32 (d,), unit length.

    Raises:
        BadQuery: neither a query nor a liked film, or parts that cancel each other out.
    """
    weights = weights or Weights()
    towards, away = (_rows(films) for films in (liked, unliked))
    if query is None and not len(towards):
        raise BadQuery("only films to be unlike were given; add a query, or a film to be like")
    parts = [] if query is None else [weights.query * np.asarray(query, np.float64)]
    if len(towards):
        parts.append(weights.like * towards.mean(axis=0))
    if len(away):
        parts.append(-weights.unlike * away.mean(axis=0))
    total = np.sum(parts, axis=0)
    length = float(np.linalg.norm(total))
    if not length > _SHORTEST:
        raise BadQuery(
            f"the parts of this query cancel each other out (weights {weights}); "
            "change a weight or take a film out"
        )
    unit: npt.NDArray[np.float32] = (total / length).astype(np.float32)
    return unit


def _rows(films: npt.ArrayLike) -> npt.NDArray[np.float64]:
    found = np.asarray(films, np.float64)
    return found.reshape(0, 0) if found.size == 0 else np.atleast_2d(found)
