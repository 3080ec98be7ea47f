"""Coverage of the 95 % intervals: how often they hold the mean of all patients there could be."""

from __future__ import annotations

import sys
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
#: Patients of a set; of smaller sets its first ones.
LARGEST = 100
_AT_ONCE = 20_000


class World:
    """Patients of 1 to 5 films that look alike, and a gallery of others."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.directions = self.random.normal(size=(3, 8))
        self.gallery, _ = self.films(_SEARCHED, "g", one_each=True)

    def films(
        self, patients: int, prefix: str, one_each: bool = False
    ) -> tuple[Labelled, Integers]:
        """Films of so many new patients, and the patient of each."""
        sizes = np.ones(patients, int) if one_each else self.random.integers(1, 6, patients)
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


def coverage(
    drawn: Measured, truth: Floats, patients: int, sets: int = _SETS, by_patient: bool = True
) -> Floats:
    """Share of sets of so many patients each whose interval holds the truth, of each column."""
    held = []
    for start in range(0, sets * LARGEST, LARGEST):
        first, end = np.searchsorted(drawn.whose, [start, start + patients])
        groups = drawn.whose[first:end] if by_patient else None
        bounds = bootstrap(drawn.values[first:end], [0, 1], 2000, groups)
        held.append([bounds[at][0] <= truth[at] <= bounds[at][1] for at in (0, 1)])
    found: Floats = np.mean(held, axis=0)
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_intervals_hold_the_truth_in_95_of_100_sets_of_patients(capsys) -> None:
    world = World(23)
    truth = measured(world, _EVERYBODY).values.mean(axis=0)
    drawn = measured(world, _SETS * LARGEST)
    found = {patients: coverage(drawn, truth, patients) for patients in (10, 20, FEW, LARGEST)}
    films = coverage(drawn, truth, LARGEST, sets=400, by_patient=False)
    said = [f"{patients} patients: {held.round(4)}" for patients, held in found.items()]
    said = [f"truth: {truth.round(4)}", *said, f"{LARGEST}, films resampled: {films.round(4)}"]
    with capsys.disabled():
        sys.stdout.write("\nCoverage at P@1 and P@10\n" + "\n".join(said) + "\n")
    assert (found[LARGEST] >= 0.93).all() and (found[LARGEST] <= 0.97).all()
    assert (found[10] > 0.88).all() and (found[20] > 0.9).all() and (films < 0.9).all()
