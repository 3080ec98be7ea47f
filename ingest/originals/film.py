"""Original film: stored values, the windows to see them through, and the scale of its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from store import CxrError

Reason = Literal[
    "off",
    "no_file",
    "outside",
    "link",
    "changed",
    "array",
    "vectors_only",
    "remote",
    "unreadable",
]
#: What DICOM calls the way between the ends of a window.
Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


class OriginalUnavailable(CxrError):
    """A film whose original is not to be had; ``reason`` says why, the message for a person.

    No message names a path: visitors of the dashboard read it.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class Preset:
    """One way to see a film: a window, or a table.

    Attributes:
        name: ``as stored`` for what the file itself asks for, ``automatic``, ``full range``,
            ``1-99 %``.
        centre, width: of the window, in modality values; ``None`` of a table. By ``LINEAR_EXACT``
            ``centre - width / 2`` is black and ``centre + width / 2`` white.
        function: of the window, as DICOM (PS3.3, C.11.2.1.2 and C.11.2.1.3) defines it.
        first: the stored value that the first entry of the table is of.
        table: uint8 (n,), 0 black to 255 white, for stored values from ``first`` on; those beyond
            its ends have the entry of the end. ``None`` of a window.

    Of an inverted film black and white are exchanged afterwards, whichever it is.
    """

    name: str
    centre: float | None = None
    width: float | None = None
    function: Function = "LINEAR_EXACT"
    first: int = 0
    table: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """A film as its file has it.

    Attributes:
        values: uint8, uint16 or int16 (height, width), or uint8 or uint16 (height, width, 3) RGB:
            the stored values, turned as EXIF asks. Values of more than 16 bits, and fractions, are
            brought to uint16; ``slope`` and ``intercept`` lead back.
        bits: of a stored value, e.g. 12.
        inverted: whether small values are bright: MONOCHROME1, WhiteIsZero.
        slope, intercept: a modality value is ``slope * stored + intercept``; 1 and 0 where a table
            takes their place, or nothing.
        unit: of modality values, as the file names it; often empty.
        presets: ways to see it, the file's own first.
        spacing: millimetres from row to row, and from column to column; ``None`` where the file
            does not tell.
        spacing_plane: where those millimetres are: in the ``patient``, or on the ``imager``, where
            things appear larger than they are.
        low, high: smallest and largest stored value.
        p1, p99: stored values that 1 % and 99 % of the pixels do not exceed, padding left out.
    """

    values: npt.NDArray[Any]
    bits: int
    inverted: bool
    slope: float
    intercept: float
    unit: str
    presets: tuple[Preset, ...]
    spacing: tuple[float, float] | None
    spacing_plane: Literal["patient", "imager"] | None
    low: int
    high: int
    p1: int
    p99: int

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.values.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.values.shape[1])

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return 1 if self.values.ndim == 2 else 3
