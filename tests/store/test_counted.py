"""A deletion or a replacement changes exactly the rows that were read, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lancedb.merge import LanceMergeInsertBuilder
from lancedb.table import LanceTable

from store import Gallery, Row, StoreDamaged, Where, parse_where
from store.table import checked_commit
from tests.store import bucket
from tests.store.bucket import Proxy, fresh_proxy, shared_server  # noqa: F401 - fixtures
from tests.store.rows import STAMP, make_rows, random_vectors

PNG = b"\x89PNG\r\n\x1a\n"


def named(*ids: str, seed: int = 0, **columns: Any) -> list[Row]:
    made = make_rows(random_vectors(len(ids), seed), thumbnail=PNG, **columns)
    return [replace(row, id=id_) for row, id_ in zip(made, ids, strict=True)]


def content(gallery: Gallery) -> dict[str, tuple[object, ...]]:
    gallery.refresh()
    ids = gallery.ids()
    rows = gallery.rows(ids)
    return {
        id_: (
            *(rows[id_].sha256, rows[id_].labels, rows[id_].batch, rows[id_].view),
            rows[id_].pixel_reader,
        )
        for id_ in ids
    }


def test_a_size_in_inches(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "store", STAMP)
    gallery.upsert(named("left 2''.png", batch="one"))
    again = gallery.upsert(named("left 2''.png", seed=1, batch="two"))
    assert (again.inserted, again.updated) == (0, 1)
    assert gallery.check() == []
    assert gallery.ids() == ["left 2''.png"]

    gallery.upsert(named("two/film'.png", "two/film''.png", seed=2, view="AP"))
    assert gallery.delete(ids=["two/film''.png"]) == 1
    assert gallery.rows(["two/film'.png", "two/film''.png"]).keys() == {"two/film'.png"}

    label = "2'' nodule"
    gallery.update_metadata(
        [replace(gallery.rows(["two/film'.png"])["two/film'.png"], labels=(label,))]
    )
    gallery.refresh()
    assert gallery.ids(parse_where([f"label={label}"])) == ["two/film'.png"]
    assert gallery.undo("two").restored == 1


# -- a fault of what is below us -------------------------------------------------------------------


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    made = Gallery.create(tmp_path / "store", STAMP)
    made.upsert(named("a", "b", "c", "d", batch="one"))
    made.upsert(named("c", "d", "e", seed=1, batch="two"))
    made.update_metadata(named("a", labels=[("mass",)], batch="three"))
    return made


def _deletes_one_more(patch: pytest.MonkeyPatch) -> None:
    whole = LanceTable.delete

    def delete(self: LanceTable, where: Any) -> Any:
        return whole(self, f"({where}) OR id = 'b'")

    patch.setattr(LanceTable, "delete", delete)


def _deletes_nothing(patch: pytest.MonkeyPatch) -> None:
    whole = LanceTable.delete
    patch.setattr(LanceTable, "delete", lambda self, _: whole(self, "false"))


def _merges_by_nothing(patch: pytest.MonkeyPatch) -> None:
    whole = LanceMergeInsertBuilder.execute

    def execute(self: LanceMergeInsertBuilder, made: Any) -> Any:
        self._when_matched_update_all_condition = "false"
        return whole(self, made)

    patch.setattr(LanceMergeInsertBuilder, "execute", execute)


def _adds_twice(patch: pytest.MonkeyPatch) -> None:
    whole = LanceTable.add

    def add(self: LanceTable, made: Any) -> Any:
        whole(self, made)
        return whole(self, made)

    patch.setattr(LanceTable, "add", add)


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        (_deletes_one_more, lambda one: one.delete(ids=["a"])),
        (_deletes_one_more, lambda one: one.delete(Where(batch=("two",)))),
        (_deletes_nothing, lambda one: one.delete(ids=["a"])),
        (_merges_by_nothing, lambda one: one.upsert(named("a", seed=5, batch="four"))),
        (_merges_by_nothing, lambda one: one.undo("three")),
        (
            _merges_by_nothing,
            lambda one: one.update_metadata(named("a", labels=[("x",)], batch="four")),
        ),
        (_merges_by_nothing, lambda one: one.set_readers({"a": 7})),
        (_adds_twice, lambda one: one.upsert(named("x", "y", seed=5))),
    ],
)
def test_what_went_wrong_is_put_back(
    gallery: Gallery,
    fault: Callable[[pytest.MonkeyPatch], None],
    change: Callable[[Gallery], object],
) -> None:
    before = content(gallery)
    with pytest.MonkeyPatch.context() as patch:
        fault(patch)
        with pytest.raises(StoreDamaged, match="put back and nothing is changed; run: cxr check"):
            change(gallery)
    after = content(gallery)
    assert after == before
    assert gallery.check() == []
    assert content(Gallery.open(gallery.uri)) == after
    change(gallery)  # without the fault it is done
    assert content(gallery) != before
    assert gallery.check() == []


# -- another writer, where none is waited for ------------------------------------------------------


@pytest.fixture
def two(server: int, proxy: Proxy) -> tuple[Gallery, Gallery]:
    uri = bucket.make_bucket(server)
    first = Gallery.create(uri, STAMP)
    first.upsert(named("a", "b", "c", batch="one"))
    return first, Gallery.open(uri)


def between(monkeypatch: pytest.MonkeyPatch, name: str, other: Callable[[], object]) -> None:
    """Have another writer commit after the rows were read and before they are changed."""
    whole, calls = getattr(checked_commit, name), []

    def first(*given: Any, **named: Any) -> Any:
        if not calls:
            calls.append(name)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(checked_commit, name, whole)
                other()
        return whole(*given, **named)

    monkeypatch.setattr(checked_commit, name, first)


def test_a_row_that_another_writer_replaced_is_not_removed(
    two: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = two
    between(monkeypatch, "delete", lambda: other.upsert(named("b", seed=7, batch="other")))
    assert mine.delete(batch="one") == 2
    assert {id_: one[2] for id_, one in content(mine).items()} == {"b": "other"}
    assert mine.check() == []


def test_undo_leaves_what_another_writer_replaced(
    two: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = two
    between(monkeypatch, "delete", lambda: other.upsert(named("b", seed=7, batch="other")))
    assert mine.undo("one").removed == 2
    assert {id_: one[2] for id_, one in content(mine).items()} == {"b": "other"}


def test_a_row_that_another_writer_brought_is_looked_at_again(
    two: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = two
    between(monkeypatch, "merge", lambda: other.upsert(named("d", seed=7, batch="other")))
    rows = named("b", "d", "e", seed=8, batch="mine")
    report = mine.upsert(rows)
    assert (report.inserted, report.updated) == (1, 2)
    found = content(mine)
    assert {id_: one[2] for id_, one in found.items()} == {
        "a": "one", "b": "mine", "c": "one", "d": "mine", "e": "mine",
    }  # fmt: skip
    assert [found[row.id][0] for row in rows] == [row.sha256 for row in rows]
    assert mine.check() == []


def test_a_correction_of_a_row_that_another_writer_deleted(
    two: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = two
    between(monkeypatch, "merge", lambda: other.delete(ids=["b"]))
    assert mine.update_metadata(named("a", "b", "c", view="AP", batch="mine")) == 2
    assert {id_: one[3] for id_, one in content(mine).items()} == {"a": "AP", "c": "AP"}


def test_a_row_that_another_writer_deleted_is_written_again(
    two: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = two
    between(monkeypatch, "merge", lambda: other.delete(ids=["b"]))
    report = mine.upsert(named("b", "d", seed=8, batch="mine"))
    assert (report.inserted, report.updated, report.unchanged) == (2, 0, 0)
    assert {id_: one[2] for id_, one in content(mine).items()} == {
        "a": "one", "b": "mine", "c": "one", "d": "mine",
    }  # fmt: skip
    assert mine.check() == []
