"""Large images before an encoder resizes them: averaged over blocks, the same way for everybody."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ingest import ImageRecord, Source, ingest
from ingest.encoders import DEFAULT_ENCODER, load_encoder, locate
from ingest.images.pixels import pixels_digest, reduced, reduction, thumbnail
from store import Gallery
from tests.ingest.films import chest
from tests.ingest.test_encoders import save_processor, save_tokenizer, tiny_model


def film(height: int, width: int, seed: int = 0):
    noise = np.random.default_rng(seed).normal(0, 5, (height, width))
    smooth = Image.fromarray(chest(seed, 64)).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8)


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(0, 1024))
def test_what_remains_is_enough_for_the_encoder(height, width, side):
    factor = reduction(height, width, side)
    shorter = min(height, width)
    if shorter < 1024 or side == 0:
        assert factor == 1
    if factor > 1:
        assert shorter / factor >= max(512, 2 * side)
        rest = [-(-length // factor) for length in (height, width)]
        assert reduction(*rest, side) == 1  # once more changes nothing


@pytest.mark.parametrize("shape", [(1024, 1300), (2500, 2048), (1999, 3001), (1100, 1100, 3)])
def test_averages_over_blocks(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    factor = reduction(*shape[:2], 28)
    small = reduced(pixels, 28)
    assert factor > 1 and small.shape[:2] == tuple(-(-side // factor) for side in shape[:2])
    rows, columns = (side // factor for side in shape[:2])
    whole = pixels[: rows * factor, : columns * factor].astype(float)
    means = whole.reshape(rows, factor, columns, factor, -1).mean(axis=(1, 3))
    assert (
        np.abs(small[:rows, :columns].reshape(means.shape) - means).max() <= 0.6
    )  # Pillow rounds a little off
    assert reduced(small, 28) is small
    assert thumbnail(small) == thumbnail(pixels)


@pytest.fixture(scope="module")
def bundled():
    return load_encoder(device="cpu")


def direct(encoder, image):
    """The vector by the library's own preprocessing alone."""
    import torch
    from transformers import AutoImageProcessor

    folder = Path(locate.__file__).parent / DEFAULT_ENCODER
    processor = AutoImageProcessor.from_pretrained(folder, backend="torchvision")
    rgb = torch.from_numpy(np.repeat(image[None], 3, axis=0))
    values = processor(images=[rgb], input_data_format="channels_first", return_tensors="pt")
    with torch.inference_mode():
        vector = encoder.runtime().features(values["pixel_values"])[0].numpy()
    return vector / np.linalg.norm(vector)


def test_vectors_stay_where_they_were(bundled):
    assert bundled.side == 28
    for shape in ((1024, 1024), (2500, 2048), (1999, 1500)):
        image = film(*shape)
        vector = bundled.encode_images([image])[0]
        assert vector @ direct(bundled, image) > 0.999
        np.testing.assert_array_equal(bundled.encode_images([reduced(image, 28)])[0], vector)
    small = film(1023, 1500)
    np.testing.assert_allclose(bundled.encode_images([small])[0], direct(bundled, small), atol=1e-6)


@pytest.mark.parametrize("side", [224, 336, 384, 518])
def test_encoders_that_see_more_get_more(side, tmp_path):
    tiny_model("clip").save_pretrained(tmp_path)
    save_processor(tmp_path, side)
    save_tokenizer(tmp_path)
    encoder = load_encoder(tmp_path, device="cpu")
    assert encoder.side == side
    for shape in ((2100, 1024), (2500, 2048)):
        image = film(*shape)
        ours = encoder.runtime().prepare([image])
        least = max(512, 2 * side)
        assert min(reduced(image, side).shape) >= min(least, *shape)
        assert ours.shape[-2:] == (side, side)


@pytest.mark.parametrize(
    ("size", "side"),
    [
        (224, 224),
        ({"shortest_edge": 256}, 256),
        ({"height": 384, "width": 384}, 384),
        ({"longest_edge": 512}, 0),
        (None, 0),
    ],
)
def test_side_is_told_by_the_configuration_alone(size, side, tmp_path):
    tiny_model("clip").save_pretrained(tmp_path)
    save_processor(tmp_path)
    save_tokenizer(tmp_path)
    path = Path(tmp_path, "preprocessor_config.json")
    settings = json.loads(path.read_text())
    settings["size"] = size
    path.write_text(json.dumps(settings))
    assert load_encoder(tmp_path).side == side
    settings |= {"size": 224, "do_resize": False}
    path.write_text(json.dumps(settings))
    assert load_encoder(tmp_path).side == 0


def test_a_query_and_the_stored_film_are_one_vector(bundled, tmp_path):
    image = film(1400, 1100, seed=3)
    gallery = Gallery.create(tmp_path / "store", bundled.stamp)
    record = ImageRecord("a/1", image, pixels_digest(image))
    ingest(Source("a", 1, iter([record])), gallery, bundled)
    row = gallery.row("a/1")
    assert (row.width, row.height) == (1100, 1400)
    query = bundled.encode_images([image])
    assert gallery.search(query, 1)[0][0].score == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(gallery.vectors(["a/1"]), query, atol=1e-7)
