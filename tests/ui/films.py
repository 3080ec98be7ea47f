"""A small gallery of drawn films, made by a tiny random CLIP through the real code."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ingest import ImageRecord, Source, ingest
from ingest.encoders import load_encoder
from ingest.images.pixels import pixels_digest
from ingest.record import Pixels
from store import Gallery
from tests.ingest.test_encoders import save_processor, save_tokenizer, tiny_model


def tiny_clip(folder: Path) -> Path:
    """A dual encoder with random weights, saved by the library itself."""
    folder.mkdir(parents=True)
    tiny_model("clip").save_pretrained(folder)
    save_tokenizer(folder)
    save_processor(folder)
    return folder


def draw(seed: int, opacity: bool) -> Pixels:
    """Two dark lungs on grey, with or without a white patch in one of them."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:28, 0:28]
    film = random.normal(150, 6, (28, 28)) + 20 * np.cos((x - 14) / 4.5)
    middle = 14 + random.normal(0, 0.6)
    for side in (-1, 1):
        lung = ((x - middle - side * 6) / 4.2) ** 2 + ((y - 13) / 9.5) ** 2 < 1
        film[lung] -= 85
    if opacity:
        side, high = random.choice([-1, 1]), random.uniform(11, 19)
        film[((x - middle - side * 6) / 3.5) ** 2 + ((y - high) / 4) ** 2 < 1] += 75
    return np.clip(film, 0, 255).astype(np.uint8)


def png(pixels: Pixels) -> bytes:
    """The same pixels as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def film(number: int, split: str, dataset: str = "drawn", of: int | None = None) -> ImageRecord:
    """Film ``number``; every second one shows an opacity. ``of`` repeats another one's pixels."""
    seed = number if of is None else of
    pixels = draw(seed, seed % 2 == 1)
    return ImageRecord(
        id=f"{dataset}/{split}/{number}",
        pixels=pixels,
        sha256=pixels_digest(pixels),
        labels=("pneumonia",) if seed % 2 else ("normal",),
        split=split,
        dataset=dataset,
        patient=f"p{seed // 3}",
    )


def films() -> list[ImageRecord]:
    """40 train films and 20 test films; the last test film is a copy of the first."""
    train = [film(number, "train") for number in range(40)]
    test = [film(number, "test") for number in range(100, 119)]
    return [*train, *test, film(119, "test", of=100)]


def add(uri: Path, encoder: Path, records: Sequence[ImageRecord]) -> Gallery:
    """Ingest films into a gallery, which is made when it is not there."""
    loaded = load_encoder(encoder)
    gallery = Gallery.create(uri, loaded.stamp)
    ingest(Source("drawn", len(records), iter(records)), gallery, loaded)
    return gallery
