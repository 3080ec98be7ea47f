"""Undoing a batch: what it brought goes, what it replaced comes back, what is newer stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import Gallery, Row
from store.table import undo as replaced_
from tests.store.rows import STAMP, make_rows, random_vectors

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "store", STAMP)


def rows_of(batch: str, seed: int, count: int = 6, **columns: object) -> list[Row]:
    picture = PNG + batch.encode()
    return make_rows(random_vectors(count, seed), batch=batch, thumbnail=picture, **columns)


def content(gallery: Gallery) -> dict[str, tuple[object, ...]]:
    gallery.refresh()
    ids = gallery.ids()
    rows, pictures = gallery.rows(ids), gallery.thumbnails(ids)
    vectors = gallery.vectors(ids)
    return {
        id_: (
            *(rows[id_].sha256, rows[id_].labels, rows[id_].uncertain, rows[id_].view),
            *(rows[id_].batch, dict(rows[id_].extra), pictures[id_], vector.tobytes()),
        )
        for id_, vector in zip(ids, vectors, strict=True)
    }


def test_what_was_replaced_comes_back_whole(gallery: Gallery) -> None:
    first = [replace(row, extra={"ward": 3}, uncertain=("a",)) for row in rows_of("one", 0)]
    gallery.upsert(first)
    before = content(gallery)
    second = rows_of("two", 1, 8, view="AP")
    assert gallery.upsert(second).updated == 6
    after = content(gallery)
    assert after != before

    expected = replaced_.Undone(removed=2, restored=6)
    assert gallery.undo("two", dry_run=True) == expected
    assert content(gallery) == after
    assert gallery.undo("two") == expected
    assert content(gallery) == before
    assert gallery.check() == []
    assert gallery.undo("two") == replaced_.Undone()


def test_also_after_old_versions_are_forgotten(gallery: Gallery) -> None:
    gallery.upsert(rows_of("one", 0))
    before = content(gallery)
    gallery.upsert(rows_of("two", 1))
    for number in range(20):  # enough for LanceDB to merge and to forget
        gallery.upsert([replace(row, id=f"x/{number}") for row in rows_of("three", 50 + number, 1)])
    gallery.optimize()
    assert gallery.undo("two").restored == 6
    assert {id_: one for id_, one in content(gallery).items() if id_ in before} == before
    assert len(gallery) == 26


def test_corrections_come_back(gallery: Gallery) -> None:
    rows = rows_of("one", 0)
    gallery.upsert(rows)
    before = content(gallery)
    wrong = [replace(row, labels=("mass",), extra={"ward": 1}, batch="two") for row in rows[:3]]
    assert gallery.update_metadata(wrong) == 3
    assert gallery.undo("two", dry_run=True).corrected == 3
    assert gallery.undo("two") == replaced_.Undone(corrected=3)
    assert content(gallery) == before


def test_rows_changed_again_later_stay_and_are_named(gallery: Gallery) -> None:
    gallery.upsert(rows_of("one", 0))
    before = content(gallery)
    gallery.upsert(rows_of("two", 1))
    third = rows_of("three", 2)
    gallery.upsert(third[:2])  # replaced again
    curated = replace(rows_of("two", 1)[2], labels=("curated",), batch="curation")
    gallery.update_metadata([curated])
    gallery.delete(ids=["set/test/3"])
    found = gallery.undo("two")
    assert found.later == ["set/test/0", "set/test/1", "set/test/2", "set/test/3"]
    assert (found.removed, found.restored) == (0, 2)
    now = content(gallery)
    assert [now[f"set/test/{i}"][4] for i in (0, 1, 2, 4, 5)] == [
        "three", "three", "two", "one", "one",
    ]  # fmt: skip
    assert now["set/test/2"][1] == ("curated",)
    # Undone in the right order, all of it comes back.
    gallery.undo("curation")
    gallery.undo("three")
    assert gallery.undo("two").restored == 3
    assert content(gallery) == {id_: one for id_, one in before.items() if id_ != "set/test/3"}


def test_one_name_for_several_runs(gallery: Gallery) -> None:
    gallery.upsert(rows_of("one", 0, 2))
    before = content(gallery)
    for seed in (1, 2, 3):  # of one batch, each over the last
        gallery.upsert(rows_of("two", seed, 4))
    assert gallery.undo("two") == replaced_.Undone(removed=2, restored=2)
    assert content(gallery) == before


def test_an_undo_that_was_cut_off_is_finished_by_another(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in (slice(0, 3), slice(3, 6)):
        gallery.upsert(rows_of("one", 0)[part])
    before = content(gallery)
    for part in (slice(0, 3), slice(3, 8)):
        gallery.upsert(rows_of("two", 1, 8)[part])
    whole, calls = replaced_.former_rows, []

    def cut(*given: object) -> object:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*given)

    monkeypatch.setattr(replaced_, "former_rows", cut)
    with pytest.raises(KeyboardInterrupt):
        gallery.undo("two")
    monkeypatch.undo()
    assert content(gallery) != before
    again = gallery.undo("two")
    assert (again.removed, again.later, again.lost) == (2, [], [])
    assert content(gallery) == before


def test_what_is_not_kept_any_more_is_named(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.upsert(rows_of("one", 0, 2))
    monkeypatch.setattr(replaced_, "MOST_BYTES", 0)
    gallery.upsert(rows_of("two", 1, 3))
    kept = list(Path(gallery.uri, "_cxr", "replaced").rglob("*"))
    assert [path.suffix for path in kept if path.is_file()] == [".ids"]
    found = gallery.undo("two")
    assert found == replaced_.Undone(removed=1, lost=["set/test/0", "set/test/1"])
    assert len(content(gallery)) == 2


@settings(max_examples=4)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from(["upsert", "correct"]),
            st.sets(st.integers(0, 4), min_size=1),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_undoing_the_newest_batch_always_leads_back(tmp_path_factory, steps) -> None:
    gallery = Gallery.create(tmp_path_factory.mktemp("store"), STAMP)
    states = []
    for number, (kind, what, which) in enumerate(steps):
        states.append(content(gallery))
        rows = rows_of(f"{kind}{number}", number, 5, view=f"v{number}")
        chosen = [rows[i] for i in sorted(which)]
        gallery.upsert(chosen) if what == "upsert" else gallery.update_metadata(chosen)
    for number, (kind, _, _) in reversed(list(enumerate(steps))):
        found = gallery.undo(f"{kind}{number}")
        assert not found.later and not found.lost
        assert content(gallery) == states[number]


def test_vectors_are_bit_for_bit(gallery: Gallery) -> None:
    gallery.upsert(rows_of("one", 0, 3))
    gallery.refresh()
    before = gallery.vectors(["set/test/2"])
    gallery.upsert(rows_of("two", 5, 3))
    gallery.undo("two")
    gallery.refresh()
    np.testing.assert_array_equal(gallery.vectors(["set/test/2"]), before)
