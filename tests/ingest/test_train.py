"""A tiny training on drawn films: it saves, loads, resumes, and refuses what it cannot learn."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ingest.encoders import load_encoder
from ingest.record import ImageRecord, Rejection
from ingest.training import text_tower
from ingest.training.augment import Augmentation, augment
from ingest.training.image_tower import Films, Pupil, pooled_of, vectors_of
from ingest.training.model import new_model, slim
from ingest.training.sentences import read_sentences
from ingest.training.train import (
    SOURCES,
    Recipe,
    check_source,
    train,
    train_texts,
)
from ingest.training.whitening import whitened
from store.errors import BadSource, UsageError

TINY = Recipe(epochs=2, batch=16, look_every=1, text_steps=2, text_batch=8, text_tries=1)


def film(split: str, index: int, label: str) -> ImageRecord:
    """A grey square, bright for pneumonia and dark for normal."""
    random = np.random.default_rng([index, split == "train"])
    pixels = random.integers(0, 90, (28, 28), dtype=np.uint8)
    if label == "pneumonia":
        pixels += 120
    digest = hashlib.sha256(pixels.tobytes()).digest()
    return ImageRecord(f"x/{split}/{index}", pixels, digest, labels=(label,), split=split)


def films() -> list[ImageRecord | Rejection]:
    train_ = [film("train", i, ("normal", "pneumonia")[i % 2]) for i in range(32)]
    val = [film("val", i, ("normal", "pneumonia")[i % 2]) for i in range(24)]
    return [*train_, Rejection("x", "unreadable", "not an image"), *val]


def weights(folder):
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module", autouse=True)
def light():
    """One thread, so that a busy machine is no hindrance, and few captions for the tokenizer."""
    threads, corpus = torch.get_num_threads(), text_tower.CORPUS
    torch.set_num_threads(1)
    text_tower.CORPUS = 1000
    yield
    torch.set_num_threads(threads)
    text_tower.CORPUS = corpus


@pytest.fixture
def undrawn(monkeypatch):
    """No picture of the curve, which takes a third of a tiny training."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    seen = []
    return train(films(), folder, recipe=TINY, device="cpu", progress=seen.append), seen


def test_checkpoint_loads_like_any_other(trained):
    encoder = load_encoder(trained[0].folder, device="cpu")
    assert encoder.supports_text and encoder.dimension == 128
    images = encoder.encode_images([record.pixels for record in films()[:5]])
    texts = encoder.encode_texts(["clear lungs", "pnuemonia ?!"])
    np.testing.assert_allclose(np.linalg.norm([*images, *texts], axis=1), 1, atol=1e-5)


def test_checkpoint_is_plain_transformers(trained):
    from transformers import AutoModel, AutoProcessor

    folder = trained[0].folder
    processor = AutoProcessor.from_pretrained(folder)
    inputs = processor(
        text=["clear lungs"],
        images=[np.zeros((28, 28, 3), np.uint8)],
        return_tensors="pt",
        padding=True,
        truncation=True,
    )
    output = AutoModel.from_pretrained(folder)(**inputs)
    encoder = load_encoder(folder, device="cpu")
    np.testing.assert_allclose(
        encoder.encode_texts(["clear lungs"]), output.text_embeds.detach(), atol=1e-5
    )
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size < 8_000_000


def test_zeros_take_less_room_and_nothing_is_lost(trained):
    from safetensors import safe_open
    from transformers import AutoModel

    with safe_open(trained[0].folder / "model.safetensors", framework="pt") as file:
        saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    small = {name for name, value in saved.items() if value.dtype == torch.float16}
    assert len(small) > 10 and not any(saved[name].any() for name in small)
    model = AutoModel.from_pretrained(trained[0].folder)
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    for name, value in model.state_dict().items():
        assert torch.equal(value, saved[name].to(value.dtype)), name


def test_the_image_tower_hangs_on_nothing_of_the_text_tower(
    trained, tmp_path, monkeypatch, undrawn
):
    monkeypatch.setattr(text_tower, "CORPUS", 100)
    other = replace(TINY, text_steps=1, text_batch=4)
    train(films(), tmp_path, recipe=other, device="cpu")
    once, twice = weights(trained[0].folder), weights(tmp_path)
    words = "text_model.embeddings.word_embeddings.weight"
    assert len(once[words]) != len(twice[words])
    changed = {name for name, value in once.items() if not np.array_equal(value, twice[name])}
    assert changed and all(name.startswith(("text_", "logit_scale")) for name in changed), changed


