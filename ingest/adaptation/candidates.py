"""Candidates for the map, each learnt from the same films: none, closed forms, and trained ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ingest.adaptation.contrastive import train_heads
from ingest.adaptation.films import Films
from ingest.encoders.adapted.vector_map import Branch, Layer, VectorMap
from store import Floats, Integers, Vectors

#: Two-layer heads that are trained from different beginnings and put side by side: one alone
#: depends on its beginning.
_HEADS, _HIDDEN = 4, 256
#: Of discriminants beside the vector itself: the ratio of their mean squares.
_DISCRIMINANT_SHARE = 0.5
_MOST_DISCRIMINANTS = 64
#: Films that second moments are estimated from, at most.
_SOME = 20_000
#: The class of films in which nothing was found; no finding is called so.
_NOTHING = ""


@dataclass(frozen=True, eq=False)
class Sample:
    """Films to learn from, with what several candidates need of them.

    Attributes:
        films: at least two classes of them.
        seed: of everything drawn at random.
    """

    films: Films
    seed: int

    @cached_property
    def classes(self) -> Vectors:
        """float32 (n, classes): 1 where a film has a finding; nothing found is a class as well."""
        return classes_of(self.films.labels)

    @cached_property
    def mean(self) -> Vectors:
        """float32 (d,), of the vectors."""
        found: Vectors = self.films.vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        return found

    @cached_property
    def effects(self) -> Floats:
        """float64 (classes, d): what each finding adds to a centred vector, by least squares.

        Where every film has one class these are the classes' means.
        """
        hot = self.classes.astype(np.float64)
        gram = hot.T @ hot + 1e-6 * np.eye(hot.shape[1])
        sums = (self.classes.T @ self.films.vectors).astype(np.float64)
        means = np.outer(hot.sum(axis=0), self.mean.astype(np.float64))
        return np.asarray(np.linalg.solve(gram, sums - means), np.float64)

    @cached_property
    def some(self) -> Integers:
        """Films that second moments are estimated from, int64; all of them where there are few."""
        n = len(self.films)
        if n <= _SOME:
            return np.arange(n)
        return np.sort(np.random.default_rng(self.seed).permutation(n)[:_SOME])

    @cached_property
    def within(self) -> tuple[Floats, Floats]:
        """Eigenvalues and eigenvectors of the covariance within classes.

        Shrunk towards a multiple of the identity (Ledoit and Wolf, J. Multivariate Analysis 88,
        2004).
        """
        from sklearn.covariance import ledoit_wolf

        classes = self.classes[self.some].astype(np.float64)
        centred = self.films.vectors[self.some].astype(np.float64) - self.mean
        rest = centred - classes @ self.effects
        values, axes = np.linalg.eigh(ledoit_wolf(rest, assume_centered=True)[0])
        return np.maximum(values, 1e-12), axes

    def whitened(self, power: float) -> Floats:
        """float64 (d, d): the covariance within classes to a negative power; symmetric."""
        values, axes = self.within
        found: Floats = (axes * values**-power) @ axes.T
        return found

    @cached_property
    def discriminants(self) -> Floats:
        """float64 (r, d): directions that tell classes apart, of unit variance within them.

        Linear discriminant analysis (Rao 1948) for several findings at once, with the shrunk
        covariance; r is at most the number of classes less one.
        """
        root = self.whitened(0.5)
        weights = self.classes.mean(axis=0, dtype=np.float64)
        spread = self.effects - (weights / weights.sum()) @ self.effects
        _, sizes, axes = np.linalg.svd(spread @ root, full_matrices=False)
        kept = min(int((sizes > 1e-6 * sizes[0]).sum()), len(spread) - 1, _MOST_DISCRIMINANTS)
        found: Floats = axes[: max(1, kept)] @ root
        return found

    @cached_property
    def heads(self) -> tuple[Branch, ...]:
        """Two-layer heads, trained."""
        return self.trained(_HEADS, hidden=_HIDDEN)

    def trained(self, heads: int, hidden: int) -> tuple[Branch, ...]:
        """Branches trained on these films; see train_heads."""
        return train_heads(self.films.vectors, self.classes, self.mean, heads, hidden, self.seed)


def classes_of(labels: Sequence[tuple[str, ...]]) -> Vectors:
    """float32 (n, classes): 1 where a film has a finding; the last class is nothing found."""
    names = [*sorted({name for row in labels for name in row}), _NOTHING]
    column = {name: place for place, name in enumerate(names)}
    hot = np.zeros((len(labels), len(names)), np.float32)
    for place, row in enumerate(labels):
        hot[place, [column[name] for name in row or (_NOTHING,)]] = 1
    return hot[:, hot.any(axis=0)]


#: Makes a map of a sample; None where the films do not allow it.
Fit = Callable[[Sample], VectorMap | None]


def _affine(sample: Sample, weight: Floats) -> VectorMap:
    """The map ``weight @ (x - mean)``."""
    made = weight.astype(np.float32)
    bias = -(weight @ sample.mean.astype(np.float64)).astype(np.float32)
    return VectorMap((Branch((Layer(made, bias),)),))


def _as_it_is(sample: Sample) -> VectorMap:
    return VectorMap((Branch(()),))


def _whitening(sample: Sample) -> VectorMap:
    return _affine(sample, sample.whitened(0.5))


def _half_whitening(sample: Sample) -> VectorMap:
    return _affine(sample, sample.whitened(0.25))


def _discriminants(sample: Sample) -> VectorMap | None:
    """None below three: cosines in one or two dimensions tell hardly more than a class."""
    found = sample.discriminants
    return _affine(sample, found) if len(found) >= 3 else None


def _vector_and_discriminants(sample: Sample) -> VectorMap:
    found = sample.discriminants
    centred = (sample.films.vectors[sample.some] - sample.mean).astype(np.float64)
    squares = (centred**2).sum(axis=1).mean(), ((centred @ found.T) ** 2).sum(axis=1).mean()
    scale = np.sqrt(_DISCRIMINANT_SHARE * squares[0] / squares[1])
    return _affine(sample, np.concatenate([np.eye(len(sample.mean)), scale * found]))


def _linear(sample: Sample) -> VectorMap:
    return VectorMap(sample.trained(1, hidden=0))


def _two_layers(sample: Sample) -> VectorMap:
    return VectorMap(sample.heads)


def _vector_and_two_layers(sample: Sample) -> VectorMap:
    centre = Layer(np.eye(len(sample.mean), dtype=np.float32), -sample.mean)
    return VectorMap((Branch((centre,), float(np.sqrt(_HEADS))), *sample.heads))


#: Candidates by name, the simplest first: of equals the first is taken.
CANDIDATES: dict[str, Fit] = {
    "as it is": _as_it_is,
    "half whitening": _half_whitening,
    "whitening": _whitening,
    "vector and discriminants": _vector_and_discriminants,
    "discriminants": _discriminants,
    "linear": _linear,
    "two layers": _two_layers,
    "vector and two layers": _vector_and_two_layers,
}
#: The candidate that changes nothing.
IDENTITY = "as it is"
#: Those that sentences can go through as well.
LINEAR = tuple(name for name in CANDIDATES if "two layers" not in name)
