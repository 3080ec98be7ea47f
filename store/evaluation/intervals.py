"""Bootstrap intervals of means."""

from __future__ import annotations

import numpy as np

from store.schema import Floats

_SEED = 0


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
