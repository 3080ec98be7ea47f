"""Decoder of a file's bytes to an Original, by the readers that ingestion uses."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ingest.images.decode import decode_deep
from ingest.images.dicom.file import is_dicom
from ingest.images.dicom.pixels import Cells
from ingest.images.dicom.read import Stored, read_stored
from ingest.images.dicom.tones import Tones, Window, every_view, seen_range
from ingest.images.dicom.values import LookUp, Notes, number, text, texts
from ingest.images.pixels import counted
from ingest.images.tones import stretch, value_range
from ingest.originals.film import Original, Preset
from store import BadImage

_Values = npt.NDArray[Any]
#: Values of 16 bits.
_ENTRIES = 1 << 16
#: Part of the pixels that is left out at either end of ``1-99 %``.
_END = 0.01
_Plane = Literal["patient", "imager"]


def decode_original(data: bytes, name: str) -> Original:
    """Decode the bytes of one film at full size and depth.

    Args:
        data: the file: DICOM, PNG, TIFF, JPEG, JPEG-LS, JPEG 2000, WebP or BMP.
        name: for messages.

    Raises:
        BadImage: as ``ingest.images.decode.read_image``, without ``no_contrast``.
    """
    if is_dicom(data):
        return _of_dicom(read_stored(data, name), name)
    found = decode_deep(data, name)
    values, slope, intercept = _in_16_bits(found.values, name)
    seen = _Counts.of(values)
    own = _own_range(seen, values.dtype == np.uint8, slope, intercept)
    presets = [own, *_ranges(seen, slope, intercept)]
    return Original(
        values=values,
        bits=found.bits,
        inverted=found.inverted,
        slope=slope,
        intercept=intercept,
        unit="",
        presets=tuple(presets),
        spacing=None,
        spacing_plane=None,
        **seen.ends(),
    )


def _of_dicom(film: Stored, name: str) -> Original:
    values = _stored_values(film.cells, name)
    tones, header = film.tones, film.header
    seen = _Counts.of(values, None if tones is None else tones.padding)
    plain = tones is None or tones.modality is not None or not tones.rescaled
    slope, intercept = (1.0, 0.0) if plain or tones is None else (tones.slope, tones.intercept)
    views = [] if tones is None else every_view(header, film.cells, tones)
    presets = [_preset(view, tones, film.cells, seen) for view in views if tones is not None]
    if not presets and tones is not None and tones.modality is not None:
        presets = [_preset(None, tones, film.cells, seen)]
    if not presets:
        presets = [_own_range(seen, tones is None and values.dtype == np.uint8, slope, intercept)]
    spacing, plane = _spacing(header)
    said = text(header, "RescaleType") or ""
    return Original(
        values=values,
        bits=min(film.cells.stored, film.cells.said),
        inverted=tones is not None and tones.inverted,
        slope=slope,
        intercept=intercept,
        unit=said if re.fullmatch(r"[A-Z0-9_ ]{1,16}", said) and said != "US" else "",
        presets=(*_named(presets), *_ranges(seen, slope, intercept)),
        spacing=spacing,
        spacing_plane=plane,
        **seen.ends(),
    )


# -- values ----------------------------------------------------------------------------------------


def _stored_values(cells: Cells, name: str) -> _Values:
    """The stored values of cells; uint8, uint16 or int16, an array of its own."""
    patterns, wide = cells.patterns, 8 * cells.patterns.dtype.itemsize
    if wide > 16:
        return _narrowed(cells.values(patterns), name)
    if not cells.signed:
        shifted = patterns >> cells.shift if cells.shift else patterns
        mask = patterns.dtype.type((1 << cells.stored) - 1)
        return np.asarray(np.bitwise_and(shifted, mask))
    above = wide - cells.stored - cells.shift
    signed = (patterns << above if above else patterns).view(f"i{wide // 8}")
    return np.asarray((signed >> (wide - cells.stored)).astype(np.int16))


def _narrowed(values: npt.NDArray[np.int64], name: str) -> _Values:
    low, high = int(values.min()), int(values.max())
    if low >= 0 and high < _ENTRIES:
        return values.astype(np.uint16)
    if low >= -(_ENTRIES >> 1) and high < _ENTRIES >> 1:
        return values.astype(np.int16)
    raise BadImage(
        "unsupported", f"{name} has values from {low} to {high}, which is more than 16 bits"
    )


def _in_16_bits(values: _Values, name: str) -> tuple[_Values, float, float]:
    """Values as uint8, uint16 or int16, and the slope and intercept that lead back."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if (kind == "u" and size <= 2) or (kind == "i" and size == 2 and values.ndim == 2):
        return np.ascontiguousarray(values, values.dtype.newbyteorder("=")), 1.0, 0.0
    if kind == "f" and not np.isfinite(values).all():
        raise BadImage("bad_values", f"{name} holds NaN or infinite values; expected numbers")
    low, high = values.min().item(), values.max().item()
    if kind != "f" and high - low < _ENTRIES:
        return (values.astype(np.int64) - low).astype(np.uint16), 1.0, float(low)
    step = (float(high) - float(low)) / (_ENTRIES - 1) or 1.0
    found = np.empty(values.shape, np.uint16)
    for row, line in enumerate(values):  # a row at a time: no film in float64
        found[row] = np.rint((line.astype(np.float64) - low) / step)
    return found, step, float(low)


