"""Search over shards on Ray: the answers of one machine, to the bit, whatever shards do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import BadQuery, Gallery, Hit, Labelled, NothingToMeasure, UnknownId, UsageError, Where
from store.cluster.shard import BLOCK, follow, own
from store.cluster.sharded import ShardedBackend, merge
from store.evaluation.labelled import Sides
from store.evaluation.ranking import by_searches, by_vectors
from store.gallery import choose
from store.search.base import Sharding
from store.table.lance import pin
from tests.clusters import eventually, kill, ray  # noqa: F401 - a fixture
from tests.store.rows import STAMP, make_rows, mirror_of, random_vectors, table_of

needs_ray = pytest.mark.usefixtures("ray")
ROWS = BLOCK + 177


def told(hits: list[list[Hit]]) -> list[list[tuple[int, float, str, tuple[str, ...]]]]:
    return [[(one.rank, one.score, one.row.id, one.row.labels) for one in row] for row in hits]


def in_shards(
    gallery: Gallery, on_lost: Literal["wait", "partial"] = "wait"
) -> tuple[Gallery, ShardedBackend]:
    """The same gallery in two shards, as Gallery.open makes it, and what holds them."""
    backend = choose(gallery.uri, STAMP, sharding=Sharding(2, on_lost=on_lost))
    assert isinstance(backend, ShardedBackend)
    return Gallery(gallery.uri, table_of(gallery), STAMP, backend), backend


@pytest.fixture(scope="module")
def three(
    ray: Any,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Gallery, Gallery, ShardedBackend]]:
    """One gallery, in this process and in shards, and what holds these.

    Some vectors occur many times.
    """
    folder = tmp_path_factory.mktemp("shards") / "store"
    one = Gallery.create(folder, STAMP)
    vectors = random_vectors(ROWS, 1)
    vectors[5::9] = vectors[2]
    rows = make_rows(vectors)
    one.upsert([replace(r, report=f"Effusion{' . Nodule' * (n % 2)}.") for n, r in enumerate(rows)])
    one.refresh()
    shards, backend = in_shards(one)
    yield one, shards, backend
    shards.close()
    one.close()


@pytest.fixture(scope="module")
def two(three: tuple[Gallery, Gallery, ShardedBackend]) -> tuple[Gallery, Gallery]:
    """The gallery, in this process and in shards."""
    return three[:2]


def test_what_is_held_needs_no_shard(two: tuple[Gallery, Gallery]) -> None:
    one, shards = two
    row = one.row("set/test/2")
    same = [f"set/test/{n}" for n in (2, *range(5, ROWS, 9))]
    assert shards.holding([row.sha256]) == one.holding([row.sha256]) == {row.sha256: sorted(same)}


def test_answers_are_those_of_one_machine(two: tuple[Gallery, Gallery]) -> None:
    one, shards = two
    queries = np.concatenate([random_vectors(2, 2), one.vectors(["set/test/2", "set/test/9"])])
    some = Where(label=("pneumonia",))
    for options in (
        {"k": 10},
        {"k": 400},  # the equal ones, from both shards
        {"k": 7, "where": some},
        {"k": 7, "exclude": ["set/test/2", "set/test/5", "nobody"]},
        {"k": ROWS, "where": some, "exclude": ["set/test/3"]},
    ):
        assert told(shards.search(queries, **options)) == told(one.search(queries, **options))  # type: ignore[arg-type]
    assert told([shards.search_by_id("set/test/14", 20)]) == told(
        [one.search_by_id("set/test/14", 20)]
    )
    assert shards.describe() == one.describe() | {"shards": 2}


def test_words_are_found_as_on_one_machine(two: tuple[Gallery, Gallery]) -> None:
    one, shards = two
    vector = random_vectors(1, 4)[0]
    for choices in ({}, {"vectors": vector}, {"vectors": vector, "fusion": 0.4}):
        asked = {
            "k": 30,
            "where": Where(label=("pneumonia",)),
            "exclude": ["set/test/3"],
            **choices,
        }
        assert told([shards.search_words("nodule effusion", **asked)]) == told(  # type: ignore[arg-type]
            [one.search_words("nodule effusion", **asked)]  # type: ignore[arg-type]
        )


def test_patients_are_left_out_of_rankings_as_on_one_machine(two) -> None:
    one, shards = two
    ids = one.ids()[:50]
    whose = [None if i % 9 == 0 else "giant" if i < 20 else f"p{i // 4}" for i in range(50)]
    rows = Labelled(ids, one.vectors(ids), [("a",)] * 50, None, None, whose, "patient")
    sides = Sides.of(rows, rows)
    for depth in (3, int(sides.candidates.max())):
        searched = by_searches(shards.searcher, Where())
        together, asked = (
            [np.concatenate(part).tolist() for part in list(zip(*ranked, strict=True))[1:]]
            for ranked in (by_vectors(sides, depth), searched(sides, depth))
        )
        assert asked == together


@pytest.mark.slow
def test_all_else_keeps_working(two: tuple[Gallery, Gallery]) -> None:
    one, shards = two
    ids = ["set/test/7", "set/test/2"]
    assert shards.ids() == one.ids() and shards.facets() == one.facets() and len(shards) == ROWS
    assert shards.ranges() == one.ranges()
    assert repr(shards.row(ids[0])) == repr(one.row(ids[0]))
    assert (shards.vectors(ids) == one.vectors(ids)).all()
    assert shards.thumbnails(ids) == one.thumbnails(ids)
    a, b = (gallery.evaluate(k=(1, 5), full_ranking=False) for gallery in two)
    assert (a.precision, a.ci95, a.hit_rate) == (b.precision, b.ci95, b.hit_rate)
    mine, theirs = (gallery.nearness(random_vectors(3, 4)) for gallery in two)
    assert [x.unlike for x in mine] == [x.unlike for x in theirs]
    assert shards.check() == one.check()  # that these thumbnails are no PNG
    with pytest.raises(UnknownId):
        shards.search_by_id("nobody", 3)
    with pytest.raises(BadQuery, match="expected 1 to"):
        shards.search(random_vectors(1), k=ROWS + 1)


@pytest.mark.slow
def test_chance_of_1_is_refused_where_rows_are_searched(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path, STAMP)
    gallery.upsert(make_rows(random_vectors(12), [("pneumonia",)] * 12))
    shards = Gallery.open(tmp_path, shards=1)
    with pytest.raises(NothingToMeasure, match="chance is 1"):
        shards.evaluate(k=(1,))
    shards.close()


def test_a_lost_shard_is_waited_for(three: tuple[Gallery, Gallery, ShardedBackend]) -> None:
    one, shards, backend = three
    queries = random_vectors(3, 5)
    shards.search(queries, 5)
    kill(backend.shards.pids()[1])
    assert told(shards.search(queries, 12)) == told(one.search(queries, 12))
    assert "partial" not in shards.describe()


@pytest.mark.slow
def test_or_answers_say_that_they_are_partial(two: tuple[Gallery, Gallery]) -> None:
    one, _ = two
    queries = random_vectors(3, 5)
    shards, backend = in_shards(one, "partial")
    whole = told(one.search(queries, 12))
    assert told(shards.search(queries, 12)) == whole
    kill(backend.shards.pids()[1])
    found = shards.search(queries, 12)
    said = shards.describe()["partial"]
    rows = one.search(queries, ROWS)
    now = mirror_of(one)
    held = own(now.row_ids[now.find(one.ids())], 0, 2)
    assert said == {"shards": 2, "missing": [1], "rows": ROWS, "searched": int(held.sum())}
    mine = {id_ for id_, here in zip(one.ids(), held, strict=True) if here}
    assert [[hit.row.id for hit in row] for row in found] == [
        [hit.row.id for hit in row if hit.row.id in mine][:12] for row in rows
    ]

    def again() -> bool:
        return told(shards.search(queries, 12)) == whole

    eventually(again)  # it came back by itself
    assert "partial" not in shards.describe()
    shards.close()


def test_new_versions_are_followed(
    three: tuple[Gallery, Gallery, ShardedBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.cluster.sharded.GRACE", 0.5)
    one, shards, backend = three
    shards.search(random_vectors(1), 1)
    before = shards.table_version
    for step in range(3):
        one.upsert(make_rows(random_vectors(40, 10 + step), prefix=f"set/more/{step}/"))
        one.upsert(make_rows(random_vectors(9, 20 + step)))  # other vectors under known ids
        one.delete(ids=[f"set/test/{100 + step}"])
        if step == 1:
            one.optimize()
        one.refresh()
        shards.refresh()
        eventually(lambda: shards.refresh() or shards.table_version == one.table_version)
        queries = np.concatenate([random_vectors(4, step), random_vectors(2, 20 + step)])
        assert told(shards.search(queries, 50)) == told(one.search(queries, 50))
    assert shards.table_version > before and len(shards) == len(one) == ROWS + 117
    # Older ones are forgotten, if not at once.
    eventually(lambda: backend.shards.versions() == [[shards.table_version]] * 2)


def test_nobody_waits_for_a_new_version(
    two: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, shards = two
    shards.search(random_vectors(1), 1)
    before = shards.table_version
    monkeypatch.setattr("store.cluster.sharded.MOMENT", 0.0)
    one.upsert(make_rows(random_vectors(400, 6), prefix="set/more/"))
    assert not shards.refresh()
    assert shards.table_version == before  # answers go on from the old one
    assert len(shards.search(random_vectors(1), 3)[0]) == 3
    eventually(lambda: shards.table_version > before)
    one.refresh()
    assert told(shards.search(random_vectors(3), 9)) == told(one.search(random_vectors(3), 9))


@pytest.mark.slow
@needs_ray
def test_shards_need_not_have_rows(tmp_path: Path) -> None:
    one = Gallery.create(tmp_path / "store", STAMP)
    one.upsert(make_rows(random_vectors(3)))
    one.refresh()
    shards = Gallery.open(tmp_path / "store", shards=3)
    assert told(shards.search(random_vectors(2, 8), 3)) == told(one.search(random_vectors(2, 8), 3))
    shards.close()


@pytest.mark.slow
@settings(max_examples=40)
@given(st.data())
def test_shards_follow_as_they_would_be_made_anew(data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        gallery = Gallery.create(folder, STAMP)
        before: list[Any] = [None, None]
        for step in range(data.draw(st.integers(1, 4))):
            first, count = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 40))
            rows = make_rows(random_vectors(count, step), prefix=f"{first % 3}/")
            gallery.upsert(rows[first % 7 :])
            if data.draw(st.booleans()) and gallery.rows([f"{first % 3}/9"]):
                gallery.delete(ids=[f"{first % 3}/9"])
            handle = pin(folder, gallery.upsert(()).table_version)
            after = [follow(before[n], handle, STAMP.dimension, n, 2) for n in range(2)]
            fresh = [follow(None, handle, STAMP.dimension, n, 2) for n in range(2)]
            for mine, theirs in zip(after, fresh, strict=True):
                a = {i: v.tobytes() for i, v in zip(mine.ids, mine.vectors, strict=True)}
                b = {i: v.tobytes() for i, v in zip(theirs.ids, theirs.vectors, strict=True)}
                assert a == b
            assert sorted(i for one in fresh for i in one.ids) == gallery_ids(handle)
            before = list(after)
        gallery.close()


def gallery_ids(handle: Any) -> list[str]:
    from store.table.lance import scan

    return sorted(scan(handle, ["id"])["id"].to_pylist())


def test_every_row_belongs_to_one_shard() -> None:
    row_ids = np.arange(20 * BLOCK)
    for shards in (1, 2, 3, 7):
        owned = np.stack([own(row_ids, number, shards) for number in range(shards)])
        assert (owned.sum(axis=0) == 1).all()
        assert owned.sum(axis=1).min() >= 2 * BLOCK


def test_merging_ranks_equal_scores_by_id() -> None:
    a = (np.asarray([1, 2]), np.asarray([0.5, 0.5], np.float32), ["b", "d"])
    b = (np.asarray([3, 4]), np.asarray([0.9, 0.5], np.float32), ["z", "a"])
    assert merge([a, b], 3)[0] == [3, 4, 1]
    assert merge([], 3) == ([], [], [])


def test_without_ray_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Gallery.create(tmp_path / "store", STAMP)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'cxr-retrieval\[ray\]'"):
        Gallery.open(tmp_path / "store", shards=2)


def test_an_index_has_no_shards() -> None:
    with pytest.raises(UsageError, match="has no shards"):
        choose("anywhere", STAMP, "lance", Sharding(2))
