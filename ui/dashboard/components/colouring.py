"""Colours of a map by a column: a shape and a colour for each value, or a scale of numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ui.dashboard.components.html import Labels

#: Code of a film without a value, and the greatest code of a number.
MISSING, HIGHEST = 255, 253
#: Values with a shape of their own; the rest share one.
_MOST = 8
_SEVERAL, _OTHER = "several labels", "other values"


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One line of a legend: a value, its shape, its colour, and how many films have it."""

    name: str
    glyph: str
    colour: str
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Colouring:
    """A code per film, and what the codes mean.

    Attributes:
        codes: uint8 (n,). Place in ``legend``, or a number from 0 (low) to 253 (high); 255 is none.
        legend: the values, most frequent first; empty for numbers.
        range: the numbers at code 0 and at code 253; None for values.
        missing: films without a value.
    """

    codes: npt.NDArray[np.uint8]
    legend: tuple[Entry, ...]
    range: tuple[float, float] | None
    missing: int


def colouring(values: Sequence[Any], marks: Labels | None = None) -> Colouring:
    """Colour a column.

    Args:
        values: one cell a film: text, number, truth value, date, a list of labels, or None.
        marks: shapes and colours that labels have elsewhere; made from the values if left out.
    """
    if any(_is_number(value) for value in values):
        return _numbers(values)
    names = [_name(value) for value in values]
    counts = Counter(name for name in names if name is not None)
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    shown = ranked if len(ranked) <= _MOST else ranked[: _MOST - 1]
    if marks is None:
        marks = Labels({name: counts[name] for name in shown})
    entries = [Entry(name, *marks.mark(name), counts[name]) for name in shown]
    rest = sum(counts[name] for name in ranked[len(shown) :])
    if rest:
        entries.append(Entry(_OTHER, "○", "#808080", rest))
    place = {name: at for at, name in enumerate(shown)}
    codes = np.asarray(
        [MISSING if name is None else place.get(name, len(shown)) for name in names], np.uint8
    )
    return Colouring(codes, tuple(entries), None, names.count(None))


def _numbers(values: Sequence[Any]) -> Colouring:
    found = np.asarray([value if _is_number(value) else np.nan for value in values], np.float64)
    known = np.isfinite(found)
    low, high = (
        (float(found[known].min()), float(found[known].max())) if known.any() else (0.0, 1.0)
    )
    codes = np.full(len(found), MISSING, np.uint8)
    span = high - low or 1.0
    codes[known] = np.round((found[known] - low) / span * HIGHEST).astype(np.uint8)
    return Colouring(codes, (), (low, high), int((~known).sum()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.floating) and not isinstance(value, bool)


def _name(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return str(value[0]) if len(value) == 1 else _SEVERAL if value else None
    return None if value is None or value == "" else str(value)
