"""Training of maps by supervised contrastive loss, on vectors alone.

The loss draws films with common findings together (Khosla et al., Supervised Contrastive Learning,
NeurIPS 2020, equation 2); where films have several, pairs count by the share that they have in
common (Jaccard).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ingest.encoders.adapted.vector_map import Branch, Layer
from store import Vectors

if TYPE_CHECKING:
    import torch

#: Fixed beforehand, on the training and validation films of PneumoniaMNIST.
WIDTH = 64
_TEMPERATURE, _DROPOUT, _NOISE = 0.1, 0.2, 0.5
_RATE, _DECAY = 2e-3, 1e-2
_BATCH, _EPOCHS = 256, 12
_FEWEST_STEPS, _MOST_STEPS = 120, 1200


def train_heads(
    vectors: Vectors, classes: Vectors, mean: Vectors, heads: int, hidden: int, seed: int
) -> tuple[Branch, ...]:
    """Train maps that differ in their beginning, and in the films that each step draws.

    They are trained together, on one thread: the matrices of a step are small, and threads that
    wait for each other take longer, on a busy machine many times.

    Args:
        vectors: float32 (n, d), unit rows.
        classes: float32 (n, c), 1 where a film is of a class; every film is of one at least.
        mean: float32 (d,), of the vectors.
        heads: how many.
        hidden: width of the hidden layer; 0: none, so that the map is linear.
        seed: of all that is drawn.

    Returns:
        One branch each, of ``WIDTH`` outputs or as many as there are inputs where these are fewer.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train(vectors, classes, mean, heads, hidden, seed)
    finally:
        torch.set_num_threads(threads)


def _train(
    vectors: Vectors, classes: Vectors, mean: Vectors, heads: int, hidden: int, seed: int
) -> tuple[Branch, ...]:
    import torch
    from torch.nn import functional

    n, dimension = vectors.shape
    out = min(WIDTH, dimension)
    random = torch.Generator().manual_seed(seed)
    scale = float((vectors[: 16 * _BATCH] - mean).std()) or 1.0
    inputs, hot, centre = map(torch.from_numpy, (vectors, classes, mean))
    # Films of rare findings are drawn more often, by the root of how rare they are.
    weights = (hot @ hot.sum(0).rsqrt() / hot.sum(1)).double().cumsum(0)
    batch = min(_BATCH, n)
    steps = min(_MOST_STEPS, max(_FEWEST_STEPS, math.ceil(_EPOCHS * n / batch)))
    sizes = [dimension, hidden, out] if hidden else [dimension, out]
    layers = [
        (_uniform((heads, a, b), a, random), _uniform((heads, 1, b), a, random))
        for a, b in pairwise(sizes)
    ]
    parameters = [one for layer in layers for one in layer]
    optimizer = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    for _ in range(steps):
        drawn = torch.rand((heads, batch), generator=random, dtype=torch.float64) * weights[-1]
        films = torch.searchsorted(weights, drawn).clamp(max=n - 1)
        rows = (inputs[films] - centre) / scale
        rows = rows + _NOISE * torch.randn(rows.shape, generator=random)
        for place, (weight, bias) in enumerate(layers):
            if place:
                kept = torch.rand(rows.shape, generator=random) >= _DROPOUT
                rows = functional.relu(rows) * kept / (1 - _DROPOUT)
            rows = torch.baddbmm(bias, rows, weight)
        loss = _loss(functional.normalize(rows, dim=2), hot[films])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    made = [(_array(weight), _array(bias)) for weight, bias in layers]
    return tuple(
        _branch([(w[head].T, b[head, 0]) for w, b in made], mean, scale) for head in range(heads)
    )


def _uniform(shape: tuple[int, ...], inputs: int, random: torch.Generator) -> torch.Tensor:
    """Parameters of a layer as PyTorch's own begin, uniform within the root of its inputs."""
    import torch

    reach = 1 / math.sqrt(inputs)
    return (torch.rand(shape, generator=random) * 2 * reach - reach).requires_grad_()


def _branch(layers: list[tuple[Vectors, Vectors]], mean: Vectors, scale: float) -> Branch:
    """One head as a branch, with the centring and scaling of vectors in its first layer."""
    (weight, bias), *rest = layers
    first: Vectors = (weight / scale).astype(np.float32)
    made = [Layer(first, bias - first @ mean)]
    return Branch((*made, *(Layer(np.ascontiguousarray(w), b) for w, b in rest)))


def _loss(rows: torch.Tensor, hot: torch.Tensor) -> torch.Tensor:
    """The loss of batches of unit rows, (heads, b, width), and their classes, (heads, b, c).

    Summed over heads, so that each learns as if it were alone.
    """
    import torch

    common = hot @ hot.transpose(1, 2)
    sizes = hot.sum(2)
    itself = torch.eye(rows.shape[1], dtype=torch.bool)
    pulls = (common / (sizes[:, :, None] + sizes[:, None] - common)).masked_fill(itself, 0)
    cosines = (rows @ rows.transpose(1, 2) / _TEMPERATURE).masked_fill(itself, -1e9)
    shares = cosines - torch.logsumexp(cosines, dim=2, keepdim=True)
    found: torch.Tensor = -((shares * pulls).sum(2) / pulls.sum(2).clamp(min=1e-6)).mean(1).sum()
    return found


def _array(tensor: torch.Tensor) -> Vectors:
    found: Vectors = tensor.detach().numpy().copy()
    return found
