"""Encoders that people bring: image towers alone, own tokenizers, pickles, patches of any number.

Real architectures with random weights, saved by the libraries themselves, against the vectors that
those make when they are called as their pages say.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest import Source, ingest, trial
from ingest.encoders import encoder_for, load_encoder
from store import (
    EncoderChanged,
    EncoderMismatch,
    EncoderUnavailable,
    Gallery,
    TextUnsupported,
    UsageError,
)
from tests.ingest.fakes import record
from tests.ingest.test_encoders import (
    TEXT,
    TEXTS,
    save_processor,
    save_siglip_tokenizer,
    save_tokenizer,
    tiny_model,
)

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 28,
    "patch_size": 7,
}
CONVOLUTIONS = {"hidden_sizes": [8, 16], "depths": [1, 1]}


def films() -> list[np.ndarray]:
    made = np.random.default_rng(0)
    return [made.integers(0, 256, s, dtype=np.uint8) for s in [(60, 60), (90, 61), (64, 80, 3)]]


def rgb(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 3 else np.stack([image] * 3, axis=-1)


def unit(features: Any) -> np.ndarray:
    array = np.asarray(features, np.float64)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def one_line(error: BaseException) -> str:
    assert "\n" not in str(error)
    return str(error)


def image_tower(kind: str) -> tuple[Any, Any]:
    """A model of images, and what its vectors are taken from, as its library has it."""
    import torch
    import transformers as t

    torch.manual_seed(1)

    def pooler(found: Any) -> Any:
        return found.pooler_output.flatten(1)

    def token(found: Any) -> Any:
        return found.last_hidden_state[:, 0]

    vit, clip = t.ViTConfig(**SMALL), t.CLIPVisionConfig(**SMALL, projection_dim=8)
    dino = t.Dinov2Config(**{**SMALL, "intermediate_size": None} | {"mlp_ratio": 2})
    resnet = t.ResNetConfig(embedding_size=8, layer_type="basic", **CONVOLUTIONS)
    convnext = t.ConvNextConfig(num_stages=2, patch_size=2, **CONVOLUTIONS)
    effnet = t.EfficientNetConfig(
        image_size=64,
        hidden_dim=320,
        width_coefficient=0.25,
        depth_coefficient=0.3,
        initializer_range=0.3,
    )
    swin = t.SwinConfig(
        image_size=28, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=7
    )
    siglip = t.SiglipVisionConfig(**SMALL)
    made = {
        "CLIPVisionModelWithProjection": lambda: (
            t.CLIPVisionModelWithProjection(clip),
            lambda model, inputs: model(**inputs).image_embeds,
        ),
        "CLIPVisionModel": lambda: (t.CLIPVisionModel(clip), pooler),
        "SiglipVisionModel": lambda: (t.SiglipVisionModel(siglip), pooler),
        "Dinov2Model": lambda: (t.Dinov2Model(dino), pooler),
        "ViTModel": lambda: (t.ViTModel(vit), pooler),
        "ViTModel without pooler": lambda: (t.ViTModel(vit, add_pooling_layer=False), token),
        "ViTForImageClassification": lambda: (
            t.ViTForImageClassification(vit),
            lambda model, inputs: token(model.vit(**inputs)),
        ),
        "ViTMSNModel": lambda: (t.ViTMSNModel(t.ViTMSNConfig(**SMALL)), token),
        "IJepaModel": lambda: (
            t.IJepaModel(t.IJepaConfig(**SMALL)),
            lambda model, inputs: model(**inputs).last_hidden_state.mean(1),
        ),
        "ViTMAEForPreTraining": lambda: (
            t.ViTMAEForPreTraining(
                t.ViTMAEConfig(
                    **SMALL,
                    mask_ratio=0.75,
                    decoder_hidden_size=16,
                    decoder_num_hidden_layers=1,
                    decoder_num_attention_heads=2,
                    decoder_intermediate_size=32,
                )
            ),
            unmasked,
        ),
        "ResNetModel": lambda: (t.ResNetModel(resnet), pooler),
        "ResNetForImageClassification": lambda: (
            t.ResNetForImageClassification(resnet),
            lambda model, inputs: pooler(model.resnet(**inputs)),
        ),
        "ConvNextModel": lambda: (t.ConvNextModel(convnext), pooler),
        "ConvNextForImageClassification": lambda: (
            t.ConvNextForImageClassification(convnext),
            lambda model, inputs: pooler(model.convnext(**inputs)),
        ),
        "EfficientNetModel": lambda: (t.EfficientNetModel(effnet), pooler),
        "EfficientNetForImageClassification": lambda: (
            t.EfficientNetForImageClassification(effnet),
            lambda model, inputs: pooler(model.efficientnet(**inputs)),
        ),
        "SwinModel": lambda: (t.SwinModel(swin), pooler),
        "DINOv3ViTModel": lambda: (t.DINOv3ViTModel(t.DINOv3ViTConfig(**SMALL)), pooler),
    }
    if kind == "all":
        return list(made), None
    model, take = made[kind]()
    if take in (pooler, token):
        return model, lambda model, inputs: take(model(**inputs))
    return model, take


def unmasked(model: Any, inputs: Any) -> Any:
    model.config.mask_ratio = model.vit.config.mask_ratio = 0.0
    return model.vit(**inputs).last_hidden_state[:, 0]


TOWERS, _ = image_tower("all")


@pytest.mark.parametrize("kind", TOWERS)
def test_image_towers_give_their_librarys_vectors(kind, tmp_path):
    import torch
    from transformers import AutoImageProcessor

    model, take = image_tower(kind)
    model = model.eval()
    model.save_pretrained(tmp_path)
    save_processor(tmp_path, getattr(model.config, "image_size", 32))
    processor = AutoImageProcessor.from_pretrained(tmp_path, backend="torchvision")
    inputs = processor(images=[rgb(film) for film in films()], return_tensors="pt")
    encoder = load_encoder(tmp_path, device="cpu")
    ours = encoder.encode_images(films())
    with torch.no_grad():
        expected = unit(take(model, dict(inputs)))
    assert ours.shape == expected.shape == (3, encoder.dimension)
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(films(), batch_size=1), ours, atol=1e-5)
    with pytest.raises(TextUnsupported, match="images only"):
        encoder.encode_texts(TEXTS)


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("resnet18", {"num_classes": 14}),
        ("resnet18", {"num_classes": 2, "in_chans": 1}),
        ("vit_tiny_patch16_224", {"num_classes": 0, "img_size": 32}),
        ("mobilenetv3_small_050", {"num_classes": 3}),
    ],
)
def test_timm_folders_give_timms_vectors(architecture, options, tmp_path):
    timm = pytest.importorskip("timm")
    import torch
    from PIL import Image
    from timm.models import save_for_hf

    torch.manual_seed(1)
    tower = timm.create_model(architecture, **options).eval()
    save_for_hf(tower, tmp_path / "tower", safe_serialization=True)
    model = timm.create_model(
        f"local-dir:{tmp_path / 'tower'}", pretrained=True, num_classes=0
    ).eval()
    data = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**data, is_training=False)
    mode = "L" if data["input_size"][0] == 1 else "RGB"
    pixels = torch.stack([transform(Image.fromarray(film).convert(mode)) for film in films()])
    encoder = load_encoder(tmp_path / "tower", device="cpu")
    with torch.no_grad():
        expected = unit(model(pixels))
    assert (encoder.library, encoder.side) == ("timm", data["input_size"][1])
    np.testing.assert_allclose(encoder.encode_images(films()), expected, atol=1e-5)

    config = tmp_path / "tower" / "config.json"
    config.write_text(config.read_text().replace(architecture, "resnet34"))
    with pytest.raises(EncoderUnavailable, match=r"e\.g\. |size mismatch|does not build") as caught:
        load_encoder(tmp_path / "tower", device="cpu").encode_images(films())
    one_line(caught.value)


@pytest.mark.parametrize("kind", ["image tower", "dual encoder"])
def test_unexpected_and_missing_weights_are_named(kind, tmp_path):
    from safetensors.torch import load_file, save_file

    model = tiny_model("clip") if kind == "dual encoder" else image_tower("CLIPVisionModel")[0]
    model.save_pretrained(tmp_path)
    save_processor(tmp_path)
    save_tokenizer(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    save_file({**weights, "extra.weight": weights[min(weights)].clone()}, path, {"format": "pt"})
    with pytest.raises(EncoderUnavailable, match=r"extra\.weight.*dropped in silence") as caught:
        load_encoder(tmp_path, device="cpu").encode_images(films())
    one_line(caught.value)
    lost = next(name for name in sorted(weights) if name.endswith("post_layernorm.weight"))
    save_file({name: one for name, one in weights.items() if name != lost}, path, {"format": "pt"})
    with pytest.raises(EncoderUnavailable, match=lost):
        load_encoder(tmp_path, device="cpu").encode_images(films())


def test_patches_of_any_number(tmp_path):
    """NaFlex: the processor gives patches, their mask and their grid."""
    import torch
    from transformers import Siglip2Config, Siglip2ImageProcessor, Siglip2Model

    torch.manual_seed(1)
    vision = {key: value for key, value in SMALL.items() if key != "image_size"}
    model = Siglip2Model(
        Siglip2Config(text_config=TEXT, vision_config={**vision, "num_patches": 16})
    ).eval()
    model.save_pretrained(tmp_path)
    processor = Siglip2ImageProcessor(patch_size=7, max_num_patches=16)
    processor.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    encoder = load_encoder(tmp_path, device="cpu")
    ours = encoder.encode_images(films())
    inputs = processor(images=[rgb(film) for film in films()], return_tensors="pt")
    with torch.no_grad():
        expected = unit(model.get_image_features(**inputs).pooler_output)
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(films(), batch_size=1), ours, atol=1e-5)
    assert encoder.encode_texts(TEXTS).shape == (len(TEXTS), 16)


def test_positions_of_roberta_begin_after_that_of_padding(tmp_path):
    import torch
    from transformers import AutoTokenizer, RobertaConfig, VisionTextDualEncoderModel, ViTConfig
    from transformers import VisionTextDualEncoderConfig as Both

    torch.manual_seed(1)
    text = RobertaConfig(**{**TEXT, "max_position_embeddings": 10, "pad_token_id": 1})
    config = Both(
        vision_config=ViTConfig(**SMALL).to_dict(), text_config=text.to_dict(), projection_dim=8
    )
    model = VisionTextDualEncoderModel(config).eval()
    model.save_pretrained(tmp_path)
    save_processor(tmp_path)
    save_tokenizer(tmp_path)
    encoder = load_encoder(tmp_path, device="cpu")
    assert encoder.read("no pneumonia").longest == 8
    long = ["lungs clear " * 20]
    tokens = AutoTokenizer.from_pretrained(tmp_path)(
        long, truncation=True, max_length=8, return_tensors="pt"
    )
    with torch.no_grad():
        expected = unit(model.get_text_features(**tokens).pooler_output)
    np.testing.assert_allclose(encoder.encode_texts(long), expected, atol=1e-5)


def test_a_model_of_videos_is_one_line(tmp_path):
    from transformers import XCLIPConfig, XCLIPModel

    mit = {"mit_hidden_size": 16, "mit_intermediate_size": 32, "mit_num_hidden_layers": 1}
    vision = {**SMALL, **mit, "mit_num_attention_heads": 2}
    text = {**TEXT, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    XCLIPModel(
        XCLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    ).save_pretrained(tmp_path)
    save_processor(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(EncoderUnavailable, match="XCLIPModel is a model of videos") as caught:
        load_encoder(tmp_path, device="cpu").encode_images(films())
    one_line(caught.value)


def test_any_failure_of_a_model_is_one_line_with_its_family_and_reason(tmp_path):
    image_tower("ViTModel")[0].save_pretrained(tmp_path)
    save_processor(tmp_path, 56)  # the model takes 28
    with pytest.raises(EncoderUnavailable, match=r"ViTModel.*fails on 3 images") as caught:
        load_encoder(tmp_path, device="cpu").encode_images(films())
    assert "56" in one_line(caught.value) and "28" in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", {"model_type": "vit", "architectures": 5, "hidden_size": "x"}),
        ("config.json", {"model_type": "clip", "vision_config": [3], "text_config": 7}),
        ("open_clip_config.json", {"model_cfg": 3}),
        ("open_clip_config.json", {"model_cfg": {"embed_dim": 8, "text_cfg": "x"}}),
        ("open_clip_config.json", {"model_cfg": {"embed_dim": 8, "vision_cfg": [1]}}),
        ("open_clip_config.json", {"model_cfg": {"embed_dim": 8}, "preprocess_cfg": [1]}),
    ],
)
def test_a_configuration_of_another_kind_is_one_line(file, content, tmp_path):
    import torch
    from safetensors.torch import save_file

    (tmp_path / file).write_text(json.dumps(content))
    for name in ("model", "open_clip_model"):
        save_file({"a": torch.zeros(2)}, tmp_path / f"{name}.safetensors")
    save_processor(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(EncoderUnavailable, match=file) as caught:
        load_encoder(tmp_path, device="cpu").encode_images(films())
    one_line(caught.value)


def test_weights_of_another_size_are_named_with_both_sizes(tmp_path):
    image_tower("ViTModel")[0].save_pretrained(tmp_path)
    save_processor(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    with pytest.raises(EncoderUnavailable, match=r"\[32\].*\[48\]") as caught:
        load_encoder(tmp_path, device="cpu").encode_images(films())
    assert "mlp" in one_line(caught.value) or "intermediate" in str(caught.value)


def test_a_reason_names_the_folder_and_no_private_copy_of_it(tmp_path):
    image_tower("ViTModel")[0].save_pretrained(tmp_path)
    save_processor(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "image_processor_type": "Odd"}))
    with pytest.raises(EncoderUnavailable, match="image processor") as caught:
        load_encoder(tmp_path, device="cpu").encode_images(films())
    assert str(tmp_path) in one_line(caught.value) and "cxr-encoder-" not in str(caught.value)


@pytest.mark.parametrize("head", [True, False])
def test_timm_inside_transformers_gives_timms_vectors(head, tmp_path):
    timm = pytest.importorskip("timm")
    import torch
    import transformers as t
    from PIL import Image

    torch.manual_seed(1)
    config = t.TimmWrapperConfig(architecture="mobilenetv3_small_050", num_labels=3)
    model = (t.TimmWrapperForImageClassification if head else t.TimmWrapperModel)(config).eval()
    model.save_pretrained(tmp_path)
    inside = model.timm_model
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(inside))
    pixels = torch.stack([transform(Image.fromarray(film).convert("RGB")) for film in films()])
    with torch.no_grad():
        expected = unit(inside.forward_head(inside.forward_features(pixels), pre_logits=True))
    encoder = load_encoder(tmp_path, device="cpu")
    assert encoder.library == "timm" and not encoder.supports_text
    np.testing.assert_allclose(encoder.encode_images(films()), expected, atol=1e-5)


# --- tokenizers ---


@pytest.fixture
def siglip(tmp_path) -> Path:
    """A SigLIP folder with the tokenizer class that the published ones name."""
    import torch
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(1)
    folder = tmp_path / "siglip"
    text = {**TEXT, "vocab_size": 100, "max_position_embeddings": 16, "pad_token_id": 1}
    SiglipModel(SiglipConfig(text_config=text, vision_config=SMALL)).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 28, "width": 28}).save_pretrained(folder)
    save_siglip_tokenizer(folder)
    return folder


ODD_TEXTS = ["Clear lungs, NO opacity.", "pneumonia in the lungs", "a normal heart" * 20]


def test_siglip_with_its_own_tokenizer(siglip):
    import torch
    from transformers import AutoModel, AutoTokenizer

    told = json.loads((siglip / "tokenizer_config.json").read_text())
    assert told["tokenizer_class"] == "SiglipTokenizer" and (siglip / "spiece.model").is_file()
    tokens = AutoTokenizer.from_pretrained(siglip)(
        ODD_TEXTS, padding="max_length", max_length=16, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        model = AutoModel.from_pretrained(siglip).eval()
        expected = unit(model.get_text_features(**tokens).pooler_output)
    encoder = load_encoder(siglip, device="cpu")
    np.testing.assert_allclose(encoder.encode_texts(ODD_TEXTS), expected, atol=1e-5)


def test_siglip_with_the_other_form_of_its_tokenizer(siglip):
    """tokenizer.json beside a configuration that names the class that reads spiece.model."""
    (siglip / "spiece.model").unlink()
    kept = (siglip / "tokenizer_config.json").read_bytes()
    save_tokenizer(siglip)
    (siglip / "tokenizer_config.json").write_bytes(kept)
    found = load_encoder(siglip, device="cpu").encode_texts(TEXTS)
    assert found.shape == (len(TEXTS), 16) and np.abs(found[0] - found[1]).max() > 1e-3


def test_the_tokenizer_is_loaded_when_a_text_is_asked_for(siglip, monkeypatch):
    from transformers import AutoTokenizer

    def missing(*_: Any, **__: Any) -> None:
        raise ImportError(
            "\nSiglipTokenizer requires the SentencePiece library but it was not found in your "
            "environment. Check out the instructions\non the installation page."
        )

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", missing)
    encoder = load_encoder(siglip, device="cpu")
    assert encoder.encode_images(films()).shape == (3, 16)
    with pytest.raises(EncoderUnavailable, match=r"SentencePiece library.*pip install") as caught:
        encoder.encode_texts(TEXTS)
    one_line(caught.value)


def save_open_clip(folder: Path, **text: Any) -> dict[str, Any]:
    """An open_clip folder with a text tower of open_clip's own; its configuration."""
    import torch
    from safetensors.torch import save_file

    open_clip = pytest.importorskip("open_clip")
    config = {
        "model_cfg": {
            "embed_dim": 16,
            "custom_text": True,
            "vision_cfg": {"image_size": 28, "patch_size": 7, "width": 16, "layers": 1}
            | {"head_width": 8},
            "text_cfg": {
                "context_length": 12,
                "vocab_size": 100,
                "width": 16,
                "heads": 2,
                "layers": 1,
                "no_causal_mask": True,
                "pool_type": "last",
                **text,
            },
        },
        "preprocess_cfg": {"size": 28, "mean": [0.5] * 3, "std": [0.5] * 3},
    }
    folder.mkdir(parents=True)
    torch.manual_seed(1)
    built = json.loads(json.dumps(config["model_cfg"]))
    built.pop("custom_text")
    model = open_clip.CustomTextCLIP(**built)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return config


