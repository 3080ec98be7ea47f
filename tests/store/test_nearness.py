"""Is there a good match at all: percentiles, what is kept, what is read again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from store import BadQuery, Gallery
from store.search import out_of_distribution as module
from tests.store.rows import DIMENSION, STAMP, make_rows, random_vectors, unit

FEW = 120


def describe(thumbnails: list[bytes]) -> np.ndarray:
    """The picture of a test row is its vector, written as bytes."""
    described.extend(thumbnails)
    return unit(np.stack([np.frombuffer(data, np.float32) for data in thumbnails]))


described: list[bytes] = []


def rows_with_pictures(vectors, pictures=None, prefix="set/test/"):
    pictures = vectors if pictures is None else pictures
    rows = make_rows(vectors, prefix=prefix, thumbnail=None)
    return [replace(row, thumbnail=p.tobytes()) for row, p in zip(rows, pictures, strict=True)]


@pytest.fixture
def gallery(tmp_path):
    described.clear()
    made = Gallery.create(tmp_path / "g", STAMP)
    made.upsert(rows_with_pictures(random_vectors(FEW), random_vectors(FEW, seed=9)))
    return made


def test_percentiles_are_those_of_leave_one_out(gallery):
    vectors = gallery.vectors(gallery.ids())
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -1)
    reference = np.sort(scores.max(axis=1))
    query = random_vectors(4, seed=5)
    for found, vector in zip(gallery.nearness(query), query, strict=True):
        nearest = float((vectors @ vector).max())
        assert found.cosine == pytest.approx(nearest, abs=1e-6)
        assert found.percentile == pytest.approx(100 * (reference <= nearest).mean(), abs=1e-9)
        assert found.picture_cosine is None and found.picture_percentile is None
        assert found.rows == FEW


def test_a_stored_row_is_as_near_as_can_be(gallery):
    (found,) = gallery.nearness(gallery.vectors([gallery.ids()[3]]))
    assert found.percentile == 100 and found.unlike is False


def test_pictures_decide_where_there_are_some(tmp_path):
    # Vectors in one bundle, as of an encoder that knows two kinds only; pictures in a half space.
    random = np.random.default_rng(0)
    bundle = unit(np.eye(DIMENSION)[0] + 0.01 * random.normal(size=(FEW, DIMENSION)))
    pictures = unit(np.eye(DIMENSION)[1] + 0.3 * random.normal(size=(FEW, DIMENSION)))
    gallery = Gallery.create(tmp_path / "g", STAMP)
    gallery.upsert(rows_with_pictures(bundle, pictures))
    away = unit(-np.eye(DIMENSION)[1]).tobytes()
    near = pictures[7].tobytes()
    strange, usual = gallery.nearness(bundle[:2], [away, near], describe)
    assert (strange.percentile, usual.percentile) == (100, 100)
    assert strange.unlike is True and strange.picture_percentile == 0
    assert usual.unlike is False and usual.picture_percentile == 100
    assert gallery.nearness(-bundle[:1])[0].unlike is True


def test_a_small_gallery_does_not_judge(tmp_path):
    gallery = Gallery.create(tmp_path / "g", STAMP)
    gallery.upsert(make_rows(random_vectors(20), thumbnail=None))
    (found,) = gallery.nearness(random_vectors(1, seed=3), [b""], lambda _: random_vectors(1))
    assert found.unlike is None and found.picture_cosine is None and found.rows == 20
    assert found.not_judged == "it takes 100 films, and here are 20"
    assert found.as_dict()["not_judged"] == found.not_judged
    gallery.upsert(make_rows(random_vectors(90, seed=1), thumbnail=None, prefix="more/"))
    gallery.refresh()
    (found,) = gallery.nearness(random_vectors(1, seed=3))
    assert found.unlike is not None and found.not_judged is None


@pytest.mark.parametrize("count", [1, 2])
def test_hardly_any_rows(tmp_path, count):
    gallery = Gallery.create(tmp_path / "g", STAMP)
    gallery.upsert(rows_with_pictures(random_vectors(count)))
    picture = bytes(4 * 7) + b"\0\0\x80\x3f"
    (found,) = gallery.nearness(random_vectors(1, seed=3), [picture], describe)
    assert found.unlike is None


def test_it_is_kept_and_follows_the_table(gallery):
    query = random_vectors(1, seed=4)
    picture = [query.tobytes()]
    before = gallery.nearness(query, picture, describe)
    assert len(described) == FEW + 1
    described.clear()
    again = Gallery.open(gallery.uri).nearness(query, picture, describe)
    assert again == before and len(described) == 1  # the query's own picture only

    gallery.upsert(rows_with_pictures(query, prefix="set/new/"))
    gallery.refresh()
    described.clear()
    (after,) = gallery.nearness(query, picture, describe)
    assert after.cosine == pytest.approx(1) and after.rows == FEW + 1
    assert after.picture_cosine == pytest.approx(1, abs=1e-3)
    assert len(described) == 2  # one new row and the query

    fresh = Gallery.open(gallery.uri)
    next((gallery_folder(gallery)).glob("*.npz")).unlink()
    assert fresh.nearness(query, picture, describe) == [after]


def gallery_folder(gallery):
    from pathlib import Path

    return Path(gallery.uri, "_cxr", "nearness")


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "flip"])
def test_a_damaged_note_is_made_again(gallery, damage):
    query = random_vectors(2, seed=4)
    whole = gallery.nearness(query, [v.tobytes() for v in query], describe)
    (path,) = gallery_folder(gallery).glob("*.npz")
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "empty":
        data = bytearray()
    elif damage == "flip":
        data[len(data) // 3] ^= 255
    else:
        data = bytearray(b"not a zip")
    path.write_bytes(data)
    fresh = Gallery.open(gallery.uri)
    assert fresh.nearness(query, [v.tobytes() for v in query], describe) == whole


def test_large_galleries_are_sampled(gallery, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE", 50)
    (found,) = gallery.nearness(random_vectors(1, seed=2))
    assert found.rows == 50


def test_bad_vectors(gallery):
    with pytest.raises(BadQuery):
        gallery.nearness(np.zeros((1, DIMENSION)))
