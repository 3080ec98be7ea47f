"""Answers from LanceDB's index: approximate, said so, and exact wherever a row was proposed."""

from __future__ import annotations

import itertools
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from store import BadQuery, Gallery, UnknownId, UsageError, Where
from store.search import lance_index
from tests.store.rows import STAMP, make_rows, random_vectors, unit
from ui import notices

ROWS, DIMENSION = 3000, 32
WIDE = replace(STAMP, dimension=DIMENSION)
PNG = b"\x89PNG\r\n\x1a\n"

pytestmark = pytest.mark.usefixtures("few_ask")  # but for the gallery that a module shares


def films(count: int, seed: int = 0) -> np.ndarray:
    """Vectors in clumps, as those of films are."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(12, DIMENSION))
    return unit(
        centres[chance.integers(0, 12, count)] + 0.6 * chance.normal(size=(count, DIMENSION))
    )


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("indexed") / "store"
    gallery = Gallery.create(folder, WIDE)
    labels = [(("normal", "pneumonia", "effusion")[i % 3],) for i in range(ROWS)]
    rows = make_rows(films(ROWS), labels, thumbnail=PNG)
    rows = [replace(row, split="train" if i % 20 else "test") for i, row in enumerate(rows)]
    gallery.upsert(rows)
    built = gallery.build_index(partitions=16)
    assert built["recall_at_10"] >= 0.95
    return str(folder)


def ids(hits: list) -> list[str]:
    return [hit.row.id for hit in hits]


def test_what_is_held_is_asked_of_the_table_alone(uri: str) -> None:
    index = Gallery.open(uri, index="lance")
    rows = index.rows(["set/test/3", "set/test/40"])
    asked = [row.sha256 for row in rows.values()]
    assert index.holding(asked) == {row.sha256: [id_] for id_, row in rows.items()}
    assert Gallery.open(uri).holding([bytes(32)]) == {}


def test_recall_is_what_was_measured_and_scores_are_exact(uri: str) -> None:
    exact, index = Gallery.open(uri), Gallery.open(uri, index="lance")
    said = index.describe()["approximate"]
    assert "approximate" not in exact.describe()
    assert said["kind"] == "IVF_RQ"
    assert said["sample"] == 200
    assert said["rows_not_indexed"] == 0
    queries = films(60, seed=5)
    shares = []
    for wanted, found in zip(exact.search(queries, 10), index.search(queries, 10), strict=True):
        shares.append(len(set(ids(wanted)) & set(ids(found))) / 10)
        scores = {hit.row.id: hit.score for hit in wanted}
        assert all(scores.get(hit.row.id, hit.score) == hit.score for hit in found)
        assert [hit.score for hit in found] == sorted((h.score for h in found), reverse=True)
        assert found[0].row.labels
        assert [hit.rank for hit in found] == list(range(1, 11))
    assert abs(np.mean(shares) - said["recall_at_10"]) < 0.06


def test_it_holds_no_vectors(uri: str) -> None:
    index = Gallery.open(uri, index="lance")
    query = films(1, seed=3)
    index.search(query, 5)  # imports what searching needs
    tracemalloc.start()
    index = Gallery.open(uri, index="lance")
    index.search(query, 5)
    _, peak = tracemalloc.get_traced_memory()  # of numpy's arrays as well
    tracemalloc.stop()
    assert not index.in_memory
    assert peak < len(index) * index.stamp.dimension * 4


def test_filters_hold_exactly_and_leave_k_hits(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, index = Gallery.open(uri), Gallery.open(uri, index="lance")
    query = films(1, seed=11)
    where = Where(label=("effusion",), split=("test",))
    assert ids(index.search(query, 20, where)[0]) == ids(exact.search(query, 20, where)[0])
    monkeypatch.setattr(lance_index, "FEW", 0)  # through the index, filtered first
    found = index.search(query, 20, where)[0]
    assert len(found) == 20
    assert all(h.row.labels == ("effusion",) and h.row.split == "test" for h in found)
    one = Where(label=("nothing",))
    assert index.search(query, 5, one) == [[]]


def test_by_id_leaves_itself_out(uri: str) -> None:
    exact, index = Gallery.open(uri), Gallery.open(uri, index="lance")
    found = index.search_by_id("set/test/17", 10)
    assert len(found) == 10
    assert "set/test/17" not in ids(found)
    assert found[0].row.id == exact.search_by_id("set/test/17", 10)[0].row.id
    with pytest.raises(UnknownId, match="no row 'nobody'"):
        index.search_by_id("nobody", 10)
    with pytest.raises(BadQuery, match="k = 0"):
        index.search(films(1), 0)


def test_what_is_looked_up_is_the_same(uri: str) -> None:
    exact, index = Gallery.open(uri), Gallery.open(uri, index="lance")
    some = ["set/test/9", "set/test/2", "set/test/9"]
    np.testing.assert_array_equal(index.vectors(some), exact.vectors(some))
    assert index.facets() == exact.facets()
    where = Where(label=("pneumonia",))
    assert index.facets(where) == exact.facets(where)
    assert index.ranges(where) == exact.ranges(where)
    assert index.ids(where) == exact.ids(where)
    assert index.thumbnails(some) == exact.thumbnails(some)
    assert index.row("set/test/4").labels == exact.row("set/test/4").labels
    left, right = (one.nearness(films(1, seed=8))[0] for one in (index, exact))
    assert (left.cosine, left.percentile, left.rows) == (
        right.cosine,
        right.percentile,
        right.rows,
    )
    assert index.check() == []
    stats = index.stats()
    assert stats["rows"] == ROWS


@pytest.mark.slow
def test_evaluation_is_near_the_exact_one(uri: str) -> None:
    exact, index = Gallery.open(uri), Gallery.open(uri, index="lance")
    for protocol in ("leave-one-out", "split"):
        wanted = exact.evaluate(protocol, (1, 5), full_ranking=False)
        found = index.evaluate(protocol, (1, 5))
        assert (found.queries, found.gallery) == (wanted.queries, wanted.gallery)
        chance, wanted_chance = (one.baselines["random"]["precision"] for one in (found, wanted))
        assert chance == pytest.approx(wanted_chance)
        for k in (1, 5):
            assert abs(found.precision[k] - wanted.precision[k]) < 0.02
        assert found.as_dict()["map"] is None
        assert found.store["approximate"]["recall_at_10"] > 0.9
    with pytest.raises(BadQuery, match="two splits"):
        index.evaluate("split", split="train")


def test_rows_after_the_index_are_found_and_counted(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path, WIDE)
    gallery.upsert(make_rows(films(400)))
    with pytest.raises(UsageError, match=r"has no search index.*cxr index build"):
        len(Gallery.open(tmp_path, index="lance"))
    gallery.build_index(partitions=4)
    index = Gallery.open(tmp_path, index="lance")
    new = films(5, seed=77)
    gallery.upsert(make_rows(new, prefix="new/"))
    gallery.delete(ids=["set/test/0"])
    gallery.upsert([replace(make_rows(films(1, seed=78))[0], id="set/test/1")])
    assert index.refresh()
    assert index.describe()["approximate"]["rows_not_indexed"] == 6
    assert index.search(new, 1)[3][0].row.id == "new/3"
    assert len(index) == 404
    assert "set/test/0" not in index.ids()
    gallery.optimize()
    index.refresh()
    assert index.describe()["approximate"]["rows_not_indexed"] == 0
    exact = Gallery.open(tmp_path)
    for query in films(20, seed=4):
        wanted, found = (set(ids(one.search(query, 10)[0])) for one in (exact, index))
        assert len(wanted & found) >= 8
    assert index.search(new, 1)[3][0].row.id == "new/3"
    assert gallery.drop_index()
    assert not gallery.drop_index()
    with pytest.raises(UsageError, match="cxr index build"):
        len(Gallery.open(tmp_path, index="lance"))


def test_ties_rank_by_id(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path, WIDE)
    vectors = np.concatenate([np.repeat(films(1), 12, axis=0), films(400, seed=2)])
    gallery.upsert(make_rows(vectors))
    gallery.build_index(partitions=4)
    found = ids(Gallery.open(tmp_path, index="lance").search(vectors[:1], 12)[0])
    assert found == sorted(f"set/test/{i}" for i in range(12))


def test_equal_rows_rank_by_id_however_many_there_are(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path, WIDE)
    equal = make_rows(np.repeat(films(1), 700, axis=0), [("same",)] * 700, prefix="equal/")
    np.random.default_rng(0).shuffle(equal)  # type: ignore[arg-type]
    gallery.upsert(make_rows(films(400, seed=2), [("other",)] * 400))
    gallery.upsert(equal)
    gallery.build_index(partitions=4)
    exact, index = Gallery.open(tmp_path), Gallery.open(tmp_path, index="lance")
    for where in (None, Where(label=("same",))):
        for k in (1, 30):
            found = ids(index.search(films(1), k, where)[0])
            assert found == ids(exact.search(films(1), k, where)[0])
    out = [f"equal/{number}" for number in range(600)]
    found = ids(index.search(films(1), 3, Where(label=("same",)), exclude=out)[0])
    assert found == ["equal/600", "equal/601", "equal/602"]


def test_different_rows_of_equal_score_rank_by_id(tmp_path: Path) -> None:
    """The index's own distances of such rows differ."""
    gallery = Gallery.create(tmp_path, WIDE)
    axes = np.eye(DIMENSION, dtype=np.float32)
    pairs = np.array(list(itertools.permutations(range(1, DIMENSION), 2)))
    around = 0.6 * axes[0] + 0.48 * axes[pairs[:, 0]] + 0.64 * axes[pairs[:, 1]]
    equal = make_rows(around, prefix="equal/")
    np.random.default_rng(0).shuffle(equal)  # type: ignore[arg-type]
    gallery.upsert(equal)
    gallery.build_index(partitions=4)
    exact, index = Gallery.open(tmp_path), Gallery.open(tmp_path, index="lance")
    for k in (1, 7, 30):
        found = ids(index.search(axes[:1], k)[0])
        assert found == ids(exact.search(axes[:1], k)[0])


