"""Maker of the bundled synthetic cohort, a maintainer's tool.

Run at the root of a checkout; see ``ingest.sources.synthetic`` for what the cohort is::

    python -m tools.make_synthetic_cohort pneumoniamnist.npz ingest/sources/synthetic-cohort.npz
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.record import Pixels
from ingest.sources.published.npz import NpzFile
from ingest.sources.synthetic import COUNTS, CREDIT, LABELS, SYNTHETIC_NOTICE
from store import BadSource, UsageError

COMPONENTS = 120
SEED = 20
#: A sample must be farther from every training image than this share of the training images is
#: from its nearest other one.
CLOSEST_SHARE = 0.05

_Floats = npt.NDArray[np.float64]


def make(images: Pixels, labels: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Fit and sample a cohort.

    Args:
        images: uint8 (n, 28, 28), the training split; its order does not matter.
        labels: (n,), 0 or 1.

    Returns:
        The arrays of the npz file.
    """
    flat = images.reshape(len(images), -1)
    # Each image once, in an order of its own: the training split holds exact copies, at distance 0.
    distinct = np.unique(flat, axis=0)
    limit = privacy_limit(distinct)
    rng = np.random.default_rng(SEED)
    samples = []
    for label in range(len(LABELS)):
        needed = sum(counts[label] for counts in COUNTS.values())
        of_label = np.unique(flat[labels == label], axis=0)
        candidates = candidates_of(of_label, rng)
        samples.append(take(candidates, needed, distinct, limit).reshape(needed, 28, 28))
    arrays: dict[str, npt.NDArray[Any]] = {}
    taken = [0] * len(LABELS)
    for split, counts in COUNTS.items():
        numbers = np.repeat(np.arange(len(LABELS), dtype=np.uint8), counts)
        order = rng.permutation(len(numbers))
        chosen = [
            samples[label][taken[label] : taken[label] + count]
            for label, count in enumerate(counts)
        ]
        taken = [start + count for start, count in zip(taken, counts, strict=True)]
        arrays[f"{split}_images"] = np.concatenate(chosen)[order]
        arrays[f"{split}_labels"] = numbers[order, None]
    return {**arrays, "notice": np.array(SYNTHETIC_NOTICE), "credit": np.array(CREDIT)}


def privacy_limit(distinct: Pixels) -> float:
    """The distance to a training image below which a sample is refused, in grey levels (L2).

    Args:
        distinct: uint8 (n, pixels), training images without exact copies.
    """
    return float(np.quantile(nearest(distinct, distinct, itself=True), CLOSEST_SHARE))


def nearest(images: Pixels, others: Pixels, *, itself: bool = False) -> _Floats:
    """L2 distance in grey levels from each image to the nearest of some others.

    Args:
        images: uint8 (n, pixels).
        others: uint8 (m, pixels).
        itself: the two are the same, and an image is not its own neighbour.

    Returns:
        float64 (n,).
    """
    left, right = images.astype(np.float64), others.astype(np.float64)
    norms = (right**2).sum(axis=1)
    found = np.empty(len(left))
    for start in range(0, len(left), 512):
        block = left[start : start + 512]
        squared = (block**2).sum(axis=1)[:, None] + norms - 2 * block @ right.T
        if itself:
            squared[np.arange(len(block)), np.arange(start, start + len(block))] = np.inf
        found[start : start + 512] = np.sqrt(np.maximum(squared.min(axis=1), 0))
    return found


def candidates_of(images: Pixels, rng: np.random.Generator) -> Iterator[Pixels]:
    """Endless blocks of samples of the PCA Gaussian of some images."""
    values = images.astype(np.float64)
    mean = values.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(values, rowvar=False))
    variances, axes = variances[::-1][:COMPONENTS], axes[:, ::-1][:, :COMPONENTS]
    # An eigenvector's sign is the linear algebra library's mood; fix it.
    strongest = axes[np.abs(axes).argmax(axis=0), np.arange(COMPONENTS)]
    basis = (axes * np.sign(strongest) * np.sqrt(variances)).T
    while True:
        sample = mean + rng.standard_normal((64, COMPONENTS)) @ basis
        yield np.clip(np.rint(sample), 0, 255).astype(np.uint8)


def take(candidates: Iterator[Pixels], needed: int, training: Pixels, limit: float) -> Pixels:
    """The first candidates that are far enough from every training image."""
    kept: list[Pixels] = []
    for block in candidates:
        kept.extend(block[nearest(block, training) > limit])
        if len(kept) >= needed:
            break
    return np.stack(kept[:needed])


def main(arguments: Sequence[str]) -> None:
    """Make the bundled file: arguments are pneumoniamnist.npz and where to write."""
    if len(arguments) != 2:
        raise UsageError("usage: python -m tools.make_synthetic_cohort PNEUMONIAMNIST.npz OUT.npz")
    source, out = map(Path, arguments)
    remedy = "pass the npz file of PneumoniaMNIST, 28 x 28"
    training = list(NpzFile(source, "pneumoniamnist", LABELS, remedy).read(["train"]))
    if not training:
        raise BadSource(f"{source} has no training images; {remedy}")
    images = np.stack([record.pixels for record in training])
    labels = np.array([LABELS.index(record.labels[0]) for record in training])
    arrays = make(images, labels)
    with out.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    distinct = np.unique(images.reshape(len(images), -1), axis=0)
    samples = np.concatenate([arrays[f"{split}_images"] for split in COUNTS])
    among = nearest(distinct, distinct, itself=True)
    to_training = nearest(samples.reshape(len(samples), -1), distinct)
    sys.stdout.write(
        f"{len(samples)} samples; distance to the nearest training image: min "
        f"{to_training.min():.1f}, median {np.median(to_training):.1f} grey levels (L2)\n"
        f"{len(distinct)} distinct training images ({len(images) - len(distinct)} exact copies "
        f"left out); distance to the nearest other one: min {among.min():.1f}, "
        f"1 % {np.quantile(among, 0.01):.1f}, 5 % {np.quantile(among, 0.05):.1f}, "
        f"median {np.median(among):.1f}\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
