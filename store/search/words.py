"""Search of reports by words, alone or beside vectors: BM25 by LanceDB, ranked and fused here.

LanceDB hands over equal scores in any order and differently from page to page, and its own hybrid
search cuts each half before it fuses. So each half is fetched beyond the last that counts, ordered
by (-score, id), and fused and cut in this file.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.errors import BadQuery
from store.schema import Hit, Row, Vectors
from store.search import fusion
from store.search.base import Ranked, Searcher
from store.search.fusion import RRF, WINDOW, Fusion
from store.table import filters, lance
from store.table.filters import Where
from store.table.rows import report_of
from store.words import index, passage
from store.words.passage import Passage
from store.words.query import WordQuery

#: Fetched beyond those asked for, so that equal scores at the edge are seen; and how many times
#: more where they were not enough.
_MARGIN, _TIMES = 64, 8
#: Digits of BM25 that count. LanceDB adds up float32 in an order that depends on how many are asked
#: for: what differs beyond is rounding, and must not order films.
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class WordHit(Hit):
    """Hit of a search in words: ``score`` is what ranked it, no cosine.

    BM25 where words alone were asked, else the fused score.

    Attributes:
        bm25: of its report; None where it has none of the words, or where words are not known to
            have found it: beyond the first films that count.
        cosine: to the vector asked beside, exact; None where there was none.
        words_rank: its rank among the films that words found; None where they did not.
        vector_rank: its rank among those nearest to the vector; None where it is not among the
            first.
        passage: the sentence of its report, with the words marked; None without a report.
    """

    bm25: float | None = None
    cosine: float | None = None
    words_rank: int | None = None
    vector_rank: int | None = None
    passage: Passage | None = None


def has_reports(now: Searcher) -> bool:
    """Whether any film of a version has a report that can be searched."""
    if not index.has_column(now.handle.schema) or not index.is_built(now.handle):
        return False
    return bool(now.handle.count_rows(filters.is_set(index.COLUMN)))


def count(
    now: Searcher,
    uri: str,
    query: WordQuery,
    most: int,
    where: Where | None,
    exclude: Sequence[str],
) -> int:
    """How many films have the words; ``most`` where there are more."""
    _check_searchable(now, uri)
    condition = where.to_filter(now.handle.schema) if where else None
    found = _ask(now, query, most + len(exclude), condition)["id"].to_pylist()
    return min(len(set(found).difference(exclude)), most)


def search(
    now: Searcher,
    uri: str,
    query: WordQuery,
    k: int,
    where: Where | None,
    exclude: Sequence[str],
    vectors: Vectors | None,
    how: Fusion,
) -> list[WordHit]:
    """The k best films for words, or for words and vectors.

    Args:
        now: the version to search.
        uri: of its gallery, for messages.
        query: the words.
        k: how many.
        where: only films that pass take part.
        exclude: ids that must not be found.
        vectors: float32 (n, d); a film counts by the one that is nearest to it. None: words alone.
        how: how the halves are fused.

    Raises:
        BadQuery: no film has a report, or the terms of reports were made by other rules.
    """
    _check_searchable(now, uri)
    # Weights need the BM25 of every film near the vector. Asked of these alone, LanceDB would give
    # others: of what is not in its index it counts words in the films that pass the filter.
    depth = k if vectors is None else WINDOW if how == RRF else now.count
    found = _matches(now, query, depth, where, exclude, about=how == RRF and vectors is not None)
    if not found.row_ids and not has_reports(now):
        raise _no_reports(uri)
    words = dict(zip(found.row_ids, found.scores, strict=True))
    if vectors is not None:
        found = Ranked(found.row_ids[:WINDOW], found.ids[:WINDOW], found.scores[:WINDOW])
    words_ranks = _ranks(found)
    if vectors is None:
        ranked, cosines, vector_ranks = found, dict[int, float](), dict[int, int]()
    else:
        near = _nearest(now, vectors, where, exclude)
        vector_ranks = _ranks(near)
        ids = dict(zip((*found.row_ids, *near.row_ids), (*found.ids, *near.ids), strict=True))
        cosines = dict(zip(near.row_ids, near.scores, strict=True))
        if how == RRF:
            share = fusion.REPORT_SHARE if query.is_report else fusion.TYPED_SHARE
            scores = fusion.by_ranks(words_ranks, vector_ranks, share)
        else:
            cosines |= _cosines(now, vectors, [one for one in ids if one not in cosines])
            words = {row_id: words[row_id] for row_id in ids if row_id in words}
            scores = fusion.by_weights(words, cosines, float(how))
        order = heapq.nsmallest(k, scores, key=lambda one: (-scores[one], ids[one]))
        ranked = Ranked(order, [ids[one] for one in order], [scores[one] for one in order])
        cosines |= _cosines(now, vectors, [one for one in order if one not in cosines])
    rows = now.rows_at(ranked.row_ids)
    return [
        WordHit(
            rank,
            score,
            row,
            words.get(row_id),
            cosines.get(row_id),
            words_ranks.get(row_id),
            vector_ranks.get(row_id),
            _passage(row, query),
        )
        for rank, (row_id, score, row) in enumerate(
            zip(ranked.row_ids, ranked.scores, rows, strict=True), start=1
        )
    ]


def _check_searchable(now: Searcher, uri: str) -> None:
    schema = now.handle.schema
    if index.is_outdated(schema):
        raise BadQuery(
            f"the reports of {uri} were read by other rules than this version's, or not yet; run: "
            f"cxr optimize --store {uri}"
        )
    if not index.has_column(schema) or not index.is_built(now.handle):
        raise _no_reports(uri)


def _no_reports(uri: str) -> BadQuery:
    return BadQuery(
        f"no film of {uri} has a report, so there are no words to search; reports come with an "
        "ingestion that is asked for them, e.g. with --report-column findings,impression"
    )


def _ranks(found: Ranked) -> dict[int, int]:
    return {row_id: rank for rank, row_id in enumerate(found.row_ids, start=1)}


def _matches(
    now: Searcher,
    query: WordQuery,
    count: int,
    where: Where | None,
    exclude: Sequence[str],
    *,
    about: bool = False,
) -> Ranked:
    """The first films whose reports have the words, by (-BM25, id).

    Args:
        now: the version to search.
        query: the words.
        count: how many.
        where: only films that pass.
        exclude: ids that are left out.
        about: where many score the same at the edge, half as many are enough: without any of these.
    """
    condition = where.to_filter(now.handle.schema) if where else None
    limit = count + len(exclude) + _MARGIN
    while True:
        found = _ask(now, query, limit, condition)
        scores = np.round(found["_score"].to_numpy().astype(np.float64), _DIGITS)
        whole = len(scores) < limit
        least = scores.min(initial=np.inf)
        found = found.set_column(0, "_score", pa.array(scores))
        if exclude:
            found = found.filter(pc.invert(pc.is_in(found["id"], pa.array(exclude, pa.string()))))
        found = found.sort_by([("_score", "descending"), ("id", "ascending")])
        sure = len(found) if whole else int((found["_score"].to_numpy() > least).sum())
        if whole or sure >= (count + 1) // 2 * (1 if about else 2):
            found = found.slice(0, min(count, sure))
            return Ranked(*(found[name].to_pylist() for name in ("_rowid", "id", "_score")))
        limit *= _TIMES


def _ask(now: Searcher, query: WordQuery, limit: int, condition: Any) -> Any:
    """Row ids, ids and BM25 of matching films in any order: the best, at most ``limit``."""
    asked = now.handle.search(query.as_lancedb(), query_type="fts")
    if condition is not None:
        asked = asked.where(condition, prefilter=True)
    with lance.panics_as_errors():
        return asked.select(["_score", "_rowid", "id"]).limit(limit).to_arrow()


def _nearest(
    now: Searcher, vectors: Vectors, where: Where | None, exclude: Sequence[str]
) -> Ranked:
    """The films nearest to any of some vectors, each by the one nearest to it."""
    depth = min(WINDOW, now.count)
    lists = now.ranked(vectors, depth, where, exclude)
    if len(lists) == 1:
        return lists[0]
    best: dict[int, tuple[float, str]] = {}
    for found in lists:
        for row_id, id_, score in zip(*found, strict=True):
            if row_id not in best or score > best[row_id][0]:
                best[row_id] = (score, id_)
    order = sorted(best, key=lambda one: (-best[one][0], best[one][1]))[:depth]
    return Ranked(order, [best[one][1] for one in order], [best[one][0] for one in order])


def _cosines(now: Searcher, vectors: Vectors, row_ids: Sequence[int]) -> dict[int, float]:
    """Exact cosines of films to the nearest of some vectors, as an exact search has them."""
    if not row_ids:
        return {}
    stored = now.vectors_at(row_ids).astype(np.float64)
    scores = [(stored * one.astype(np.float64)).sum(axis=1).clip(-1, 1) for one in vectors]
    nearest = np.max(scores, axis=0).astype(np.float32)
    return dict(zip(row_ids, nearest.tolist(), strict=True))


def _passage(row: Row, query: WordQuery) -> Passage | None:
    report = report_of(row)
    return None if report is None else passage.passage(report, query)
