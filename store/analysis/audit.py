"""Audit of a gallery: duplicates, leaks between splits, doubtful labels, counts per split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from store.analysis.label_noise import doubts
from store.errors import BadQuery
from store.mirror.snapshot import Snapshot
from store.schema import Baseline, Integers, Progress, Vectors
from store.search.near_pairs import connected, near_pairs, same
from store.table import lance
from store.table.column_stats import Column, overview

if TYPE_CHECKING:
    from store.gallery import Gallery


@dataclass(frozen=True, slots=True)
class Film:
    """Row of a gallery as the lists of an audit name it."""

    id: str
    labels: tuple[str, ...]
    split: str | None
    dataset: str | None
    patient: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """Group of films that are one and the same.

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
    """Pair of films whose pictures, or vectors, are nearly the same.

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
    """List of near duplicates.

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
    """Film whose neighbours carry other labels; see store.analysis.label_noise for the formula.

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
    """List of films whose neighbours disagree.

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
    """Overview of labels and metadata per split, and of patients in several splits."""

    rows: dict[str, int]
    columns: tuple[Column, ...]
    leaks: tuple[Leak, ...]


def across(films: Sequence[Film]) -> bool:
    """Whether films are in different splits."""
    return len({film.split for film in films if film.split}) > 1


def differ(films: Sequence[Film]) -> bool:
    """Whether labelled films carry different labels."""
    return len({frozenset(film.labels) for film in films if film.labels}) > 1


#: Cosine from which two pictures are near duplicates, by default.
THRESHOLD = 0.98
#: Pictures described at once.
_PIECE = 2048
_FILM = ("labels", "split", "dataset", "patient")


def exact(gallery: Gallery) -> tuple[Group, ...]:
    """Groups of films with one sha256, then groups with one vector but different sources."""

    def ask(now: Snapshot) -> tuple[Group, ...]:
        found = _read(now)
        digests = found["sha256"].to_pylist()
        twins = same([now.vectors[place].tobytes() for place in now.by_id])
        groups = [("source", group) for group in same(digests)]
        groups += [
            ("vector", group) for group in twins if len({digests[place] for place in group}) > 1
        ]
        films = _films(found, [place for _, group in groups for place in group])
        listed = [(kind, tuple(films[place] for place in group)) for kind, group in groups]
        return tuple(Group(kind, some, across(some), differ(some)) for kind, some in listed)

    return gallery.read_mirror("the audit", ask)


def near(
    gallery: Gallery,
    threshold: float = THRESHOLD,
    describe: Baseline | None = None,
    most: int = 1000,
    progress: Progress | None = None,
) -> Near:
    """Pairs of films that are nearly the same.

    An encoder that learned to ignore what tells two films of one finding apart puts thousands of
    pairs above any cosine; plain pictures tell copies from look-alikes.

    Args:
        gallery: of any size; memory is bounded, time grows with the square of its rows.
        threshold: cosine, above 0 and at most 1.
        describe: thumbnails to float32 (n, m) unit rows, e.g. ``pixel_vectors``; None compares
            the encoder's vectors.
        most: pairs listed.
        progress: called with scores done and in all.

    Raises:
        BadQuery: a threshold out of range, or no film has a picture to compare.
    """

    def ask(now: Snapshot) -> Near:
        films = _read(now)
        order, index, rows = now.by_id, None, None
        if describe is None:
            chosen = np.arange(len(order))
            vectors = np.ascontiguousarray(now.vectors[order])
            index, rows = now.index, np.argsort(order)
        else:
            chosen, vectors = _pictures(now, order, describe)
        splits = _splits(films)[chosen]
        found = near_pairs(vectors, threshold, most, splits, progress, index, rows)
        places = chosen[np.stack([found.left, found.right], axis=1)].tolist()
        named = _films(films, [place for pair in places for place in pair])
        digests = films["sha256"]
        pairs = []
        for (left, right), cosine in zip(places, found.cosine.tolist(), strict=True):
            both = named[left], named[right]
            same_source = digests[left] == digests[right]
            pairs.append(NearPair(cosine, *both, across(both), differ(both), same_source))
        return Near(
            "vectors" if describe is None else "pictures",
            threshold,
            tuple(pairs),
            found.total,
            found.across,
            len(connected(found)),
            len(chosen),
        )

    return gallery.read_mirror("the audit", ask)


