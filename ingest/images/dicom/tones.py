"""Display pipeline of a DICOM film: stored values to 8 bits.

The chain of PS3.3, C.11, and PS3.4, N.2: modality LUT or rescale, then VOI LUT or window (the
first of use, where there are several; the LUT, where there are both), then the actual range to
0..255, then inversion where MONOCHROME1 says that low is bright. PhotometricInterpretation alone
decides about inversion: PresentationLUTShape would say the same thing a second time, and is known
to be wrong in places. Without a VOI LUT or window the range is ``ingest.images.tones.value_range``,
as for every other kind of film. Padding (C.7.5.1.1.2) takes no part in a range; it is shown like
any value beyond it.

All of it is worked out for the values that occur, never for the pixels, and by the formulas of the
standard: what pydicom 3.0.2 computes for a negative slope and for several kinds of table is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.images.dicom.pixels import Cells
from ingest.images.dicom.values import LookUp, Notes, decimal, look_up, number, text, texts, whole
from ingest.images.pixels import counted, looked_up
from ingest.images.tones import stretch, value_range
from ingest.record import Pixels
from store import BadImage

_Values = npt.NDArray[np.float64]
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True, slots=True)
class Window:
    """A window: its function, centre and width, usable as they are."""

    function: str
    centre: float
    width: float

    def of(self, values: _Values, low: float, high: float) -> _Values:
        """Values through the window, between low and high; PS3.3, C.11.2.1.2 and C.11.2.1.3."""
        centre, width, reach = self.centre, self.width, high - low
        if self.function == "SIGMOID":
            with np.errstate(over="ignore"):
                return np.asarray(reach / (1 + np.exp(-4 * (values - centre) / width)) + low)
        if self.function == "LINEAR":
            centre, width = centre - 0.5, width - 1
        below, above = values <= centre - width / 2, values > centre + width / 2
        with np.errstate(all="ignore"):  # a width of 0 leaves nothing between
            inside = ((values - centre) / width + 0.5) * reach + low
        return np.where(below, low, np.where(above, high, inside))


@dataclass(frozen=True, slots=True)
class Tones:
    """Display settings of a header: modality LUT or rescale, VOI LUT or window, padding, inversion.

    Attributes:
        modality: the modality LUT; ``None`` without one.
        slope, intercept: of the rescale; (1, 0) without one.
        rescaled: whether there is a rescale.
        voi: the VOI LUT or the window; ``None`` without either.
        padding: first and last stored value that are no part of the film; ``None`` without.
        inverted: whether low is bright.
    """

    modality: LookUp | None
    slope: float
    intercept: float
    rescaled: bool
    voi: LookUp | Window | None
    padding: tuple[int, int] | None
    inverted: bool

    def of(self, stored: npt.NDArray[np.int64], possible: tuple[int, int]) -> _Values:
        """Stored values after modality and VOI.

        Args:
            stored: some values.
            possible: the smallest and largest that there may be, which the scale of a window's
                result depends on.
        """
        values = self._modal(stored.astype(np.float64))
        if self.voi is None:
            return values
        if isinstance(self.voi, LookUp):
            return self.voi.of(values)
        ends = np.array(possible, np.float64)
        if self.modality is not None:
            ends = np.array((0.0, 2.0**self.modality.bits - 1))
        elif self.rescaled:
            ends = ends * self.slope + self.intercept
        return self.voi.of(values, float(ends.min()), float(ends.max()))

    def is_plain(self) -> bool:
        """Whether version 1 of the pixel reader, which went by pydicom 3.0.2, made the same of it.

        So it did of a window, and of a table of words, after a rescale upwards or none.
        """
        if self.modality is not None or self.padding is not None or self.slope <= 0:
            return False
        if isinstance(self.voi, LookUp):
            exact = self.slope.is_integer() and self.intercept.is_integer()
            return exact and self.voi.is_plain()
        return self.voi is not None

    def _modal(self, values: _Values) -> _Values:
        if self.modality is not None:
            return self.modality.of(values)
        return values * self.slope + self.intercept if self.rescaled else values


def read_tones(film: Any, cells: Cells, notes: Notes) -> Tones:
    """The display settings of a header; values of no use are left out, and noted."""
    possible = cells.possible()
    modality = _table(film, "ModalityLUTSequence", possible, cells.signed, notes)
    slope, intercept = decimal(film, "RescaleSlope", notes), None
    intercept = decimal(film, "RescaleIntercept", notes)
    if (film.get_item("RescaleSlope") is None) != (film.get_item("RescaleIntercept") is None):
        notes.add("RescaleSlope and RescaleIntercept are not both there; 1 or 0 taken")
    if slope == 0:
        notes.add("RescaleSlope is 0; ignored")
        slope = None
    rescaled = modality is None and not (slope is None and intercept is None)
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    inputs = _inputs(cells, modality, slope, intercept)
    # The first value mapped is signed where the input may be negative: PS3.3, C.11.2.1.1.
    voi: LookUp | Window | None
    voi = _table(film, "VOILUTSequence", inputs, inputs[0] < 0, notes)
    voi = voi or next(_windows(film, notes), None)
    padding = _padding(film, cells, notes)
    inverted = (text(film, "PhotometricInterpretation") or "").upper() == "MONOCHROME1"
    return Tones(modality, slope, intercept, rescaled, voi, padding, inverted)


def every_view(film: Any, cells: Cells, tones: Tones) -> list[LookUp | Window]:
    """All VOI tables of a header that are of use, then all its windows."""
    inputs, notes = _inputs(cells, tones.modality, tones.slope, tones.intercept), Notes()
    tables = _tables(film, "VOILUTSequence", inputs, inputs[0] < 0)
    return [*tables, *_windows(film, notes)]


def _inputs(
    cells: Cells, modality: LookUp | None, slope: float, intercept: float
) -> tuple[float, float]:
    """The smallest and largest value that may come out of the modality step."""
    if modality is not None:
        return 0.0, float(modality.entries.max())
    first, last = sorted(end * slope + intercept for end in cells.possible())
    return first, last


def _table(
    film: Any, keyword: str, inputs: tuple[float, float], signed: bool, notes: Notes
) -> LookUp | None:
    """The first table of a sequence that is of use."""
    if film.get_item(keyword) is None:
        return None
    found = next(_tables(film, keyword, inputs, signed), None)
    if found is None:
        empty = not _items(film, keyword)
        notes.add(f"{keyword} is {'empty' if empty else 'of no use'}; ignored")
    return found


def _tables(film: Any, keyword: str, inputs: tuple[float, float], signed: bool) -> Iterator[LookUp]:
    for item in _items(film, keyword):
        if (found := look_up(item, inputs, signed)) is not None:
            yield found


def _items(film: Any, keyword: str) -> list[Any]:
    """The items of a sequence; none where there is none, or it cannot be read."""
    if film.get_item(keyword) is None:
        return []
    try:
        return list(film[keyword].value)
    except Exception:
        return []


def _windows(film: Any, notes: Notes) -> Iterator[Window]:
    """The windows that are of use."""
    given = text(film, "VOILUTFunction")
    pairs = zip_longest(texts(film, "WindowCenter"), texts(film, "WindowWidth"))
    windows = (_usable(centre, width, given, notes) for centre, width in pairs)
    return (window for window in windows if window is not None)


def _usable(
    centre_text: str | None, width_text: str | None, given: str | None, notes: Notes
) -> Window | None:
    centre = number(centre_text, "WindowCenter", notes)
    width = number(width_text, "WindowWidth", notes)
    function = (given or "LINEAR").upper()
    if centre is None or width is None:
        if (centre is None) != (width is None):
            notes.add("WindowCenter and WindowWidth are not both there; ignored")
        return None
    if function not in _FUNCTIONS or given == "":
        notes.add(f"VOILUTFunction is {'unknown' if given else 'empty'}; LINEAR taken")
        function = "LINEAR"
    if width < 1 if function == "LINEAR" else width <= 0:
        notes.add("WindowWidth is too small; the window is ignored")
        return None
    return Window(function, centre, width)


def _padding(film: Any, cells: Cells, notes: Notes) -> tuple[int, int] | None:
    """Stored values that are padding, first and last."""
    first, last = whole(film, "PixelPaddingValue"), whole(film, "PixelPaddingRangeLimit")
    if first is None:
        if film.get_item("PixelPaddingValue") is not None:
            notes.add("PixelPaddingValue is empty; ignored")
        return None
    ends = [first, first if last is None else last]
    if cells.signed:
        ends = [end - (1 << 16) if end >= 1 << 15 else end for end in ends]
    return min(ends), max(ends)


def shown(cells: Cells, tones: Tones, name: str, notes: Notes) -> Pixels:
    """Pixels of a film as it is to be seen, uint8 (rows, columns).

    Raises:
        BadImage: ``bad_values``, when the header's numbers lead beyond all numbers.
    """
    if (found := _shown_between_ends(cells, tones)) is not None:
        return found
    index, patterns, counts = _occurring(cells.patterns)
    stored = cells.values(patterns)
    with np.errstate(over="ignore", invalid="ignore"):
        values = tones.of(stored, cells.possible())
    if not np.isfinite(values).all():
        raise BadImage("bad_values", f"{name} holds numbers in its header that are out of reach")
    film = ~_is_padding(cells, tones, patterns, stored)
    if not film.any():
        notes.add("PixelPaddingValue leaves no film; ignored")
        film[:] = True
    low, high = seen_range(values[film], counts[film], voi=tones.voi is not None)
    seen = stretch(low + high - values if tones.inverted else values, low, high)
    if index.dtype.itemsize > 2:
        return np.asarray(seen[index])
    table = np.zeros(1 << (index.dtype.itemsize * 8), np.uint8)
    table[patterns] = seen
    return looked_up(table, index)


def _shown_between_ends(cells: Cells, tones: Tones) -> Pixels | None:
    """As shown, without counting; None where that takes more than the two ends.

    Where tones only rise, or only fall, from the smallest pattern to the largest, those two are the
    ends of the range, whatever occurs between them. Nearly every film with a window is like that.
    """
    cell = cells.patterns
    if tones.voi is None or tones.padding is not None or cell.dtype.itemsize > 2:
        return None
    patterns = np.arange(int(cell.min()), int(cell.max()) + 1)
    with np.errstate(over="ignore", invalid="ignore"):
        values = tones.of(cells.values(patterns), cells.possible())
    steps = np.diff(values)
    if not (np.all(steps >= 0) or np.all(steps <= 0)) or not np.isfinite(values[[0, -1]]).all():
        return None
    low, high = sorted((float(values[0]), float(values[-1])))
    table = np.zeros(1 << (cell.dtype.itemsize * 8), np.uint8)
    table[patterns] = stretch(low + high - values if tones.inverted else values, low, high)
    return looked_up(table, cell)


def palette_pixels(film: Any, cells: Cells, name: str) -> Pixels:
    """Pixels of a film that is stored by palette; uint8 (rows, columns, 3), RGB.

    PS3.3, C.7.6.3.1.5 and C.7.9: entries of 16 bits are scaled to 8.

    Raises:
        BadImage: ``damaged``, when a table is missing, or cells are wider than tables are long.
    """
    if cells.patterns.dtype.itemsize > 2:
        raise BadImage("damaged", f"{name} has a palette and cells of more than 16 bits")
    index, patterns, _ = _occurring(cells.patterns)
    stored = cells.values(patterns)
    channels = []
    for colour in ("Red", "Green", "Blue"):
        table = look_up(film, cells.possible(), False, f"{colour}PaletteColorLookupTable")
        if table is None:
            raise BadImage("damaged", f"{name} has no palette that could be used")
        deep = table.bits > 8 and int(table.entries.max()) > 255
        seen = table.of(stored.astype(np.float64)) * (255 / 65535 if deep else 1)
        of_pattern = np.zeros(int(patterns[-1]) + 1, np.uint8)
        of_pattern[patterns] = np.rint(np.clip(seen, 0, 255))
        channels.append(of_pattern[index])
    return np.dstack(channels)


def seen_range(values: _Values, counts: npt.NDArray[np.int64], *, voi: bool) -> tuple[float, float]:
    """What is black and what is white, of values after modality and VOI, each any number of times.

    Args:
        values: float64 (n,).
        counts: how many pixels have each.
        voi: whether they went through a table or window.
    """
    if voi:  # a window cuts outliers off already
        return float(values.min()), float(values.max())
    distinct, place = np.unique(values, return_inverse=True)
    totals = np.zeros(len(distinct), np.int64)
    np.add.at(totals, place, counts)
    return value_range(distinct, totals)


def _is_padding(
    cells: Cells,
    tones: Tones,
    patterns: npt.NDArray[Any],
    stored: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    if tones.padding is None:
        return np.zeros(len(patterns), bool)
    first, last = tones.padding
    found = (stored >= first) & (stored <= last)
    if first == last and not cells.shift:
        # Padding that needs more bits than a value has fills its cell.
        found |= patterns.astype(np.int64) == first & ((1 << (patterns.dtype.itemsize * 8)) - 1)
    return found


def _occurring(
    cells: npt.NDArray[Any],
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Indices into a table of tones; the patterns that occur, ascending; their counts."""
    if cells.dtype.itemsize > 2:
        patterns, index, counts = np.unique(cells, return_inverse=True, return_counts=True)
        return index.reshape(cells.shape), patterns, counts.astype(np.int64)
    counts = counted(cells)
    patterns = np.flatnonzero(counts)
    return cells, patterns.astype(cells.dtype), counts[patterns]
