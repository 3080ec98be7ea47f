"""Equal vectors score equal, whatever a matrix product rounds.

BLAS adds up the edges of a matrix in another order than its middle, and cuts it by threads. Two
equal vectors then differ in the last bit of their scores, and which ranks first depends on where
they lie. So only one of them is scored, and stands for all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from store import scan
from store.mirror import Integers
from store.schema import Vectors


@dataclass(frozen=True, eq=False)
class Equals:
    """Which rows of a matrix are equal.

    Attributes:
        vectors: float32 (n, d), contiguous.
        first: int64 (n,): the first row that equals this one; itself where none does.
    """

    vectors: Vectors
    first: Integers

    @classmethod
    def among(cls, vectors: Vectors) -> Equals:
        """Compare float32 (n, d)."""
        vectors = np.ascontiguousarray(vectors, np.float32)
        seen: dict[bytes, int] = {}
        first = (
            seen.setdefault(hashlib.blake2b(row, digest_size=16).digest(), place)
            for place, row in enumerate(vectors)
        )
        return cls(vectors, np.fromiter(first, np.int64, len(vectors)))

    def scores(self, queries: Vectors) -> Vectors:
        """Inner products of float32 (q, d) with all rows, (q, n)."""
        scores: Vectors = queries @ self.vectors.T
        later = np.flatnonzero(self.first != np.arange(len(self.first)))
        scores[:, later] = scores[:, self.first[later]]
        return scores

    def top(self, queries: Vectors, count: int, banned: Integers) -> Integers:
        """Positions of the best rows, int64 (q, count), best first; equal ones by position.

        Args:
            queries: float32 (q, d).
            count: at most n, or n - 1 where one is banned.
            banned: one position per query that is not to be found; -1 for none.
        """
        kept = np.flatnonzero(self.first == np.arange(len(self.first)))
        if len(kept) == len(self.first):
            return scan.blocked(self.vectors, queries, count, banned)[1]
        # One more than wanted: the one that is banned stands for others, too.
        found = scan.blocked(self.vectors[kept], queries, min(count + 1, len(kept)))[1]
        members = np.argsort(self.first, kind="stable")
        start = np.searchsorted(self.first[members], kept)
        size = np.minimum(np.bincount(self.first, minlength=len(self.first))[kept], count + 1)
        ranking = np.empty((len(queries), count), np.int64)
        for mine, groups, ban in zip(ranking, found, banned, strict=True):
            sizes = size[groups]
            begin = np.repeat(start[groups] - np.cumsum(sizes) + sizes, sizes)
            rows = members[begin + np.arange(len(begin))]
            mine[:] = rows[rows != ban][:count]
        return ranking
