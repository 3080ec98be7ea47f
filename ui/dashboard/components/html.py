"""HTML of the dashboard. Every string that came from data, a link or a person is escaped here."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt

from store import Hit, Row
from ui.dashboard.search.answer import Label
from ui.tables import shown

STYLE = Path(__file__).with_name("board.css")
#: Favicon. Streamlit would fetch an emoji or a Material icon from another site.
ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<rect width="32" height="32" rx="7" fill="#0a6780"/><g fill="none" stroke="#fff" stroke-width="2.4"
stroke-linecap="round"><path d="M16 5v9M16 14c-1 4-3 3-3 5M16 14c1 4 3 3 3 5"/>
<path d="M12.5 9.5C8 11 6 19 6.500 25c3 1 6-.5 6.500-2.500z"/>
<path d="M19.500 9.500C24 11 26 19 25.500 25c-3 1-6-.5-6.500-2.500z"/></g></svg>"""

#: Okabe-Ito colours with a shape each: a label is told by text, by shape and by colour.
_MARKS = (
    ("●", "#0072B2"),
    ("▲", "#D55E00"),
    ("■", "#009E73"),
    ("◆", "#CC79A7"),
    ("★", "#E69F00"),
    ("⬢", "#56B4E9"),
    ("✚", "#8A6D00"),
    ("▼", "#999999"),
)
_OTHER = ("○", "#808080")


@dataclass(frozen=True, slots=True)
class Scale:
    """The fixed scale of a score bar: cosines at its ends, and what kind of bar it is."""

    low: float
    high: float
    kind: str


#: Cosines of images, of sentences and of both combined live on different scales, so each has its
#: own, in its own colour.
IMAGE_SCALE, TEXT_SCALE = Scale(0.0, 1.0, "image"), Scale(0.0, 1.0, "text")
COMBINED_SCALE = Scale(0.0, 1.0, "combined")

#: Own columns on a card; more are folded.
_OWN_SHOWN = 3

_ADDRESS = re.compile(r"https?:(?=//)|www(?=\.)|@(?=[\w-]+\.)", re.IGNORECASE)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~:$&])")


class Labels:
    """Shape and colour of every label of a gallery: the same on every page and every visit."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.names = sorted(counts)
        ranked = sorted(counts, key=lambda name: (-counts[name], name))[: len(_MARKS)]
        self._marks = dict(zip(sorted(ranked), _MARKS, strict=False))

    def mark(self, label: str) -> tuple[str, str]:
        """Glyph and colour; a grey ring beyond the eight most frequent labels."""
        return self._marks.get(label, _OTHER)

    def chip(self, label: str) -> str:
        """One label as HTML."""
        glyph, colour = self.mark(label)
        return (
            f'<span class="chip"><b aria-hidden="true" style="color:{colour}">{glyph}</b>'
            f"{escape(label)}</span>"
        )

    def chips(self, row: Row) -> str:
        """A film's labels and its split as HTML; says so when it has no label."""
        found = "".join(self.chip(label) for label in row.labels) or _NO_LABEL
        split = f'<span class="badge">{escape(row.split)}</span>' if row.split else ""
        return f'<div class="chips">{found}{split}</div>'


_NO_LABEL = '<span class="chip none">not labelled</span>'


def plain(text: str) -> str:
    """Text that Streamlit's Markdown shows as it is, e.g. in a button or a message.

    An address becomes no link either: escapes do not keep GitHub's Markdown from making one, so an
    invisible word joiner does.
    """
    return _MARKDOWN.sub(r"\\\1", _ADDRESS.sub("\\g<0>\u2060", " ".join(text.split())))


def films(count: int) -> str:
    """How many films, in words."""
    return "1 film" if count == 1 else f"{count:,} films"


def film(png: bytes | None, alt: str) -> str:
    """A thumbnail as HTML, inside the page: nothing is left at an address of its own."""
    if png is None:
        return f'<div class="film none" role="img" aria-label="{escape(alt)}">no thumbnail</div>'
    data = base64.b64encode(png).decode()
    return f'<img class="film" src="data:image/png;base64,{data}" alt="{escape(alt)}">'


def bar(score: float, scale: Scale) -> str:
    """A cosine on a fixed scale."""
    width = 100 * min(max((score - scale.low) / (scale.high - scale.low), 0.0), 1.0)
    style = f"width:{width:.1f}%"
    return f'<div class="bar {scale.kind}" aria-hidden="true"><i style="{style}"></i></div>'


def hit(
    found: Hit,
    png: bytes | None,
    labels: Labels,
    scale: Scale,
    badges: Sequence[str] = (),
) -> str:
    """One result."""
    row = found.row
    return (
        f'<div class="cxr hit">{film(png, f"Rank {found.rank}: {_spoken(row)}")}'
        f'<div class="head"><span class="rank num">#{found.rank}</span>'
        f'<span class="score num" title="cosine">{found.score:.3f}</span></div>'
        f"{bar(found.score, scale)}{labels.chips(row)}{_badges(badges)}{particulars(row)}"
        f"{_where(row)}</div>"
    )


