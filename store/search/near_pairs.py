"""Duplicates and near duplicates: groups and pairs of rows, from digests and vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from store.errors import BadQuery
from store.mirror import faiss_index
from store.schema import Integers, Progress, Vectors

#: Rows that ask at once, and rows of the index that they ask: where all pairs are near, 36 MiB.
_TALL, _WIDE = 192, 16384
#: Wider vectors are screened in fewer dimensions first.
_SCREENED = 64
#: Pairs whose cosine is worked out at once, in float64.
_VERIFIED = 1 << 15
#: What float32 may be off by, in an inner product of unit vectors.
_SLACK = 2e-5


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of rows, the most similar first; equal ones by position.

    Attributes:
        left, right: int64 (p,), positions, left below right.
        cosine: float64 (p,).
        total: how many pairs reach the threshold; more than p when not all are kept.
        across: how many of ``total`` join rows of two groups.
        kinds: int64, how many of ``total`` are of each kind; empty where no kind was asked for.
    """

    left: Integers
    right: Integers
    cosine: npt.NDArray[np.float64]
    total: int
    across: int
    kinds: Integers


def same(keys: Sequence[bytes]) -> list[list[int]]:
    """Groups of two or more positions with one key, in the order of their first position."""
    places: dict[bytes, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return [group for group in places.values() if len(group) > 1]


def near_pairs(
    vectors: Vectors,
    threshold: float,
    most: int = 10_000,
    groups: Integers | None = None,
    progress: Progress | None = None,
    index: Any = None,
    rows: Integers | None = None,
    kind: Callable[[Integers, Integers], Integers] | None = None,
) -> Pairs:
    """Every pair of rows whose cosine is ``threshold`` or more, exactly, in bounded memory.

    FAISS's range search finds the candidates in float32, float64 decides. Vectors of many
    dimensions are first compared in their 64 principal directions and the length of what is left
    over: by the Cauchy-Schwarz inequality that product is never below the cosine, so no pair is
    missed.

    Args:
        vectors: float32 (n, d), unit or zero rows; a zero row is in no pair.
        threshold: above 0, up to 1.
        most: how many pairs are kept; all are counted.
        groups: int64 (n,), e.g. splits as numbers, to count the pairs across; -1 is none.
        progress: called with scores done and in all.
        index: an IndexFlatIP of these vectors, where there is one: a small gallery needs no other.
        rows: int64 (n,), which of the vectors is at each of its positions.
        kind: the kinds of pairs, as small numbers from 0, of their left and their right rows; all
            pairs are counted by kind.

    Raises:
        BadQuery: a threshold out of range.
    """
    if not 0 < threshold <= 1:
        raise BadQuery(f"threshold {threshold}: expected a cosine above 0, at most 1")
    n, d = vectors.shape
    screen = _screen(vectors) if d > 2 * _SCREENED and n > _WIDE else vectors
    floor = float(threshold - _SLACK)
    kept = [_empty()]
    waiting = total = across = done = 0
    kinds = np.zeros(0, np.int64)
    for start in range(0, n, _WIDE):
        end = min(start + _WIDE, n)
        piece, row_of = index, rows
        if piece is None or row_of is None or n > _WIDE:
            piece, row_of = faiss_index.of(screen[start:end])[0], np.arange(start, end)
        blocks = [(top, min(top + _TALL, end)) for top in range(0, end, _TALL)]
        for first in range(0, len(blocks), faiss_index.cores()):
            now = blocks[first : first + faiss_index.cores()]
            jobs = [partial(_near, screen, piece, row_of, block, floor) for block in now]
            for found in faiss_index.together(jobs):
                for verified in _verify(vectors, *found, threshold):
                    total += len(verified[0])
                    if groups is not None:
                        left, right = groups[verified[0]], groups[verified[1]]
                        across += int(((left != right) & (left >= 0) & (right >= 0)).sum())
                    if kind is not None:
                        new = np.bincount(kind(*verified[:2]), minlength=len(kinds))
                        new[: len(kinds)] += kinds
                        kinds = new
                    kept.append(verified)
                    waiting += len(verified[0])
                    if waiting > 4 * most:
                        kept, waiting = [_best(kept, most)], most
            done += sum(bottom - top for top, bottom in now) * (end - start)
            if progress is not None:
                progress(done, n * (n + _WIDE) // 2)
    left, right, cosine = _best(kept, most)
    return Pairs(left, right, cosine, total, across, kinds)


_Found = tuple[Integers, Integers, npt.NDArray[np.float64]]


def _empty() -> _Found:
    return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)


def _near(
    screen: Vectors, index: Any, row_of: Integers, block: tuple[int, int], floor: float
) -> tuple[Integers, Integers]:
    """Pairs of a row of a block and a later row of an index that FAISS finds near enough."""
    top, bottom = block
    limits, _, places = faiss_index.above(index, screen[top:bottom], floor)
    left, right = np.repeat(np.arange(top, bottom), np.diff(limits)), row_of[places]
    later = right > left
    return left[later], right[later]


def _verify(vectors: Vectors, lefts: Integers, rights: Integers, threshold: float) -> list[_Found]:
    found = []
    for at in range(0, len(lefts), _VERIFIED):
        left, right = lefts[at : at + _VERIFIED], rights[at : at + _VERIFIED]
        one, other = vectors[left].astype(np.float64), vectors[right].astype(np.float64)
        # Stored vectors are unit to float32; dividing makes equal ones exactly 1.
        lengths = np.sqrt((one * one).sum(axis=1) * (other * other).sum(axis=1))
        cosine = np.divide(
            (one * other).sum(axis=1), lengths, out=np.zeros(len(left)), where=lengths > 0
        ).clip(-1, 1)
        enough = cosine >= threshold
        found.append((left[enough], right[enough], cosine[enough]))
    return found


def _best(found: Sequence[_Found], most: int) -> _Found:
    left, right, cosine = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((right, left, -cosine))[:most]
    return left[order], right[order], cosine[order]


def _screen(vectors: Vectors) -> Vectors:
    """Principal coordinates and the length of the rest, float32 (n, 65), about unit rows."""
    sample = vectors[:: max(1, len(vectors) // 4096)].astype(np.float64)
    _, directions = np.linalg.eigh(sample.T @ sample)
    basis = directions[:, -_SCREENED:].astype(np.float32)
    found = np.empty((len(vectors), _SCREENED + 1), np.float32)
    for start in range(0, len(vectors), _WIDE):
        piece = vectors[start : start + _WIDE]
        inside = piece @ basis
        found[start : start + _WIDE, :-1] = inside
        rest = np.einsum("ij,ij->i", piece, piece) - np.einsum("ij,ij->i", inside, inside)
        # Rounding must not make the rest too short: the product has to stay an upper bound.
        found[start : start + _WIDE, -1] = np.sqrt(np.maximum(rest, 0) + 1e-6)
    return found


def connected(pairs: Pairs) -> list[list[int]]:
    """Groups that pairs link together, each ascending, in the order of their first row."""
    root: dict[int, int] = {}

    def find(place: int) -> int:
        root.setdefault(place, place)
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    for left, right in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True):
        one, other = find(left), find(right)
        root[max(one, other)] = min(one, other)
    groups: dict[int, list[int]] = {}
    for place in sorted(root):
        groups.setdefault(find(place), []).append(place)
    return [groups[first] for first in sorted(groups)]
