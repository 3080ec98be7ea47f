"""Columns of a CSV that the user names: types, values, batches that disagree."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import ingest, open_source
from ingest.sources.tables.columns import infer
from store import BadRows, Gallery, UsageError, parse_where
from tests.ingest.fakes import FakeEncoder
from tests.ingest.test_folder import films, write


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "-2", "", "NaN"], "int", [1, -2, None, None]),
        (["1", "2.5", "1e3"], "float", [1.0, 2.5, 1000.0]),
        (["0", "1"], "int", [0, 1]),
        (["3,5", "4", "0,125"], "float", [3.5, 4.0, 0.125]),
        (["1,234", "2,500"], "string", ["1,234", "2,500"]),
        (["yes", "No", "n/a"], "bool", [True, False, None]),
        (["2024-05-01", "1.6.2024"], "date", [date(2024, 5, 1), date(2024, 6, 1)]),
        (["01/02/2024"], "string", ["01/02/2024"]),
        (["2024-02-30"], "string", ["2024-02-30"]),
        (["007", "12"], "string", ["007", "12"]),
        (["9007199254740993"], "string", ["9007199254740993"]),
        (["1", "none of these"], "string", ["1", "none of these"]),
        (["x", "none", ""], "string", ["x", "none", None]),
        (["1e999"], "string", ["1e999"]),
        (["١"], "string", ["١"]),
    ],
)
def test_types_are_told_by_all_cells(cells: list[str], kind: str, values: list[object]) -> None:
    found = infer("x", cells)
    assert found is not None
    assert found.kind == kind
    read = [found.value(cell) for cell in cells]
    assert read == values
    assert [type(one) for one in read] == [type(one) for one in values]


def test_a_blank_column_has_no_type() -> None:
    assert infer("x", ["", "NA", "-"]) is None


@given(st.lists(st.text(max_size=12)))
def test_any_cells_have_a_type(cells: list[str]) -> None:
    found = infer("x", cells)
    for cell in cells:
        assert found is None or found.kind != "string" or found.value(cell) in (cell, None)
        if found is not None:
            found.value(cell)


TABLE = """file,label,Age,Ward,Follow-up #,score,when,blank
a.png,x,40,7,1,0.5,2024-05-01,
b.png,y,50,8,0,,2024-06-01,
c.png,y,60,,1,1,2024-07-01,
"""


def read(root: Path, table: Path, *columns: str, **options: object):
    return open_source("folder", root, labels=table, columns=columns, dataset="s", **options)


def test_from_csv_to_filter(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a.png", "b.png", "c.png")
    source = read(
        root, write(tmp_path, "t.csv", TABLE), "Age,ward,Follow-up #,mark=score,when,blank"
    )
    assert source.columns == {
        "ward": "int", "follow_up": "int", "mark": "float", "when": "date",
    }  # fmt: skip
    assert "column 'blank' is blank" in str(source.note)
    encoder = FakeEncoder()
    gallery = Gallery.create(tmp_path / "g", encoder.stamp)
    report = ingest(source, gallery, encoder)
    assert report.as_dict()["columns"] == dict(source.columns)
    gallery.refresh()
    assert gallery.row("s/a.png").extra == {
        "ward": 7, "follow_up": 1, "mark": 0.5, "when": date(2024, 5, 1),
    }  # fmt: skip
    assert gallery.row("s/a.png").age == 40.0
    where = parse_where(["ward=8..", "follow_up=0"], gallery.columns())
    assert gallery.ids(where) == ["s/b.png"]

    # a corrected value is taken over without encoding; a column that is not named any more stays
    table = write(tmp_path, "t.csv", TABLE.replace(",8,", ",9,"))
    again = ingest(read(root, table, "ward"), gallery, encoder)
    assert (again.updated, again.encoded, again.changed) == (1, 0, {"ward": 1})
    gallery.refresh()
    assert gallery.row("s/b.png").extra == {
        "ward": 9, "follow_up": 0, "when": date(2024, 6, 1),
    }  # fmt: skip
    gone = ["follow_up", "mark", "when"]
    assert ingest(read(root, table, "ward"), gallery, encoder, clear=gone).updated == 3
    gallery.refresh()
    assert gallery.row("s/b.png").extra == {"ward": 9}


def test_a_later_batch_of_another_type(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a.png", "b.png", "c.png")
    encoder = FakeEncoder()
    gallery = Gallery.create(tmp_path / "g", encoder.stamp)
    ingest(read(root, write(tmp_path, "t.csv", TABLE), "ward"), gallery, encoder)
    text = write(tmp_path, "t.csv", TABLE.replace(",8,", ",8B,"))
    before = encoder.encoded
    with pytest.raises(BadRows, match="'ward' holds values of type int in this gallery, but strin"):
        ingest(read(root, text, "ward"), gallery, encoder)
    assert encoder.encoded == before
    halves = write(tmp_path, "t.csv", TABLE.replace(",8,", ",8.5,"))
    assert ingest(read(root, halves, "ward"), gallery, encoder).updated == 1
    gallery.refresh()
    assert gallery.columns() == {"ward": "float"}
    assert gallery.row("s/a.png").extra == {"ward": 7.0}


def test_a_column_named_twice(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a.png")
    table = write(tmp_path, "t.csv", "file,label,ward,x y\na.png,x,1,2\n")
    with pytest.raises(UsageError, match="names 'ward' twice"):
        read(root, table, "ward,Ward")
    with pytest.raises(UsageError, match=r"means something else.*--columns NAME=ward"):
        read(root, table, "width=ward")
    assert read(root, table, "x y").columns == {"x_y": "int"}