def test_progress_and_curve(trained):
    report, seen = trained
    stages = [(p.stage, p.done, p.total) for p in seen]
    assert stages == [("images", 1, 2), ("images", 2, 2), ("text", 2, 2)]
    assert seen[1].validation.keys() == {
        "val_p1",
        "val_p10",
        "shifted_val_p1",
        "shifted_val_p10",
    }
    saved = json.loads((report.folder / "training.json").read_text())
    assert saved["kept_epoch"] == report.epoch in (1, 2)
    assert len(saved["curve"]) == 3
    assert (report.folder / "training.png").read_bytes().startswith(b"\x89PNG")
    assert not list(report.folder.glob("training-state*"))


def test_same_seed_same_weights_even_when_interrupted(trained, tmp_path, undrawn):
    class PowerCut(Exception):
        pass

    def cut(progress):
        raise PowerCut

    with pytest.raises(PowerCut):
        train(films(), tmp_path, recipe=TINY, device="cpu", progress=cut)
    assert not (tmp_path / "model.safetensors").exists()
    with pytest.raises(UsageError, match="other settings"):
        train(films(), tmp_path, recipe=TINY, seed=1, device="cpu")
    done = []
    # Only images are in the saved state: other texts may follow.
    with pytest.raises(PowerCut):
        train(films(), tmp_path, recipe=replace(TINY, text_steps=1), device="cpu", progress=cut)
    train(films(), tmp_path, recipe=TINY, device="cpu", progress=done.append)
    assert [p.stage for p in done] == ["text"]
    once, twice = weights(trained[0].folder), weights(tmp_path)
    for name, value in once.items():
        np.testing.assert_allclose(twice[name], value, atol=1e-5, err_msg=name)


def test_the_text_tower_alone(trained, tmp_path):
    folder = trained[0].folder
    seen = []
    longer = replace(TINY, text_steps=3)
    report = train_texts(
        folder, films(), tmp_path, recipe=longer, device="cpu", progress=seen.append
    )
    assert [(p.stage, p.done, p.total) for p in seen] == [("text", 3, 3)]
    before, after = weights(folder), weights(report.folder)
    assert before.keys() == after.keys()
    for name, value in before.items():
        same = np.array_equal(value, after[name])
        assert same or name.startswith(("text_model", "text_projection")), name
    old, new = (load_encoder(place, device="cpu") for place in (folder, tmp_path))
    pixels = [record.pixels for record in films()[:5]]
    np.testing.assert_array_equal(new.encode_images(pixels), old.encode_images(pixels))
    assert np.abs(new.encode_texts(["clear"]) - old.encode_texts(["clear"])).max() > 1e-4
    saved = json.loads((tmp_path / "training.json").read_text())
    assert saved["text"]["recipe"]["text_steps"] == 3 and saved["settings"]["recipe"]["epochs"] == 2
    assert [entry["stage"] for entry in saved["curve"]] == ["images", "images", "text"]


def test_of_several_text_towers_the_best_look_is_kept(trained, tmp_path, monkeypatch, undrawn):
    few = read_sentences()[::20]
    looks, read = iter([0.1, 0.5, 0.2, 0.3]), []

    def figures(texts, *_):
        read.append(texts.numpy())
        return {"p10": next(looks), "ap": 0.0}

    monkeypatch.setattr(text_tower, "figures", figures)
    monkeypatch.setattr(text_tower, "read_sentences", lambda: few)
    kept = replace(TINY, text_tries=2, text_look_every=1)
    seen = []
    report = train_texts(
        trained[0].folder, films(), tmp_path, recipe=kept, device="cpu", progress=seen.append
    )
    assert report.sentences == {"p10": 0.5, "ap": 0.0}
    assert [(p.done, p.total) for p in seen] == [(i, 4) for i in range(1, 5)]
    saved = json.loads((tmp_path / "training.json").read_text())
    assert (saved["kept_text"]["tower"], saved["kept_text"]["step"]) == (1, 2)
    texts = [one.text for one in few]
    found = load_encoder(tmp_path, device="cpu").encode_texts(texts)
    np.testing.assert_allclose(found, read[1], atol=1e-4)  # the vectors of the best look
    assert all(np.abs(found - other).max() > 1e-3 for other in (read[0], *read[2:]))


def test_sentences_find_films():
    from ingest.training.sentences import Sentence, figures

    films_ = torch.nn.functional.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.0], [0.0, 1.0]]))
    texts = torch.eye(2)
    asked = [Sentence("a", "normal", "search"), Sentence("b", "normal", "search")]
    found = figures(texts, asked, films_, torch.tensor([0, 0, 1]))
    # The first finds both normal films first; the second finds them at ranks 2 and 3.
    assert found["p10"] == pytest.approx(2 / 3)
    assert found["ap"] == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)