def test_corrected_rows_come_back_into_the_index(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path, WIDE)
    rows = make_rows(films(1000), [("a",)] * 1000)
    gallery.upsert(rows)
    gallery.build_index(partitions=4)
    index = Gallery.open(tmp_path, index="lance")

    def outside() -> int:
        index.refresh()
        return int(index.describe()["approximate"]["rows_not_indexed"])

    few = [replace(row, labels=("b",)) for row in rows[:20]]
    assert gallery.update_metadata(few) == 20
    assert outside() == 20  # a remedy is said, see notices.of_index
    assert "20 of them: cxr optimize" in notices.of_index(index.describe()["approximate"])
    for label in ("c", "d"):  # all of them, by itself, again and again
        assert gallery.update_metadata([replace(row, labels=(label,)) for row in rows]) == 1000
        assert outside() == 0
    assert gallery.upsert([replace(row, labels=("e",)) for row in rows[:60]]).updated == 60
    assert outside() == 0
    assert index.count(Where(label=("d",))) == 940
    wanted, found = (one.search(films(20, seed=5), 10) for one in (Gallery.open(tmp_path), index))
    shares = [len(set(ids(a)) & set(ids(b))) / 10 for a, b in zip(wanted, found, strict=True)]
    assert np.mean(shares) > 0.9


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path, WIDE)
    gallery.upsert(make_rows(films(100)))
    with pytest.raises(UsageError, match="100 rows are too few"):
        gallery.build_index()
    gallery.upsert(make_rows(films(300, seed=3), prefix="more/"))
    with pytest.raises(UsageError, match="--partitions 900"):
        gallery.build_index(partitions=900)
    with pytest.raises(UsageError, match=r"--recall 1\.5"):
        gallery.build_index(recall=1.5)
    with pytest.raises(UsageError, match="expected exact or lance"):
        Gallery.open(tmp_path, index="hnsw")


