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
from store.analysis.film_table import Film, whose
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
@settings(max_examples=60)
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


def naive_doubts(rows, labels, uncertain, groups, k):
    """Row by row: disagreement, nearness, said, votes, neighbours, and its findings in doubt."""
    products = rows @ rows.T
    names = sorted({name for row in (*labels, *uncertain) for name in row})
    found = []
    for row in range(len(rows)):
        others = sorted(
            (other for other in range(len(rows)) if groups[other] != groups[row]),
            key=lambda other: (-products[row, other], other),
        )[:k]
        distances, said = [], []
        for other in others:
            one, two = set(labels[row]), set(labels[other])
            distances.append(1 - len(one & two) / len(one | two) if one | two else 0)
            said.append(two or {"no finding"})
        ranked = sorted(
            (
                -sum(name in one for one in said),
                min(at for at, one in enumerate(said) if name in one),
                name == "no finding",
                name,
            )
            for name in {name for one in said for name in one}
        )
        doubted = []
        for name in names:
            sure = [o for o in others if name in labels[o] or name not in uncertain[o]]
            votes = sum(name in labels[other] for other in sure)
            carries = name in labels[row]
            unsure = name in uncertain[row] and not carries
            if (carries and votes < len(sure) / 2) or (
                not carries and not unsure and votes > len(sure) / 2
            ):
                doubted.append((row, name, not carries, votes, len(sure)))
        found.append(
            (
                np.mean(distances) if others else 0,
                np.mean([products[row, o] for o in others]) if others else np.nan,
                ranked[0][3] if others else "",
                -ranked[0][0] if others else 0,
                len(others),
                doubted,
            )
        )
    return found


@given(st.data(), st.integers(2, 25), st.integers(1, 12))
@settings(max_examples=120)
def test_doubts_are_those_of_the_plainest_way(data, count, k):
    rows = data.draw(vectors(count))
    some = st.lists(st.sampled_from("abc"), max_size=3, unique=True).map(tuple)
    many = st.lists(some, min_size=count, max_size=count)
    labels, uncertain = data.draw(many), data.draw(st.one_of(st.just([()] * count), many))
    numbers = st.lists(st.integers(0, count), min_size=count, max_size=count)
    groups = data.draw(st.one_of(st.just(list(range(count))), numbers))
    k = min(k, count - 1)
    found = doubts(rows, labels, k, uncertain=uncertain, groups=np.asarray(groups, np.int64))
    expected = naive_doubts(rows, labels, uncertain, groups, k)
    assert np.allclose(found.disagreement, [one[0] for one in expected])
    assert np.allclose(found.nearness, [one[1] for one in expected], equal_nan=True)
    assert found.said == [one[2] for one in expected]
    assert found.votes.tolist() == [one[3] for one in expected]
    assert found.asked.tolist() == [one[4] for one in expected]
    one = found.findings
    named = [found.names[place] for place in one.finding]
    fields = (one.row.tolist(), named, one.missing.tolist(), one.votes.tolist(), one.of.tolist())
    assert list(zip(*fields, strict=True)) == [doubt for row in expected for doubt in row[5]]
    ranked = np.lexsort((range(count), -found.nearness, [-round(one[0], 9) for one in expected]))
    assert found.order.tolist() == ranked.tolist()


@given(st.data(), st.integers(2, 25), st.integers(1, 12))
@settings(max_examples=40)
def test_with_one_finding_a_film_a_doubtful_finding_is_a_disagreement_above_one_half(
    data, count, k
):
    rows = data.draw(vectors(count))
    labels = data.draw(st.lists(st.sampled_from("ab"), min_size=count, max_size=count))
    found = doubts(rows, [(one,) for one in labels], min(k, count - 1))
    assert np.flatnonzero(found.disagreement > 0.5).tolist() == sorted(
        {*found.findings.row.tolist()}
    )


def test_doubts_refuse_silly_k():
    rows = np.eye(3, dtype=np.float32)
    for k in (0, 3):
        with pytest.raises(BadQuery, match="expected 1 to 2"):
            doubts(rows, [("a",)] * 3, k)


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
    assert (copy.whose, twins.whose, triplet.whose) == (
        "one patient",
        "unknown",
        "several patients",
    )
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
    whose = {"one patient": 1, "several patients": 2, "several data sets": 0, "unknown": 1}
    assert [pair.whose for pair in found.pairs] == [
        "one patient",
        *["several patients"] * 2,
        "unknown",
    ]
    assert found.whose == whose
    short = audit.near(gallery, 0.99, most=1)
    assert (short.total, len(short.pairs), short.whose) == (4, 1, whose)


