"""Tables, image headers and DICOM headers made up by Hypothesis: a refusal or a result.

``make fuzz`` looks for FUZZ_SECONDS (ten minutes) and shrinks what it finds; the suite runs the
same checks for some seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from ingest import open_source, read_image
from ingest.images.dicom.read import identify
from ingest.sources.tables.csv_file import read_sheet
from store import CxrError
from tests.ingest.films import chest, encoded, film, png, png_bomb, write

_CELLS = [
    *("a.png", "1.png", "b/c.png", "1", "0", "-1", "", "x|y", "a;b", "../a.png", '"', "''", "=1"),
    *("2", "2.5", "3,5", "007", "058Y", "M", "yes", "2024-05-01", "nan", "1e999", "\u2028", "🫁"),
]
_HEADINGS = [
    *("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "age"),
    *("View Position", "Path", "Sex", "Age", "patientId", "Target", "image_id", "class_name"),
    *("rad_id", "file", "label", "", "é", "ward", "Edema", "AP/PA", "Frontal/Lateral"),
]
_ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"]
_KINDS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")


def _table(
    headings: list[str], rows: list[list[str]], separator: str, end: str, encoding: str
) -> bytes:
    lines = [separator.join(cells) for cells in [headings, *rows]]
    return end.join(lines).encode(encoding, "replace")


_CELL = st.sampled_from(_CELLS) | st.text(max_size=12)
TABLES = st.one_of(
    st.builds(
        _table,
        st.lists(st.sampled_from(_HEADINGS) | st.text(max_size=8), min_size=1, max_size=14),
        st.lists(st.lists(_CELL, max_size=14), max_size=8),
        st.sampled_from([",", ";", "\t", "|"]),
        st.sampled_from(["\n", "\r\n", "\r"]),
        st.sampled_from(_ENCODINGS),
    ),
    st.binary(max_size=200),
    st.tuples(st.text(max_size=80), st.sampled_from(_ENCODINGS)).map(
        lambda pair: pair[0].encode(pair[1], "replace")
    ),
)


def _seeds() -> list[bytes]:
    grey = Image.fromarray(chest(0, 24))
    found = [encoded(grey, kind) for kind in _KINDS]
    found += [encoded(grey, "TIFF", compression=c) for c in ("tiff_lzw", "jpeg", "packbits")]
    found += [encoded(grey.convert("RGB"), kind) for kind in _KINDS]
    found.append(encoded(Image.fromarray(chest(1, 24).astype(np.uint16) * 9)))
    found.append(film(chest(2, 24), SOPInstanceUID="1.2"))
    found.append(film(chest(3, 24).astype(np.uint16), PhotometricInterpretation="MONOCHROME1"))
    found += _deep()
    found.append(png_bomb(30_000, 30_000))
    with contextlib.suppress(Exception):  # only where the encoder is installed
        found.append(film(chest(4, 24), syntax="1.2.840.10008.1.2.4.90"))
    found.append(film(chest(5, 24), syntax="1.2.840.10008.1.2.5"))
    return found


def _deep() -> list[bytes]:
    """What is not for Pillow: more than 8 bits, and the other JPEGs."""
    import imagecodecs
    import tifffile

    grey = chest(6, 24).astype(np.uint16) * 16
    three = np.dstack([grey] * 3)
    found = [imagecodecs.png_encode(three), imagecodecs.png_encode(np.dstack([grey, grey]))]
    for kind in ("minisblack", "miniswhite"):
        for order in "<>":
            for packed in (None, "lzw", "zlib", "packbits"):
                file = io.BytesIO()
                tifffile.imwrite(file, grey, photometric=kind, byteorder=order, compression=packed)
                found.append(file.getvalue())
    file = io.BytesIO()
    tifffile.imwrite(file, three.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    found.append(file.getvalue())
    file = io.BytesIO()
    tifffile.imwrite(file, grey.astype(np.float32), photometric="minisblack", tile=(16, 16))
    found.append(file.getvalue())
    for order in "<>":
        file = io.BytesIO()
        tifffile.imwrite(file, grey, photometric="miniswhite", byteorder=order, bigtiff=True)
        found.append(file.getvalue())
    found.append(imagecodecs.jpeg8_encode(grey, lossless=True, bitspersample=16))
    found.append(imagecodecs.jpeg8_encode(grey, level=95, bitspersample=12))
    found.append(imagecodecs.jpegls_encode(grey))
    found += [imagecodecs.jpeg2k_encode(grey, level=0, codecformat=c) for c in ("jp2", "j2k")]
    return [bytes(one) for one in found]


SEEDS = _seeds()
IMAGES = st.builds(
    lambda data, number: spoil(data, random.Random(number)),
    st.sampled_from(SEEDS) | st.binary(max_size=300),
    st.integers(0, 2**32),
)

#: Elements that reading a film looks at: tag, representation, and a value that it may have.
ELEMENTS: list[tuple[int, bytes, bytes]] = [
    (0x00080005, b"CS", b"ISO_IR 100"),
    (0x00080008, b"CS", b"DERIVED\\SECONDARY"),
    (0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.1.1"),
    (0x00080018, b"UI", b"1.2.3"),
    (0x00080060, b"CS", b"DX"),
    (0x00080068, b"CS", b"FOR PRESENTATION"),
    (0x00100020, b"LO", b"7"),
    (0x00100040, b"CS", b"F"),
    (0x00101010, b"AS", b"058Y"),
    (0x00180015, b"CS", b"CHEST"),
    (0x00185101, b"CS", b"PA"),
    (0x0020000D, b"UI", b"1.2.4"),
    (0x00200062, b"CS", b"L"),
    (0x00280002, b"US", b"\1\0"),
    (0x00280004, b"CS", b"MONOCHROME2"),
    (0x00280008, b"IS", b"1"),
    (0x00280010, b"US", b"\6\0"),
    (0x00280011, b"US", b"\5\0"),
    (0x00280100, b"US", b"\x10\0"),
    (0x00280101, b"US", b"\x0c\0"),
    (0x00280102, b"US", b"\x0b\0"),
    (0x00280103, b"US", b"\0\0"),
    (0x00280301, b"CS", b"NO"),
    (0x00281050, b"DS", b"100"),
    (0x00281051, b"DS", b"50"),
    (0x00281052, b"DS", b"-1024"),
    (0x00281053, b"DS", b"1"),
    (0x00280120, b"US", b"\7\0"),
    (0x00280121, b"US", b"\x09\0"),
    (0x00281056, b"CS", b"SIGMOID"),
    (0x00281101, b"US", b"\4\0\0\0\x10\0"),
    (0x00281102, b"US", b"\4\0\0\0\x10\0"),
    (0x00281103, b"US", b"\4\0\0\0\x10\0"),
    (0x00281201, b"OW", bytes(range(8))),
    (0x00281202, b"OW", bytes(range(8))),
    (0x00281203, b"OW", bytes(range(8))),
    (0x00283000, b"SQ", b""),
    (0x00283010, b"SQ", b""),
    (0x20500020, b"CS", b"IDENTITY"),
    (0x7FE00010, b"OW", bytes(range(60))),
]


def _lut(descriptor: bytes, entries: bytes) -> bytes:
    """An item of a sequence of look-up tables."""
    inside = struct.pack("<HH", 0x0028, 0x3002) + b"US" + struct.pack("<H", len(descriptor))
    inside += descriptor + struct.pack("<HH", 0x0028, 0x3006) + b"OW\0\0"
    inside += struct.pack("<L", len(entries)) + entries
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(inside)) + inside


_LUTS = st.builds(_lut, st.binary(max_size=4).map(lambda b: (b * 6)[:6]), st.binary(max_size=40))
_ODD = [b"", b"0", b"-1", b"1e999", b"nan", b"\xff\xff", b"\0\0", b"1\\2", b"\\", b"99999999999"]


def header(changes: dict[int, tuple[bytes, bytes] | None], order: bool, syntax: bytes) -> bytes:
    """A film with some elements changed or left out."""

    def element(tag: int, kind: bytes, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        start = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind
        if kind in (b"OW", b"OB", b"SQ", b"UN", b"UT"):
            return start + b"\0\0" + struct.pack("<I", len(value)) + value
        return start + struct.pack("<H", len(value) & 0xFFFF) + value

    meta = element(0x00020002, b"UI", b"1.2.840.10008.5.1.4.1.1.1.1")
    meta += element(0x00020003, b"UI", b"1.2.3") + element(0x00020010, b"UI", syntax)
    found = []
    for place, (tag, kind, value) in enumerate(ELEMENTS):
        change = changes.get(place, (kind, value))
        if change is not None:
            found.append(element(tag, *change))
    body = b"".join(found if order else reversed(found))
    length = element(0x00020000, b"UL", struct.pack("<I", len(meta)))
    return b"\0" * 128 + b"DICM" + length + meta + body


def _bared(data: bytes, kept: str) -> bytes:
    """A film, or what is left of it without its first parts."""
    length = 144 + int.from_bytes(data[140:144], "little")
    return {"all": data, "meta": data[132:], "set": data[length:]}[kept]


HEADERS = st.builds(
    header,
    st.dictionaries(
        st.integers(0, len(ELEMENTS) - 1),
        st.none()
        | st.tuples(
            st.sampled_from([kind for _, kind, _ in ELEMENTS] + [b"UN", b"LO"]),
            st.sampled_from([*_ODD, b"MONOCHROME1", b"PALETTE COLOR ", b"RGB "])
            | st.binary(max_size=20)
            | _LUTS,
        ),
        max_size=6,
    ),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([b"1.2.840.10008.1.2.1"] * 4 + [b"1.2.840.10008.1.2.5", b"1.2.3", b""]),
)
HEADERS = st.builds(_bared, HEADERS, st.sampled_from(["all", "all", "meta", "set"]))


def one_image(folder: Path, data: bytes) -> None:
    """A picture of sane size, or a refusal; of a header only what is on the keep-list."""
    with contextlib.suppress(CxrError):
        pixels = read_image(data)
        assert pixels.dtype == np.uint8 and pixels.ndim in (2, 3) and pixels.size < 64_000_001 * 3
    path = write(folder, "x", data).resolve()
    with contextlib.suppress(CxrError):
        assert set(identify(path, "x")) <= {"id", "patient", "study", "view", "sex", "age"}


def one_table(folder: Path, data: bytes) -> None:
    """A sheet or a refusal; a source or a refusal."""
    path = write(folder, "table.csv", data)
    headings: tuple[str, ...] = ()
    with contextlib.suppress(CxrError):
        sheet = read_sheet(path)
        headings = sheet.headings
        for _, row in sheet.rows():
            assert all(isinstance(cell, str) for cell in row.values())
    for options in ({}, {"columns": headings[:2]}, {"columns": ["age", "ward"]}):
        with contextlib.suppress(CxrError):
            list(open_source("folder", folder, labels=path, **options).records)
    for name in ("Data_Entry_2017.csv", "train.csv", "stage_2_train_labels.csv"):
        write(folder, name, data)
    for kind in ("nih", "chexpert", "rsna", "vindr"):
        with contextlib.suppress(CxrError):
            list(open_source(kind, folder).records)


def spoil(data: bytes, chance: random.Random) -> bytes:
    """A file with its bytes changed, cut, doubled or swapped for those of another."""
    spoiled = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        # Headers are where parsers branch.
        reach = len(spoiled) if chance.random() < 0.3 else min(len(spoiled), 400)
        if not reach:
            break
        place = chance.randrange(reach)
        match chance.randrange(5):
            case 0:
                spoiled[place] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
            case 1:
                del spoiled[place : place + chance.randint(1, 40)]
            case 2:
                spoiled[place:place] = chance.randbytes(chance.randint(1, 20))
            case 3:
                spoiled[place : place + 4] = chance.choice(
                    [b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"]
                )
            case _:
                other = chance.choice(SEEDS)
                spoiled[place : place + 30] = other[place : place + 30]
    return bytes(spoiled)


CHECKS: dict[str, tuple[Callable[[Path, bytes], None], st.SearchStrategy[bytes]]] = {
    "tables": (one_table, TABLES),
    "images": (one_image, IMAGES),
    "headers": (one_image, HEADERS),
}


def films_in(folder: Path) -> Path:
    """Some films for tables to name."""
    for name in ("a.png", "b/c.png", "1.png"):
        write(folder, name, png(0, 8))
    return folder


def look(seconds: float, start: int) -> int:
    """Run the checks in turns until the time is over; returns how many cases there were."""
    end, cases, turn = time.monotonic() + seconds, dict.fromkeys(CHECKS, 0), start
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as place:
        warnings.simplefilter("ignore")
        folder = films_in(Path(place))
        while time.monotonic() < end:
            for name in CHECKS:
                try:
                    cases[name] += _round(name, turn, folder, end)
                except BaseException:
                    sys.stderr.write(f"found in {name}, seed {turn}\n")
                    raise
            turn += 1
    counted = ", ".join(f"{count:,} {name}" for name, count in cases.items())
    sys.stdout.write(f"{counted} in {seconds:.0f} s without a traceback, seeds {start}..{turn}\n")
    return sum(cases.values())


def _round(name: str, number: int, folder: Path, end: float) -> int:
    check, strategy = CHECKS[name]
    cases = 0
    found = False

    @seed(number)
    @settings(
        max_examples=50,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(data=strategy)
    def run(data: bytes) -> None:
        nonlocal cases, found
        if not found and time.monotonic() > end:  # what was found is made small all the same
            return
        cases += 1
        try:
            check(folder, data)
        except BaseException:
            found = True
            raise

    run()
    return cases


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = float(os.environ.get("FUZZ_SECONDS", "600"))
    parser.add_argument("--seconds", type=float, default=default)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    asked = parser.parse_args()
    look(asked.seconds, asked.seed)


if __name__ == "__main__":
    main()
