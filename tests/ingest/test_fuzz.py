"""Tables and image headers made up at random: a refusal or a result, never a traceback.

Short here. ``CXR_FUZZ_SECONDS=600 pytest tests/ingest/test_fuzz.py`` looks for ten minutes.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ingest import open_source, read_image
from ingest.csvfile import read_sheet
from ingest.dicom import identify
from ingest.tree import scan, shown
from store import CxrError
from tests.ingest.films import chest, encoded, film, png, png_bomb, write

SECONDS = float(os.environ.get("CXR_FUZZ_SECONDS", "0"))
CASES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
pytestmark = [
    pytest.mark.timeout(SECONDS + 180),
    pytest.mark.filterwarnings("ignore"),
]

_CELL = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["a.png", "1", "0", "-1", "", "x|y", "a;b", "../a.png", '"', "\0", "\r", "=1"]),
)
_BYTES = st.one_of(
    st.binary(max_size=200),
    st.lists(st.lists(_CELL, max_size=5), max_size=6).map(
        lambda rows: "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass")
    ),
    st.tuples(
        st.text(max_size=80), st.sampled_from(["utf-16", "utf-32", "cp1252", "utf-8-sig"])
    ).map(lambda pair: pair[0].encode(pair[1], "replace")),
)
_KINDS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")


def _seeds() -> list[bytes]:
    grey = Image.fromarray(chest(0, 24))
    found = [encoded(grey, kind) for kind in _KINDS]
    found += [encoded(grey, "TIFF", compression=c) for c in ("tiff_lzw", "jpeg", "packbits")]
    found += [encoded(grey.convert("RGB"), kind) for kind in _KINDS]
    found.append(encoded(Image.fromarray(chest(1, 24).astype(np.uint16) * 9)))
    found.append(film(chest(2, 24), SOPInstanceUID="1.2"))
    found.append(film(chest(3, 24).astype(np.uint16), PhotometricInterpretation="MONOCHROME1"))
    found.append(png_bomb(30_000, 30_000))
    with contextlib.suppress(Exception):  # only where the encoder is installed
        found.append(film(chest(4, 24), syntax="1.2.840.10008.1.2.4.90"))
    found.append(film(chest(5, 24), syntax="1.2.840.10008.1.2.5"))
    return found


SEEDS = _seeds()


def one_image(data: bytes) -> None:
    """A picture of sane size, or a refusal."""
    with contextlib.suppress(CxrError):
        pixels = read_image(data)
        assert pixels.dtype == np.uint8 and pixels.ndim in (2, 3) and pixels.size < 64_000_001 * 3


def one_table(folder: Path, data: bytes) -> None:
    """A sheet or a refusal; a source or a refusal."""
    path = write(folder, "table.csv", data)
    with contextlib.suppress(CxrError):
        for _, row in read_sheet(path).rows():
            assert all(isinstance(cell, str) for cell in row.values())
    for kind in ("folder", "nih", "chexpert", "rsna", "vindr"):
        for name in ("Data_Entry_2017.csv", "train.csv", "stage_2_train_labels.csv"):
            if kind != "folder":
                write(folder, name, data)
        with contextlib.suppress(CxrError):
            options = {"labels": path} if kind == "folder" else {}
            list(open_source(kind, folder, **options).records)


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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b/c.png", "1.png"):
        write(tmp_path / "films", name, png(0, 8))
    return tmp_path / "films"


@CASES
@given(data=_BYTES)
def test_tables(folder: Path, data: bytes) -> None:
    one_table(folder, data)


@CASES
@given(data=st.one_of(st.binary(max_size=300), st.sampled_from(SEEDS)), seed=st.integers(0, 2**32))
def test_images(folder: Path, data: bytes, seed: int) -> None:
    spoiled = spoil(data, random.Random(seed))
    one_image(spoiled)
    path = write(folder, "x", spoiled).resolve()
    with contextlib.suppress(CxrError):
        assert set(identify(path, "x")) <= {"id", "patient", "view", "sex", "age"}


@CASES
@given(name=st.binary(min_size=1, max_size=60).filter(lambda n: b"/" not in n and b"\0" not in n))
def test_names(folder: Path, name: bytes) -> None:
    text = shown(os.fsdecode(name))
    text.encode("utf-8")
    assert "\n" not in text and "\r" not in text and "\0" not in text
    if name in (b".", b".."):
        return
    path = os.fsencode(folder) + b"/" + name
    if os.path.exists(path):  # noqa: PTH110
        return
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(png(1, 8))
    try:
        tree = scan(folder)
        assert len(tree.files) + tree.ignored == 4
    finally:
        os.unlink(path)  # noqa: PTH108


@pytest.mark.skipif(not SECONDS, reason="set CXR_FUZZ_SECONDS to look for long")
@pytest.mark.parametrize("what", ["tables", "images"])
def test_for_long(folder: Path, what: str) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    chance, end, done = random.Random(seed), time.monotonic() + SECONDS / 2, 0
    tables: list[Callable[[], bytes]] = [
        lambda: chance.randbytes(chance.randint(0, 200)),
        lambda: _table(chance).encode(chance.choice(["utf-8", "utf-16", "cp1252"]), "replace"),
        lambda: spoil(_table(chance).encode(), chance),
    ]
    while time.monotonic() < end:
        data = chance.choice(tables)() if what == "tables" else spoil(chance.choice(SEEDS), chance)
        try:
            one_table(folder, data) if what == "tables" else one_image(data)
        except Exception as error:
            raise AssertionError(f"seed {seed}, case {done}: {data!r}") from error
        done += 1
    print(f"{what}: {done} cases, seed {seed}")  # noqa: T201


def _table(chance: random.Random) -> str:
    headings = [
        *("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender"),
        *("View Position", "Path", "Sex", "Age", "patientId", "Target", "image_id", "class_name"),
        *("rad_id", "file", "label", "", "é", "a\nb"),
    ]
    cells = [
        "a.png",
        "1",
        "0",
        "-1",
        "",
        "x|y",
        "2",
        "058Y",
        "M",
        '"',
        "''",
        "b/c.png",
        "\u2028",
        "🫁",
    ]
    width, separator = chance.randint(1, 12), chance.choice([",", ";", "\t", "|"])
    rows = [[chance.choice(headings) for _ in range(width)]]
    rows += [
        [chance.choice(cells) for _ in range(width + chance.randint(-1, 1))]
        for _ in range(chance.randint(0, 8))
    ]
    return chance.choice(["\n", "\r\n", "\r"]).join(separator.join(row) for row in rows)
