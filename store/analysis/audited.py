"""What an audit finds, as values: groups, pairs, doubts, counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from store.table.overview import Column


@dataclass(frozen=True, slots=True)
class Film:
    """One row, as the lists of an audit name it."""

    id: str
    labels: tuple[str, ...]
    split: str | None
    dataset: str | None
    patient: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """Films that are one and the same.

    Attributes:
        kind: ``source`` (one sha256: the same file, or the same pixels) or ``vector`` (other
            sources with the same vector).
        films: two or more, by id.
        across: whether they are in different splits.
        labels_differ: whether their labels differ.
    """

    kind: str
    films: tuple[Film, ...]
    across: bool
    labels_differ: bool


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two films whose pictures, or vectors, are nearly the same.

    Attributes:
        same_source: whether they have one sha256, so that they are an exact duplicate.
    """

    cosine: float
    left: Film
    right: Film
    across: bool
    labels_differ: bool
    same_source: bool


@dataclass(frozen=True, slots=True)
class Near:
    """Near duplicates.

    Attributes:
        by: ``pictures`` or ``vectors``: what was compared.
        threshold: cosine from which a pair is listed.
        pairs: the most similar first; not more than were asked for.
        total: pairs that reach the threshold.
        across: those of them in different splits.
        groups: how many groups the listed pairs link together.
        compared: films that were compared; without those that have no picture.
    """

    by: str
    threshold: float
    pairs: tuple[NearPair, ...]
    total: int
    across: int
    groups: int
    compared: int


@dataclass(frozen=True, slots=True)
class Doubt:
    """A film whose neighbours carry other labels; see store.analysis.label_noise for the formula.

    Attributes:
        disagreement: mean Jaccard distance to the labels of its k nearest labelled films, 0 to 1.
        nearness: mean cosine of those k films.
        said: the label that most of them carry.
        votes: how many of the k.
    """

    film: Film
    disagreement: float
    nearness: float
    said: str
    votes: int


@dataclass(frozen=True, slots=True)
class Doubtful:
    """Films whose neighbours disagree.

    Attributes:
        k: neighbours asked per film.
        films: the most doubtful first; not more than were asked for.
        total: films with a disagreement above one half.
        labelled: films that were compared.
    """

    k: int
    films: tuple[Doubt, ...]
    total: int
    labelled: int


@dataclass(frozen=True, slots=True)
class Leak:
    """A patient whose films are in several splits."""

    patient: str
    splits: dict[str, int]


@dataclass(frozen=True, slots=True)
class Glance:
    """Labels and metadata per split, and patients in several splits."""

    rows: dict[str, int]
    columns: tuple[Column, ...]
    leaks: tuple[Leak, ...]


def plain(found: Any) -> Any:
    """One of the above as plain JSON types."""
    if isinstance(found, tuple):
        return [plain(one) for one in found]
    return asdict(found)


def across(films: Sequence[Film]) -> bool:
    """Whether films are in different splits."""
    return len({film.split for film in films if film.split}) > 1


def differ(films: Sequence[Film]) -> bool:
    """Whether labelled films carry different labels."""
    return len({frozenset(film.labels) for film in films if film.labels}) > 1
