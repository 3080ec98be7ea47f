"""Precision@k and its company against short, plain programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from store import BadQuery, Gallery, Labelled, NothingToMeasure, evaluate_vectors
from store.evaluation.metrics import evaluate
from tests.store.rows import STAMP, make_rows, random_vectors


def ten_lines(x, y, k):
    """Leave-one-out Precision@k as anyone would write it."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    s = x @ x.T
    np.fill_diagonal(s, -np.inf)
    order = np.argsort(-s, axis=1, kind="stable")[:, :k]
    return float((y[order] == y[:, None]).mean())


@settings(max_examples=15)
@given(st.integers(12, 700), st.integers(2, 4), st.integers(0, 99))
def test_the_same_as_ten_lines_of_numpy(count, classes, seed) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 16)).astype(np.float32)
    y = random.integers(classes, size=count)
    found = evaluate_vectors(x, y)
    for k in (1, 3, 5, 10):
        assert found.precision[k] == pytest.approx(ten_lines(x, y, k), abs=5e-5)


def slow(queries: Labelled, gallery: Labelled, k: int):
    """Precision, hit, vote and average precision, one query at a time."""
    rows = []
    for id_, vector, labels in zip(queries.ids, queries.vectors, queries.labels, strict=True):
        scores = gallery.vectors @ vector
        ranked = sorted(
            (i for i, other in enumerate(gallery.ids) if other != id_),
            key=lambda i: (-scores[i], gallery.ids[i]),
        )
        relevant = [bool(set(labels) & set(gallery.labels[i])) for i in ranked]
        found = np.flatnonzero(relevant)
        precision_at = [sum(relevant[: i + 1]) / (i + 1) for i in found]
        votes = [gallery.labels[i][0] for i in ranked[:k]]
        winner = max(dict.fromkeys(votes), key=votes.count)
        rows.append(
            (
                sum(relevant[:k]) / k,
                any(relevant[:k]),
                winner == labels[0],
                np.mean(precision_at) if precision_at else np.nan,
                np.mean(relevant),
            )
        )
    return np.nanmean(np.asarray(rows, float), axis=0)


@pytest.mark.parametrize("same", [True, False])
def test_every_measure_against_a_slow_one(same: bool) -> None:
    random = np.random.default_rng(4)
    names = np.asarray(["a", "b", "c"])

    def some(count: int, prefix: str, seed: int) -> Labelled:
        return Labelled(
            [f"{prefix}{i}" for i in range(count)],
            random_vectors(count, seed),
            [(str(names[j]),) for j in random.integers(3, size=count)],
        )

    queries = some(60, "q", 1)
    gallery = queries if same else some(90, "g", 2)
    found = evaluate("x", queries, gallery, [1, 3, 4])
    for k in (1, 3, 4):
        precision, hit, vote, average, chance = slow(queries, gallery, k)
        assert found.precision[k] == pytest.approx(precision)
        assert found.hit_rate[k] == pytest.approx(hit)
        assert found.vote[k] == pytest.approx(vote)
        assert found.map == pytest.approx(average)
        assert found.baselines["random"]["precision"][k] == pytest.approx(chance)
    quick = evaluate("x", queries, gallery, [1, 3, 4], full_ranking=False)
    assert (quick.precision, quick.vote) == (found.precision, found.vote)
    assert (quick.hit_rate, quick.ci95) == (found.hit_rate, found.ci95)
    assert quick.baselines == found.baselines
    assert quick.as_dict()["map"] is None
    per_label = found.per_label
    weighted = sum(p["queries"] * p["precision"][3] for p in per_label.values()) / 60
    assert weighted == pytest.approx(found.precision[3])


def test_a_double_is_not_mistaken_for_the_query() -> None:
    # Rank 0 is not always the query: its double may tie with it.
    x = np.repeat(np.eye(4, 8, dtype=np.float32), 2, axis=0)
    found = evaluate_vectors(x, ["a", "a", "b", "b", "c", "c", "d", "d"], k=[1])
    assert found.precision[1] == 1.0
    crossed = evaluate_vectors(x, ["a", "b", "a", "b", "a", "b", "a", "b"], k=[1])
    assert crossed.precision[1] == 0.0


@settings(max_examples=8)
@given(st.integers(0, 99), st.sampled_from([1, 2]), st.booleans())
def test_equal_vectors_rank_by_id_whatever_blas_rounds(seed, threads, full) -> None:
    random = np.random.default_rng(seed)
    vectors = random_vectors(611, seed)
    vectors[5::9] = vectors[2]
    vectors[7::50] = vectors[3]
    labels = [(str(label),) for label in random.integers(3, size=len(vectors))]
    rows = Labelled([f"{i:03d}" for i in range(len(vectors))], vectors, labels)
    with threadpool_limits(threads):
        found = evaluate("x", rows, rows, (1, 5, 100), resamples=0, full_ranking=full)
    firsts = np.arange(len(vectors))
    firsts[5::9], firsts[7::50] = 2, 3
    wide = vectors.astype(np.float64)
    scores = (wide @ wide.T)[:, firsts]
    np.fill_diagonal(scores, -9)
    order = np.argsort(-scores, axis=1, kind="stable")
    names = np.asarray([label for (label,) in labels])
    right = names[order] == names[:, None]
    for k in (1, 5, 100):
        assert found.precision[k] == pytest.approx(right[:, :k].mean(), abs=1e-12)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=3, max_size=9), st.data())
