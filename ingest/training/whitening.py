"""Whitening of the image vectors once a tower has learnt: centred, whitened within classes.

The losses leave all vectors on one side of the origin, and stretch the few directions that tell the
classes apart. A cosine then says little about anything else, and where the origin lies decides
whose neighbour a film between the classes is. Neither is learnt; both are mended afterwards.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ingest.training.captions import SUBJECTS
from ingest.training.image_tower import Films, Pupil, pooled_of

#: Share of the mean variance that every direction is lent: a direction of no variance stays finite.
_RIDGE = 1e-3


@torch.no_grad()
def whitened(pupil: Pupil, films: Films, power: float, origin: float = 0.5) -> Pupil:
    """A copy with a new origin, whitened within classes; still a standard model.

    Pooled features x become K (x - o) in place of W x. o lies on the line between the mean features
    of the classes. K = C^(-power / 2) W, where C is the covariance of W x within a class, the mean
    over the classes, so that large and small classes count alike. Both are folded into the bias of
    the pooler, which is linear, and into the projection. With ``power`` 1 this is within-class
    covariance normalization (Hatch, Kajarekar and Stolcke, Interspeech 2006).

    Args:
        pupil: not changed.
        films: the training split, on the pupil's device.
        power: from 0, which only moves the origin, to 1, which makes all directions vary alike
            within a class, those too that are mostly noise.
        origin: where o lies, from 0, the mean of the first class, to 1, that of the second. A film
            between the classes finds neighbours of the class that o is farther from.
    """
    copied = copy.deepcopy(pupil)
    projection = copied.model.visual_projection.weight
    # In double precision, which not every device has.
    weight = projection.cpu().double()
    features = pooled_of(copied, films.images).cpu().double()
    labels = films.labels.cpu()
    classes = [features[labels == label] for label in range(len(SUBJECTS))]
    first, second = (members.mean(0) for members in classes)
    spreads = [torch.cov((members @ weight.T).T, correction=0) for members in classes]
    within = torch.stack(spreads).mean(0)
    projection.copy_(_power(within, -power / 2) @ weight)
    bias = copied.model.vision_model.pooler.dense.bias
    bias.copy_(bias.cpu().double() - first.lerp(second, origin))
    return copied


def _power(covariance: Tensor, exponent: float) -> Tensor:
    """A symmetric matrix, as shares of its mean variance, to a power; lent a little of it first."""
    size = len(covariance)
    mean = covariance.trace() / size
    if not mean > 0:  # nothing varies, so nothing is to be evened
        return torch.eye(size, dtype=torch.double)
    lent = covariance / mean + _RIDGE * torch.eye(size, dtype=torch.double)
    values, directions = torch.linalg.eigh(lent)
    raised: Tensor = directions * values.clamp_min(_RIDGE) ** exponent @ directions.T
    return raised
