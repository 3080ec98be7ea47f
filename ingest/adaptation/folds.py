"""Folds of films: no patient is in two, and each has its share of every class."""

from __future__ import annotations

import numpy as np

from ingest.adaptation.films import Films
from store import Integers


def folds_of(films: Films, count: int, seed: int) -> Integers:
    """The number of each film's fold, int64 (n,) from 0.

    Patients are sorted by the findings of their first film, in random order within these, and dealt
    out in turn.

    Args:
        films: in the order of their ids.
        count: how many folds; fewer where there are fewer patients.
        seed: of the order.
    """
    groups = films.group_numbers
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    kinds: dict[tuple[str, ...], int] = {}
    kind = np.asarray(
        [kinds.setdefault(tuple(sorted(films.labels[i])), len(kinds)) for i in first], np.int64
    )
    shuffled = np.random.default_rng(seed).permutation(len(first))
    order = shuffled[np.argsort(kind[shuffled], kind="stable")]
    fold = np.empty(len(first), np.int64)
    fold[order] = np.arange(len(first)) % count
    found: Integers = fold[group.ravel()]
    return found
