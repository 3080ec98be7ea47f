"""Query by query, and store against store, against the evaluation and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from store import BadQuery, EncoderStamp, Gallery, Labelled, NothingToMeasure, Row
from store.analysis.compare import Brought, compare, paired
from store.evaluation.metrics import evaluate
from store.evaluation.per_query import by_query, confusion, hardest
from tests.store.rows import random_vectors


def labelled(seed, count, several):
    random = np.random.default_rng(seed)
    vectors = np.zeros((count, 8), np.float32)
    for row in vectors:
        row[random.choice(8, 4, replace=False)] = random.choice([-0.5, 0.5], 4)
    sizes = random.integers(1, 3 if several else 2, count)
    labels = [tuple(random.choice(list("abc"), size, replace=False)) for size in sizes]
    return Labelled([f"{at:03d}" for at in random.permutation(count)], vectors, labels)


@given(st.integers(0, 2**32 - 1), st.integers(6, 60), st.booleans())
@settings(max_examples=40)
def test_means_over_queries_are_the_evaluation(seed, count, several):
    rows = labelled(seed, count, several)
    found = by_query(rows, rows, (1, 3, 5))
    try:
        whole = evaluate("leave-one-out", rows, rows, (1, 3, 5), resamples=0)
    except NothingToMeasure:  # all of a few films share a label
        reject()
    assert np.allclose(found.precision.mean(axis=0), list(whole.precision.values()))
    assert found.ids == sorted(rows.ids)
    assert found.votes or any(len(row) > 1 for row in rows.labels)
    for depth in found.votes:
        accuracy = whole.vote[depth]
        names, counts = confusion(found, depth)
        assert counts.sum() == count
        assert np.trace(counts) / count == pytest.approx(accuracy)
        assert {row[0] for row in rows.labels} <= set(names)
    if any(len(row) > 1 for row in rows.labels):
        with pytest.raises(BadQuery, match="at most one label"):
            confusion(found, 1)


def test_hardest_are_ranked_by_precision_then_by_the_nearest_wrong_neighbour():
    vectors = np.asarray([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1], [-1, 0]], np.float32)
    rows = Labelled(list("abcde"), vectors, [("x",), ("y",), ("y",), ("x",), ("y",)])
    found = by_query(rows, rows, (1,))
    assert found.precision[:, 0].tolist() == [0, 1, 1, 0, 0]
    assert [(one.id, one.precision) for one in hardest(found)] == [("a", 0), ("d", 0), ("e", 0)]
    assert hardest(found)[0].wrong == pytest.approx(0.8)
    assert [one.id for one in hardest(found, most=1)] == ["a"]


def gallery_of(path, name, vectors, ids, labels, splits):
    found = Gallery.create(path, EncoderStamp(name, name[0] * 64, vectors.shape[1]))
    found.upsert(
        [
            Row(id_, bytes(32), vector, labels=label, split=split)
            for id_, vector, label, split in zip(ids, vectors, labels, splits, strict=True)
        ]
    )
    return found


@pytest.fixture
def two(tmp_path):
    """A store that knows the labels, and one that does not; they share 40 of their films."""
    random = np.random.default_rng(0)
    labels = [("x",) if at % 2 else ("y",) for at in range(45)]
    splits = ["test" if at % 3 else "train" for at in range(45)]
    ids = [f"f/{at:02d}" for at in range(45)]
    good = np.asarray([[1.0 if at % 2 else -1.0, *random.normal(0, 0.1, 3)] for at in range(45)])
    bad = random.normal(size=(45, 6))
    good, bad = (
        (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        for rows in (good, bad)
    )
    first = gallery_of(tmp_path / "a", "good", good[:42], ids[:42], labels[:42], splits[:42])
    other = gallery_of(tmp_path / "b", "bad", bad[2:], ids[2:], [*labels[2:44], ("x",)], splits[2:])
    return first, other


@pytest.mark.parametrize("protocol", ["leave-one-out", "split"])
def test_two_stores_are_compared_over_what_both_have(two, protocol):
    first, other = two
    told = []
    found = compare(first, other, protocol, (1, 3), progress=lambda *at: told.append(at))
    mine = first.by_query(protocol, (1, 3))
    common = [id_ for id_ in mine.ids if id_ in other.ids()]
    assert found.queries == len(common)
    assert found.precision[0][1] == 1.0
    assert found.difference[3] == pytest.approx(found.precision[0][3] - found.precision[1][3])
    low, high = found.ci95[3]
    assert 0 < low < found.difference[3] < high
    assert found.better[1] == found.queries * (1 - found.precision[1][1]) > found.worse[1] == 0
    assert [store["encoder"] for store in found.stores] == ["good", "bad"]
    assert told[-1][0] == told[-1][1]
    assert found.as_dict()["ci95"]["3"] == [low, high]
    back = compare(other, first, protocol, (1, 3))
    assert back.difference[3] == pytest.approx(-found.difference[3])


def gain(rule, one, other):
    one, other = set(one), set(other)
    if rule == "jaccard":
        return len(one & other) / len(one | other) if one | other else 1.0
    if rule == "finding=a":
        return float(("a" in one) == ("a" in other))
    if not one:
        return float(not other)
    return float(bool(one & other) if rule == "any" else one <= other)


def brought(ids, vectors, films, protocol, name):
    """Films that a store has, as a comparison takes them."""
    held = [id_ for id_ in ids if id_ in vectors]
    parts = {
        split: Labelled(
            some := [id_ for id_ in held if films[id_][1] == split],
            np.asarray([vectors[id_] for id_ in some], np.float32).reshape(-1, 8),
            [films[id_][0] for id_ in some],
            groups=[films[id_][2] for id_ in some],
            group_kind="patient" if any(films[id_][2] for id_ in some) else "film",
        )
        for split in ("test", "train")
    }
    searched = parts["test" if protocol == "leave-one-out" else "train"]
    belongs = {id_: (None, films[id_][1]) for id_ in held}
    return Brought(parts["test"], searched, belongs, {"uri": name, "encoder": name})


@given(
    st.data(),
    st.integers(0, 2**32 - 1),
    st.integers(8, 30),
    st.integers(2, 4),
    st.sampled_from(["any", "all", "jaccard", "finding=a"]),
    st.sampled_from(["leave-one-out", "split"]),
    st.sampled_from(["exclude", "count"]),
)
@settings(max_examples=50)
def test_n_stores_are_compared_as_the_plainest_program_does_it(
    data, seed, count, stores, rule, protocol, same_patient
):
    random = np.random.default_rng(seed)
    some = st.lists(st.sampled_from("abc"), max_size=3, unique=True).map(tuple)
    labels = data.draw(st.lists(some, min_size=count, max_size=count))
    splits = random.choice(["test", "train"], count)
    ids = [f"f/{at:02d}" for at in random.permutation(count)]
    person = st.sampled_from([None, None, "p", "q", "r"])
    patients = data.draw(st.lists(person, min_size=count, max_size=count))
    films = dict(zip(ids, zip(labels, splits, patients, strict=True), strict=True))
    vectors = []
    for _ in range(stores):
        rows = np.zeros((count, 8), np.float32)
        for row in rows:
            row[random.choice(8, 4, replace=False)] = random.choice([-0.5, 0.5], 4)
        held = random.random(count) < 0.95
        vectors.append({id_: row for id_, row, has in zip(ids, rows, held, strict=True) if has})
    common = [id_ for id_ in sorted(ids) if all(id_ in one for one in vectors)]
    asking = [id_ for id_ in common if films[id_][1] == "test"]
    wanted = "test" if protocol == "leave-one-out" else "train"
    searched = [id_ for id_ in common if films[id_][1] == wanted]
    assume(len(asking) > 2 and len(searched) > 2)
    parts = [brought(ids, one, films, protocol, f"{at}") for at, one in enumerate(vectors)]
    try:
        found = paired(parts, protocol, (1, 2), rule, same_patient, resamples=200)
    except (BadQuery, NothingToMeasure):  # nobody has the finding, or all are alike
        reject()
    precision = np.zeros((stores, len(asking), 2))
    for store, of in enumerate(vectors):
        for at, query in enumerate(asking):
            own = films[query][2] if same_patient == "exclude" else None
            others = [
                id_ for id_ in searched if id_ != query and (own is None or films[id_][2] != own)
            ]
            ranked = sorted(others, key=lambda id_: (-float(of[query] @ of[id_]), id_))
            gains = [gain(rule, films[query][0], films[id_][0]) for id_ in ranked[:2]]
            precision[store, at] = sum(gains[:1]), sum(gains) / 2  # empty ranks are misses
    assert (found.queries, found.gallery) == (len(asking), len(searched))
    told = {one.split: (one.queries, one.gallery) for one in found.films}
    expected = {"test": (len(asking), 0)}
    expected[wanted] = (expected.get(wanted, (0, 0))[0], len(searched))
    assert told == expected
    for store in range(stores):
        assert list(found.precision[store].values()) == pytest.approx(precision[store].mean(axis=0))
    for pair, other in zip(found.pairs, precision[1:], strict=True):
        gap = precision[0] - other
        assert list(pair.difference.values()) == pytest.approx(gap.mean(axis=0))
        assert list(pair.better.values()) == (gap > 1e-12).sum(axis=0).tolist()
        assert list(pair.worse.values()) == (gap < -1e-12).sum(axis=0).tolist()
        units = [films[query][2] or query for query in asking]
        assert found.interval["units"] == len(set(units))
        if len(set(units)) > 1 and np.ptp(gap[:, 0]) == 0:
            assert pair.ci95[1] == pytest.approx((gap[0, 0], gap[0, 0]))
    known = any(films[id_][2] for id_ in {*asking, *searched})
    assert found.excluded == ("patient" if known and same_patient == "exclude" else "film")
    whole = found.as_dict()
    assert whole["difference"] == whole["pairs"][0]["difference"]
    assert found.relevance["name"] == rule
    assert found.left_out == tuple(
        len({*one.queries.ids, *one.searched.ids}) - len({*asking, *searched}) for one in parts
    )


def test_a_patient_whose_film_one_store_lacks_is_left_out_of_no_ranking():
    ids = [f"f/{at}" for at in range(7)]
    films = {id_: (("ab"[at % 2],), "test", "p" if at == 6 else None) for at, id_ in enumerate(ids)}
    whole = dict(zip(ids, random_vectors(7), strict=True))
    stores = [whole, {id_: whole[id_] for id_ in ids[:6]}]
    parts = [brought(ids, one, films, "leave-one-out", f"{at}") for at, one in enumerate(stores)]
    found = paired(parts, "leave-one-out", (1,), resamples=200)
    assert (found.queries, found.excluded, found.interval["over"]) == (6, "film", "films")


def test_a_store_compared_with_itself_differs_nowhere(two):
    found = compare(two[0], two[0], k=(1,))
    assert (found.difference[1], found.ci95[1], found.left_out) == (0, (0, 0), (0, 0))


def test_differences_are_resampled_by_patient():
    """20 patients of 10 films each, who are all right or all wrong under one of the encoders."""
    random = np.random.default_rng(3)
    ids = [f"{at:03d}" for at in range(200)]
    labels = [("x",) if at // 10 % 2 else ("y",) for at in range(200)]
    right = np.repeat(random.random(20) < 0.7, 10)
    side = np.asarray([1.0 if row == ("x",) else -1.0 for row in labels])
    good = np.stack([side, np.zeros(200)], axis=1) + random.normal(0, 0.05, (200, 2))
    bad = np.stack([np.where(right, side, -side), np.zeros(200)], axis=1)
    bad += random.normal(0, 0.05, (200, 2))

    def parts(groups):
        for name, rows in (("good", good), ("bad", bad)):
            unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
            kind = "film" if groups is None else "patient"
            films = Labelled(ids, unit, labels, groups=groups, group_kind=kind)
            yield Brought(films, films, dict.fromkeys(ids, (None, None)), {"uri": name})

    def width(found):
        low, high = found.ci95[1]
        return high - low

    by_film = paired(list(parts(None)), "leave-one-out", (1,))
    patients = [f"p{at // 10}" for at in range(200)]
    by_patient = paired(list(parts(patients)), "leave-one-out", (1,))
    assert by_patient.interval["over"] == "patients" and by_patient.interval["units"] == 20
    assert width(by_patient) > 2 * width(by_film)
    assert (by_patient.excluded, by_film.excluded) == ("patient", "film")
    assert by_patient.patients == {"known": 200, "unknown": 0, "in_both_sides": None}
    counted = paired(list(parts(patients)), "leave-one-out", (1,), same_patient="count")
    assert counted.excluded == "film" and counted.interval["units"] == 20
    assert counted.precision == by_film.precision


def test_stores_without_common_films_are_refused(two, tmp_path):
    lone = gallery_of(
        tmp_path / "c",
        "else",
        np.eye(3, dtype=np.float32),
        ["q", "r", "s"],
        [("x",)] * 3,
        ["test"] * 3,
    )
    with pytest.raises(BadQuery, match="no queries in common"):
        compare(two[0], lone, k=(1,))


def test_a_comparison_in_which_chance_is_1_is_refused(tmp_path):
    vectors, ids = np.eye(3, dtype=np.float32), ["q", "r", "s"]
    rows = (vectors, ids, [("x",)] * 3, ["test"] * 3)
    one, other = (gallery_of(tmp_path / name, name, *rows) for name in "ab")
    with pytest.raises(NothingToMeasure, match="chance is 1"):
        compare(one, other, k=(1,))
