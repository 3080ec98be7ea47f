"""Agreement of an image with a vector: their cosine, split up by the image's patches.

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
from ingest.record import Pixels
from store import BadQuery, PatchesUnsupported


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """One layer's self-attention.

    Attributes:
        inputs: the linear maps of queries, keys and values; or one that gives all three.
        output: the linear map of what the heads gathered.
        heads: how many.
    """

    inputs: tuple[Any, ...]
    output: Any
    heads: int


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A tower whose vector is its class token, normalised and projected linearly.

    Attributes:
        attentions: of all layers; each adds to the class token without further scaling.
        norm: the last layer normalisation.
        heads: linear maps from the normalised class token to the vector.
    """

    attentions: list[Attention]
    norm: Any
    heads: list[Any]


def parts_of(model: Any) -> Parts | None:
    """The parts of a model, or None when it is built in another way."""
    try:
        found = _open_clip(model) if hasattr(model, "visual") else _transformers(model)
    except AttributeError:
        return None
    return found if found is not None and found.attentions else None


def _transformers(model: Any) -> Parts | None:
    tower, projection = model.vision_model, model.visual_projection
    if hasattr(tower, "post_layernorm"):  # CLIP
        layers = [_clip(layer.self_attn) for layer in tower.encoder.layers]
        return Parts(layers, tower.post_layernorm, [projection])
    # DPT, ViT. Any other activation is not linear: a share of the vector would have no meaning.
    if type(tower.pooler.activation).__name__ not in ("LinearActivation", "Identity"):
        return None
    layers = [_vit(layer.attention) for layer in tower.encoder.layer]
    return Parts(layers, tower.layernorm, [tower.pooler.dense, projection])


def _clip(attention: Any) -> Attention:
    inputs = attention.q_proj, attention.k_proj, attention.v_proj
    return Attention(inputs, attention.out_proj, int(attention.num_heads))


def _vit(attention: Any) -> Attention:
    inner = attention.attention
    heads = int(inner.num_attention_heads)
    return Attention((inner.query, inner.key, inner.value), attention.output.dense, heads)


def _open_clip(model: Any) -> Parts | None:
    """A timm vision transformer inside open_clip, BiomedCLIP above all."""
    trunk, idle = model.visual.trunk, (torch.nn.Identity, torch.nn.Dropout)
    if trunk.global_pool != "token" or not isinstance(trunk.fc_norm, idle):
        return None
    heads = [part for part in model.visual.head if not isinstance(part, idle)]
    if not all(isinstance(part, torch.nn.Linear) for part in heads):
        return None
    if not all(isinstance(block.ls1, idle) for block in trunk.blocks):
        return None
    layers = [
        Attention((block.attn.qkv,), block.attn.proj, int(block.attn.num_heads))
        for block in trunk.blocks
    ]
    return Parts(layers, trunk.norm, heads)


#: Largest difference, relative to the vector's length, between a model's own vector and the one put
#: together from its parts. More than rounding means that the model is built in another way.
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """Cosine by place.

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
    runtime = encoder.runtime()
    parts = parts_of(runtime.model)
    if parts is None:
        raise PatchesUnsupported(
            f"encoder {encoder.name!r} has no patch tokens whose shares of its vector can be read; "
            "that needs a vision transformer that reads its class token (CLIP, ViT, DPT)"
        )
    pixels = runtime.prepare([image])
    if not isinstance(pixels, torch.Tensor):
        raise PatchesUnsupported(
            f"encoder {encoder.name!r} takes an image as patches of any number; their shares of "
            "its vector cannot be read"
        )
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
        box=runtime.framing.box(image.shape[0], image.shape[1]),
    )


@torch.inference_mode()
def _shares(
    runtime: Any, parts: Parts, pixels: torch.Tensor, name: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Each patch's share of the vector, (p, d), and the vector (d,), not normalised."""
    seen = _watch(runtime, parts, pixels)
    total: torch.Tensor | None = None
    for one in parts.attentions:
        share = _attended(one, [seen[part] for part in one.inputs])
        bias = 0.0 if one.output.bias is None else one.output.bias.double()
        _agree(name, share.sum(0) + bias, seen[one.output][0])
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


def _attended(one: Attention, inputs: list[torch.Tensor]) -> torch.Tensor:
    """Each token's contribution to the class token in one layer, (tokens, d), without the bias."""
    query, key, value = inputs[0].chunk(3, dim=-1) if len(inputs) == 1 else inputs
    size = query.shape[-1] // one.heads
    asked = query[0].view(one.heads, size)
    keys, values = (rows.reshape(-1, one.heads, size) for rows in (key, value))
    weight = torch.softmax(torch.einsum("hs,ths->ht", asked, keys) / math.sqrt(size), dim=-1)
    mixed = (weight.T[:, :, None] * values).reshape(len(keys), -1)
    added: torch.Tensor = mixed @ one.output.weight.double().T
    return added


def _watch(runtime: Any, parts: Parts, pixels: torch.Tensor) -> dict[Any, torch.Tensor]:
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
        watched = [part for one in parts.attentions for part in (*one.inputs, one.output)]
        for module in (*watched, parts.norm):
            stack.callback(module.register_forward_hook(keep).remove)
        seen["vector"] = runtime.features(pixels)[0].double()
    return seen


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
