"""Effect of curation on Precision@k: the same figures as two whole evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store import Correction, Curation, Gallery, Where, bootstrap, effect, effect_sentence
from store.evaluation.intervals import bootstraps
from tests.store.rows import STAMP, make_rows, random_vectors

COUNT = 60


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    found = Gallery.create(tmp_path / "g", STAMP)
    rows = make_rows(random_vectors(COUNT), prefix="a/", split="train")
    rows += make_rows(random_vectors(COUNT, seed=1), prefix="b/", split="test", patient=None)
    named = [
        r if at % 7 else type(r)(**{n: getattr(r, n) for n in NAMES} | {"patient": f"p{at % 3}"})
        for at, r in enumerate(rows)
    ]
    found.upsert(named)
    found.refresh()
    return found


NAMES = ("id", "sha256", "embedding", "labels", "split", "dataset", "thumbnail")
K = (1, 3, 5)


def table(gallery: Gallery, protocol: str) -> dict[str, Any]:
    split = "test" if protocol == "split" else None
    found = Gallery.open(gallery.uri).by_query(protocol, K, split=split)
    return dict(zip(found.ids, found.precision, strict=True))


def relabel(c: Curation) -> Any:
    return c.label(Where(split=("test",), label=("normal",)), Correction.of(["mass"]))


STEPS = {
    "labels": relabel,
    "few labels": lambda c: c.label(["a/1", "b/2"], Correction.of(["normal"])),
    "labelled no more": lambda c: c.label(["a/1", "a/2"], Correction.of(unlabelled=True)),
    "excluded": lambda c: c.exclude([f"a/{n}" for n in range(0, COUNT, 2)]),
    "deleted": lambda c: c.delete(["a/0", "b/0", "b/7"]),
}


@pytest.mark.parametrize("name", STEPS)
def test_it_is_that_of_two_evaluations(name: str, gallery: Gallery) -> None:
    before = {one: table(gallery, one) for one in ("leave-one-out", "split")}
    done = STEPS[name](gallery.curation("ann"))
    gallery.refresh()
    found = {one.protocol: one for one in effect(gallery, [done.operation.id], K)}
    assert list(found) == ["leave-one-out", "split"]
    for protocol, one in found.items():
        now = table(gallery, protocol)
        both = sorted(before[protocol].keys() & now.keys())
        assert one.queries == len(both)
        gap = np.stack([now[id_] - before[protocol][id_] for id_ in both])
        assert [*one.difference.values()] == pytest.approx(gap.mean(axis=0).tolist(), abs=1e-12)
        assert [*one.after.values()] == pytest.approx(
            np.stack([now[id_] for id_ in both]).mean(axis=0).tolist()
        )
        assert one.better[5] == (gap[:, 2] > 1e-9).sum()
        low, high = one.ci95[5]
        assert low - 1e-9 <= one.difference[5] <= high + 1e-9
    if name == "few labels":
        back = gallery.curation("ann").undo(done.operation.id)
        gallery.refresh()
        [again, _] = effect(gallery, [back.operation.id], K)
        assert again.difference == pytest.approx(
            {k: -value for k, value in found["leave-one-out"].difference.items()}
        )
        both = [done.operation.id, back.operation.id]
        assert effect(gallery, both, K) == []


def test_more_films_leave_than_are_ranked_to_spare(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.analysis.effect.TOGETHER", 5)
    before = table(gallery, "leave-one-out")
    curation = gallery.curation("ann")
    done = curation.exclude([f"b/{n}" for n in range(40)])
    gallery.refresh()
    one = effect(gallery, [done.operation.id], K)[0]
    now = table(gallery, "leave-one-out")
    gap = np.stack([now[id_] - before[id_] for id_ in now])
    assert [*one.difference.values()] == pytest.approx(gap.mean(axis=0).tolist())
    assert one.gallery == (2 * COUNT, 2 * COUNT - 40)


def test_tags_have_no_effect(gallery: Gallery) -> None:
    done = gallery.curation("ann").tag(["a/1"], ["teach"])
    assert done.operation is not None
    assert effect(gallery, [done.operation.id]) == []


def test_the_sentence(gallery: Gallery) -> None:
    done = relabel(gallery.curation("ann"))
    gallery.refresh()
    one = effect(gallery, [done.operation.id])[0]
    low, high = one.ci95[5]
    said = effect_sentence(one)
    assert said.startswith(f"P@5 {one.difference[5]:+.3f}".replace("0.", "."))
    assert said.endswith(f"[{low:.3f}, {high:.3f}]".replace("0.", "."))
    assert one.as_dict()["ci95"]["5"] == [low, high]


@pytest.mark.parametrize("sizes", [None, (1, 2, 3)])
def test_groups_drawn_together_are_the_same_bootstrap(sizes: Sequence[int] | None) -> None:
    rng = np.random.default_rng(3)
    groups = None
    if sizes:
        groups = np.repeat(np.arange(300), rng.choice(sizes, 300))
    values = np.zeros((900 if groups is None else len(groups), 1))
    values[rng.integers(0, len(values), 60)] = 0.2
    low, high = bootstrap(values, [5], 4000, groups)[5]
    [[(quick_low, quick_high)]] = bootstraps([values], 4000, groups, together=True)
    assert (quick_low, quick_high) == pytest.approx((low, high), abs=0.1 * (high - low))
