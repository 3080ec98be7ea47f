"""Augmentation: random changes of grey images that leave the finding."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Limits of each change. Lengths are fractions of the image side, grey is in [0, 1].

    Attributes:
        rotate: degrees either way.
        zoom: natural logarithm of the largest magnification or reduction.
        stretch: the same for the ratio of the two sides.
        shear: tangent of the largest angle.
        shift: largest displacement.
        flip: probability of a left-right mirror.
        contrast, gamma: natural logarithm of the largest factor, or exponent.
        brightness: largest offset.
        shading: natural logarithm of the largest factor of a smooth field over the film.
        blur: largest weight of the neighbourhood's mean; as far the other way it sharpens.
        noise: largest standard deviation.
        erase: probability that a rectangle is replaced by the image's mean.
        spare: probability that an image is at most mirrored. Moving an image blurs it; films that
            are searched are not blurred, and a tower that saw only blurred ones takes a film for
            sharper than it is: it then lies nearer to the normal ones.
    """

    rotate: float = 12.0
    zoom: float = 0.2
    stretch: float = 0.1
    shear: float = 0.08
    shift: float = 0.08
    flip: float = 0.5
    contrast: float = 0.32
    gamma: float = 0.32
    brightness: float = 0.08
    shading: float = 0.16
    blur: float = 0.65
    noise: float = 0.025
    erase: float = 1.0
    spare: float = 0.25


#: Draws uniformly from [-limit, limit], in the shape asked for.
Uniform = Callable[..., Tensor]


def augment(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Change each image at random and independently.

    Args:
        images: float (n, 1, side, side) in [0, 1].
        how: how far.
        generator: on the images' device; the only source of chance.

    Returns:
        float (n, 1, side, side) in [0, 1].
    """
    count, _, side, _ = images.shape

    def uniform(limit: float, *shape: int) -> Tensor:
        draw = torch.rand(shape or (count, 1, 1, 1), generator=generator, device=images.device)
        return (2 * draw - 1) * limit

    before, images = images, _move(images, how, uniform)
    field = uniform(how.shading, count, 1, 3, 3)
    shade = functional.interpolate(field, size=(side, side), mode="bicubic", align_corners=False)
    mean = images.mean((2, 3), keepdim=True)
    images = (images - mean) * uniform(how.contrast).exp() + mean + uniform(how.brightness)
    images = (images * shade.exp()).clamp(0, 1).clamp_min(1e-4) ** uniform(how.gamma).exp()
    smooth = functional.avg_pool2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    images = images + uniform(how.blur) * (smooth - images)
    grain = torch.randn(images.shape, generator=generator, device=images.device)
    images = (images + grain * uniform(how.noise).abs()).clamp(0, 1)
    images = _erase(images, how.erase, uniform)
    mirrored = torch.where(uniform(0.5) + 0.5 < how.flip, before.flip(3), before)
    return torch.where(uniform(0.5) + 0.5 < how.spare, mirrored, images)


def _move(images: Tensor, how: Augmentation, uniform: Uniform) -> Tensor:
    """Rotate, scale, stretch, shear, shift and mirror in one resampling."""
    count = len(images)
    angle = uniform(how.rotate * math.pi / 180, count)
    zoom, stretch = uniform(how.zoom, count), uniform(how.stretch, count) / 2
    across, down = (zoom + stretch).exp(), (zoom - stretch).exp()
    mirror = torch.where(uniform(0.5, count) + 0.5 < how.flip, -1.0, 1.0)
    slant = uniform(how.shear, count)
    cos, sin = angle.cos(), angle.sin()
    matrix = torch.stack(
        [
            torch.stack([mirror * cos * across, mirror * (slant * cos - sin) * down], -1),
            torch.stack([sin * across, (slant * sin + cos) * down], -1),
        ],
        dim=1,
    )
    shift = uniform(2 * how.shift, count, 2, 1)
    grid = functional.affine_grid(
        torch.cat([matrix, shift], dim=2), list(images.shape), align_corners=False
    )
    # Bilinear blurs more, and what a tower learns of blur it expects of films that were not moved.
    moved = functional.grid_sample(
        images, grid, mode="bicubic", padding_mode="border", align_corners=False
    )
    return moved.clamp(0, 1)


def _erase(images: Tensor, probability: float, uniform: Uniform) -> Tensor:
    count, _, side, _ = images.shape
    place = torch.arange(side, device=images.device) / side
    centre, half = uniform(0.5, count, 2) + 0.5, (uniform(0.5, count, 2) + 0.5) * 0.15 + 0.05
    inside = (place[None, None] - centre[..., None]).abs() < half[..., None]
    chosen = uniform(0.5, count)[:, None, None] + 0.5 < probability
    box = (inside[:, 0, :, None] & inside[:, 1, None, :] & chosen)[:, None]
    return torch.where(box, images.mean((2, 3), keepdim=True), images)
