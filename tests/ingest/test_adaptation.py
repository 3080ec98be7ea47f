"""A map that knows the labels of a gallery, learnt on stored vectors: honest, or refused."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file, save_file

from ingest import adapt, agreement, card_of, map_gallery
from ingest.adaptation.candidates import CANDIDATES, IDENTITY, LINEAR, Sample
from ingest.adaptation.choice import choose, judge_by_folds, judge_by_split
from ingest.adaptation.contrastive import train_heads
from ingest.adaptation.films import Films
from ingest.adaptation.folds import folds_of
from ingest.adaptation.judging import gain, look
from ingest.encoders import load_encoder
from ingest.encoders.adapted.files import write_adapter
from ingest.encoders.adapted.vector_map import Branch, Layer, VectorMap
from store import (
    BadQuery,
    EncoderMismatch,
    EncoderStamp,
    EncoderUnavailable,
    Gallery,
    PatchesUnsupported,
    Row,
    TextUnsupported,
    UsageError,
    Vectors,
)

SIDE = 28
SMALL = EncoderStamp("small", "ab" * 32, 16)
FAST = (IDENTITY, "half whitening", "vector and discriminants")


def unit(rows: Any) -> Vectors:
    found = np.asarray(rows, np.float64)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Films whose class is a faint pattern under twelve strong ones that say nothing of it."""
    random, fixed = np.random.default_rng(seed), np.random.default_rng(7)
    classes = np.arange(count) % 2
    ground, pattern = fixed.normal(size=(12, SIDE, SIDE)), fixed.normal(size=(2, SIDE, SIDE))
    found = 128 + 12 * np.tensordot(random.normal(size=(count, 12)), ground, 1)
    found += 4 * pattern[classes] + random.normal(0, 12, (count, SIDE, SIDE))
    return found.clip(0, 255).astype(np.uint8), classes


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module", autouse=True)
def _closed_forms() -> Iterator[None]:
    """Galleries of this file choose among closed forms; tests/ui/test_adapting.py among all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ingest.adaptation.adapt.LINEAR", FAST)
        yield


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """A gallery of raw pixels: two classes in three splits, and films that nobody labelled."""
    gallery = Gallery.create(
        tmp_path_factory.mktemp("galleries") / "pixels", load_encoder("raw-pixels").stamp
    )
    names = ("normal", "pneumonia")
    for seed, (split, count) in enumerate({"train": 160, "val": 80, "test": 80}.items()):
        images, classes = pictures(count, seed)
        vectors = load_encoder("raw-pixels").encode_images(list(images))
        gallery.upsert(
            [
                Row(
                    id=f"set/{split}/{i:03d}",
                    sha256=bytes([seed]) * 31 + bytes([i]),
                    embedding=vectors[i],
                    labels=() if i % 20 == 19 else (names[classes[i]],),
                    split=split,
                    dataset="set",
                    patient=f"{split}-{i // 2}",
                    thumbnail=png(images[i]),
                    width=SIDE,
                    height=SIDE,
                    batch="first",
                    extra={"site": "north" if classes[i] else "south", "dose": i / 7},
                )
                for i in range(count)
            ]
        )
    return gallery


@pytest.fixture(scope="module")
def adapted(films: Gallery, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("encoders") / "knows"
    report = adapt(
        films,
        folder,
        split="train",
        val="val",
        test="test",
        linear=True,
        base=load_encoder("raw-pixels"),
    )
    return folder, report


# -- the map -----------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 3), st.integers(0, 10_000))
def test_a_map_gives_unit_rows_and_outlives_its_file(inputs, outputs, branches, seed):
    random = np.random.default_rng(seed)

    def layer(out: int, width: int) -> Layer:
        return Layer(
            random.normal(size=(out, width)).astype(np.float32),
            random.normal(size=out).astype(np.float32),
        )

    made = VectorMap(
        (
            Branch((layer(outputs, inputs),), 2.0),
            *(Branch((layer(4, inputs), layer(outputs, 4))) for _ in range(branches)),
        )
    )
    vectors = unit(random.normal(size=(5, inputs)))
    found = made(vectors)
    assert found.shape == (5, made.dimension(inputs)) and found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    again = VectorMap.of(made.tensors(), inputs)
    assert np.array_equal(again(vectors), found)
    assert made.is_linear == again.is_linear == (branches == 0)
    assert np.allclose(made(vectors[2:3]), found[2:3], atol=1e-6)  # alone as with others


def test_a_vector_that_a_map_loses_is_stored_all_the_same():
    nothing = Layer(np.zeros((2, 3), np.float32), np.zeros(2, np.float32))
    assert VectorMap((Branch((nothing,)),))(unit(np.eye(3))).tolist() == [[1, 0]] * 3


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"0.length": [1.0], "0.0.weight": [[1.0, 2.0]], "0.0.bias": [0.0]},  # of 2, not 3
        {"0.length": [1.0], "0.0.weight": [[1.0, 2.0, 3.0]]},
        {"0.length": [1.0], "0.0.weight": [[1.0, 2.0, np.nan]], "0.0.bias": [0.0]},
        {"0.length": [0.0]},
        {"0.length": [1.0], "other": [1.0]},
    ],
)
def test_arrays_that_make_no_map_are_refused(arrays):
    with pytest.raises(ValueError, match=r"branch|branches"):
        VectorMap.of({name: np.asarray(a, np.float32) for name, a in arrays.items()}, 3)


# -- learning ----------------------------------------------------------------------------------


def of(
    vectors: Any, labels: Sequence[tuple[str, ...]], groups: Sequence[Any] | None = None
) -> Films:
    ids = [f"{i:05d}" for i in range(len(labels))]
    return Films(ids, unit(vectors), list(labels), list(groups or [None] * len(ids)))


def findings(count: int, seed: int) -> tuple[Any, list[tuple[str, ...]]]:
    """Vectors in which each of three findings shows faintly; many films have none."""
    random = np.random.default_rng(seed)
    has = random.random((count, 3)) < (0.4, 0.2, 0.1)
    signs = np.random.default_rng(3).normal(size=(3, 24))
    vectors = random.normal(size=(count, 24)) * np.geomspace(4, 0.5, 24) + 1.2 * has @ signs
    names = np.asarray(["effusion", "nodule", "mass"])
    return vectors, [tuple(names[row]) for row in has]


@pytest.mark.parametrize("name", CANDIDATES)
def test_every_candidate_takes_several_findings_and_films_with_none(name):
    sample = Sample(of(*findings(60, 0)), seed=0)
    made = CANDIDATES[name](sample)
    assert made is not None
    assert made.is_linear == (name in LINEAR)
    assert np.isfinite(made(sample.films.vectors)).all()
    again = CANDIDATES[name](Sample(sample.films, seed=0))
    assert np.array_equal(made(sample.films.vectors), again(sample.films.vectors))


def test_the_discriminant_of_two_classes_is_that_of_scikit_learn():
    from sklearn.covariance import ledoit_wolf
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    vectors, labels = findings(400, 1)
    films = of(vectors, [("a",) if "effusion" in row else ("b",) for row in labels])
    (found,) = Sample(films, seed=0).discriminants
    classes = np.asarray([row[0] for row in films.labels])
    means = {name: films.vectors[classes == name].mean(0) for name in "ab"}
    within = films.vectors - np.stack([means[name] for name in classes])
    shrinkage = ledoit_wolf(within.astype(np.float64), assume_centered=True)[1]
    judge = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
    theirs = judge.fit(films.vectors.astype(np.float64), classes).coef_[0]
    assert abs(found @ theirs) / np.linalg.norm(found) / np.linalg.norm(theirs) > 0.999


def test_folds_keep_patients_together_and_classes_apart():
    labels = [("a",) if i % 3 else ("b",) for i in range(90)]
    films = of(
        np.random.default_rng(0).normal(size=(90, 4)), labels, [str(i // 2) for i in range(90)]
    )
    fold = folds_of(films, 3, seed=0)
    assert all(fold[i] == fold[i + 1] for i in range(0, 90, 2))
    for number in range(3):
        share = np.mean([films.labels[i] == ("b",) for i in np.flatnonzero(fold == number)])
        assert 0.2 < share < 0.5


def test_frequent_labels_for_everybody_are_no_agreement():
    """Where 80 % are of one class, returning it to everybody gains precision, and nothing else."""
    random = np.random.default_rng(0)
    labels = [("a",) if random.random() < 0.8 else ("b",) for _ in range(400)]
    films = of(random.normal(size=(400, 8)), labels)
    queries, gallery = films.part(np.arange(200)), films.part(np.arange(200, 400))
    common = np.asarray([[1.0, 0.0]] * 200, np.float32)
    apart = unit(
        [[1.0, 0.01 * i] if row == ("a",) else [-1.0, 0] for i, row in enumerate(gallery.labels)]
    )
    before = look(queries, gallery, queries.vectors, gallery.vectors)
    after = look(queries, gallery, common, apart)
    assert after.precision.mean() > before.precision.mean() + 0.05
    assert after.agreement.mean() == pytest.approx(0.5)
    assert not gain(before.agreement, after.agreement, queries.group_numbers).is_sure


def test_an_interval_over_patients_is_wider_than_one_over_their_films():
    values = np.repeat(np.random.default_rng(0).normal(0.05, 0.2, 60), 5)
    nothing, patients = np.zeros(300), np.repeat(np.arange(60), 5)
    one, many = gain(nothing, values, np.arange(300)), gain(nothing, values, patients)
    assert one.difference == many.difference
    width = [found.interval[1] - found.interval[0] for found in (one, many)]
    assert width[1] == pytest.approx(width[0] * 5**0.5, rel=0.1)
    assert gain(nothing, values, np.zeros(300, np.int64)).is_sure is False  # one patient alone


def coins(seed: int, by: str) -> Films:
    """Films of patients, two alike of each, whose label is a coin toss."""
    random = np.random.default_rng(seed)
    patients, dimension = 100, 16
    kind = 2 * random.normal(size=(4, dimension))[random.integers(0, 4, patients)]
    centre = kind + random.normal(size=(patients, dimension))
    vectors = (centre[:, None] + 0.4 * random.normal(size=(patients, 2, dimension))).reshape(
        200, -1
    )
    toss = (
        np.repeat(random.random(patients) < 0.5, 2) if by == "patient" else random.random(200) < 0.5
    )
    groups = [f"patient {i // 2}" for i in range(200)]
    return of(vectors, [("a",) if one else ("b",) for one in toss], groups)


def is_accepted(films: Films, judge: str, names: tuple[str, ...]) -> bool:
    if judge == "folds":
        chosen, verdict = choose(films, 0, names), judge_by_folds(films, 0, names)
    else:
        learn, queries = films.part(np.arange(140)), films.part(np.arange(140, 200))
        chosen = choose(learn, 0, names)
        verdict = judge_by_split(chosen, learn, queries)
    return verdict.accepted and chosen.name != IDENTITY


@pytest.mark.parametrize("by", ["film", "patient"])
@pytest.mark.parametrize("judge", ["split", "folds"])
def test_coin_tosses_are_refused(by, judge):
    assert sum(is_accepted(coins(seed, by), judge, FAST) for seed in range(5)) <= 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("by", ["film", "patient"])
@pytest.mark.parametrize("judge", ["split", "folds"])
def test_coin_tosses_are_accepted_in_at_most_two_of_forty(by, judge):
    assert sum(is_accepted(coins(seed, by), judge, tuple(CANDIDATES)) for seed in range(40)) <= 2


# -- from a gallery to an encoder -----------------------------------------------------------------


def test_labels_that_an_encoder_can_learn_are_learnt(films, adapted):
    folder, report = adapted
    assert report.accepted and report.folder == folder
    assert report.judged["by"] == "split" and report.judged["precision"]["interval"][0] > 0
    assert report.films == {
        "learn": {"films": 152, "patients": 80},
        "val": {"films": 76, "patients": 40},
        "test": {"films": 76, "patients": 40},
    }
    assert report.left_out == {"not labelled": 16}
    assert [(one.protocol, one.films, one.queries) for one in report.figures] == [
        ("split", "test", 76),
        ("leave-one-out", "test", 76),
    ]
    for one in report.figures:
        assert list(one.before) == [1, 3, 5, 10] and one.ci95[10][0] > 0
        assert set(one.per_label) == {"normal", "pneumonia"}
    card = json.loads((folder / "adapter.json").read_text())
    assert card["base"]["name"] == "raw-pixels" and "never diagnosis" in card["use"]
    assert card["learnt_from"]["splits"] == [{"dataset": "set", "split": "train"}]
    json.dumps(report.as_dict())


def test_the_figures_are_those_of_an_evaluation(films, adapted, tmp_path):
    folder, report = adapted
    mapped = map_gallery(films, folder, tmp_path / "mapped")
    for one in report.figures:
        for gallery, found in ((films, one.before), (mapped, one.after)):
            evaluation = gallery.evaluate(one.protocol, full_ranking=False)
            assert evaluation.precision == pytest.approx(found)


def test_the_adapted_gallery_is_what_encoding_anew_would_make(films, adapted, tmp_path):
    folder, _ = adapted
    encoder = load_encoder(folder)
    before = films.describe()
    mapped = map_gallery(films, folder, tmp_path / "mapped")
    assert films.describe() == before and films.check() == []
    assert mapped.stamp == encoder.stamp and mapped.check() == []
    assert mapped.stamp.folder == str(folder)
    ids = films.ids()
    assert mapped.ids() == ids and mapped.thumbnails(ids) == films.thumbnails(ids)
    assert mapped.columns() == films.columns()
    rows, others = films.rows(ids), mapped.rows(ids)
    for id_ in ids:
        for name in ("labels", "split", "patient", "extra", "sha256", "batch", "ingested_at"):
            assert getattr(rows[id_], name) == getattr(others[id_], name)
    images, _ = pictures(80, 2)
    found = encoder.encode_images(list(images))
    assert np.abs(found - mapped.vectors([f"set/test/{i:03d}" for i in range(80)])).max() < 1e-6


def test_a_copy_is_there_whole_or_not_at_all(films, adapted, tmp_path):
    folder, _ = adapted

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    place = tmp_path / "galleries" / "mapped"
    with pytest.raises(KeyboardInterrupt):
        map_gallery(films, folder, place, stop)
    assert not place.exists() and not list(place.parent.glob("*"))
    map_gallery(films, folder, place)
    with pytest.raises(UsageError, match="something at"):
        map_gallery(films, folder, place)
    other = Gallery.create(tmp_path / "other", EncoderStamp("other", "ab" * 32, 8))
    with pytest.raises(EncoderMismatch, match="map on vectors of raw-pixels"):
        map_gallery(other, folder, tmp_path / "third")


def test_an_own_column_may_be_the_classes(tmp_path):
    sites = Gallery.create(tmp_path / "sites", SMALL)
    sites.upsert([*_rows(120, "train"), *_rows(60, "val", 120)])
    for by, classes in {"site": {"north", "south"}, "old": {"True", "False"}}.items():
        report = adapt(sites, tmp_path / by, by=by, split="train", val="val", linear=True)
        assert report.accepted and set(report.classes) == classes
        assert report.films["learn"]["films"] == 120  # the site of every film is known
    with pytest.raises(UsageError, match="float values, which are no classes"):
        adapt(sites, tmp_path / "dose", by="dose")
    with pytest.raises(BadQuery, match="no such column; this gallery has labels"):
        adapt(sites, tmp_path / "ward", by="ward")


def test_what_cannot_be_learnt_says_why(films, tmp_path):
    with pytest.raises(BadQuery, match="labelled alike"):
        adapt(films, tmp_path / "out", by="dataset", split="train", val="val")
    with pytest.raises(UsageError, match="must be different films"):
        adapt(films, tmp_path / "out", split="train", val="train")
    bare = Gallery.create(tmp_path / "bare", SMALL)
    with pytest.raises(BadQuery, match="learnt from with --by COLUMN"):
        adapt(bare, tmp_path / "out")
    few = Gallery.create(tmp_path / "few", SMALL)
    few.upsert(_rows(24))
    with pytest.raises(BadQuery, match="too few to learn from"):
        adapt(few, tmp_path / "out")
    unlabelled = [replace(row, labels=()) for row in _rows(9, "val", 120)]
    few.upsert([*_rows(120, "train"), *unlabelled])
    with pytest.raises(BadQuery, match=r"'val' .* to judge by .* judge with --val none"):
        adapt(few, tmp_path / "out", split="train", val="val")
    with pytest.raises(BadQuery, match=r"'val' .* with --test none"):
        adapt(few, tmp_path / "out", split="train", test="val")
    assert not (tmp_path / "out").exists()


def _rows(count: int, split: str | None = None, first: int = 0) -> list[Row]:
    """Films of a small encoder, in whose vectors a class shows; half of them are labelled."""
    random = np.random.default_rng(first)
    classes = np.arange(count) % 2
    vectors = random.normal(size=(count, SMALL.dimension)) * np.geomspace(6, 0.3, SMALL.dimension)
    vectors[:, -1] += 2 * classes
    return [
        Row(
            id=f"{split}/{first + i}",
            sha256=(first + i).to_bytes(32, "big"),
            embedding=vector,
            labels=(("a", "b")[classes[i]],) if i % 4 < 2 else (),
            split=split,
            patient=str(first + i),
            extra={
                "site": ("north", "south")[classes[i]],
                "old": bool(classes[i]),
                "dose": i / 7,
            },
        )
        for i, vector in enumerate(unit(vectors))
    ]


def test_fifty_labels_beside_many_films_without_are_judged_by_folds(tmp_path):
    vectors, labels = findings(200, 0)
    gallery = Gallery.create(tmp_path / "fifty", EncoderStamp("tiny", "ab" * 32, 24))
    gallery.upsert(
        [
            Row(id=f"{i:03d}", sha256=bytes(31) + bytes([i]), embedding=vector, labels=row)
            for i, (vector, row) in enumerate(zip(unit(vectors), labels, strict=True))
        ]
    )
    taught = [id_ for id_ in gallery.ids() if gallery.row(id_).labels][:50]
    gallery.delete(ids=[id_ for id_ in gallery.ids() if gallery.row(id_).labels][50:])
    report = adapt(gallery, tmp_path / "out", linear=True)
    assert report.films == {"learn": {"films": len(taught), "patients": len(taught)}}
    assert report.left_out == {"not labelled": len(gallery) - len(taught)}
    assert report.judged["by"] == "folds" and report.judged["queries"] == len(taught)
    assert report.judged["k"] == 5
    assert report.accepted == (report.folder is not None) == (tmp_path / "out").exists()
    assert ("do not help" in report.verdict) is not report.accepted


def test_a_patient_on_both_sides_is_not_learnt_from(tmp_path):
    both = Gallery.create(tmp_path / "both", SMALL)
    learn, judge = _rows(120, "train"), _rows(80, "val", 120)
    both.upsert([*learn, *judge])
    both.update_metadata([_with_patient(row, judge[0].patient) for row in learn[:6]])
    report = adapt(both, tmp_path / "out", split="train", val="val", linear=True)
    assert report.films["learn"]["films"] == 60 - 4
    assert report.left_out == {
        "not labelled": 100,
        "their patient is among those that judge or test": 4,
    }


def _with_patient(row: Row, patient: str | None) -> Row:
    return Row(id=row.id, sha256=row.sha256, labels=row.labels, split=row.split, patient=patient)


# -- the encoder folder ---------------------------------------------------------------------------


def test_the_folder_is_an_encoder_under_its_own_fingerprint(films, adapted):
    folder, _ = adapted
    encoder = load_encoder(folder)
    assert (encoder.name, encoder.side, encoder.supports_text) == ("knows", SIDE, False)
    assert encoder.fingerprint != load_encoder("raw-pixels").fingerprint
    card = card_of("knows", encoder)
    assert card.saw("set", "train") == "yes" and "learnt from set train" in str(card.data)
    with pytest.raises(TextUnsupported):
        encoder.encode_texts(["clear lungs"])
    with pytest.raises(UsageError, match="computes in float32"):
        load_encoder(f"{folder}@bf16")


def test_another_map_or_another_base_is_another_encoder(adapted, tmp_path):
    folder, _ = adapted
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    arrays = load_file(copy / "map.safetensors")
    name = next(name for name in arrays if name.endswith("bias"))
    save_file({**arrays, name: arrays[name] + np.float32(0.01)}, copy / "map.safetensors")
    assert load_encoder(copy).fingerprint != load_encoder(folder).fingerprint
    (copy / "map.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(EncoderUnavailable, match="no map of vectors"):
        load_encoder(copy)
    (copy / "adapter.json").write_text("{}")
    with pytest.raises(EncoderUnavailable, match="no card of an adapted encoder"):
        load_encoder(copy)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """A copy of the bundled encoder, a gallery of it, and a linear map on it."""
    place = tmp_path_factory.mktemp("bundled")
    base = place / "mine"
    shutil.copytree(load_encoder().folder, base)
    encoder = load_encoder(base)
    random = np.random.default_rng(0)
    texts = encoder.encode_texts(["a normal chest radiograph", "a chest radiograph with pneumonia"])
    gallery = Gallery.create(place / "gallery", encoder.stamp)
    noise = random.normal(size=(240, 3)) @ random.normal(size=(3, encoder.dimension))
    vectors = unit(texts[np.arange(240) % 2] + 0.2 * noise + 0.02 * random.normal(size=(240, 128)))
    gallery.upsert(
        [
            Row(
                id=f"{i:03d}",
                sha256=bytes(31) + bytes([i]),
                embedding=vectors[i],
                labels=(("normal", "pneumonia")[i % 2],),
                split="train" if i < 160 else "val",
            )
            for i in range(240)
        ]
    )
    folder = place / "linear"
    report = adapt(gallery, folder, split="train", val="val", linear=True, base=encoder)
    return base, folder, report


def test_sentences_go_through_a_linear_map_and_are_measured(sentences):
    _, folder, report = sentences
    assert report.accepted and report.linear
    measured = report.sentences
    assert {one["label"] for one in measured.prompts} == {"normal", "pneumonia"}
    encoder = load_encoder(folder)
    assert encoder.supports_text == (not measured.spoilt) == (report.no_text is None)
    if encoder.supports_text:
        found = encoder.encode_texts(["pneumonia of the right lung"])
        assert found.shape == (1, encoder.dimension) and np.isclose(np.linalg.norm(found), 1)
        assert encoder.read("clear lungs").text == "clear lungs"
        assert encoder.understands("blue sky").understood is False  # by the base's lexicon


def test_a_map_that_spoils_sentences_says_so(sentences, tmp_path):
    _, folder, _ = sentences
    copy = tmp_path / "spoilt"
    shutil.copytree(folder, copy)
    card = json.loads((copy / "adapter.json").read_text())
    (copy / "adapter.json").write_text(json.dumps({**card, "no_text": "its map spoils sentences"}))
    with pytest.raises(TextUnsupported, match="its map spoils sentences"):
        load_encoder(copy).encode_texts(["clear lungs"])


def test_a_base_that_is_gone_is_named_with_a_remedy(sentences, tmp_path):
    base, folder, _ = sentences
    fingerprint = load_encoder(folder).fingerprint
    moved = tmp_path / "elsewhere"
    base.rename(moved)
    try:
        with pytest.raises(
            EncoderUnavailable, match=r"map on encoder mine .* put that one's"
        ) as error:
            load_encoder(folder)
        assert "\n" not in str(error.value)
        (folder / "base").symlink_to(moved)
        assert load_encoder(folder).fingerprint == fingerprint
        (folder / "base").unlink()
        shutil.copytree(moved, folder / "base")
        (folder / "base" / "preprocessor_config.json").write_text("{}")
        with pytest.raises(EncoderUnavailable, match="fingerprint"):
            load_encoder(folder)
    finally:
        shutil.rmtree(folder / "base", ignore_errors=True)
        moved.rename(base)


def test_a_map_that_is_not_linear_takes_films_alone(sentences, tmp_path):
    base, _, _ = sentences
    encoder = load_encoder(base)
    random = np.random.default_rng(0)
    heads = train_heads(
        unit(random.normal(size=(40, encoder.dimension))),
        np.eye(2, dtype=np.float32)[np.arange(40) % 2],
        np.zeros(encoder.dimension, np.float32),
        heads=2,
        hidden=8,
        seed=0,
    )
    card = {"no_text": "its map (two layers) is not linear"}
    write_adapter(tmp_path / "heads", encoder.stamp, VectorMap(heads), card, {})
    made = load_encoder(tmp_path / "heads")
    images, _ = pictures(3, 0)
    found = made.encode_images(list(images))
    assert np.abs(found - VectorMap(heads)(encoder.encode_images(list(images)))).max() < 1e-6
    with pytest.raises(TextUnsupported, match="is not linear"):
        made.encode_texts(["clear lungs"])
    with pytest.raises(PatchesUnsupported):
        agreement(made, images[0], found[0])
