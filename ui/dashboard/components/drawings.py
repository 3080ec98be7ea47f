"""HTML of the study pages. Every string that came from data is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt

from store import Row
from ui.dashboard.components.html import Labels, film

STYLE = Path(__file__).with_name("study.css")


def note(said: str) -> str:
    """A soft line."""
    return f'<div class="cxr"><span class="soft">{escape(said)}</span></div>'


def ramp(low: str, high: str, name: str, missing: int) -> str:
    """The scale of a map that is coloured by numbers."""
    none = f'<span class="soft">no value: {missing:,}, grey</span>' if missing else ""
    return (
        f'<div class="cxr ramp"><span class="num">{escape(low)}</span><i aria-hidden="true"></i>'
        f'<span class="num">{escape(high)}</span><span>{escape(name)}</span>{none}</div>'
    )


def confusion(names: Sequence[str], counts: npt.NDArray[np.int64]) -> str:
    """The majority vote against the truth: a table, right answers on the diagonal.

    Args:
        names: of the labels.
        counts: int64 (labels, labels), queries by label (row) and vote (column).
    """
    head = "".join(f'<th class="num" scope="col">{escape(name)}</th>' for name in names)
    body = []
    for row, name in enumerate(names):
        total = int(counts[row].sum())
        cells = []
        for column, count in enumerate(counts[row].tolist()):
            share = count / total if total else 0.0
            kind = "right" if row == column else "wrong"
            mark = ("✓ " if row == column else "✗ ") if count else ""
            cells.append(
                f'<td class="num {kind}" style="--share:{100 * share:.0f}%">'
                f'<span aria-hidden="true">{mark}</span>{count:,}'
                f'<span class="ci">{100 * share:.1f} %</span></td>'
            )
        body.append(
            f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}'
            f'<td class="num">{total:,}</td></tr>'
        )
    return (
        '<div class="cxr scroll"><table class="confusion"><thead><tr><th>label of the query</th>'
        f'<th class="num" colspan="{len(names)}">majority of the neighbours says</th>'
        f'<th class="num">queries</th></tr><tr><th></th>{head}<th></th></tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def side_by_side(
    films: Sequence[tuple[Row, bytes | None]], labels: Labels, facts: Sequence[str]
) -> str:
    """Two films or more beside each other, with what is said of them together."""
    drawn = "".join(
        f"<figure>{film(png, f'chest film {row.id}')}<figcaption>{labels.chips(row)}"
        f'<span class="soft mono">{escape(row.id).replace("/", "/<wbr>")}</span></figcaption>'
        "</figure>"
        for row, png in films
    )
    said = "".join(f'<span class="badge">{escape(fact)}</span>' for fact in facts)
    return f'<div class="cxr beside">{drawn}</div><div class="cxr chips">{said}</div>'
