"""Tables and headers made up at random: a refusal or a result, never a traceback.

Short here; ``make fuzz`` looks for ten minutes.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.images.file_tree import scan, shown
from tests.ingest import fuzz
from tests.ingest.films import png

CASES = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fuzz.films_in(tmp_path / "films")


@CASES
@given(data=fuzz.TABLES)
def test_tables(folder: Path, data: bytes) -> None:
    fuzz.one_table(folder, data)


@CASES
@given(data=fuzz.IMAGES)
def test_images(folder: Path, data: bytes) -> None:
    fuzz.one_image(folder, data)


@CASES
@given(data=fuzz.HEADERS)
def test_headers(folder: Path, data: bytes) -> None:
    fuzz.one_image(folder, data)


def test_headers_are_close_to_a_film() -> None:
    """Otherwise the checks above would never get past the first line."""
    from ingest import read_image

    assert read_image(fuzz.header({}, True, b"1.2.840.10008.1.2.1")).shape == (6, 5)


def test_for_some_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.look(2, 0) > 10
    assert "without a traceback" in capsys.readouterr().out


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
