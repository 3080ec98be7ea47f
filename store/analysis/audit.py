"""What is doubtful in a gallery: duplicates, leaks between splits, labels that stand alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from store.analysis.label_noise import doubts
from store.errors import BadQuery
from store.gallery import over_mirror
from store.mirror import snapshot
from store.mirror.snapshot import Snapshot
from store.schema import Baseline, Integers, Progress, Vectors
from store.search.near_pairs import connected, near_pairs, same
from store.table import lance
from store.table.column_stats import Column, overview

if TYPE_CHECKING:
    from store.gallery import Gallery


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


#: Cosine from which two pictures are near duplicates, when nobody says.
THRESHOLD = 0.98
#: Pictures described at once.
_PIECE = 2048
_FILM = ("labels", "split", "dataset", "patient")


def exact(gallery: Gallery) -> tuple[Group, ...]:
    """Groups of films with one sha256, then groups with one vector but different sources."""

    def ask(now: Snapshot) -> tuple[Group, ...]:
        order, films, digests, _ = _read(now)
        vectors = now.vectors
        sources = same(digests)
        twins = same([vectors[place].tobytes() for place in order])
        others = [group for group in twins if len({digests[place] for place in group}) > 1]
        found = [("source", group) for group in sources] + [("vector", group) for group in others]
        return tuple(
            Group(kind, tuple(members), across(members), differ(members))
            for kind, members in (
                (kind, [films[place] for place in group]) for kind, group in found
            )
        )

    return over_mirror(gallery, "the audit", ask)


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
        progress: told about scores, done and in all.

    Raises:
        BadQuery: a threshold out of range, or no film has a picture to compare.
    """

    def ask(now: Snapshot) -> Near:
        order, films, digests, splits = _read(now)
        index, rows = None, None
        if describe is None:
            chosen = np.arange(len(order))
            vectors = np.ascontiguousarray(now.vectors[order])
            index, rows = now.index, np.argsort(order)
        else:
            chosen, vectors = _pictures(now, order, describe)
        found = near_pairs(vectors, threshold, most, splits[chosen], progress, index, rows)
        pairs = []
        for left, right, cosine in zip(
            chosen[found.left].tolist(), chosen[found.right].tolist(), found.cosine, strict=True
        ):
            one, other = films[left], films[right]
            kind = (across((one, other)), differ((one, other)), digests[left] == digests[right])
            pairs.append(NearPair(float(cosine), one, other, *kind))
        return Near(
            "vectors" if describe is None else "pictures",
            threshold,
            tuple(pairs),
            found.total,
            found.across,
            len(connected(found)),
            len(chosen),
        )

    return over_mirror(gallery, "the audit", ask)


def doubtful(
    gallery: Gallery, k: int = 10, most: int = 1000, progress: Progress | None = None
) -> Doubtful:
    """Films whose k nearest labelled neighbours mostly carry other labels, ranked.

    Args:
        gallery: with two labelled films or more; k is lowered to what there is.
        k: neighbours.
        most: films listed.
        progress: told about films, done and in all.

    Raises:
        BadQuery: fewer than two labelled films, or k below 1.
    """

    def ask(now: Snapshot) -> Doubtful:
        order, films, _, _ = _read(now)
        chosen = np.asarray([place for place, film in enumerate(films) if film.labels], np.int64)
        if len(chosen) < 2:
            raise BadQuery(f"{len(chosen)} labelled films: labels can be compared from two on")
        depth = min(k, len(chosen) - 1)
        vectors = now.vectors[order[chosen]]
        found = doubts(vectors, [films[place].labels for place in chosen], depth, progress)
        many = found.disagreement > 0.5
        ranked = [int(place) for place in found.order[:most] if many[place]]
        listed = tuple(
            Doubt(
                films[chosen[place]],
                float(found.disagreement[place]),
                float(found.nearness[place]),
                found.said[place],
                int(found.votes[place]),
            )
            for place in ranked
        )
        return Doubtful(depth, listed, int(many.sum()), len(chosen))

    return over_mirror(gallery, "the audit", ask)


def glance(gallery: Gallery, most: int = 50) -> Glance:
    """Counts and missing values of every column per split, and patients in several splits."""

    def ask(now: Snapshot) -> Glance:
        names = snapshot.names(now)
        found = snapshot.read(now, names)
        splits = found["split"].to_pylist()
        rows: dict[str, int] = {}
        patients: dict[str, dict[str, int]] = {}
        for split, patient in zip(splits, found["patient"].to_pylist(), strict=True):
            rows[split or ""] = rows.get(split or "", 0) + 1
            if split and patient:
                counts = patients.setdefault(patient, {})
                counts[split] = counts.get(split, 0) + 1
        leaks = [Leak(name, counts) for name, counts in sorted(patients.items()) if len(counts) > 1]
        told = found.drop_columns([name for name in ("source", "ingested_at") if name in names])
        return Glance(dict(sorted(rows.items())), tuple(overview(told, splits, most)), tuple(leaks))

    return over_mirror(gallery, "the audit", ask)


def _read(now: Snapshot) -> tuple[Integers, list[Film], list[bytes], Integers]:
    """Positions in id order, and the films, digests and splits (as numbers) in that order."""
    order = snapshot.by_id(now)
    found = snapshot.read(now, ["id", "sha256", *_FILM]).take(order)
    cells = [found[name].to_pylist() for name in ("id", *_FILM)]
    films = [
        Film(id_, tuple(labels or ()), split, dataset, patient)
        for id_, labels, split, dataset, patient in zip(*cells, strict=True)
    ]
    names = sorted({film.split for film in films if film.split})
    splits = np.asarray([names.index(film.split) if film.split else -1 for film in films], np.int64)
    return order, films, found["sha256"].to_pylist(), splits


def _pictures(now: Snapshot, order: Integers, describe: Baseline) -> tuple[Integers, Vectors]:
    """Which films have a picture, and what they look like; read piece by piece."""
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
