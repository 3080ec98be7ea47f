"""Risk and coverage, packs of papers, other prevalences: against plain counting."""

from __future__ import annotations

from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import (
    BadQuery,
    Gallery,
    NothingToMeasure,
    UsageError,
    Where,
    at_prevalence,
    measure_pack,
    pack_names,
    parse_prevalence,
    risk_coverage,
    selective,
)
from tests.store.rows import STAMP, make_rows, random_vectors, unit

SETTINGS = settings(max_examples=60)
FEW = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.25, 0.5, 1.0])), min_size=1, max_size=6
)


def split_gallery(
    folder: Path, films: int = 240, clear: float = 1.2, both: bool = False, **more: object
) -> Gallery:
    """Films of two kinds, or of both at once, in three splits; hard ones are in the middle."""
    random = np.random.default_rng(5)
    gallery = Gallery.create(folder, STAMP)
    kinds = random.integers(0, 2, films)
    vectors = random.normal(size=(films, STAMP.dimension))
    vectors[:, 0] += clear * (2 * kinds - 1) * random.uniform(0.1, 3, films)
    labels = [("pneumonia",) if kind else ("normal",) for kind in kinds]
    if both:  # every fourth film has another finding beside
        labels = [(*one, "mass") if at % 4 == 1 else one for at, one in enumerate(labels)]
    names = ["train", "val", "test"]
    for at, name in enumerate(names):
        mine = [place for place in range(films) if place % 3 == at]
        rows = make_rows(
            unit(vectors[mine]), [labels[i] for i in mine], prefix=f"{name}/", split=name, **more
        )
        gallery.upsert(rows)
    return gallery


@SETTINGS
@given(FEW)
def test_a_curve_is_the_mean_over_all_orders_of_equal_signs(pairs):
    sign, risk = (np.asarray(one, float) for one in zip(*pairs, strict=True))
    orders = [
        order
        for order in permutations(range(len(sign)))
        if all(sign[a] >= sign[b] for a, b in pairwise(order))
    ]
    curves = [np.cumsum(risk[list(order)]) / np.arange(1, len(sign) + 1) for order in orders]
    found = risk_coverage(sign, risk)
    np.testing.assert_allclose(found.risk, np.mean(curves, axis=0), atol=1e-12)
    assert found.aurc == pytest.approx(np.mean(curves))
    assert found.best - 1e-12 <= found.aurc
    assert found.chance == pytest.approx(risk.mean())
    assert found.coverage[-1] == 1 and found.risk[-1] == pytest.approx(risk.mean())


def test_the_ends_of_a_curve():
    risk = np.asarray([0, 0, 1, 1], float)
    assert risk_coverage(-risk, risk).aurc == risk_coverage(-risk, risk).best
    assert risk_coverage([1, 1, 1, 1], risk).aurc == pytest.approx(0.5)
    for sign, wrong in (([1], [1, 2]), ([], []), ([np.nan], [0.0])):
        with pytest.raises(BadQuery):
            risk_coverage(sign, wrong)


def test_rules_are_chosen_on_one_split_and_hold_on_another(tmp_path):
    gallery = split_gallery(tmp_path / "g", 900)
    found = selective(gallery, 5)
    assert (found.chosen_on, found.reported_on) == ("val", "test")
    whole = gallery.by_query("split", (5,), split="test").precision[:, 0]
    assert found.precision == pytest.approx(whole.mean())
    assert found.curves["neighbours agree"].aurc < found.curves["neighbours agree"].chance
    rule = found.rules["neighbours agree"]
    assert rule.below is not None
    assert rule.chosen["precision"] >= rule.wanted - 1e-9
    # By plain counting, on the test queries.
    kept = [
        at
        for at, id_ in enumerate(sorted(id_ for id_ in gallery.ids() if id_.startswith("test/")))
        if agreement(gallery, id_) >= rule.below
    ]
    assert rule.reported["coverage"] == pytest.approx(len(kept) / len(whole))
    assert rule.reported["precision"] == pytest.approx(whole[kept].mean())
    low, high = rule.reported["ci95"]
    assert low <= rule.reported["precision"] <= high


def test_films_of_several_findings_vote_by_their_whole_sets(tmp_path):
    gallery = split_gallery(tmp_path / "g", both=True)
    found = selective(gallery, 5, choose_on="val")
    whole = gallery.by_query("split", (5,), split="test")
    ids = sorted(id_ for id_ in gallery.ids() if id_.startswith("test/"))
    assert list(found.curves) == list(found.vote_curves) == ["nearest film", "neighbours agree"]
    agree = [agreement(gallery, id_) for id_ in ids]
    curve = risk_coverage(agree, 1 - whole.precision[:, 0])
    assert found.curves["neighbours agree"].aurc == pytest.approx(curve.aurc)
    wrong = 1 - gallery.evaluate("split", (5,), split="test").vote[5]
    assert found.vote_curves["neighbours agree"].chance == pytest.approx(wrong)


def agreement(gallery, id_):
    hits = gallery.search(gallery.vectors([id_]), 5, Where(split=("train",)))[0]
    labels = [hit.row.labels for hit in hits]
    return max(labels.count(one) for one in labels) / 5