def test_no_sentence_is_a_held_out_prompt_or_stands_twice():
    import csv
    from pathlib import Path

    import ingest

    sentences = read_sentences()
    texts = [one.text.lower() for one in sentences]
    assert len(set(texts)) == len(texts) > 400
    assert {one.label for one in sentences} == {"normal", "pneumonia"}
    with (Path(ingest.__file__).parent / "training" / "prompts.csv").open(
        encoding="utf-8", newline=""
    ) as file:
        held_out = {r["text"].lower() for r in csv.DictReader(file) if r["held_out"] == "yes"}
    assert len(held_out) >= 30 and not held_out & set(texts)


def test_the_text_tower_alone_is_what_train_makes(trained, tmp_path, undrawn):
    folder = trained[0].folder
    train_texts(folder, films(), tmp_path, recipe=TINY, device="cpu")
    texts = ["clear lungs", "no pneumonia", "patchy opacity"]
    whole, again = (load_encoder(place, device="cpu") for place in (folder, tmp_path))
    np.testing.assert_allclose(again.encode_texts(texts), whole.encode_texts(texts), atol=2e-3)


def test_the_text_tower_of_something_else(tmp_path):
    with pytest.raises(UsageError, match="no checkpoint that cxr train made"):
        train_texts(tmp_path, films(), tmp_path / "out", recipe=TINY)


def test_other_settings_are_refused(tmp_path):
    from ingest.training.checkpoint import Snapshot

    module = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    rest = (module, module, optimizer, torch.Generator())
    Snapshot(tmp_path, {"seed": 0}, *rest).save(1, {"seconds": 1.0}, {})
    epoch, notes, best = Snapshot(tmp_path, {"seed": 0}, *rest).load()
    assert (epoch, notes, best) == (1, {"seconds": 1.0}, {})
    with pytest.raises(UsageError, match="other settings"):
        Snapshot(tmp_path, {"seed": 1}, *rest).load()


def test_validation_films_that_were_trained_on_do_not_choose():
    from ingest.training.train import labelled_films

    records = [r for r in films() if isinstance(r, ImageRecord)]
    copies = [replace(r, id=f"copy/{r.id}", split="val") for r in records if r.split == "train"]
    gallery, validation = labelled_films([*records, *copies], torch.device("cpu"))
    assert (len(gallery.labels), len(validation.labels)) == (32, 24)


def test_the_test_split_is_never_read():
    from ingest.training.train import labelled_films

    spy = ImageRecord(
        "t", np.zeros((5, 5), np.uint8), b"", labels=("something else",), split="test"
    )
    gallery, validation = labelled_films([spy, *films()], torch.device("cpu"))
    assert len(gallery.labels) + len(validation.labels) == 56


#: What every refusal of other films says.
TAKEN = "takes the films of medmnist:pneumoniamnist alone .*28 x 28.*cxr adapt"


@pytest.mark.parametrize(
    "spec", ["folder:films", "medmnist:chestmnist", "medmnist:pneumoniamnist_64", "nih", "x"]
)
def test_other_sources_are_refused_by_their_name(spec):
    with pytest.raises(BadSource, match=f"--source {spec}: cxr train .*{TAKEN}"):
        check_source(spec)
    for one in SOURCES:
        check_source(one)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": ("fracture",)}, "labels .*fracture"),
        ({"pixels": np.zeros((64, 64), np.uint8)}, r"\(64, 64\) pixels"),
    ],
)
def test_films_it_cannot_learn_from(tmp_path, change, says):
    records = films()
    records[3] = replace(records[3], **change)
    with pytest.raises(BadSource, match=f"{says}.*{TAKEN}"):
        train(records, tmp_path, recipe=TINY)


def test_both_splits_and_labels_are_needed(tmp_path):
    one = [r for r in films() if isinstance(r, ImageRecord) and r.labels == ("normal",)]
    with pytest.raises(BadSource, match=f"needs both normal and pneumonia.*{TAKEN}"):
        train(one, tmp_path, recipe=TINY)


