"""Rankings of a labelled set by queries of another: the base of every evaluation.

Where vectors are in memory FAISS ranks them, as for any search; else a Searcher is asked. Either
way rows of the query's own group (its patient or study; at least itself) are left out, and equal
scores rank by id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from store.errors import BadQuery
from store.evaluation.labelled import Sides
from store.schema import Integers, Vectors
from store.search import exact
from store.search.base import Searcher
from store.table.filters import Where

#: Queries ranked at once: larger products are quicker, by a fifth than of 256 queries.
BLOCK = 1024
#: The same where a Searcher is asked, and how many of one group are asked together.
_SEARCHED, _TOGETHER = 64, 16


class Ranked(NamedTuple):
    """The nearest rows of some queries.

    Attributes:
        block: which queries.
        rows: int64 (b, depth), rows of the gallery, best first; -1 where there are no more.
        scores: float32 (b, depth), cosines; -inf there.
    """

    block: slice
    rows: Integers
    scores: Vectors


#: Ranks the gallery of two sides for every query, to a depth that is within reach of one.
Ranker = Callable[[Sides, int], Iterator[Ranked]]


def by_vectors(sides: Sides, depth: int) -> Iterator[Ranked]:
    """Rank by FAISS; see Ranker."""
    queries, gallery = sides.queries, sides.gallery
    searched, allowed = gallery.searched, gallery.positions
    if searched is None or allowed is None:
        searched, row_of = exact.Rows.of(gallery.vectors), None
        numbers, allowed = sides.searched_group, None
    else:
        row_of = np.full(searched.index.ntotal, -1, np.int64)
        row_of[allowed] = np.arange(len(allowed))
        numbers = np.where(row_of < 0, -1, sides.searched_group[row_of])
        allowed = np.sort(allowed)
    groups = exact.Groups.of(numbers)
    for start in range(0, len(queries.ids), BLOCK):
        block = slice(start, min(start + BLOCK, len(queries.ids)))
        asked = np.ascontiguousarray(queries.vectors[block], np.float32)
        apart = sides.asking_group[block], groups
        found = exact.nearest(searched, asked, depth, allowed, apart=apart)
        lengths = np.asarray([len(positions) for positions, _ in found])
        places = np.concatenate([positions for positions, _ in found])
        yield padded(
            block,
            depth,
            lengths,
            places if row_of is None else row_of[places],
            np.concatenate([scores for _, scores in found]),
        )


def padded(block: slice, depth: int, lengths: Integers, rows: Integers, scores: Vectors) -> Ranked:
    """Rankings of several lengths, one after the other, as rows of equal length."""
    filled = np.arange(depth) < lengths[:, None]
    found = Ranked(
        block,
        np.full(filled.shape, -1, np.int64),
        np.full(filled.shape, -np.inf, np.float32),
    )
    found.rows[filled], found.scores[filled] = rows, scores
    return found


def of_answers(block: slice, depth: int, answers: Sequence[Sequence[tuple[int, float]]]) -> Ranked:
    """Rankings as rows of the gallery with their scores, best first; see padded."""
    flat = [one for answer in answers for one in answer]
    return padded(
        block,
        depth,
        np.asarray([len(answer) for answer in answers]),
        np.asarray([row for row, _ in flat], np.int64),
        np.asarray([score for _, score in flat], np.float32),
    )


def by_searches(now: Searcher, where: Where) -> Ranker:
    """A ranker by searches, for a searcher that does not have all vectors in memory.

    Args:
        now: what is searched; vectors of the queries are read from its table.
        where: the filter of the searches, which the whole gallery passes.

    Raises:
        BadQuery: from the ranker, when an index proposes fewer labelled rows than are asked for.
    """

    def rank(sides: Sides, depth: int) -> Iterator[Ranked]:
        ids, groups = sides.queries.ids, sides.asking_group
        places = {id_: place for place, id_ in enumerate(sides.gallery.ids)}
        for start in range(0, len(ids), _SEARCHED):
            block = slice(start, min(start + _SEARCHED, len(ids)))
            vectors = now.vectors_of(ids[block])
            found: list[list[tuple[int, float]]] = [[]] * len(vectors)
            for group in np.unique(groups[block]).tolist():
                mine = np.flatnonzero(groups[block] == group)
                for some in np.split(mine, range(_TOGETHER, len(mine), _TOGETHER)):
                    wanted = min(depth, int(sides.candidates[start + some[0]]))
                    own = sides.members.get(group, [])
                    answers = _found(now, vectors[some], wanted, where, own, places)
                    for place, answer in zip(some.tolist(), answers, strict=True):
                        if len(answer) < wanted:
                            raise BadQuery(
                                f"the index proposes {len(answer)} labelled rows for "
                                f"{ids[start + place]!r}, {wanted} are needed; evaluate with "
                                "--index exact"
                            )
                        found[place] = answer
            yield of_answers(block, depth, found)

    return rank


def _found(
    now: Searcher,
    vectors: Vectors,
    wanted: int,
    where: Where,
    own: list[str],
    places: dict[str, int],
) -> list[list[tuple[int, float]]]:
    """Rows of the gallery and scores by query, as many as wanted where the searcher has them."""
    if not wanted:
        return [[] for _ in vectors]
    count = wanted
    while True:
        answers = now.search(vectors, min(count, now.count), where or None, own)
        found = [
            [(places[hit.row.id], hit.score) for hit in hits if hit.row.id in places]
            for hits in answers
        ]
        if count >= now.count or all(len(one) >= wanted for one in found):
            return [one[:wanted] for one in found]
        count *= 4
