"""What an audit and a study find, as rows of a table: for a page, a CSV file and a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from store.analysis.audited import Doubt, Film, Glance, Group, Leak, NearPair
from store.evaluation.per_query import Hard

#: Column names, then rows of cells.
Sheet = tuple[list[str], list[list[object]]]

KINDS = {"source": "same source", "vector": "same vector"}
_FILM = ("id", "labels", "split", "dataset", "patient")


def _film(film: Film) -> list[object]:
    return [film.id, "; ".join(film.labels), film.split, film.dataset, film.patient]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def exact(groups: Sequence[Group]) -> Sheet:
    """One line a film, numbered by group."""
    rows = [
        [at, KINDS[group.kind], _yes(group.across), _yes(group.labels_differ), *_film(film)]
        for at, group in enumerate(groups, start=1)
        for film in group.films
    ]
    return ["group", "kind", "across splits", "labels differ", *_FILM], rows


def near(pairs: Sequence[NearPair]) -> Sheet:
    """One line a pair."""
    head = ["cosine", "same source", "across splits", "labels differ"]
    rows = [
        [
            Decimal(f"{pair.cosine:.6f}"),
            _yes(pair.same_source),
            _yes(pair.across),
            _yes(pair.labels_differ),
            *_film(pair.left),
            *_film(pair.right),
        ]
        for pair in pairs
    ]
    return [*head, *_FILM, *(f"other {name}" for name in _FILM)], rows


def doubts(films: Sequence[Doubt], k: int) -> Sheet:
    """One line a film, the most doubtful first."""
    head = ["rank", "disagreement", f"neighbours of {k}", "say", "mean cosine", *_FILM]
    rows = [
        [
            at,
            f"{one.disagreement:.4f}",
            one.votes,
            one.said,
            Decimal(f"{one.nearness:.6f}"),
            *_film(one.film),
        ]
        for at, one in enumerate(films, start=1)
    ]
    return head, rows


def leaks(found: Sequence[Leak]) -> Sheet:
    """One line a patient."""
    splits = sorted({name for leak in found for name in leak.splits})
    return ["patient", *splits], [
        [leak.patient, *(leak.splits.get(name, 0) for name in splits)] for leak in found
    ]


def metadata(found: Glance) -> Sheet:
    """One line a value of a column, with its films per split; first those without a value."""
    rows: list[list[object]] = []
    splits = list(found.rows)
    for column in found.columns:
        gaps = [column.missing.get(split, 0) for split in splits]
        rows.append([column.name, "(missing)", *gaps, sum(gaps)])
        for value, counts in column.values.items():
            shown = [counts.get(split, 0) for split in splits]
            rows.append([column.name, value, *shown, sum(shown)])
    return ["column", "value", *(split or "(no split)" for split in splits), "all"], rows


def hardest(found: Sequence[Hard], k: int) -> Sheet:
    """One line a query, the worst first."""
    rows: list[list[object]] = [
        [at, one.id, "; ".join(one.labels), f"{one.precision:.4f}", Decimal(f"{one.wrong:.6f}")]
        for at, one in enumerate(found, start=1)
    ]
    return ["rank", "id", "labels", f"P@{k}", "nearest wrong cosine"], rows
