"""Curation: every change can be taken back, survives a kill at any step, and loses no film."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import (
    BadQuery,
    Correction,
    Curation,
    Gallery,
    Row,
    UnknownId,
    UsageError,
    Where,
)
from store.schema import Metadata
from store.table import lance, local, write
from tests.store import bucket
from tests.store.bucket import fresh_proxy, shared_server  # noqa: F401 - fixtures
from tests.store.rows import DIMENSION, STAMP, make_rows, random_vectors

COUNT = 5
IDS = [f"set/test/{number}" for number in range(COUNT)]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return made(tmp_path / "g")


@pytest.fixture
def uri(server: int, proxy: bucket.Proxy) -> str:
    return bucket.make_bucket(server)


def made(place: Any, count: int = COUNT) -> Gallery:
    found = Gallery.create(place, STAMP)
    rows = make_rows(random_vectors(count), thumbnail=PNG, batch="first", age=40.0)
    found.upsert(rows)
    return found


def content(gallery: Gallery) -> dict[str, Any]:
    """All of a gallery's films: every column, vector and picture."""
    fresh = Gallery.open(gallery.uri)
    ids = fresh.ids()
    rows = fresh.rows(ids)
    names = [one.name for one in fields(Row) if one.name not in ("embedding", "told")]
    return {
        one: (
            [getattr(rows[one], name) for name in names],
            fresh.vectors([one])[0].tolist(),
            fresh.thumbnails([one])[one],
        )
        for one in ids
    }


Step = Callable[[Curation, list[str]], Any]
STEPS: dict[str, Step] = {
    "tag": lambda c, ids: c.tag(ids, ["hard", "teach"]),
    "untag": lambda c, ids: c.tag(ids, ["seen"], ["hard"]),
    "note": lambda c, ids: c.note(ids, "rotated; see the clavicles"),
    "label": lambda c, ids: c.label(ids, Correction.of(["normal"])),
    "add": lambda c, ids: c.label(ids, Correction.of(add=["effusion"], uncertain=["mass"])),
    "confirm": lambda c, ids: c.confirm(ids),
    "exclude": lambda c, ids: c.exclude(ids, "blurred"),
    "delete": lambda c, ids: c.delete(ids),
    "include": lambda c, ids: c.include(ids),
}


@settings(max_examples=2, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*STEPS, "undo", "undo", "undo"]),
            st.sets(st.sampled_from(IDS), min_size=1, max_size=3),
            st.integers(0, 20),
        ),
        min_size=4,
        max_size=9,
    )
)
def test_taking_everything_back_leads_to_the_start(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, set[str], int]]
) -> None:
    gallery = made(tmp_path_factory.mktemp("any") / "g")
    start = content(gallery)
    curation = gallery.curation("ann")
    for name, ids, place in steps:
        try:
            if name == "undo":
                told = curation.operations()
                if told:
                    curation.undo(told[place % len(told)].id, partly=bool(place % 2))
            else:
                STEPS[name](curation, sorted(ids))
        except (UnknownId, UsageError):
            pass  # films that are not there, or that were changed later
        kept = {*Gallery.open(gallery.uri).ids(), *(one["id"] for one in curation.set_aside())}
        assert kept == set(IDS)
    for one in curation.operations():
        if one.kind != "undo" and one.undone < one.films:
            curation.undo(one.id, partly=one.undone > 0)
    assert content(gallery) == start
    assert all(one.undone == one.films for one in curation.operations() if one.kind != "undo")
    assert gallery.curation().problems() == []


SLOW = ("tag", "exclude", "include", "delete", "undo")


class Killed(BaseException):
    """Stands for the end of a process."""


