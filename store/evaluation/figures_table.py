"""Figures of an evaluation in a notebook: one line a figure, and HTML with a chart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from store import notebook
from store.evaluation.per_query import MEASURES

_WIDE, _TALL, _PAD = 360, 170, 34
#: The encoder, then its floors: colours of Okabe and Ito.
_COLOURS = ("#0072b2", "#d55e00", "#666666")


def lines(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every figure of an evaluation.

    Args:
        found: an evaluation as plain JSON types.

    Returns:
        Records with ``protocol``, ``of`` (encoder, a baseline, a label or a finding), ``name``,
        ``measure``, ``k`` (None of a whole ranking), ``value``, ``low`` and ``high`` (None where
        there is no interval).
    """
    return [{"protocol": found["protocol"], **one} for one in _lines(found)]


def _lines(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for measure in MEASURES:
        bounds = found["ci95"] if measure == "precision" else found["intervals"].get(measure, {})
        yield from _by_depth("encoder", "", measure, found[measure], bounds)
    for name in ("map", "r_precision"):
        if found[name] is not None:
            yield _line("encoder", "", name, None, found[name])
    for name, one in found["baselines"].items():
        for measure, value in one.items():
            if isinstance(value, Mapping):
                yield from _by_depth("baseline", name, measure, value, {})
            elif value is not None:
                yield _line("baseline", name, measure, None, value)
    for label, part in found["per_label"].items():
        yield from _by_depth("label", label, "precision", part["precision"], {})
    for finding, part in found["per_finding"].items():
        for measure in ("precision", "recall"):
            yield from _by_depth("finding", finding, measure, part[measure], {})


def _by_depth(
    of: str,
    name: str,
    measure: str,
    values: Mapping[str, float],
    bounds: Mapping[str, Sequence[float]],
) -> Iterator[dict[str, Any]]:
    for k, value in values.items():
        yield _line(of, name, measure, int(k), value, bounds.get(k))


def _line(
    of: str,
    name: str,
    measure: str,
    k: int | None,
    value: float,
    bounds: Sequence[float] | None = None,
) -> dict[str, Any]:
    low, high = bounds or (None, None)
    return {
        "of": of,
        "name": name,
        "measure": measure,
        "k": k,
        "value": float(value),
        "low": low,
        "high": high,
    }


def html(found: Mapping[str, Any]) -> str:
    """Precision@k above its floors, as a table and as a chart.

    Args:
        found: an evaluation as plain JSON types.
    """
    depths = list(found["precision"])
    name = str(found["store"].get("encoder", "encoder"))
    drawn: list[tuple[str, Mapping[str, float]]] = [(name, found["precision"])]
    drawn += [(called, one["precision"]) for called, one in found["baselines"].items()]
    intervals = {k: bounds for k, bounds in found["ci95"].items() if None not in bounds}
    rows = []
    for at, (called, values) in enumerate(drawn):
        cells = [f"{values[k]:.4f}" for k in depths]
        if not at:
            for place, k in enumerate(depths):
                if k in intervals:
                    lower, upper = intervals[k]
                    cells[place] += f" [{lower:.3f}, {upper:.3f}]"
        rows.append([called.replace("_", " "), *cells])
    head = [f"{found['protocol']}, {found['queries']:,} queries", *(f"P@{k}" for k in depths)]
    relevance = found["relevance"]
    notes = [f"Relevance {relevance['name']}: {relevance['definition']}."]
    return notebook.table_html(head, rows, notes) + _chart(depths, drawn, intervals)


def _chart(
    depths: Sequence[str],
    drawn: Sequence[tuple[str, Mapping[str, float]]],
    intervals: Mapping[str, Sequence[float]],
) -> str:
    """Precision over depth as SVG: a line a method, intervals of the first."""
    values = [one[k] for _, one in drawn for k in depths]
    low = max(0.0, math.floor(10 * min(values)) / 10)

    def x(k: str) -> float:
        step = (_WIDE - 2 * _PAD) / max(len(depths) - 1, 1)
        return _PAD + depths.index(k) * step

    def y(value: float) -> float:
        return _TALL - _PAD + (_PAD / 2 + _PAD - _TALL) * (value - low) / max(1 - low, 1e-9)

    parts = [
        f'<text x="{x(k):.0f}" y="{_TALL - 12}" text-anchor="middle">k = {k}</text>' for k in depths
    ]
    parts += [
        f'<text x="2" y="{y(at) + 4:.0f}">{at:.1f}</text>' for at in dict.fromkeys((low, 1.0))
    ]
    for (_, one), colour in zip(drawn, _COLOURS, strict=False):
        points = " ".join(f"{x(k):.1f},{y(one[k]):.1f}" for k in depths)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        parts += [
            f'<circle cx="{x(k):.1f}" cy="{y(one[k]):.1f}" r="3" fill="{colour}"/>' for k in depths
        ]
    for k, (lower, upper) in intervals.items():
        ends = f'x1="{x(k):.1f}" x2="{x(k):.1f}" y1="{y(lower):.1f}" y2="{y(upper):.1f}"'
        parts.append(f'<line {ends} stroke="{_COLOURS[0]}"/>')
    label = f"Precision at k of {len(drawn)} methods"
    return (
        f'<svg width="{_WIDE}" height="{_TALL}" role="img" aria-label="{label}" '
        f'style="font:11px sans-serif">{"".join(parts)}</svg>'
    )
