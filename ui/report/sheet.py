"""Sheet of a figure: banner, title, footer, fonts and text of a given width.

Everything is a ``Figure`` with the Agg canvas: no pyplot, no global state, so threads may draw at
the same time. One axes covers the sheet, in inches, origin at the top left.

Widths are inches, sizes are points; the font is the DejaVu Sans that comes with matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from store import Gallery


#: Width of small text over that of its outline: glyphs are drawn on whole pixels.
_HINTED = 1.05


@lru_cache(maxsize=64)
def font(size: float, bold: bool = False) -> FontProperties:
    """DejaVu Sans at a size in points. Shared: do not change it."""
    return FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")


def clean(text: str) -> str:
    """Text for one line: single spaces, a box for a character that the font does not have."""
    seen = "".join(c if c.isprintable() else " " for c in text)
    return " ".join("".join(c if ord(c) in _drawn() else "□" for c in seen).split())


@lru_cache(maxsize=1)
def _drawn() -> frozenset[int]:
    return frozenset(get_font(findfont(font(10), fallback_to_default=False)).get_charmap())


@lru_cache(maxsize=8192)
def width_of(text: str, size: float, bold: bool = False) -> float:
    """Width of one line of text, in inches."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, font(size, bold), ismath=False)
    return float(width) / 72 * _HINTED


def shorten(text: str, width: float, size: float, *, bold: bool = False, end: bool = True) -> str:
    """Text cut to a width, with an ellipsis at its end (or its beginning, which suits ids)."""
    if width_of(text, size, bold) <= width:
        return text
    low, high = 0, len(text)
    while low < high:  # the longest that fits
        middle = (low + high + 1) // 2
        part = text[:middle] + "…" if end else "…" + text[-middle:]
        low, high = (middle, high) if width_of(part, size, bold) <= width else (low, middle - 1)
    if not low:
        return "…"
    return text[:low].rstrip() + "…" if end else "…" + text[-low:].lstrip()


