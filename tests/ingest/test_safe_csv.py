"""Every CSV that leaves: no cell runs in a spreadsheet, and all of it reads back."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.sources.tables.safe_csv import csv_bytes, rows_of

ROOT = Path(__file__).parents[2]
DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
#: Cells are short texts of what spreadsheets, CSV and this module give a meaning, and some others.
CELLS = st.text(st.sampled_from([*DANGEROUS, *"'\",;|1a é\0\u2028\u202e"]), max_size=6)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2)))
@example([["=1+1", "'=1+1"], ["''=1+1", "@SUM(A1)"], ["＝1", "\r=1"]])
def test_no_cell_runs_and_every_cell_reads_back(rows: list[list[str]]) -> None:
    data = csv_bytes(["a", "b"], rows)
    opened = [*csv.reader(io.StringIO(data.decode(), newline=""))]
    assert not [cell for row in opened for cell in row if cell.startswith(DANGEROUS)]
    assert rows_of(data) == [["a", "b"], *rows]


def test_what_needs_no_guard_has_none() -> None:
    rows = [["left 2''.png", "'quoted'", -0.5, None, "a=b", " =1"]]
    [_, cells] = csv.reader(io.StringIO(csv_bytes(["-"] * 6, rows).decode(), newline=""))
    assert cells == ["left 2''.png", "'quoted'", "-0.5", "", "a=b", " =1"]


def test_half_a_character_is_written_as_an_escape() -> None:
    assert b"a\\udcffb" in csv_bytes(["id"], [["a\udcffb"]])


def test_not_a_table() -> None:
    for data in (b"\xff", b'"a\x00' + b"x" * 200_000):
        with pytest.raises(ValueError):
            rows_of(data)


def test_nothing_else_writes_csv() -> None:
    writes = re.compile(r"csv\.(writer|DictWriter)|to_csv|write_csv|text/csv;")
    found = [
        str(path.relative_to(ROOT))
        for room in ("ingest", "store", "ui")
        for path in (ROOT / room).rglob("*.py")
        if writes.search(path.read_text("utf-8"))
    ]
    assert found == ["ingest/sources/tables/safe_csv.py"]
