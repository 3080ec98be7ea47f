"""Architecture of the bundled encoder: two small towers, a tokenizer, an image processor.

All of it is standard transformers: a VisionTextDualEncoderModel. Its image tower is a DPT with a
TextNet stem (plain 3 x 3 convolutions: they learnt most from 28 x 28 pixels); its text tower is a
BERT of three layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import (
    BertConfig,
    CLIPImageProcessor,
    DPTConfig,
    PreTrainedTokenizerFast,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
)

#: A transformers model: the library gives them no useful types.
Model = Any
#: Side length that the image tower sees.
SIDE = 28
#: Length of the vectors.
DIMENSION = 128
#: Grey levels in [0, 1] are centred and scaled by these.
MEAN, DEVIATION = 0.5, 0.25

_MAX_TOKENS = 48
_VOCABULARY = 1600
_SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
}
_STEM = 32
_WIDTHS = (32, 64, 128, 128)
_DEPTHS = (2, 4, 2, 2)
_STRIDES = (1, 2, 2, 1)


def new_model(vocabulary: int | None) -> Model:
    """The untrained VisionTextDualEncoderModel, drawn from torch's own source of chance.

    Args:
        vocabulary: entries of the tokenizer. ``None`` leaves a placeholder where the text tower
            will be (``give_text_tower``), so that what is drawn for images depends on images alone.
    """
    reduction = 4
    grid = SIDE // reduction
    width = _WIDTHS[-1]
    vision = DPTConfig(
        is_hybrid=True,
        image_size=SIDE,
        patch_size=reduction,
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=2 * width,
        layer_norm_eps=1e-6,
        pooler_act="linear",
        backbone_featmap_shape=[1, width, grid, grid],
        neck_hidden_sizes=[*_WIDTHS[1:], width],
        backbone_config={
            "model_type": "textnet",
            "image_size": SIDE,
            "stem_stride": 1,
            "stem_out_channels": _STEM,
            "hidden_sizes": [_STEM, *_WIDTHS],
            "conv_layer_kernel_sizes": [[[3, 3]] * depth for depth in _DEPTHS],
            "conv_layer_strides": [
                [stride] + [1] * (depth - 1)
                for stride, depth in zip(_STRIDES, _DEPTHS, strict=True)
            ],
            "out_features": ["stage2", "stage3", "stage4"],
        },
    )
    text = _PLACEHOLDER if vocabulary is None else _text_config(vocabulary)
    config = VisionTextDualEncoderConfig(
        vision_config=vision.to_dict(), text_config=text.to_dict(), projection_dim=DIMENSION
    )
    model = VisionTextDualEncoderModel(config)
    _start_as_average_pooling(model.vision_model)
    return model


def give_text_tower(model: Model, vocabulary: int, seed: int) -> None:
    """Put an untrained text tower into a dual encoder, in place; its image tower stays.

    Args:
        model: its text tower, or the placeholder, is dropped.
        vocabulary: entries of the tokenizer.
        seed: of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = new_model(vocabulary)
    take_text_tower(model, fresh)


def take_text_tower(model: Model, other: Model) -> None:
    """Let a dual encoder have the text tower of another, in place; they share it then."""
    model.text_model, model.text_projection = other.text_model, other.text_projection
    model.logit_scale, model.config.text_config = other.logit_scale, other.config.text_config


def _text_config(vocabulary: int) -> BertConfig:
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=_MAX_TOKENS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


#: As little as a BERT can be.
_PLACEHOLDER = BertConfig(
    vocab_size=1,
    hidden_size=4,
    num_hidden_layers=0,
    num_attention_heads=1,
    intermediate_size=4,
    max_position_embeddings=1,
)


def slim(model: Model) -> Model:
    """Drop the stem's side branches (1 x 3 and 3 x 1): they cost time and teach nothing here."""
    for layer in _stem_layers(model):
        layer.vertical_conv = layer.horizontal_conv = None
        layer.vertical_batch_norm = layer.horizontal_batch_norm = None
    return model


def completed(model: Model) -> Model:
    """A standard model that computes what a slim one does: its side branches are there and zero."""
    full = new_model(model.config.text_config.vocab_size)
    absent = full.load_state_dict(model.state_dict(), strict=False).missing_keys
    strange = [key for key in absent if "vertical" not in key and "horizontal" not in key]
    if strange:
        raise ValueError(f"the trained model lacks {strange[0]}")
    for layer in _stem_layers(full):
        nn.init.zeros_(layer.vertical_conv.weight)
        nn.init.zeros_(layer.horizontal_conv.weight)
    return full.eval()


def new_tokenizer(sentences: Iterable[str]) -> PreTrainedTokenizerFast:
    """A small lower-case WordPiece tokenizer that spells what it does not know."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token=_SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    trainer = trainers.WordPieceTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[*_SPECIAL.values(), *(f"##{letter}" for letter in letters)],
        initial_alphabet=list(letters),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **_SPECIAL,
        model_max_length=_MAX_TOKENS,
        model_input_names=["input_ids", "attention_mask"],
    )


def new_processor(tokenizer: PreTrainedTokenizerFast) -> VisionTextDualEncoderProcessor:
    """PneumoniaMNIST's own recipe for any film: the centre square, scaled to 28 x 28."""
    images = CLIPImageProcessor(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_mean=[MEAN] * 3,
        image_std=[DEVIATION] * 3,
    )
    return VisionTextDualEncoderProcessor(images, tokenizer)


def _stem_layers(model: Model) -> list[Any]:
    return [m for m in model.modules() if hasattr(m, "vertical_conv")]


@torch.no_grad()
def _start_as_average_pooling(dpt: Any) -> None:
    """Let the read-out begin as the mean over all places; from random weights it learns slower."""
    for layer in dpt.encoder.layer:
        attention = layer.attention.attention
        for linear in (attention.query, attention.key):
            linear.weight.mul_(0.1)
            nn.init.zeros_(linear.bias)
        for linear in (attention.value, layer.attention.output.dense):
            nn.init.eye_(linear.weight)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(layer.output.dense.weight)
        nn.init.zeros_(layer.output.dense.bias)
    nn.init.eye_(dpt.pooler.dense.weight)
    nn.init.zeros_(dpt.pooler.dense.bias)
    nn.init.kaiming_normal_(dpt.embeddings.projection.weight, nonlinearity="linear")
