"""Figure of what an encoder matches by: the lift of each column with its interval.

Import this module late: matplotlib takes its time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from store import counted
from ui.report.sheet import (
    INK,
    MARGIN,
    MUTED,
    Provenance,
    clean,
    font,
    png_bytes,
    provenance_of,
    sheet,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from store import ColumnMatch, Gallery, Matches

#: Sees it, may be chance, avoids it: colours of Okabe and Ito, each with a marker of its own.
_ABOVE, _CHANCE, _BELOW = ("#D55E00", "o"), ("#0072B2", "s"), ("#009E73", "v")
_WIDTH, _NAMES, _NUMBERS, _LINE = 6.8, 1.5, 1.55, 0.3  # inches
#: Columns that are drawn; the report's table has all.
_MOST = 20


def matched_by_picture(gallery: Gallery, found: Matches) -> tuple[str, bytes]:
    """Relative path and PNG of the figure."""
    asked = counted(found.queries, "query", "queries")
    sides = f"{found.protocol}, {asked}, first {counted(found.k, 'hit')}"
    origin = provenance_of(gallery, f"{sides}, relevance {found.relevance['name']}")
    about = f"Lift over chance of each column. {origin.footer}"
    return "retrieval_figures/matched_by.png", png_bytes(matched_by_figure(found, origin), about)


def matched_by_figure(found: Matches, provenance: Provenance) -> Figure:
    """Figure of lifts as bars from 1 on a logarithmic scale, the greatest above.

    Args:
        found: with at least one lift above 0.
        provenance: for footer and banner.
    """
    columns = [one for one in found.columns if one.lift][:_MOST]
    title = "What the encoder matches by, beside the finding"
    subtitle = (
        "How many times as often as chance hits with the finding of their query share its value "
        f"too; bars are 95 % intervals over {found.interval['over']}. 1: not matched by."
    )
    tall = _LINE * len(columns)
    figure, _, top = sheet(title, subtitle, provenance, _WIDTH, tall + 0.4)
    height = figure.get_figheight()
    wide = _WIDTH - 2 * MARGIN - _NAMES - _NUMBERS
    box = (MARGIN + _NAMES, height - top - tall, wide, tall)
    axes = figure.add_axes(
        (box[0] / _WIDTH, box[1] / height, box[2] / _WIDTH, box[3] / height), gid="lifts"
    )
    ends = [
        end for one in columns for end in (one.lift, *one.ci95) if math.isfinite(end) and end > 0
    ]
    low, high = min(*ends, 0.5) / 1.15, max(*ends, 2.0) * 1.15
    axes.set_xscale("log")
    axes.set(xlim=(low, high), ylim=(len(columns) - 0.5, -0.5), yticks=[*range(len(columns))])
    ticks = [tick * 10**power for power in range(-3, 5) for tick in (1, 2, 5)]
    axes.set_xticks([tick for tick in ticks if low <= tick <= high], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xticklabels([f"{tick:g}" for tick in ticks if low <= tick <= high])
    axes.set_yticklabels([shorten(clean(one.name), _NAMES - 0.1, 9) for one in columns])
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set_fontproperties(font(9))
    axes.axvline(1, color=MUTED, linewidth=1)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#9a9a9a")
    axes.tick_params(colors=INK, length=3)
    axes.tick_params(axis="y", length=0)
    edge = axes.get_yaxis_transform()
    for place, one in enumerate(columns):
        colour, marker = _style(one)
        axes.barh(place, one.lift - 1, left=1, height=0.5, color=colour, alpha=0.35)
        said = f"{one.lift:.2f}"
        if one.ci95[0] <= one.ci95[1]:
            axes.plot(one.ci95, [place] * 2, color=colour, linewidth=1.6)
            said += f" ({one.ci95[0]:.2f} to {one.ci95[1]:.2f})"
        axes.plot([one.lift], [place], marker, color=colour, markersize=6, gid=f"lift:{one.name}")
        look: dict[str, Any] = {"transform": edge, "va": "center", "clip_on": False}
        axes.text(1.03, place, said, fontproperties=font(8.5), color=INK, **look)
    return figure


def _style(one: ColumnMatch) -> tuple[str, str]:
    low, high = one.ci95
    if low > 1:
        return _ABOVE
    return _BELOW if high < 1 else _CHANCE
