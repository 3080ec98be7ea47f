"""Rankings of a labelled set by queries of another: the base of every evaluation.

Where vectors are in memory FAISS ranks them, as for any search; else a Searcher is asked, one query
at a time. Either way a query that is in the gallery is left out by id, and equal scores rank by id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


class Ranked(NamedTuple):
    """The nearest rows of some queries.

    Attributes:
        block: which queries.
        rows: int64 (b, depth), rows of the gallery, best first.
        scores: float32 (b, depth), cosines.
    """

    block: slice
    rows: Integers
    scores: Vectors


#: Ranks the gallery of two sides for every query, to a depth that is within reach of each.
Ranker = Callable[[Sides, int], Iterator[Ranked]]


def by_vectors(sides: Sides, depth: int) -> Iterator[Ranked]:
    """Rank by FAISS; see Ranker."""
    queries, gallery, own = sides.queries, sides.gallery, sides.own
    searched, allowed = gallery.searched, gallery.positions
    if searched is None or allowed is None:
        searched, row_of = exact.Rows.of(gallery.vectors), None
        theirs, allowed = own, None
    else:
        row_of = np.full(searched.index.ntotal, -1, np.int64)
        row_of[allowed] = np.arange(len(allowed))
        theirs = np.where(own < 0, -1, allowed[own])
        allowed = np.sort(allowed)
    for start in range(0, len(queries.ids), BLOCK):
        block = slice(start, min(start + BLOCK, len(queries.ids)))
        asked = np.ascontiguousarray(queries.vectors[block], np.float32)
        found = exact.nearest(searched, asked, depth, allowed, own=theirs[block])
        places = np.stack([positions for positions, _ in found])
        rows = places if row_of is None else row_of[places]
        yield Ranked(block, rows, np.stack([scores for _, scores in found]))


def by_searches(now: Searcher, where: Where) -> Ranker:
    """A ranker by searches, for a searcher that does not have all vectors in memory.

    Args:
        now: what is searched; vectors of the queries are read from its table.
        where: the filter of the searches, which the whole gallery passes.

    Raises:
        BadQuery: from the ranker, when an index proposes fewer labelled rows than are asked for.
    """

    def rank(sides: Sides, depth: int) -> Iterator[Ranked]:
        ids = sides.queries.ids
        places = {id_: place for place, id_ in enumerate(sides.gallery.ids)}
        for row, id_ in enumerate(ids):
            if row % BLOCK == 0:
                vectors = now.vectors_of(ids[row : row + BLOCK])
            vector, count = vectors[row % BLOCK], depth
            while True:
                hits = now.search(vector[None], min(count, now.count), where or None, [id_])[0]
                found = [(places[hit.row.id], hit.score) for hit in hits if hit.row.id in places]
                if len(found) >= depth or count >= now.count:
                    break
                count *= 4
            if len(found) < depth:
                raise BadQuery(
                    f"the index proposes {len(found)} labelled rows for {id_!r}, {depth} are "
                    "needed; evaluate with --index exact"
                )
            rows, scores = zip(*found[:depth], strict=True)
            yield Ranked(slice(row, row + 1), np.asarray([rows]), np.asarray([scores], np.float32))

    return rank


# -- the whole ranking -------------------------------------------------------------------------