@pytest.mark.parametrize(
    "name",
    ["label", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)],
)
def test_a_kill_at_any_step_loses_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = write.step
    died = 0
    made(tmp_path / "g")
    for last in range(20):
        shutil.copytree(tmp_path / "g", tmp_path / f"{last}")
        gallery = Gallery.open(tmp_path / f"{last}")
        curation = gallery.curation("ann")
        ids = IDS[1:3]
        if name == "include":
            curation.exclude(ids)
        before = curation.label(ids, Correction.of(["mass"])) if name == "undo" else None
        start = content(gallery)
        calls = 0

        def step(uri: str, handle: Any, work: Any, table: str = "gallery", last: int = last) -> Any:
            nonlocal calls
            calls += 1
            if calls == last // 2 + 1 and last % 2 == 0:
                raise Killed  # before the commit
            done = plain(uri, handle, work, table)
            if calls == last // 2 + 1:
                raise Killed  # after it
            return done

        monkeypatch.setattr(write, "step", step)
        try:
            if before is None:
                STEPS[name](curation, ids)
            else:
                curation.undo(str(before.operation and before.operation.id))
            killed = False
        except Killed:
            killed = True
        monkeypatch.setattr(write, "step", plain)
        died += killed
        later = Gallery.open(gallery.uri)
        aside = {one["id"] for one in later.curation().set_aside()}
        assert {*later.ids(), *aside} == set(IDS)
        assert not aside & set(later.ids())
        begun = [one for one in later.curation().operations() if not one.finished]
        assert bool(begun) == bool(later.curation().problems()) or not killed
        later.curation("bob").tag(IDS[:1], ["next"])
        assert later.curation().problems() == []
        assert all(one.finished for one in later.curation().operations())
        newest = [one for one in later.curation().operations() if one.about != "+next"]
        if killed and newest and newest[0].kind == name:  # what was begun is finished ...
            back = later.curation().undo(newest[0].id)
            assert back.left == {}
        elif not killed:
            assert content(later) != start
            break
        now = content(later)
        now[IDS[0]] = start.get(IDS[0], now[IDS[0]])
        assert now == start  # ... and can be taken back; what was not begun changed nothing
    else:
        raise AssertionError("there is no end of its steps")
    assert died >= 6


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    made(tmp_path / "g", 12)
    failed: list[BaseException] = []

    def work(who: str) -> None:
        try:
            curation = Gallery.open(tmp_path / "g").curation(who)
            for number in range(2):
                curation.tag([f"set/test/{number}"], [who])
                curation.label([f"set/test/{number}"], Correction.of(add=[f"by {who}"]))
        except BaseException as error:
            failed.append(error)

    both = [threading.Thread(target=work, args=(who,)) for who in ("ann", "bob")]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert failed == []
    gallery = Gallery.open(tmp_path / "g")
    rows = gallery.rows([f"set/test/{number}" for number in range(2)])
    assert {row.tags for row in rows.values()} == {("ann", "bob")}
    assert all({"by ann", "by bob"} <= set(row.labels) for row in rows.values())
    told = gallery.curation().operations()
    assert sorted(one.number for one in told) == list(range(1, 9))
    assert all(one.finished for one in told)


def test_excluded_and_back_in_a_bucket(uri: str) -> None:
    gallery = made(uri)
    start = content(gallery)
    gone = gallery.curation("ann").exclude(IDS[:2])
    assert gone.operation is not None
    assert gallery.ids() == IDS[2:]
    gallery.curation("ann").undo(gone.operation.id)
    assert content(gallery) == start


@pytest.mark.slow
def test_in_a_bucket(uri: str) -> None:
    gallery = made(uri)
    start = content(gallery)
    curation = gallery.curation("ann")
    curation.tag(Where(label=("pneumonia",)), ["teach"])
    gone = curation.exclude(IDS[:2])
    curation.delete(IDS[4:])
    assert [(one["id"], one["as"]) for one in curation.set_aside()] == [
        (IDS[0], "excluded"),
        (IDS[1], "excluded"),
        (IDS[4], "deleted"),
    ]
    assert gallery.curation().kept().aside[IDS[4]] == "deleted"
    assert gone.operation is not None
    for one in curation.operations():
        curation.undo(one.id)
    assert content(gallery) == start
    assert gallery.check() == []
    curation.save("two", ids=IDS[:2])
    assert curation.selected("two") == IDS[:2]
    assert curation.drop_selection("two")


