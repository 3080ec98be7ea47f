"""Any dual encoder in the transformers layout: its own vectors, exactly, or one clear refusal."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from ingest import Source, ingest
from ingest.encoders import encoder_for, load_encoder
from store import (
    BadImage,
    BadQuery,
    EncoderChanged,
    EncoderMismatch,
    EncoderUnavailable,
    Gallery,
    TextUnsupported,
)
from tests.ingest.fakes import record

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = [*SPECIAL, "clear", "lungs", "normal", "pneumonia", "opacity", "in", "no", "the", "a"]


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=16,
    ).save_pretrained(folder)


def save_siglip_tokenizer(folder: Path) -> None:
    """The class that published SigLIP checkpoints name, with a small vocabulary of its own."""
    import io
    import random

    import sentencepiece
    from transformers import SiglipTokenizer

    drawn, file = random.Random(0), io.BytesIO()
    lines = [" ".join(drawn.choices([*WORDS[4:], "heart", "size"], k=6)) for _ in range(300)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=file,
        vocab_size=60,
        hard_vocab_limit=False,
        unk_id=2,
        eos_id=1,
        pad_id=0,
        bos_id=-1,
        minloglevel=2,
    )
    (folder / "spiece.model").write_bytes(file.getvalue())
    SiglipTokenizer(
        str(folder / "spiece.model"), model_max_length=16, model_input_names=["input_ids"]
    ).save_pretrained(folder)


def save_processor(folder: Path, size: int = 28) -> None:
    from transformers import CLIPImageProcessor

    CLIPImageProcessor(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        image_mean=[0.5] * 3,
        image_std=[0.25] * 3,
    ).save_pretrained(folder)


TEXT = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
}


def tiny_model(kind: str):
    import torch
    from transformers import (
        BertConfig,
        CLIPConfig,
        CLIPModel,
        ConvNextV2Config,
        Dinov2Config,
        Dinov2Model,
        SiglipConfig,
        SiglipModel,
        VisionTextDualEncoderConfig,
        VisionTextDualEncoderModel,
    )

    torch.manual_seed(3)
    if kind == "clip":
        text = {**TEXT, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
        return CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=8))
    if kind == "siglip":
        return SiglipModel(SiglipConfig(text_config=TEXT, vision_config=VISION))
    if kind == "image-only":
        return Dinov2Model(
            Dinov2Config(
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                image_size=28,
                patch_size=7,
            )
        )
    vision = ConvNextV2Config(
        patch_size=2, num_stages=2, hidden_sizes=[8, 16], depths=[1, 1], hidden_size=16
    )
    return VisionTextDualEncoderModel(
        VisionTextDualEncoderConfig(
            vision_config=vision.to_dict(),
            text_config=BertConfig(**TEXT).to_dict(),
            projection_dim=8,
        )
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One folder per architecture, random weights, saved by the library itself."""
    made = {}
    for kind in ("clip", "siglip", "dual", "image-only"):
        folder = tmp_path_factory.mktemp(kind)
        tiny_model(kind).save_pretrained(folder)
        save_processor(folder)
        if kind != "image-only":
            save_tokenizer(folder)
        made[kind] = folder
    return made


@pytest.fixture
def clip(folders, tmp_path):
    """A copy of the CLIP folder that a test may damage."""
    return Path(shutil.copytree(folders["clip"], tmp_path / "clip"))


