"""An evaluation as rows of text and as points of a chart. No Streamlit here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from store import COLUMNS, Comparison, Doubt, Film, Glance, Group, Hard, Leak, NearPair

if TYPE_CHECKING:
    from store import Hit, Output, Row, Where

#: Baselines in the order they are shown, with what a person calls them.
FLOORS = {"raw_pixels": "raw pixels", "random": "chance"}


def precision_table(found: Mapping[str, Any], name: str) -> tuple[list[str], list[list[str]]]:
    """Precision@k of the encoder with its intervals, above its floors.

    Args:
        found: an evaluation as plain JSON types.
        name: of the encoder.

    Returns:
        Column names and rows of text; the encoder's row is the first.
    """
    depths = list(found["precision"])
    ours = [f"{found['precision'][k]:.3f}{interval(found, k)}" for k in depths]
    rows = [[name, *ours, _share(found["map"])]]
    for floor, called in FLOORS.items():
        measured = found["baselines"].get(floor)
        if measured:
            cells = [f"{measured['precision'][k]:.3f}" for k in depths]
            rows.append([called, *cells, _share(measured.get("map"))])
    return ["", *(f"P@{k}" for k in depths), "mAP"], rows


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def interval(found: Mapping[str, Any], k: str) -> str:
    """The 95 % interval on a second line, if there is one."""
    bounds = found["ci95"].get(k)
    return f"\n{bounds[0]:.3f}–{bounds[1]:.3f}" if bounds else ""


def detail_table(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Per label, then the majority vote and the hit rate."""
    depths = list(found["precision"])

    def row(name: str, queries: int, values: Mapping[str, float]) -> list[str]:
        return [name, f"{queries:,}", *(f"{values[k]:.3f}" for k in depths)]

    rows = [
        row(f"queries labelled {label}", one["queries"], one["precision"])
        for label, one in found["per_label"].items()
    ]
    if found["vote"]:
        rows.append(row("majority vote is right", found["queries"], found["vote"]))
    rows.append(row("at least one of k agrees", found["queries"], found["hit_rate"]))
    return ["", "queries", *(f"k = {k}" for k in depths)], rows


def comparison_table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Precision@k of two stores and their paired difference; one row a depth."""
    names = [f"{store['encoder']}\n{store['fingerprint'][:8]}" for store in found.stores]
    rows = []
    for k, difference in found.difference.items():
        low, high = found.ci95[k]
        rows.append(
            [
                f"P@{k}",
                *(f"{precision[k]:.3f}" for precision in found.precision),
                f"{difference:+.3f}\n{low:+.3f} to {high:+.3f}",
                f"{found.better[k]:,}",
                f"{found.worse[k]:,}",
            ]
        )
    head = [name.partition("\n")[0] for name in names]
    if head[0] == head[1]:
        head = [name.replace("\n", " ") for name in names]
    return ["", *head, "difference", "better here", "better there"], rows


def points(found: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """One point per depth and method, with the interval where there is one."""
    lines = {name: found["precision"]}
    for floor, called in FLOORS.items():
        if floor in found["baselines"]:
            lines[called] = found["baselines"][floor]["precision"]
    drawn = []
    for method, precision in lines.items():
        for k, value in precision.items():
            low, high = found["ci95"].get(k, (None, None)) if method == name else (None, None)
            drawn.append(
                {"k": int(k), "precision": value, "method": method, "low": low, "high": high}
            )
    return drawn


def fitting(depths: Sequence[int], films: int) -> tuple[int, ...]:
    """The depths that a set of films can answer when the query itself is left out."""
    return tuple(k for k in depths if k < films)


def as_dict(
    query: dict[str, Any], k: int, where: Where | None, hits: list[Hit], page: int = 1
) -> dict[str, Any]:
    """The query and its hits as the command line prints them."""
    turned = {"page": page} if page > 1 else {}
    return {
        "query": {**query, "k": k, **turned, "where": str(where) if where else ""},
        "hits": [
            {
                "rank": hit.rank,
                "id": hit.row.id,
                "score": hit.score,
                **plain(shown(hit.row, "json")),
                "extra": plain(hit.row.extra),
            }
            for hit in hits
        ],
    }


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


def shown(row: Row, output: Output) -> dict[str, Any]:
    """The metadata of a row that an output shows: column to value; without the user's own."""
    return {
        name: getattr(row, name)
        for name, column in COLUMNS.items()
        if output not in column.absent_from
    }


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a row as JSON has them: dates as ``2024-05-01``, findings as lists."""
    return {
        name: value.isoformat()
        if isinstance(value, date)
        else list(value)
        if isinstance(value, tuple)
        else value
        for name, value in values.items()
    }