def lines_of(
    text: str, width: float, size: float, *, bold: bool = False, most: int = 12
) -> list[str]:
    """Text wrapped at spaces into lines of a width; cut off after ``most`` lines."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and width_of(joined, size, bold) <= width:
            lines[-1] = joined
        elif len(lines) == most:
            lines[-1] = shorten(joined + "…", width, size, bold=bold)
            break
        else:
            lines.append(word)
    return [shorten(line, width, size, bold=bold) for line in lines]


#: Pixels per inch of everything written.
DPI = 120
#: Of the films in a PDF or an SVG, which are looked at closely and printed.
PRINTED_DPI = 2 * DPI
#: White space at the left and right of a sheet, in inches.
MARGIN = 0.3

INK, MUTED, PAPER, ALARM = "#1a1a1a", "#5f5f5f", "#f3f4f6", "#F0E442"
NOT_FOR_DIAGNOSIS = "research and education only - not for diagnosis"

_LEADING = 1.3 / 72  # of a line, in inches per point


@dataclass(frozen=True, slots=True)
class Provenance:
    """Provenance of a figure, for its footer.

    Attributes:
        encoder: name and fingerprint, ``str(gallery.stamp)``.
        dataset: names of the data sets in the gallery.
        protocol: what was searched, e.g. ``test queries, train gallery``.
        table_version: of the gallery when it was searched.
        notice: a warning set as a banner across the figure, e.g. for synthetic images.
        pictures: what the pictures of films are, in a few words; empty where that is plain.
    """

    encoder: str
    dataset: str
    protocol: str
    table_version: int
    notice: str | None = None
    pictures: str = ""

    @property
    def footer(self) -> str:
        """One sentence of origin, ending in what the figure is not for."""
        pictures = f"{self.pictures} · " if self.pictures else ""
        return (
            f"encoder {self.encoder} · {self.dataset} · {self.protocol} · "
            f"table version {self.table_version} · {pictures}{NOT_FOR_DIAGNOSIS}"
        )


def sheet(
    title: str, subtitle: str, provenance: Provenance, width: float, body: float
) -> tuple[Figure, Axes, float]:
    """Sheet with everything but its body.

    Args:
        title: wrapped to at most three lines.
        subtitle: likewise; may be empty.
        provenance: for banner and footer.
        width: of the sheet, in inches.
        body: height to leave free, in inches.

    Returns:
        The figure, its axes, and the y at which the body begins, in inches.
    """
    room = width - 2 * MARGIN
    banner = lines_of(clean(provenance.notice or ""), room, 9.5, bold=True)
    titles = lines_of(clean(title), room, 12.5, bold=True, most=3)
    subtitles = lines_of(clean(subtitle), room, 9, most=3)
    footer = lines_of(clean(provenance.footer), room, 7)

    band = 0.2 + len(banner) * 9.5 * _LEADING if banner else 0.0
    below_title = band + 0.24 + len(titles) * 12.5 * _LEADING + 0.05
    top = below_title + len(subtitles) * 9 * _LEADING + 0.15
    height = top + body + 0.2 + len(footer) * 7 * _LEADING

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    if banner:
        axes.add_patch(Rectangle((0, 0), width, band, facecolor=ALARM, edgecolor="none"))
        axes.plot([0, width], [band, band], color=INK, linewidth=1.2)
        look: dict[str, Any] = {"ha": "center", "va": "center", "gid": "notice"}
        write(axes, width / 2, band / 2, "\n".join(banner), 9.5, bold=True, **look)
    write(axes, MARGIN, band + 0.24, "\n".join(titles), 12.5, bold=True, gid="title")
    write(axes, MARGIN, below_title, "\n".join(subtitles), 9, colour=MUTED, gid="subtitle")
    foot = "\n".join(footer)
    write(axes, MARGIN, height - 0.12, foot, 7, colour=MUTED, va="bottom", gid="footer")
    return figure, axes, top


def write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    size: float,
    *,
    colour: str = INK,
    bold: bool = False,
    va: str = "top",
    **look: Any,
) -> None:
    """Write text as it stands: a dollar sign is a dollar sign.

    Args:
        axes: of the sheet.
        x: in inches, from the left.
        y: in inches, from the top.
        text: of one or more lines.
        size: in points.
        colour: of the text.
        bold: weight of the font.
        va: vertical alignment.
        look: further properties of a matplotlib Text, such as ``ha`` and ``gid``.
    """
    face = font(size, bold)
    look |= {"linespacing": 1.3, "parse_math": False, "usetex": False}
    axes.text(x, y, text, fontproperties=face, color=colour, va=va, **look)


def png_bytes(figure: Figure, description: str = "") -> bytes:
    """PNG of a figure; the description is stored in the file."""
    metadata = {"Software": "cxr-retrieval"}
    if description:
        metadata["Description"] = description
    buffer = io.BytesIO()
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(buffer, metadata=metadata)
    return buffer.getvalue()


def pdf_bytes(figure: Figure) -> bytes:
    """PDF of a figure, its text as text; the same figure gives the same bytes."""
    import matplotlib

    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    # fonttype 42 embeds whole glyphs: text can be selected and searched. No dates: same bytes.
    with matplotlib.rc_context({"pdf.fonttype": 42, "image.composite_image": False}):
        figure.savefig(
            buffer,
            format="pdf",
            dpi=PRINTED_DPI,
            metadata={"Creator": "cxr-retrieval", "CreationDate": None},
        )
    return buffer.getvalue()


def svg_bytes(figure: Figure) -> bytes:
    """SVG of a figure, its text as outlines; the same figure gives the same bytes."""
    import matplotlib

    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    with matplotlib.rc_context({"svg.hashsalt": "cxr-retrieval", "image.composite_image": False}):
        figure.savefig(
            buffer,
            format="svg",
            dpi=PRINTED_DPI,
            metadata={"Creator": "cxr-retrieval", "Date": None},
        )
    return buffer.getvalue()


#: What a figure's file holds, by its name's ending.
FORMATS: dict[str, Callable[[Figure], bytes]] = {
    ".png": png_bytes,
    ".pdf": pdf_bytes,
    ".svg": svg_bytes,
}


def provenance_of(gallery: Gallery, protocol: str, pictures: str = "") -> Provenance:
    """Provenance of figures of a gallery, with the notice that its data calls for.

    Args:
        gallery: which.
        protocol: what was searched.
        pictures: what the pictures of films are.
    """
    datasets = gallery.facets()["dataset"]
    names = [*datasets][:3] + (["and more"] if len(datasets) > 3 else [])
    return Provenance(
        encoder=str(gallery.stamp),
        dataset=", ".join(names) or "data set not named",
        protocol=protocol,
        table_version=gallery.table_version,
        notice=notice_of(datasets),
        pictures=pictures,
    )


def notice_of(datasets: Collection[str]) -> str | None:
    """Notice about synthetic images, where there are some."""
    from ingest import synthetic

    return synthetic.SYNTHETIC_NOTICE if synthetic.DATASET in datasets else None
