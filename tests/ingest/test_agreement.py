"""Patch maps: they add up to the score, and each share is at its own place."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from ingest.encoders import load_encoder
from ingest.encoders.patch_agreement import agreement
from ingest.encoders.runtimes.base import framed
from store import BadQuery, PatchesUnsupported
from tests.ingest.test_encoders import VISION, save_processor, save_tokenizer, tiny_model
from tests.ingest.test_families import save_biomedclip


def film(seed: int, shape=(28, 28)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def saved(model, folder, tokenizer=True):
    model.save_pretrained(folder)
    save_processor(folder)
    if tokenizer:
        save_tokenizer(folder)
    return load_encoder(folder, device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return saved(tiny_model("clip"), tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module", params=["bundled", "clip", "biomedclip"])
def encoder(request, tmp_path_factory):
    if request.param == "clip":
        return request.getfixturevalue("clip")
    if request.param == "biomedclip":
        pytest.importorskip("open_clip", reason="open_clip is not installed")
        folder = tmp_path_factory.mktemp("open") / "tiny-biomedclip"
        save_biomedclip(folder)
        return load_encoder(folder, device="cpu")
    return load_encoder(device="cpu")


@pytest.mark.parametrize("shape", [(28, 28), (60, 91), (40, 30, 3)])
def test_mean_is_the_score_of_the_encoder_s_own_vectors(encoder, shape):
    images = [film(1, shape), film(2, shape)]
    vectors = encoder.encode_images(images)
    found = agreement(encoder, images[0], vectors[1])
    assert found.score == pytest.approx(vectors[0] @ vectors[1], abs=2e-5)
    assert found.values.mean() == pytest.approx(found.score, abs=1e-5)
    assert found.values.ndim == 2
    assert found.values.std() > 0
    assert shares(found).sum() == pytest.approx(found.placed, abs=1e-5)
    back = agreement(encoder, images[1], vectors[0])
    assert back.score == pytest.approx(found.score, abs=2e-5)


def test_a_sentence_has_a_map_too(encoder):
    vector = encoder.encode_texts(["clear lungs"])[0]
    found = agreement(encoder, film(5), vector)
    assert found.score == pytest.approx(encoder.encode_images([film(5)])[0] @ vector, abs=2e-5)
    sides = {"cxr-clip-28": 7, "tiny-biomedclip": 14}
    assert found.values.shape == (sides.get(encoder.name, 4),) * 2


def shares(found):
    """What each patch adds to the cosine."""
    return (found.values - (found.score - found.placed)) / found.values.size


def test_each_share_is_at_its_own_patch(tmp_path):
    # One layer, one head: a patch changes the others' shares by one common factor only.
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(1)
    vision = {**VISION, "num_hidden_layers": 1, "num_attention_heads": 1}
    text = {"vocab_size": 13, "hidden_size": 16, "num_attention_heads": 1, "num_hidden_layers": 1}
    encoder = saved(
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)), tmp_path
    )
    other = encoder.encode_images([film(9)])[0]
    image = film(1)
    changed = image.copy()
    changed[14:21, 21:28] = 255 - changed[14:21, 21:28]  # third row, fourth column of 4 x 4
    ratios = shares(agreement(encoder, changed, other)) / shares(agreement(encoder, image, other))
    common = np.median(ratios)
    away = np.abs(ratios - common) > 1e-3 * abs(common)
    assert away[2, 3]
    assert away.sum() == 1


def test_box_is_what_the_encoder_sees(clip):
    other = clip.encode_images([film(9)])[0]
    assert agreement(clip, film(1, (30, 60)), other).box == pytest.approx((0.25, 0, 0.75, 1))
    assert agreement(clip, film(1, (80, 40)), other).box == pytest.approx((0, 0.25, 1, 0.75))


@pytest.mark.parametrize(
    ("size", "mode", "box"),
    [
        (20, "shortest", (0.25, 0, 0.75, 1)),
        ((20, 20), "longest", (0, -0.5, 1, 1.5)),  # padded above and below
        (20, "squash", (0, 0, 1, 1)),
    ],
)
def test_box_of_open_clip_s_ways_to_resize(size, mode, box):
    assert framed(size, mode).box(30, 60) == pytest.approx(box)


def test_other_threads_do_not_leak_in(clip, monkeypatch):
    hooks, register = [], torch.nn.Module.register_forward_hook

    def noted(*given, **options):
        hooks.append(register(*given, **options))
        return hooks[-1]

    monkeypatch.setattr(torch.nn.Module, "register_forward_hook", noted)
    images = [film(seed) for seed in range(8)]
    other = clip.encode_images([film(9)])[0]
    alone = [agreement(clip, image, other).values for image in images]
    stop = threading.Event()

    def encode():
        while not stop.is_set():
            clip.encode_images(images[::-1])

    busy = threading.Thread(target=encode)
    busy.start()
    try:
        for image, expected in zip(images * 3, alone * 3, strict=True):
            np.testing.assert_allclose(agreement(clip, image, other).values, expected, atol=1e-5)
    finally:
        stop.set()
        busy.join()
    assert hooks and not any(one.id in one.hooks_dict_ref() for one in hooks)  # none stays


@pytest.mark.parametrize("kind", ["siglip", "dual", "image-only"])
def test_other_encoders_are_refused_by_name(kind, tmp_path):
    encoder = saved(tiny_model(kind), tmp_path, tokenizer=kind != "image-only")
    with pytest.raises(PatchesUnsupported, match=tmp_path.name):
        agreement(encoder, film(1), encoder.encode_images([film(2)])[0])


def test_a_model_built_in_another_way_is_refused(tmp_path):
    encoder = saved(tiny_model("clip"), tmp_path)
    model = encoder.runtime().model
    model.vision_model.encoder.layers[0].self_attn.scale *= 3
    with pytest.raises(PatchesUnsupported, match="in another way"):
        agreement(encoder, film(1), encoder.encode_images([film(2)])[0])


def test_a_vector_of_another_length_is_refused(clip):
    with pytest.raises(BadQuery, match="expected"):
        agreement(clip, film(1), np.ones(3, np.float32))