def particulars(row: Row) -> str:
    """Metadata that has no other place on a card, and the user's own; "" where there is none."""
    lines = [
        (name, ", ".join(value) if isinstance(value, tuple) else str(value))
        for name, value in shown(row, "card").items()
        if value not in (None, "", ())
    ]
    own = [(name, str(value)) for name, value in row.extra.items() if value is not None]
    if len(own) <= _OWN_SHOWN:
        return _facts(lines + own)
    return (
        f'{_facts(lines)}<details class="soft"><summary>{len(own)} columns of your own</summary>'
        f"{_facts(own)}</details>"
    )


def _facts(lines: Sequence[tuple[str, str]]) -> str:
    drawn = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in lines
    )
    return f'<dl class="facts">{drawn}</dl>' if lines else ""


def mark_card(row: Row, png: bytes | None, labels: Labels, sign: str) -> str:
    """A marked film, small."""
    told = "like" if sign == "+" else "unlike"
    return (
        f'<div class="cxr mark">{film(png, f"{told}: {_spoken(row)}")}<span class="about">'
        f'<span class="sign">{sign} {told}</span>{"".join(map(labels.chip, row.labels))}'
        f"{_where(row)}</span></div>"
    )


def film_card(row: Row, png: bytes | None, labels: Labels) -> str:
    """A film to start from: no rank, no score."""
    picture = film(png, _spoken(row))
    return f'<div class="cxr hit">{picture}{labels.chips(row)}{particulars(row)}{_where(row)}</div>'


def query_card(kind: str, title: str, detail: str, picture: str = "", chips: str = "") -> str:
    """What is being looked for."""
    style = "mono" if picture else "prompt"
    return (
        f'<div class="cxr query">{picture}<div class="about"><span class="kind">{escape(kind)}'
        f'</span><span class="{style}">{escape(title)}</span>{chips}'
        f'<span class="soft">{escape(detail)}</span></div></div>'
    )


def neighbours(lines: Sequence[Label], title: str, legend: str, labels: Labels) -> str:
    """Labels among the hits against how common they are.

    Args:
        lines: one a label.
        title: one sentence above.
        legend: one sentence below.
        labels: for shape and colour.
    """
    drawn = []
    for line in lines:
        colour = labels.mark(line.name)[1]
        tick = base = ""
        if line.base is not None:
            tick = f'<u style="left:calc({100 * line.base:.1f}% - 1px)"></u>'
            base = f"{100 * line.base:.0f} %"
        low, high = 100 * line.low, 100 * line.high
        drawn.append(
            f'<div class="line"><span>{labels.chip(line.name)}</span><span class="track" '
            f'aria-hidden="true"><i style="width:{100 * line.found / line.total:.1f}%;'
            f'background:{colour}"></i><s style="left:{low:.1f}%;width:{high - low:.1f}%"></s>'
            f'{tick}</span><span class="num">{line.found} of {line.total}'
            f'<span class="ci">{low:.0f}–{high:.0f} %</span></span>'
            f'<span class="soft num">{base}</span></div>'
        )
    return (
        f'<div class="cxr say"><span class="title">{escape(title)}</span>{"".join(drawn)}'
        f'<span class="soft">{escape(legend)}</span></div>'
    )


def status(parts: Sequence[str]) -> str:
    """The small permanent line; the first part is the warning."""
    first, *rest = parts
    spans = "".join(f"<span>{escape(part)}</span>" for part in rest)
    return f'<div class="cxr status"><span class="care">{escape(first)}</span>{spans}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], strong: int | None = None) -> str:
    """A table of text; columns after the first are numbers. A newline starts a small line.

    Args:
        head: column names.
        rows: cells, escaped here.
        strong: index of the row to stress.
    """
    number = ' class="num"'
    top = "".join(f"<th{number if at else ''}>{escape(name)}</th>" for at, name in enumerate(head))
    body = []
    for line, cells in enumerate(rows):
        drawn = "".join(
            f"<td{number if at else ''}>{_cell(cell)}</td>" for at, cell in enumerate(cells)
        )
        body.append(f'<tr class="{"ours" if line == strong else ""}">{drawn}</tr>')
    return (
        f'<div class="cxr scroll"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def legend(entries: Sequence[tuple[str, str, str]]) -> str:
    """What the lines of a chart are: name, glyph, colour."""
    drawn = "".join(
        f'<span><b aria-hidden="true" style="color:{colour}">{glyph}</b> {escape(name)}</span>'
        for name, glyph, colour in entries
    )
    return f'<div class="cxr key">{drawn}</div>'


def fact(name: str, value: str) -> str:
    """One named value, which may be long."""
    return (
        f'<div class="fact"><span class="soft">{escape(name)}</span>'
        f'<span class="mono">{escape(value)}</span></div>'
    )


def _cell(text: str) -> str:
    first, _, small = text.partition("\n")
    return escape(first) + (f'<span class="ci">{escape(small)}</span>' if small else "")


def _badges(badges: Sequence[str]) -> str:
    if not badges:
        return ""
    return (
        '<div class="chips">'
        + "".join(f'<span class="badge">{escape(badge)}</span>' for badge in badges)
        + "</div>"
    )


def _where(row: Row) -> str:
    return f'<div class="soft mono">{escape(row.id).replace("/", "/<wbr>")}</div>'


def _spoken(row: Row) -> str:
    return f"chest film {row.id}, {', '.join(row.labels) or 'not labelled'}"


STUDY_STYLE = Path(__file__).with_name("study.css")


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
