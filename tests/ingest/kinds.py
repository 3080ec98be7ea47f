"""Kinds of 12- and 16-bit DICOM film, made in code: every way in which a header may say tones."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tests.ingest.films import chest, film

SYNTAXES = {
    "explicit": "1.2.840.10008.1.2.1",
    "implicit": "1.2.840.10008.1.2",
    "big endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
}
PACKED = ("RLE", "JPEG 2000", "JPEG-LS")
TONES = (
    *("none", "LINEAR", "LINEAR_EXACT", "SIGMOID", "no function"),
    *("VOI 8 US", "VOI 8 OW", "VOI 12 OW", "VOI 16 US", "modality 8 OW", "modality 16 OW"),
)


class Table(NamedTuple):
    """A look-up table as a header has it.

    Attributes:
        first: the first input mapped.
        bits: of an entry, as the descriptor says.
        data: entries, little endian.
        vr: ``US`` or ``OW``.
        count: how many entries the descriptor says; as many as there are when ``None``.
    """

    first: int
    bits: int
    data: bytes
    vr: str = "OW"
    count: int | None = None


@dataclass(frozen=True)
class Kind:
    """One kind of film.

    Attributes:
        tones: of TONES.
        slope: of the rescale; 0 without one.
        photometric: ``MONOCHROME1`` or ``MONOCHROME2``.
        signed: whether stored values are.
        stored, high: bits of a value, and the highest of them.
        format: of SYNTAXES.
        more: further elements.
    """

    tones: str = "none"
    slope: float = 0
    photometric: str = "MONOCHROME2"
    signed: bool = False
    stored: int = 12
    high: int = 0
    format: str = "explicit"
    more: tuple[tuple[str, Any], ...] = field(default=())

    def __str__(self) -> str:
        sign = "signed" if self.signed else "unsigned"
        high = f", high bit {self.high}" if self.high else ""
        return (
            f"{self.tones}, slope {self.slope:g}, {self.photometric}, {sign} {self.stored}{high}, "
            f"{self.format}"
        )

    def made(self, seed: int = 0, side: int = 96) -> bytes:
        """The file."""
        stored = self.values(seed, side)
        low, high = self.reach(stored)
        tags: dict[str, Any] = {
            "BitsStored": self.stored,
            "HighBit": self.high or self.stored - 1,
            "PhotometricInterpretation": self.photometric,
            "PixelRepresentation": int(self.signed),
        }
        if self.slope:
            tags |= {"RescaleSlope": self.slope, "RescaleIntercept": 7, "RescaleType": "US"}
        if self.tones in ("LINEAR", "LINEAR_EXACT", "SIGMOID", "no function"):
            tags |= {"WindowCenter": round((low + high) / 2), "WindowWidth": round(high - low)}
            if self.tones != "no function":
                tags["VOILUTFunction"] = self.tones
        shift = self.high + 1 - self.stored if self.high else 0
        cells = (stored << shift).astype(np.int16 if self.signed else np.uint16)
        sequences = self._tables(stored)
        tags |= dict(self.more)
        return saved(cells, tags, sequences, SYNTAXES[self.format])

    def values(self, seed: int, side: int) -> npt.NDArray[np.int64]:
        """Stored values: a chest within the middle of what is possible, with nothing lone."""
        plain = chest(seed, side).astype(np.int64)
        plain = plain * ((1 << self.stored) - 1) // 300 + (1 << self.stored) // 16
        return plain - (1 << (self.stored - 1)) if self.signed else plain

    def reach(self, stored: npt.NDArray[np.int64]) -> tuple[float, float]:
        """The ends of a window that cuts a little off, after the rescale."""
        seen = stored * self.slope + 7 if self.slope else stored
        low, high = np.percentile(seen, [3, 97])
        return float(low), float(high)

    def _tables(self, stored: npt.NDArray[np.int64]) -> dict[str, Table]:
        """Sequences of look-up tables: keyword to first value, bits, data and its VR."""
        if not self.tones.startswith(("VOI", "modality")):
            return {}
        name, bits_, vr = self.tones.split()
        bits = int(bits_)
        rescaled = name == "VOI" and self.slope
        seen = stored * self.slope + 7 if rescaled else stored
        first = int(np.floor(seen.min())) + 20
        count = int(np.ceil(seen.max())) - first - 20
        curve = np.linspace(0, 1, count) ** 0.6
        entries = np.rint(curve * ((1 << bits) - 1)).astype(np.uint16)
        if bits == 8 and vr == "OW":
            data = entries.astype(np.uint8).tobytes()
            data += b"\0" * (len(data) % 2)
        else:
            data = entries.astype("<u2").tobytes()
        keyword = "VOILUTSequence" if name == "VOI" else "ModalityLUTSequence"
        return {keyword: Table(first, bits, data, vr)}


def saved(
    cells: npt.NDArray[Any],
    tags: dict[str, Any],
    tables: dict[str, Table],
    syntax: str,
) -> bytes:
    """A file with look-up tables, in a transfer syntax."""
    import pydicom
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    one = pydicom.dcmread(io.BytesIO(film(cells, **tags)))
    little = syntax != SYNTAXES["big endian"]
    for keyword, table in tables.items():
        words = table.bits > 8 or table.vr == "US"
        count = len(table.data) // (2 if words else 1) if table.count is None else table.count
        numbers = np.frombuffer(table.data, "<u2")
        value = numbers.tolist() if table.vr == "US" else numbers.astype("<u2" if little else ">u2")
        item = Dataset()
        sign = "SS" if table.first < 0 else "US"
        item.add_new((0x0028, 0x3002), sign, [count % 65_536, table.first, table.bits])
        item.add_new(
            (0x0028, 0x3006), table.vr, value if isinstance(value, list) else value.tobytes()
        )
        if keyword == "ModalityLUTSequence":
            item.ModalityLUTType = "US"
        setattr(one, keyword, Sequence([item]))
    if syntax in [SYNTAXES[name] for name in PACKED]:
        one.compress(syntax)
    else:
        one.file_meta.TransferSyntaxUID = syntax
        if not little:
            one.PixelData = cells.astype(cells.dtype.newbyteorder(">")).tobytes()
            one["PixelData"].VR = "OW"
            list(one.iterall())  # parsed while it is known how
            one.set_original_encoding(is_implicit_vr=False, is_little_endian=False)
    file = io.BytesIO()
    one.save_as(
        file,
        enforce_file_format=True,
        little_endian=little,
        implicit_vr=syntax == SYNTAXES["implicit"],
    )
    return file.getvalue()


def every() -> Iterator[Kind]:
    """Each combination that the standard allows."""
    for tones, slope, photometric, signed, stored in product(
        TONES, (0, 1, 0.5, -2), ("MONOCHROME2", "MONOCHROME1"), (False, True), (12, 16)
    ):
        if slope and tones.startswith("modality"):
            continue  # a modality LUT or a rescale, not both: PS3.3, C.11.1
        if tones.startswith("VOI") and (
            slope == 0.5 or (stored == 16 and (slope == -2 or tones.endswith("US")))
        ):
            continue  # a table has 65,536 entries at most, of whole numbers; as US, 32,767
        for format_ in SYNTAXES:
            yield Kind(tones, slope, photometric, signed, stored, 0, format_)