class _Counts:
    """Stored values that occur in a film, ascending, and how many pixels have each."""

    def __init__(self, values: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> None:
        self.values, self.counts = values, counts
        self.film = np.ones(len(values), bool)  # rather than padding

    @classmethod
    def of(cls, values: _Values, padding: tuple[int, int] | None = None) -> _Counts:
        """Counted; values of padding, first and last, take no part in a range."""
        if values.dtype == np.int16:
            counts = np.roll(counted(values.view(np.uint16)), _ENTRIES >> 1)
            occurring = np.flatnonzero(counts)
            found = cls(occurring - (_ENTRIES >> 1), counts[occurring])
        else:
            counts = counted(values)
            occurring = np.flatnonzero(counts)
            found = cls(occurring, counts[occurring])
        if padding is not None:
            film = (found.values < padding[0]) | (found.values > padding[1])
            found.film = film if film.any() else found.film
        return found

    def ends(self) -> dict[str, int]:
        """The ends of an Original's values, by the names of its attributes."""
        p1, p99 = self.quantile(_END), self.quantile(1 - _END)
        return {"low": int(self.values[0]), "high": int(self.values[-1]), "p1": p1, "p99": p99}

    def quantile(self, part: float) -> int:
        """The value that this part of the film's pixels do not exceed."""
        upwards = np.cumsum(self.counts[self.film])
        return int(self.values[self.film][np.searchsorted(upwards, part * upwards[-1])])


# -- presets ---------------------------------------------------------------------------------------


def _between(name: str, first: float, last: float, slope: float, intercept: float) -> Preset:
    """A window whose ends are two stored values."""
    low, high = sorted((slope * first + intercept, slope * last + intercept))
    return Preset(name, (low + high) / 2, max(high - low, abs(slope)))


def _own_range(seen: _Counts, plain: bool, slope: float, intercept: float) -> Preset:
    """The range in which ingestion sees a film that says nothing of windows itself.

    Args:
        seen: its values.
        plain: whether it is a picture of 8 bits, which is seen as it is.
        slope: to modality values.
        intercept: the same.
    """
    if plain:
        return _between("as stored", 0, 255, slope, intercept)
    low, high = value_range(seen.values[seen.film], seen.counts[seen.film])
    return _between("automatic", low, high, slope, intercept)


def _ranges(seen: _Counts, slope: float, intercept: float) -> list[Preset]:
    film = seen.values[seen.film]
    ends = seen.quantile(_END), seen.quantile(1 - _END)
    return [
        _between("full range", float(film[0]), float(film[-1]), slope, intercept),
        _between("1-99 %", *ends, slope, intercept),
    ]


def _named(presets: list[Preset]) -> list[Preset]:
    """The file's own presets, numbered where there are several."""
    first, *others = presets
    numbered = enumerate(others, start=2)
    return [first, *(replace(one, name=f"{one.name} {number}") for number, one in numbered)]


def _preset(view: LookUp | Window | None, tones: Tones, cells: Cells, seen: _Counts) -> Preset:
    """A preset of a VOI table or window; a table of stored values wherever a table plays a part.

    Without either, a modality table alone, over the range in which ingestion sees it.
    """
    name = "automatic" if view is None else "as stored"
    if isinstance(view, Window) and tones.modality is None:
        return Preset(name, view.centre, view.width, view.function)  # type: ignore[arg-type]
    first, last = int(seen.values[0]), int(seen.values[-1])
    stored = np.arange(first, last + 1)
    seen_through = replace(tones, voi=view).of(stored, cells.possible())
    film = seen_through[seen.values[seen.film] - first]
    low, high = seen_range(film, seen.counts[seen.film], voi=view is not None)
    return Preset(name, first=first, table=stretch(seen_through, low, high))


# -- millimetres -----------------------------------------------------------------------------------


def _spacing(header: Any) -> tuple[tuple[float, float] | None, _Plane | None]:
    """Millimetres from row to row and column to column, and where they are.

    PS3.3, 10.7.1.3: PixelSpacing is that of the patient where it was calibrated, which
    PixelSpacingCalibrationType says, or where it differs from ImagerPixelSpacing; else it is a copy
    of that. ImagerPixelSpacing, divided by an estimated magnification where there is one, is that
    of the patient, too. A digitised film has the spacing of its scanner.
    """
    given, imager = _two(header, "PixelSpacing"), _two(header, "ImagerPixelSpacing")
    calibrated = bool(text(header, "PixelSpacingCalibrationType"))
    if given is not None and (calibrated or given != imager):
        return given, "patient"
    if imager is not None:
        said = text(header, "EstimatedRadiographicMagnificationFactor")
        factor = number(said, "EstimatedRadiographicMagnificationFactor", Notes())
        if factor is not None and 1 < factor < 3:
            return (imager[0] / factor, imager[1] / factor), "patient"
        return imager, "imager"
    scanned = _two(header, "NominalScannedPixelSpacing")
    return scanned, None if scanned is None else "imager"


def _two(header: Any, keyword: str) -> tuple[float, float] | None:
    """Two positive decimals of an element; None where it has none."""
    found = [number(one, keyword, Notes()) for one in texts(header, keyword)]
    if len(found) != 2 or found[0] is None or found[1] is None or min(found[0], found[1]) <= 0:
        return None
    return found[0], found[1]
