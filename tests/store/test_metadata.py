"""Every column that Metadata declares reaches every place that a column of a row belongs."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ingest import ImageRecord, read_artefacts, store_artefacts, write
from ingest.record import METADATA
from ingest.sources.tables.blank_columns import CLEARABLE
from store import COLUMNS, FINDINGS, Gallery, Metadata, Row, parse_where
from store.mirror.snapshot import metadata_names
from store.schema import CURATED_COLUMNS
from store.table import lance
from store.table.custom_columns import RESERVED
from store.table.filters import passes
from tests.store.rows import STAMP, make_rows, mirror_of, random_vectors
from ui.cli import app
from ui.dashboard.film import facts
from ui.dashboard.search.download import hits_csv
from ui.dashboard.search.state import FACETS, where

COUNT = 3
VALUES: dict[str, Any] = {
    "string": "l'éft",
    "strings": ("a, b", "c"),
    "int": 7,
    "float": 4.5,
    "bool": True,
    "date": date(2024, 5, 1),
}
DECLARED = [pytest.param(column, id=name) for name, column in COLUMNS.items()]


def value_of(column: Any) -> Any:
    """A value that is not the default; names of data sets and splits are no texts like others."""
    return {"dataset": "set", "split": "test"}.get(column.name, VALUES[column.kind])


def asked(column: Any) -> str:
    """The condition that finds it."""
    value = value_of(column)
    value = value[0] if column.kind == "strings" else value
    return f"{column.key}={str(value).lower() if column.kind == 'bool' else value}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """A gallery whose first row has a value in every column, and whose others have none."""
    gallery = Gallery.create(tmp_path_factory.mktemp("whole") / "g", STAMP)
    full = {name: value_of(column) for name, column in COLUMNS.items()}
    blank = {name: column.default for name, column in COLUMNS.items()}
    vectors = random_vectors(COUNT)
    rows = [
        Row(
            id=f"set/test/{number}",
            sha256=bytes([number]) * 32,
            embedding=vectors[number],
            ingested_at=datetime(2024, 1, 1, tzinfo=UTC),
            **(blank if number else full),
        )
        for number in range(COUNT)
    ]
    gallery.upsert(rows)
    gallery.refresh()
    return gallery


@pytest.mark.parametrize("column", DECLARED)
def test_it_is_stored_and_read_back(whole: Gallery, column: Any) -> None:
    stored = whole.rows(whole.ids())
    joined = {hit.row.id: hit.row for hit in whole.search_by_id("set/test/1", COUNT)}
    for rows in (stored, joined):
        assert getattr(rows["set/test/0"], column.name) == value_of(column)
        assert getattr(rows["set/test/2"], column.name) == column.default


@pytest.mark.parametrize("column", DECLARED)
def test_it_is_corrected_undone_and_counted_as_changed(tmp_path: Path, column: Any) -> None:
    gallery = Gallery.create(tmp_path / "g", STAMP)
    [row] = make_rows(random_vectors(1), [()], split=None, dataset=None)
    gallery.upsert([row])
    assert gallery.upsert([row]).unchanged == 1
    changed = {column.name: value_of(column)}
    spoken = Row(id=row.id, sha256=row.sha256, batch="two", told=frozenset(changed), **changed)
    assert gallery.update_metadata([spoken]) == 1
    assert getattr(gallery.rows([row.id])[row.id], column.name) == value_of(column)
    silent = Row(id=row.id, sha256=row.sha256, batch="three", told=frozenset())
    assert gallery.update_metadata([silent]) == 0
    # What people of the gallery wrote is no batch's to take back.
    assert gallery.undo("two").corrected == (column.name not in CURATED_COLUMNS)
    left = value_of(column) if column.name in CURATED_COLUMNS else column.default
    assert getattr(gallery.rows([row.id])[row.id], column.name) == left


@pytest.mark.parametrize("column", [one for one in DECLARED if one.values[0].filtered])
def test_its_filter_finds_it(whole: Gallery, column: Any) -> None:
    condition = parse_where([asked(column)])
    assert whole.ids(condition) == ["set/test/0"]
    rows = whole.rows(whole.ids())
    assert [id_ for id_, row in rows.items() if passes(row, condition)] == ["set/test/0"]
    assert str(parse_where([str(condition)])) == str(condition)


@pytest.mark.parametrize("column", DECLARED)
def test_it_is_counted_or_has_a_range(whole: Gallery, column: Any) -> None:
    facets, ranges = whole.facets(), whole.ranges()
    if column.kind in ("int", "float", "date"):
        assert ranges[column.name].low == ranges[column.name].high == value_of(column)
    assert (column.name in facets) == column.counted == (column.key in FACETS)
    if column.counted:
        values = value_of(column) if column.kind == "strings" else (value_of(column),)
        texts = [str(one).lower() if one is True else one for one in values]
        assert facets[column.name] == dict.fromkeys(sorted(texts), 1)
        assert whole.ids(where({column.key: (texts[0],)})) == ["set/test/0"]
        if "stats" not in column.absent_from:
            stats = whole.stats()
            name = column.name if column.name in stats else f"{column.name}s"
            assert stats[name] == facets[column.name]


def test_hits_show_it(whole: Gallery) -> None:
    run = CliRunner().invoke(
        app, ["search", "--store", whole.uri, "--id", "set/test/1", "-k", "3", "--json"]
    )
    assert run.exit_code == 0, run.output
    [hit] = [one for one in json.loads(run.stdout)["hits"] if one["id"] == "set/test/0"]
    sheet = hits_csv(whole.search_by_id("set/test/1", COUNT)).decode("utf-8-sig")
    [line] = [one for one in csv.DictReader(io.StringIO(sheet)) if one["id"] == "set/test/0"]
    page = dict(facts.metadata(whole.row("set/test/0")))
    for name, column in COLUMNS.items():
        value = value_of(column)
        texts = value if isinstance(value, tuple) else (str(value),)
        if "json" not in column.absent_from:
            assert hit[name] == (list(value) if isinstance(value, tuple) else value), name
        if "csv" not in column.absent_from:
            assert line[name] == "; ".join(texts)
        if name not in ("labels", "labelled", "source", "report", "tags", "remark"):
            assert column.title in page  # these six have places of their own there


def test_an_export_brings_every_column_back(whole: Gallery, tmp_path: Path) -> None:
    rows = write.rows_in_order(whole)
    names = write.label_names(rows)
    files = write.data_files(rows, whole.vectors(list(rows)), names)
    assert "report" not in write.columns(rows)  # only when asked for
    columns = write.columns(rows, reports=True)
    meta = {"format": 1, "label_names": list(names), "columns": columns}
    for name, data in {**files, "meta.json": write.json_lines(meta)}.items():
        (tmp_path / name).write_bytes(data)
    found = read_artefacts(tmp_path, report_column=["report"])
    again, _ = store_artefacts(found, tmp_path / "again")
    before, after = (one.rows(one.ids()) for one in (whole, again))
    for id_, row in before.items():
        for name in COLUMNS:
            if name != "source":  # the file that it was imported from
                assert getattr(after[id_], name) == getattr(row, name), name


def test_a_gallery_from_before_gets_it_when_it_is_written(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "g", STAMP)
    gallery.upsert(make_rows(random_vectors(2), [(), ()], split=None, dataset=None))
    later = [column for column in COLUMNS.values() if column.since > 2]
    lance.open_version(gallery.uri).drop_columns([column.name for column in later])
    older = Gallery.open(gallery.uri)
    for column in later:
        assert [getattr(row, column.name) for row in older.rows(older.ids()).values()] == [
            column.default
        ] * 2
        assert not column.counted or older.facets()[column.name] == {}
        assert not column.filtered or older.ids(parse_where([asked(column)])) == []
    values = {column.name: value_of(column) for column in later}
    older.upsert(make_rows(random_vectors(1, 9), [()], prefix="new/", **values))
    older.refresh()
    rows = older.rows(older.ids())
    for column in later:
        found = {id_: getattr(row, column.name) for id_, row in rows.items()}
        old = dict.fromkeys(("set/test/0", "set/test/1"), column.default)
        assert found == {"new/0": value_of(column), **old}


def test_records_and_the_rest_name_the_same_columns(whole: Gallery) -> None:
    names = {*COLUMNS}
    assert issubclass(Row, Metadata) and issubclass(ImageRecord, Metadata)
    assert {*METADATA} == {*names, "extra"}
    assert {*FINDINGS} <= names <= RESERVED
    assert {column.key for column in COLUMNS.values()} <= RESERVED
    assert {*CLEARABLE} <= names
    assert not {*CLEARABLE} & {*CURATED_COLUMNS}  # no source blanks what people wrote
    mirror = mirror_of(whole)
    assert names <= {*metadata_names(mirror.handle)} & {*mirror.metadata.schema.names}
