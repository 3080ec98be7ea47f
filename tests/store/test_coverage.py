"""Coverage of the 95 % intervals: how often they hold the mean of all patients there could be."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

from store import FEW, Labelled
from store.evaluation.intervals import bootstrap
from store.evaluation.per_query import by_query
from store.schema import Floats, Integers
from tests.store.rows import unit

#: Patients from whom the truth is known, sets of patients, and films that are searched.
_EVERYBODY, _SETS, _SEARCHED = 100_000, 2000, 400
_AT_ONCE = 20_000


class World:
    """Patients of 1 to 10 films that look alike, and a gallery of others."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.directions = self.random.normal(size=(3, 8))
        self.gallery, _ = self.films(_SEARCHED, "g", one_each=True)

    def films(
        self, patients: int, prefix: str, one_each: bool = False
    ) -> tuple[Labelled, Integers]:
        """Films of so many new patients, and the patient of each."""
        sizes = np.ones(patients, int) if one_each else self.random.integers(1, 11, patients)
        whose = np.repeat(np.arange(patients), sizes)
        kinds = self.random.integers(0, 3, patients)
        people = self.directions[kinds] + 1.3 * self.random.normal(size=(patients, 8))
        vectors = unit(people[whose] + 0.6 * self.random.normal(size=(len(whose), 8)))
        ids = [f"{prefix}{film:07d}" for film in range(len(whose))]
        return Labelled(ids, vectors, [(f"finding {kind}",) for kind in kinds[whose]]), whose


class Measured(NamedTuple):
    """P@1 and P@10 of films, and the patient of each."""

    values: Floats
    whose: Integers


def measured(world: World, patients: int) -> Measured:
    """Figures of so many new patients' films against the world's gallery."""
    values, people = [], []
    for start in range(0, patients, _AT_ONCE):
        films, whose = world.films(min(_AT_ONCE, patients - start), "q")
        values.append(by_query(films, world.gallery, [1, 10]).precision)
        people.append(start + whose)
    return Measured(np.concatenate(values), np.concatenate(people))


def coverage(drawn: Measured, truth: Floats, patients: int, by_patient: bool = True) -> Floats:
    """Share of sets of so many patients each whose interval holds the truth, of each column."""
    edges = np.searchsorted(drawn.whose, np.arange(0, _SETS + 1) * patients)
    held = []
    for start, end in pairwise(edges):
        groups = drawn.whose[start:end] if by_patient else None
        bounds = bootstrap(drawn.values[start:end], [1, 10], 2000, groups)
        held.append(
            [low <= one <= high for one, (low, high) in zip(truth, bounds.values(), strict=True)]
        )
    return np.mean(held, axis=0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_intervals_hold_the_truth_in_95_of_100_sets_of_patients(capsys) -> None:
    world = World(23)
    truth = measured(world, _EVERYBODY).values.mean(axis=0)
    found = {}
    for patients in (10, 20, FEW, 100, 150):
        found[patients] = coverage(measured(world, _SETS * patients), truth, patients)
    films = coverage(measured(world, _SETS * 100), truth, 100, by_patient=False)
    said = [f"{patients} patients: {held.round(4)}" for patients, held in found.items()]
    said = [f"truth: {truth.round(4)}", *said, f"100, films resampled: {films.round(4)}"]
    with capsys.disabled():
        sys.stdout.write("\nCoverage at P@1 and P@10\n" + "\n".join(said) + "\n")
    for patients in (100, 150):
        assert (found[patients] >= 0.93).all() and (found[patients] <= 0.97).all()
    assert (found[10] > 0.88).all() and (films < 0.85).all()
