"""HTML of the dashboard; every text from data, from a link or from a person is escaped here."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from store import (
    NO_FINDING,
    Hit,
    Passage,
    Row,
    WordHit,
    counted,
    findings,
    given_places,
    names_nothing,
)
from ui.tables import in_words
from ui.word_hits import cosine_of, found_by, is_word_hit

#: Style sheet of all pages.
STYLE = Path(__file__).with_name("style.css")
#: Favicon. Streamlit would fetch an emoji or a Material icon from another site.
ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<rect width="32" height="32" rx="7" fill="#0a6780"/><g fill="none" stroke="#fff" stroke-width="2.4"
stroke-linecap="round"><path d="M16 5v9M16 14c-1 4-3 3-3 5M16 14c1 4 3 3 3 5"/>
<path d="M12.5 9.5C8 11 6 19 6.500 25c3 1 6-.5 6.500-2.500z"/>
<path d="M19.500 9.500C24 11 26 19 25.500 25c-3 1-6-.5-6.500-2.500z"/></g></svg>"""

#: Okabe-Ito colours and shapes: a label is told by text, by shape and by colour.
_COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8A6D00",
    "#999999",
)
_SHAPES = "●▲■◆★⬢✚▼"
_OTHER = ("○", "#808080")
#: Of films in which nothing was found.
_NOTHING = ("∅", "#4f8f63")


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


class LabelShare(NamedTuple):
    """Share of a label among some hits, against its share of all films.

    Attributes:
        name: the label.
        found: hits with it.
        total: hits.
        base: its share of what was searched, 0 to 1; None when nothing was.
        low, high: 95 % interval of its share among such hits.
    """

    name: str
    found: int
    total: int
    base: float | None
    low: float
    high: float


#: Characters of labels in a line of a card, and what is around a label, in characters.
_LABELS, _AROUND = 28, 5
#: Characters of an id that are always seen at its end, where films of one folder differ.
_ID_END = 12

_ADDRESS = re.compile(r"https?:(?=//)|www(?=\.)|@(?=[\w-]+\.)", re.IGNORECASE)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~:$&])")


