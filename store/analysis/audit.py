"""Audit of a gallery: duplicates, leaks between splits, doubtful labels, counts per split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from store.analysis.film_table import (
    KNOWN,
    WHOSE,
    Film,
    Whose,
    across,
    differ,
    films_at,
    pairs_by_patient,
    read,
    splits_of,
    whose,
    with_findings,
)
from store.analysis.label_noise import Doubts
from store.analysis.listing.doubt import compared
from store.errors import BadQuery
from store.evaluation.labelled import GroupKind
from store.mirror.snapshot import Snapshot
from store.outcomes import LEFT_OUT, NOT_LABELLED, findings
from store.schema import Baseline, Integers, Progress, Vectors
from store.search.near_pairs import connected, near_pairs, same
from store.table import lance
from store.table.column_stats import Column, overview

if TYPE_CHECKING:
    from store.gallery import Gallery


@dataclass(frozen=True, slots=True)
class Group:
    """Group of films that are one and the same.

    Attributes:
        kind: ``source`` (one sha256: the same file, or the same pixels) or ``vector`` (other
            sources with the same vector).
        films: two or more, by id.
        across: whether they are in different splits.
        labels_differ: whether their findings differ, of those that are labelled.
        whose: one of WHOSE.
    """

    kind: str
    films: tuple[Film, ...]
    across: bool
    labels_differ: bool
    whose: Whose


@dataclass(frozen=True, slots=True)
class NearPair:
    """Pair of films whose pictures, or vectors, are nearly the same.

    Attributes:
        same_source: whether they have one sha256, so that they are an exact duplicate.
        whose: one of WHOSE.
    """

    cosine: float
    left: Film
    right: Film
    across: bool
    labels_differ: bool
    same_source: bool
    whose: Whose


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
        whose: how many of ``total`` are of each of WHOSE.
    """

    by: str
    threshold: float
    pairs: tuple[NearPair, ...]
    total: int
    across: int
    groups: int
    compared: int
    whose: Mapping[Whose, int]


@dataclass(frozen=True, slots=True)
class Vote:
    """Finding of a film that its neighbours doubt.

    Attributes:
        finding: its name.
        votes: neighbours that carry it.
        of: neighbours that are sure whether they do.
    """

    finding: str
    votes: int
    of: int


@dataclass(frozen=True, slots=True)
class Doubt:
    """Film whose neighbours carry other findings; see store.analysis.label_noise for the formulas.

    Attributes:
        disagreement: mean Jaccard distance to the findings of its nearest labelled films, 0 to 1.
        nearness: mean cosine of those films.
        said: the finding that most of them carry, or ``no finding``.
        votes: how many of them.
        asked: neighbours: k, or fewer where there are not so many of other patients.
        unsupported: findings that it carries and fewer than half of them do.
        missing: findings that more than half of them carry and it does not.
    """

    film: Film
    disagreement: float
    nearness: float
    said: str
    votes: int
    asked: int
    unsupported: tuple[Vote, ...]
    missing: tuple[Vote, ...]


@dataclass(frozen=True, slots=True)
class FindingDoubt:
    """Doubts about one finding, over all films.

    Attributes:
        films: that carry it.
        unsupported: of those, films whose neighbours mostly do not.
        missing: films that do not carry it, and most of their neighbours do.
    """

    films: int
    unsupported: int
    missing: int


@dataclass(frozen=True, slots=True)
class Doubtful:
    """List of films whose neighbours disagree.

    Attributes:
        k: neighbours asked per film.
        films: those with a disagreement above one half or a doubtful finding, by disagreement; not
            more than were asked for.
        total: films with a disagreement above one half.
        doubted: films that ``films`` would list without a limit.
        labelled: films that were compared, those without a finding among them.
        left_out: reason to films that could not be: not labelled, or only uncertain findings.
        findings: finding to its doubts.
        excluded: whose films are nobody's neighbours: those of one ``patient``, of one ``study``,
            or nothing but the ``film`` itself.
    """

    k: int
    films: tuple[Doubt, ...]
    total: int
    doubted: int
    labelled: int
    left_out: Mapping[str, int]
    findings: Mapping[str, FindingDoubt]
    excluded: GroupKind


