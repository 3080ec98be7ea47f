"""Text that fits: measuring, wrapping and shortening for the figures.

Widths are inches, sizes are points; the font is the DejaVu Sans that comes with matplotlib.
"""

from __future__ import annotations

from functools import lru_cache

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path

#: Glyphs are drawn on whole pixels, which makes small text this much wider than its outline.
_HINTED = 1.05


@lru_cache(maxsize=64)
def font(size: float, bold: bool = False) -> FontProperties:
    """DejaVu Sans at a size in points. Shared: do not change it."""
    return FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")


def clean(text: str) -> str:
    """Make text safe to draw on one line: single spaces, a box for what the font does not have."""
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
    """Cut text to a width, with an ellipsis at its end (or its beginning, which suits ids)."""
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
    """Wrap text at spaces into lines of a width; what is beyond ``most`` lines is cut off."""
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
