"""Each family of encoders that people bring, on its real architecture with random weights."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ingest.encoders import load_encoder
from ingest.encoders.registry import KNOWN
from ingest.images.decode import read_image
from store.errors import EncoderUnavailable, TextUnsupported, UsageError
from tests.ingest.test_encoders import (
    TEXT,
    TEXTS,
    save_siglip_tokenizer,
    save_tokenizer,
    tiny_model,
)

SIDE = 56
FAMILIES = ["clip", "medsiglip", "rad-dino", "biomedclip"]
#: What BiomedCLIP's open_clip_config.json says, in small.
BIOMEDCLIP = {
    "model_cfg": {
        "embed_dim": 24,
        "vision_cfg": {
            "timm_model_name": "vit_tiny_patch16_224",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": 224,
        },
        "text_cfg": {
            "hf_model_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
            "hf_tokenizer_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
            "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            "context_length": 16,
        },
    },
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
    },
}


def save_biomedclip(folder: Path) -> None:
    """An open_clip folder, written by open_clip's own model class."""
    import copy

    import open_clip
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig

    text = folder / "text"
    text.mkdir(parents=True)
    BertConfig(**TEXT).save_pretrained(text)
    save_tokenizer(text)
    config = copy.deepcopy(BIOMEDCLIP["model_cfg"])
    config["text_cfg"] |= {"hf_model_name": str(text), "hf_model_pretrained": False}
    torch.manual_seed(5)
    model = open_clip.CustomTextCLIP(**config)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(BIOMEDCLIP))


