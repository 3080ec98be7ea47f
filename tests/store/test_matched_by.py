"""What an encoder matches by, against the plainest way to count it and against made-up encoders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import BadQuery, EncoderStamp, Gallery, NothingToMeasure, Row, matched_by
from tests.store.rows import random_vectors, unit

DIMENSION = 8


def filled(folder, vectors, labels, columns: Sequence[dict], prefix="f") -> Gallery:
    """A gallery of films with these metadata each; ids in the order given."""
    gallery = Gallery.create(folder, EncoderStamp("tiny", "ab" * 32, vectors.shape[1]))
    gallery.upsert(
        [
            Row(
                f"{prefix}{at:05d}",
                at.to_bytes(32, "big"),
                vector,
                labels=tuple(labels[at]),
                **{"split": "test", **columns[at]},
            )
            for at, vector in enumerate(vectors)
        ]
    )
    gallery.refresh()
    return gallery


def plainly(vectors, labels, values, patients, k, same_patient=False):
    """Shared and chance of a column, pair by pair; Precision@k usual and across, by value."""
    products = (vectors.astype(np.float64) @ vectors.T.astype(np.float64)).astype(np.float32)
    count = len(vectors)

    def ranked(query, allowed):
        others = [
            film
            for film in range(count)
            if film != query
            and (same_patient or patients[film] is None or patients[film] != patients[query])
            and allowed(film)
        ]
        return others, sorted(others, key=lambda film: (-products[query, film], film))[:k]

    def relevant(one, other):
        return bool(set(labels[one]) & set(labels[other]))

    shared, chance = [], []
    usual, across = {}, {}
    for query in range(count):
        others, top = ranked(query, lambda _: True)
        hits = [film for film in top if relevant(query, film)]
        value = values[query]
        if value is None:
            continue
        usual.setdefault(value, []).append(len(hits) / k)
        other = ranked(query, lambda film, value=value: values[film] not in (None, value))[1]
        across.setdefault(value, []).append(sum(relevant(query, film) for film in other) / k)
        pool = [film for film in others if relevant(query, film) and values[film] is not None]
        for hit in hits:
            if values[hit] is not None:
                shared.append(values[hit] == value)
                chance.append(np.mean([values[film] == value for film in pool]))
    return shared, chance, usual, across


@st.composite
def cohorts(draw):
    """Films with exact cosines, several findings, gaps, and patients of several films."""
    count = draw(st.integers(6, 24))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    vectors = np.zeros((count, DIMENSION), np.float32)
    for row in vectors:
        row[random.choice(DIMENSION, 4, replace=False)] = random.choice([-0.5, 0.5], 4)
    pick = st.lists(st.sampled_from("ab"), min_size=1, max_size=2, unique=True)
    labels = draw(st.lists(pick, min_size=count, max_size=count))
    views = draw(
        st.lists(st.sampled_from(["PA", "AP", "LL", None]), min_size=count, max_size=count)
    )
    patients = draw(
        st.lists(st.sampled_from(["1", "2", "3", "4", None]), min_size=count, max_size=count)
    )
    return vectors, labels, views, patients, draw(st.integers(1, 3))


@given(cohorts())
@settings(max_examples=20)
def test_lift_and_precision_across_are_what_counting_gives(tmp_path_factory, cohort):
    vectors, labels, views, patients, k = cohort
    columns = [{"view": a, "patient": b} for a, b in zip(views, patients, strict=True)]
    gallery = filled(tmp_path_factory.mktemp("g"), vectors, labels, columns)
    try:
        found = matched_by(gallery, k=k)
    except (BadQuery, NothingToMeasure) as error:
        assert "expected depths" in str(error) or "nothing to find" in str(error)
        return
    measured = {one.name: one for one in found.columns}
    assert not {*measured} & {*found.not_measured}
    for name, values in (("view", views), ("patient", patients)):
        counting = name == "patient"
        shared, chance, usual, across = plainly(vectors, labels, values, patients, k, counting)
        if name not in measured:
            known = [value for value in values if value is not None]
            assert not sum(chance) or len(set(known)) in (0, 1, len(known))
            continue
        one = measured[name]
        assert (one.pairs, one.same_patient) == (len(shared), counting)
        assert one.missing == values.count(None)
        assert one.shared == pytest.approx(np.mean(shared))
        assert one.chance == pytest.approx(np.mean(chance))
        assert one.lift == pytest.approx(np.mean(shared) / np.mean(chance))
        if not counting:
            assert {value.value for value in one.values} == {*usual}
        for value in one.values:
            assert value.queries == len(usual[value.value])
            assert value.precision == pytest.approx(np.mean(usual[value.value]))
            if value.candidates:
                assert value.across == pytest.approx(np.mean(across[value.value]))


# -- columns -----------------------------------------------------------------------------------


def of_columns(folder, columns, count=60, **asked):
    """What an encoder of nothing matches by, over films with some columns."""
    vectors = random_vectors(count, dimension=DIMENSION)
    labels = [(("mass", "normal")[at % 2],) for at in range(count)]
    gallery = filled(folder / "g", vectors, labels, [columns(at) for at in range(count)])
    return matched_by(gallery, **asked)


def test_numbers_and_dates_are_compared_in_bands(tmp_path):
    found = of_columns(
        tmp_path,
        lambda at: {
            "age": float(at),
            "extra": {
                "weight": 50 + at / 2,
                "stage": at % 3,
                "taken": date(2020, 1, 1 + at % 30),
                "urgent": at % 4 == 0,
                "narrative": f"text {at}",
            },
        },
        values=60,
    )
    columns = {one.name: one for one in found.columns}
    names = {name: [value.value for value in one.values] for name, one in columns.items()}
    assert names["age"] == ["0–9", "10–19", "20–29", "30–39", "40–49", "50–59"]
    assert names["weight"] == ["50 to 57", "57.5 to 64.5", "65 to 72", "72.5 to 79.5"]
    assert names["stage"] == ["0", "1", "2"] and names["urgent"] == ["no", "yes"]
    assert names["taken"][0] == "2020-01-01 to 2020-01-08" and len(names["taken"]) == 4
    kinds = {name: one.kind for name, one in columns.items()}
    assert (kinds["age"], kinds["weight"], kinds["stage"]) == ("decades", "quarters", "values")
    assert found.not_measured["narrative"] == "every film has another value"
    assert found.not_measured["view"] == "no film has a value"
    assert found.not_measured["split"] == "all films have the same: test"
    assert all(value.few == (value.queries < 30) for value in columns["age"].values)


def test_a_number_that_most_films_share_has_fewer_bands(tmp_path):
    found = of_columns(tmp_path, lambda at: {"extra": {"count": 0 if at < 45 else at}})
    [one] = found.columns
    assert [value.value for value in one.values] == ["0", "46 to 59"] or one.distinct <= 2


def test_films_without_a_value_are_counted_and_leave_their_pairs_out(tmp_path):
    found = of_columns(tmp_path, lambda at: {"view": ("PA", "AP", "", None)[at % 4]}, k=5)
    [one] = found.columns
    assert one.missing == 30 and one.left_out > 0
    assert sum(value.queries for value in one.values) == 30
    assert all(value.candidates == 15 for value in one.values)


def test_rarer_values_are_counted(tmp_path):
    found = of_columns(tmp_path, lambda at: {"extra": {"ward": f"w{min(at, 20)}"}}, values=2)
    [one] = found.columns
    assert (one.distinct, len(one.values), one.more) == (21, 2, 19)
    assert one.values[0].few or one.values[1].few


def test_a_patient_of_another_data_set_is_somebody_else(tmp_path):
    def columns(at):
        return {"dataset": "north" if at < 30 else "south", "patient": str(at % 30)}

    found = of_columns(tmp_path, columns)
    assert found.not_measured["patient"] == "every film has another value"
    assert found.excluded == "patient" and found.interval["units"] == 60


def test_films_of_the_same_patient_are_counted_for_patient_and_when_asked(tmp_path):
    def columns(at):
        return {"patient": f"p{at // 3}", "extra": {"born": f"b{at // 3}"}}

    found = of_columns(tmp_path, columns, k=5)
    assert [one.name for one in found.columns] == ["patient"]
    assert found.columns[0].same_patient and not found.columns[0].values
    assert "no film that could be found" in found.not_measured["born"]
    (tmp_path / "two").mkdir()
    counted = of_columns(tmp_path / "two", columns, k=5, same_patient="count")
    lifts = {one.name: one.lift for one in counted.columns}
    assert lifts["born"] == pytest.approx(lifts["patient"]) and counted.excluded == "film"


def test_one_patient_and_films_without_one_share_nothing(tmp_path):
    found = of_columns(tmp_path, lambda at: {"patient": "p1" if at % 4 else None})
    assert found.not_measured["patient"] == "all films have the same: p1"


def test_one_split_asks_another(tmp_path):
    found = of_columns(
        tmp_path,
        lambda at: {"split": ("test", "train")[at % 3 > 0], "view": ("PA", "AP")[at % 2]},
        protocol="split",
        k=3,
    )
    assert (found.queries, found.gallery) == (20, 40)
    assert [one.name for one in found.columns] == ["view"]
    assert "no film that could be found" in found.not_measured["split"]
    assert {value.candidates for one in found.columns for value in one.values} <= {20}


def test_relevance_says_what_shares_the_finding_and_who_took_no_part(tmp_path):
    vectors = random_vectors(40, dimension=DIMENSION)
    labels = [(("a",), ("a", "b"), ("b",), ())[at % 4] for at in range(40)]
    columns = [{"view": ("PA", "AP")[at // 2 % 2]} for at in range(40)]
    gallery = filled(tmp_path / "g", vectors, labels, columns)
    pairs = {}
    for rule in ("any", "all", "jaccard", "finding=a"):
        found = matched_by(gallery, k=29, relevance=rule)
        assert found.relevance["name"] == rule and "relevant" in found.relevance["definition"]
        assert found.left_out == {"not labelled": {"queries": 10, "gallery": 10}}
        pairs[rule] = sum(one.pairs for one in found.columns)
    # 10 films each of {a}, {a, b} and {b}; each asks all 29 others.
    assert pairs["any"] == 10 * 19 + 10 * 29 + 10 * 19 == pairs["jaccard"]
    assert pairs["all"] == 10 * 19 + 10 * 9 + 10 * 19
    assert pairs["finding=a"] == 20 * 19 + 10 * 9
    with pytest.raises(BadQuery, match="relevance"):
        matched_by(gallery, relevance="some")


def test_a_lift_of_nothing_has_no_interval(tmp_path):
    """Each film is nearest to one of the other view: no hit shares it."""
    angle = np.repeat(np.linspace(0, np.pi, 20, endpoint=False), 2)
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    columns = [{"view": ("PA", "AP")[at % 2]} for at in range(40)]
    gallery = filled(tmp_path / "g", vectors, [("a",)] * 40, columns)
    [one] = matched_by(gallery, k=1).columns
    assert one.lift == 0 and math.isnan(one.ci95[0]) and one.chance == pytest.approx(19 / 39)
    document = matched_by(gallery, k=1).as_dict()["columns"][0]
    assert document["ci95"] == [None, None] and document["lift"] == 0


# -- made-up encoders --------------------------------------------------------------------------


def encoded(random, patients, films, finding=0.0, dataset=0.0, dimension=16):
    """Vectors of an encoder that sees so much of a finding and of the data set, and both."""
    has, where = (np.repeat(random.random(patients) < 0.5, films) for _ in range(2))
    vectors = random.normal(size=(patients * films, dimension))
    vectors[:, 0] += finding * np.where(has, 1, -1)
    vectors[:, 1] += dataset * np.where(where, 1, -1)
    columns = [
        {
            "dataset": "north" if north else "south",
            "patient": str(at // films),
            "extra": {"coin": bool(coin)},
        }
        for at, (north, coin) in enumerate(
            zip(where, np.repeat(random.random(patients) < 0.5, films), strict=True)
        )
    ]
    labels = [("mass",) if one else ("normal",) for one in has]
    return unit(vectors), labels, columns


@pytest.mark.parametrize(
    ("finding", "dataset", "low", "high"), [(0, 6, 1.9, 2.1), (6, 0, 0.9, 1.1), (3, 1.5, 1.2, 1.85)]
)
def test_an_encoder_of_the_data_set_alone_of_the_finding_alone_and_of_both(
    tmp_path, finding, dataset, low, high
):
    random = np.random.default_rng(1)
    gallery = filled(tmp_path / "g", *encoded(random, 200, 2, finding, dataset))
    found = {one.name: one for one in matched_by(gallery, k=10).columns}
    one = found["dataset"]
    assert low < one.lift < high
    assert (one.ci95[0] <= 1 <= one.ci95[1]) == (dataset == 0)
    assert one.ci95[0] < one.lift < one.ci95[1]
    assert found["coin"].ci95[0] <= 1 <= found["coin"].ci95[1]
    for value in one.values:
        if dataset == 6:  # the finding plays no part, within the data set or across
            assert value.precision == pytest.approx(value.chance, abs=0.06)
        if finding == 6:
            assert value.across > 0.95 and value.across_chance < 0.6


_SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("patients", "films", "share", "sets"),
    [
        (40, 3, 0.3, 3),
        pytest.param(100, 1, 0.5, 20, marks=_SLOW),
        pytest.param(200, 1, 0.2, 20, marks=_SLOW),
        pytest.param(100, 2, 0.5, 20, marks=_SLOW),
        pytest.param(60, 4, 0.5, 20, marks=_SLOW),
        pytest.param(40, 3, 0.3, 20, marks=_SLOW),
        pytest.param(1200, 2, 0.3, 4, marks=_SLOW),
    ],
)
def test_intervals_of_coin_tosses_hold_one(tmp_path, patients, films, share, sets):
    """Each column is a toss a patient; resampling queries alone holds 1 in 80 to 91 % of them."""
    inside = []
    for seed in range(sets):
        random = np.random.default_rng(seed)
        vectors, labels, columns = encoded(random, patients, films, finding=3)
        tosses = np.repeat(random.random((patients, 100)) < share, films, axis=0)
        for column, coins in zip(columns, tosses, strict=True):
            column["extra"] = {f"c{at}": bool(coin) for at, coin in enumerate(coins)}
        gallery = filled(tmp_path / str(seed), vectors, labels, columns)
        inside += [
            one.ci95[0] <= 1 <= one.ci95[1]
            for one in matched_by(gallery, values=0).columns
            if one.name.startswith("c")
        ]
    assert len(inside) == 100 * sets
    assert 0.925 <= np.mean(inside) <= 0.985