def test_pictures_are_needed_to_compare_pictures(gallery):
    with pytest.raises(BadQuery, match="no film has a thumbnail"):
        audit.near(gallery, 0.9, describe=lambda pictures: np.eye(len(pictures), dtype=np.float32))


def test_doubtful_leaves_out_films_without_labels_and_does_not_ask_the_own_patient(gallery):
    found = audit.doubtful(gallery, k=1)
    assert (found.labelled, found.left_out) == (5, {"not labelled": 1})
    assert found.excluded == "patient"
    # a/1, as near, is of the patient of a/2: not asked.
    [one] = found.films
    assert (one.film.id, one.disagreement, one.said, one.votes, one.asked) == (
        "a/2",
        1,
        "ill",
        1,
        1,
    )
    assert one.unsupported == (audit.Vote("well", 0, 1),)
    assert one.missing == (audit.Vote("ill", 1, 1),)
    assert (found.total, found.doubted) == (1, 1)
    assert found.findings == {
        "ill": audit.FindingDoubt(films=2, unsupported=0, missing=1),
        "well": audit.FindingDoubt(films=3, unsupported=1, missing=0),
    }
    assert audit.doubtful(gallery, k=2).films == ()
    assert audit.doubtful(gallery, k=99).k == 4


def test_glance_finds_patients_in_several_splits(gallery):
    found = audit.glance(gallery)
    assert found.rows == {"test": 2, "train": 4}
    assert found.leaks == (audit.Leak("p1", {"train": 1, "test": 1}, None, None),)
    columns = {column.name: column for column in found.columns}
    assert columns["labels"].missing == {"test": 1, "train": 0}
    assert columns["sex"].missing == {"test": 2, "train": 3}
    assert "embedding" not in columns and "thumbnail" not in columns


def of_two_sets(path, films):
    """A gallery of films as (id, picture, what is known of them); one picture has one vector."""
    found = Gallery.create(path, STAMP)
    vectors = np.eye(8, dtype=np.float32)
    found.upsert([row(id_, vectors[at], key=str(at), **about) for id_, at, about in films])
    return found


def test_patient_1_of_two_data_sets_are_two_people(tmp_path):
    one = {"patient": "1", "dataset": "a"}
    found = of_two_sets(
        tmp_path / "gallery",
        [
            ("a/1", 0, {**one, "split": "train"}),
            ("a/2", 0, {**one, "split": "train"}),
            ("a/3", 1, {**one, "split": "train"}),
            ("b/1", 1, {"patient": "1", "dataset": "b", "split": "test"}),
            ("a/4", 2, {"patient": "7", "dataset": "a", "split": "train"}),
            ("b/2", 2, {"patient": "8", "dataset": "b", "split": "test"}),
            ("b/3", 2, {"patient": "9", "dataset": "b", "split": "test"}),
        ],
    )
    assert [group.whose for group in audit.exact(found)] == [
        "one patient",
        "several data sets",
        "several patients",  # 8 and 9
    ]
    assert audit.near(found, 0.99).whose == {
        "one patient": 1,
        "several patients": 1,
        "several data sets": 3,
        "unknown": 0,
    }
    assert audit.glance(found).leaks == ()


@given(st.data())
@settings(max_examples=60)
def test_whose_films_duplicates_are_agrees_for_pairs_and_groups(data):
    some = st.sampled_from([None, "a", "b"])
    cells = data.draw(st.lists(st.tuples(some, some), min_size=2, max_size=9))
    films = [
        Film(str(at), (), None, dataset, patient, None, "not labelled")
        for at, (dataset, patient) in enumerate(cells)
    ]
    pairs = [whose(pair) for pair in combinations(films, 2)]
    known = all(film.patient for film in films)
    expected = "several data sets" if known else "unknown"
    if "several patients" in pairs:
        expected = "several patients"
    elif set(pairs) == {"one patient"}:
        expected = "one patient"
    assert whose(films) == expected


