"""Figure of risk-coverage curves: risk of the answers given against their share, sign by sign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ui.report.sheet import MARGIN, font, sheet, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from store import Abstention, Curve, Selective
    from ui.report.sheet import Provenance

_PANEL, _TALL, _AXIS, _GAP = 4.4, 3.1, 0.65, 0.75
#: Okabe and Ito's colours, and a marker for each.
_COLOURS = (("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "^"))


def risk_figure(found: Selective, provenance: Provenance) -> Figure:
    """Figure of the curves, one panel for each risk, with the rules that were chosen.

    Args:
        found: measured.
        provenance: for footer and banner.
    """
    panels: list[tuple[str, Mapping[str, Curve]]] = [(f"Risk: 1 - P@{found.k}", found.curves)]
    if found.vote_curves:
        panels.append((f"Risk: the vote of {found.k} is wrong", found.vote_curves))
    width = MARGIN + len(panels) * (_AXIS + _PANEL + _GAP)
    subtitle = (
        f"{found.queries:,} queries of {found.reported_on}; rules (markers) chosen on "
        f"{found.choosing:,} of {found.chosen_on}. Lower is better."
    )
    figure, page, top = sheet("Risk and coverage", subtitle, provenance, width, _TALL + 1.5)
    height = figure.get_figheight()
    for number, (risk, curves) in enumerate(panels):
        left = MARGIN + _AXIS + number * (_AXIS + _PANEL + _GAP)
        below = height - top - 0.3 - _TALL
        axes = figure.add_axes(
            (left / width, below / height, _PANEL / width, _TALL / height), gid=f"panel:{risk}"
        )
        write(page, left, top, risk, 9, bold=True)
        _draw(axes, curves, found.rules if not number else {})
        if not number:
            axes.set_ylabel("risk of the answers given", fontproperties=font(9))
    return figure


def _draw(axes: Axes, curves: Mapping[str, Curve], rules: Mapping[str, Abstention]) -> None:
    for (name, curve), (colour, marker) in zip(curves.items(), _COLOURS, strict=False):
        label = f"{name}, AURC {curve.aurc:.4f}"
        axes.plot(curve.coverage, curve.risk, color=colour, linewidth=1.6, label=label)
        rule = rules.get(name)
        if rule is not None and rule.below is not None:
            given = rule.reported
            place = [given["coverage"]], [1 - given["precision"]]
            axes.plot(*place, marker=marker, color=colour, markersize=7, linestyle="none")
    chance = next(iter(curves.values())).chance
    blind = f"held back blindly, {chance:.4f}"
    axes.axhline(chance, color="#5b6770", linewidth=1, linestyle=(0, (4, 3)), label=blind)
    axes.plot(
        [], [], color="#5b6770", linestyle=(0, (4, 3)), label=f"held back blindly, {chance:.4f}"
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("coverage: share of queries answered", fontproperties=font(9))
    axes.tick_params(labelsize=8)
    axes.grid(color="#d3dde3", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(
        prop=font(8), frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2
    )
