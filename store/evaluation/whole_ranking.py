"""Measures over the whole ranking of every query: average precision and R-precision."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from store.evaluation import measures
from store.evaluation.labelled import Sides
from store.evaluation.relevance import Relevance
from store.schema import Floats, Progress, Vectors

#: Most queries, and most pairs of a query and a row, that are ranked at once: some 30 bytes each.
_QUERIES, _PAIRS = 256, 1 << 24
#: Rows that are made float64 at once, and pairs that are scored again at once.
_ROWS, _AGAIN = 16_384, 1024


class Whole(NamedTuple):
    """Measures of every query over its whole ranking, each float64 (q,)."""

    average_precision: Floats
    r_precision: Floats


def whole_ranking(sides: Sides, relevance: Relevance, progress: Progress | None = None) -> Whole:
    """Average precision and R-precision of each query over all its candidates.

    The measures that need every score, not the best. Scores are those of a search, see
    store.search.exact: inner products in float64, rounded to float32, and equal ones rank by id.

    Args:
        sides: queries and gallery, with vectors.
        relevance: of these sides.
        progress: called with queries done and in all.
    """
    queries, gallery = sides.queries, sides.gallery
    vectors = gallery.vectors
    rows, n = len(gallery.ids), len(queries.ids)
    by_group = np.argsort(sides.searched_group, kind="stable")
    groups = sides.searched_group[by_group]
    found = Whole(np.empty(n), np.empty(n))
    step = max(1, min(_QUERIES, _PAIRS // rows))
    for start in range(0, n, step):
        block = slice(start, min(start + step, n))
        scores = search_scores(queries.vectors[block], vectors)
        relevant = relevance.of(block)
        own = [
            by_group[slice(*np.searchsorted(groups, [group, group + 1]))]
            for group in sides.asking_group[block]
        ]
        query = np.repeat(np.arange(len(own)), [len(mine) for mine in own])
        apart = query, np.concatenate(own)
        scores[apart] = -np.inf  # ranks last, and is not relevant
        relevant[apart] = False
        hits, total = _ranked(scores, relevant), relevance.total(block)
        found.average_precision[block] = measures.average_precision(hits, total)
        found.r_precision[block] = measures.r_precision(hits, total)
        if progress is not None:
            progress(block.stop, n)
    return found


def search_scores(queries: Vectors, vectors: Vectors) -> Vectors:
    """Scores of a search for every pair of a query and a row, float32 (q, n).

    A search adds up each product by itself; a matrix product adds in another order, here and at its
    edges, and is off by d * 2^-53 at most (Higham, Accuracy and Stability of Numerical Algorithms,
    2002, 3.1), as is the search's. Where that could round to another float32, the score is made
    again as a search makes it.
    """
    wide = queries.astype(np.float64)
    slack = 1.05 * queries.shape[1] * 2.0**-52
    found = np.empty((len(queries), len(vectors)), np.float32)
    for start in range(0, len(vectors), _ROWS):
        part = slice(start, start + _ROWS)
        rows = vectors[part].astype(np.float64)
        products = wide @ rows.T
        scores = found[:, part]
        scores[...] = products - slack
        products += slack
        pairs = np.nonzero(products.astype(np.float32) != scores)
        for first in range(0, len(pairs[0]), _AGAIN):
            query, row = (places[first : first + _AGAIN] for places in pairs)
            scores[query, row] = (rows[row] * wide[query]).sum(axis=1)
    return found.clip(-1, 1, out=found)


def _ranked(scores: Vectors, relevant: measures.Hits) -> measures.Hits:
    """Whether each rank's row is relevant, best first, equal scores in the order of the rows.

    One sort of whole numbers: the score, turned so that the best is least, then the row, then
    whether it is relevant. Such a sort is several times quicker than a stable one of positions.
    """
    # A zero that is added makes one of both zeros. Of negative numbers more bits are less.
    bits = (scores + np.float32(0)).view(np.int32)
    turned = np.where(bits < 0, bits & 0x7FFFFFFF, ~bits).astype(np.int64)
    keys = (turned << 32) | (2 * np.arange(scores.shape[1]) + relevant)
    keys.sort(axis=1)
    found: measures.Hits = (keys & 1).astype(bool)
    return found
