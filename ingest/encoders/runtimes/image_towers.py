"""Image towers of transformers: the class that a folder names, and the vector it gives an image.

The vector is what the library itself calls pooled: a projection where there is one, else the
pooler's output. A tower that was saved without a pooler gives its class token after the last
normalisation; one that has no such token, the mean over its patches or places.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import MODEL_MAPPING, PreTrainedModel


def class_of(config: Any) -> Any:
    """The library's own class for a configuration; never code that came with the weights.

    The one that ``architectures`` names, because the weights are of that one: a classifier has no
    pooler, ``CLIPVisionModelWithProjection`` has a projection. Else the usual one of the family.

    Raises:
        ValueError: the library has none.
    """
    for name in getattr(config, "architectures", None) or ():
        found = getattr(transformers, str(name), None)
        if inspect.isclass(found) and issubclass(found, PreTrainedModel):
            known: Any = found
            if known.config_class is type(config):
                return known
    usual = _usual_class(config)
    if usual is None:
        raise ValueError(f"model type {config.model_type!r} is no model of images")
    return usual


def _usual_class(config: Any) -> Any:
    """The class of a family without a head; None where the library has none."""
    try:
        found = MODEL_MAPPING[type(config)]
    except KeyError:
        return None
    return found[0] if isinstance(found, tuple | list) else found


def without_pooler(model: Any, absent: set[str]) -> set[str]:
    """Take out a pooler of which the weights hold nothing; the parameters that are still absent.

    Checkpoints such as DINO's were saved without one, and name the class that has one.
    """
    tower = tower_of(model)
    pooler = getattr(tower, "pooler", None)
    if pooler is None:
        return absent
    [prefix] = [name for name, part in model.named_modules() if part is pooler][:1] or ["pooler"]
    own = {f"{prefix}.{name}" for name, _ in pooler.named_parameters()}
    if not own or not own <= absent:
        return absent
    tower.pooler = None
    return absent - own


def tower_of(model: Any) -> Any:
    """The tower inside a classifier or another model with a head; else the model itself."""
    if type(model).__name__.endswith("WithProjection") or type(model) is _usual_class(model.config):
        return model
    inside = (getattr(model, name, None) for name in (model.base_model_prefix, "vision_model"))
    return next((one for one in inside if isinstance(one, PreTrainedModel)), model)


def vectors(model: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Vectors of prepared images, (n, dimension), by a model that has no text tower."""
    tower = tower_of(model)
    if tower.config.model_type == "vit_mae":
        # Nothing is masked, and the patches stay in their order.
        tower.config.mask_ratio = 0.0
        count = tower.embeddings.patch_embeddings.num_patches
        inputs = {**inputs, "noise": torch.arange(count).expand(len(inputs["pixel_values"]), count)}
    found = tower(**taken(tower.forward, inputs))
    for name in ("image_embeds", "pooler_output"):
        if (pooled := getattr(found, name, None)) is not None:
            return flat(pooled)
    states: torch.Tensor = found.last_hidden_state
    if states.ndim == 4:
        return states.mean(dim=(2, 3))
    has_class_token = any(name.endswith("cls_token") for name, _ in tower.named_parameters())
    return states[:, 0] if has_class_token else states.mean(dim=1)


def pooled(found: Any, kind: str) -> torch.Tensor:
    """The vectors themselves: transformers 5 returns an output object around them, 4 did not.

    Args:
        found: what ``get_image_features`` or ``get_text_features`` returned.
        kind: the model's type. FLAVA projects every token; its vector is the first, of the class.
    """
    names = ("pooler_output", "image_embeds", "text_embeds")
    inside = (
        [found] if isinstance(found, torch.Tensor) else [getattr(found, n, None) for n in names]
    )
    tensor = next((one for one in inside if one is not None), None)
    if tensor is None:
        raise ValueError(f"{type(found).__name__} holds no pooled output")
    return flat(tensor[:, 0] if kind == "flava" and tensor.ndim == 3 else tensor)


def flat(found: torch.Tensor) -> torch.Tensor:
    """Pooled features as (n, dimension): those of convolutional towers are (n, dimension, 1, 1)."""
    if found.ndim == 4 and found.shape[2:] == (1, 1):
        return found.flatten(1)
    return found


def taken(function: Any, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inputs that a function has parameters for."""
    names = inspect.signature(function).parameters
    return {name: value for name, value in inputs.items() if name in names}


def measured(folder: Path) -> int:
    """Length of the vectors of the model that a folder's config.json describes, without weights.

    Raises:
        Exception: of many kinds, where the library cannot build it or run it.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    side = getattr(config, "image_size", None) or 224
    shape = (side, side) if isinstance(side, int) else tuple(side)
    with torch.device("meta"), torch.inference_mode():
        model = class_of(config)(config).eval()
        image = torch.empty(1, getattr(config, "num_channels", 3), *shape)
        found = vectors(model, {"pixel_values": image})
    if found.ndim != 2:
        raise ValueError(f"its vectors have shape {tuple(found.shape)[1:]}")
    return int(found.shape[1])