@dataclass(frozen=True, slots=True)
class Leak:
    """Patient whose films are in several splits, or study where no patient is known.

    Attributes:
        patient: None where only the study is known.
        splits: split to films.
        dataset: the one that the patient or study is of.
        study: None for a patient.
    """

    patient: str | None
    splits: dict[str, int]
    dataset: str | None
    study: str | None


@dataclass(frozen=True, slots=True)
class Glance:
    """Overview of labels and metadata per split, and of patients in several splits."""

    rows: dict[str, int]
    columns: tuple[Column, ...]
    leaks: tuple[Leak, ...]


#: Cosine from which two pictures are near duplicates, by default.
THRESHOLD = 0.98
#: Pictures described at once.
_PIECE = 2048


def exact(gallery: Gallery) -> tuple[Group, ...]:
    """Groups of films with one sha256, then groups with one vector but different sources."""

    def ask(now: Snapshot) -> tuple[Group, ...]:
        found = read(now)
        digests = found["sha256"].to_pylist()
        twins = same([now.vectors[place].tobytes() for place in now.by_id])
        groups = [("source", group) for group in same(digests)]
        groups += [
            ("vector", group) for group in twins if len({digests[place] for place in group}) > 1
        ]
        films = films_at(found, [place for _, group in groups for place in group])
        listed = [(kind, tuple(films[place] for place in group)) for kind, group in groups]
        return tuple(
            Group(kind, some, across(some), differ(some), whose(some)) for kind, some in listed
        )

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
        films = read(now)
        order, index, rows = now.by_id, None, None
        if describe is None:
            chosen = np.arange(len(order))
            vectors = np.ascontiguousarray(now.vectors[order])
            index, rows = now.index, np.argsort(order)
        else:
            chosen, vectors = _pictures(now, order, describe)
        splits = splits_of(films)[chosen]
        kind = pairs_by_patient(films, chosen)
        found = near_pairs(vectors, threshold, most, splits, progress, index, rows, kind)
        places = chosen[np.stack([found.left, found.right], axis=1)].tolist()
        named = films_at(films, [place for pair in places for place in pair])
        digests = films["sha256"]
        pairs = []
        for (left, right), cosine in zip(places, found.cosine.tolist(), strict=True):
            both = named[left], named[right]
            same_source = digests[left] == digests[right]
            pairs.append(
                NearPair(cosine, *both, across(both), differ(both), same_source, whose(both))
            )
        counts = np.zeros(len(WHOSE), np.int64)
        counts[: len(found.kinds)] = found.kinds
        return Near(
            "vectors" if describe is None else "pictures",
            threshold,
            tuple(pairs),
            found.total,
            found.across,
            len(connected(found)),
            len(chosen),
            dict(zip(WHOSE, counts.tolist(), strict=True)),
        )

    return gallery.read_mirror("the audit", ask)


def doubtful(
    gallery: Gallery, k: int = 10, most: int = 1000, progress: Progress | None = None
) -> Doubtful:
    """Films whose k nearest labelled films of other patients mostly carry other findings, ranked.

    Films in which nothing was found take part: they agree with each other.

    Args:
        gallery: with two labelled films or more; k is lowered to what there is.
        k: neighbours.
        most: films listed.
        progress: called with films done and in all.

    Raises:
        BadQuery: fewer than two labelled films, or k below 1.
    """

    def ask(now: Snapshot) -> Doubtful:
        films = read(now)
        of = compared(films)
        depth = min(k, len(of.chosen) - 1)
        found = of.doubts(now, depth, progress)
        many = found.disagreement > 0.5
        doubted = many.copy()
        doubted[found.findings.row] = True
        ranked = found.order[doubted[found.order]][:most]
        named = films_at(films, of.chosen[ranked].tolist())
        listed = [(named[int(of.chosen[place])], int(place)) for place in ranked]
        left_out = Counter(LEFT_OUT[one] for one in of.outcomes if one not in KNOWN)
        return Doubtful(
            depth,
            tuple(_doubt(film, place, found) for film, place in listed),
            int(many.sum()),
            int(doubted.sum()),
            len(of.chosen),
            dict(sorted(left_out.items())),
            _by_finding(found, of.carried),
            of.excluded,
        )

    return gallery.read_mirror("the audit", ask)


