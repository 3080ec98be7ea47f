"""Duplicates, doubts and counts, against the plainest way to find them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import BadQuery, EncoderStamp, Gallery, Row
from store.analysis import audit
from store.analysis.label_noise import doubts
from store.search.near_pairs import connected, near_pairs, same
from store.table.column_stats import overview

STAMP = EncoderStamp("test", "f" * 64, 8)


def exact_vectors(draw, count, dimension=8):
    """Unit vectors of four halves: their inner products are exact in float32, ties and all."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    found = np.zeros((count, dimension), np.float32)
    for row in found:
        row[random.choice(dimension, 4, replace=False)] = random.choice([-0.5, 0.5], 4)
    return found


vectors = st.composite(exact_vectors)


def naive_pairs(rows, threshold):
    products = rows.astype(np.float64) @ rows.T.astype(np.float64)
    found = [
        (left, right, products[left, right])
        for left, right in combinations(range(len(rows)), 2)
        if products[left, right] >= threshold
    ]
    return sorted(found, key=lambda pair: (-pair[2], pair[0], pair[1]))


def as_tuples(found):
    return list(zip(found.left.tolist(), found.right.tolist(), found.cosine.tolist(), strict=True))


@given(st.data(), st.integers(1, 60), st.sampled_from([0.25, 0.5, 0.75, 1.0]), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_near_pairs_are_all_pairs_above_the_threshold(data, count, threshold, most):
    rows = data.draw(vectors(count))
    groups = np.asarray(
        data.draw(st.lists(st.integers(-1, 1), min_size=count, max_size=count)), np.int64
    )
    expected = naive_pairs(rows, threshold)
    found = near_pairs(rows, threshold, most, groups)
    assert as_tuples(found) == expected[:most]
    assert found.total == len(expected)
    assert found.across == sum(
        groups[left] != groups[right] and groups[left] >= 0 and groups[right] >= 0
        for left, right, _ in expected
    )


@pytest.mark.parametrize("dimension", [96, 784])
@pytest.mark.parametrize("threshold", [0.3, 0.9, 0.98])
@pytest.mark.slow
def test_screening_wide_vectors_misses_no_pair(dimension, threshold):
    random = np.random.default_rng(dimension)
    rows = random.normal(size=(1000, dimension)).astype(np.float32)
    rows[600:] = rows[random.integers(0, 600, 400)] + random.uniform(0, 0.6, (400, 1)) * rows[600:]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[3] = 0  # a flat picture has no direction, and no pair
    wide = rows.astype(np.float64)
    products = np.triu(wide @ wide.T, 1)
    clear = np.abs(products - threshold) > 1e-6
    found = near_pairs(rows, threshold, most=10**6)
    listed = np.zeros(products.shape, bool)
    listed[found.left, found.right] = True
    expected = products >= threshold
    assert (expected & clear).any()
    assert np.array_equal(listed & clear, expected & clear)
    assert found.total == listed.sum()
    assert np.allclose(found.cosine, products[found.left, found.right], atol=1e-6)
    assert not listed[3].any() and not listed[:, 3].any()


def test_a_threshold_out_of_range_is_refused():
    for threshold in (0, -1, 1.01, float("nan")):
        with pytest.raises(BadQuery, match="threshold"):
            near_pairs(np.eye(3, dtype=np.float32), threshold)


@given(st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), max_size=30))
def test_same_groups_equal_keys(keys):
    found = same(keys)
    assert all(len({keys[place] for place in group}) == 1 and len(group) > 1 for group in found)
    grouped = {place for group in found for place in group}
    assert grouped == {place for place, key in enumerate(keys) if keys.count(key) > 1}


def test_connected_links_chains():
    rows = np.asarray([[1, 0], [0.6, 0.8], [-0.28, 0.96], [0, -1]], np.float32)
    assert connected(near_pairs(rows, 0.55)) == [[0, 1, 2]]


def naive_disagreement(rows, labels, k):
    products = rows @ rows.T
    found = []
    for row in range(len(rows)):
        others = sorted(
            (other for other in range(len(rows)) if other != row),
            key=lambda other: (-products[row, other], other),
        )[:k]
        distances = [
            1
            - len(set(labels[row]) & set(labels[other]))
            / len(set(labels[row]) | set(labels[other]))
            for other in others
        ]
        names = [name for other in others for name in sorted(set(labels[other]))]
        ranks = {
            name: min(at for at, other in enumerate(others) if name in labels[other])
            for name in names
        }
        best = max(
            names,
            key=lambda name: (
                names.count(name),
                -ranks[name],
            ),
        )
        top = [
            name
            for name in ranks
            if (names.count(name), ranks[name]) == (names.count(best), ranks[best])
        ]
        found.append(
            (
                np.mean(distances),
                np.mean([products[row, o] for o in others]),
                min(top),
                names.count(best),
            )
        )
    return found


@given(st.data(), st.integers(2, 25), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_doubts_are_the_mean_jaccard_distance_to_the_neighbours(data, count, k):
    rows = data.draw(vectors(count))
    some = st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True).map(tuple)
    labels = data.draw(st.lists(some, min_size=count, max_size=count))
    k = min(k, count - 1)
    found = doubts(rows, labels, k)
    expected = naive_disagreement(rows, labels, k)
    assert np.allclose(found.disagreement, [one[0] for one in expected])
    assert np.allclose(found.nearness, [one[1] for one in expected])
    assert found.said == [one[2] for one in expected]
    assert found.votes.tolist() == [one[3] for one in expected]
    ranked = sorted(range(count), key=lambda i: (-round(expected[i][0], 9), -found.nearness[i], i))
    assert found.order.tolist() == ranked


