"""After any sequence of changes, by two processes, the mirror equals the table."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from store import BadQuery, Gallery, UnknownId, Where
from store.mirror import build
from store.mirror import build as building
from store.table import lance, local, maintenance, object_storage
from tests.store.rows import STAMP, mirror_of, random_vectors, small_gallery, table_of
from tests.store.second import Second, answer, rows_of

NAMES = [f"set/test/{i}" for i in range(24)]
some_names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=8, unique=True)
seeds = st.integers(0, 10_000)


def by_numpy(gallery: Gallery, seed: int, k: int) -> list[list[object]]:
    """What a search must answer, from a scan of the live table."""
    scan = table_of(gallery).search().select(["id", "labels", "embedding"]).limit(None)
    found = scan.to_arrow().to_pylist()
    query = random_vectors(1, seed)[0].astype(np.float64)
    scores = [
        float(np.float32(np.clip((np.asarray(row["embedding"]) * query).sum(), -1, 1)))
        for row in found
    ]
    ranked = sorted(zip(scores, found, strict=True), key=lambda pair: (-pair[0], pair[1]["id"]))
    return [[row["id"], score, row["labels"]] for score, row in ranked[:k]]


class Following(RuleBasedStateMachine):
    """Two processes on one store; a plain dict says what must be in it."""

    second: Second | None = None

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.gallery = Gallery.create(f"{self.folder}/store", STAMP)
        self.rows: dict[str, int] = {}
        self.history: dict[int, dict[str, int]] = {}
        if Following.second is None:
            Following.second = Second(self.gallery.uri)
        self.other = Following.second
        self.other.ask("open", self.gallery.uri)

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @rule(names=some_names, seed=seeds, elsewhere=st.booleans())
    def upsert(self, names: list[str], seed: int, elsewhere: bool) -> None:
        new = len(set(names) - self.rows.keys())
        if elsewhere:
            assert self.other.ask("upsert", names, seed)[0] == new
        else:
            assert self.gallery.upsert(rows_of(names, seed)).inserted == new
        self.rows.update(dict.fromkeys(names, seed))

    @rule(names=some_names, elsewhere=st.booleans())
    def delete(self, names: list[str], elsewhere: bool) -> None:
        there = [name for name in names if name in self.rows]
        if elsewhere:
            assert self.other.ask("delete", there) == len(there)
        else:
            assert self.gallery.delete(ids=there) == len(there)
        for name in there:
            del self.rows[name]

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def delete_a_batch(self, data: st.DataObject) -> None:
        seed = data.draw(st.sampled_from(sorted(set(self.rows.values()))))
        gone = [name for name, made in self.rows.items() if made == seed]
        assert self.gallery.delete(batch=f"b{seed}", dry_run=True) == len(gone)
        assert self.gallery.delete(Where(batch=(f"b{seed}",))) == len(gone)
        for name in gone:
            del self.rows[name]

    @rule(elsewhere=st.booleans())
    def optimize(self, elsewhere: bool) -> None:
        if elsewhere:
            self.other.ask("optimize")
        else:
            self.gallery.optimize()
        self.history.clear()

    @rule()
    def remember(self) -> None:
        self.history[int(table_of(self.gallery).version)] = dict(self.rows)

    @precondition(lambda self: self.history)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.history)))
        table = table_of(self.gallery)
        try:
            table.checkout(version)
            table.restore()
        except (RuntimeError, ValueError):  # cleaned away by automatic maintenance
            del self.history[version]
        else:
            self.rows = dict(self.history[version])

    @rule()
    def reopen(self) -> None:
        self.gallery = Gallery.open(self.gallery.uri)

    @rule(seed=seeds)
    def drop_and_make_again(self, seed: int) -> None:
        if seed % 5 == 0:
            shutil.rmtree(self.gallery.uri)
            again = Gallery.create(self.gallery.uri, STAMP)
            again.upsert(rows_of(NAMES[:3], seed))
            self.rows = dict.fromkeys(NAMES[:3], seed)
            self.history.clear()
            self.gallery.refresh()
            self.other.ask("look", 1, 1)

    @invariant()
    def both_answer_as_numpy_over_the_table(self) -> None:
        self.gallery.refresh()
        snapshot = mirror_of(self.gallery)
        assert sorted(snapshot.ids) == sorted(self.rows)
        if not self.rows:
            assert self.other.ask("look", 1, 1) == [0, []]
            return
        k = min(5, len(self.rows))
        expected = by_numpy(self.gallery, 7, k)
        assert answer(self.gallery, 7, k) == expected
        assert self.other.ask("look", 7, k) == [len(self.rows), expected]
        assert all(labels == [f"seed {self.rows[name]}"] for name, _, labels in expected)
        fresh = building.build(snapshot.handle, STAMP.dimension)
        order, same = np.argsort(snapshot.row_ids), np.argsort(fresh.row_ids)
        for name in ("row_ids", "changed_at", "vectors"):
            mine, theirs = getattr(snapshot, name), getattr(fresh, name)
            np.testing.assert_array_equal(mine[order], theirs[same])
        assert snapshot.index.ntotal == len(self.rows)


TestFollowing = Following.TestCase
TestFollowing.settings = settings(
    max_examples=4,
    stateful_step_count=10,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", autouse=True)
def _second_process_ends():
    yield
    if Following.second is not None:
        Following.second.close()
        Following.second = None


# -- how it follows ----------------------------------------------------------------------------


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return small_gallery(tmp_path / "store", 60)


def followed(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the next refresh came about."""
    built = []
    build = building.build
    with monkeypatch.context() as patch:
        patch.setattr(building, "build", lambda *given: built.append(1) or build(*given))
        moved = gallery.refresh()
    return "built" if built else "followed" if moved else "stayed"


