"""Every measure against other libraries that define it, query by query, to 1e-6.

They are given our order as falling scores, since each breaks ties in its own way: trec_eval by name
from the end, scikit-learn and torchmetrics by the mean over a tie, or as their sort leaves it.
``test_measures.py`` compares the order itself with a short, plain program.
"""

from __future__ import annotations

import sys
import types
import warnings
from unittest import mock

import numpy as np
import pytest
import pytrec_eval
import torch
from sklearn.metrics import average_precision_score, ndcg_score
from sklearn.neighbors import KNeighborsClassifier
from torchmetrics.functional import retrieval

from store import Labelled
from store.evaluation.labelled import Sides
from store.evaluation.metrics import evaluate
from store.evaluation.per_query import by_query
from store.evaluation.relevance import Relevance
from store.evaluation.whole_ranking import whole_ranking
from tests.store import rankings
from tests.store.rows import unit

# It imports faiss.contrib.torch_utils, which replaces Index.search for the whole process by one
# that takes no search parameters: searches with a filter would fail from then on.
_NAME = "faiss.contrib.torch_utils"
with mock.patch.dict(sys.modules, {_NAME: types.ModuleType(_NAME)}):
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

DEPTHS = [1, 2, 5, 10]
RULES = ["any", "all", "jaccard", "finding=mass"]


class Case:
    """An evaluation, beside the gains of each query's candidates by a short program."""

    def __init__(self, rule: str, same: bool) -> None:
        self.queries = rankings.films(90, 7)
        self.gallery = self.queries if same else rankings.films(110, 8, prefix="g")
        self.found = by_query(self.queries, self.gallery, DEPTHS, relevance=rule)
        sides = Sides.of(self.queries, self.gallery)
        self.whole = whole_ranking(sides, Relevance(sides, rule))
        self.gains = rankings.gains(rule, self.queries, self.gallery)
        self.hits = [gains > 0 for gains in self.gains]
        graded = rule if rule.startswith("finding=") else "jaccard"
        self.graded = rankings.gains(graded, self.queries, self.gallery)

    def of(self, name: str, k: int) -> np.ndarray:
        """A measure of ours by query."""
        return self.found.measures[name][:, DEPTHS.index(k)]

    @property
    def total(self) -> np.ndarray:
        return np.asarray([hits.sum() for hits in self.hits])