def by_open_clip(folder: Path, texts: list[str]) -> np.ndarray:
    """Text vectors as open_clip itself makes them of a folder."""
    import open_clip
    import torch

    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.no_grad():
        return unit(model.eval().encode_text(tokenizer(texts)))


SAID = [*TEXTS, "Clear, LUNGS &amp; no  pneumonia!", "opacity in the lungs " * 9]


@pytest.mark.parametrize("clean", ["canonicalize", "whitespace"])
def test_open_clip_with_a_tokenizer_of_its_own(tmp_path, clean):
    """SigLIP 2 above all: ``hf_tokenizer_name``, its files in the folder."""
    folder = tmp_path / "siglip2"
    save_open_clip(folder, hf_tokenizer_name="someone/x", tokenizer_kwargs={"clean": clean})
    save_tokenizer(folder)
    encoder = load_encoder(folder, device="cpu")
    assert encoder.library == "open_clip" and encoder.supports_text
    np.testing.assert_allclose(encoder.encode_texts(SAID), by_open_clip(folder, SAID), atol=1e-5)
    assert encoder.read("opacity in the lungs " * 9).longest == 12


def test_open_clip_without_its_tokenizer_takes_images_only(tmp_path):
    folder = tmp_path / "siglip2"
    save_open_clip(folder, hf_tokenizer_name="timm/ViT-B-16-SigLIP2")
    encoder = load_encoder(folder, device="cpu")
    assert not encoder.supports_text
    assert encoder.encode_images(films()).shape == (3, 16)
    with pytest.raises(TextUnsupported, match=r"timm/ViT-B-16-SigLIP2.*tokenizer\.json") as caught:
        encoder.encode_texts(TEXTS)
    assert str(folder) in one_line(caught.value)


