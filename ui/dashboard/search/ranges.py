"""Filters on numbers and days: a text in the link, handles or days at the side. No Streamlit here.

The text is the store's own, e.g. ``2..7``, ``2..`` or ``..7``. An own column goes under a prefix,
so that none can be taken for another part of a link, whatever its name is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from store import BadFilter, Range, own_range, written

AGE = "age"
#: Before the name of an own column, in links and among the filters of a search.
OWN = "own."
#: Longest text of a range that is looked at, in characters.
_TEXT_MAX = 60
#: A slider has at least so many steps.
_STEPS = 200
#: Ages further apart than this are chosen by whole years.
_YEARS = 10
#: What a slider can be made for: differences, and steps against the size of the numbers.
_SMALLEST, _LARGEST, _FINEST = 1e-12, 1e15, 1e-12

#: What a filter lets choose: one of some values, or a range.
Choice = Collection[str] | Range
#: Every filter of a gallery by its name in links, in the order they are shown.
Known = Mapping[str, Choice]

_BOUND = r"(\d{4}-\d\d-\d\d|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_RANGE = re.compile(rf"{_BOUND}?\.\.{_BOUND}?", re.ASCII)


def own(name: str) -> str:
    """The filter on an own column."""
    return OWN + name


def column(facet: str) -> str:
    """The column that a filter is on, as a person knows it."""
    return facet.removeprefix(OWN)


def read(facet: str, of: Range, text: str) -> tuple[str, str | None]:
    """A range that anyone may have written, in its usual form.

    Args:
        facet: the filter.
        of: what the gallery has.
        text: the range.

    Returns:
        The text to filter by, and None; or "", and a sentence why it is none.
    """
    name = column(facet)
    if len(text) > _TEXT_MAX:
        return "", f"The link's range of {name} has {len(text)} characters; that filter is off."
    try:
        low, high = own_range(name, of.kind, text)
    except BadFilter as error:
        return "", f"The link's {error}; that filter is off."
    usual = _text(low, high)
    if (low is not None and low > of.high) or (high is not None and high < of.low):
        words = f"{name} {in_words(facet, usual)}"
        return "", f"No film of this gallery has {words}; that filter of the link is off."
    return usual, None


def overlaps(facet: str, of: Range, text: str) -> bool:
    """Whether a text of read still means something to a gallery that has changed."""
    return read(facet, of, text)[1] is None


def in_words(facet: str, text: str) -> str:
    """A value of a filter in words. A string of an own column that looks like a range reads so."""
    found = _RANGE.fullmatch(text) if facet == AGE or facet.startswith(OWN) else None
    match found and found.groups():
        case (str(low), str(high)):
            return f"{low} to {high}"
        case (str(low), None):
            return f"from {low}"
        case (None, str(high)):
            return f"up to {high}"
    return text


def _text(low: float | date | None, high: float | date | None) -> str:
    first, last = ("" if one is None else _bound(one) for one in (low, high))
    return first if first == last else f"{first}..{last}"


def _bound(one: float | date) -> str:
    return one.isoformat() if isinstance(one, date) else written(one)


# -- handles of a slider, and days -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scale:
    """A slider: its ends and its step, whole numbers where the step is; how they are written."""

    low: float
    high: float
    step: float
    format: str


def scale(facet: str, of: Range) -> Scale | None:
    """The slider of a column of numbers, with round steps; None where there is nothing to slide.

    Numbers too close together, too far apart or too large for their differences have none; links
    and the command line filter by them all the same.
    """
    if isinstance(of.low, date) or isinstance(of.high, date):
        return None
    span, size = of.high - of.low, max(abs(of.low), abs(of.high))
    if not _SMALLEST <= span <= _LARGEST or span < size * _FINEST * _STEPS:
        return None
    power = math.floor(math.log10(span / _STEPS))
    if of.kind == "int" or (facet == AGE and span >= _YEARS):
        power = max(power, 0)
    low, high = math.floor(of.low / 10.0**power), math.ceil(of.high / 10.0**power)
    if power >= 0:
        return Scale(low * 10**power, high * 10**power, 10**power, "%d")
    ends = [round(end * 10.0**power, -power) for end in (low, high)]
    return Scale(ends[0], ends[1], 10.0**power, f"%.{-power}f" if power > -5 else "%.4g")


def boxes(facet: str, of: Range) -> tuple[str, ...]:
    """Keys of the widgets of a range: one slider, or the first and the last day; else none."""
    if of.kind == "date":
        return f"box-{facet}-from", f"box-{facet}-to"
    # The scale is part of the key: Streamlit forgets where the handles are when it changes.
    on = scale(facet, of)
    return () if on is None else (f"box-{facet}-{on.low}-{on.high}-{on.step}",)


def shown(facet: str, of: Range, values: Sequence[str]) -> dict[str, Any]:
    """Values of those widgets, by key: where the handles stand, or which days are filled in.

    Args:
        facet: the filter.
        of: what the gallery has.
        values: the range that is chosen, if any.
    """
    low, high = own_range(column(facet), of.kind, values[0]) if values else (None, None)
    keys = boxes(facet, of)
    if of.kind == "date":
        days = (None if day is None else min(max(day, of.low), of.high) for day in (low, high))
        return dict(zip(keys, days, strict=True))
    on = scale(facet, of)
    if on is None:
        return {}
    ends = on.low if low is None else low, on.high if high is None else high
    held = [min(max(end, on.low), on.high) for end in ends]
    kind = int if isinstance(on.step, int) else float
    return {keys[0]: (kind(held[0]), kind(held[1]))}


def chosen(facet: str, of: Range, state: Mapping[str, Any], last: str) -> str:
    """The range that the widgets say; "" when they leave everything in.

    Args:
        facet: the filter.
        of: what the gallery has.
        state: values by key.
        last: key of the widget that was changed: where the first day comes after the last one, this
            one counts, and the other end opens.
    """
    keys = boxes(facet, of)
    if of.kind == "date":
        low, high = (state.get(key) for key in keys)
        if low is not None and high is not None and low > high:
            low, high = (low, None) if last == keys[0] else (None, high)
    else:
        on, (low, high) = scale(facet, of), state[keys[0]]
        assert on is not None
        # Without what adding steps leaves behind, e.g. 0.30000000000000004.
        low = None if low <= on.low else float(f"{low:.12g}")
        high = None if high >= on.high else float(f"{high:.12g}")
    return "" if low is None and high is None else _text(low, high)
