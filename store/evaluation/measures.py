"""Measures of rankings as formulas on arrays: precision, recall, average precision, nDCG, vote.

Every function takes arrays of queries by ranks, best first, and gives one value a query and depth,
or one a query. A rank that is empty, because a query has fewer candidates, is a miss. A query with
nothing to find is 0 in every measure, as trec_eval, scikit-learn and torchmetrics have it. Relevant
is a film whose gain is above 0; which films these are says ``store.evaluation.relevance``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from store.schema import Floats, Integers

#: Whether each film found is relevant, (queries, ranks); or how likely, for an expectation.
Hits = npt.NDArray[Any]


def precision(gains: npt.ArrayLike, depths: Sequence[int]) -> Floats:
    """P@k: the mean gain of the first k films; of gains 0 and 1 the share that is relevant.

    Manning, Raghavan and Schuetze, Introduction to Information Retrieval (2008), 8.4. Always
    divided by k, as trec_eval's P_k and torchmetrics' RetrievalPrecision do it.

    Args:
        gains: (q, ranks) of at least the deepest depth.
        depths: each k, from 1.

    Returns:
        float64 (q, depths).
    """
    found: Floats = _sums(gains, depths) / np.asarray(depths)
    return found


def bounded_precision(hits: Hits, total: Integers, depths: Sequence[int]) -> Floats:
    """P@k with min(k, relevant): precision at k, or at R where a query has but R relevant films.

    So 1 is within reach of every query. As in Denner et al., "Leveraging foundation models for
    content-based image retrieval in radiology" (arXiv 2403.06567, 2024), evaluate_retrieval.py of
    their repository; R-precision where k is R or more. Not torchmetrics' ``adaptive_k``, which is
    min(k, candidates).

    Args:
        hits: (q, ranks).
        total: (q,), the relevant films that a query could find.
        depths: each k.

    Returns:
        float64 (q, depths).
    """
    reached = np.minimum(total[:, None], np.asarray(depths))
    found = np.cumsum(hits, axis=1, dtype=np.float64)
    return _share(np.take_along_axis(found, np.maximum(reached, 1) - 1, axis=1), reached)


def recall(hits: Hits, total: Integers, depths: Sequence[int]) -> Floats:
    """Recall@k: relevant films among the first k, over all relevant ones.

    Manning et al. (2008), 8.3; trec_eval's recall_k. Not the hit rate, which papers on metric
    learning call Recall@k. Arguments and result as ``bounded_precision``.
    """
    return _share(_sums(hits, depths), total[:, None])


def hit_rate(hits: Hits, depths: Sequence[int]) -> Floats:
    """Hit rate: 1 where one or more of the first k films are relevant, else 0.

    trec_eval's success_k; "Recall@k" in Oh Song et al., "Deep metric learning via lifted structured
    feature embedding" (CVPR 2016).

    Returns:
        float64 (q, depths).
    """
    found: Floats = (_sums(hits, depths) > 0).astype(np.float64)
    return found


def r_precision(hits: Hits, total: Integers) -> Floats:
    """R-precision: precision at R, the number of relevant films of the query.

    Manning et al. (2008), 8.4; trec_eval's Rprec.

    Args:
        hits: (q, ranks), as deep as the largest total.
        total: (q,).

    Returns:
        float64 (q,).
    """
    found = np.cumsum(hits, axis=1, dtype=np.int32)
    last = np.maximum(total, 1)[:, None] - 1
    return _share(np.take_along_axis(found, last, axis=1)[:, 0], total)


def average_precision(hits: Hits, total: Integers) -> Floats:
    """AP: the mean, over the relevant films, of the precision at the rank of each.

    sum over ranks i of relevant(i) * P@i, divided by all relevant films: Manning et al. (2008),
    8.4; trec_eval's map; scikit-learn's average_precision_score without its interpolated ties.

    Args:
        hits: (q, n), the whole ranking.
        total: (q,).

    Returns:
        float64 (q,).
    """
    return _share(_precision_where_relevant(hits).sum(axis=1), total)


def average_precision_at(hits: Hits, total: Integers, depths: Sequence[int]) -> Floats:
    """AP@k: the sum over the first k ranks of relevant(i) * P@i, over min(k, all relevant).

    So 1 means that no better first k are possible: Mahbod et al., "Evaluating pre-trained
    convolutional neural networks and foundation models as feature extractors for content-based
    medical image retrieval" (arXiv 2409.09430, 2024), and torchmetrics' RetrievalMAP differ: they
    divide by the relevant films found among the first k. trec_eval's map_cut_k divides by all
    relevant films, pytorch-metric-learning's MAP@R cuts at R.

    Returns:
        float64 (q, depths).
    """
    found = _sums(_precision_where_relevant(hits), depths)
    return _share(found, np.minimum(total[:, None], np.asarray(depths)))


def ndcg(gains: Floats, ideal: Floats, depths: Sequence[int]) -> Floats:
    """nDCG@k: the discounted gain of the first k films, over that of the best k there are.

    DCG = sum over ranks i from 1 of gain(i) / log2(i + 1): Jaervelin and Kekaelaeinen, "Cumulated
    gain-based evaluation of IR techniques" (ACM TOIS 20, 2002) with the discount of Burges et al.
    (ICML 2005) and gains as they are (linear), not 2^gain - 1; scikit-learn's ndcg_score.

    Args:
        gains: (q, ranks), the graded gain of each film found.
        ideal: (q, ranks), the largest gains of all the query's candidates, largest first.
        depths: each k.

    Returns:
        float64 (q, depths).
    """
    discount = 1 / np.log2(np.arange(gains.shape[1]) + 2)
    return _share(_sums(gains * discount, depths), _sums(ideal * discount, depths))


def majority(classes: Integers, depth: int) -> Integers:
    """The most frequent class of the first films; on a tie the one whose film is nearest.

    Args:
        classes: int64 (q, ranks), numbers from 0; -1 in an empty rank, which does not vote.
        depth: how many vote.

    Returns:
        int64 (q,); -1 where nobody votes.
    """
    ranked = classes[:, :depth]
    q, k = ranked.shape
    order = np.argsort(ranked, axis=1, kind="stable")
    runs = np.take_along_axis(ranked, order, axis=1)
    first = np.ones((q, k), bool)  # of each class, in rank order within it
    first[:, 1:] = runs[:, 1:] != runs[:, :-1]
    starts = np.flatnonzero(first)
    counts = np.diff(np.append(starts, q * k))
    ballots = np.full(q * k, -1, np.int64)
    cast = runs.ravel()[starts] >= 0
    # More votes win; among equals the lower rank of the first vote.
    ballots[starts[cast]] = counts[cast] * (k + 1) - order.ravel()[starts[cast]]
    best = ballots.reshape(q, k).argmax(axis=1)
    return np.take_along_axis(runs, best[:, None], axis=1)[:, 0]


def vote(elected: Integers, truth: Integers) -> Floats:
    """Majority vote accuracy: 1 where the class of most of the first k films is the query's.

    ACC@1 at k = 1 and mMV@k of Mahbod et al. (arXiv 2409.09430, 2024); the accuracy of a k nearest
    neighbour classifier. The class is the whole set of findings of a film.

    Args:
        elected: int64 (q, depths), the ``majority`` at each depth.
        truth: int64 (q,), the class of each query.

    Returns:
        float64 (q, depths).
    """
    found: Floats = (elected == truth[:, None]).astype(np.float64)
    return found


def _sums(values: npt.ArrayLike, depths: Sequence[int]) -> Floats:
    """Sums of the first k columns, float64 (q, depths)."""
    summed: Floats = np.cumsum(values, axis=1, dtype=np.float64)
    return summed[:, np.asarray(depths) - 1]


def _share(part: npt.ArrayLike, whole: npt.ArrayLike) -> Floats:
    """Quotients; 0 where there is nothing to find."""
    numerator, divisor = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    out = np.zeros(np.broadcast(numerator, divisor).shape)
    found: Floats = np.divide(numerator, divisor, out=out, where=divisor > 0)
    return found


def _precision_where_relevant(hits: Hits) -> Floats:
    """P@i at every rank i with a relevant film, else 0."""
    found = np.cumsum(hits, axis=1, dtype=np.int32)
    found_at: Floats = np.where(hits, found / np.arange(1, hits.shape[1] + 1), 0.0)
    return found_at
