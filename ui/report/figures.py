"""Figures of queries with their hits, of failures, and of Precision@k beside its floors.

Right and wrong differ by glyph, by frame and by colour (Okabe-Ito), never by colour alone.
Import this module late: matplotlib takes its time.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image

from store import NOT_LABELLED, Outcome, Row, counted
from ui.report.film_pictures import Picture, film_pictures
from ui.report.findings import slugs
from ui.report.sheet import (
    INK,
    MARGIN,
    MUTED,
    PAPER,
    PRINTED_DPI,
    Provenance,
    clean,
    font,
    lines_of,
    png_bytes,
    provenance_of,
    sheet,
    shorten,
    write,
)
from ui.tables import PrecisionRow, definition_in_short, precision_rows
from ui.word_hits import score_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from store import Evaluation, Gallery, Hit
    from ui.report.findings import Found, LabelFindings, Prompted, Setting

FOLDER = "retrieval_figures"
LINE = "#9a9a9a"
Judgement = Literal["right", "wrong", "unlabelled"]
#: Glyph, colour and line style of each judgement: any one of the three is enough to tell.
MARKS: dict[Judgement, tuple[str, str, Any]] = {
    "right": ("✓", "#009E73", "solid"),
    "wrong": ("✗", "#D55E00", (0, (3, 1.5))),
    "unlabelled": ("?", LINE, "dotted"),
}
LEGEND = "✓ solid frame: shares a label with the query · ✗ dashed frame: does not"
_TILE, _QUERY, _GAP, _CAPTION = 1.42, 1.9, 0.17, 0.62  # inches
_HITS_AT = MARGIN + _QUERY + 0.4
#: Longest side of a film in a figure, in pixels: twice the size on paper.
LONGEST = round(PRINTED_DPI * _QUERY)


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """Query of a figure: an image or a text.

    Attributes:
        image: PNG or JPEG bytes, or uint8 pixels; ``None`` for a text, or when there are none.
        text: the prompt; ``None`` for an image.
        labels: named findings of the image (see store.outcomes); for a text those it should find,
            empty when unknown.
        name: an id or a file name, for the caption.
        outcome: of looking at the image.
    """

    image: Picture = None
    text: str | None = None
    labels: tuple[str, ...] = ()
    name: str = ""
    outcome: Outcome = NOT_LABELLED

    @classmethod
    def of(cls, row: Row, image: Picture, name: str = "") -> Query:
        """A stored film as a query; called by its id unless named."""
        return cls(image, None, row.named_findings, name or row.id, row.outcome)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One query with its hits, best first."""

    query: Query
    hits: Sequence[Hit]


def pictures(
    gallery: Gallery,
    setting: Setting,
    found: Sequence[LabelFindings],
    prompts: Sequence[Prompted],
    evaluations: Sequence[Evaluation],
) -> dict[str, tuple[str, bytes]]:
    """Figures of the report, drawn.

    Returns:
        Key (``precision``, ``right:LABEL``, ``wrong:LABEL``, ``hardest:LABEL``, ``text:SENTENCE``)
        to relative path and PNG bytes.
    """
    shown = [
        one
        for label in found
        for one in (label.right_example, label.wrong_example, *label.hardest)
        if one is not None
    ]
    results = [one.hits for one in shown] + [one.hits for one in prompts]
    films = [one.query for one in shown] + [hit.row for hits in results for hit in hits]
    printed = film_pictures(gallery, films, LONGEST)
    origin = provenance_of(gallery, setting.name, printed.note)
    drawn: dict[str, tuple[str, bytes]] = {}

    def add(key: str, name: str, figure: Figure, about: str) -> None:
        png = png_bytes(figure, f"{about}. {origin.footer}")
        drawn[key] = (f"{FOLDER}/{name}.png", png)

    def query(one: Found) -> Query:
        return Query.of(one.query, printed.by_id[one.query.id])

    if evaluations:
        measured = provenance_of(gallery, " and ".join(e.protocol for e in evaluations))
        chart = precision_figure(evaluations, measured, name=gallery.stamp.name)
        add("precision", "precision_at_k", chart, "Precision@k")
    names = slugs([one.label for one in found])
    for label in found:
        name = names[label.label]
        for kind, one in (("right", label.right_example), ("wrong", label.wrong_example)):
            if one is not None:
                figure = retrieval_figure(query(one), one.hits, printed.by_id, origin)
                add(
                    f"{kind}:{label.label}", f"image_{name}_{kind}", figure, f"Query {one.query.id}"
                )
        if label.hardest:
            title = f"Hardest queries labelled {label.label}"
            cases = [Case(query(one), one.hits) for one in label.hardest]
            figure = cases_figure(title, cases, printed.by_id, origin)
            add(f"hardest:{label.label}", f"hardest_{name}", figure, title)
    names = slugs([one.text for one in prompts])
    searched = provenance_of(gallery, f"{setting.split or 'all'} images searched", printed.note)
    for asked in prompts:
        sentence = Query(text=asked.text, labels=asked.wanted)
        figure = retrieval_figure(sentence, asked.hits, printed.by_id, searched)
        add(f"text:{asked.text}", f"text_{names[asked.text]}", figure, f"Sentence: {asked.text}")
    return drawn


