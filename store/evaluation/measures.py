"""Small pure functions behind the evaluation: label matrices, votes, intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from store.schema import Floats

_SEED = 0


def one_hot(labels: Sequence[tuple[str, ...]], names: list[str]) -> npt.NDArray[np.float32]:
    """float32 (rows, names): 1 where a row has a label."""
    column = {name: place for place, name in enumerate(names)}
    hot = np.zeros((len(labels), len(names)), np.float32)
    for row, found in enumerate(labels):
        hot[row, [column[name] for name in found]] = 1
    return hot


def majority(classes: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """The most frequent class of each row of (q, k) ranked classes; the nearest wins a tie."""
    votes = np.stack([(classes == name).sum(axis=1) for name in range(count)], axis=1)
    # Votes of the classes in rank order: argmax takes the first, the nearest among the tied.
    return np.take_along_axis(
        classes, np.take_along_axis(votes, classes, axis=1).argmax(axis=1)[:, None], axis=1
    )[:, 0]


def bootstrap(values: Floats, depths: list[int], resamples: int) -> dict[int, tuple[float, float]]:
    """The 95 % percentile interval of each column's mean (Efron and Tibshirani 1993, 13.3)."""
    random = np.random.default_rng(_SEED)
    n = len(values)
    chunk = max(1, 4_000_000 // n)
    means = []
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        weights = random.multinomial(n, np.full(n, 1 / n), size=size)
        means.append(weights @ values / n)
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0)
    return {depth: (float(low[i]), float(high[i])) for i, depth in enumerate(depths)}
