"""Uncertain and absent findings, the user's own columns, and galleries of older versions."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import BadFilter, BadRows, Gallery, Row, Where, parse_where
from store.files import TABLE
from store.table import custom_columns
from store.table import rows as arrow
from tests.store.rows import DIMENSION, STAMP, make_rows, random_vectors

PNG = b"\x89PNG\r\n\x1a\n"
EXTRA = {"ward": 3, "score": 0.25, "urgent": True, "note": "it's 1..2", "taken": date(2024, 5, 1)}


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "store", STAMP)


def older(uri: str, rows: list[Row]) -> None:
    """A gallery as version 2 wrote it: without the lists of findings that are not present."""
    import lancedb

    schema = arrow.table_schema(STAMP)
    newer = ("uncertain", "absent", "pixel_reader")
    fields = [field for field in schema if field.name not in newer]
    metadata = {**schema.metadata, b"cxr.schema_version": b"2"}
    plain = pa.schema(fields).with_metadata(metadata)
    made = lancedb.connect(uri).create_table(
        TABLE, schema=plain, storage_options={"new_table_enable_stable_row_ids": "true"}
    )
    made.set_unenforced_primary_key("id")
    made.merge_insert("id").when_not_matched_insert_all().execute(
        arrow.to_arrow(rows, DIMENSION, plain)
    )


def test_an_older_gallery_is_read_as_it_is_and_grows_when_it_is_written(tmp_path: Path) -> None:
    uri = str(tmp_path)
    rows = make_rows(random_vectors(6), view="PA", thumbnail=PNG)
    older(uri, rows)
    gallery = Gallery.open(uri, STAMP)
    version = gallery.stats()["table_version"]
    found = gallery.row("set/test/3")
    assert (found.labels, found.uncertain, found.absent, found.extra) == (
        ("pneumonia",), (), (), {},
    )  # fmt: skip
    assert gallery.ids(Where(uncertain=("edema",))) == []
    assert gallery.facets()["absent"] == {}
    assert gallery.check() == []
    assert gallery.stats()["table_version"] == version  # nothing of this wrote

    assert gallery.update_metadata([replace(rows[3], view="AP", uncertain=("edema",))]) == 1
    assert (
        gallery.upsert(make_rows(random_vectors(1, 9), prefix="new/", thumbnail=PNG)).inserted == 1
    )
    gallery.refresh()
    assert gallery.ids(Where(uncertain=("edema",))) == ["set/test/3"]
    assert (gallery.row("set/test/3").view, gallery.row("set/test/4").view) == ("AP", "PA")
    assert len(gallery) == 7
    assert gallery.check() == []
    assert gallery.upsert(rows[:3]).unchanged == 3
    with_pictures = gallery.thumbnails(["set/test/0"])
    assert with_pictures == {"set/test/0": PNG}


def test_an_older_gallery_with_a_saved_mirror_follows(tmp_path: Path) -> None:
    older(str(tmp_path), make_rows(random_vectors(6)))
    reader, writer = Gallery.open(tmp_path), Gallery.open(tmp_path)
    assert len(reader) == 6
    writer.upsert(make_rows(random_vectors(2, 3), prefix="new/", absent=("edema",)))
    assert reader.refresh()
    assert reader.ids(Where(absent=("edema",))) == ["new/0", "new/1"]
    assert [hit.row.absent for hit in reader.search_by_id("new/0", 7)].count(("edema",)) == 1


def test_findings_are_kept_apart_and_corrected(gallery: Gallery) -> None:
    rows = make_rows(random_vectors(3), [("a",), (), ()])
    rows[1] = replace(rows[1], uncertain=("a", "b"))
    rows[2] = replace(rows[2], absent=("a",))
    gallery.upsert(rows)
    assert gallery.ids(parse_where(["label=a"])) == ["set/test/0"]
    assert gallery.ids(parse_where(["uncertain=a"])) == ["set/test/1"]
    assert gallery.ids(parse_where(["absent=a", "uncertain=a"])) == []
    facets = gallery.facets()
    assert (facets["labels"], facets["uncertain"], facets["absent"]) == (
        {"a": 1}, {"a": 1, "b": 1}, {"a": 1},
    )  # fmt: skip
    assert gallery.update_metadata([replace(rows[1], uncertain=(), absent=("b",))]) == 1
    gallery.refresh()
    assert gallery.facets()["absent"] == {"a": 1, "b": 1}


def test_own_columns_come_back_as_they_went_in(gallery: Gallery) -> None:
    rows = make_rows(random_vectors(4))
    rows[0] = replace(rows[0], extra=EXTRA)
    rows[1] = replace(rows[1], extra={"ward": 7, "urgent": False, "note": None})
    assert gallery.upsert(rows).inserted == 4
    assert gallery.columns() == {
        "ward": "int", "score": "float", "urgent": "bool", "note": "string", "taken": "date",
    }  # fmt: skip
    found = gallery.rows([row.id for row in rows])
    assert found["set/test/0"].extra == EXTRA
    assert [type(found["set/test/0"].extra[name]) for name in EXTRA] == [
        int, float, bool, str, date,
    ]  # fmt: skip
    assert found["set/test/1"].extra == {"ward": 7, "urgent": False}
    hits = {hit.row.id: hit.row.extra for hit in gallery.search_by_id("set/test/3", 3)}
    assert (hits["set/test/0"], hits["set/test/2"]) == (EXTRA, {})
    assert gallery.upsert(rows).unchanged == 4
    assert gallery.update_metadata([replace(rows[1], extra={"ward": 8})]) == 1
    assert gallery.row("set/test/1").extra == {"ward": 7, "urgent": False}  # of this snapshot
    gallery.refresh()
    assert gallery.row("set/test/1").extra == {"ward": 8}
    facets = gallery.facets()
    assert facets["urgent"] == {"true": 1}
    assert facets["note"] == {"it's 1..2": 1}
    assert "ward" not in facets


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (["ward=3"], "a"),
        (["ward=3..7"], "ab"),
        (["ward=4.."], "b"),
        (["ward=3", "ward=7"], "ab"),
        (["score=..0.5"], "a"),
        (["urgent=yes"], "a"),
        (["urgent=false"], "b"),
        (["note=it's 1..2"], "a"),
        (["taken=2024-05-01"], "a"),
        (["taken=2024-01-01..2024-06-30"], "a"),
        (["taken=2024-05-02.."], ""),
        (["ward=3..7", "urgent=false"], "b"),
    ],
)
def test_filters_on_own_columns(gallery: Gallery, condition: list[str], expected: str) -> None:
    rows = make_rows(random_vectors(3))
    gallery.upsert(
        [
            replace(rows[0], id="a", extra=EXTRA),
            replace(rows[1], id="b", extra={"ward": 7, "urgent": False}),
            replace(rows[2], id="c"),
        ]
    )
    where = parse_where(condition, gallery.columns())
    assert gallery.ids(where) == list(expected)
    assert str(where) == " ".join(condition)
    assert gallery.delete(where, dry_run=True) == len(expected)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("ward=blue", "expected a number"),
        ("ward=7..3", "lower bound first"),
        ("ward=..", "expected a number"),
        ("ward=nan", "expected a number"),
        ("urgent=maybe", "true or false"),
        ("taken=1.5.2024", "expected a date"),
        ("bed=3", "unknown key 'bed'.*ward"),
        ("ward=1 OR 1=1", "expected a number"),
    ],
)
def test_filters_on_own_columns_are_typed(gallery: Gallery, condition: str, message: str) -> None:
    gallery.upsert([replace(make_rows(random_vectors(1))[0], extra=EXTRA)])
    with pytest.raises(BadFilter, match=message):
        gallery.ids(parse_where([condition], gallery.columns()))
    with pytest.raises(BadFilter, match="unknown key 'bed'"):
        gallery.ids(Where(extra=(("bed", "3"),)))


def test_another_type_is_refused_and_ints_become_floats(gallery: Gallery) -> None:
    rows = make_rows(random_vectors(3), thumbnail=PNG)
    gallery.upsert([replace(rows[0], extra={"ward": 3})])
    version = gallery.stats()["table_version"]
    with pytest.raises(BadRows, match=r"'ward' holds values of type int .* but string came"):
        gallery.upsert([replace(rows[1], extra={"ward": "three"})])
    with pytest.raises(BadRows, match=r"'ward' holds values of type int .* but date came"):
        gallery.make_room({"ward": "date"})
    assert gallery.stats()["table_version"] == version
    gallery.upsert([replace(rows[1], extra={"ward": 3.5})])
    gallery.refresh()
    assert gallery.columns() == {"ward": "float"}
    assert gallery.row("set/test/0").extra == {"ward": 3.0}
    assert gallery.upsert([replace(rows[2], extra={"ward": 4})]).inserted == 1
    gallery.refresh()
    assert gallery.columns() == {"ward": "float"}
    assert gallery.check() == []


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"ward": float("nan")}, "finite number"),
        ({"ward": 2**53 + 1}, "up to 2\\^53"),
        ({"ward": datetime(2024, 5, 1)}, "or a date"),
        ({"embedding": 1}, "means something else"),
        ({"Ward": 1}, "no name for a column"),
        ({"_rowid": 1}, "no name for a column"),
        ({"a.b": 1}, "no name for a column"),
    ],
)
def test_what_no_column_can_hold_is_refused(gallery: Gallery, extra, message: str) -> None:
    with pytest.raises(BadRows, match=message):
        gallery.upsert([replace(make_rows(random_vectors(1))[0], extra=extra)])
    assert len(gallery) == 0


def test_two_types_in_one_batch(gallery: Gallery) -> None:
    rows = make_rows(random_vectors(2))
    with pytest.raises(BadRows, match="'x', a string, and a int in rows before"):
        gallery.upsert([replace(rows[0], extra={"ward": 1}), replace(rows[1], extra={"ward": "x"})])


def test_names_of_columns() -> None:
    assert custom_columns.name_of("Follow-up #") == "follow_up"
    assert custom_columns.name_of("Größe (cm)") == "größe_cm"
    for heading in ("Width", "###", "label", "1st", "AGE"):
        with pytest.raises(BadRows, match="column"):
            custom_columns.name_of(heading)
    own = {field.name for field in arrow.table_schema(STAMP)}
    assert own <= custom_columns.RESERVED


values = st.one_of(
    st.none(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.booleans(),
    st.dates(),
)


@settings(max_examples=10)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "ä", "b_2"]), values), max_size=4))
def test_any_values_come_back_or_are_refused(tmp_path_factory, given_values) -> None:
    gallery = Gallery.create(tmp_path_factory.mktemp("store"), STAMP)
    rows = [
        replace(row, extra=extra)
        for row, extra in zip(
            make_rows(random_vectors(len(given_values))) if given_values else [],
            given_values,
            strict=True,
        )
    ]
    try:
        kinds = custom_columns.needed(rows)
    except BadRows:
        with pytest.raises(BadRows):
            gallery.upsert(rows)
        return
    gallery.upsert(rows)
    assert gallery.columns() == kinds
    for row in rows:
        assert gallery.row(row.id).extra == custom_columns.known(row.extra)
    assert gallery.upsert(rows).inserted == 0
