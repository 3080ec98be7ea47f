"""Films of a gallery as the lists of an audit name them, and whose films they are.

A patient is one of a data set: patient 1 of two data sets are two people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from store.evaluation.labelled import GroupKind, Groups
from store.mirror.snapshot import Snapshot
from store.outcomes import FOUND, NOTHING_FOUND, Outcome, findings
from store.schema import Integers
from store.table.rows import findings_of

#: Whose films those of a duplicate are, as lists and counts name it. Several patients of one data
#: set who have one picture are a finding of its own: their ids, or the films, were mixed up. Of
#: several data sets nobody can tell: each numbers its patients by itself.
ONE_PATIENT: Final = "one patient"
SEVERAL_PATIENTS: Final = "several patients"
SEVERAL_DATASETS: Final = "several data sets"
UNKNOWN: Final = "unknown"
Whose = Literal["one patient", "several patients", "several data sets", "unknown"]
WHOSE: tuple[Whose, ...] = (ONE_PATIENT, SEVERAL_PATIENTS, SEVERAL_DATASETS, UNKNOWN)


@dataclass(frozen=True, slots=True)
class Film:
    """Row of a gallery as the lists of an audit name it.

    Attributes:
        labels: as they are stored.
        outcome: of looking at it; see store.outcomes.
    """

    id: str
    labels: tuple[str, ...]
    split: str | None
    dataset: str | None
    patient: str | None
    study: str | None
    outcome: Outcome


#: Outcomes of films whose findings are known.
KNOWN = (FOUND, NOTHING_FOUND)
_FILM = ("labels", "split", "dataset", "patient", "study", "outcome")
#: Columns that they are made of, as far as a gallery has them.
_READ = ("labels", "uncertain", "absent", "labelled", "split", "dataset", "patient", "study")


def across(films: Sequence[Film]) -> bool:
    """Whether films are in different splits."""
    return len({film.split for film in films if film.split}) > 1


def differ(films: Sequence[Film]) -> bool:
    """Whether labelled films carry different findings; one in which nothing was found has none."""
    known = [film for film in films if film.outcome in KNOWN]
    return len({frozenset(findings(film.labels)) for film in known}) > 1


def whose(films: Sequence[Film]) -> Whose:
    """Whether films are of one patient, or of several; one of WHOSE."""
    people = {(film.dataset, film.patient) for film in films if film.patient}
    datasets = [dataset for dataset, _ in people]
    if len(set(datasets)) < len(datasets):
        return SEVERAL_PATIENTS
    if not all(film.patient for film in films):
        return UNKNOWN
    return ONE_PATIENT if len(people) == 1 else SEVERAL_DATASETS


def read(now: Snapshot) -> pa.Table:
    """Ids, digests and the columns of a Film, in the order of ids."""
    names = [name for name in _READ if name in now.column_names]
    return with_findings(now.columns(["id", "sha256", *names]).take(now.by_id))


def with_findings(found: pa.Table) -> pa.Table:
    """The table with whole columns of findings, a study, and the outcome of each film."""
    whole = findings_of(found)
    study = pa.nulls(len(found), pa.string())
    if "study" in found.column_names:  # of an older gallery a column of the user's own
        study = found["study"].cast(pa.string())
    kept = [name for name in found.column_names if name not in (*whole.column_names, "study")]
    for name in kept:
        whole = whole.append_column(name, found[name])
    return whole.append_column("study", study)


def groups_of(found: pa.Table) -> tuple[Integers, GroupKind]:
    """Numbers of the patients of films, of their studies, or of themselves; and which it is."""
    cells = (found[name].to_pylist() for name in ("dataset", "patient", "study"))
    groups = Groups.of(*cells)
    first: dict[str, int] = {}
    numbers = [first.setdefault(one, at) if one else at for at, one in enumerate(groups.names)]
    return np.asarray(numbers, np.int64), groups.kind


def films_at(found: pa.Table, places: Sequence[int]) -> dict[int, Film]:
    """The films at these places, by place."""
    wanted = sorted(set(places))
    cells = found.select(["id", *_FILM]).take(pa.array(wanted, pa.int64())).to_pylist()
    return {
        place: Film(**{**row, "labels": tuple(row["labels"])})
        for place, row in zip(wanted, cells, strict=True)
    }


def splits_of(found: pa.Table) -> Integers:
    """Splits as numbers; -1 for none."""
    return _numbers(found["split"].to_pylist())


def _numbers(cells: Sequence[object]) -> Integers:
    """Values as numbers, in the order of their first row; -1 for none."""
    number: dict[object, int] = {}
    return np.asarray(
        [number.setdefault(one, len(number)) if one else -1 for one in cells], np.int64
    )


def pairs_by_patient(found: pa.Table, chosen: Integers) -> Callable[[Integers, Integers], Integers]:
    """Places in WHOSE of pairs of films, as ``whose`` has them."""
    datasets = found["dataset"].to_pylist()
    people = [
        (dataset, patient) if patient else None
        for dataset, patient in zip(datasets, found["patient"].to_pylist(), strict=True)
    ]
    person, dataset = _numbers(people)[chosen], _numbers(datasets)[chosen]

    def kind(left: Integers, right: Integers) -> Integers:
        known = (person[left] >= 0) & (person[right] >= 0)
        found = np.full(len(left), WHOSE.index(UNKNOWN))
        found[known] = WHOSE.index(SEVERAL_DATASETS)
        found[known & (dataset[left] == dataset[right])] = WHOSE.index(SEVERAL_PATIENTS)
        found[known & (person[left] == person[right])] = WHOSE.index(ONE_PATIENT)
        return found

    return kind
