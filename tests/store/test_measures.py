"""Measures against their definitions, one query at a time, on small sets of every kind."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from store import BadQuery, Gallery, Labelled, NothingToMeasure, Row, evaluate_vectors
from store.evaluation import measures
from store.evaluation.metrics import Evaluation, evaluate
from store.evaluation.per_query import MEASURES, by_query
from tests.store import rankings
from tests.store.rows import STAMP, make_rows, random_vectors, unit

RULES = ["any", "all", "jaccard", "finding=a"]
DOCUMENT = Path(__file__).parents[2] / "docs" / "measures.md"


def by_definition(gains, graded, same, classes, truth, k):
    """Every measure of one query at one depth, from gains of its candidates, best first."""
    hits = [gain > 0 for gain in gains]
    total = sum(hits)
    bound = min(k, total)
    discounts = [1 / math.log2(rank + 1) for rank in range(1, k + 1)]
    ideal = sum(map(math.prod, zip(sorted(graded, reverse=True), discounts, strict=False)))
    votes = Counter(classes[:k])
    winner = max(votes, key=lambda one: (votes[one], -classes.index(one))) if votes else None
    precisions = [sum(hits[: at + 1]) / (at + 1) for at in range(min(k, len(hits))) if hits[at]]
    return {
        "precision": sum(gains[:k]) / k,
        "bounded": sum(hits[:bound]) / bound if bound else 0,
        "recall": sum(hits[:k]) / total if total else 0,
        "map_at": sum(precisions) / bound if bound else 0,
        "ndcg": sum(map(math.prod, zip(graded, discounts, strict=False))) / ideal if ideal else 0,
        "exact_set": sum(same[:k]) / k,
        "vote": float(winner == truth),
        "hit_rate": float(any(hits[:k])),
    }


@st.composite
def sets(draw):
    """Films on few axes, so that most scores tie; findings a to c or none; patients or none."""
    count = draw(st.integers(3, 9))
    axes = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    labels = draw(
        st.lists(st.sets(st.sampled_from("abc"), max_size=3), min_size=count, max_size=count)
    )
    labels[0] = {*labels[0], "a"}
    of = st.lists(st.sampled_from([None, "p", "q", "r"]), min_size=count - 1, max_size=count - 1)
    patients = of.map(lambda rest: [None, *rest])  # one may find all others
    return Labelled(
        [f"{at}" for at in draw(st.permutations(range(count)))],
        np.eye(4, dtype=np.float32)[axes],
        [tuple(sorted(row)) for row in labels],
        groups=draw(st.none() | patients),
    )


@given(sets(), st.sampled_from(RULES), st.integers(1, 8))
@settings(max_examples=60)
def test_measures_of_small_sets_are_those_of_their_definitions(rows, rule, k):
    k = min(k, len(rows.ids) - 1)
    found = by_query(rows, rows, (1, k), relevance=rule)
    reduced = [("a",) if "a" in row else () for row in rows.labels]
    compared = reduced if rule == "finding=a" else rows.labels
    for at, (place, candidates) in enumerate(rankings.rankings(rows, rows)):
        mine = rows.labels[place]
        gains = [rankings.gain(rule, mine, rows.labels[one]) for one in candidates]
        graded = [rankings.gain("jaccard", compared[place], compared[one]) for one in candidates]
        same = [set(mine) == set(rows.labels[one]) for one in candidates]
        classes = [compared[one] for one in candidates]
        assert found.relevant[at] == sum(gain > 0 for gain in gains)
        assert found.candidates[at] == len(candidates)
        assert found.chance[at] == pytest.approx(np.mean(gains) if gains else 0)
        for column, depth in enumerate(found.depths):
            wanted = by_definition(gains, graded, same, classes, compared[place], depth)
            assert wanted.keys() == set(MEASURES)
            for name, value in wanted.items():
                assert found.measures[name][at, column] == pytest.approx(value), (name, depth)


@given(sets(), st.sampled_from(RULES))
@settings(max_examples=100)
def test_whole_rankings_of_small_sets_are_those_of_their_definitions(rows, rule):
    try:
        found = evaluate("x", rows, rows, (1,), 0, relevance=rule)
    except NothingToMeasure:
        assume(False)
    averages, at_r = [], []
    for gains in rankings.gains(rule, rows, rows):
        hits = gains > 0
        total = int(hits.sum())
        precisions = [hits[: at + 1].mean() for at in np.flatnonzero(hits)]
        averages.append(sum(precisions) / total if total else 0)
        at_r.append(hits[:total].mean() if total else 0)
    assert found.map == pytest.approx(np.mean(averages))
    assert found.r_precision == pytest.approx(np.mean(at_r))
    assert found.nothing_to_find == sum(not any(g > 0) for g in rankings.gains(rule, rows, rows))


@given(sets())
@settings(max_examples=100)
def test_findings_by_themselves_are_those_of_their_definitions(rows):
    found = by_query(rows, rows, (1, 2))
    columns = {name: [name in row for row in rows.labels] for name in "abc"}
    columns["no finding"] = [not row for row in rows.labels]
    for name, has in columns.items():
        asked = [
            [float(has[at]) for at in candidates]
            for place, candidates in rankings.rankings(rows, rows)
            if has[place]
        ]
        if not asked:
            assert name not in found.per_finding
            continue
        one = found.per_finding[name]
        assert (one["queries"], one["gallery"]) == (len(asked), sum(has))
        assert one["kind"] == ("no finding" if name == "no finding" else "finding")
        chance = [np.mean(hits) if hits else 0 for hits in asked]
        assert one["chance"] == pytest.approx(np.mean(chance))
        for k in (1, 2):
            wanted = [by_definition(hits, hits, hits, hits, 1, k) for hits in asked]
            for measure in ("precision", "bounded", "recall", "map_at", "hit_rate"):
                mean = np.mean([row[measure] for row in wanted])
                assert one[measure][k] == pytest.approx(mean), (name, measure, k)


def test_means_over_findings_count_each_once_and_no_finding_not() -> None:
    rows = rankings.films(80, 3)
    found = evaluate("x", rows, rows, (1, 5), 0, full_ranking=False)
    table = by_query(rows, rows, (1, 5))
    findings = sorted({name for row in rows.labels for name in row})
    per_query = [
        table.measures["bounded"][[name in row for row in table.labels], 1].mean()
        for name in findings
    ]
    assert found.macro["bounded"][5] == pytest.approx(np.mean(per_query))
    assert [*found.per_finding] == [*findings, "no finding"]
    alone = [found.per_finding[name]["precision"][5] for name in findings]
    assert found.over_findings["precision"][5] == pytest.approx(np.mean(alone))
    assert found.macro.keys() == set(MEASURES)


def test_of_one_finding_a_film_macro_and_finding_by_finding_are_one() -> None:
    rows = rankings.films(90, 5, several=False)
    found = evaluate("x", rows, rows, (1, 5), 0, full_ranking=False)
    for name in ("precision", "bounded", "recall", "map_at", "hit_rate"):
        assert found.macro[name] == pytest.approx(found.over_findings[name])
    for name, one in found.per_label.items():
        assert one["precision"] == pytest.approx(found.per_finding[name]["precision"])
    assert found.exact_set == found.precision
    assert found.bounded[1] == found.precision[1] == found.vote[1]


@pytest.mark.parametrize("rule", ["any", "all", "jaccard", "finding=mass"])
def test_a_blind_ranking_has_the_measures_that_chance_names(rule: str) -> None:
    """Vectors that know nothing, many times over."""
    base = rankings.films(60, 11)
    drawn = {"precision": [], "bounded": [], "recall": [], "ndcg": [], "exact_set": []}
    for seed in range(60):
        rows = Labelled(base.ids, random_vectors(60, seed), base.labels, groups=base.groups)
        found = evaluate("x", rows, rows, (1, 5), 0, full_ranking=False, relevance=rule)
        for name, values in drawn.items():
            values.append(getattr(found, name)[5])
    for name, values in drawn.items():
        error = np.std(values) / len(values) ** 0.5
        expected = found.baselines["random"][name][5]
        assert np.mean(values) == pytest.approx(expected, abs=4 * error), name


# -- what is relevant ------------------------------------------------------------------------------


def test_rules_are_read_and_unknown_ones_refused_with_what_there_is() -> None:
    rows = rankings.films(30, 1)
    for text in ("some", "any=x", "finding", "finding=", "FINDING=mass", ""):
        with pytest.raises(BadQuery, match="expected any, all, jaccard or finding=NAME"):
            by_query(rows, rows, (1,), relevance=text)
    with pytest.raises(BadQuery, match="no film evaluated has that finding; they have atelectasis"):
        by_query(rows, rows, (1,), relevance="finding=Mass")
    found = evaluate("x", rows, rows, (1,), 0, full_ranking=False, relevance="finding=mass")
    assert found.relevance["name"] == "finding=mass"
    assert (
        "when mass is present in it and in the query, or in neither"
        in (found.relevance["definition"])
    )


#: Findings under which every film has the full gain for every query.
CERTAIN = {
    "any": [("a", "b"), ("b", "c"), ("a", "c")] * 2,
    "all": [("a",)] * 6,
    "jaccard": [("a", "b")] * 6,
    "finding=a": [("a",), ("a", "b")] * 3,
}


@pytest.mark.parametrize("rule", RULES)
def test_what_is_certain_is_refused_under_each_rule(rule: str) -> None:
    vectors = random_vectors(6)
    for rows in (CERTAIN[rule], [()] * 6 if rule != "finding=a" else CERTAIN[rule]):
        with pytest.raises(NothingToMeasure, match="chance is 1, so Precision@k is 1 whatever"):
            evaluate_vectors(vectors, rows, k=[1], relevance=rule)
    other = [("a",), ("b",), ()] * 2
    assert evaluate_vectors(vectors, other, k=[1], relevance=rule).baselines["random"]
    with pytest.raises(NothingToMeasure, match="nothing was found in any of them"):
        evaluate_vectors(vectors, [()] * 6, k=[1])


def test_what_is_certain_among_films_of_others_is_refused() -> None:
    """Films that differ, but only from films of their own patient."""
    labels = [("a",), ("b",), ("a", "b"), ("a", "b")]
    vectors = random_vectors(4)
    with pytest.raises(NothingToMeasure, match="every film that a query may find is relevant"):
        evaluate_vectors(vectors, labels, k=[1], groups=["p", "p", "q", "r"])
    assert evaluate_vectors(vectors, labels, k=[1]).baselines["random"]["precision"][1] < 1


def test_no_finding_is_no_finding_however_it_is_written() -> None:
    vectors = random_vectors(8)
    written = evaluate_vectors(vectors, ["No Finding", "mass"] * 4, k=[1, 3])
    empty = evaluate_vectors(vectors, [(), ("mass",)] * 4, k=[1, 3])
    assert written == empty
    assert written.queries == 8
    assert [*written.per_finding] == ["mass", "no finding"]


# -- of a gallery ----------------------------------------------------------------------------------


def test_every_labelled_film_takes_part_and_others_are_counted_by_reason(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path, STAMP)
    found = [
        {"labels": ("mass",)},
        {"labels": ("mass", "edema"), "uncertain": ("effusion",)},
        {"labels": ("No Finding",)},
        {"absent": ("mass",)},
        {"uncertain": ("mass",)},
        {"labels": ("edema",), "uncertain": ("mass",)},
        {},
    ]
    vectors = random_vectors(5 * len(found))
    gallery.upsert(
        Row(f"f/{at:02d}", bytes(32), vector, split="test", **found[at % len(found)])
        for at, vector in enumerate(vectors)
    )
    whole = gallery.evaluate(k=(1, 3))
    assert (whole.queries, whole.gallery) == (25, 25)
    assert whole.left_out == {
        "not labelled": {"queries": 5, "gallery": 5},
        "only uncertain findings": {"queries": 5, "gallery": 5},
    }
    assert whole.per_finding["no finding"]["queries"] == 10
    alone = gallery.evaluate(k=(1, 3), relevance="finding=mass")
    assert (alone.queries, alone.gallery) == (20, 20)
    assert alone.left_out == {
        "not labelled": {"queries": 5, "gallery": 5},
        "uncertain: mass": {"queries": 10, "gallery": 10},
    }
    by_one = gallery.by_query(k=(1, 3), relevance="finding=mass")
    assert by_one.precision.mean(axis=0) == pytest.approx([*alone.precision.values()])
    assert set(by_one.classes) == {"mass", "not mass"}
    assert whole.as_dict()["left_out"] == whole.left_out
    with pytest.raises(BadQuery, match=r"left out: 1 only uncertain findings"):
        Gallery.create(tmp_path / "other", STAMP).upsert(
            [Row("one", bytes(32), vectors[0], split="test", uncertain=("mass",))]
        )
        Gallery.open(tmp_path / "other").evaluate(k=(1,))


def test_the_document_has_what_it_had_and_more(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path, STAMP)
    gallery.upsert(make_rows(random_vectors(30), [("a",), ("a", "b"), ("No Finding",)] * 10))
    document = gallery.evaluate(k=(1, 3), relevance="jaccard").as_dict()
    assert document["relevance"]["name"] == "jaccard"
    assert document["intervals"]["ndcg"]["3"][0] <= document["ndcg"]["3"]
    assert document["intervals"].keys() == {*MEASURES} - {"precision"}
    assert document["baselines"]["random"]["precision"]["1"] == pytest.approx(
        np.mean(gallery.by_query(k=(1,), relevance="jaccard").chance)
    )
    quick = gallery.evaluate(k=(1, 3), full_ranking=False)
    assert math.isnan(quick.r_precision) and quick.as_dict()["r_precision"] is None


def test_evaluation_ranks_as_search_does(tmp_path: Path) -> None:
    """Scores so near to each other that float32 products would rank them otherwise."""
    gallery = Gallery.create(tmp_path, STAMP)
    random = np.random.default_rng(0)
    count = 120
    vectors = unit(np.ones(STAMP.dimension) + 3e-7 * random.normal(size=(count, STAMP.dimension)))
    labels = [(str(one),) for one in random.integers(3, size=count)]
    gallery.upsert(make_rows(vectors, labels))
    averages = []
    for id_, row in gallery.rows(gallery.ids()).items():
        hits = gallery.search_by_id(id_, count - 1)
        relevant = np.asarray([hit.row.labels == row.labels for hit in hits])
        averages.append((np.cumsum(relevant) / np.arange(1, count))[relevant].mean())
    assert len({hit.score for hit in hits}) < count / 4  # most scores tie
    assert gallery.evaluate(k=(1,)).map == pytest.approx(np.mean(averages), abs=1e-12)


def test_thousands_of_kinds_are_compared_in_bounded_memory() -> None:
    import tracemalloc

    random = np.random.default_rng(0)
    names = [f"finding {at:03d}" for at in range(100)]
    count = 6000
    labels = [
        tuple(random.choice(names, random.integers(0, 6), replace=False)) for _ in range(count)
    ]
    rows = Labelled([f"{at:05d}" for at in range(count)], random_vectors(count), labels)
    tracemalloc.start()
    by_query(rows, rows, (1, 10), relevance="jaccard")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    kinds = len({frozenset(row) for row in labels})
    assert kinds > 3900
    assert peak < kinds * count * 4  # a matrix of kinds by films in float32 is more


def test_a_majority_is_the_nearest_among_the_most_frequent_and_empty_ranks_do_not_vote() -> None:
    ranked = np.asarray([[2, 1, 1, 2], [0, 1, 1, 1], [3, -1, -1, -1], [-1, -1, -1, -1]])
    assert measures.majority(ranked, 1).tolist() == [2, 0, 3, -1]
    assert measures.majority(ranked, 2).tolist() == [2, 0, 3, -1]
    assert measures.majority(ranked, 3).tolist() == [1, 1, 3, -1]
    assert measures.majority(ranked, 4).tolist() == [2, 1, 3, -1]


# -- said ------------------------------------------------------------------------------------------


def test_every_measure_is_in_the_document_with_its_key() -> None:
    text = DOCUMENT.read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    keys = {*MEASURES, "map", "r_precision", "macro", "per_finding", "over_findings"}
    assert keys <= {*Evaluation.__slots__}
    for key in sorted(keys):
        assert sum(f"`{key}`" in row.split("|")[2] for row in rows) == 1, key
    formulas = [
        one
        for name, one in inspect.getmembers(measures, inspect.isfunction)
        if one.__module__ == measures.__name__ and not name.startswith("_")
    ]
    for one in formulas:
        assert f"`{one.__name__}()`" in text, one.__name__
        assert (one.__doc__ and "20" in one.__doc__) or one is measures.majority, one.__name__