class Labels:
    """Shape and colour of every label of a gallery: the same on every page and every visit."""

    def __init__(self, names: Iterable[str], places: Mapping[str, int] | None = None) -> None:
        """Make marks of labels.

        Args:
            names: of the labels.
            places: of those that name a finding, as store.label_places has them; None gives places
                by the names alone.
        """
        self.names = sorted(names)
        named = findings(self.names)
        self._places = given_places(named) if places is None else places

    def mark(self, label: str) -> tuple[str, str]:
        """Glyph and colour; a grey ring where a label has no place."""
        if names_nothing(label):
            return _NOTHING
        place = self._places.get(label)
        if place is None:
            return _OTHER
        return _SHAPES[(place + place // len(_COLOURS)) % len(_SHAPES)], _COLOURS[
            place % len(_COLOURS)
        ]

    def chip(self, label: str) -> str:
        """One label as HTML; one that says that nothing was found has a look of its own."""
        kind, text = ("chip nothing", NO_FINDING) if names_nothing(label) else ("chip", label)
        name = f'<span class="name">{escape(text)}</span>'
        return (
            f'<span class="{kind}" title="{escape(text)}">{_glyph(*self.mark(label))}{name}</span>'
        )

    def found(self, row: Row, most: int | None = None) -> str:
        """What came of looking at a film as HTML: its findings, or one chip that says why none.

        Args:
            row: the film.
            most: characters there is room for; how many more there are, and which, stands behind.
        """
        named = row.named_findings
        if not named:
            return f'<span class="chip none">{row.outcome}</span>'
        first = list(named if most is None else _fitting(named, most))
        rest = named[len(first) :]
        more = f'<span class="more" title="{escape(", ".join(rest))}">+{len(rest)}</span>'
        return "".join(map(self.chip, first)) + more * bool(rest)

    def chips(self, row: Row) -> str:
        """A film's findings and its split as HTML."""
        split = _span("badge", row.split) if row.split else ""
        return f'<div class="chips">{self.found(row)}{split}</div>'


def _fitting(named: Sequence[str], most: int) -> Sequence[str]:
    """The first labels that fit into a line, with what is around each; one at least."""
    widths = [len(name) + _AROUND for name in named]
    if sum(widths) <= most:
        return named
    fit = 1
    while sum(widths[: fit + 1]) + _AROUND <= most:  # and a number of those left out
        fit += 1
    return named[:fit]


def _span(kind: str, text: str, hover: bool = False) -> str:
    title = f' title="{escape(text)}"' if hover else ""
    return f'<span class="{kind}"{title}>{escape(text)}</span>'


def _glyph(glyph: str, colour: str) -> str:
    return f'<b aria-hidden="true" style="color:{colour}">{glyph}</b>'


def plain(text: str) -> str:
    """Text that Streamlit's Markdown shows as it is, e.g. in a button or a message.

    An address becomes no link either: escapes do not keep GitHub's Markdown from making one, so an
    invisible word joiner does.
    """
    return _MARKDOWN.sub(r"\\\1", _ADDRESS.sub("\\g<0>\u2060", " ".join(text.split())))


def clean(text: str) -> str:
    """One line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def cut(text: str, most: int = 60) -> str:
    """The beginning of a text, on one line, for a message."""
    text = clean(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def films(count: int) -> str:
    """A number of films, in words."""
    return counted(count, "film")


def passing(count: int) -> str:
    """What is said behind a number of films where there are filters."""
    return " that passes the filters" if count == 1 else " that pass the filters"


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
    room: bool = False,
    beside: str | None = None,
) -> str:
    """One hit: rank, cosine, labels, and what makes it less of a finding than it looks.

    Args:
        found: the hit; of a search in words, with what found it and its sentence.
        png: its picture.
        labels: for shape and colour.
        scale: of the cosine's bar.
        badges: what makes it less of a finding.
        room: keep the line of the badges where it has none, so that cards are of one height.
        beside: what was asked beside words of reports, in one word.
    """
    cosine = cosine_of(found)
    score = ("cosine", f"{cosine:.3f}") if cosine is not None else ("BM25", f"{found.score:.2f}")
    head = (
        f'<div class="head"><span class="rank num">#{found.rank}</span>'
        f'<span class="score num" title="{score[0]}">{score[1]}</span></div>'
    )
    alt = f"Rank {found.rank}: {_spoken(found.row)}"
    top = film(png, alt) + head + ("" if cosine is None else bar(cosine, scale))
    if is_word_hit(found):
        top += said_by(found, beside) + sentence(found.passage)
    return _card(found.row, top, labels, badges, room)


def said_by(hit: WordHit, beside: str | None) -> str:
    """What found a hit, where words were not alone."""
    return "" if beside is None else _line([found_by(hit, beside)])


def sentence(shown: Passage | None) -> str:
    """The sentence of a report that words found, with the words marked; of one height."""
    if shown is None:
        return '<div class="sentence none">no report</div>'
    parts = "".join(
        escape(text)
        if mark is None
        else f'<mark class="{mark.state}" title="{mark.state}">{escape(text)}</mark>'
        for text, mark in shown.parts()
    )
    return f'<div class="sentence" title="{escape(shown.text)}">{parts}</div>'


def film_card(row: Row, png: bytes | None, labels: Labels) -> str:
    """A film without rank and cosine."""
    return _card(row, film(png, _spoken(row)), labels)


def _card(
    row: Row, top: str, labels: Labels, badges: Sequence[str] = (), room: bool = False
) -> str:
    """A card of one height: every line of it is one line, whose whole text shows on hover."""
    said = "".join(_span("badge signal", badge, hover=True) for badge in badges)
    parts = [
        f'<div class="labels">{labels.found(row, _LABELS)}</div>',
        f'<div class="labels">{said}</div>' if badges or room else "",
        _line(in_short(row), [f"no {one}" for one in row.absent]),
        _line(_own_in_short(row)) if row.extra else "",
    ]
    return f'<div class="cxr hit">{top}{"".join(parts)}{id_line(row.id)}</div>'


def in_short(row: Row) -> list[str]:
    """Split, view, sex, age, and findings that somebody was not sure of, in few words."""
    said = [row.split, row.view, row.sex, None if row.age is None else f"{row.age:g} y"]
    return [part for part in (*said, *(f"{one}?" for one in row.uncertain)) if part]


def _line(parts: Sequence[str], hover: Sequence[str] = ()) -> str:
    """Parts in one line; on hover all of them, and some more."""
    text, whole = (escape(" · ".join(some)) for some in (parts, [*parts, *hover]))
    return f'<div class="line soft" title="{whole}">{text or "&nbsp;"}</div>'


def _own_in_short(row: Row) -> list[str]:
    """Words and days as they are; what would be no more than a number, with its name."""
    cells = ((name, value) for name, value in row.extra.items() if value is not None)
    return [str(cell) if isinstance(cell, str | date) else f"{name} {cell}" for name, cell in cells]


def _facts(lines: Sequence[tuple[str, str]]) -> str:
    drawn = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in lines
    )
    return f'<dl class="facts">{drawn}</dl>' if lines else ""


def mark_card(row: Row, png: bytes | None, labels: Labels, sign: str) -> str:
    """A marked film, small."""
    word = "like" if sign == "+" else "unlike"
    found = _span("sign", f"{sign} {word}") + labels.found(row, _LABELS // 2)
    return (
        f'<div class="cxr mark">{film(png, f"{word}: {_spoken(row)}")}<span class="about">'
        f'<span class="labels">{found}</span>'
        f"{id_line(row.id)}</span></div>"
    )


def tray_film(row: Row, png: bytes | None) -> str:
    """A film in the tray: a small picture and the end of its id."""
    picture = film(png, f"in the tray: {_spoken(row)}")
    return f'<div class="cxr tray">{picture}<span class="mono">{escape(_end(row.id))}</span></div>'


def remarks(tags: Sequence[str], note_: str | None) -> str:
    """Tags and the note that people of the gallery put on a film."""
    drawn = "".join(_span("badge", tag) for tag in tags)
    said = f'<p class="note">{escape(note_)}</p>' if note_ else ""
    return f'<div class="cxr"><div class="chips">{drawn}</div>{said}</div>'


def film_title(row: Row) -> str:
    """The id of a film as the heading of its page."""
    return f'<h1 class="cxr title mono">{escape(row.id).replace("/", "/<wbr>")}</h1>'


def compared(score: float) -> str:
    """Heading of two films side by side."""
    return (
        f'<h1 class="cxr title">Two films compared <span class="soft">cosine <span class="num">'
        f"{score:.3f}</span></span></h1>"
    )


def report(text: str) -> str:
    """The text of a report."""
    return f'<div class="cxr report">{_span("title", "Report")}<p>{escape(text)}</p></div>'


def facts_table(lines: Sequence[tuple[str, str]]) -> str:
    """Named values of one film, one below the other."""
    return f'<div class="cxr all-facts">{_facts(lines)}</div>'


def _end(id_: str, most: int = 28) -> str:
    return id_ if len(id_) <= most else f"…{id_[1 - most :]}"


def query_card(kind: str, title: str, detail: str, picture: str = "", chips: str = "") -> str:
    """The query: what kind it is, its id, its file name or its sentence."""
    name = id_line(title) if picture else _span("prompt", title, hover=True)
    found = f'<span class="labels">{chips}</span>' if chips else ""
    return (
        f'<div class="cxr query">{picture}<div class="about">{_span("kind", kind)}{name}{found}'
        f"{_span('soft line', detail, hover=True) if detail else ''}</div></div>"
    )


def neighbours(lines: Sequence[LabelShare], title: str, legend: str, labels: Labels) -> str:
    """Labels among the hits against how common they are.

    Args:
        lines: one a label.
        title: one sentence above.
        legend: what the lines and numbers are; folded, below.
        labels: for shape and colour.
    """
    drawn = []
    for line in lines:
        colour = labels.mark(line.name)[1]
        low, high = 100 * line.low, 100 * line.high
        tick = base = ""
        said = f"{line.name}: {line.found} of {line.total}, 95 % interval {low:.0f} to {high:.0f} %"
        if line.base is not None:
            tick = f'<u style="left:calc({100 * line.base:.1f}% - 1px)"></u>'
            base = f"{100 * line.base:.0f} %"
            said += f"; of all films searched {base}"
        drawn.append(
            f'<div class="share" title="{escape(said)}">{labels.chip(line.name)}'
            f'<span class="track" aria-hidden="true">'
            f'<i style="width:{100 * line.found / line.total:.1f}%;background:{colour}"></i>'
            f'<s style="left:{low:.1f}%;width:{high - low:.1f}%"></s>{tick}</span>'
            f'<span class="num">{line.found} of {line.total}</span>'
            f'<span class="soft num">{base}</span></div>'
        )
    return (
        f'<div class="cxr say"><details><summary>{_span("title", title)}</summary>'
        f"{_span('soft', legend)}</details>"
        f'<div class="shares" tabindex="0" role="group" aria-label="{escape(title)}">'
        f"{''.join(drawn)}</div></div>"
    )


def status(parts: Sequence[str]) -> str:
    """The small permanent line; the first part is the warning."""
    first, *rest = parts
    spans = "".join(f"<span>{escape(part)}</span>" for part in rest)
    return f'<div class="cxr status">{_span("care", first)}{spans}</div>'


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    strong: int | None = None,
    kind: str = "",
) -> str:
    """A table of text; a newline in a cell starts a small line.

    Args:
        head: column names.
        rows: cells, escaped here.
        strong: index of the row to stress.
        kind: class of a table of words; without one, columns after the first are numbers.
    """
    number = "" if kind else ' class="num"'
    top = "".join(f"<th{number if at else ''}>{escape(name)}</th>" for at, name in enumerate(head))
    body = []
    for line, cells in enumerate(rows):
        drawn = "".join(
            f"<td{number if at else ''}>{_cell(cell)}</td>" for at, cell in enumerate(cells)
        )
        body.append(f'<tr class="{"ours" if line == strong else ""}">{drawn}</tr>')
    return _table(f"<tr>{top}</tr>", body, kind)


def _table(head: str, body: Sequence[str], kind: str) -> str:
    return (
        f'<div class="cxr scroll"><table class="{kind}"><thead>{head}</thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def legend(entries: Sequence[tuple[str, str, str]]) -> str:
    """Legend of a chart: name, glyph and colour of each line."""
    drawn = "".join(
        f"<span>{_glyph(glyph, colour)} {escape(name)}</span>" for name, glyph, colour in entries
    )
    return f'<div class="cxr key">{drawn}</div>'


def fact(name: str, value: str) -> str:
    """One named value, which may be long."""
    return f'<div class="fact">{_span("soft", name)}{_span("mono", value)}</div>'


def _cell(text: str) -> str:
    first, _, small = text.partition("\n")
    return escape(first) + (_span("ci", small) if small else "")


def id_line(id_: str) -> str:
    """An id in one line: its middle gives way, the whole is there on hover and when copied."""
    end = id_[-_ID_END:] if len(id_) > _ID_END else ""
    start = id_[: len(id_) - len(end)]
    return (
        f'<div class="soft mono id" title="{escape(id_)}" style="--end:{len(end)}ch">'
        f"{_span('start', start)}{_span('end', end)}</div>"
    )


def _spoken(row: Row) -> str:
    return f"chest film {row.id}, {in_words(row)}"


def short_note(text: str) -> str:
    """A soft line that is cut where it does not fit; the whole shows on hover."""
    return f'<div class="cxr">{_line([text])}</div>'


def note(text: str) -> str:
    """A soft line."""
    return f'<div class="cxr">{_span("soft", text)}</div>'


def ramp(low: str, high: str, name: str, missing: int) -> str:
    """The scale of a map that is coloured by numbers."""
    none = _span("soft", f"no value: {missing:,}, grey") if missing else ""
    return (
        f'<div class="cxr ramp">{_span("num", low)}<i aria-hidden="true"></i>'
        f"{_span('num', high)}<span>{escape(name)}</span>{none}</div>"
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
    over = (
        f'<tr><th>label of the query</th><th class="num" colspan="{len(names)}">'
        'majority of the neighbours says</th><th class="num">queries</th></tr>'
    )
    return _table(f"{over}<tr><th></th>{head}<th></th></tr>", body, "confusion")


def beside(row: Row, png: bytes | None, labels: Labels) -> str:
    """One of several films beside each other: its picture, its findings, its id."""
    return (
        f'<div class="cxr beside">{film(png, f"chest film {row.id}")}{labels.chips(row)}'
        f"{id_line(row.id)}</div>"
    )


def badges(facts: Sequence[str]) -> str:
    """Facts about several films together."""
    drawn = "".join(_span("badge", fact) for fact in facts)
    return f'<div class="cxr chips">{drawn}</div>'
