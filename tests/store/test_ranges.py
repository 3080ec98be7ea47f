"""Least and greatest values by column, and filters on own columns decided without the table."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import BadFilter, Gallery, Row, Where, parse_where
from store.search.table_reader import TableReader
from store.table import rows
from store.table.column_stats import Range
from store.table.filters import passes
from tests.store.rows import STAMP, make_rows, random_vectors, table_of

EXTRAS: list[dict[str, Any]] = [
    {"beds": 3, "score": -0.25, "taken": date(2024, 5, 1), "urgent": True, "note": "it's 1..2"},
    {"beds": 7, "score": 1e-7, "taken": date(2023, 2, 28), "urgent": False, "note": "true"},
    {"beds": 7, "score": 0.0, "note": "x' OR '1'='1"},
    {"score": 2.5, "urgent": True},
    {},
]


def rows_of(extras: list[dict[str, Any]], ages: list[float | None]) -> list[Row]:
    made = make_rows(random_vectors(len(extras)))
    return [
        replace(row, id=str(at), extra=extra, age=age)
        for at, (row, extra, age) in enumerate(zip(made, extras, ages, strict=True))
    ]


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    gallery = Gallery.create(tmp_path, STAMP)
    gallery.upsert(rows_of(EXTRAS, [40.0, 61.5, None, 0.0, None]))
    gallery.refresh()
    return gallery


def test_ranges_are_of_the_rows_that_pass(gallery: Gallery) -> None:
    assert gallery.ranges() == {
        "age": Range("float", 0.0, 61.5, 3),
        "beds": Range("int", 3, 7, 3),
        "score": Range("float", -0.25, 2.5, 4),
        "taken": Range("date", date(2023, 2, 28), date(2024, 5, 1), 2),
    }
    assert type(gallery.ranges()["beds"].low) is int
    assert gallery.ranges(Where(extra=(("beds", "7"),))) == {
        "age": Range("float", 61.5, 61.5, 1),
        "beds": Range("int", 7, 7, 2),
        "score": Range("float", 0.0, 1e-7, 2),
        "taken": Range("date", date(2023, 2, 28), date(2023, 2, 28), 1),
    }
    assert gallery.ranges(Where(split=("nowhere",))) == {}


@pytest.mark.parametrize("where", [None, Where(age_min=1), Where(extra=(("urgent", "true"),))])
def test_the_table_tells_the_same_ranges_as_memory(gallery: Gallery, where: Where | None) -> None:
    assert TableReader(table_of(gallery), gallery.state[2]).ranges(where) == gallery.ranges(where)


def test_parts_of_a_table_make_the_ranges_of_the_whole(gallery: Gallery) -> None:
    one_more: list[dict[str, Any]] = [{"beds": -4, "fresh": 1.0}]
    gallery.upsert([replace(rows_of(one_more, [99.0])[0], id="later")])
    gallery.refresh()
    assert gallery.ranges()["beds"] == Range("int", -4, 7, 4)
    assert gallery.ranges()["fresh"] == Range("float", 1.0, 1.0, 1)
    now = TableReader(table_of(gallery), gallery.state[2])  # two fragments
    assert now.ranges(None) == gallery.ranges()


def test_an_age_that_is_no_number_is_no_value(gallery: Gallery, monkeypatch) -> None:
    monkeypatch.setattr(rows, "check_metadata", lambda rows: None)  # as galleries once were
    gallery.upsert([replace(rows_of([{}], [float("nan")])[0], id="later")])
    gallery.refresh()
    assert gallery.ranges()["age"] == Range("float", 0.0, 61.5, 3)


numbers = st.sampled_from([-3.0, -0.25, 0.0, 1e-7, 2.5, 3, 7, 40, 61.5])
days = st.dates(date(2023, 1, 1), date(2024, 12, 31))


def ranges_of(bounds: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    def text(ends: list[Any], shape: str) -> str:
        low, high = sorted(ends)
        return shape.format(low=low, high=high)

    shapes = st.sampled_from(["{low}", "{low}..{high}", "{low}..", "..{high}"])
    return st.builds(text, st.lists(bounds, min_size=2, max_size=2), shapes)


own = st.one_of(
    st.tuples(st.sampled_from(["beds", "score"]), ranges_of(numbers)),
    st.tuples(st.just("taken"), ranges_of(days)),
    st.tuples(st.just("urgent"), st.sampled_from(["true", "FALSE", "yes", "0"])),
    st.tuples(st.just("note"), st.sampled_from(["it's 1..2", "true", "x' OR '1'='1", "no"])),
)


@settings(max_examples=60)
@given(
    st.lists(own, max_size=4),
    st.none() | numbers.filter(lambda age: age <= 7),
    st.none() | numbers.filter(lambda age: age >= 7),
)
def test_a_row_at_hand_passes_as_the_table_decides(
    shared: Gallery, extra: list[tuple[str, str]], low: float | None, high: float | None
) -> None:
    where = Where(age_min=low, age_max=high, extra=tuple(extra))
    rows = [shared.row(id_) for id_ in shared.ids()]
    assert shared.ids(where) == [row.id for row in rows if passes(row, where)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    gallery = Gallery.create(tmp_path_factory.mktemp("ranges"), STAMP)
    gallery.upsert(rows_of(EXTRAS, [40.0, 61.5, None, 0.0, None]))
    return gallery


def test_several_values_of_one_own_column_mean_any_of_them(gallery: Gallery) -> None:
    asked = ["note=true", "note=it's 1..2", "urgent=true", "urgent=false"]
    where = parse_where(asked, gallery.columns())
    assert gallery.ids(where) == ["0", "1"]
    assert [passes(gallery.row(id_), where) for id_ in gallery.ids()] == [
        True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"), [("beds", "many"), ("taken", "1.5.2024"), ("urgent", "")]
)
def test_a_text_of_another_type_is_refused_by_both(gallery: Gallery, name: str, text: str) -> None:
    where = Where(extra=((name, text),))
    with pytest.raises(BadFilter, match=name):
        gallery.ids(where)
    with pytest.raises(BadFilter, match=name):
        passes(gallery.row("0"), where)


def test_ages_are_written_as_they_are_compared() -> None:
    where = Where(age_min=0.12345678901, age_max=1e21)
    assert str(where) == "age=0.12345678901..1e+21"
    assert parse_where([str(where)]) == where
