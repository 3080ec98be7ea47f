"""Similarity of films to a sentence for each label, with P@1 and AUROC."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import BadQuery, Gallery, Where, similarities
from store.analysis.zero_shot import auroc
from tests.store.rows import STAMP, make_rows, unit

AXES = np.eye(3, dtype=np.float32)
FLAT = replace(STAMP, dimension=3)


@settings(max_examples=60)
@given(
    drawn=st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=20),
)
def test_auroc_is_the_share_of_pairs_in_order(drawn: list[tuple[int, bool]]) -> None:
    yes, no = ([score for score, kind in drawn if kind is which] for which in (True, False))
    found = auroc(*zip(*drawn, strict=True))
    if not yes or not no:
        assert found is None
        return
    pairs = [(a > b) + (a == b) / 2 for a in yes for b in no]
    assert found == pytest.approx(np.mean(pairs))


def test_auroc_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    scores, kinds = random.integers(0, 40, 300) / 40, random.random(300) < 0.3
    assert auroc(scores, kinds) == pytest.approx(metrics.roc_auc_score(kinds, scores), abs=1e-12)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """Films near the first and second axis; the last is on neither side of anything."""
    vectors = unit(np.array([[1, 0.1, 0], [1, 0.9, 0], [0.2, 1, 0], [0.9, 1, 0.1], [1, 0, 0]]))
    labels = [("Mass",), ("mass", "edema"), ("edema",), ("mass",), ()]
    made = Gallery.create(tmp_path / "g", FLAT)
    made.upsert(make_rows(vectors.astype(np.float32), labels))
    return made


def test_similarities_and_how_right_they_are(gallery: Gallery) -> None:
    found = similarities(gallery, ["mass", "edema", "fracture"], AXES)
    assert [row.id for row in found.rows] == gallery.ids()
    np.testing.assert_allclose(found.cosines, gallery.vectors(gallery.ids()), atol=1e-6)
    assert found.nearest.tolist() == [0, 0, 1, 1, 0]
    assert found.judged == 4 and found.precision_at_1 == 0.75
    mass, edema, fracture = found.by_label.values()
    assert (mass.films, mass.others, mass.precision_at_1) == (3, 1, pytest.approx(2 / 3))
    assert mass.auroc == 1.0
    # Edema: films 1 and 2 against 0 and 3; the fourth is nearer to it than the second.
    assert (edema.films, edema.others, edema.precision_at_1) == (2, 2, 1.0)
    assert edema.auroc == pytest.approx(0.75)
    assert (fracture.films, fracture.others) == (0, 4)
    assert fracture.precision_at_1 is None and fracture.auroc is None
    few = similarities(gallery, ["mass", "edema"], AXES[:2], Where(label=("edema",)))
    assert [row.labels for row in few.rows] == [("mass", "edema"), ("edema",)]
    alone = similarities(gallery, ["mass"], AXES[:1])
    assert alone.precision_at_1 is None and alone.by_label["mass"].auroc == 1.0


def test_films_that_say_nothing_of_a_label(tmp_path: Path) -> None:
    made = Gallery.create(tmp_path / "g", FLAT)
    rows = make_rows(AXES[[0, 0, 1, 1]], [("mass",), (), (), ()])
    rows[1] = replace(rows[1], uncertain=("Mass",))
    rows[2] = replace(rows[2], absent=("mass",))
    rows[3] = replace(rows[3], labels=("No Finding",))
    made.upsert(rows)
    found = similarities(made, ["mass", "no finding"], AXES[:2])
    assert (found.by_label["mass"].films, found.by_label["mass"].others) == (1, 2)
    assert found.by_label["no finding"].films == 2 and found.precision_at_1 == 1.0


def test_what_makes_no_sense(gallery: Gallery) -> None:
    for names in ([], ["mass", "Mass", "x"], ["mass", "", "x"], ["mass"]):
        with pytest.raises(BadQuery, match="each once"):
            similarities(gallery, names, AXES)
    with pytest.raises(BadQuery, match="no film"):
        similarities(gallery, ["a", "b", "c"], AXES, Where(label=("none",)))