def test_equal_scores_rank_by_id_also_of_different_vectors(rows, data) -> None:
    """Unit axes: every score is exactly 0 or 1, so most rows tie."""
    count = data.draw(st.integers(1, len(rows) - 1))
    vectors = np.eye(4, dtype=np.float32)[[axis for axis, _ in rows]]
    labels = [(str(label),) for _, label in rows]
    assume(len(set(labels)) > 1)  # else chance is 1
    same = Labelled([f"{i}" for i in range(len(rows))], vectors, labels)
    whole, top = (
        evaluate("x", same, same, (count,), resamples=0, full_ranking=full)
        for full in (True, False)
    )
    assert whole.precision == top.precision == {count: pytest.approx(slow(same, same, count)[0])}


def test_labels_that_overlap_are_relevant() -> None:
    rows = Labelled(
        ["1", "2", "3"],
        random_vectors(3),
        [("a", "b"), ("b",), ("c",)],
    )
    found = evaluate("x", rows, rows, [2])
    assert found.precision[2] == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert found.vote == {2: 0}  # the class is the whole set of findings, and each has its own
    assert found.per_label["a"] == {"queries": 1, "precision": {2: 0.5}}
    assert evaluate("x", rows, rows, [2], full_ranking=False).precision == found.precision


def test_intervals_hold_the_mean_and_shrink_with_queries() -> None:
    random = np.random.default_rng(0)

    def width(count: int) -> float:
        x, y = random.normal(size=(count, 8)), random.integers(2, size=count)
        found = evaluate_vectors(x, y)
        low, high = found.ci95[1]
        assert low < found.precision[1] < high
        # The normal approximation is close for a share near one half.
        expected = 3.92 * (found.precision[1] * (1 - found.precision[1]) / count) ** 0.5
        assert high - low == pytest.approx(expected, rel=0.15)
        return high - low

    assert width(1600) < 0.7 * width(400)


def test_refusals() -> None:
    x, y = random_vectors(6), ["a", "b"] * 3
    for k in ([0], [6], [], [-1]):
        with pytest.raises(BadQuery, match="expected depths from 1 to 5"):
            evaluate_vectors(x, y, k=k)
    with pytest.raises(BadQuery, match="6 ids, 6 vectors and 5 label"):
        evaluate_vectors(x, y[:5])
    with pytest.raises(BadQuery, match="unique"):
        evaluate_vectors(x, y, ids=["same"] * 6)
    with pytest.raises(BadQuery, match="finite"):
        evaluate_vectors(x * np.nan, y)
    with pytest.raises(BadQuery, match="vector 2 is zero"):
        evaluate_vectors(np.where(np.arange(6)[:, None] == 2, 0, x), y)


def test_a_gallery_measures_both_protocols_beside_its_floors(tmp_path) -> None:
    gallery = Gallery.create(tmp_path, STAMP)
    test, train = random_vectors(40, 1), random_vectors(60, 2)
    gallery.upsert(make_rows(test))
    gallery.upsert(make_rows(train, prefix="set/train/", split="train"))
    gallery.upsert(make_rows(random_vectors(5, 3), [()] * 5, prefix="bare/test/"))
    asked: list[int] = []

    def constant(pictures: list[bytes]):
        asked.append(len(pictures))
        return random_vectors(len(pictures), 7)

    loo = gallery.evaluate(baselines={"raw_pixels": constant})
    assert (loo.queries, loo.gallery) == (40, 40)  # rows without a label take no part
    labels = np.asarray([i % 2 for i in range(40)])
    order = sorted(range(40), key=lambda i: f"set/test/{i}")
    assert loo.precision[3] == pytest.approx(ten_lines(test[order], labels[order], 3))
    split = gallery.evaluate("split", baselines={"raw_pixels": constant})
    assert (split.queries, split.gallery) == (40, 60)
    assert asked == [40, 40, 60]
    document = split.as_dict()
    assert set(document) == {
        "protocol", "queries", "gallery", "precision", "ci95", "per_label", "map", "vote",
        "hit_rate", "baselines", "store", "relevance", "left_out", "nothing_to_find", "short",
        "bounded", "recall", "r_precision", "map_at", "ndcg", "exact_set", "macro", "per_finding",
        "over_findings", "intervals", "excluded", "patients", "interval",
    }  # fmt: skip
    assert set(document["precision"]) == {"1", "3", "5", "10"}
    assert document["baselines"].keys() == {"random", "raw_pixels"}
    assert document["store"]["encoder"] == "tiny"
    assert gallery.evaluate(split=None).queries == 100
    assert gallery.evaluate(dataset="set").queries == 40
    for wrong in (
        {"protocol": "loo"},
        {"split": "nowhere"},
        {"protocol": "split", "split": "train"},
        {"dataset": "nowhere"},
    ):
        with pytest.raises(BadQuery):
            gallery.evaluate(**wrong)


