"""Parser of single values and look-up tables of a header, which may be empty or wrong.

They are taken from the elements as they lie in the file: what a parser makes of an element that
breaks the rules is an exception, or the wrong number. What cannot be used is not used, and noted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_DECIMAL = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


class Notes:
    """Notes on a film that was read: one short sentence a kind, no values."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    def add(self, text: str) -> None:
        """Add a sentence, once."""
        self._found[text] = None

    def told(self) -> tuple[str, ...]:
        """The sentences, in the order in which they were added."""
        return tuple(self._found)


def texts(film: Any, keyword: str) -> list[str]:
    """The values of an element as text without their padding; none without the element."""
    item = film.get_item(keyword)
    if item is None:
        return []
    value = item.value
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    elif isinstance(value, Iterable) and not isinstance(value, str):
        value = "\\".join(str(one) for one in value)
    values = str("" if value is None else value).split("\\")
    return [one.strip(" \0\t\r\n") for one in values]


def text(film: Any, keyword: str) -> str | None:
    """The first value of an element as text without its padding; None without the element."""
    return next(iter(texts(film, keyword)), None)


def decimal(film: Any, keyword: str, notes: Notes) -> float | None:
    """The first value of an element of decimal strings; None where there is none of use."""
    return number(text(film, keyword), keyword, notes)


def number(found: str | None, keyword: str, notes: Notes) -> float | None:
    """A decimal string, a value of ``keyword``, as a number; None where it is of no use.

    A decimal comma, which DICOM does not know and some countries' machines write, is read.
    """
    if found is None:
        return None
    if _DECIMAL.fullmatch(found):
        value = float(found.replace(",", "."))
        if math.isfinite(value):
            if "," in found:
                notes.add(f"{keyword} has a decimal comma; read as a decimal point")
            return value
    notes.add(f"{keyword} is {'no number' if found else 'empty'}; ignored")
    return None


def whole(film: Any, keyword: str) -> int | None:
    """The value of an element of whole numbers (US or SS), by its bits; None without one."""
    item = film.get_item(keyword)
    if item is None:
        return None
    value = item.value
    if isinstance(value, bytes):
        if len(value) < 2:
            return None
        little = getattr(item, "is_little_endian", True)
        return int.from_bytes(value[:2], "little" if little else "big")
    if isinstance(value, int):
        return value & 0xFFFF
    return None


@dataclass(frozen=True, slots=True)
class LookUp:
    """A look-up table: the input ``first + i`` becomes ``entries[i]``.

    Attributes:
        first: the input that the first entry is of.
        entries: uint16 (n,).
        bits: of an entry, as the header says.
        short: whether there are fewer than the header says, or 8-bit ones.
    """

    first: int
    entries: npt.NDArray[np.uint16]
    bits: int
    short: bool

    def is_plain(self) -> bool:
        """Whether pydicom 3.0.2 reads it right: words, all there, from 0 or above."""
        return 10 <= self.bits <= 16 and not self.short and 0 <= self.first < 1 << 15

    def of(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Values through the table; those beyond its ends have the entry of the end.

        PS3.3, C.11.1.1.1 and C.11.2.1.1.
        """
        place = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.intp)
        return np.asarray(self.entries[place], np.float64)


def look_up(
    item: Any, inputs: tuple[float, float], signed: bool, prefix: str = "LUT"
) -> LookUp | None:
    """A look-up table out of an item of a sequence; None when it is of no use.

    The descriptor's third value, bits of an entry, does not say how entries are stored: 8-bit ones
    lie two in a word (packed, as bytes) or one in a word. Their length tells (the note in PS3.3,
    C.11.1.1.1).

    Args:
        item: the item, or the data set for tables of colours.
        inputs: smallest and largest value that can be looked up.
        signed: whether the first input mapped is a signed number, where the standard says so.
        prefix: of the keywords.
    """
    descriptor, data = item.get_item(f"{prefix}Descriptor"), item.get_item(f"{prefix}Data")
    if descriptor is None or data is None:
        return None
    three = _words(descriptor, 3)
    if three is None or len(three) < 3:
        return None
    count, first, bits = (int(number) for number in three[:3])
    count = count or 1 << 16  # PS3.3, C.11.1.1.1: 0 stands for 65,536
    entries = _entries(data, count, bits)
    if entries is None:
        return None
    raw = data.value
    short = len(entries) < count or (isinstance(raw, bytes) and len(raw) < 2 * count)
    return LookUp(_first(first, len(entries), inputs, signed), entries, bits, short)


def _first(raw: int, count: int, inputs: tuple[float, float], signed: bool) -> int:
    """The first input mapped: 16 bits that are a signed number or not.

    Where the reading that the standard asks for leaves all inputs outside of the table and the
    other does not, a writer took the other.
    """
    low, high = inputs
    readings = [raw, raw - (1 << 16) if raw >= 1 << 15 else raw]
    if signed:
        readings.reverse()
    for first in readings:
        if first <= high and first + count - 1 >= low:
            return first
    return readings[0]


def _entries(data: Any, count: int, bits: int) -> npt.NDArray[np.uint16] | None:
    value = data.value
    if isinstance(value, bytes):
        size = len(value)
        # Bytes or words: whichever the length is nearer to, as some tables lack their last entry.
        if abs(size - count) <= abs(size - 2 * count):
            packed = np.frombuffer(value, np.uint8)
            if not getattr(data, "is_little_endian", True) and data.VR != "OB":
                packed = packed[: size // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
            entries = packed.astype(np.uint16)
        else:
            words = _words(data, size // 2)
            entries = np.zeros(0, np.uint16) if words is None else words
    else:
        words = _words(data, count)
        entries = np.zeros(0, np.uint16) if words is None else words
    return entries[:count] if len(entries) else None


def _words(element: Any, count: int) -> npt.NDArray[np.uint16] | None:
    value = element.value
    if isinstance(value, bytes):
        kind = "<u2" if getattr(element, "is_little_endian", True) else ">u2"
        count = min(count, len(value) // 2)
        return np.frombuffer(value, kind, count).astype(np.uint16)
    if isinstance(value, int):
        value = [value]
    try:
        return np.array([int(one) & 0xFFFF for one in value], np.uint16)
    except (TypeError, ValueError):
        return None