def save_transformers(kind: str, folder: Path) -> None:
    from transformers import (
        BitImageProcessor,
        CLIPImageProcessor,
        Dinov2Config,
        Dinov2Model,
        SiglipImageProcessor,
    )

    square = {"height": SIDE, "width": SIDE}
    if kind == "clip":
        tiny_model("clip").save_pretrained(folder)
        CLIPImageProcessor(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
        ).save_pretrained(folder)
    elif kind == "medsiglip":
        import torch
        from transformers import SiglipConfig, SiglipModel

        torch.manual_seed(3)
        vision = {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 14,
        }
        text = {**TEXT, "vocab_size": 100}
        SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
        SiglipImageProcessor(size=square, resample=2).save_pretrained(folder)
    else:
        import torch

        torch.manual_seed(3)
        Dinov2Model(
            Dinov2Config(
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=SIDE,
                patch_size=14,
            )
        ).save_pretrained(folder)
        BitImageProcessor(
            size={"shortest_edge": SIDE},
            crop_size=square,
            image_mean=[0.5307] * 3,
            image_std=[0.2583] * 3,
        ).save_pretrained(folder)
    if kind == "medsiglip":
        save_siglip_tokenizer(folder)
    elif kind != "rad-dino":
        save_tokenizer(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for kind in FAMILIES:
        folder = tmp_path_factory.mktemp("family") / kind
        if kind == "biomedclip":
            try:
                import open_clip  # noqa: F401
            except ImportError:
                continue
            save_biomedclip(folder)
        else:
            save_transformers(kind, folder)
        made[kind] = folder
    return made


@pytest.fixture(params=FAMILIES)
def family(request, folders):
    if request.param not in folders:
        pytest.skip("open_clip is not installed: pip install 'cxr-retrieval[open-clip]'")
    return request.param, folders[request.param]


def films(count: int = 7) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    shapes = [(60, 60), (90, 61), (64, 80, 3), (224, 224), (57, 120)]
    return [random.integers(0, 256, shapes[i % 5], dtype=np.uint8) for i in range(count)]


def rgb(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 3 else np.stack([image] * 3, axis=-1)


def unit(features) -> np.ndarray:
    array = np.asarray(features, np.float64)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def by_the_library(kind: str, folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """What the library itself makes of ``films()`` and ``TEXTS``, called as its pages say."""
    import torch

    if kind == "biomedclip":
        import open_clip
        from PIL import Image

        copy = folder.parent / "for-open-clip"
        if not copy.exists():
            shutil.copytree(folder, copy)
            config = json.loads((copy / "open_clip_config.json").read_text())
            config["model_cfg"]["text_cfg"] |= {
                "hf_model_name": str(copy / "text"),
                "hf_tokenizer_name": str(copy / "text"),
            }
            (copy / "open_clip_config.json").write_text(json.dumps(config))
        model, transform = open_clip.create_model_from_pretrained(f"local-dir:{copy}")
        from transformers import AutoTokenizer

        tokens = AutoTokenizer.from_pretrained(folder / "text")(
            TEXTS, max_length=16, padding="max_length", truncation=True, return_tensors="pt"
        )
        pixels = torch.stack([transform(Image.fromarray(rgb(film))) for film in films()])
        with torch.no_grad():
            return (
                unit(model.eval().encode_image(pixels)),
                unit(model.encode_text(tokens.input_ids)),
            )
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="torchvision")
    pixels = processor(images=[rgb(film) for film in films()], return_tensors="pt")
    with torch.no_grad():
        if kind == "rad-dino":
            return unit(model(**pixels).pooler_output), None
        padding = "max_length" if kind == "medsiglip" else True
        tokens = AutoTokenizer.from_pretrained(folder)(
            TEXTS, padding=padding, max_length=16, truncation=True, return_tensors="pt"
        )
        found = model(**pixels, **tokens)
        return unit(found.image_embeds), unit(found.text_embeds)


def test_vectors_are_the_librarys_own(family):
    kind, folder = family
    encoder = load_encoder(folder, device="cpu")
    images, texts = by_the_library(kind, folder)
    ours = encoder.encode_images(films())
    assert ours.shape == (7, encoder.dimension)
    np.testing.assert_allclose(ours, images, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
    if texts is None:
        with pytest.raises(TextUnsupported):
            encoder.encode_texts(TEXTS)
    else:
        ours = encoder.encode_texts(TEXTS)
        np.testing.assert_allclose(ours, texts, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)


def test_vectors_do_not_depend_on_batch_or_order(family):
    encoder = load_encoder(family[1], device="cpu")
    whole = encoder.encode_images(films())
    np.testing.assert_allclose(encoder.encode_images(films(), batch_size=1), whole, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(films(), batch_size=3), whole, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(films()[::-1])[::-1], whole, atol=1e-5)
    if encoder.supports_text:
        whole = encoder.encode_texts(TEXTS)
        np.testing.assert_allclose(encoder.encode_texts(TEXTS, batch_size=1), whole, atol=1e-5)
        np.testing.assert_allclose(encoder.encode_texts(TEXTS[::-1])[::-1], whole, atol=1e-5)


def test_file_array_and_dicom_are_one_picture(family, tmp_path):
    from PIL import Image

    film = films()[1]
    Image.fromarray(film).save(tmp_path / "film.png")
    save_dicom(film, tmp_path / "film.dcm")
    save_dicom(255 - film, tmp_path / "inverted.dcm", "MONOCHROME1")
    sources = [read_image(tmp_path / name) for name in ("film.png", "film.dcm", "inverted.dcm")]
    vectors = load_encoder(family[1], device="cpu").encode_images([film, rgb(film), *sources])
    np.testing.assert_allclose(vectors, np.tile(vectors[0], (5, 1)), atol=1e-6)


def save_dicom(film: np.ndarray, path: Path, photometric: str = "MONOCHROME2") -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    file.Modality = "CR"
    file.Rows, file.Columns = film.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, photometric
    file.BitsAllocated = file.BitsStored = 8
    file.HighBit, file.PixelRepresentation = 7, 0
    # The whole range, so that no reader stretches it.
    file.PixelData = film.tobytes() + b"\0" * (film.size % 2)
    file.save_as(path, enforce_file_format=True)


# --- the open_clip layout ---


@pytest.fixture
def biomedclip(folders, tmp_path):
    if "biomedclip" not in folders:
        pytest.skip("open_clip is not installed")
    return Path(shutil.copytree(folders["biomedclip"], tmp_path / "biomedclip"))


def refusal(folder: Path) -> str:
    with pytest.raises(EncoderUnavailable) as caught:
        load_encoder(folder, device="cpu").encode_texts(TEXTS)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_open_clip_without_weights(biomedclip):
    (biomedclip / "open_clip_model.safetensors").unlink()
    assert "no open_clip_model.safetensors" in refusal(biomedclip)


def test_open_clip_cut_short(biomedclip):
    path = biomedclip / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "fetch it again" in refusal(biomedclip)


def test_open_clip_without_its_text_tower(biomedclip):
    shutil.rmtree(biomedclip / "text")
    assert "BiomedBERT" in refusal(biomedclip)


def test_open_clip_with_weights_missing(biomedclip):
    from safetensors.torch import load_file, save_file

    path = biomedclip / "open_clip_model.safetensors"
    weights = load_file(path)
    del weights["visual.trunk.pos_embed"]
    save_file(weights, path)
    assert "untrained weights are never used" in refusal(biomedclip)


@pytest.mark.parametrize(
    "file",
    [
        "open_clip_model.safetensors",
        "open_clip_config.json",
        "text/config.json",
        "text/tokenizer.json",
    ],
)
def test_open_clip_fingerprint_knows_every_file(biomedclip, file):
    before = load_encoder(biomedclip).fingerprint
    data = bytearray((biomedclip / file).read_bytes())
    if file.endswith("json"):
        data += b"\n"
    else:
        data[-1] ^= 1
    (biomedclip / file).write_bytes(data)
    assert load_encoder(biomedclip).fingerprint != before


@pytest.mark.parametrize("when", ["before the first vector", "after it"])
def test_open_clip_files_changed_later_change_no_vector(biomedclip, when):
    expected = load_encoder(biomedclip, device="cpu").encode_texts(TEXTS)
    encoder = load_encoder(biomedclip, device="cpu")
    if when == "after it":
        encoder.encode_texts(TEXTS)
    for file in ("open_clip_config.json", "text/config.json", "text/tokenizer.json"):
        (biomedclip / file).write_text("{}")
    path = biomedclip / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"cxr!")
    np.testing.assert_array_equal(encoder.encode_texts(TEXTS), expected)
    assert encoder.fingerprint[:12] in str(encoder.changed())


def test_without_open_clip_the_advice_is_one_line(biomedclip, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "open_clip", None)
    assert "pip install" in refusal(biomedclip)


# --- precision ---


def test_precision_is_part_of_name_and_fingerprint(folders):
    folder = folders["clip"]
    plain, half = load_encoder(folder), load_encoder(folder, precision="bf16")
    assert half.name == f"{plain.name}@bf16" and half.fingerprint != plain.fingerprint
    assert load_encoder(f"{folder}@bf16").stamp == half.stamp
    assert load_encoder(folder, precision="float32").stamp == plain.stamp
    with pytest.raises(UsageError, match="float32 or bf16"):
        load_encoder(folder, precision="int4")


def test_bf16_is_for_cuda(folders):
    encoder = load_encoder(folders["clip"], device="cpu", precision="bf16")
    with pytest.raises(EncoderUnavailable, match="is for cuda"):
        encoder.encode_images(films())


@pytest.mark.skipif("not __import__('torch').cuda.is_available()")
def test_bf16_is_close_to_float32(folders):
    plain, half = load_encoder(folders["clip"]), load_encoder(folders["clip"], precision="bf16")
    cosines = (plain.encode_images(films()) * half.encode_images(films())).sum(axis=1)
    assert (cosines > 0.99).all() and (cosines < 1).any()


# --- the registry ---


def test_every_known_encoder_is_pinned():
    assert set(KNOWN) == {"pubmed-clip", "clip", "medsiglip", "biomedclip", "rad-dino"}
    for known in KNOWN.values():
        commits = [known.revision, *(known.open_clip or ())[1:]]
        assert all(len(c) == 40 and set(c) <= set("0123456789abcdef") for c in commits)
        assert known.dimension and known.bytes and known.licence
        assert known.weights.endswith(".safetensors") or len(str(known.sha256)) == 64


def test_a_converted_pickle_is_its_weights(folders, tmp_path, monkeypatch):
    from ingest.encoders import download

    _, source = pickled(folders["clip"], tmp_path, monkeypatch)
    monkeypatch.setattr(download, "fetch", lambda *_: source)
    encoder = load_encoder("pubmed-clip", device="cpu")
    assert (encoder.name, encoder.dimension) == ("pubmed-clip", 8)
    before = load_encoder(folders["clip"], device="cpu")
    np.testing.assert_array_equal(encoder.encode_images(films()), before.encode_images(films()))
    shutil.rmtree(source)  # from now on the kept copy is enough
    assert load_encoder("pubmed-clip").fingerprint == encoder.fingerprint
    assert not list((download.cache_folder() / "encoders").glob(".new-*"))


def test_a_pickle_that_is_not_the_published_one(folders, tmp_path, monkeypatch):
    from ingest.encoders import download

    _, source = pickled(folders["clip"], tmp_path, monkeypatch)
    path = source / "pytorch_model.bin"
    path.write_bytes(path.read_bytes() + b"\0")
    monkeypatch.setattr(download, "fetch", lambda *_: source)
    with pytest.raises(EncoderUnavailable, match="sha256"):
        load_encoder("pubmed-clip")


def pickled(folder: Path, tmp_path: Path, monkeypatch):
    """The tiny CLIP as a hub would hold pubmed-clip, and a registry that expects these bytes."""
    from dataclasses import replace

    import torch
    from safetensors.torch import load_file

    from ingest.encoders import locate

    source = Path(shutil.copytree(folder, tmp_path / "source"))
    torch.save(load_file(source / "model.safetensors"), source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    digest = hashlib.sha256((source / "pytorch_model.bin").read_bytes()).hexdigest()
    known = replace(KNOWN["pubmed-clip"], sha256=digest)
    monkeypatch.setattr(locate, "KNOWN", {"pubmed-clip": known})
    monkeypatch.setenv("CXR_CACHE", str(tmp_path / "cache"))
    return known, source


def test_idle_branches_of_the_bundled_encoder_change_nothing():
    """They are left out for speed: the library's whole model gives the same vectors."""
    import torch
    from transformers import AutoImageProcessor, AutoModel

    from ingest.encoders import DEFAULT_ENCODER, locate

    folder = Path(locate.__file__).parent / DEFAULT_ENCODER
    encoder = load_encoder(device="cpu")
    processor = AutoImageProcessor.from_pretrained(folder, backend="torchvision")
    with torch.no_grad():
        pixels = processor(images=[rgb(film) for film in films()], return_tensors="pt")
        whole = AutoModel.from_pretrained(folder).eval().get_image_features(**pixels)
    np.testing.assert_allclose(encoder.encode_images(films()), unit(whole.pooler_output), atol=1e-5)
    layers = [m for m in encoder.runtime().model.modules() if hasattr(m, "vertical_conv")]
    assert layers and all(layer.vertical_conv is None for layer in layers)