@pytest.fixture(scope="module", params=[(r, s) for r in RULES for s in (True, False)], ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    made = Case(*request.param)
    rule, same = request.param
    lengths = {len(gains) for gains in made.gains}
    assert len(lengths) > 3 or not same  # patients of unequal size
    if rule in ("any", "jaccard"):
        assert not made.total.all()  # nothing to find
    assert any(not labels for labels in made.queries.labels)
    return made


def falling(gains: np.ndarray) -> np.ndarray:
    """Scores that fall along a ranking. Positive: torchmetrics drops films scored 0 or below."""
    return np.arange(len(gains), 0, -1, dtype=np.float64)


def test_scikit_learn(case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no positive class: 0, as ours
        average = [average_precision_score(h, falling(h)) for h in case.hits]
    assert case.whole.average_precision == pytest.approx(average, abs=1e-6)
    for k in DEPTHS:
        theirs = [ndcg_score([g], [falling(g)], k=k, ignore_ties=True) for g in case.graded]
        assert case.of("ndcg", k) == pytest.approx(theirs, abs=1e-6), k


def test_trec_eval(case: Case) -> None:
    cut = ",".join(map(str, DEPTHS))
    named = {f"P.{cut}", f"recall.{cut}", f"map_cut.{cut}", f"success.{cut}", "map", "Rprec"}
    names = [[f"film {at:04d}" for at in range(len(hits))] for hits in case.hits]
    truth = {
        str(q): dict(zip(films, map(int, hits), strict=True))
        for q, (films, hits) in enumerate(zip(names, case.hits, strict=True))
    }
    run = {
        str(q): dict(zip(films, falling(hits).tolist(), strict=True))
        for q, (films, hits) in enumerate(zip(names, case.hits, strict=True))
    }
    scored = pytrec_eval.RelevanceEvaluator(truth, named).evaluate(run)
    assert len(scored) == len(case.hits)  # queries with nothing to find are scored, as 0

    def theirs(name: str) -> np.ndarray:
        return np.asarray([scored[str(q)][name] for q in range(len(case.hits))])

    assert case.whole.average_precision == pytest.approx(theirs("map"), abs=1e-6)
    assert case.whole.r_precision == pytest.approx(theirs("Rprec"), abs=1e-6)
    for k in DEPTHS:
        if case.found.rule.kind != "jaccard":  # whose P@k is a mean gain
            assert case.of("precision", k) == pytest.approx(theirs(f"P_{k}"), abs=1e-6)
        assert case.of("recall", k) == pytest.approx(theirs(f"recall_{k}"), abs=1e-6)
        assert case.of("hit_rate", k) == pytest.approx(theirs(f"success_{k}"), abs=1e-6)
        # By definition they differ: trec_eval divides by all relevant films, we by at most k.
        ours = case.of("map_at", k) * np.minimum(k, case.total) / np.maximum(case.total, 1)
        assert ours == pytest.approx(theirs(f"map_cut_{k}"), abs=1e-6)
        # And it has no min(k, relevant); where that is all relevant films it is R-precision.
        few = case.total <= k
        assert case.of("bounded", k)[few] == pytest.approx(theirs("Rprec")[few], abs=1e-6)


@pytest.mark.parametrize("same", [True, False])
def test_trec_eval_where_graded_gains_are_whole(same: bool) -> None:
    """Its nDCG takes whole gains alone, as ours are under finding=NAME: 0 and 1."""
    case = Case("finding=mass", same)
    films = [[f"film {at:04d}" for at in range(len(gains))] for gains in case.graded]
    truth = {
        str(q): dict(zip(films[q], map(int, gains), strict=True))
        for q, gains in enumerate(case.graded)
    }
    run = {
        str(q): dict(zip(films[q], falling(gains).tolist(), strict=True))
        for q, gains in enumerate(case.graded)
    }
    cut = ",".join(map(str, DEPTHS))
    scored = pytrec_eval.RelevanceEvaluator(truth, {f"ndcg_cut.{cut}"}).evaluate(run)
    for k in DEPTHS:
        theirs = [scored[str(q)][f"ndcg_cut_{k}"] for q in range(len(case.graded))]
        assert case.of("ndcg", k) == pytest.approx(theirs, abs=1e-6)


def test_torchmetrics(case: Case) -> None:
    pairs = [(torch.from_numpy(falling(h)), torch.from_numpy(h)) for h in case.hits]

    def theirs(measure, **options) -> list[float]:
        return [float(measure(*pair, **options)) for pair in pairs]

    average = theirs(retrieval.retrieval_average_precision)
    assert case.whole.average_precision == pytest.approx(average, abs=1e-6)
    at_r = theirs(retrieval.retrieval_r_precision)
    assert case.whole.r_precision == pytest.approx(at_r, abs=1e-6)
    for k in DEPTHS:
        if case.found.rule.kind != "jaccard":
            precision = theirs(retrieval.retrieval_precision, top_k=k)
            assert case.of("precision", k) == pytest.approx(precision, abs=1e-6)
        recall = theirs(retrieval.retrieval_recall, top_k=k)
        assert case.of("recall", k) == pytest.approx(recall, abs=1e-6)
        hit = theirs(retrieval.retrieval_hit_rate, top_k=k)
        assert case.of("hit_rate", k) == pytest.approx(hit, abs=1e-6)
        # Their adaptive_k is min(k, candidates); min(k, relevant) is their precision at that depth.
        bounded = [
            float(retrieval.retrieval_precision(*pair, top_k=max(min(k, int(total)), 1)))
            for pair, total in zip(pairs, case.total, strict=True)
        ]
        assert case.of("bounded", k) == pytest.approx(bounded, abs=1e-6)
        # By definition they differ: they divide by the relevant films found, we by min(k, R).
        found = np.asarray([hits[:k].sum() for hits in case.hits])
        share = np.maximum(found, 1) / np.maximum(np.minimum(k, case.total), 1)
        cut = np.asarray(theirs(retrieval.retrieval_average_precision, top_k=k)) * share
        assert case.of("map_at", k) == pytest.approx(cut, abs=1e-6)
        graded = [
            float(
                retrieval.retrieval_normalized_dcg(
                    torch.from_numpy(falling(gains)), torch.from_numpy(gains), top_k=k
                )
            )
            for gains in case.graded
        ]
        assert case.of("ndcg", k) == pytest.approx(graded, abs=1e-6)


def test_torchmetrics_over_all_queries(case: Case) -> None:
    """Means, by the classes that group films by query: nothing to find counts 0 there too."""
    from torchmetrics import retrieval as classes

    index = torch.from_numpy(np.repeat(np.arange(len(case.hits)), [len(h) for h in case.hits]))
    scores = torch.from_numpy(np.concatenate([falling(h) for h in case.hits]))
    target = torch.from_numpy(np.concatenate(case.hits))
    options = {"empty_target_action": "neg"}
    average = classes.RetrievalMAP(**options)(scores, target, indexes=index)
    assert case.whole.average_precision.mean() == pytest.approx(float(average), abs=1e-6)
    recall = classes.RetrievalRecall(top_k=5, **options)(scores, target, indexes=index)
    assert case.of("recall", 5).mean() == pytest.approx(float(recall), abs=1e-6)


@pytest.mark.parametrize(("several", "by_class"), [(False, False), (True, False), (False, True)])
def test_pytorch_metric_learning(several: bool, by_class: bool) -> None:
    """It knows no patients, and leaves out queries with nothing to find where we count them as 0.

    Several findings are compared by a function of ours. Its classes are sets of findings, ours
    findings: means over them are the same where a film has one.
    """
    rows = rankings.films(80, 3, several=several, patients=False)
    order = np.argsort(rows.ids)
    places = {place: at for at, place in enumerate(order)}
    ranked = [[places[one] for one in found] for _, found in rankings.rankings(rows, rows)]
    names = sorted({name for labels in rows.labels for name in labels})
    hot = np.asarray([[name in rows.labels[at] for name in names] for at in order], np.float32)
    if not several:
        hot = hot.argmax(axis=1)[:, None]

    def shares(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        nothing = (left.sum(-1) == 0) & (right.sum(-1) == 0)
        return ((left * right).sum(-1) > 0) | nothing

    def in_our_order(query, k, reference, includes_query):
        return torch.zeros(len(order), k), torch.tensor(ranked)[:, :k]

    measured = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision"),
        avg_of_avgs=by_class,
        k=len(order) - 1,
        label_comparison_fn=shares if several else None,
        device=torch.device("cpu"),
        knn_func=in_our_order,
    ).get_accuracy(
        torch.from_numpy(rows.vectors[order]),
        torch.from_numpy(hot if several else hot[:, 0]),
        ref_includes_query=True,
    )
    found = evaluate("x", rows, rows, DEPTHS, 0)
    answered = 1 - found.nothing_to_find / found.queries
    assert (answered < 1) == several
    if by_class:
        assert found.macro["precision"][1] == pytest.approx(measured["precision_at_1"], abs=1e-6)
        return
    for name, ours in {
        "precision_at_1": found.precision[1],
        "r_precision": found.r_precision,
        "mean_average_precision": found.map,
    }.items():
        assert ours == pytest.approx(measured[name] * answered, abs=1e-6), name


@pytest.mark.parametrize("k", [1, 3, 7])
def test_votes_are_those_of_scikit_learns_classifier(k: int) -> None:
    """Of two classes and an odd k, where no vote ties: it would elect the first class by name."""
    random = np.random.default_rng(5)
    classes = random.integers(2, size=150)
    vectors = unit(random.normal(size=(150, 8)) + classes[:, None])
    labels = [("mass",) if one else () for one in classes]
    train = Labelled([f"t{at:03d}" for at in range(100)], vectors[:100], labels[:100])
    test = Labelled([f"q{at:03d}" for at in range(50)], vectors[100:], labels[100:])
    theirs = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
    theirs.fit(vectors[:100].astype(np.float64), classes[:100])
    accuracy = theirs.score(vectors[100:].astype(np.float64), classes[100:])
    found = evaluate("x", test, train, [k], 0, full_ranking=False)
    assert found.vote[k] == pytest.approx(accuracy, abs=1e-6)
    assert 0.5 < accuracy < 1
