"""Measures over the whole ranking of every query: average precision."""

from __future__ import annotations

import hashlib

import numpy as np

from store.evaluation.labelled import Sides
from store.evaluation.relevance import Relevance
from store.schema import Floats, Integers, Vectors

#: Queries that are compared with the whole gallery at once; bounds memory by block x rows.
_WHOLE = 256


def average_precision(sides: Sides) -> Floats:
    """Average precision of each query over the whole gallery; NaN where nothing is relevant.

    The one measure that needs every score, not the best: the product of all queries with all rows,
    sorted; a stable sort breaks ties by id.

    Returns:
        float64 (q,).
    """
    queries, gallery = sides.queries, sides.gallery
    relevance = Relevance(sides)
    vectors = np.require(gallery.vectors, np.float32, ["C", "A"])  # those of a mapped file are not
    later, first = _repeated(vectors)
    rows, n = len(gallery.ids), len(queries.ids)
    found = np.empty(n)
    for start in range(0, n, _WHOLE):
        block = slice(start, min(start + _WHOLE, n))
        scores = queries.vectors[block].astype(np.float32) @ vectors.T
        scores[:, later] = scores[:, first]
        relevant = relevance.of(block)
        mine = sides.asking_group[block, None] == sides.searched_group
        scores[mine] = -np.inf  # they rank last, and are not relevant
        relevant[mine] = False
        order = np.argsort(-scores, axis=1, kind="stable")
        shared = np.take_along_axis(relevant, order, axis=1)
        hits = np.cumsum(shared, axis=1, dtype=np.int32)
        with np.errstate(invalid="ignore"):
            found[block] = np.where(shared, hits / np.arange(1, rows + 1), 0).sum(
                axis=1
            ) / relevance.total(block)
    return found


def _repeated(vectors: Vectors) -> tuple[Integers, Integers]:
    """Rows that equal an earlier one, and the first that each of them equals.

    A matrix product adds up its edges in another order than its middle, so that equal rows differ
    in the last bit of their scores: one of them stands for all.
    """
    seen: dict[bytes, int] = {}
    # A zero that is added makes one of both zeros.
    keys = (hashlib.blake2b(row + 0.0, digest_size=16).digest() for row in vectors)
    first = np.fromiter((seen.setdefault(key, at) for at, key in enumerate(keys)), np.int64)
    later = np.flatnonzero(first != np.arange(len(first)))
    return later, first[later]