def test_a_precision_out_of_reach_and_one_that_is_there_anyway(tmp_path):
    gallery = split_gallery(tmp_path / "g", clear=0)
    assert selective(gallery, 5, wanted=1.0).rules["nearest film"].below is None
    easy = selective(gallery, 5, wanted=0.01).rules["nearest film"]
    assert easy.reported["coverage"] > 0.95
    with pytest.raises(BadQuery, match="wanted"):
        selective(gallery, 5, wanted=1.5)


def test_without_a_choosing_split_patients_are_halved(tmp_path):
    gallery = split_gallery(tmp_path / "g")
    found = selective(gallery, 3, choose_on=None)
    assert found.choosing + found.queries == 80
    assert "by patient" in found.chosen_on
    one = split_gallery(tmp_path / "one", patient="p", dataset="d")
    with pytest.raises(NothingToMeasure):
        selective(one, 3, choose_on=None)


def test_a_document_of_plain_types(tmp_path):
    document = selective(split_gallery(tmp_path / "g"), 3).as_dict()
    curve = document["curves"]["nearest film"]
    assert len(curve["coverage"]) == len(curve["risk"]) <= 101
    assert curve["coverage"][-1] == 1


# -- packs ------------------------------------------------------------------------------------


def test_a_pack_by_plain_counting(tmp_path):
    gallery = split_gallery(tmp_path / "g", dataset="pneumoniamnist", width=28, height=28)
    found = measure_pack(gallery, "mahbod")
    first, vote, average = [], [], []
    for id_ in sorted(one for one in gallery.ids() if one.startswith("test/")):
        own = gallery.row(id_).labels
        hits = gallery.search(gallery.vectors([id_]), 5, Where(split=("train",)))[0]
        right = [hit.row.labels == own for hit in hits]
        first.append(right[0])
        vote.append(sum(right) >= 3)  # of two classes, five votes never tie
        at = [sum(right[: i + 1]) / (i + 1) for i in range(5) if right[i]]
        average.append(np.mean(at) if at else 0)
    assert found.values == pytest.approx([np.mean(first), np.mean(vote), np.mean(average)])
    assert (found.queries, found.gallery, found.pixels) == (80, 80, 28)
    assert {one.dataset for one in found.published} == {"pneumoniamnist"}


def test_every_pack_can_be_read_and_others_are_named(tmp_path):
    gallery = split_gallery(tmp_path / "g", dataset="pneumoniamnist")
    for name in pack_names():
        assert measure_pack(gallery, name).published
    with pytest.raises(UsageError, match="mahbod"):
        measure_pack(gallery, "nobody")
    other = split_gallery(tmp_path / "other", dataset="mine")
    with pytest.raises(UsageError, match="none of them"):
        measure_pack(other, "mahbod")


# -- prevalence ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """100 films, 40 of them with a mass."""
    gallery = Gallery.create(tmp_path_factory.mktemp("uneven") / "g", STAMP)
    gallery.upsert(make_rows(random_vectors(100), [("mass",)] * 40 + [("normal",)] * 60))
    return gallery


@SETTINGS
@given(prevalence=st.floats(0.02, 0.9))
def test_a_drawn_gallery_has_the_prevalence(uneven, prevalence):
    found = at_prevalence(uneven, "mass", prevalence, k=(1,), split=None, repeats=1)
    assert found.positive == 40 or found.gallery - found.positive == 60
    assert abs(found.positive / found.gallery - prevalence) <= 0.51 / found.gallery


def test_chance_follows_the_prevalence_and_runs_are_alike(tmp_path):
    gallery = split_gallery(tmp_path / "g", clear=0)
    asked = {"protocol": "split", "k": (1, 5), "repeats": 30}
    found = at_prevalence(gallery, "pneumonia", 0.1, **asked)
    again = at_prevalence(gallery, "pneumonia", 0.1, **asked)
    assert found.as_dict() == again.as_dict()
    # Vectors that tell nothing: a query with pneumonia finds it as often as it occurs.
    spread = found.per_label["pneumonia"][5]
    assert spread["mean"] == pytest.approx(0.1, abs=0.05)
    assert spread["least"] <= spread["mean"] <= spread["greatest"]


def test_prevalences_that_cannot_be_drawn(tmp_path):
    gallery = split_gallery(tmp_path / "g", 60)
    with pytest.raises(BadQuery, match=r"no film .* 'nothing'; they have normal, pneumonia$"):
        at_prevalence(gallery, "nothing", 0.1, "split")
    for misspelt in ("Pneumonia", "pnuemonia"):
        with pytest.raises(BadQuery, match=r"they have .*; did you mean 'pneumonia'\?$"):
            at_prevalence(gallery, misspelt, 0.1, "split")
    many = Gallery.create(tmp_path / "many", STAMP)
    many.upsert(make_rows(random_vectors(40), [(f"finding {at:02}",) for at in range(40)]))
    with pytest.raises(BadQuery, match=r"finding 09 and 30 more; did you mean 'finding 39'\?$"):
        at_prevalence(many, "FINDING 39", 0.1, split=None)
    with pytest.raises(BadQuery, match="would be left"):
        at_prevalence(gallery, "pneumonia", 0.001, "split")
    for text in ("pneumonia", "=.1", "pneumonia=2", "pneumonia=0", "pneumonia=x"):
        with pytest.raises(UsageError, match="--prevalence"):
            parse_prevalence(text)
    assert parse_prevalence("a=b=.25") == ("a=b", 0.25)
