"""Projections of vectors to the plane by principal components or UMAP; points in an outline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from store.errors import BadQuery, UsageError
from store.schema import Floats, Vectors

PCA, UMAP = "pca", "umap"
METHODS = (PCA, UMAP)

_BLOCK = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """The plane of principal components, onto which vectors are projected, old or new.

    Attributes:
        mean: float64 (d,).
        axes: float64 (2, d), orthonormal; of each, the entry of largest size is positive.
        explained: share of the variance along each axis, 0 to 1.
    """

    mean: Floats
    axes: Floats
    explained: tuple[float, float]

    def place(self, vectors: Vectors) -> Vectors:
        """Coordinates of vectors, float32 (n, 2)."""
        found = np.empty((len(vectors), 2), np.float32)
        for start in range(0, len(vectors), _BLOCK):
            piece = vectors[start : start + _BLOCK].astype(np.float64)
            found[start : start + _BLOCK] = (piece - self.mean) @ self.axes.T
        return found


def pca(vectors: Vectors) -> Plane:
    """The plane of largest variance, exact: eigenvectors of the covariance in float64.

    Args:
        vectors: float32 (n, d), n and d of 2 or more.

    Raises:
        BadQuery: fewer than two vectors, or dimensions.
    """
    n, d = vectors.shape
    if n < 2 or d < 2:
        raise BadQuery(f"{n} vectors of {d} dimensions: a map needs two of each")
    mean = vectors.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((d, d))
    for start in range(0, n, _BLOCK):
        centred = vectors[start : start + _BLOCK].astype(np.float64) - mean
        scatter += centred.T @ centred
    values, directions = np.linalg.eigh(scatter)
    axes = directions[:, [-1, -2]].T.copy()
    # An eigenvector's sign is free: fixed here, so that the map does not flip between runs.
    largest = np.abs(axes).argmax(axis=1)
    axes *= np.sign(axes[[0, 1], largest])[:, None]
    total = float(values.clip(0).sum())
    first, second = (max(float(values[at]), 0.0) / total if total else 0.0 for at in (-1, -2))
    return Plane(mean, axes, (first, second))


def umap(vectors: Vectors, seed: int = 0, neighbours: int = 15) -> Vectors:
    """UMAP with cosine distances (McInnes, Healy and Melville, arXiv 1802.03426).

    Args:
        vectors: float32 (n, d), three or more.
        seed: equal seeds give equal maps on one machine.
        neighbours: how many make a neighbourhood.

    Returns:
        float32 (n, 2).

    Raises:
        UsageError: umap-learn is not installed.
        BadQuery: fewer than three vectors.
    """
    if len(vectors) < 3:
        raise BadQuery(f"{len(vectors)} vectors: UMAP needs three or more; use pca")
    try:
        import umap as library
    except ImportError as error:
        raise UsageError(
            "UMAP needs umap-learn: pip install 'cxr-retrieval[map]', or use --method pca"
        ) from error
    model = library.UMAP(
        n_neighbors=min(neighbours, len(vectors) - 1),
        metric="cosine",
        random_state=seed,
        n_jobs=1,
        # Spectral starts need more points than dimensions asked for.
        init="spectral" if len(vectors) > 10 else "random",
    )
    found: Vectors = np.asarray(model.fit_transform(vectors), np.float32)
    return found


def inside(points: npt.ArrayLike, outline: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Points that a closed line surrounds, by the even-odd rule.

    Args:
        points: float (n, 2).
        outline: float (m, 2), its corners in order; fewer than three surround nothing.

    Returns:
        bool (n,); either may be said of a point on the line.
    """
    from matplotlib.path import Path

    at, corners = np.asarray(points, np.float64), np.asarray(outline, np.float64).reshape(-1, 2)
    if len(corners) < 3:
        return np.zeros(len(at), bool)
    found: npt.NDArray[np.bool_] = Path(corners).contains_points(at)
    return found
