"""The bar of "no good match": chest films against everything else that is installed here."""

from __future__ import annotations

import hashlib
import sys

import numpy as np
import pytest

from ingest.encoders.baselines import pixel_vectors
from store import EncoderStamp, Gallery, Row
from tests.strangers import png, strangers

STAMP = EncoderStamp("picture-blind", "0" * 64, 8)


def rows(films, split: str) -> list[Row]:
    """Rows whose vectors tell nothing, so that only pictures can."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(len(films), 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return [
        Row(
            f"{split}/{i}", hashlib.sha256(film.tobytes()).digest(), vectors[i], thumbnail=png(film)
        )
        for i, film in enumerate(films)
    ]


def area_under_roc(usual: np.ndarray, strange: np.ndarray) -> float:
    """Probability that a usual image is nearer than a strange one; ties count half."""
    below = np.searchsorted(np.sort(strange), usual, side="left")
    upto = np.searchsorted(np.sort(strange), usual, side="right")
    return float((below + upto).mean() / 2 / len(strange))


@pytest.fixture(scope="module")
def films():
    from tests.conftest import DATA

    if not DATA.is_dir():
        pytest.skip(f"no real images at {DATA}")
    with np.load(DATA / "pneumoniamnist.npz", allow_pickle=False) as file:
        return {split: file[f"{split}_images"] for split in ("train", "test")}


@pytest.fixture(scope="module")
def gallery(films, tmp_path_factory):
    made = Gallery.create(tmp_path_factory.mktemp("no-good-match"), STAMP)
    made.upsert(rows(films["train"], "train"))
    return made


def ask(gallery: Gallery, images: list[np.ndarray]):
    vectors = np.tile(np.eye(8, dtype=np.float32)[0], (len(images), 1))
    return gallery.nearness(vectors, [png(image) for image in images], pixel_vectors)


def test_what_is_kept_of_pictures_has_the_name_of_older_galleries(tmp_path):
    """A module that moves must not have every gallery's pictures read again."""
    films = np.random.default_rng(0).integers(0, 255, (3, 16, 16), np.uint8)
    made = Gallery.create(tmp_path, STAMP)
    made.upsert(rows(films, "train"))
    ask(made, list(films[:1]))
    kept = [path.name for path in (tmp_path / "_cxr" / "nearness").iterdir()]
    assert kept == ["ingest.encoders.pixels.pixel_vectors.npz"]


def test_films_are_told_from_everything_else(gallery, films, capsys):
    usual = ask(gallery, list(films["test"][::2]))
    kinds, images = zip(*strangers()[::2], strict=True)
    strange = ask(gallery, list(images))
    area = area_under_roc(
        np.asarray([one.picture_cosine for one in usual]),
        np.asarray([one.picture_cosine for one in strange]),
    )
    alarms = np.mean([one.unlike for one in usual])
    found = {
        kind: np.mean([one.unlike for one, k in zip(strange, kinds, strict=True) if k == kind])
        for kind in dict.fromkeys(kinds)
    }
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(usual)} films, {len(strange)} strangers: area under ROC {area:.4f}, "
            f"false alarms {alarms:.4f}, flagged: "
            + ", ".join(f"{kind} {share:.3f}" for kind, share in found.items())
            + "\n"
        )
    assert len(images) > 350 and len(found) >= 7
    assert area >= 0.99
    assert alarms <= 0.02
    assert min(found.values()) >= 0.85


def test_films_of_other_sizes_are_films(gallery, data):
    from ingest.images.decode import read_image

    folder = data / "radiographs"
    real = [read_image(path) for path in sorted(folder.iterdir()) if "Fake" not in path.name]
    assert len(real) == 4
    assert not any(one.unlike for one in ask(gallery, real))
    negative = [255 - image for image in real]
    assert all(one.picture_percentile < 25 for one in ask(gallery, negative))