def test_only_what_changed_is_copied(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    assert followed(gallery, monkeypatch) == "stayed"
    gallery.upsert(rows_of(["set/test/3", "x/test/1"], 4))
    gallery.delete(ids=["set/test/9"])
    fetched = []
    fetch = build.fetch
    monkeypatch.setattr(build, "fetch", lambda *a: fetched.append(len(a[1])) or fetch(*a))
    assert followed(gallery, monkeypatch) == "followed"
    assert fetched == [2]
    assert len(gallery) == 60


def test_merging_files_copies_nothing(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(4):
        gallery.upsert(rows_of([f"x/test/{seed}"], seed))
    gallery.refresh()
    before = mirror_of(gallery)
    gallery.optimize()
    assert followed(gallery, monkeypatch) == "followed"
    np.testing.assert_array_equal(mirror_of(gallery).vectors, before.vectors)


def test_tidying_on_a_busy_machine_leaves_the_version_that_a_reader_holds(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = mirror_of(gallery).version
    for seed in range(4):
        gallery.upsert(rows_of([f"x/test/{seed}"], seed))
    through = object_storage.retry_conflicts

    def late(handle: object, work: Callable[[], None]) -> None:
        time.sleep(0.1)
        through(handle, work)

    monkeypatch.setattr(object_storage, "retry_conflicts", late)
    gallery.optimize()
    assert held in {found["version"] for found in table_of(gallery).list_versions()}
    assert followed(gallery, monkeypatch) == "followed"


def test_a_restored_version_is_built_anew(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of(gallery)
    version = int(table.version)
    gallery.delete(ids=["set/test/1"])
    gallery.refresh()
    table.checkout(version)
    table.restore()
    assert followed(gallery, monkeypatch) == "built"
    assert len(gallery) == 60


def test_cleaned_history_is_built_anew(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import timedelta

    writer = Gallery.open(gallery.uri)
    writer.upsert(rows_of(["x/test/1"], 1))
    writer.optimize(keep=timedelta(0))
    assert followed(gallery, monkeypatch) == "built"
    assert len(gallery) == 61


def test_maintenance_spares_versions_that_are_read(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All versions here are made within half a second.
    monkeypatch.setattr(maintenance, "MARGIN_READ", timedelta(milliseconds=20))
    reader = Gallery.open(gallery.uri)
    assert len(reader) == 60
    version = reader.table_version
    for seed in range(40):
        gallery.upsert(rows_of([f"x/test/{seed}"], seed))
    assert gallery.stats()["fragments"] < 20
    assert reader.row("set/test/5").id == "set/test/5"  # joined at its own version
    assert reader.table_version == version
    reader.refresh()
    gallery.refresh()
    gallery.optimize()
    kept = [found["version"] for found in table_of(gallery).list_versions()]
    assert min(kept) > version
    assert len(reader) == 100


def test_every_look_up_of_a_pinned_reader_is_of_its_version(gallery: Gallery) -> None:
    """A page must not mix versions: whatever is asked, the answer is that of the version pinned."""
    gallery.upsert([replace(rows_of(["y/test/1"], 1)[0], extra={"ward": 7}, pixel_reader=2)])
    gallery.refresh()
    ids = gallery.ids()
    reader = gallery.pinned()
    digests = [row.sha256 for row in gallery.rows(ids).values()]

    def looked_up() -> dict[str, object]:
        return {
            "rows": {id_: asdict(row) for id_, row in reader.rows([*ids, "x/test/9"]).items()},
            "row": asdict(reader.row("set/test/2")),
            "elsewhere": sorted(reader.elsewhere("/a", "it's/")),
            "holding": reader.holding(digests),
            "thumbnails": reader.thumbnails(ids),
            "ids": reader.ids(),
            "columns": reader.columns(),
            "facets": reader.facets(),
            "ranges": reader.ranges(),
            "described": reader.describe(),
            "stats": {
                name: value
                for name, value in reader.stats().items()
                if name not in ("bytes", "search")  # of the folder, and of what searches made
            },
            "check": reader.check(),
            "state": reader.state,
        }

    before = looked_up()
    writer = Gallery.open(gallery.uri)
    writer.delete(ids=["set/test/1", "y/test/1"])
    writer.upsert(rows_of(["x/test/9", "set/test/3"], 5))
    writer.update_metadata([replace(writer.row("set/test/2"), labels=("other",), age=3.0)])
    writer.make_room({"bed": "int"})
    assert gallery.refresh()
    assert gallery.rows(["x/test/9", "set/test/1"]).keys() == {"x/test/9"}
    after = looked_up()
    assert [name for name in before if after[name] != before[name]] == []


def test_a_pinned_reader_whose_version_was_cleaned_away_follows(gallery: Gallery) -> None:
    reader = gallery.pinned()
    gallery.upsert(rows_of(["x/test/1"], 1))
    gallery.optimize(keep=timedelta(0))
    assert reader.rows(["x/test/1"]).keys() == {"x/test/1"}
    assert reader.table_version == Gallery.open(gallery.uri).table_version


def test_a_refresh_opens_the_table_once_and_an_answer_after_opening_not_at_all(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening takes ten times as long as a listing, and many requests to a bucket."""
    opened, listed = [], []
    connect, manifests = lance.connect, local.manifests

    class Connection:
        def __init__(self, *given: object) -> None:
            self.inner = connect(*given)  # type: ignore[arg-type]

        def open_table(self, *given: object, **named: object) -> object:
            opened.append(1)
            return self.inner.open_table(*given, **named)

    monkeypatch.setattr(lance, "connect", Connection)
    monkeypatch.setattr(local, "manifests", lambda *given: listed.append(1) or manifests(*given))

    def counted() -> tuple[int, int]:
        found = len(opened), len(listed)
        opened.clear()
        listed.clear()
        return found

    reader = Gallery.open(gallery.uri)
    assert counted() == (1, 1)
    assert len(reader) == 60
    assert counted() == (0, 1)
    assert not reader.refresh()
    assert counted() == (0, 1)
    for seed in range(2):
        gallery.upsert(rows_of([f"x/test/{seed}"], seed))
        counted()
        assert reader.refresh()
        assert counted() == (1, 2)


def test_delete_refuses_what_is_not_clear(gallery: Gallery) -> None:
    with pytest.raises(BadQuery, match="delete needs a filter"):
        gallery.delete()
    with pytest.raises(BadQuery, match="delete needs a filter"):
        gallery.delete(Where())
    with pytest.raises(UnknownId, match="no row 'nobody' \\(1 of 2"):
        gallery.delete(ids=["set/test/1", "nobody"])
    assert gallery.delete(Where(label=("normal",)), ids=["set/test/0", "set/test/1"]) == 1
    assert gallery.delete(Where(label=("it's",))) == 0
    gallery.refresh()
    assert len(gallery) == 59


@pytest.mark.slow
def test_many_readers_beside_an_ingestion(gallery: Gallery) -> None:
    """16 threads search while another process writes; each answer is of one generation."""
    names = [f"gen/test/{i}" for i in range(30)]
    gallery.upsert(rows_of(names, 0))
    gallery.refresh()
    failures: list[BaseException] = []
    answers = [0] * 16
    stop = threading.Event()

    def read(number: int) -> None:
        try:
            while not stop.is_set():
                hits = gallery.search(random_vectors(1, number), 90)[0]
                assert len({hit.row.id for hit in hits}) == 90
                generations = {hit.row.labels for hit in hits if hit.row.id.startswith("gen/")}
                assert len(generations) == 1, generations
                answers[number] += 1
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read, args=(number,)) for number in range(16)]
    second = Second(gallery.uri)
    for reader in readers:
        reader.start()
    for generation in range(1, 9):
        second.ask("upsert", names, generation)
        gallery.refresh()
    time.sleep(0.1)
    stop.set()
    for reader in readers:
        reader.join()
    second.close()
    assert not failures, failures[0]
    assert min(answers) > 0
    assert gallery.row(names[0]).labels == ("seed 8",)