@pytest.mark.parametrize("protocol", ["leave-one-out", "split"])
def test_an_evaluation_is_the_mean_of_its_queries_and_says_how_far_it_is(tmp_path, protocol):
    gallery = Gallery.create(tmp_path, STAMP)
    gallery.upsert(make_rows(random_vectors(40, 1)))
    gallery.upsert(make_rows(random_vectors(60, 2), prefix="set/train/", split="train"))
    progress: list[tuple[int, int]] = []
    found = gallery.evaluate(protocol, [1, 3], progress=lambda *at: progress.append(at))
    assert progress[-1] == (40, 40)
    table = gallery.by_query(protocol, [1, 3])
    assert table.ids == sorted(table.ids) and len(table.ids) == found.queries
    assert table.gallery == found.gallery
    for column, depth in enumerate(table.depths):
        assert found.precision[depth] == pytest.approx(table.precision[:, column].mean())
        assert found.hit_rate[depth] == (table.precision[:, column] > 0).mean()
        votes = [v == label for v, (label,) in zip(table.votes[depth], table.labels, strict=True)]
        assert found.vote[depth] == np.mean(votes)
    assert found.baselines["random"]["precision"][1] == table.chance.mean()


def test_the_order_of_rows_changes_nothing_to_the_last_bit() -> None:
    random = np.random.default_rng(2)
    vectors, labels = random_vectors(157, 3), [(str(x),) for x in random.integers(3, size=157)]
    ids = [f"row/{i}" for i in range(157)]
    shuffled = random.permutation(157)
    one = Labelled(ids, vectors, labels)
    other = Labelled([ids[i] for i in shuffled], vectors[shuffled], [labels[i] for i in shuffled])
    assert evaluate("x", one, one).as_dict() == evaluate("x", other, other).as_dict()


# -- where chance is 1 -----------------------------------------------------------------------------

#: Labels under which every film shares a label with every other.
CERTAIN = {
    "one label": [("pneumonia",)] * 12,
    "one of several": [("pneumonia",), ("pneumonia", "effusion")] * 6,
    "in pairs": [("a", "b"), ("b", "c"), ("a", "c")] * 4,
}


@pytest.mark.parametrize("labels", CERTAIN.values(), ids=CERTAIN)
def test_an_evaluation_in_which_chance_is_1_is_refused(labels: list[tuple[str, ...]]) -> None:
    with pytest.raises(NothingToMeasure, match="chance is 1, so Precision@k is 1 whatever"):
        evaluate_vectors(random_vectors(12), labels, k=[1, 3])
    apart = [*labels[:-1], ("normal",)]
    found = evaluate_vectors(random_vectors(12), apart, k=[1, 3])
    assert found.baselines["random"]["precision"][1] < 1


def test_chance_is_1_between_splits(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path, STAMP)
    two = [("pneumonia",), ("normal",)] * 3
    gallery.upsert(make_rows(random_vectors(6), [("pneumonia",)] * 6, "set/test/"))
    gallery.upsert(
        make_rows(random_vectors(6, 1), [("pneumonia",)] * 6, "set/train/", split="train")
    )
    gallery.upsert(make_rows(random_vectors(6, 2), two, "set/val/", split="val"))
    gallery.refresh()
    for protocol, searched in (("leave-one-out", "train"), ("split", "train")):
        with pytest.raises(NothingToMeasure, match="the label 'pneumonia' is on all of them"):
            gallery.evaluate(protocol, [1], split="test", gallery_split=searched)
    assert gallery.evaluate("split", [1], split="test", gallery_split="val").precision[1] < 1
    assert gallery.evaluate("leave-one-out", [1], split=None).queries == 18


@given(st.lists(st.sets(st.sampled_from("abc"), min_size=1), min_size=2, max_size=7))
def test_refused_exactly_where_chance_is_1(labels: list[set[str]]) -> None:
    chance = [
        np.mean([bool(one & other) for j, other in enumerate(labels) if j != i])
        for i, one in enumerate(labels)
    ]
    rows = [tuple(sorted(one)) for one in labels]
    if min(chance) == 1:
        with pytest.raises(NothingToMeasure):
            evaluate_vectors(random_vectors(len(rows)), rows, k=[1])
    else:
        evaluate_vectors(random_vectors(len(rows)), rows, k=[1])