@pytest.mark.parametrize("dimension", [8, 13])
def test_any_dimension_can_be_indexed(tmp_path: Path, dimension: int) -> None:
    gallery = Gallery.create(tmp_path, replace(STAMP, dimension=dimension))
    gallery.upsert(make_rows(random_vectors(300, dimension=dimension)))
    assert gallery.build_index()["kind"] == ("IVF_SQ" if dimension % 8 else "IVF_RQ")
    query = random_vectors(1, seed=6, dimension=dimension)
    assert len(Gallery.open(tmp_path, index="lance").search(query, 300)[0]) == 300


@pytest.mark.slow
def test_a_recall_out_of_reach_is_told_as_it_is(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path, WIDE)
    gallery.upsert(make_rows(random_vectors(2000, dimension=DIMENSION)))
    notes: list[str] = []
    built = gallery.build_index(partitions=64, recall=1.0, progress=notes.append)
    assert built["probes"] == 64 or built["recall_at_10"] == 1.0
    assert notes[-1].startswith("measuring")


@pytest.mark.slow
def test_searching_while_it_is_built_again(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path, WIDE)
    gallery.upsert(make_rows(films(600)))
    gallery.build_index(partitions=4)
    index = Gallery.open(tmp_path, index="lance")
    failed: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        try:
            while not stop.is_set():
                index.refresh()
                assert len(index.search(films(1, seed=1), 5)[0]) == 5
        except BaseException as error:
            failed.append(error)

    reader = threading.Thread(target=ask)
    reader.start()
    for seed in range(3):
        gallery.upsert(make_rows(films(20, seed=seed), prefix=f"{seed}/"))
        gallery.build_index(partitions=4)
    stop.set()
    reader.join(120)
    assert not failed
