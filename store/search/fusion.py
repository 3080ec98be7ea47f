"""Fusion of two rankings into one: of words in reports and of vectors.

Both halves count with their first ``WINDOW`` films, so that a list is the same however much of it
is asked for, page by page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from store.errors import BadQuery

#: Films of either half that take part.
WINDOW = 1000
#: Of reciprocal rank fusion: how little the very first ranks stand out (Cormack 2009).
K = 60
#: Share of the words in it, for words that somebody typed and for a whole report; the vectors have
#: what is left. Of a report some words stand in nearly every other, and with equal shares a hybrid
#: loses by them: 0.2 is the most, of 0.1 to 0.5, at which no hybrid was worse than its better half
#: on films kept for choosing it. See docs/measures.md, Reports as queries.
TYPED_SHARE, REPORT_SHARE = 0.5, 0.2
RRF: Literal["rrf"] = "rrf"
#: ``rrf``, or the weight of the words from 0 to 1; the vectors have what is left.
Fusion = Literal["rrf"] | float


def parse_fusion(text: str) -> Fusion:
    """``rrf``, or a weight of the words such as ``0.7``.

    Raises:
        BadQuery: it is neither.
    """
    if text == RRF:
        return RRF
    try:
        return check_fusion(float(text))
    except (ValueError, BadQuery):
        raise BadQuery(
            f"fusion {text!r}: expected rrf, or the weight of the words from 0 to 1, e.g. 0.7"
        ) from None


def check_fusion(fusion: Fusion) -> Fusion:
    """Refuse a weight that is none, with BadQuery."""
    if fusion == RRF:
        return RRF
    if isinstance(fusion, bool) or not isinstance(fusion, int | float) or not 0 <= fusion <= 1:
        raise BadQuery(f"fusion {fusion!r}: expected 'rrf' or a number from 0 to 1")
    return float(fusion)


def by_ranks(
    words: Mapping[int, int], vectors: Mapping[int, int], share: float
) -> dict[int, float]:
    """Scores of reciprocal rank fusion: share / (60 + rank), added over the halves that have it.

    Args:
        words: row id to rank, from 1, by BM25.
        vectors: the same by cosine.
        share: of the words, 0 to 1.
    """
    found: dict[int, float] = {}
    for ranking, weight in ((words, share), (vectors, 1 - share)):
        for row_id, rank in ranking.items():
            found[row_id] = found.get(row_id, 0.0) + weight / (K + rank)
    return found


def by_weights(
    words: Mapping[int, float], cosines: Mapping[int, float], weight: float
) -> dict[int, float]:
    """Scores of weighted halves, each as a share of its best.

    A share of BM25 counts from 0, one of cosines from -1, the least that there can be: so no film
    changes another's score by being found as well (Bruch 2023).

    Args:
        words: row id to BM25; a film without the words is left out.
        cosines: row id to cosine, of every film.
        weight: of the words, 0 to 1.
    """
    best = max(words.values(), default=1.0) or 1.0
    nearest = max(cosines.values(), default=1.0) + 1 or 1.0
    return {
        row_id: weight * words.get(row_id, 0.0) / best + (1 - weight) * (cosine + 1) / nearest
        for row_id, cosine in cosines.items()
    }
