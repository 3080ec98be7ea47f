"""Metadata of hits from memory is that of the table; seeing that nothing changed opens nothing."""

from __future__ import annotations

import threading
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import Gallery, Row
from store.mirror import build, snapshot
from store.search import table_reader
from store.table import lance, opening
from store.table import rows as arrow
from tests.store.rows import STAMP, make_rows, mirror_of, random_vectors, small_gallery, table_of

words = st.none() | st.text(max_size=4)
findings = st.lists(st.sampled_from(["edema", "mass", "ödem"]), max_size=3, unique=True).map(tuple)


@st.composite
def described(draw: st.DrawFn) -> list[Row]:
    rows = make_rows(random_vectors(draw(st.integers(1, 12))))
    return [
        replace(
            row,
            **{name: draw(findings) for name in ("labels", "uncertain", "absent")},
            **{name: draw(words) for name in ("split", "dataset", "patient", "view", "sex")},
            age=draw(st.none() | st.floats(0, 120)),
            source=draw(st.text(max_size=4)),
            batch=draw(st.text(max_size=2)),
            width=draw(st.integers(0, 9)),
            ingested_at=draw(st.none() | st.just(datetime(2026, 5, 1, 3, 4, 5, 6, UTC))),
            extra=draw(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "ward": st.integers(0, 9),
                        "score": st.floats(0, 1),
                        "said": st.text(max_size=3),
                        "urgent": st.booleans(),
                        "seen": st.just(date(2026, 5, 1)),
                    },
                )
            ),
        )
        for row in rows
    ]


@settings(max_examples=10)
@given(described(), st.data())
def test_memory_tells_what_the_table_tells(tmp_path_factory, rows, data) -> None:
    gallery = Gallery.create(tmp_path_factory.mktemp("store"), STAMP)
    for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        gallery.upsert(part)
    gallery.refresh()
    now = mirror_of(gallery)
    asked = data.draw(st.lists(st.sampled_from(range(len(rows))), max_size=6))
    positions = now.find(rows[place].id for place in asked)
    from_table = now.rows(positions)
    assert "metadata" not in now.__dict__
    assert now.metadata.num_rows == len(rows)
    assert [asdict(row) for row in now.rows(positions)] == [asdict(r) for r in from_table]
    assert [row.id for row in from_table] == [rows[place].id for place in asked]