def retrieval_figure(
    query: Query,
    hits: Sequence[Hit],
    pictures: Mapping[str, Picture],
    provenance: Provenance,
) -> Figure:
    """Figure of one query at the left and its hits in rank order beside it.

    Args:
        query: the image or prompt, with its labels.
        hits: best first, any number; more than five wrap into rows.
        pictures: of films by id; a missing one is drawn as an empty tile.
        provenance: for footer and banner.
    """
    what = f"“{query.text}”" if query.text is not None else query.name or "the query image"
    columns = len(hits) if len(hits) <= 5 else 5 if len(hits) <= 20 else 10
    case = [Case(query, hits)]
    return _draw(f"Nearest to {what}", _summary(query, hits), case, columns, pictures, provenance)


def cases_figure(
    title: str,
    cases: Sequence[Case],
    pictures: Mapping[str, Picture],
    provenance: Provenance,
    *,
    columns: int = 5,
) -> Figure:
    """Figure of several queries below each other, each with its first ``columns`` hits."""
    rows = [Case(case.query, case.hits[:columns]) for case in cases]
    return _draw(title, LEGEND, rows, columns, pictures, provenance)


def judge(wanted: Collection[str], labels: Collection[str]) -> Judgement | None:
    """Judgement of a hit by its named findings and those wanted; ``None`` when none are."""
    if not wanted:
        return None
    if not labels:
        return "unlabelled"
    return "right" if set(wanted) & set(labels) else "wrong"


def _summary(query: Query, hits: Sequence[Hit]) -> str:
    if not hits:
        return "Nothing found."
    if not query.labels:
        return "Nobody said which label is wanted, so no hit is called right or wrong."
    marks = [judge(query.labels, hit.row.named_findings) for hit in hits]
    wanted = " or ".join(query.labels)
    text = f"{marks.count('right')} of {len(hits)} labelled {wanted} · "
    text += LEGEND.replace("the query", "what is wanted") if query.text is not None else LEGEND
    unjudged = dict.fromkeys(hit.row.outcome for hit in hits if not hit.row.named_findings)
    return text + (f" · ? dotted frame: {' or '.join(unjudged)}" if unjudged else "")