def test_labels_before_and_after(gallery: Gallery) -> None:
    curation = gallery.curation("ann")
    done = curation.label(IDS[:2], Correction.of(["mass"], absent=["effusion"]))
    row = gallery.rows(IDS[:1])[IDS[0]]
    assert (row.labels, row.absent, row.labelled) == (("mass",), ("effusion",), True)
    [change, _] = done.changes
    assert (change.before["labels"], change.after["labels"]) == (["normal"], ["mass"])
    assert curation.label(IDS[:2], Correction.of(["mass"])).operation is None
    [entry] = curation.history(IDS[0])
    assert (entry.kind, entry.who, entry.about) == ("label", "ann", "mass no effusion")
    curation.label(IDS[:1], Correction.of([]))
    row = gallery.rows(IDS[:1])[IDS[0]]
    assert (row.labels, row.outcome) == ((), "no finding")
    curation.label(IDS[:1], Correction.of(unlabelled=True))
    assert gallery.rows(IDS[:1])[IDS[0]].outcome == "not labelled"
    curation.label(IDS[:1], Correction.of(uncertain=["mass"]))
    curation.label(IDS[:1], Correction.of(add=["mass"]))
    row = gallery.rows(IDS[:1])[IDS[0]]
    assert (row.labels, row.uncertain) == (("mass",), ())


def test_what_is_changed_later_is_in_the_way(gallery: Gallery) -> None:
    curation = gallery.curation("ann")
    first = curation.label(IDS[:2], Correction.of(["mass"])).operation
    second = gallery.curation("bob").label(IDS[:1], Correction.of(["nodule"])).operation
    assert first is not None
    assert second is not None
    with pytest.raises(UsageError, match=rf"1 of its 2 films .* by {second.id} \(label, bob\)"):
        curation.undo(first.id)
    part = curation.undo(first.id, partly=True)
    assert part.changed == (IDS[1],)
    assert list(part.left) == [IDS[0]]
    curation.undo(second.id)
    curation.undo(first.id, partly=True)
    with pytest.raises(UsageError, match="taken back already"):
        curation.undo(first.id)
    with pytest.raises(UsageError, match="no operation 'x' here"):
        curation.undo("x")
    one = curation.tag(IDS[:1], ["a"]).operation
    curation.tag(IDS[:1], ["b"])
    assert one is not None
    curation.undo(one.id)  # another tag is not in its way
    assert gallery.rows(IDS[:1])[IDS[0]].tags == ("b",)


def test_refusals_write_nothing(gallery: Gallery) -> None:
    curation = gallery.curation("ann")
    with pytest.raises(UnknownId, match="no film 'x' in the gallery"):
        curation.tag([IDS[0], "x"], ["a"])
    with pytest.raises(UsageError, match="both added and removed"):
        curation.tag(IDS[:1], ["a"], ["a"])
    with pytest.raises(UsageError, match="characters that can be seen"):
        curation.tag(IDS[:1], ["a\nb"])
    with pytest.raises(BadQuery, match="every film"):
        curation.tag(Where(), ["a"])
    with pytest.raises(BadQuery, match="not one"):
        curation.tag("x", ["a"])
    with pytest.raises(UsageError, match="given twice"):
        Correction.of(["a"], absent=["a"])
    with pytest.raises(UsageError, match="a correction needs"):
        Correction.of()
    with pytest.raises(UsageError, match="at most 4,000"):
        curation.note(IDS[:1], "x" * 4001)
    with pytest.raises(UsageError, match="name ''"):
        gallery.curation("  ")
    curation.exclude(IDS[:1])
    with pytest.raises(UnknownId, match="it is excluded: bring it back"):
        curation.tag(IDS[:1], ["a"])
    assert [one.kind for one in curation.operations()] == ["exclude"]
    assert curation.tag(IDS[1:2], ["a"], dry_run=True).changed == (IDS[1],)
    assert len(curation.operations()) == 1


def test_an_upsert_never_clears_tags_and_notes(gallery: Gallery) -> None:
    gallery.curation("ann").tag(IDS[:1], ["teach"])
    gallery.curation("ann").note(IDS[:1], "look")
    for told in (None, frozenset({"labels", "tags", "remark"})):
        [row] = make_rows(random_vectors(1, seed=9), [("mass",)], told=told)
        gallery.upsert([row])
        stored = gallery.rows(IDS[:1])[IDS[0]]
        assert (stored.labels, stored.tags, stored.remark) == (("mass",), ("teach",), "look")


