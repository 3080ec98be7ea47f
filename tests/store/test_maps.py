"""Maps: places against numpy, and what is said of a map that is older than its gallery."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import BadQuery, EncoderStamp, Gallery, Row, UsageError
from store.analysis import maps, projection
from store.search import exact

STAMP = EncoderStamp("test", "f" * 64, 8)


def cloud(count, dimension=8, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, dimension)) * np.arange(1, dimension + 1)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(3, 80), st.integers(2, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_pca_is_the_plane_of_largest_variance(count, dimension, seed):
    rows = cloud(count, dimension, seed).astype(np.float64)
    plane = projection.pca(rows.astype(np.float32))
    places = plane.place(rows.astype(np.float32)).astype(np.float64)
    _, sizes, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    assert np.allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-6)
    shares = sizes**2 / (sizes**2).sum()
    assert np.allclose(plane.explained, shares[:2], atol=1e-5)
    assert np.allclose(places.var(axis=0) * count, sizes[:2] ** 2, rtol=1e-3, atol=1e-6)
    assert np.allclose(places.mean(axis=0), 0, atol=1e-5)
    assert (plane.axes[[0, 1], np.abs(plane.axes).argmax(axis=1)] > 0).all()


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=3, max_size=12))
@settings(max_examples=100)
def test_inside_counts_the_line_s_crossings(corners):
    points = np.random.default_rng(1).uniform(-10, 10, (300, 2))
    close = np.append(corners, corners[:1], axis=0)
    ours = projection.inside(points, corners)
    crossings = np.zeros(300, int)
    for (x0, y0), (x1, y1) in pairwise(close):
        for at, (x, y) in enumerate(points):
            if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
                crossings[at] += 1
    assert np.array_equal(ours, crossings % 2 == 1)


def test_fewer_than_three_corners_surround_nothing():
    assert not projection.inside([[0, 0]], [[-1, -1], [1, 1]]).any()
    assert not projection.inside([[0, 0]], np.zeros((0, 2))).any()


def test_nearest_cosine_leaves_the_row_itself_out():
    rows = cloud(300)
    products = rows @ rows.T
    np.fill_diagonal(products, -2)
    assert np.allclose(exact.nearest_cosines(exact.Rows.of(rows)), products.max(axis=1), atol=1e-6)
    assert np.isnan(exact.nearest_cosines(exact.Rows.of(rows[:1]))).all()


def test_too_few_rows_and_unknown_methods_are_refused(tmp_path):
    with pytest.raises(BadQuery, match="needs two"):
        projection.pca(cloud(1))
    with pytest.raises(BadQuery, match="three or more"):
        projection.umap(cloud(2))
    with pytest.raises(UsageError, match="pca or umap"):
        maps.make(Gallery.create(tmp_path / "gallery", STAMP), "tsne")


def rows_of(vectors, first=0, **about):
    return [
        Row(f"film/{first + at:04d}", bytes([first] * 32), vector, **about)
        for at, vector in enumerate(vectors)
    ]


@pytest.fixture
def gallery(tmp_path):
    found = Gallery.create(tmp_path / "gallery", STAMP)
    found.upsert(rows_of(cloud(50)))
    return found


def test_a_kept_map_comes_back_as_it_was(gallery):
    assert maps.kept(gallery) == []
    made = maps.make(gallery)
    found, _ = maps.view(Gallery.open(gallery.uri), "pca")
    assert maps.kept(gallery) == ["pca"]
    assert found.ids == gallery.ids()
    assert np.array_equal(found.places, made.places)
    assert np.array_equal(found.nearest, made.nearest)
    assert found.as_dict() == made.as_dict()
    assert np.array_equal(
        made.places, projection.pca(gallery.vectors(made.ids)).place(gallery.vectors(made.ids))
    )


def test_new_and_changed_rows_are_put_in_place_by_pca_and_counted(gallery):
    made = maps.make(gallery)
    before = dict(zip(made.ids, made.places.tolist(), strict=True))
    gallery.upsert(rows_of(cloud(5, seed=9), first=48))  # two get another vector, three are new
    gallery.delete(ids=["film/0000"])
    gallery.update_metadata(rows_of([None], first=1, labels=("later",)))
    gallery.refresh()
    found, _ = maps.view(gallery, "pca")
    assert (found.projected, found.missing, found.gone) == (5, 0, 1)
    assert found.ids == gallery.ids()
    now = dict(zip(found.ids, found.places.tolist(), strict=True))
    assert all(now[id_] == before[id_] for id_ in found.ids[:47])
    plane = projection.pca(cloud(50))
    assert np.allclose(
        [now[f"film/{at:04d}"] for at in range(48, 53)], plane.place(cloud(5, seed=9)), atol=1e-5
    )
    assert np.isnan(found.nearest).sum() == 5


def test_new_rows_have_no_place_on_a_umap(gallery, monkeypatch):
    monkeypatch.setattr(
        projection, "umap", lambda vectors, seed: projection.pca(vectors).place(vectors)
    )
    maps.make(gallery, "umap", seed=3)
    gallery.upsert(rows_of(cloud(4, seed=9), first=50))
    gallery.refresh()
    found, _ = maps.view(gallery, "umap")
    assert (found.seed, found.missing, found.projected) == (3, 4, 0)
    assert np.isnan(found.places[50:]).all() and not np.isnan(found.places[:50]).any()


def test_a_map_of_another_table_or_a_damaged_one_is_not_used(gallery, tmp_path):
    maps.make(gallery)
    file = tmp_path / "gallery" / "_cxr" / "map" / "pca.arrow"
    other = Gallery.create(tmp_path / "other", STAMP)
    other.upsert(rows_of(cloud(50)))
    copy = tmp_path / "other" / "_cxr" / "map" / "pca.arrow"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(file.read_bytes())
    assert maps.kept(other) == []
    for damaged in (b"", b"ARROW1", file.read_bytes()[:500], b"\0" * 4096):
        file.write_bytes(damaged)
        assert maps.kept(gallery) == []
        assert np.isnan(maps.view(gallery)[0].nearest).all()  # worked out on the spot


@pytest.mark.slow
def test_umap_is_the_same_for_the_same_seed():
    pytest.importorskip("umap", reason="umap-learn is not installed")
    rows = cloud(40)
    assert np.array_equal(projection.umap(rows, 1, 5), projection.umap(rows, 1, 5))