def some_images(count: int = 5, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = [(28, 28), (40, 31), (64, 64, 3), (28, 28), (29, 90)]
    return [random.integers(0, 256, shapes[i % 5], dtype=np.uint8) for i in range(count)]


TEXTS = ["clear lungs", "no pneumonia in the lungs", "opacity", "a normal unheardof"]


@pytest.mark.parametrize("kind", ["clip", "siglip", "dual"])
def test_vectors_are_the_librarys_own(folders, kind):
    import torch
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    folder = folders[kind]
    encoder = load_encoder(folder, device="cpu")
    model = AutoModel.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="torchvision")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    padding = {"padding": "max_length"} if kind == "siglip" else {"padding": True}
    rgb = [i if i.ndim == 3 else np.stack([i] * 3, axis=-1) for i in some_images()]
    with torch.no_grad():
        output = model(
            **processor(images=rgb, return_tensors="pt"),
            **tokenizer(TEXTS, max_length=16, truncation=True, return_tensors="pt", **padding),
        )
    images, texts = encoder.encode_images(some_images()), encoder.encode_texts(TEXTS)
    assert images.dtype == texts.dtype == np.float32
    assert images.shape == (5, encoder.dimension) and texts.shape == (4, encoder.dimension)
    np.testing.assert_allclose(images, output.image_embeds, atol=1e-5)
    np.testing.assert_allclose(texts, output.text_embeds, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["clip", "siglip", "dual", "image-only"])
def test_vectors_do_not_depend_on_the_batch(folders, kind):
    encoder = load_encoder(folders[kind], device="cpu")
    images = some_images(11)
    whole = encoder.encode_images(images)
    np.testing.assert_allclose(encoder.encode_images(images, batch_size=1), whole, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(images[::-1])[::-1], whole, atol=1e-5)
    if encoder.supports_text:
        whole = encoder.encode_texts(TEXTS)
        np.testing.assert_allclose(encoder.encode_texts(TEXTS, batch_size=1), whole, atol=1e-5)
        np.testing.assert_allclose(encoder.encode_texts(TEXTS[::-1])[::-1], whole, atol=1e-5)


def test_grey_is_three_equal_channels(folders):
    encoder = load_encoder(folders["clip"], device="cpu")
    grey = some_images()[1]
    rgb = np.stack([grey] * 3, axis=-1)
    np.testing.assert_array_equal(encoder.encode_images([grey]), encoder.encode_images([rgb]))


def test_nothing_to_encode(folders):
    encoder = load_encoder(folders["clip"], device="cpu")
    assert encoder.encode_images([]).shape == encoder.encode_texts([]).shape == (0, 8)


def test_image_only_encoder_says_so(folders):
    encoder = load_encoder(folders["image-only"], device="cpu")
    assert not encoder.supports_text
    assert encoder.encode_images(some_images()).shape == (5, 16)
    with pytest.raises(TextUnsupported, match="understands images only"):
        encoder.encode_texts(["clear lungs"])


def test_threads_share_one_instance(folders):
    encoder = load_encoder(folders["clip"], device="cpu")
    results: list[np.ndarray] = []
    errors: list[BaseException] = []

    def work(size: int) -> None:
        try:
            for _ in range(5):
                encoder.encode_texts(TEXTS[:size])
            results.append(encoder.encode_images(some_images()))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(1 + i % 4,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for result in results:
        np.testing.assert_allclose(result, results[0], atol=1e-6)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((28, 28), np.float32),
        np.zeros((0, 3), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        "x",
    ],
)
def test_bad_pixels(folders, image):
    with pytest.raises(BadImage, match="image 1"):
        load_encoder(folders["clip"]).encode_images([some_images()[0], image])


@pytest.mark.parametrize("text", ["", "  \n"])
def test_empty_text(folders, text):
    with pytest.raises(BadQuery, match="text 1 is empty"):
        load_encoder(folders["clip"]).encode_texts(["clear lungs", text])


def test_locating_loads_no_torch(folders):
    code = (
        "import sys; from ingest.encoders import load_encoder; e = load_encoder(sys.argv[1]);"
        "print(e.stamp.dimension, e.supports_text, 'torch' in sys.modules,"
        " 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folders["clip"])], capture_output=True, text=True
    )
    assert done.stdout.split() == ["8", "True", "False", "False"], done.stderr


# --- which encoder is it ---