def _doubt(film: Film, place: int, found: Doubts) -> Doubt:
    """What was found of one film."""
    one = found.findings
    first, last = np.searchsorted(one.row, [place, place + 1])
    votes = [
        (bool(one.missing[at]), Vote(found.names[one.finding[at]], int(one.votes[at]), int(of)))
        for at, of in enumerate(one.of[first:last], start=int(first))
    ]
    return Doubt(
        film,
        float(found.disagreement[place]),
        float(found.nearness[place]),
        found.said[place],
        int(found.votes[place]),
        int(found.asked[place]),
        tuple(vote for missing, vote in votes if not missing),
        tuple(vote for missing, vote in votes if missing),
    )


def _by_finding(found: Doubts, carried: Sequence[tuple[str, ...]]) -> dict[str, FindingDoubt]:
    """Doubts about each finding, over all films."""
    films = Counter(name for row in carried for name in set(row))
    one, count = found.findings, len(found.names)
    missing = np.bincount(one.finding[one.missing], minlength=count).tolist()
    unsupported = np.bincount(one.finding[~one.missing], minlength=count).tolist()
    return {
        name: FindingDoubt(films[name], unsupported[at], missing[at])
        for at, name in enumerate(found.names)
    }


def glance(gallery: Gallery, most: int = 50) -> Glance:
    """Counts and missing values of every column per split, and patients in several splits.

    Films in which nothing was found are counted among the labels as ``no finding``, by whichever
    name their source has for it; a film without labels is one that is not labelled.
    """

    def ask(now: Snapshot) -> Glance:
        names = now.column_names
        found = now.columns(names)
        splits = found["split"].to_pylist()
        rows: dict[str, int] = {}
        for split in splits:
            rows[split or ""] = rows.get(split or "", 0) + 1
        described = found.drop_columns(
            [name for name in ("source", "ingested_at") if name in names]
        )
        whole = with_findings(found)
        cells = (whole[name].to_pylist() for name in ("labels", "outcome"))
        labels = [
            list(findings(row)) or [one] * (one != NOT_LABELLED)
            for row, one in zip(*cells, strict=True)
        ]
        place = described.column_names.index("labels")
        described = described.set_column(place, "labels", pa.array(labels, pa.list_(pa.string())))
        return Glance(
            dict(sorted(rows.items())),
            tuple(overview(described, splits, most)),
            _leaks(whole),
        )

    return gallery.read_mirror("the audit", ask)


def _leaks(found: pa.Table) -> tuple[Leak, ...]:
    """Patients in several splits, and studies of no known patient, by data set and name.

    A film that names its study alone is of the patient whom another film of the study names.
    """
    counts: dict[tuple[str | None, str | None, str | None], dict[str, int]] = {}
    columns = [found[name].to_pylist() for name in ("dataset", "study", "patient", "split")]
    whose_study = {
        (dataset, study): patient
        for dataset, study, patient, _ in zip(*columns, strict=True)
        if study and patient
    }
    for dataset, study, named, split in zip(*columns, strict=True):
        patient = named or whose_study.get((dataset, study))
        if split and (patient or study):
            key = (dataset, patient or None, None if patient else study)
            one = counts.setdefault(key, {})
            one[split] = one.get(split, 0) + 1
    return tuple(
        Leak(patient, splits, dataset, study)
        for (dataset, patient, study), splits in sorted(
            counts.items(), key=lambda item: tuple(part or "" for part in item[0])
        )
        if len(splits) > 1
    )


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
        raise BadQuery("no film has a thumbnail; compare vectors instead: --compare vectors")
    return np.asarray(chosen, np.int64), np.concatenate(parts)
