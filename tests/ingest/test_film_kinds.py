"""Each kind of 12- and 16-bit DICOM film, judged by readers that share no code with ours.

Where they disagree with each other, ``REASONS`` says which is right and why.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest

from ingest import read_image
from ingest.images.dicom.pixels import Cells
from ingest.images.dicom.read import is_read_anew, read_film
from ingest.images.dicom.tones import read_tones, shown
from ingest.images.dicom.values import Notes
from tests.ingest import judges
from tests.ingest.films import chest, film
from tests.ingest.judges import by_dcmtk, by_highdicom, by_simpleitk, correlation
from tests.ingest.kinds import SYNTAXES, Kind, Table, every, saved

#: What dcm2pnm is asked for, by the kind of tones: its own are the smallest to the largest value.
_OPTIONS = {"none": ("+Wm",), "modality": ("+Wm",), "VOI": ("+Wl", "1")}
_ALIKE = 0.999
TWELVE = {"BitsStored": 12, "HighBit": 11}
ALL = list(every())
#: Sixty-odd of them, spread so that each value of each property is among them.
SOME = ALL[:: len(ALL) // 66]

dcmtk = pytest.mark.skipif(judges.DCM2PNM is None, reason="dcm2pnm (Debian's dcmtk) is not here")


def options(kind: Kind) -> tuple[str, ...]:
    return _OPTIONS.get(kind.tones.split()[0], ("+Wi", "1"))


def judged(kind: Kind) -> str | None:
    """What is wrong with our reading of a kind; None when all who can read it agree."""
    data = kind.made(side=48)
    ours = read_image(data)
    found: dict[str, float] = {}
    plain = Kind(kind.tones, kind.slope, kind.photometric, kind.signed, kind.stored, kind.high)
    if kind.format in ("JPEG 2000", "JPEG-LS"):  # dcm2pnm has no decoder for these
        np.testing.assert_array_equal(ours, read_image(plain.made(side=48)), str(kind))
    elif judges.DCM2PNM is not None:
        found["dcmtk"] = correlation(ours, by_dcmtk(data, *options(kind)))
    if not highdicom_is_wrong(kind):
        pytest.importorskip("highdicom")
        voi = kind.tones.split()[0] not in ("none", "modality")
        found["highdicom"] = correlation(ours, by_highdicom(data, voi=voi))
    if kind.tones == "none" and not simpleitk_is_wrong(kind):
        pytest.importorskip("SimpleITK")
        found["SimpleITK"] = correlation(ours, by_simpleitk(data))
    wrong = {name: value for name, value in found.items() if not value > _ALIKE}
    return f"{kind}: {wrong}" if wrong else None


def highdicom_is_wrong(kind: Kind) -> bool:
    """Kinds that highdicom 0.28.2 refuses or reads against the standard.

    - Tables of other than 8 and 16 bits are refused; PS3.3, C.8.11.3.1.5, allows 10 to 16 in DX.
    - A table on signed 16-bit cells wraps: the first input is taken off in 16 bits. C.11.1.1.1 and
      C.11.2.1.1 count entries from it without a limit.
    - A VOI LUT after a negative slope is read from its wrong end: the table is thinned out from its
      start and begins at the value that belongs to its last entry. C.11.2.1.1 has the table applied
      to what the rescale gives.
    - 8-bit entries that lie one in a word are refused where no VR tells of it; the note in
      C.11.1.1.1 says that there are such, and that their length tells.
    - Big endian data sets are refused.
    """
    tables = kind.tones.startswith(("VOI", "modality"))
    twelve = kind.tones.startswith("VOI 12")
    wraps = kind.slope < 0 or (kind.signed and kind.stored == 16)
    wide = kind.tones == "VOI 8 US" and kind.format == "implicit"
    return kind.format == "big endian" or twelve or wide or (tables and wraps)


def simpleitk_is_wrong(kind: Kind) -> bool:
    """Kinds that SimpleITK 2.5.7 refuses: signed MONOCHROME1 with fewer bits than allocated.

    It inverts stored values by BitsStored, before the rescale (PS3.3, C.7.6.3.1.2, says nothing of
    the order); for a linear rescale that is the same picture.
    """
    return kind.signed and kind.photometric == "MONOCHROME1" and kind.stored < 16


def test_the_kinds_are_many_and_some_are_of_every_sort() -> None:
    assert len(ALL) > 1000 and len(SOME) >= 60
    for name in ("tones", "slope", "photometric", "signed", "stored", "format"):
        assert {getattr(one, name) for one in SOME} == {getattr(one, name) for one in ALL}


@dcmtk
def test_sixty_kinds_agree_with_the_outside_readers() -> None:
    assert [wrong for kind in SOME if (wrong := judged(kind))] == []


@dcmtk
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("format_", SYNTAXES)
def test_every_kind_agrees_with_the_outside_readers(format_: str) -> None:
    kinds = [kind for kind in ALL if kind.format == format_]
    assert [wrong for kind in kinds if (wrong := judged(kind))] == []


def as_version_1(data: bytes) -> npt.NDArray[np.uint8]:
    """What the first version of the pixel reader made of a film: by pydicom, pixel for pixel."""
    import pydicom
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    one = pydicom.dcmread(io.BytesIO(data))
    toned = apply_voi_lut(apply_modality_lut(one.pixel_array, one), one, prefer_lut=True)
    values = np.asarray(toned, np.float64)
    low, high = values.min(), values.max()
    if one.PhotometricInterpretation == "MONOCHROME1":
        values = low + high - values
    return np.rint((values - low) * (255.0 / (high - low))).astype(np.uint8)


def test_kinds_that_are_not_read_anew_are_read_as_before_bit_for_bit() -> None:
    kinds = [kind for kind in ALL if kind.format in ("explicit", "implicit", "RLE", "JPEG-LS")]
    plain = 0
    for kind in kinds[::12]:
        data = kind.made(side=64)
        if is_read_anew(io.BytesIO(data)):
            continue
        plain += 1
        np.testing.assert_array_equal(read_image(data), as_version_1(data), str(kind))
        assert kind.tones != "none" and kind.slope >= 0
    assert plain > 15
    assert is_read_anew(io.BytesIO(Kind("LINEAR", high=15).made()))
    assert is_read_anew(io.BytesIO(Kind("LINEAR", more=(("PixelPaddingValue", 0),)).made()))


@pytest.mark.parametrize("alone", [{"RescaleSlope": 2}, {"RescaleIntercept": -700}])
def test_half_a_rescale_is_applied_noted_and_read_anew(alone: dict[str, Any]) -> None:
    values = chest(0, 64).astype(np.uint16) * 16
    tags = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2000, "WindowWidth": 3000}
    data = film(values, **tags, **alone)
    both = film(values, **tags, **{"RescaleSlope": 1, "RescaleIntercept": 0, **alone})
    np.testing.assert_array_equal(read_image(data), read_image(both))
    assert not np.array_equal(read_image(data), as_version_1(data))
    assert is_read_anew(io.BytesIO(data)) and not is_read_anew(io.BytesIO(both))
    assert any("not both there" in note for note in read_film(data, "x").notes)


def test_signed_jpeg_ls_is_read_anew() -> None:
    pytest.importorskip("jpeg_ls")
    tags = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 0, "WindowWidth": 3000}
    values = chest(0, 64).astype(np.int16) * 16 - 2048
    packed = film(values, syntax=SYNTAXES["JPEG-LS"], **tags)
    np.testing.assert_array_equal(read_image(packed), read_image(film(values, **tags)))
    assert is_read_anew(io.BytesIO(packed)) and not is_read_anew(io.BytesIO(film(values, **tags)))


def test_the_quick_way_is_the_slow_way_bit_for_bit() -> None:
    """By the two ends or by counting, in cells of 16 or of 32 bits: the same pixels."""
    for kind in SOME:
        stored = kind.values(0, 64)
        header = pydicom.dcmread(io.BytesIO(kind.made(side=64)), stop_before_pixels=True)
        said = kind.stored
        small = stored.astype(np.uint16 if not kind.signed else np.int16).view(np.uint16)
        wide = stored.astype(np.int32).view(np.uint32)
        notes = Notes()
        quick, slow = (
            shown(cells, read_tones(header, cells, notes), "x", notes)
            for cells in (
                Cells(small, 16, 0, kind.signed, said),
                Cells(wide, 32, 0, kind.signed, said),
            )
        )
        np.testing.assert_array_equal(quick, slow, str(kind))


@pytest.mark.parametrize("stored", [8, 10, 12])
@pytest.mark.parametrize("signed", [False, True])
@dcmtk
def test_values_in_the_highest_bits_of_their_cells(stored: int, signed: bool) -> None:
    for tones in ("none", "LINEAR"):
        kind = Kind(tones, 0, "MONOCHROME2", signed, stored, high=15)
        plain = Kind(tones, 0, "MONOCHROME2", signed, stored)
        ours = read_image(kind.made())
        assert correlation(ours, by_dcmtk(kind.made(), *options(kind))) > _ALIKE
        np.testing.assert_array_equal(ours, read_image(plain.made()))


@pytest.mark.parametrize("first", [-1024, -40])
@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
@dcmtk
def test_a_first_input_below_zero(first: int, syntax: str) -> None:
    """Of unsigned values whose rescale may lead below 0; in implicit VR its sign is not told."""
    stored = Kind(stored=12).values(0, 96).astype(np.uint16)
    tags = {**TWELVE, "RescaleSlope": 1, "RescaleIntercept": -1024}
    entries = np.rint(np.linspace(0, 1, 4000) ** 2 * 65_535).astype("<u2")
    table = {"VOILUTSequence": Table(first, 16, entries.tobytes())}
    data = saved(stored, tags, table, SYNTAXES[syntax])
    assert correlation(read_image(data), by_dcmtk(data, "+Wl", "1")) > _ALIKE


@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_tables_of_65536_entries(keyword: str, bits: int, signed: bool, syntax: str) -> None:
    """Their number is written as 0: PS3.3, C.11.1.1.1."""
    kind = Kind(stored=16, signed=signed)
    stored = kind.values(0, 96)
    curve = np.linspace(0, 1, 65_536) ** 0.5
    entries = np.rint(curve * ((1 << bits) - 1)).astype("<u2" if bits > 8 else "u1")
    first = -32_768 if signed else 0
    table = {keyword: Table(first, bits, entries.tobytes())}
    cells = stored.astype(np.int16 if signed else np.uint16)
    data = saved(cells, {"BitsStored": 16, "HighBit": 15}, table, SYNTAXES[syntax])
    right = entries[stored - first].astype(float)
    assert correlation(read_image(data), right) > _ALIKE


@pytest.mark.parametrize(
    ("said", "vr"), [(16, "OW"), (8, "OW"), (12, "US"), (16, "US"), (10, "US")]
)
def test_bits_of_a_table_that_are_said_wrongly(said: int, vr: str) -> None:
    """Entries of 12 bits called 16, or the other way round; bytes called words."""
    stored = Kind().values(0, 96)
    entries = np.rint(np.linspace(0, 1, 4096) ** 0.5 * (255 if vr == "OW" else 4095))
    raw = entries.astype("u1" if vr == "OW" else "<u2").tobytes()
    table = {"VOILUTSequence": Table(0, said, raw, vr, count=4096)}
    data = saved(stored.astype(np.uint16), TWELVE, table, SYNTAXES["explicit"])
    assert correlation(read_image(data), entries[stored]) > _ALIKE


def test_the_last_entries_are_missing() -> None:
    stored = Kind().values(0, 96)
    entries = np.arange(0, 4096 * 16, 16, np.uint16)
    table = {"VOILUTSequence": Table(0, 16, entries[:4000].tobytes(), count=4096)}
    data = saved(stored.astype(np.uint16), TWELVE, table, SYNTAXES["explicit"])
    assert correlation(read_image(data), stored) > _ALIKE
