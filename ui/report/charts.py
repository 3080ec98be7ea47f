"""Precision@k beside its floors, drawn as one panel per protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ui.report.lettering import clean, font, shorten
from ui.report.sheet import INK, MARGIN, Provenance, sheet, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from store import Evaluation

#: Okabe-Ito; every series has its own marker and line style too.
_STYLES: dict[str, dict[str, Any]] = {
    "encoder": {"color": "#0072B2", "marker": "o", "linestyle": "solid", "linewidth": 2},
    "raw_pixels": {"color": "#D55E00", "marker": "s", "linestyle": "dashed", "linewidth": 1.5},
    "random": {"color": "#6b6b6b", "marker": "", "linestyle": "dotted", "linewidth": 1.8},
}
_OTHER: dict[str, Any] = {"color": "#CC79A7", "marker": "^", "linestyle": "dashdot"}
_PANEL, _TALL, _LABELS, _AXIS = 3.4, 3.1, 1.15, 0.55  # inches


def precision_figure(
    evaluations: Sequence[Evaluation], provenance: Provenance, *, name: str = "encoder"
) -> Figure:
    """Draw Precision@k with its 95 % intervals beside the floors, one panel per evaluation.

    Args:
        evaluations: at least one; the panels share the axis of precision.
        provenance: for footer and banner.
        name: what the encoder's line is called.
    """
    panels = len(evaluations)
    width = max(6.4, 2 * MARGIN + _AXIS + panels * (_PANEL + _LABELS))
    title = "Precision@k beside its floors"
    subtitle = "Share of the first k hits that carry the query's label; bars are 95 % intervals."
    figure, page, top = sheet(title, subtitle, provenance, width, _TALL + 0.75)
    height = figure.get_figheight()
    series = [_series(evaluation, name) for evaluation in evaluations]
    lowest = min(min(values) for panel in series for _, values, _ in panel)
    floor = max(0.0, int(lowest * 10 - 0.2) / 10)
    for number, (evaluation, panel) in enumerate(zip(evaluations, series, strict=True)):
        left = MARGIN + _AXIS + number * (_PANEL + _LABELS)
        box = (left, height - top - 0.3 - _TALL, _PANEL, _TALL)
        axes = figure.add_axes(
            (box[0] / width, box[1] / height, box[2] / width, box[3] / height),
            gid=f"panel:{evaluation.protocol}",
        )
        heading = f"{evaluation.protocol}: {evaluation.queries:,} queries, "
        heading += f"gallery of {evaluation.gallery:,}"
        write(page, left, top, heading, 9, bold=True)
        _draw_panel(axes, evaluation, panel, floor)
        if not number:
            start = f" (axis begins at {floor:.1f})" if floor else ""
            axes.set_ylabel(f"precision{start}", fontproperties=font(9))
    return figure


_Series = tuple[str, list[float], str]


def _series(evaluation: Evaluation, name: str) -> list[_Series]:
    """Key, values by k and label of every line, the encoder's first."""
    lines: list[_Series] = [("encoder", [*evaluation.precision.values()], name)]
    for key, floor in evaluation.baselines.items():
        values = [floor["precision"][k] for k in evaluation.precision]
        lines.append((key, values, key.replace("_", " ")))
    return lines


def _draw_panel(
    axes: Axes, evaluation: Evaluation, series: Sequence[_Series], floor: float
) -> None:
    cutoffs = [*evaluation.precision]
    places = range(len(cutoffs))
    ticks = [tick / 10 for tick in range(round(floor * 10), 11)]
    top = 1 + 0.09 * (1 - floor)  # room for a number above a bar that ends at 1
    axes.set(xlim=(-0.35, len(cutoffs) - 0.65), ylim=(floor, top), xticks=[*places], yticks=ticks)
    axes.set_xticklabels([f"k = {k}" for k in cutoffs])
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set_fontproperties(font(8.5))
    axes.grid(axis="y", color="#e3e3e3", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#9a9a9a")
    axes.tick_params(colors=INK, length=3)
    ends = _spread([values[-1] for _, values, _ in series], 0.062 * (1 - floor), floor)
    edge = axes.get_xlim()[1] + 0.04
    for (key, values, label), end in zip(series, ends, strict=True):
        style = _STYLES.get(key, _OTHER)
        axes.plot(places, values, gid=f"series:{key}", markersize=5.5, **style)
        words = shorten(clean(label), _LABELS - 0.15, 8.5, bold=True)
        look: dict[str, Any] = {"color": style["color"], "va": "center", "clip_on": False}
        axes.text(edge, end, words, fontproperties=font(8.5, True), parse_math=False, **look)
    _draw_intervals(axes, evaluation, floor)


def _draw_intervals(axes: Axes, evaluation: Evaluation, floor: float) -> None:
    """The encoder's numbers, above the bars of their intervals where there are intervals."""
    for place, (k, value) in enumerate(evaluation.precision.items()):
        low, high = evaluation.ci95.get(k, (value, value))
        # A percentile interval may leave out its own mean.
        low, high = min(low, value), max(high, value)
        if k in evaluation.ci95:
            bar = [[value - low], [high - value]]
            look = {"ecolor": _STYLES["encoder"]["color"], "capsize": 4, "elinewidth": 1.4}
            axes.errorbar([place], [value], yerr=bar, fmt="none", **look)
        where: dict[str, Any] = {"ha": "center", "va": "bottom", "color": INK}
        height = high + 0.012 * (1 - floor)
        axes.text(place, height, f"{value:.3f}", fontproperties=font(8), **where)


def _spread(values: Sequence[float], gap: float, floor: float) -> list[float]:
    """Move label positions apart, keeping their order, so that none covers another."""
    placed = [0.0] * len(values)
    previous = floor - gap / 2
    for index in sorted(range(len(values)), key=lambda index: (values[index], -index)):
        previous = max(values[index], previous + gap)
        placed[index] = previous
    return placed