def test_a_batch_that_is_undone_leaves_tags_and_takes_films_set_aside(gallery: Gallery) -> None:
    rows = make_rows(random_vectors(2, seed=4), [("mass",)] * 2, batch="second")
    gallery.upsert(rows)
    gallery.upsert(make_rows(random_vectors(2, seed=5), prefix="new/", batch="second"))
    curation = gallery.curation("ann")
    curation.tag(IDS[:1], ["teach"])
    curation.exclude(["new/1"])
    told = gallery.undo("second", dry_run=True)
    assert (told.removed, told.restored, told.forgotten) == (1, 2, 1)
    assert gallery.undo("second").forgotten == 1
    row = gallery.rows(IDS[:1])[IDS[0]]
    assert (row.labels, row.tags) == (("normal",), ("teach",))
    assert curation.set_aside() == []


def test_a_whole_data_set_takes_its_films_set_aside(gallery: Gallery) -> None:
    curation = gallery.curation("ann")
    curation.delete(IDS[:2])
    assert gallery.delete(Where(label=("pneumonia",), dataset=("set",))) == 1
    assert len(curation.set_aside()) == 2
    assert gallery.delete(Where(dataset=("set",))) == 2
    assert curation.set_aside() == []
    assert [one.kind for one in curation.operations()] == ["delete"]  # which history keeps
    with pytest.raises(UsageError, match="not kept any more"):
        curation.undo(curation.operations()[0].id)


def test_an_empty_gallery_with_films_aside_stays(gallery: Gallery) -> None:
    gallery.curation("ann").delete(IDS)
    assert not gallery.remove_if_empty()
    gallery.curation("ann").include(IDS)
    assert len(Gallery.open(gallery.uri)) == COUNT


def test_columns_that_came_since_are_there_again(gallery: Gallery) -> None:
    curation = gallery.curation("ann")
    curation.exclude(IDS[:1])
    gallery.upsert(make_rows(random_vectors(1, seed=7), prefix="late/", extra={"dose": 1.5}))
    curation.include(IDS[:1])
    assert gallery.rows(IDS[:1])[IDS[0]].extra == {}
    curation.exclude(["late/0"])
    curation.include(["late/0"])
    assert gallery.rows(["late/0"])["late/0"].extra == {"dose": 1.5}


def test_a_copy_with_other_vectors_has_the_curation_too(gallery: Gallery, tmp_path: Path) -> None:
    curation = gallery.curation("ann")
    curation.tag(IDS[:2], ["teach"])
    out = curation.exclude(IDS[4:]).operation
    curation.save("bad", where=["label=pneumonia"])
    turned = gallery.mapped_copy(tmp_path / "copy", STAMP, lambda vectors: -vectors)
    there = turned.curation("bob")
    assert [one.id for one in there.operations()] == [one.id for one in curation.operations()]
    assert there.selections() == curation.selections()
    assert out is not None
    there.undo(out.id)
    fresh = Gallery.open(turned.uri)
    assert np.allclose(fresh.vectors(IDS[4:]), -random_vectors(COUNT)[4:])
    assert fresh.check() == []


def test_selections(gallery: Gallery) -> None:
    curation = gallery.curation("ann")
    curation.save("some", ids=IDS[:2])
    curation.save("some", ids=IDS[:3])
    curation.save("all", where=["label=pneumonia", "split=test"])
    assert [one.name for one in curation.selections()] == ["all", "some"]
    assert curation.selected("some") == IDS[:3]
    assert curation.selected("all") == Where(label=("pneumonia",), split=("test",))
    with pytest.raises(UsageError, match="one of both"):
        curation.save("x", ids=[])
    with pytest.raises(UsageError, match="no selection 'x'; there are: all, some"):
        curation.selected("x")
    assert not curation.drop_selection("x")
    assert curation.drop_selection("all")


def test_a_changed_vector_aside_is_found(gallery: Gallery) -> None:
    gallery.curation("ann").exclude(IDS[:1])
    aside = lance.open_version(gallery.uri, name="set_aside")
    aside.update(where="true", values={"embedding": [1.0] + [0.0] * (DIMENSION - 1)})
    local.acknowledge(lance.folder(gallery.uri, "set_aside"), int(aside.version))
    [problem] = gallery.check()
    assert problem.startswith("1 vectors of films set aside are not the ones")


def test_metadata_has_what_curation_writes() -> None:
    names = {one.name for one in fields(Metadata)}
    assert {"labels", "uncertain", "absent", "labelled", "tags", "remark"} <= names