@pytest.mark.parametrize(
    "file", ["model.safetensors", "config.json", "preprocessor_config.json", "tokenizer.json"]
)
def test_fingerprint_knows_every_byte(clip, file):
    before = load_encoder(clip).fingerprint
    data = bytearray((clip / file).read_bytes())
    if file.endswith(".json"):
        data += b"\n"
    else:
        data[-1] ^= 1
    (clip / file).write_bytes(data)
    assert load_encoder(clip).fingerprint != before


def test_fingerprint_is_of_the_content_alone(folders, clip):
    (clip / "README.md").write_text("a model card")
    assert load_encoder(clip).fingerprint == load_encoder(folders["clip"]).fingerprint
    assert load_encoder(clip).name == "clip"


# --- whatever becomes of the files: the bytes that are used are those that are hashed ---


def other_bytes(clip: Path, file: str) -> bytes:
    """The content of a file of another encoder of the same shape."""
    data = (clip / file).read_bytes()
    if file == "model.safetensors":
        from safetensors.numpy import load, save

        values = load(data)
        values["visual_projection.weight"] = values["visual_projection.weight"][::-1].copy()
        values["text_projection.weight"] = values["text_projection.weight"][::-1].copy()
        return save(values, metadata={"format": "pt"})
    if file == "preprocessor_config.json":
        return data.replace(b"0.25", b"0.75")
    return data.replace(b'"clear"', b'"cleer"').replace(b'"normal"', b'"clear"')


def vectors_of(encoder) -> np.ndarray:
    return np.concatenate([encoder.encode_images(some_images()), encoder.encode_texts(TEXTS)])


FILES = ["model.safetensors", "preprocessor_config.json", "tokenizer.json"]


