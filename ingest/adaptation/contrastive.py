"""Training of maps by supervised contrastive loss, on vectors alone.

The loss draws films with common findings together (Khosla et al., Supervised Contrastive Learning,
NeurIPS 2020, equation 2); where films have several, pairs count by the share that they have in
common (Jaccard).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ingest.encoders.vector_map import Branch, Layer
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
    """Train maps that differ in their beginning and in the order of the films alone.

    Args:
        vectors: float32 (n, d), unit rows.
        classes: float32 (n, c), 1 where a film is of a class; every film is of one at least.
        mean: float32 (d,), of the vectors.
        heads: how many.
        hidden: width of the hidden layer; 0: none, so that the map is linear.
        seed: of the first; the others follow it.

    Returns:
        One branch each, of ``WIDTH`` outputs or as many as there are inputs where these are fewer.
    """
    return tuple(_train(vectors, classes, mean, hidden, seed + number) for number in range(heads))


def _train(vectors: Vectors, classes: Vectors, mean: Vectors, hidden: int, seed: int) -> Branch:
    import torch
    from torch.nn import functional

    n, dimension = vectors.shape
    out = min(WIDTH, dimension)
    scale = float((vectors[:_BATCH * 16] - mean).std()) or 1.0
    inputs, hot = torch.from_numpy(vectors), torch.from_numpy(classes)
    centre = torch.from_numpy(mean)
    # Films of rare findings are drawn more often, by the root of how rare they are.
    rarity = hot.sum(0).rsqrt()
    weights = (hot @ rarity / hot.sum(1)).double()
    batch = min(_BATCH, n)
    steps = min(_MOST_STEPS, max(_FEWEST_STEPS, math.ceil(_EPOCHS * n / batch)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        draws = torch.multinomial(weights, steps * batch, replacement=True).view(steps, batch)
        layers = [torch.nn.Linear(dimension, hidden or out)]
        if hidden:
            layers.append(torch.nn.Linear(hidden, out))
        parameters = [one for layer in layers for one in layer.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
        for drawn in draws:
            rows = (inputs[drawn] - centre) / scale
            rows = layers[0](rows + _NOISE * torch.randn_like(rows))
            if hidden:
                rows = layers[1](functional.dropout(functional.relu(rows), _DROPOUT))
            loss = _loss(functional.normalize(rows, dim=1), hot[drawn])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    first, *rest = ((_array(layer.weight), _array(layer.bias)) for layer in layers)
    weight = first[0] / np.float32(scale)
    made = [Layer(weight, first[1] - weight @ mean), *(Layer(*one) for one in rest)]
    return Branch(tuple(made))


def _loss(rows: torch.Tensor, hot: torch.Tensor) -> torch.Tensor:
    """The loss of a batch of unit rows, (b, width), and their classes, (b, c)."""
    import torch

    common = hot @ hot.T
    sizes = hot.sum(1)
    pulls = (common / (sizes[:, None] + sizes[None] - common)).fill_diagonal_(0)
    cosines = (rows @ rows.T / _TEMPERATURE).masked_fill(
        torch.eye(len(rows), dtype=torch.bool), -1e9
    )
    shares = cosines - torch.logsumexp(cosines, dim=1, keepdim=True)
    found: torch.Tensor = -((shares * pulls).sum(1) / pulls.sum(1).clamp(min=1e-6)).mean()
    return found


def _array(tensor: torch.Tensor) -> Vectors:
    found: Vectors = tensor.detach().numpy().copy()
    return found
