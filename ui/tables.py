"""Tables of evaluations, audits and search results: values and cells, without Streamlit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from store import (
        Comparison,
        Doubt,
        Film,
        FindingDoubt,
        Glance,
        Group,
        Hard,
        Hit,
        Leak,
        NearPair,
        Outcome,
        Output,
        Row,
        Vote,
        Where,
        Whose,
    )

#: Baselines in the order of a page, with their names for a person.
FLOORS = {"raw pixels": "raw pixels", "random": "chance"}


@dataclass(frozen=True, slots=True)
class PrecisionRow:
    """One row of a table of Precision@k.

    Attributes:
        kind: whose row.
        name: of the baseline or the label.
        values: depth, as text, to Precision@k; of a vote to its accuracy.
        map: mean average precision; None where it was not measured.
        intervals: depth to 95 % interval, for the encoder.
        queries: with this label.
    """

    kind: Literal["encoder", "baseline", "label", "majority vote", "hit rate"]
    name: str
    values: Mapping[str, float]
    map: float | None = None
    intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    queries: int = 0

    def cells(self, depths: Iterable[str], digits: int) -> list[str]:
        """Values at these depths; a dash where there is none."""
        return [f"{self.values[k]:.{digits}f}" if k in self.values else "-" for k in depths]


def precision_rows(found: Mapping[str, Any]) -> list[PrecisionRow]:
    """Precision@k of the encoder, its baselines and each label, then vote and hit rate.

    Args:
        found: an evaluation as plain JSON types.
    """
    rows = [PrecisionRow("encoder", "", found["precision"], found["map"], found["ci95"])]
    rows += [
        PrecisionRow("baseline", name.replace("_", " "), one["precision"], one.get("map"))
        for name, one in found["baselines"].items()
    ]
    rows += [
        PrecisionRow("label", name, one["precision"], queries=one["queries"])
        for name, one in found["per_label"].items()
    ]
    if found["vote"]:
        rows.append(PrecisionRow("majority vote", "", found["vote"]))
    return [*rows, PrecisionRow("hit rate", "", found["hit_rate"])]


def _methods(found: Mapping[str, Any], name: str) -> list[tuple[str, PrecisionRow]]:
    """The encoder's row under its name, then those of its floors."""
    ours, *others = precision_rows(found)
    floors = {row.name: row for row in others if row.kind == "baseline"}
    return [(name, ours), *((FLOORS[key], floors[key]) for key in FLOORS if key in floors)]


def precision_table(found: Mapping[str, Any], name: str) -> tuple[list[str], list[list[str]]]:
    """Precision@k of the encoder with its intervals, above its floors.

    Args:
        found: an evaluation as plain JSON types.
        name: of the encoder.

    Returns:
        Column names and rows of text; the encoder's row is the first.
    """
    depths = list(found["precision"])
    rows = []
    for called, row in _methods(found, name):
        cells = row.cells(depths, 3)
        for place, k in enumerate(depths):
            if bounds := row.intervals.get(k):
                cells[place] += f"\n{bounds[0]:.3f}–{bounds[1]:.3f}"
        rows.append([called, *cells, "–" if row.map is None else f"{row.map:.3f}"])
    return ["", *(f"P@{k}" for k in depths), "mAP"], rows


