"""A copy of the vectors in 8 bits, and a proof of how far its scores can be off.

A scan for one query takes as long as its bytes take to arrive, and one for many as long as its
products take; the copy has a quarter of the bytes, and whole numbers of 8 bits are multiplied
several times as fast. Its scores only choose candidates, which are scored again from the vectors
themselves. With x' = middle + step * code for what row x becomes in 8 bits,

    |q.x - q.x'| <= |q| |x - x'|    (Cauchy-Schwarz),

and the largest |x - x'| is measured while the copy is made. What is multiplied with the codes is
w = q * step, in 8 bits as well; with w' for that, |w.code - w'.code| <= |w - w'| |code|. Where
these bounds cannot tell who is among the best, the whole scan in float32 does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from store import cores
from store.best import Best, Loose, new_floor, together
from store.mirror import Integers
from store.schema import Vectors

#: Bytes of vectors turned into codes at once, and of scores looked at once: they stay in cache.
_PIECE_BYTES = 1 << 18
_SCORE_BYTES = 1 << 20
#: Up to this many queries, the bytes of the copy are what takes time, not the products; and rows
#: that they are scored with at once.
FEW = 4
_ROWS = 1 << 18
_LEVELS = 256
_HALF = _LEVELS // 2
#: Queries are of unit length up to a rounding that is surely less than this.
_NEARLY_UNIT = 1.01
#: Below this, ranges and weights are nothing: their inverses fit no float32.
_TINY = 1e-30
#: Share of crowded queries with which the rest is not looked at.
_CROWDED = 0.5


class Found(NamedTuple):
    """Candidates of each query, best first, with their inner products in float32.

    Attributes:
        scores: float32 (q, m); -inf where there are no more.
        positions: int64 (q, m); -1 where there are no more.
        complete: bool (q,); whether every row left out is worse than ``count`` of these, by more
            than ``slack``.
    """

    scores: Vectors
    positions: Integers
    complete: npt.NDArray[np.bool_]


class _Weights:
    """What codes are multiplied with, float64 (q, d), as whole numbers of 8 bits, or two of them.

    Args:
        weights: float64 (q, d).
        longest: length of the longest row of codes.
        fine: two numbers each: the second counts what the first leaves.
    """

    def __init__(self, weights: npt.NDArray[np.float64], longest: float, fine: bool) -> None:
        unit = np.abs(weights).max(axis=1, keepdims=True) / (_HALF - 1)
        unit[unit < _TINY] = 1
        whole = np.rint(weights / unit)
        self.whole = whole.astype(np.int8)
        self._count = len(weights)
        self._parts = 1
        left = weights - whole * unit
        if fine:
            # As many parts as the second number has values, if the sum then fits 32 bits.
            length = float(np.linalg.norm(whole, axis=1).max()) * max(longest, 1)
            self._parts = int(max(min(2 * (_HALF - 1), 2**30 / max(length, 1)), 1))
            unit = unit / self._parts
            rest = np.rint(left / unit).clip(1 - _HALF, _HALF - 1)
            left -= rest * unit
            self.whole = np.concatenate([self.whole, rest.astype(np.int8)])
        #: What one of a product is worth, and the most that one is off; float32 and float64 (q,).
        self.scale = unit[:, 0].astype(np.float32)
        self.lost = np.linalg.norm(left, axis=1) * longest

    def together(self, products: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """One number for each query, (n, q)."""
        if products.shape[1] == self._count:
            return products
        first, second = products[:, : self._count], products[:, self._count :]
        return first * np.int32(self._parts) + second


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Vectors in 8 bits.

    Attributes:
        codes: int8 (n, d).
        middle, step: float64 (d,); row x is about middle + step * code.
        error: the most that a row can be away from that, times the length of a query.
        longest: length of the longest row of codes.
        rows: int64 (n,), position of each where the copy is of some rows alone; else None.
    """

    codes: npt.NDArray[np.int8]
    middle: npt.NDArray[np.float64]
    step: npt.NDArray[np.float64]
    error: float
    longest: float
    rows: Integers | None = None

    def top(
        self,
        vectors: Vectors,
        queries: Vectors,
        count: int,
        most: int,
        slack: float,
        allowed: Integers | None = None,
        fine: bool = True,
    ) -> Found | None:
        """The ``count`` best, and all that might be better.

        Args:
            vectors: float32, what the copy was made of.
            queries: float32 (q, d).
            count: at most the number of rows.
            most: candidates of a query at most.
            slack: how far apart float32 may put equal inner products.
            allowed: ascending positions to look at; None for all.
            fine: queries have 16 bits, which needs twice the products and fewer candidates.

        Returns:
            None when most queries have more candidates than that.
        """
        import numkong

        wide = queries.astype(np.float64)
        weights = _Weights(wide * self.step, self.longest, fine)
        packed = numkong.dots_pack(weights.whole)
        base = (wide @ self.middle).astype(np.float32)
        banned = None
        if allowed is not None:
            banned = np.ones(len(self.codes), bool)
            banned[allowed] = False

        def exact(places: Integers) -> Vectors:
            rows = places if self.rows is None else self.rows[places]
            products = np.empty(places.shape, np.float32)
            together = max(_SCORE_BYTES // (4 * places.shape[1] * vectors.shape[1]), 1)
            for some in cores.pieces(slice(0, len(places)), together):
                np.vecdot(vectors[rows[some]], queries[some, None], out=products[some])
            # Beyond 1 is rounding of the lengths, and ranks as 1.
            return np.where(places >= 0, products.clip(max=1) - base[:, None], -np.inf)

        error = (self.error + weights.lost + 2 * slack).astype(np.float32)
        loose = Loose(weights.scale, error, 1 - base, exact, most)
        floor = new_floor(len(queries))

        def scored(piece: slice) -> npt.NDArray[np.int32]:
            found = weights.together(np.asarray(numkong.dots_packed(self.codes[piece], packed)))
            if banned is not None:
                found[banned[piece]] = np.iinfo(np.int32).min
            return found

        def part(mine: slice) -> Best:
            best = Best(len(queries), count, loose, floor)
            for piece in cores.pieces(mine, max(_SCORE_BYTES // (4 * len(queries)), 1)):
                best.add(scored(piece), piece.start)
                if best.crowded.mean() > _CROWDED:
                    best.give_up()
                    break
            best.found()
            return best

        parts = min(cores.count(), len(self.codes))
        if len(queries) <= FEW:  # too few scores for picking them to be worth threads
            best = Best(len(queries), count, loose, floor)
            for piece in cores.pieces(slice(0, len(self.codes)), _ROWS):
                found = cores.each(
                    scored, cores.share(piece.stop - piece.start, parts, piece.start)
                )
                best.add(np.concatenate(found), piece.start)
        else:
            best = together(cores.each(part, cores.share(len(self.codes), parts)))
        _, positions = best.found()
        if best.crowded.mean() > _CROWDED:
            return None
        scores = exact(positions) + base[:, None]
        if self.rows is not None:
            positions = np.where(positions >= 0, self.rows[positions], -1)
        order = np.argsort(-scores, axis=1, kind="stable")
        return Found(
            np.take_along_axis(scores, order, axis=1),
            np.take_along_axis(positions, order, axis=1),
            ~best.crowded,
        )

    def only(self, rows: Integers) -> Codes:
        """A copy of these rows alone, ascending."""
        return replace(self, codes=self.codes[rows], rows=rows)


def make(vectors: Vectors) -> Codes:
    """Codes of vectors float32 (n, d).

    Raises:
        ValueError: numbers that are not finite.
    """
    low, high = vectors.min(axis=0).astype(np.float64), vectors.max(axis=0).astype(np.float64)
    if not np.isfinite([low, high]).all():
        raise ValueError("vectors hold numbers that are not finite")
    step = (high - low) / _LEVELS
    step[step < _TINY] = 0  # what it leaves is measured
    codes = np.empty(vectors.shape, np.int8)
    middle = low + step * (_HALF + 0.5)
    rows = max(_PIECE_BYTES // (4 * vectors.shape[1]), 1)
    small_middle, small_step = middle.astype(np.float32), step.astype(np.float32)
    with np.errstate(divide="ignore"):
        scale = np.where(step > 0, 1 / step, 0).astype(np.float32)

    def part(mine: slice) -> tuple[float, float]:
        farthest = longest = 0.0
        space = np.empty((rows, vectors.shape[1]), np.float32)
        for piece in cores.pieces(mine, rows):
            values = space[: piece.stop - piece.start]
            np.subtract(vectors[piece], small_middle, out=values)
            values *= scale
            np.rint(values, out=values)
            np.clip(values, -_HALF, _HALF - 1, out=values)
            codes[piece] = values
            longest = np.maximum(longest, np.einsum("ij,ij->i", values, values).max())
            values *= small_step
            values += small_middle
            values -= vectors[piece]
            farthest = np.maximum(farthest, np.einsum("ij,ij->i", values, values).max())
        return float(farthest), float(longest)

    found = cores.each(part, cores.share(len(vectors), min(cores.count(), len(vectors))))
    farthest, longest = (float(np.sqrt(max(worst))) for worst in zip(*found, strict=True))
    # x' worked out in float32, and the lengths, are off by less than this.
    rounding = 2.0**-20 * (1 + float(np.linalg.norm(middle) + _HALF * np.linalg.norm(step)))
    return Codes(codes, middle, step, _NEARLY_UNIT * (farthest + rounding), 1.001 * longest)