def test_augmentation_is_seeded_and_stays_in_range():
    images = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    one, two = (augment(images, Augmentation(), torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == images.shape
    assert one.min() >= 0 and one.max() <= 1
    assert (one - images).abs().mean() > 0.01


def test_no_augmentation_changes_nothing():
    fields = Augmentation.__dataclass_fields__
    nothing = Augmentation(**dict.fromkeys(fields, 0.0))
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    same = augment(images, nothing, torch.Generator().manual_seed(1))
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)


def test_some_films_are_spared_and_only_mirrored():
    images = torch.rand(400, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    some = augment(images, Augmentation(spare=0.25), torch.Generator().manual_seed(5))
    plain = (some == images).all(dim=(1, 2, 3))
    mirrored = (some == images.flip(3)).all(dim=(1, 2, 3))
    assert 30 <= plain.sum() <= 70 and 30 <= mirrored.sum() <= 70
    none = augment(images, Augmentation(spare=0.0), torch.Generator().manual_seed(5))
    assert not (none == images).all(dim=(1, 2, 3)).any()


def a_tower_and_films(count=60):
    torch.manual_seed(0)
    pupil = Pupil(slim(new_model(40))).eval()
    labels = torch.arange(count) % 3 // 2  # twice as many of one class as of the other
    images = torch.rand(count, 1, 28, 28) * (0.6 + 0.4 * labels[:, None, None, None])
    return pupil, Films(images, labels)


def test_whitened_vectors_are_centred_and_vary_alike_within_a_class():
    pupil, bank = a_tower_and_films(180)
    before = pooled_of(pupil, bank.images)
    for power in (0.0, 0.7, 1.0):
        kept = whitened(pupil, bank, power)
        found = pooled_of(kept, bank.images) @ kept.model.visual_projection.weight.T
        classes = [found[bank.labels == label] for label in (0, 1)]
        scale = found.std()
        assert (sum(part.mean(0) for part in classes) / scale).abs().max() < 1e-3
        spread = torch.linalg.eigvalsh(sum(torch.cov(part.T) for part in classes))
        evenness = spread[-20] / spread[-1]
        assert {0.0: evenness < 0.2, 0.7: 0.3 < evenness < 0.7, 1.0: evenness > 0.99}[power]
        if power == 0:
            weight = pupil.model.visual_projection.weight
            means = [before[bank.labels == label].mean(0) for label in (0, 1)]
            expected = (before - sum(means) / 2) @ weight.T
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(pooled_of(pupil, bank.images), before)  # the pupil itself is as it was


def test_the_origin_lies_between_the_classes_where_it_was_asked_to():
    pupil, bank = a_tower_and_films()
    weight = pupil.model.visual_projection.weight
    before = pooled_of(pupil, bank.images)
    first, second = (before[bank.labels == label].mean(0) for label in (0, 1))
    for origin in (0.0, 0.7, 1.0):
        kept = whitened(pupil, bank, 0.0, origin)
        found = pooled_of(kept, bank.images) @ kept.model.visual_projection.weight.T
        expected = (before - (1 - origin) * first - origin * second) @ weight.T
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_whitening_gives_large_and_small_classes_the_same_say():
    pupil, bank = a_tower_and_films()
    few = bank.labels == 1
    more = Films(
        torch.cat([bank.images, *[bank.images[few]] * 3]),
        torch.cat([bank.labels, *[bank.labels[few]] * 3]),
    )
    one, other = (whitened(pupil, films, 0.0) for films in (bank, more))
    torch.testing.assert_close(vectors_of(one, bank.images), vectors_of(other, bank.images))


@pytest.mark.parametrize("alike", [False, True])
def test_few_films_or_films_all_alike_leave_finite_vectors(alike):
    pupil, bank = a_tower_and_films()
    few = [0, 2] if alike else [0, 1, 3, 2]  # one film of a class, or of each
    images = bank.images[few]
    if alike:
        images = images[:1].expand(2, -1, -1, -1)
    kept = whitened(pupil, Films(images, torch.tensor([0, 1] if alike else [0, 0, 0, 1])), 0.7)
    assert all(torch.isfinite(p).all() and p.abs().max() < 1e4 for p in kept.parameters())
    assert torch.isfinite(vectors_of(kept, bank.images)).all()


@pytest.mark.slow
def test_what_is_kept_is_whitened(tmp_path, undrawn):
    one, other = (
        train(films(), tmp_path / str(power), recipe=replace(TINY, whitening=power, look_every=2))
        for power in (0.0, 1.0)
    )
    before, after = weights(one.folder), weights(other.folder)
    assert (
        np.abs(before["visual_projection.weight"] - after["visual_projection.weight"]).max() > 0.1
    )
    vision = [key for key in before if key.startswith("vision_model.")]
    assert all(np.array_equal(before[key], after[key]) for key in vision)


def test_sentences_are_aimed_at_what_tells_films_apart():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(40, 8, generator=generator)
    labels = torch.arange(40) % 2
    vectors[labels == 1, 1] += 2
    bank = Films(torch.nn.functional.normalize(vectors, dim=1), labels)
    normal, pneumonia = (
        torch.nn.functional.normalize(bank.images[labels == label].mean(0), dim=0)
        for label in (0, 1)
    )
    projection = torch.randn(8, 5, generator=generator)
    before, apart = projection.clone(), (pneumonia - normal) @ projection
    text_tower.aim(projection, bank)
    assert torch.allclose((pneumonia - normal) @ projection, apart, atol=1e-5)
    other = torch.linalg.svd((pneumonia - normal)[None])[2][1:]  # tells nothing
    assert torch.allclose(other @ projection, text_tower.KEPT * (other @ before), atol=1e-5)
