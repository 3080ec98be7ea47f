"""Equal vectors score equal, whatever a matrix product rounds.

BLAS adds up the edges of a matrix in another order than its middle, and cuts it by threads. Two
equal vectors then differ in the last bit of their scores, and which ranks first depends on where
they lie. So only one of them is scored, and stands for all.
"""

from __future__ import annotations

import hashlib

import numpy as np

from store import scan
from store.mirror import Integers
from store.schema import Vectors


class Equals:
    """The rows of a matrix, and which of them are equal.

    Args:
        vectors: float32 (n, d).
    """

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = np.ascontiguousarray(vectors, np.float32)
        count = len(self._vectors)
        seen: dict[bytes, int] = {}
        # A zero that is added makes one of both zeros.
        digests = (hashlib.blake2b(row + 0.0, digest_size=16).digest() for row in self._vectors)
        found = (seen.setdefault(digest, place) for place, digest in enumerate(digests))
        #: int64 (n,): the first row that equals this one; itself where none does.
        self.first = np.fromiter(found, np.int64, count)
        self._later = np.flatnonzero(self.first != np.arange(count))
        if len(self._later):
            self._kept = np.flatnonzero(self.first == np.arange(count))
            self._distinct = self._vectors[self._kept]
            # Rows by the first that equals them, and where those of each begin.
            self._members = np.argsort(self.first, kind="stable")
            self._start = np.searchsorted(self.first[self._members], self._kept)
            self._size = np.bincount(self.first, minlength=count)[self._kept]

    def scores(self, queries: Vectors) -> Vectors:
        """Inner products of float32 (q, d) with all rows, (q, n)."""
        scores: Vectors = queries @ self._vectors.T
        scores[:, self._later] = scores[:, self.first[self._later]]
        return scores

    def top(self, queries: Vectors, count: int, banned: Integers) -> Integers:
        """Positions of the best rows, int64 (q, count), best first; equal scores by position.

        Args:
            queries: float32 (q, d).
            count: at most n, or n - 1 where one is banned.
            banned: one position per query that is not to be found; -1 for none.
        """
        if not len(self._later):
            return scan.blocked(self._vectors, queries, count, banned)[1]
        # One more than wanted: the one that is banned stands for others, too.
        wanted = min(count + 1, len(self._kept))
        scores, found = scan.blocked(self._distinct, queries, wanted)
        sizes = np.minimum(self._size, count + 1)
        ranking = np.empty((len(queries), count), np.int64)
        for mine, score, groups, ban in zip(ranking, scores, found, banned, strict=True):
            size = sizes[groups]
            begin = np.repeat(self._start[groups] - np.cumsum(size) + size, size)
            rows = self._members[begin + np.arange(len(begin))]
            rows = rows[np.lexsort((rows, -np.repeat(score, size)))]
            mine[:] = rows[rows != ban][:count]
        return ranking