def test_doubts_refuse_unlabelled_rows_and_silly_k():
    rows = np.eye(3, dtype=np.float32)
    with pytest.raises(BadQuery, match="no label"):
        doubts(rows, [("a",), (), ("b",)], 1)
    with pytest.raises(BadQuery, match="expected 1 to 2"):
        doubts(rows, [("a",)] * 3, 3)


def test_overview_counts_values_and_gaps_per_split():
    table = pa.table(
        {
            "labels": [["a", "b"], ["a"], [], ["c"]],
            "sex": ["F", None, "M", ""],
            "age": [40.0, None, float("nan"), 60.0],
        }
    )
    labels, sex, age = overview(table, ["train", "test", None, "train"])
    assert labels.values["a"] == {"": 0, "test": 1, "train": 1}
    assert labels.missing == {"": 1, "test": 0, "train": 0}
    assert (labels.distinct, sex.distinct) == (3, 2)
    assert sex.missing == {"": 0, "test": 1, "train": 1}
    assert age.range == (40, 50, 60)
    assert age.missing == {"": 1, "test": 1, "train": 0}


def row(id_, vector, *, key=None, **about):
    digest = hashlib.sha256((key or id_).encode()).digest()
    return Row(id_, digest, np.asarray(vector, np.float32), **about)


@pytest.fixture
def gallery(tmp_path):
    """Six films: one copy across splits with another label, twins by vector, one odd label."""
    half = np.full(8, 0, np.float32)
    near, far = half.copy(), half.copy()
    near[:4], far[4:] = 0.5, 0.5
    found = Gallery.create(tmp_path / "gallery", STAMP)
    found.upsert(
        [
            row("a/1", near, labels=("ill",), split="train", patient="p1"),
            row("a/2", near, key="a/1", labels=("well",), split="test", patient="p1"),
            row("a/3", near, labels=("ill",), split="train", patient="p2", sex="F"),
            row("b/1", far, labels=("well",), split="train"),
            row("b/2", far, key="b/1", labels=("well",), split="train"),
            row("b/3", -far, split="test"),
        ]
    )
    return found


def test_exact_groups_tell_copies_from_equal_vectors(gallery):
    copy, twins, triplet = audit.exact(gallery)
    assert [film.id for film in copy.films] == ["a/1", "a/2"]
    assert (copy.kind, copy.across, copy.labels_differ) == ("source", True, True)
    assert [film.id for film in twins.films] == ["b/1", "b/2"]
    assert (twins.across, twins.labels_differ) == (False, False)
    assert triplet.kind == "vector"
    assert [film.id for film in triplet.films] == ["a/1", "a/2", "a/3"]
    assert asdict(copy)["films"][0]["id"] == "a/1"


def test_near_pairs_of_vectors_name_leaks(gallery):
    found = audit.near(gallery, 0.99)
    assert [(pair.left.id, pair.right.id) for pair in found.pairs] == [
        ("a/1", "a/2"),
        ("a/1", "a/3"),
        ("a/2", "a/3"),
        ("b/1", "b/2"),
    ]
    assert (found.total, found.across, found.groups, found.compared) == (4, 2, 2, 6)
    assert [pair.same_source for pair in found.pairs] == [True, False, False, True]
    assert audit.near(gallery, 0.99, most=1).total == 4


def test_pictures_are_needed_to_compare_pictures(gallery):
    with pytest.raises(BadQuery, match="no film has a thumbnail"):
        audit.near(gallery, 0.9, describe=lambda pictures: np.eye(len(pictures), dtype=np.float32))


def test_doubtful_leaves_out_films_without_labels(gallery):
    found = audit.doubtful(gallery, k=2)
    assert found.labelled == 5
    assert [(one.film.id, one.disagreement, one.said, one.votes) for one in found.films] == [
        ("a/2", 1.0, "ill", 2)
    ]
    assert found.total == 1
    assert audit.doubtful(gallery, k=99).k == 4


def test_glance_finds_patients_in_several_splits(gallery):
    found = audit.glance(gallery)
    assert found.rows == {"test": 2, "train": 4}
    assert [(leak.patient, leak.splits) for leak in found.leaks] == [
        ("p1", {"train": 1, "test": 1})
    ]
    columns = {column.name: column for column in found.columns}
    assert columns["labels"].missing == {"test": 1, "train": 0}
    assert columns["sex"].missing == {"test": 2, "train": 3}
    assert "embedding" not in columns and "thumbnail" not in columns


def test_the_published_duplicates_of_pneumoniamnist(data, tmp_path):
    """The file repeats films: 27 groups, 8 of them in train and in val."""
    with np.load(data / "pneumoniamnist.npz") as file:
        images = {split: file[f"{split}_images"] for split in ("train", "val", "test")}
    flat = np.concatenate([part.reshape(len(part), -1) for part in images.values()])
    groups = same([image.tobytes() for image in flat])
    edge = len(images["train"])
    assert len(groups) == 27
    assert sum(min(group) < edge <= max(group) for group in groups) == 8
    centred = flat - flat.mean(axis=1, keepdims=True)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    found = near_pairs(centred.astype(np.float32), 0.98)
    assert found.total == sum(len(group) * (len(group) - 1) // 2 for group in groups) == 31
    assert connected(found) == groups
    assert found.cosine.min() > 1 - 1e-6
