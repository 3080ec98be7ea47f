"""Films of the query's own patient are not in its ranking, and intervals resample patients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import LEAVE_ONE_OUT, BadQuery, Gallery, Labelled, NothingToMeasure, Where
from store.evaluation.intervals import bootstrap, interval
from store.evaluation.labelled import Sides
from store.evaluation.metrics import evaluate
from store.evaluation.per_query import by_query
from store.evaluation.protocols import sides as both_sides
from store.evaluation.ranking import by_searches, by_vectors
from store.search import exact
from tests.store.rows import STAMP, make_rows, random_vectors, unit

# -- the index -------------------------------------------------------------------------------------


def by_numpy(vectors, query, k, others):
    """Positions and scores of the k best of some rows, in float64, equal scores by position."""
    scores = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    scores = scores.clip(-1, 1).astype(np.float32)
    order = np.lexsort((np.arange(len(scores)), -scores))
    order = order[others[order]][:k]
    return list(zip(order.tolist(), scores[order].tolist(), strict=True))


@st.composite
def grouped(draw):
    """Vectors with doubles in groups: alone, small, giant; alike within a group or not."""
    count, dimension = draw(st.integers(2, 1500)), draw(st.sampled_from([2, 3, 16]))
    random = np.random.default_rng(draw(st.integers(0, 9999)))
    kinds = draw(st.sampled_from([1, 2, max(count // 4, 1), count]))
    groups = random.integers(0, kinds, count)
    if draw(st.booleans()):  # one of most rows
        groups[random.random(count) < draw(st.sampled_from([0.3, 0.9, 1.0]))] = 0
    centres = random.normal(size=(kinds, dimension))
    spread = draw(st.sampled_from([0.0, 1e-7, 0.1, 3.0]))
    vectors = centres[groups] + spread * random.normal(size=(count, dimension))
    if draw(st.booleans()):
        vectors[random.integers(0, count, count // 2)] = vectors[0]
    return unit(vectors), groups


@settings(max_examples=60)
@given(grouped(), st.integers(1, 40), st.sampled_from([None, 0.0, 0.3, 0.9]), st.data())
def test_rows_of_the_own_group_are_left_out_whatever_their_number(made, k, share, data) -> None:
    vectors, groups = made
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    allowed = None if share is None else np.flatnonzero(random.random(len(vectors)) < share)
    may = np.ones(len(vectors), bool) if share is None else np.isin(np.arange(len(groups)), allowed)
    asking = random.integers(0, len(vectors), 30)
    numbers = groups[asking]
    numbers[:2] = [-1, groups.max() + 7]  # of no group, and of one that no row has
    rows = exact.Rows.of(vectors)
    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.booleans()):  # groups of hundreds are as those of thousands
            patch.setattr(exact, "OWN_AT_ONCE", 2)
        found = exact.nearest(
            rows, vectors[asking], k, allowed, apart=(numbers, exact.Groups.of(groups))
        )
    for row, number, (places, scores) in zip(asking, numbers, found, strict=True):
        expected = by_numpy(vectors, vectors[row], k, may & (groups != number))
        assert list(zip(places.tolist(), scores.tolist(), strict=True)) == expected


def test_a_group_of_ten_thousand_nearest_rows_is_passed_over() -> None:
    vectors = random_vectors(40_000, 1, 8)
    groups = np.arange(40_000)
    groups[:10_000] = 0
    vectors[:10_000] = unit(vectors[0] + 1e-4 * random_vectors(10_000, 2, 8))
    rows = exact.Rows.of(vectors)
    asked = np.arange(0, 12_000, 500)
    found = exact.nearest(rows, vectors[asked], 5, apart=(groups[asked], exact.Groups.of(groups)))
    for row, (places, scores) in zip(asked, found, strict=True):
        expected = by_numpy(vectors, vectors[row], 5, groups != groups[row])
        assert list(zip(places.tolist(), scores.tolist(), strict=True)) == expected


def test_where_all_rows_are_of_one_group_nothing_is_found() -> None:
    vectors = random_vectors(3000)
    apart = np.zeros(5, np.int64), exact.Groups.of(np.zeros(3000, np.int64))
    found = exact.nearest(exact.Rows.of(vectors), vectors[:5], 3, apart=apart)
    assert [len(places) for places, _ in found] == [0] * 5


# -- rankings --------------------------------------------------------------------------------------


def films(count: int, patients: int, seed: int = 0, prefix: str = "f") -> Labelled:
    """Films of patients who look alike, and of whom half have the finding."""
    random = np.random.default_rng(seed)
    whose = random.integers(0, patients, count)
    vectors = unit(random_vectors(patients, 7)[whose] + 0.3 * random.normal(size=(count, 8)))
    labels = [("finding",) if one % 2 else ("other",) for one in whose]
    names = [f"patient {one}" for one in whose]
    return Labelled(
        [f"{prefix}{i}" for i in range(count)], vectors, labels, None, None, names, "patient"
    )


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("counted", ["exclude", "count"])
def test_a_ranking_has_every_film_but_those_of_the_patient(same: bool, counted) -> None:
    queries = films(90, 12)
    gallery = queries if same else films(120, 15, 1, "g")
    sides = Sides.of(queries, gallery, counted)
    depth = int(sides.candidates.max())
    for ranked in by_vectors(sides, depth):
        for query, rows, scores in zip(range(90), ranked.rows, ranked.scores, strict=True):
            id_, whose = sides.queries.ids[query], sides.queries.groups[query]
            expected = {
                place
                for place, (other, name) in enumerate(
                    zip(sides.gallery.ids, sides.gallery.groups, strict=True)
                )
                if other != id_ and (counted == "count" or name != whose)
            }
            there = rows >= 0
            assert set(rows[there].tolist()) == expected
            assert there.sum() == sides.candidates[query] == len(expected)
            assert np.isneginf(scores[~there]).all() and (rows[~there] == -1).all()
            assert (np.diff(scores[there]) <= 0).all()


def test_a_patient_without_a_name_is_nobody_elses() -> None:
    one = films(4, 2)
    rows = Labelled(one.ids, one.vectors, one.labels, None, None, [None, None, "p", "p"], "patient")
    sides = Sides.of(rows, rows)
    assert sides.candidates.tolist() == [3, 3, 2, 2]
    assert sides.patients == {"known": 2, "unknown": 2, "in_both_sides": None}
    assert len(np.unique(sides.units)) == 3


def test_all_films_of_one_patient_are_refused_with_the_remedy() -> None:
    rows = films(9, 1)
    with pytest.raises(NothingToMeasure, match="--same-patient count"):
        by_query(rows, rows, [1])
    assert len(by_query(rows, rows, [1], same_patient="count").ids) == 9


def test_depths_reach_as_far_as_the_query_that_may_find_most() -> None:
    one = films(10, 5)
    whose = ["many"] * 7 + ["few"] * 3
    rows = Labelled(one.ids, one.vectors, one.labels, None, None, whose, "patient")
    with pytest.raises(BadQuery, match="expected depths from 1 to 7"):
        by_query(rows, rows, [8])
    found = evaluate("x", rows, rows, [1, 7], resamples=0)
    assert found.precision[7] <= (7 * 3 + 3 * 7) / 70  # empty places are misses
    with pytest.raises(BadQuery, match="expected exclude or count"):
        evaluate("x", rows, rows, [1], same_patient="maybe")


# -- a gallery -------------------------------------------------------------------------------------


def coin(folder: Path, patients: int = 150, split: str = "test", seed: int = 3) -> Gallery:
    """Two films of each patient, next to each other; the finding is a coin toss by patient."""
    random = np.random.default_rng(seed)
    vectors = unit(
        np.repeat(random.normal(size=(patients, 8)), 2, axis=0)
        + 0.05 * random.normal(size=(2 * patients, 8))
    )
    tosses = random.integers(0, 2, patients)
    gallery = Gallery.create(folder, STAMP)
    rows = []
    for i, vector in enumerate(vectors):
        label = ("finding", "other")[tosses[i // 2]]
        rows += make_rows(
            vector[None], [(label,)], f"set/{i:03d}/", split=split, patient=f"p{i // 2}"
        )
    gallery.upsert(rows)
    gallery.refresh()
    return gallery


def test_a_coin_toss_by_patient_is_found_at_chance(tmp_path) -> None:
    gallery = coin(tmp_path)
    counted = gallery.evaluate(k=[1], same_patient="count")
    assert counted.precision[1] == 1.0 and counted.excluded == "film"
    found = gallery.evaluate(k=[1])
    low, high = found.ci95[1]
    assert low < found.baselines["random"]["precision"][1] < high
    assert found.excluded == "patient"
    assert found.patients == {"known": 300, "unknown": 0, "in_both_sides": None}
    for one in (found, counted):
        assert (one.interval["over"], one.interval["units"]) == ("patients", 150)
    assert gallery.by_query(k=[1]).precision.mean() == found.precision[1]
    assert gallery.by_query(k=[1], same_patient="count").precision.mean() == 1


def test_names_of_patients_count_within_their_data_set(tmp_path) -> None:
    gallery = Gallery.create(tmp_path, STAMP)
    near = random_vectors(1)
    for dataset, patient, label in (
        ("a", "1", "x"),
        ("a", "1", "x"),
        ("b", "1", "x"),
        (None, "1", "y"),
        ("a", "", "y"),
        ("a", None, "y"),
    ):
        number = len(gallery)
        gallery.upsert(make_rows(near, [(label,)], f"{number}/", dataset=dataset, patient=patient))
        gallery.refresh()
    found = gallery.evaluate(k=[4])
    assert found.patients == {"known": 4, "unknown": 2, "in_both_sides": None}
    assert found.interval["units"] == 5


def test_where_only_studies_are_known_these_are_left_out(tmp_path) -> None:
    gallery = Gallery.create(tmp_path, STAMP)
    labels = [("x",), ("x",), ("y",), ("y",)]
    for study in ("s", "t"):
        gallery.upsert(make_rows(random_vectors(4), labels, f"{study}/", study=study))
    gallery.refresh()
    found = gallery.evaluate(k=[4])
    assert (found.excluded, found.interval["over"], found.interval["units"]) == (
        "study",
        "studies",
        2,
    )
    assert found.patients == {"known": 8, "unknown": 0, "in_both_sides": None}
    with pytest.raises(BadQuery, match="expected depths from 1 to 4"):
        gallery.evaluate(k=[5])
    one = Gallery.create(tmp_path / "one", STAMP)
    one.upsert(make_rows(random_vectors(4), labels, study="s"))
    one.refresh()
    with pytest.raises(NothingToMeasure, match="all 4 films are of one study"):
        one.evaluate(k=[1])


def test_patients_in_both_splits_are_counted_and_left_out(tmp_path) -> None:
    gallery = coin(tmp_path, 20)
    gallery.upsert(
        [
            row
            for i in range(20)
            for row in make_rows(
                gallery.vectors([f"set/{i:03d}/0"]),
                [gallery.row(f"set/{i:03d}/0").labels],
                f"train/{i:03d}/",
                split="train",
                patient=f"p{i // 2}" if i < 8 else f"new {i}",
            )
        ]
    )
    gallery.refresh()
    found = gallery.evaluate("split", [1])
    assert found.patients == {"known": 60, "unknown": 0, "in_both_sides": 4}
    assert gallery.evaluate("split", [1], same_patient="count").precision[1] > found.precision[1]


def test_queries_without_patients_are_resampled_as_films(tmp_path) -> None:
    """Even where films of the other side name theirs: these are left out, not resampled."""
    gallery = coin(tmp_path, 20, "train")
    gallery.upsert(make_rows(random_vectors(30), prefix="bare/"))
    gallery.refresh()
    found = gallery.evaluate("split", [1])
    assert (found.queries, found.excluded) == (30, "patient")
    assert (found.interval["over"], found.interval["units"]) == ("films", 30)


def test_a_gallery_without_patients_is_measured_as_ever(tmp_path) -> None:
    gallery = Gallery.create(tmp_path, STAMP)
    gallery.upsert(make_rows(random_vectors(60)))
    gallery.refresh()
    found = gallery.evaluate()
    assert found.excluded == "film"
    assert found.patients == {"known": 0, "unknown": 60, "in_both_sides": None}
    assert found.interval == {
        "over": "films",
        "units": 60,
        "method": "bootstrap, percentile",
        "rough": False,
    }
    assert found.precision == gallery.evaluate(same_patient="count").precision


# -- searchers that have no vectors in memory ------------------------------------------------------


def some_of(gallery: Gallery) -> Labelled:
    """Films of a gallery: alone, of patients with three, and of one with many."""
    ids = gallery.ids(Where(dataset=("set",)))
    whose = [None if i % 9 == 0 else "giant" if i < 40 else f"p{i // 3}" for i in range(len(ids))]
    return Labelled(ids, gallery.vectors(ids), [("a",)] * len(ids), None, None, whose, "patient")


def whole(parts) -> tuple[list, list]:
    """Rows and scores of every query."""
    _, rows, scores = zip(*parts, strict=True)
    return np.concatenate(rows).tolist(), np.concatenate(scores).tolist()


@pytest.mark.usefixtures("few_ask")
@pytest.mark.parametrize("index", ["exact", "lance"])
def test_searches_rank_as_faiss_does(tmp_path, index) -> None:
    gallery = coin(tmp_path, 140)
    gallery.upsert(make_rows(random_vectors(30, 9), [()] * 30, "bare/", dataset="bare"))
    gallery.refresh()
    rows = some_of(gallery)
    if index == "lance":
        gallery.build_index()
        gallery = Gallery.open(tmp_path, index="lance")
    some = [at for at in range(0, len(rows.ids), 3) if at % 9 < 4]  # alone, and of a patient
    asking = Labelled(
        [rows.ids[at] for at in some],
        rows.vectors[some],
        [rows.labels[at] for at in some],
        groups=[rows.groups[at] for at in some],
        group_kind="patient",
    )
    sides = Sides.of(asking, rows)
    deepest = int(sides.candidates.max())
    assert deepest > int(sides.candidates.min())
    where = Where(dataset=("set",)) if index == "lance" else Where()  # few enough: exact
    for depth in (3, deepest):
        searched = by_searches(gallery.searcher, where)
        assert whole(searched(sides, depth)) == whole(by_vectors(sides, depth))


# -- intervals -------------------------------------------------------------------------------------


def test_one_film_a_patient_is_the_bootstrap_of_films_to_the_last_bit() -> None:
    values = np.random.default_rng(1).random((300, 2))
    alone = bootstrap(values, [1, 3], 500)
    assert alone == bootstrap(values, [1, 3], 500, np.random.default_rng(2).permutation(300))
    low, high = alone[1]
    weights = np.random.default_rng(0).multinomial(300, np.full(300, 1 / 300), size=500)
    assert (low, high) == tuple(np.percentile(weights @ values / 300, [2.5, 97.5], axis=0)[:, 0])
    assert interval(np.arange(300), "film")["method"] == "bootstrap, percentile"


def test_films_that_are_copies_of_one_another_add_nothing() -> None:
    values = np.random.default_rng(1).random((80, 1))
    groups = np.arange(80)
    low, high = bootstrap(values, [1], 4000, np.append(groups, 0)[:80])[1]
    many = bootstrap(np.repeat(values, 5, axis=0), [1], 4000, np.repeat(groups, 5))[1]
    assert many == pytest.approx((low, high), abs=0.006)
    wrong = bootstrap(np.repeat(values, 5, axis=0), [1], 4000)[1]
    assert wrong[1] - wrong[0] < 0.6 * (many[1] - many[0])


def test_an_interval_of_differences_and_of_equal_values() -> None:
    groups = np.repeat(np.arange(30), 3)
    same = bootstrap(np.full((90, 1), 0.7), [1], 200, groups)[1]
    assert same == pytest.approx((0.7, 0.7))
    none = bootstrap(np.full((90, 1), 0.7), [1], 200, np.zeros(90, np.int64))[1]
    assert np.isnan(none).all()
    gaps = np.random.default_rng(3).normal(-1, 1, (90, 1))
    low, high = bootstrap(gaps, [1], 2000, groups)[1]
    assert low < gaps.mean() < high < 0
    assert interval(groups, "study") == {
        "over": "studies",
        "units": 30,
        "method": "cluster bootstrap, BCa, expanded by Student's t",
        "rough": True,
    }


def test_a_search_for_other_patients_ranks_as_an_evaluation_does(tmp_path) -> None:
    """Films whose patient is known, only their study, or neither; doubles, ties, two data sets."""
    random = np.random.default_rng(8)
    vectors = random_vectors(300, 5)
    vectors[random.integers(0, 300, 150)] = vectors[random.integers(0, 20, 150)]
    rows = [
        replace(
            row,
            labels=[("a",), ("b",), ()][random.integers(3)],
            labelled=True,
            dataset=["one", "two", None][random.integers(3)],
            patient=[None, f"p{random.integers(30)}"][random.integers(2)],
            study=[None, f"s{random.integers(25)}"][random.integers(2)],
        )
        for row in make_rows(vectors)
    ]
    gallery = Gallery.create(tmp_path, STAMP)
    gallery.upsert(rows)
    films, _ = gallery.read_mirror("a test", lambda now: both_sides(now, LEAVE_ONE_OUT, None, ""))
    sides = Sides.of(films, films)
    ranked = np.concatenate([block.rows for block in by_vectors(sides, 200)])
    for query, places in [*zip(sides.queries.ids, ranked, strict=True)][::3]:
        hits = gallery.search_by_id(query, 200, other_patients=True)
        assert [hit.row.id for hit in hits] == [sides.gallery.ids[at] for at in places if at >= 0]