def doubtful(
    gallery: Gallery, k: int = 10, most: int = 1000, progress: Progress | None = None
) -> Doubtful:
    """Films whose k nearest labelled neighbours mostly carry other labels, ranked.

    Args:
        gallery: with two labelled films or more; k is lowered to what there is.
        k: neighbours.
        most: films listed.
        progress: called with films done and in all.

    Raises:
        BadQuery: fewer than two labelled films, or k below 1.
    """

    def ask(now: Snapshot) -> Doubtful:
        films = _read(now)
        labels = [tuple(row or ()) for row in films["labels"].to_pylist()]
        chosen = np.asarray([place for place, row in enumerate(labels) if row], np.int64)
        if len(chosen) < 2:
            raise BadQuery(f"{len(chosen)} labelled films: labels can be compared from two on")
        depth = min(k, len(chosen) - 1)
        vectors = now.vectors[now.by_id[chosen]]
        found = doubts(vectors, [labels[place] for place in chosen], depth, progress)
        many = found.disagreement > 0.5
        ranked = [int(place) for place in found.order[:most] if many[place]]
        named = _films(films, chosen[ranked].tolist())
        listed = tuple(
            Doubt(
                named[int(chosen[place])],
                float(found.disagreement[place]),
                float(found.nearness[place]),
                found.said[place],
                int(found.votes[place]),
            )
            for place in ranked
        )
        return Doubtful(depth, listed, int(many.sum()), len(chosen))

    return gallery.read_mirror("the audit", ask)


def glance(gallery: Gallery, most: int = 50) -> Glance:
    """Counts and missing values of every column per split, and patients in several splits."""

    def ask(now: Snapshot) -> Glance:
        names = now.column_names
        found = now.columns(names)
        splits = found["split"].to_pylist()
        rows: dict[str, int] = {}
        patients: dict[str, dict[str, int]] = {}
        for split, patient in zip(splits, found["patient"].to_pylist(), strict=True):
            rows[split or ""] = rows.get(split or "", 0) + 1
            if split and patient:
                counts = patients.setdefault(patient, {})
                counts[split] = counts.get(split, 0) + 1
        leaks = [Leak(name, counts) for name, counts in sorted(patients.items()) if len(counts) > 1]
        described = found.drop_columns(
            [name for name in ("source", "ingested_at") if name in names]
        )
        return Glance(
            dict(sorted(rows.items())), tuple(overview(described, splits, most)), tuple(leaks)
        )

    return gallery.read_mirror("the audit", ask)


def _read(now: Snapshot) -> pa.Table:
    """Ids, digests and the columns of a Film, in the order of ids."""
    return now.columns(["id", "sha256", *_FILM]).take(now.by_id)


def _films(found: pa.Table, places: Sequence[int]) -> dict[int, Film]:
    """The films at these places, by place."""
    wanted = sorted(set(places))
    cells = found.select(["id", *_FILM]).take(pa.array(wanted, pa.int64())).to_pylist()
    return {
        place: Film(**{**row, "labels": tuple(row["labels"] or ())})
        for place, row in zip(wanted, cells, strict=True)
    }


def _splits(found: pa.Table) -> Integers:
    """Splits as numbers; -1 for none."""
    splits = found["split"].to_pylist()
    number = {name: place for place, name in enumerate(sorted({one for one in splits if one}))}
    return np.asarray([number.get(one, -1) for one in splits], np.int64)


def _pictures(now: Snapshot, order: Integers, describe: Baseline) -> tuple[Integers, Vectors]:
    """Places of the films with a picture, and their pictures as vectors; read piece by piece."""
    chosen: list[int] = []
    parts: list[Vectors] = []
    for start in range(0, len(order), _PIECE):
        fetched = lance.thumbnails(now.handle, now.row_ids[order[start : start + _PIECE]].tolist())
        whole = [(start + place, png) for place, png in enumerate(fetched) if png is not None]
        if whole:
            chosen += [place for place, _ in whole]
            parts.append(describe([png for _, png in whole]))
    if not parts:
        raise BadQuery("no film has a thumbnail; compare vectors instead")
    return np.asarray(chosen, np.int64), np.concatenate(parts)