def detail_table(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Precision@k per label, then the majority vote and the hit rate."""
    depths = list(found["precision"])
    names = {"majority vote": "majority vote is right", "hit rate": "at least one of k agrees"}
    rows = [
        [
            names.get(row.kind) or f"queries labelled {row.name}",
            f"{row.queries or found['queries']:,}",
            *row.cells(depths, 3),
        ]
        for row in precision_rows(found)
        if row.kind not in ("encoder", "baseline")
    ]
    return ["", "queries", *(f"k = {k}" for k in depths)], rows


def points(found: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Points of a chart of Precision@k: one per depth and method, with its interval."""
    drawn = []
    for method, row in _methods(found, name):
        for k, value in row.values.items():
            low, high = row.intervals.get(k, (None, None))
            drawn.append(
                {"k": int(k), "precision": value, "method": method, "low": low, "high": high}
            )
    return drawn


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


def fitting(depths: Sequence[int], films: int) -> tuple[int, ...]:
    """Depths within the size of a set of films, the query itself left out."""
    return tuple(k for k in depths if k < films)


def as_dict(
    query: dict[str, Any], k: int, where: Where | None, hits: list[Hit], page: int = 1
) -> dict[str, Any]:
    """Document of a query and its hits, as ``cxr search --json`` prints it."""
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
#: Whose films duplicates are, where somebody should look: see store.analysis.audit.WHOSE.
WRONG_IDS: Final = "several patients"


def labels_of(film: Film) -> str:
    """Labels of a film, or the outcome of looking at it where there are none."""
    return "; ".join(film.labels) or ("" if film.outcome == "not labelled" else film.outcome)


def _film(film: Film) -> list[object]:
    return [film.id, labels_of(film), film.split, film.dataset, film.patient]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def exact(groups: Sequence[Group]) -> Sheet:
    """Sheet of exact duplicates: one line a film, numbered by group."""
    rows = [
        [
            at,
            KINDS[group.kind],
            _yes(group.across),
            _yes(group.labels_differ),
            *_film(film),
            group.whose,
        ]
        for at, group in enumerate(groups, start=1)
        for film in group.films
    ]
    return ["group", "kind", "across splits", "labels differ", *_FILM, "films of"], rows


def near(pairs: Sequence[NearPair]) -> Sheet:
    """Sheet of near duplicates: one line a pair."""
    head = ["cosine", "same source", "across splits", "labels differ"]
    rows = [
        [
            Decimal(f"{pair.cosine:.6f}"),
            _yes(pair.same_source),
            _yes(pair.across),
            _yes(pair.labels_differ),
            *_film(pair.left),
            *_film(pair.right),
            pair.whose,
        ]
        for pair in pairs
    ]
    return [*head, *_FILM, *(f"other {name}" for name in _FILM), "films of"], rows


def whose(counts: Mapping[Whose, int]) -> str:
    """Counts of duplicates by whose films they are, in words."""
    said = [f"{count:,} of {name}" for name, count in counts.items() if name != "unknown"]
    return f"{', '.join(said)}, {counts.get('unknown', 0):,} of patients that are not known"


def whose_groups(groups: Sequence[Group]) -> dict[Whose, int]:
    """Groups of exact duplicates, counted by whose films they are."""
    from store import audit

    return {name: sum(group.whose == name for group in groups) for name in audit.WHOSE}


def votes(found: Sequence[Vote]) -> str:
    """Findings in doubt, each with its votes: ``Effusion 1/10; Mass 0/9``."""
    return "; ".join(f"{vote.finding} {vote.votes}/{vote.of}" for vote in found)


def doubt(one: Doubt) -> str:
    """Line about a film whose neighbours disagree."""
    parts = [
        f"disagreement {one.disagreement:.2f}",
        f"{one.votes} of {one.asked} neighbours say {one.said}",
        f"unsupported: {votes(one.unsupported)}" if one.unsupported else "",
        f"missing: {votes(one.missing)}" if one.missing else "",
        f"mean cosine {one.nearness:.3f}",
    ]
    return "; ".join(part for part in parts if part)


def findings_doubted(found: Mapping[str, FindingDoubt]) -> Sheet:
    """Sheet of findings: one line each, with the films whose neighbours doubt it."""
    head = ["finding", "films", "unsupported", "missing"]
    return head, [[name, one.films, one.unsupported, one.missing] for name, one in found.items()]


#: Films that are not among a film's neighbours, by the name of what they have in common.
EXCLUDED = {
    "patient": "no film of the same patient is asked",
    "study": "no film of the same study is asked",
    "film": "no patients are known: films of one person may ask each other",
}


def left_out(counts: Mapping[Outcome, int]) -> str:
    """Films that took no part, by reason: ``12 not labelled, 3 uncertain only``; empty for none."""
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items() if count)


def doubts(films: Sequence[Doubt], k: int) -> Sheet:
    """Sheet of doubtful labels: one line a film, the most doubtful first."""
    head = ["rank", "disagreement", f"neighbours of {k}", "say", "mean cosine", *_FILM]
    head += ["unsupported", "missing"]
    rows: list[list[object]] = [
        [
            at,
            f"{one.disagreement:.4f}",
            one.votes,
            one.said,
            Decimal(f"{one.nearness:.6f}"),
            *_film(one.film),
            votes(one.unsupported),
            votes(one.missing),
        ]
        for at, one in enumerate(films, start=1)
    ]
    return head, rows


def leaks(found: Sequence[Leak]) -> Sheet:
    """Sheet of patients, or studies, in several splits: one line each, with its films per split."""
    splits = sorted({name for leak in found for name in leak.splits})
    return ["patient", *splits, "dataset", "study"], [
        [
            leak.patient,
            *(leak.splits.get(name, 0) for name in splits),
            leak.dataset,
            leak.study,
        ]
        for leak in found
    ]


def metadata(found: Glance) -> Sheet:
    """Sheet of columns: one line a value, with its films per split; missing values first."""
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
    """Sheet of queries with the lowest Precision@k: one line a query, the worst first."""
    rows: list[list[object]] = [
        [at, one.id, "; ".join(one.labels), f"{one.precision:.4f}", Decimal(f"{one.wrong:.6f}")]
        for at, one in enumerate(found, start=1)
    ]
    return ["rank", "id", "labels", f"P@{k}", "nearest wrong cosine"], rows


def shown(row: Row, output: Output) -> dict[str, Any]:
    """The metadata of a row that an output shows: column to value; without the user's own."""
    from store import COLUMNS

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
