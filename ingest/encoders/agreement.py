"""Where an image agrees with a vector: a cosine split up by the image's patches, exactly.

The vector of a vision transformer with a class token is that token's last state, normalised and
projected. Every layer's attention adds to that state a sum over the patches, so each patch has a
direct share of the vector (Gandelsman, Efros and Steinhardt, "Interpreting CLIP's image
representation via text-based decomposition", ICLR 2024, equations 3 to 5), and of its cosine with
any other vector. What the class token, the biases and the other blocks add has no place in the
image. It is spread evenly, so that the mean of the map is the cosine.
"""

from __future__ import annotations

import math
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ingest.encoders.encoder import Encoder
from ingest.encoders.runtime import Runtime
from ingest.record import Pixels
from store.errors import BadQuery, PatchesUnsupported

#: Largest difference, relative to the vector's length, between a model's own vector and the one put
#: together from its parts. More than rounding means that the model is built in another way.
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """A cosine, by place.

    Attributes:
        values: float32 (rows, columns), one a patch: the cosine that there would be if every patch
            added what this one adds. Their mean is ``score``; they may lie outside [-1, 1].
        score: the cosine of the image's vector with the other one.
        placed: the part of the score that patches add; the rest has no place in the image.
        box: left, top, right and bottom of the patches in the image, as fractions of its width and
            height; what lies outside was cut off before the encoder saw it.
    """

    values: npt.NDArray[np.float32]
    score: float
    placed: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """The modules of a vision tower that the decomposition needs."""

    attentions: list[tuple[Any, Any, Any, Any, int]]  # query, key, value, output, heads
    norm: Any
    heads: list[Any]  # linear maps from the normalised class token to the vector


def agreement(encoder: Encoder, image: Pixels, other: npt.ArrayLike) -> Agreement:
    """Split the cosine of an image with a vector up by the image's patches.

    Args:
        encoder: with a vision transformer that reads its class token (CLIP, ViT, DPT).
        image: uint8 (height, width) grey or (height, width, 3) RGB.
        other: float (d,), unit length: the vector of another image, or of a text.

    Raises:
        PatchesUnsupported: the encoder has no patch tokens, or reads them in another way.
        BadQuery: a vector of another dimension.
    """
    against = np.asarray(other, np.float64)
    if against.shape != (encoder.dimension,):
        raise BadQuery(f"vector of shape {against.shape}: expected ({encoder.dimension},)")
    runtime = encoder._loaded()
    parts = _parts(runtime.model) if isinstance(runtime, Runtime) else None
    if parts is None or not isinstance(runtime, Runtime):
        raise PatchesUnsupported(
            f"encoder {encoder.name!r} has no patch tokens whose shares of its vector can be read; "
            "that needs a transformers vision model with a class token (CLIP, ViT, DPT)"
        )
    pixels = runtime.prepare([image])
    shares, feature = _shares(runtime, parts, pixels, encoder.name)
    length = float(np.linalg.norm(feature))
    placed = shares @ against / length
    score = float(feature @ against / length)
    values = len(placed) * placed + (score - placed.sum())
    rows, columns = _grid(len(placed), pixels.shape[-2:], encoder.name)
    return Agreement(
        values=values.reshape(rows, columns).astype(np.float32),
        score=score,
        placed=float(placed.sum()),
        box=_box(runtime.processor, image.shape[0], image.shape[1]),
    )