def _draw(
    title: str,
    subtitle: str,
    cases: Sequence[Case],
    columns: int,
    pictures: Mapping[str, Picture],
    provenance: Provenance,
) -> Figure:
    columns = max(1, columns)
    rows = [-(-len(case.hits) // columns) for case in cases]
    heights = [max(_QUERY + 0.58, count * (_TILE + _CAPTION)) + 0.1 for count in rows]
    width = max(6.4, _HITS_AT + columns * (_TILE + _GAP) - _GAP + MARGIN)
    figure, axes, top = sheet(title, subtitle, provenance, width, sum(heights))
    for number, (case, height) in enumerate(zip(cases, heights, strict=True)):
        if number:
            rule = [top - 0.14] * 2
            axes.plot([MARGIN, width - MARGIN], rule, color="#d5d5d5", linewidth=0.8)
        _draw_query(axes, case.query, MARGIN, top)
        for place, hit in enumerate(case.hits):
            row, column = divmod(place, columns)
            corner = (_HITS_AT + column * (_TILE + _GAP), top + row * (_TILE + _CAPTION))
            _draw_hit(axes, hit, pictures.get(hit.row.id), case.query.labels, *corner)
        top += height
    return figure


def _draw_query(axes: Axes, query: Query, x: float, y: float) -> None:
    labels = clean(", ".join(query.labels))
    if query.text is None:
        _draw_image(axes, query.image, x, y, _QUERY)
        _frame(axes, x, y, _QUERY, INK, "solid", 1.8, "query")
        captions = (f"query: {labels or query.outcome}", clean(query.name))
    else:
        _draw_prompt(axes, query.text, x, y)
        captions = ("query: text", f"wanted: {labels}" if labels else "")
    caption = shorten(captions[0], _QUERY, 9, bold=True)
    write(axes, x, y + _QUERY + 0.2, caption, 9, bold=True, va="baseline")
    name = shorten(captions[1], _QUERY, 7.5, end=query.text is not None)
    write(axes, x, y + _QUERY + 0.36, name, 7.5, colour=MUTED, va="baseline")


def _draw_prompt(axes: Axes, text: str, x: float, y: float) -> None:
    side, room = _QUERY - 0.12, _QUERY - 0.3
    style: dict[str, Any] = {
        "boxstyle": "round,pad=0.06",
        "facecolor": PAPER,
        "edgecolor": INK,
        "linewidth": 1.6,
    }
    axes.add_patch(FancyBboxPatch((x + 0.06, y + 0.06), side, side, gid="query", **style))
    for size in (13, 11, 9, 7.5):
        most = int(room * 72 / (1.3 * size))
        lines = lines_of(f"“{clean(text)}”", room, size, most=most)
        if not any(line.endswith("…") for line in lines):
            break
    middle, prompt = _QUERY / 2, "\n".join(lines)
    write(axes, x + middle, y + middle, prompt, size, ha="center", va="center", gid="prompt")


def _draw_hit(
    axes: Axes, hit: Hit, picture: Picture, wanted: Collection[str], x: float, y: float
) -> None:
    found = hit.row.named_findings
    verdict = judge(wanted, found)
    glyph, colour, style = MARKS[verdict] if verdict else ("", LINE, "solid")
    name = f"{verdict}:{hit.row.id}"
    _draw_image(axes, picture, x, y, _TILE)
    _frame(axes, x, y, _TILE, colour, style, 2.6 if verdict else 1.0, f"frame:{name}")
    line = y + _TILE + 0.2
    write(axes, x, line, f"{hit.rank}", 9, bold=True, va="baseline")
    score = score_text(hit)
    write(axes, x + _TILE, line, score, 9, ha="right", gid=f"score:{hit.row.id}", va="baseline")
    indent = 0.18 if glyph else 0.0
    if glyph:
        look: dict[str, Any] = {"colour": colour, "gid": f"mark:{name}", "va": "baseline"}
        write(axes, x, line + 0.16, glyph, 10.5, bold=True, **look)
    # What is shared comes first: the rest may be cut off.
    names = sorted(found, key=lambda name: name not in wanted)
    labels = clean(", ".join(names)) or hit.row.outcome
    write(axes, x + indent, line + 0.16, shorten(labels, _TILE - indent, 8.5), 8.5, va="baseline")
    row = shorten(clean(hit.row.id), _TILE, 6.5, end=False)
    write(axes, x, line + 0.29, row, 6.5, colour=MUTED, va="baseline")


def _frame(
    axes: Axes, x: float, y: float, side: float, colour: str, style: Any, width: float, gid: str
) -> None:
    look: dict[str, Any] = {"edgecolor": colour, "linestyle": style, "linewidth": width}
    axes.add_patch(Rectangle((x, y), side, side, fill=False, gid=gid, zorder=3, **look))


def _draw_image(axes: Axes, image: Picture, x: float, y: float, side: float) -> None:
    ground = PAPER if image is None else "#101010"
    axes.add_patch(Rectangle((x, y), side, side, facecolor=ground, edgecolor="none"))
    if image is None:
        look: dict[str, Any] = {"ha": "center", "va": "center", "gid": "no image"}
        write(axes, x + side / 2, y + side / 2, "no image", 8, colour=MUTED, **look)
        return
    picture = Image.open(io.BytesIO(image)) if isinstance(image, bytes) else Image.fromarray(image)
    picture = picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")
    # Lanczos, at twice the size on paper: 28 pixels across look like a film, not like tiles.
    scale = PRINTED_DPI * side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    pixels = np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
    wide, high = side * size[0] / max(size), side * size[1] / max(size)
    left, top = x + (side - wide) / 2, y + (side - high) / 2
    axes.imshow(
        pixels,
        cmap="gray",
        vmin=0,
        vmax=255,
        aspect="auto",
        interpolation="antialiased",
        extent=(left, left + wide, top + high, top),
        zorder=2,
    )


#: Okabe-Ito; every series has its own marker and line style too.
_STYLES: dict[str, dict[str, Any]] = {
    "encoder": {"color": "#0072B2", "marker": "o", "linestyle": "solid", "linewidth": 2},
    "raw pixels": {"color": "#D55E00", "marker": "s", "linestyle": "dashed", "linewidth": 1.5},
    "random": {"color": "#6b6b6b", "marker": "", "linestyle": "dotted", "linewidth": 1.8},
}
_OTHER: dict[str, Any] = {"color": "#CC79A7", "marker": "^", "linestyle": "dashdot"}
_PANEL, _TALL, _LABELS, _AXIS = 3.4, 3.1, 1.15, 0.55  # inches


def precision_figure(
    evaluations: Sequence[Evaluation], provenance: Provenance, *, name: str = "encoder"
) -> Figure:
    """Figure of Precision@k with 95 % intervals beside the floors, one panel per evaluation.

    Args:
        evaluations: at least one; the panels share the axis of precision.
        provenance: for footer and banner.
        name: what the encoder's line is called.
    """
    width = max(6.4, 2 * MARGIN + _AXIS + len(evaluations) * (_PANEL + _LABELS))
    title = "Precision@k beside its floors"
    said = dict.fromkeys(definition_in_short(one.as_dict()) for one in evaluations)
    subtitle = f"Share of the first k hits that are relevant. {' / '.join(said)}."
    figure, page, top = sheet(title, subtitle, provenance, width, _TALL + 0.75)
    height = figure.get_figheight()
    panels = [
        [row for row in precision_rows(one.as_dict()) if row.kind in ("encoder", "baseline")]
        for one in evaluations
    ]
    lowest = min(min(row.values.values()) for rows in panels for row in rows)
    floor = max(0.0, int(lowest * 10 - 0.2) / 10)
    for number, (evaluation, rows) in enumerate(zip(evaluations, panels, strict=True)):
        left = MARGIN + _AXIS + number * (_PANEL + _LABELS)
        box = (left, height - top - 0.3 - _TALL, _PANEL, _TALL)
        axes = figure.add_axes(
            (box[0] / width, box[1] / height, box[2] / width, box[3] / height),
            gid=f"panel:{evaluation.protocol}",
        )
        heading = f"{evaluation.protocol}: {counted(evaluation.queries, 'query', 'queries')}, "
        heading += f"gallery of {evaluation.gallery:,}"
        write(page, left, top, heading, 9, bold=True)
        _draw_panel(axes, rows, name, floor)
        if not number:
            start = f" (axis begins at {floor:.1f})" if floor else ""
            axes.set_ylabel(f"precision{start}", fontproperties=font(9))
    return figure


def _draw_panel(axes: Axes, rows: Sequence[PrecisionRow], name: str, floor: float) -> None:
    """Lines of the encoder and its baselines over the depths of the encoder's."""
    cutoffs = [*rows[0].values]
    lines = [[row.values[k] for k in cutoffs] for row in rows]
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
    ends = _spread([values[-1] for values in lines], 0.062 * (1 - floor), floor)
    edge = axes.get_xlim()[1] + 0.04
    for row, values, end in zip(rows, lines, ends, strict=True):
        style = _STYLES.get(row.name or row.kind, _OTHER)
        axes.plot(places, values, gid=f"series:{row.name or row.kind}", markersize=5.5, **style)
        words = shorten(clean(row.name or name), _LABELS - 0.15, 8.5, bold=True)
        look: dict[str, Any] = {"color": style["color"], "va": "center", "clip_on": False}
        axes.text(edge, end, words, fontproperties=font(8.5, True), parse_math=False, **look)
    _draw_intervals(axes, rows[0], floor)


def _draw_intervals(axes: Axes, encoder: PrecisionRow, floor: float) -> None:
    """The encoder's numbers, above the bars of their intervals where there are intervals."""
    for place, (k, value) in enumerate(encoder.values.items()):
        low, high = encoder.intervals.get(k, (value, value))
        # A percentile interval may leave out its own mean.
        low, high = min(low, value), max(high, value)
        if k in encoder.intervals:
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