@settings(max_examples=10)
@given(described(), described(), st.data())
def test_memory_follows_the_table(tmp_path_factory, rows, others, data) -> None:
    gallery = Gallery.create(tmp_path_factory.mktemp("store"), STAMP)
    gallery.upsert(rows)
    gallery.refresh()
    assert mirror_of(gallery).metadata.num_rows == len(rows)
    same_columns = True
    with mock.patch.object(build, "LARGEST_SHARE", 1.0):
        for step in data.draw(
            st.lists(st.sampled_from(["upsert", "update", "delete"]), max_size=3)
        ):
            before = gallery.columns()
            if step == "upsert":
                new = [replace(row, id=row.id.replace("set", "new")) for row in others]
                gallery.upsert([*new, *others[: len(others) // 2]])
            elif step == "update":
                gallery.update_metadata(
                    [replace(row, age=5.0, split="x") for row in rows if row.id in gallery.ids()]
                )
            elif len(gallery) > 1:
                gallery.delete(ids=gallery.ids()[:1])
            gallery.refresh()
            same_columns &= gallery.columns() == before
    now = mirror_of(gallery)
    assert ("metadata" in now.__dict__) or not same_columns
    other = Gallery.open(gallery.uri)
    assert gallery.facets() == other.facets() and gallery.ranges() == other.ranges()
    fresh = mirror_of(other)
    ids = sorted(now.ids)
    assert ids == sorted(fresh.ids)
    told = [asdict(row) for row in arrow.from_arrow(with_ids(now, ids))]
    assert told == [asdict(row) for row in fresh.rows_of(ids)]


def with_ids(now: snapshot.Snapshot, ids: list[str]) -> pa.Table:
    places = pa.array(now.find(ids))
    return now.metadata.take(places).append_column("id", now.keys.take(places))


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return small_gallery(tmp_path / "store")


def ask(gallery: Gallery, times: int) -> None:
    for _ in range(times):
        gallery.search(random_vectors(1), 3)
    for thread in threading.enumerate():
        if thread.name == "cxr-metadata":
            thread.join()


def test_metadata_comes_into_memory_once_asked_often(gallery: Gallery, monkeypatch) -> None:
    ask(gallery, snapshot.ASKED)
    assert "metadata" not in mirror_of(gallery).__dict__
    before = gallery.search(random_vectors(1, seed=5), 4)  # one more
    ask(gallery, 0)
    with monkeypatch.context() as patch:
        patch.setattr(lance, "take", None)
        again = gallery.search(random_vectors(1, seed=5), 4)
        assert [[asdict(hit) for hit in row] for row in again] == [
            [asdict(hit) for hit in row] for row in before
        ]

    # It is of one version: the next one says what was written since.
    gallery.update_metadata([replace(gallery.row("set/test/3"), labels=("edema",))])
    assert gallery.row("set/test/3").labels == ("pneumonia",)
    gallery.refresh()
    assert gallery.row("set/test/3").labels == ("edema",)
    with monkeypatch.context() as patch:  # and has it in memory, too
        patch.setattr(lance, "take", None)
        ask(gallery, 1)
    assert gallery.row("set/test/3").labels == ("edema",)
    assert gallery.facets()["labels"] == {"edema": 1, "normal": 10, "pneumonia": 9}


def test_metadata_that_cannot_be_read_whole_stays_in_the_table(gallery: Gallery, monkeypatch):
    def fails(*_: object) -> None:
        raise RuntimeError("not found: it was cleaned away")

    with monkeypatch.context() as patch:
        patch.setattr(lance, "scan", fails)
        ask(gallery, snapshot.ASKED + 1)
    assert "metadata" not in mirror_of(gallery).__dict__
    assert len(gallery.search(random_vectors(1), 3)[0]) == 3


def test_seeing_that_nothing_changed_opens_nothing(gallery: Gallery, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(opening, "open_", None)
        assert not gallery.refresh()
    writer = Gallery.open(gallery.uri)
    for seed in range(5):  # whatever is acknowledged is seen by the next refresh
        writer.upsert(make_rows(random_vectors(2, seed), prefix=f"{seed}/test/"))
        assert gallery.refresh()
        assert len(gallery) == 22 + 2 * seed
        assert not gallery.refresh()


def test_a_version_that_nobody_acknowledged_is_settled_by_the_next_refresh(
    gallery: Gallery,
) -> None:
    mark = lance.folder(gallery.uri) / "_cxr_acknowledged.json"
    mark.unlink()
    assert lance.newest(gallery.uri) is None
    assert not gallery.refresh()  # the same rows, and now surely on disk
    assert mark.exists()
    assert lance.newest(gallery.uri) == gallery.state[1:]


def test_what_a_dead_writer_left_is_settled_with_two_openings(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lance.folder(gallery.uri) / "_cxr_acknowledged.json").unlink()
    connect, opened = lance.connect, []

    def counted(*given: object) -> object:
        opened.append(given)
        return connect(*given)

    monkeypatch.setattr(lance, "connect", counted)
    opening.open_(gallery.uri)
    assert len(opened) == 2
    opening.open_(gallery.uri)
    assert len(opened) == 3


@pytest.mark.parametrize("count", [99, 100, 101])
def test_every_search_counts_the_same_columns(tmp_path: Path, count: int) -> None:
    gallery = Gallery.create(tmp_path, STAMP)
    rows = make_rows(random_vectors(count + 2))
    rows = [replace(row, extra={"ward": f"w{n}"}) for n, row in enumerate(rows[:count])] + rows[
        count:
    ]
    gallery.upsert(rows)  # two without a ward
    gallery.refresh()
    in_memory = gallery.facets()
    assert ("ward" in in_memory) == (count <= 100)
    assert table_reader.TableReader(table_of(gallery), "").facets(None) == in_memory


def test_rows_of_hits_are_not_shared(gallery: Gallery, monkeypatch) -> None:
    gallery.upsert([replace(r, extra={"ward": 3}) for r in make_rows(random_vectors(20))])
    gallery.refresh()
    ask(gallery, snapshot.ASKED + 1)
    monkeypatch.setattr(lance, "take", None)
    query = random_vectors(1, seed=5)
    for _ in range(2):
        hits = gallery.search(query, 4)[0]
        assert [hit.row.extra for hit in hits] == [{"ward": 3}] * 4
        hits[0].row.extra["ward"] = 9  # type: ignore[index]
