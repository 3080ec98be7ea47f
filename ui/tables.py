"""An evaluation as rows of text and as points of a chart. No Streamlit here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from store.analysis.compare import Comparison
from ui import printing

if TYPE_CHECKING:
    from store import Hit, Where

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
                "labels": list(hit.row.labels),
                "uncertain": list(hit.row.uncertain),
                "absent": list(hit.row.absent),
                "split": hit.row.split,
                "dataset": hit.row.dataset,
                "source": hit.row.source,
                "extra": printing.plain(hit.row.extra),
            }
            for hit in hits
        ],
    }