def test_open_clip_with_clips_own_tokenizer(tmp_path):
    folder = tmp_path / "clip-like"
    save_open_clip(folder, vocab_size=49408, pool_type="argmax")
    encoder = load_encoder(folder, device="cpu")
    np.testing.assert_allclose(encoder.encode_texts(SAID), by_open_clip(folder, SAID), atol=1e-5)
    reading = encoder.read("opacity in the lungs " * 9)  # "opacity" is two tokens
    assert (reading.longest, reading.tokens) == (12, 47)
    assert reading.text == "opacity in the lungs opacity in the lungs"


def test_open_clip_of_bert_with_tokenizer_files_beside_its_configuration(tmp_path):
    """As BiomedCLIP's own repository has them: vocabulary in the folder, not below it."""
    pytest.importorskip("open_clip")
    from tests.ingest.test_families import save_biomedclip

    folder = tmp_path / "biomedclip"
    save_biomedclip(folder)
    before = load_encoder(folder, device="cpu").encode_texts(TEXTS)
    for path in (folder / "text").glob("tokenizer*"):
        path.rename(folder / path.name)
    encoder = load_encoder(folder, device="cpu")
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), before, atol=1e-6)


# --- pickled weights ---


@pytest.fixture
def pickled(tmp_path, monkeypatch) -> Path:
    """A CLIP folder whose weights are pickled, and the vectors of the same weights unpickled."""
    import torch
    from safetensors.torch import load_file

    monkeypatch.setenv("CXR_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "pickled"
    tiny_model("clip").save_pretrained(folder)
    save_processor(folder)
    save_tokenizer(folder)
    shutil.copytree(folder, tmp_path / "safe")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    return folder


def test_pickled_weights_are_converted_once_and_that_is_said(pickled, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "ingest"):
        encoder = load_encoder(pickled, device="cpu")
    assert "pytorch_model.bin is a pickle" in caplog.text and str(tmp_path / "cache") in caplog.text
    safe = load_encoder(tmp_path / "safe", device="cpu")
    np.testing.assert_array_equal(encoder.encode_images(films()), safe.encode_images(films()))
    np.testing.assert_array_equal(encoder.encode_texts(TEXTS), safe.encode_texts(TEXTS))
    caplog.clear()
    again = load_encoder(pickled, device="cpu")
    assert again.fingerprint == encoder.fingerprint and "pickle" not in caplog.text
    assert {path.name for path in pickled.iterdir()} >= {"pytorch_model.bin", "config.json"}
    assert not list(pickled.glob("*.safetensors"))


def test_pickled_weights_in_parts(pickled, tmp_path):
    import torch

    weights = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    (pickled / "pytorch_model.bin").unlink()
    names = sorted(weights)
    parts = {"pytorch_model-1.bin": names[:9], "pytorch_model-2.bin": names[9:]}
    for file, keys in parts.items():
        torch.save({key: weights[key] for key in keys}, pickled / file)
    index = {"weight_map": {key: file for file, keys in parts.items() for key in keys}}
    (pickled / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    ours = load_encoder(pickled, device="cpu").encode_images(films())
    safe = load_encoder(tmp_path / "safe", device="cpu").encode_images(films())
    np.testing.assert_array_equal(ours, safe)
    (pickled / "pytorch_model-2.bin").unlink()
    with pytest.raises(EncoderUnavailable, match=r"pytorch_model-2\.bin"):
        load_encoder(pickled)


@pytest.mark.parametrize("cut", [False, True])
def test_a_pickle_that_is_no_whole_file_is_to_be_fetched_again(pickled, cut):
    path = pickled / "pytorch_model.bin"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
    path.write_bytes(path.read_bytes()[:4000] if cut else pointer)
    with pytest.raises(EncoderUnavailable, match=r"Git LFS pointer.*fetch it again") as caught:
        load_encoder(pickled)
    assert "run code" not in one_line(caught.value)


def test_weights_under_another_name_are_seen(pickled):
    (pickled / "pytorch_model.bin").rename(pickled / "best.pth")
    with pytest.raises(EncoderUnavailable, match=r"best\.pth.*pytorch_model\.bin") as caught:
        load_encoder(pickled)
    assert "revision" not in one_line(caught.value)
    (pickled / "best.pth").rename(pickled / "pytorch_model.bin")
    assert load_encoder(pickled).dimension == 8


class Trap:
    """Runs a function of its own when it is unpickled."""

    def __reduce__(self) -> Any:
        return print, ("unpickled",)


def test_a_pickle_that_holds_more_than_weights_is_not_opened(pickled, capsys):
    import torch

    torch.save({"weight": torch.zeros(2), "trap": Trap()}, pickled / "pytorch_model.bin")
    with pytest.raises(EncoderUnavailable, match="more can run code and is never loaded") as caught:
        load_encoder(pickled)
    one_line(caught.value)
    assert "unpickled" not in capsys.readouterr().out


def test_pickled_weights_of_open_clip(tmp_path, monkeypatch):
    import torch
    from safetensors.torch import load_file

    monkeypatch.setenv("CXR_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "siglip2"
    save_open_clip(folder, hf_tokenizer_name="someone/x")
    save_tokenizer(folder)
    before = load_encoder(folder, device="cpu").encode_images(films())
    weights = load_file(folder / "open_clip_model.safetensors")
    (folder / "open_clip_model.safetensors").unlink()
    torch.save(weights, folder / "open_clip_pytorch_model.bin")
    ours = load_encoder(folder, device="cpu").encode_images(films())
    np.testing.assert_array_equal(ours, before)


# --- names, and the gallery's own encoder ---


@pytest.fixture
def clip(tmp_path) -> Path:
    """An encoder folder that is called as a known encoder is."""
    folder = tmp_path / "clip"
    tiny_model("clip").save_pretrained(folder)
    save_processor(folder)
    save_tokenizer(folder)
    return folder


def test_a_folder_and_a_known_name_do_not_collide(clip, monkeypatch, caplog):
    monkeypatch.chdir(clip.parent)
    with pytest.raises(UsageError, match=r"\./clip for the folder, or known:clip") as caught:
        load_encoder("clip")
    one_line(caught.value)
    assert load_encoder("./clip").fingerprint == load_encoder(clip).fingerprint
    assert load_encoder(Path("clip")).fingerprint == load_encoder(clip).fingerprint
    assert load_encoder("known:cxr-clip-28").stamp == load_encoder("cxr-clip-28").stamp
    (clip.parent / "cxr-clip-28").mkdir()  # no encoder's
    assert load_encoder("cxr-clip-28").dimension == 128 and not caplog.text
    (clip / "config.json").rename(clip.parent / "cxr-clip-28" / "config.json")
    assert load_encoder().dimension == 128
    assert "./cxr-clip-28 for the folder" in caplog.text


def test_a_gallery_finds_its_own_encoder_again(clip, tmp_path, monkeypatch):
    encoder = load_encoder(clip, device="cpu")
    Gallery.create(tmp_path / "gallery", encoder.stamp)
    gallery = Gallery.open(tmp_path / "gallery")
    assert gallery.stamp == encoder.stamp and gallery.stamp.folder == str(clip)
    monkeypatch.chdir(tmp_path / "cache" if (tmp_path / "cache").exists() else "/")
    assert encoder_for(gallery, device="cpu").stamp == encoder.stamp
    moved = clip.rename(tmp_path / "elsewhere")
    with pytest.raises(EncoderUnavailable, match=r"pass --encoder") as caught:
        encoder_for(gallery, device="cpu")
    said = one_line(caught.value)
    assert str(clip) in said and gallery.stamp.fingerprint[:12] in said
    assert encoder_for(gallery, moved, device="cpu").fingerprint == encoder.fingerprint
    (moved / "config.json").write_text((moved / "config.json").read_text() + "\n")
    moved.rename(clip)
    with pytest.raises(EncoderChanged, match=f"read from {clip}"):
        encoder_for(gallery, device="cpu")


def test_a_gallery_without_rows_may_be_taken_over(clip, tmp_path):
    one = load_encoder(clip, device="cpu")
    other = load_encoder("cxr-clip-28")
    Gallery.create(tmp_path / "gallery", one.stamp)
    gallery = Gallery.create(tmp_path / "gallery", other.stamp)
    assert Gallery.open(tmp_path / "gallery").stamp == other.stamp
    ingest(Source("films", 1, iter([record(1)])), gallery, other)
    with pytest.raises(EncoderMismatch):
        Gallery.create(tmp_path / "gallery", one.stamp)


# --- trials ---


def test_a_trial_of_an_encoder(clip):
    found = trial(load_encoder(clip, device="cpu"))
    assert (found.dimension, found.text, found.tokens, found.side) == (8, True, 16, 28)
    assert (found.library, found.family) == ("transformers", "CLIPModel")
    assert 0 <= found.difference < 1e-5 and found.ms_one > 0 and found.ms_together > 0