def test_leaks_are_those_of_studies_where_no_patient_is_known(tmp_path):
    def film(number, split, patient, study):
        about = {"split": split, "patient": patient, "study": study, "dataset": "a"}
        return (f"a/{number}", number, about)

    found = of_two_sets(
        tmp_path / "gallery",
        [
            film(0, "train", None, "s1"),
            film(1, "test", None, "s1"),
            film(2, "train", "p", "s2"),
            film(3, "test", "p", "s3"),
            film(4, "train", "q", "s4"),
            film(5, "test", None, "s4"),  # so it is of q
            film(6, "train", None, "s5"),
        ],
    )
    assert audit.glance(found).leaks == (
        audit.Leak(None, {"train": 1, "test": 1}, "a", "s1"),
        audit.Leak("p", {"train": 1, "test": 1}, "a", None),
        audit.Leak("q", {"train": 1, "test": 1}, "a", None),
    )


def test_films_of_zeros_agree_with_no_finding(tmp_path):
    """The labels of ChestMNIST beside those of NIH: films in which nothing was found."""
    near, far = np.eye(8, dtype=np.float32)[:2]
    found = Gallery.create(tmp_path / "gallery", STAMP)
    found.upsert(
        [
            *[row(f"a/{at}", near, labels=("No Finding",)) for at in range(3)],
            *[row(f"b/{at}", near, labelled=True) for at in range(3)],
            row("b/3", near),
            *[row(f"c/{at}", far, labels=("mass",), study="s") for at in range(2)],
        ]
    )
    told = audit.doubtful(found, k=3)
    assert (told.labelled, told.left_out) == (8, {"not labelled": 1})
    assert [one.film.id for one in told.films] == ["c/0", "c/1"]  # their twin is of their study
    assert told.films[0].said == "no finding" and told.films[0].votes == 3
    assert told.excluded == "study"
    [labels] = [column for column in audit.glance(found).columns if column.name == "labels"]
    assert labels.values["no finding"] == {"": 6} and labels.missing == {"": 1}


def test_nothing_found_is_a_finding_of_its_own_kind(tmp_path):
    """The labels of NIH: a film without a finding says so, and one that is not sure says that."""
    near, far = {"labels": ("Effusion", "Mass")}, {"labels": ("No Finding",)}
    found = Gallery.create(tmp_path / "gallery", STAMP)
    vectors = np.eye(8, dtype=np.float32)
    found.upsert(
        [
            *[row(f"a/{at}", vectors[0], **near) for at in range(4)],
            row("a/4", vectors[0], **far),
            row("a/5", vectors[0], labels=("Effusion",), uncertain=("Mass",)),
            row("a/6", vectors[0], labels=("Effusion", "Mass", "Hernia")),
            row("a/7", vectors[0], uncertain=("Mass",)),
            row("a/8", vectors[0]),
            *[row(f"b/{at}", vectors[1], **far) for at in range(6)],
        ]
    )
    told = audit.doubtful(found, k=5)
    assert told.labelled == 13
    assert told.left_out == {"not labelled": 1, "only uncertain findings": 1}
    doubts_of = {one.film.id: one for one in told.films}
    assert list(doubts_of) == ["a/4", "a/5", "a/6"]
    assert doubts_of["a/5"].missing == ()  # it is not sure of its mass
    assert doubts_of["a/4"].film.outcome == "no finding"
    assert doubts_of["a/4"].disagreement == 1 and doubts_of["a/4"].said == "Effusion"
    assert doubts_of["a/4"].missing == (audit.Vote("Effusion", 5, 5), audit.Vote("Mass", 4, 4))
    assert doubts_of["a/6"].unsupported == (audit.Vote("Hernia", 0, 5),)
    assert (told.total, told.doubted) == (2, 3)
    assert told.findings["Hernia"] == audit.FindingDoubt(1, 1, 0)
    assert told.findings["Mass"] == audit.FindingDoubt(5, 0, 1)
    assert "no finding" not in map(str.lower, told.findings)
    [labels] = [column for column in audit.glance(found).columns if column.name == "labels"]
    assert labels.values["no finding"] == {"": 7}
    assert labels.values["uncertain only"] == {"": 1}
    assert labels.missing == {"": 1}
    copies = of_two_sets(
        tmp_path / "copies", [("c/1", 0, far), ("c/2", 0, {"labels": ("no findings",)})]
    )
    [group] = audit.exact(copies)
    assert not group.labels_differ


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
