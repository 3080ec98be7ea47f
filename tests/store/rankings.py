"""Labelled films for tests of evaluations; rankings and gains by short, plain programs."""

from __future__ import annotations

import numpy as np

from store import Labelled
from tests.store.rows import unit

FINDINGS = ["atelectasis", "edema", "effusion", "mass", "pneumonia"]


def films(
    count: int, seed: int, *, several: bool = True, patients: bool = True, prefix: str = "f"
) -> Labelled:
    """Films whose vectors lie on a coarse grid, so that many scores tie, some films being equal.

    Of several findings a film may also have none, and one film alone has a rare finding. Patients
    have one to a dozen films, some films have no known patient.
    """
    random = np.random.default_rng(seed)
    vectors = unit(
        random.integers(-1, 2, (count, 6)) + 2 * np.eye(6)[random.integers(6, size=count)]
    )
    if several:
        sizes = random.choice(4, count, p=[0.25, 0.4, 0.25, 0.1])
        labels = [tuple(random.choice(FINDINGS, size, replace=False)) for size in sizes]
        labels[int(random.integers(count))] = (f"rare of {prefix}",)
    else:
        labels = [(name,) for name in random.choice(FINDINGS[:3], count)]
    labels = [tuple(map(str, row)) for row in labels]
    share = random.dirichlet(np.full(max(count // 5, 2), 0.4))
    of = random.choice(len(share), count, p=share)
    groups = [None if random.random() < 0.1 else f"patient {one}" for one in of]
    return Labelled(
        [f"{prefix}{at:04d}" for at in random.permutation(count)],
        vectors,
        labels,
        groups=groups if patients else None,
        group_kind="patient" if patients else "film",
    )


def gain(rule: str, asked: tuple[str, ...], found: tuple[str, ...]) -> float:
    """The gain of a film with these findings for a query with those."""
    a, b = set(asked), set(found)
    if rule.startswith("finding="):
        name = rule.removeprefix("finding=")
        return float((name in a) == (name in b))
    if rule == "all":
        return float(a <= b) if a else float(not b)
    if rule == "any":
        return float(bool(a & b)) if a else float(not b)
    return len(a & b) / len(a | b) if a | b else 1.0


def rankings(queries: Labelled, gallery: Labelled) -> list[tuple[int, list[int]]]:
    """Of each query, in id order: its place, and the places of its candidates, best first.

    As a search ranks: products in float64, rounded to float32, equal ones by id.
    """
    wide = gallery.vectors.astype(np.float64)
    found = []
    for place in sorted(range(len(queries.ids)), key=queries.ids.__getitem__):
        scores = (wide * queries.vectors[place].astype(np.float64)).sum(axis=1).clip(-1, 1)
        rounded = scores.astype(np.float32)
        mine = queries.groups[place] if queries.groups else None
        candidates = [
            other
            for other, id_ in enumerate(gallery.ids)
            if id_ != queries.ids[place]
            and (mine is None or gallery.groups is None or gallery.groups[other] != mine)
        ]
        candidates.sort(key=lambda at: (-rounded[at], gallery.ids[at]))
        found.append((place, candidates))
    return found


def gains(rule: str, queries: Labelled, gallery: Labelled) -> list[np.ndarray]:
    """Of each query, in id order, the gains of its candidates, best ranked first."""
    return [
        np.asarray([gain(rule, queries.labels[place], gallery.labels[at]) for at in candidates])
        for place, candidates in rankings(queries, gallery)
    ]