@torch.inference_mode()
def _shares(
    runtime: Runtime, parts: _Parts, pixels: torch.Tensor, name: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What each patch adds to the vector (p, d), and the vector (d,), not normalised."""
    seen = _watch(runtime, parts, pixels)
    total: torch.Tensor | None = None
    for query, key, value, output, heads in parts.attentions:
        share = _attended(seen[query], seen[key], seen[value], output.weight.double(), heads)
        _agree(name, share.sum(0) + output.bias.double(), seen[output][0])
        total = share if total is None else total + share
    assert total is not None
    state = seen[parts.norm]  # the class token before the last normalisation
    norm = parts.norm
    deviation = torch.sqrt(state.var(unbiased=False) + norm.eps)
    scale = norm.weight.double() / deviation
    # The patches' shares, without those of the class token itself, through what is linear.
    shares = (total[1:] - total[1:].mean(1, keepdim=True)) * scale
    vector = (state - state.mean()) * scale + norm.bias.double()
    for head in parts.heads:
        weight = head.weight.double()
        shares, vector = shares @ weight.T, weight @ vector
        if head.bias is not None:
            vector = vector + head.bias.double()
    _agree(name, vector, seen["vector"])
    return shares.cpu().numpy(), vector.cpu().numpy()


def _attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, out: torch.Tensor, heads: int
) -> torch.Tensor:
    """What each token adds to the class token in one layer, (tokens, d), without the bias."""
    size = query.shape[-1] // heads
    asked = query[0].view(heads, size)
    keys, values = (rows.view(-1, heads, size) for rows in (key, value))
    weight = torch.softmax(torch.einsum("hs,ths->ht", asked, keys) / math.sqrt(size), dim=-1)
    return (weight.T[:, :, None] * values).reshape(len(keys), -1) @ out.T


def _watch(runtime: Runtime, parts: _Parts, pixels: torch.Tensor) -> dict[Any, torch.Tensor]:
    """Run the model once and keep what passes through the parts, float64.

    Other threads use the same model meanwhile; what they send through it is not kept.
    """
    seen: dict[Any, torch.Tensor] = {}
    mine = threading.get_ident()

    def keep(module: Any, inputs: Any, output: torch.Tensor) -> None:
        if threading.get_ident() == mine:
            state = inputs[0][0]
            found = state.reshape(-1, state.shape[-1])[0] if module is parts.norm else output[0]
            seen[module] = found.double()

    with ExitStack() as stack:
        watched = [part for one in parts.attentions for part in one[:4]]
        for module in (*watched, parts.norm):
            stack.callback(module.register_forward_hook(keep).remove)
        found = runtime.model.get_image_features(pixel_values=pixels)
        vector = found if isinstance(found, torch.Tensor) else found.pooler_output
        seen["vector"] = vector[0].double()
    return seen


def _parts(model: Any) -> _Parts | None:
    """The parts of a model whose vector is its class token, normalised and projected linearly."""
    tower = getattr(model, "vision_model", None)
    projection = getattr(model, "visual_projection", None)
    encoder = getattr(tower, "encoder", None)
    if encoder is None or not isinstance(projection, torch.nn.Linear):
        return None
    if (norm := getattr(tower, "post_layernorm", None)) is not None:  # CLIP
        heads, found = [projection], [_clip(layer) for layer in getattr(encoder, "layers", ())]
    elif (norm := getattr(tower, "layernorm", None)) is not None:  # DPT, ViT
        pooler = getattr(tower, "pooler", None)
        # Any other activation is not linear, and a share of the vector then has no meaning.
        if type(getattr(pooler, "activation", None)).__name__ not in (
            "LinearActivation",
            "Identity",
        ):
            return None
        assert pooler is not None
        heads = [pooler.dense, projection]
        found = [_vit(layer) for layer in getattr(encoder, "layer", ())]
    else:
        return None
    attentions = [one for one in found if one is not None]
    if not attentions or len(attentions) < len(found):
        return None
    return _Parts(attentions, norm, heads)


def _clip(layer: Any) -> tuple[Any, Any, Any, Any, int] | None:
    try:
        attention = layer.self_attn
        return (
            attention.q_proj,
            attention.k_proj,
            attention.v_proj,
            attention.out_proj,
            int(attention.num_heads),
        )
    except AttributeError:
        return None


def _vit(layer: Any) -> tuple[Any, Any, Any, Any, int] | None:
    try:
        inner = layer.attention.attention
        output = layer.attention.output.dense
        return inner.query, inner.key, inner.value, output, int(inner.num_attention_heads)
    except AttributeError:
        return None


def _agree(name: str, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    if float((ours - theirs).norm()) > _TOLERANCE * max(float(theirs.norm()), 1e-6):
        raise PatchesUnsupported(
            f"encoder {name!r} adds its patches up in another way than CLIP, ViT and DPT do; "
            "their shares of its vector cannot be read"
        )


def _grid(patches: int, size: Any, name: str) -> tuple[int, int]:
    height, width = (int(side) for side in size)
    rows = round(math.sqrt(patches * height / width))
    if rows < 1 or patches % rows or rows * width != (patches // rows) * height:
        raise PatchesUnsupported(
            f"encoder {name!r} has {patches} patches, which are no grid over {height} x {width}"
        )
    return rows, patches // rows


def _box(processor: Any, height: int, width: int) -> tuple[float, float, float, float]:
    """What part of an image the encoder sees, after its processor resized and cut it."""
    high, wide = float(height), float(width)
    size, crop = (getattr(processor, name, None) for name in ("size", "crop_size"))
    if getattr(processor, "do_resize", False) and size is not None:
        if shortest := getattr(size, "shortest_edge", None):
            scale = shortest / min(height, width)
            high, wide = height * scale, width * scale
        elif getattr(size, "height", None):
            high, wide = float(size.height), float(size.width)
    if not getattr(processor, "do_center_crop", False) or crop is None:
        return 0.0, 0.0, 1.0, 1.0
    left, top = (wide - crop.width) / 2 / wide, (high - crop.height) / 2 / high
    return left, top, 1 - left, 1 - top
