"""The parts of a vision tower that a vector can be taken apart by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


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