def test_weights_cut_off_under_a_running_program_do_not_kill_it(clip):
    """Nor does anything but the program itself print in it."""
    code = """
import os, shutil, sys
import numpy as np
from ingest.encoders import load_encoder
film = [np.arange(784, dtype=np.uint8).reshape(28, 28)]
for when in ("before the first vector", "after it"):
    folder = shutil.copytree(sys.argv[1], f"{sys.argv[1]}-{when}")
    encoder = load_encoder(folder, device="cpu")
    if when == "after it":
        encoder.encode_images(film)
    os.truncate(f"{folder}/model.safetensors", 0)
    encoder.encode_texts(["normal " * 90])
    print(encoder.encode_images(film).shape, encoder.changed())
"""
    done = subprocess.run([sys.executable, "-c", code, str(clip)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout.splitlines()
    for line, when in zip(told, ("before the first vector", "after it"), strict=True):
        assert line.startswith(f"(1, 8) encoder 'clip-{when}' was read with fingerprint"), done
        assert "cannot be loaded any more" in line


def test_a_changed_encoder_is_told_only_when_its_bytes_differ(clip):
    encoder = load_encoder(clip, device="cpu")
    (clip / "README.md").write_text("a model card")
    os.utime(clip / "config.json")
    copied = clip.with_name("copy")
    shutil.copyfile(clip / "model.safetensors", copied)
    copied.replace(clip / "model.safetensors")
    assert encoder.changed() is None
    (clip / "added_tokens.json").write_text("{}")
    assert encoder.changed() is not None
    (clip / "added_tokens.json").unlink()
    assert encoder.changed() is None
    shutil.rmtree(clip)
    assert "cannot be loaded any more" in str(encoder.changed())


def test_weights_exchanged_while_films_come_in(clip, tmp_path):
    """Every row is of the bytes that the gallery is stamped with, and the report says so."""
    first = load_encoder(clip, device="cpu").fingerprint
    encoder = load_encoder(clip, device="cpu")
    gallery = Gallery.create(tmp_path / "gallery", encoder.stamp)
    films = [record(number) for number in range(4)]

    def records():
        yield from films[:2]
        (clip / "model.safetensors").write_bytes(other_bytes(clip, "model.safetensors"))
        yield from films[2:]

    report = ingest(Source("toy", 4, records()), gallery, encoder, batch_size=2, workers=1)
    assert report.inserted == 4
    now = load_encoder(clip, device="cpu")
    assert first[:12] in str(report.encoder_changed)
    assert now.fingerprint[:12] in str(report.encoder_changed)
    expected = encoder.encode_images([film.pixels for film in films])
    stored = gallery.vectors([film.id for film in films])
    np.testing.assert_allclose(stored, expected, atol=1e-6)
    assert not np.allclose(now.encode_images([film.pixels for film in films]), stored, atol=1e-3)


# --- refusals: one line, and no fallback ---


def refusal(name, device: str | None = None, **kwargs) -> str:
    with pytest.raises(EncoderUnavailable) as caught:
        load_encoder(name, device=device, **kwargs).encode_images(some_images())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unknown_name():
    assert "expected a bundled name" in refusal("clip-that-nobody-made")


def test_folder_that_is_not_there(tmp_path):
    assert "no encoder" in refusal(tmp_path / "nowhere")


def test_wrong_folder(tmp_path):
    assert "no config.json" in refusal(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_broken_config(clip, content):
    (clip / "config.json").write_text(content)
    assert "config.json" in refusal(clip)


def test_missing_weights(clip):
    (clip / "model.safetensors").unlink()
    assert "no model.safetensors" in refusal(clip)


def test_weights_that_are_no_pickle_under_its_name(clip):
    (clip / "model.safetensors").rename(clip / "pytorch_model.bin")
    assert "no complete file of torch.save" in refusal(clip)


def test_garbage_is_collected_again_after_a_model_is_loaded(clip):
    assert gc.isenabled()
    load_encoder(clip, device="cpu").runtime()
    assert gc.isenabled()
    (clip / "preprocessor_config.json").write_text('{"image_processor_type": "Odd"}')
    with pytest.raises(EncoderUnavailable):
        load_encoder(clip, device="cpu").runtime()
    assert gc.isenabled()


def test_loading_an_encoder_imports_nothing_of_the_table():
    code = (
        "import sys; from ingest.encoders import load_encoder; load_encoder(); "
        "print({'pyarrow', 'lancedb', 'torch'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("keep", [0, 5, 2000, -1])
def test_truncated_weights(clip, keep):
    path = clip / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "fetch it again" in refusal(clip)


@pytest.mark.parametrize("header", [b"[" * 100_000, b"[]", b"\xff", b'{"a": {}}', b'{"a": 1}'])
def test_weights_with_an_odd_header(clip, header):
    (clip / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert "is not a safetensors file" in refusal(clip)


def test_git_lfs_pointer(clip):
    (clip / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    assert "LFS" in refusal(clip)


def test_shards_must_all_be_there(clip):
    from safetensors.numpy import load_file, save_file

    whole = load_file(clip / "model.safetensors")
    names = sorted(whole)
    parts = {"model-1.safetensors": names[:20], "model-2.safetensors": names[20:]}
    before = load_encoder(clip, device="cpu").encode_images(some_images())
    for file, keys in parts.items():
        save_file({key: whole[key] for key in keys}, clip / file, metadata={"format": "pt"})
    weight_map = {key: file for file, keys in parts.items() for key in keys}
    (clip / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )
    (clip / "model.safetensors").unlink()
    np.testing.assert_array_equal(
        load_encoder(clip, device="cpu").encode_images(some_images()), before
    )
    (clip / "model-2.safetensors").unlink()
    assert "model-2.safetensors" in refusal(clip)


def test_missing_parameters_are_not_made_up(clip):
    from safetensors.numpy import load_file, save_file

    weights = load_file(clip / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, clip / "model.safetensors", metadata={"format": "pt"})
    assert "untrained weights are never used" in refusal(clip)


def test_parameters_of_another_shape(clip):
    config = json.loads((clip / "config.json").read_text())
    config["projection_dim"] = 12
    (clip / "config.json").write_text(json.dumps(config))
    assert str(clip) in refusal(clip)


def test_weights_that_are_not_finite(clip):
    from safetensors.numpy import load_file, save_file

    weights = load_file(clip / "model.safetensors")
    weights["visual_projection.weight"][:] = np.nan
    save_file(weights, clip / "model.safetensors", metadata={"format": "pt"})
    assert "not finite" in refusal(clip)


@pytest.mark.parametrize(
    ("file", "says"),
    [("preprocessor_config.json", "image processor"), ("tokenizer", "no tokenizer files")],
)
def test_missing_companions(clip, file, says):
    for path in clip.glob(f"{file}*"):
        path.unlink()
    assert says in refusal(clip)


def test_remote_code_is_not_run(clip):
    config = json.loads((clip / "config.json").read_text())
    config |= {"model_type": "my-own", "auto_map": {"AutoModel": "code.Mine"}}
    (clip / "config.json").write_text(json.dumps(config))
    (clip / "code.py").write_text("raise SystemExit('ran')")
    assert "does not load" in refusal(clip)


def test_unknown_device(folders):
    assert "choose cpu" in refusal(folders["clip"], device="abacus")


def test_device_from_the_environment(folders, monkeypatch):
    monkeypatch.setenv("CXR_DEVICE", "abacus")
    assert "'abacus'" in refusal(folders["clip"])
    load_encoder(folders["clip"], device="cpu").encode_images(some_images())


@pytest.mark.parametrize(
    "environment",
    [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}],
    ids=["offline", "refused"],
)
def test_hub_out_of_reach(tmp_path, environment):
    code = (
        "from ingest.encoders import load_encoder; from store.errors import EncoderUnavailable\n"
        "try: load_encoder('someone/some-clip', revision='abc')\n"
        "except EncoderUnavailable as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HOME": str(tmp_path), **environment},
    )
    assert done.stdout.count("\n") == 1 and "someone/some-clip" in done.stdout, done
    assert "connect once" in done.stdout
    assert done.stderr == ""


@pytest.fixture
def made_by_clip(folders, tmp_path):
    encoder = load_encoder(folders["clip"], device="cpu")
    return Gallery.create(tmp_path / "gallery", encoder.stamp), folders["clip"]


def test_the_encoder_of_a_gallery(made_by_clip):
    gallery, folder = made_by_clip
    assert encoder_for(gallery, folder, device="cpu").stamp == gallery.stamp
    assert encoder_for(gallery.stamp, folder, device="cpu").stamp == gallery.stamp
    loaded = load_encoder(folder, device="cpu")
    asked: list[object] = []

    def cached(name: object):
        asked.append(name)
        return loaded

    assert encoder_for(gallery, load=cached) is loaded
    assert asked == [str(folder)]


def test_another_encoder_than_the_gallerys(made_by_clip, folders):
    gallery, _ = made_by_clip
    with pytest.raises(EncoderMismatch, match=r"gallery at .*was made by encoder clip.*this is"):
        encoder_for(gallery, folders["siglip"])
    changed = dataclasses.replace(gallery.stamp, fingerprint="ab" * 32)
    with pytest.raises(EncoderChanged, match=r"this gallery .*fingerprint abababababab"):
        encoder_for(changed, folders["clip"])


def test_an_encoder_that_is_not_found_by_its_name(made_by_clip):
    gallery, _ = made_by_clip
    with pytest.raises(EncoderUnavailable, match=r"by encoder nowhere .*not found") as caught:
        encoder_for(dataclasses.replace(gallery.stamp, name="nowhere", folder=None), device="cpu")
    assert "\n" not in str(caught.value)
    unknown = dataclasses.replace(gallery.stamp, name="external:theirs")
    with pytest.raises(EncoderMismatch, match="without saying which encoder"):
        encoder_for(unknown)
