"""Filters mean what they say, whatever the values are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import BadFilter, Gallery, Where, parse_where
from store.schema import FINDINGS
from store.table import filters
from store.table.rows import table_schema
from tests.store.rows import STAMP, make_rows, random_vectors

VALUES = ["a", "b", "it's", "x' OR '1'='1", '"', "--", "a\\b", "a\nb", "ä", "%", "1=1) --", "A"]
COLUMNS = ("split", "dataset", "patient", "view", "sex")

rows_of_columns = st.lists(
    st.fixed_dictionaries(
        {
            **{
                name: st.lists(st.sampled_from(VALUES), max_size=3, unique=True).map(tuple)
                for name in FINDINGS
            },
            "age": st.none() | st.integers(0, 9).map(float),
            **{name: st.none() | st.sampled_from(VALUES) for name in COLUMNS},
        }
    ),
    min_size=1,
    max_size=12,
)
some_values = st.lists(st.sampled_from(VALUES), max_size=2).map(tuple)
wheres = st.builds(
    lambda ages, **columns: Where(age_min=ages[0], age_max=ages[1], **columns),
    st.tuples(st.none() | st.integers(0, 4), st.none() | st.integers(4, 9)),
    label=some_values,
    uncertain=some_values,
    absent=some_values,
    **dict.fromkeys(COLUMNS, some_values),
)


def passes(row, where: Where) -> bool:
    """The meaning of a filter, in plain Python."""
    return (
        all(
            not asked or bool(set(asked) & set(found))
            for asked, found in (
                (where.label, row.labels),
                (where.uncertain, row.uncertain),
                (where.absent, row.absent),
            )
        )
        and all(not getattr(where, n) or getattr(row, n) in getattr(where, n) for n in COLUMNS)
        and (where.age_min is None or (row.age is not None and row.age >= where.age_min))
        and (where.age_max is None or (row.age is not None and row.age <= where.age_max))
    )


@settings(max_examples=10)
@given(rows_of_columns, st.lists(wheres, min_size=1, max_size=4))
def test_filter_equals_plain_python(tmp_path_factory, columns, conditions) -> None:
    gallery = Gallery.create(tmp_path_factory.mktemp("store"), STAMP)
    vectors = random_vectors(len(columns))
    rows = [replace(row, **column) for row, column in zip(make_rows(vectors), columns, strict=True)]
    gallery.upsert(rows)
    for where in conditions:
        expected = sorted(row.id for row in rows if passes(row, where))
        assert gallery.ids(where) == expected
        assert sorted(row.id for row in rows if filters.passes(row, where)) == expected
        hits = gallery.search(vectors[0], len(rows), where)[0]
        assert sorted(hit.row.id for hit in hits) == expected


def test_k_hits_are_k_under_a_filter(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path, STAMP)
    vectors = random_vectors(300)
    gallery.upsert(make_rows(vectors, [("rare",) if i % 30 == 0 else ("x",) for i in range(300)]))
    hits = gallery.search(vectors[:5], 7, Where(label=("rare",)))
    assert [len(row) for row in hits] == [7] * 5
    assert all(hit.row.labels == ("rare",) for row in hits for hit in row)
    assert len(gallery.search_by_id("set/test/0", 10, Where(label=("rare",)))) == 9
    assert gallery.search(vectors[0], 3, Where(label=("nobody has this",))) == [[]]


def test_parse() -> None:
    where = parse_where(["label=pneumonia", "label=normal", "split = test", "age=40..60"])
    assert where == Where(
        label=("pneumonia", "normal"), split=("test",), age_min=40.0, age_max=60.0
    )
    assert str(where) == "label=pneumonia label=normal split=test age=40..60"
    assert parse_where(["age=65.."]) == Where(age_min=65.0)
    assert parse_where(["age=..1.5"]) == Where(age_max=1.5)
    assert parse_where(["age=7"]) == Where(age_min=7.0, age_max=7.0)
    assert parse_where(["label=a=b'c"]).label == ("a=b'c",)
    assert not parse_where([])
    assert parse_where([]).to_filter(table_schema(STAMP)) is None


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("pneumonia", "expected KEY=VALUE"),
        ("label=", "expected KEY=VALUE"),
        ("colour=red", "unknown key 'colour'; use label, .*split"),
        ("age=old", "expected years"),
        ("age=60..40", "lower bound first"),
        ("age=nan", "finite"),
    ],
)
def test_parse_refuses(condition: str, message: str) -> None:
    with pytest.raises(BadFilter, match=message):
        parse_where([condition])


def test_a_bare_string_is_not_a_tuple_of_letters() -> None:
    with pytest.raises(BadFilter, match="tuple of strings"):
        Where(label="pneumonia")  # type: ignore[arg-type]
