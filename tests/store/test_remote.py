"""A gallery in a bucket: the same answers as in a folder, two writers, faults on the way."""

from __future__ import annotations

import json
import random
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from store import (
    EncoderMismatch,
    Gallery,
    StoreNotFound,
    StoreUnreachable,
    StoreUnsafe,
    UsageError,
    Where,
)
from store.table import object_storage
from tests.store import bucket
from tests.store.bucket import Proxy, fresh_proxy, shared_server  # noqa: F401 - fixtures
from tests.store.rows import OTHER, STAMP, make_rows, random_vectors
from tests.store.second import Second, answer, rows_of

ROUNDS = 8
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def uri(server: int, proxy: Proxy) -> str:
    return bucket.make_bucket(server)


def test_a_bucket_answers_as_a_folder_does(uri: str, tmp_path: Path) -> None:
    rows = make_rows(random_vectors(60), thumbnail=PNG)
    both = [Gallery.create(where, STAMP) for where in (uri, tmp_path / "store")]
    for gallery in both:
        assert gallery.upsert(rows).inserted == 60
        assert gallery.upsert(rows).unchanged == 60
        assert gallery.delete(Where(label=("normal",)), ids=["set/test/2", "set/test/3"]) == 1
    there, here = both
    queries = random_vectors(5, seed=3)
    for where in (None, Where(label=("pneumonia",))):
        found, wanted = (one.search(queries, 7, where) for one in (there, here))
        assert [[(h.row.id, h.score, h.row.labels) for h in hits] for hits in found] == [
            [(h.row.id, h.score, h.row.labels) for h in hits] for hits in wanted
        ]
    assert there.facets() == here.facets()
    assert there.evaluate("leave-one-out", k=(1, 3)).precision == (
        here.evaluate("leave-one-out", k=(1, 3)).precision
    )
    assert there.check() == []
    digests = [rows[5].sha256, rows[6].sha256, bytes(32)]
    assert there.holding(digests) == {digests[0]: ["set/test/5"], digests[1]: ["set/test/6"]}
    assert [list(one.elsewhere("/x", "set/")) for one in both] == [[], []]  # none has pixels
    assert there.thumbnails(["set/test/5"]) == here.thumbnails(["set/test/5"])
    assert there.nearness(queries[:1])[0].cosine == here.nearness(queries[:1])[0].cosine
    before = there.stats()
    for seed in range(3):
        there.upsert(make_rows(random_vectors(5, seed=seed), prefix=f"more{seed}/"))
    there.optimize()
    after = there.stats()
    assert (after["rows"], after["fragments"]) == (before["rows"] + 15, 1)
    assert after["bytes"] > before["bytes"]  # older versions stay for a week
    with pytest.raises(EncoderMismatch):
        Gallery.create(uri, OTHER)


def test_another_process_is_followed_by_one_request(uri: str, proxy: Proxy) -> None:
    gallery = Gallery.create(uri, STAMP)
    gallery.upsert(make_rows(random_vectors(20)))
    gallery.refresh()
    proxy.log.clear()
    assert not gallery.refresh()
    assert [one.method for one in proxy.log] == ["GET"]
    other = Second(uri)
    try:
        assert other.ask("upsert", ["new/1"], 5) == [1, 0, 0]
        assert gallery.refresh()
        assert gallery.search_by_id("new/1", 20)
        assert other.ask("look", 4, 5) == [21, answer(gallery, 4, 5)]
    finally:
        other.close()


def test_made_again_in_the_same_place_is_seen(uri: str, proxy: Proxy) -> None:
    import obstore

    gallery = Gallery.create(uri, STAMP)
    gallery.upsert(make_rows(random_vectors(20)))
    assert len(gallery) == 20
    client = object_storage.client_of(uri)
    for listed in obstore.list(client, prefix="gallery.lance").collect():
        obstore.delete(client, listed["path"])
    with pytest.raises(StoreNotFound, match="no gallery at s3://"):
        gallery.refresh()
    Gallery.create(uri, STAMP).upsert(make_rows(random_vectors(5, seed=9)))
    assert gallery.refresh()
    assert len(gallery) == 5


@pytest.mark.slow
def test_two_creators_make_one_gallery_with_unique_ids(uri: str) -> None:
    made: list[Gallery] = []
    failed: list[BaseException] = []
    start = threading.Barrier(4)

    def create(seed: int) -> None:
        try:
            start.wait(120)
            gallery = Gallery.create(uri, STAMP)
            gallery.upsert(make_rows(random_vectors(5, seed=seed), thumbnail=PNG))
            made.append(gallery)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=create, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failed
    made[0].refresh()
    assert len(made[0].ids()) == 5
    assert made[0].check() == []


@pytest.mark.slow
def test_two_processes_write_the_same_and_different_ids(uri: str) -> None:
    gallery = Gallery.create(uri, STAMP)
    others = [Second(uri), Second(uri)]
    try:
        for round_ in range(4):
            shared = [f"shared/{number}" for number in range(4)]
            for number, other in enumerate(others):
                names = [*shared, *(f"own{number}/{round_}-{one}" for one in range(3))]
                other.send("upsert", names, 10 * round_ + number)
            for other in others:
                inserted, updated, unchanged = other.receive()
                assert inserted + updated + unchanged == 7
        for other in others:
            assert other.ask("look", 1, 5)[0] == 4 + 2 * 4 * 3
    finally:
        for other in others:
            other.close()
    gallery.refresh()
    ids = gallery.ids()
    assert len(ids) == len(set(ids)) == 28
    last = {gallery.row(f"shared/{number}").batch for number in range(4)}
    assert last <= {"b30", "b31"}  # of the last round, whoever came second


@pytest.mark.parametrize("fault", [pytest.param(bucket.LOSE_ANSWER, marks=pytest.mark.slow), "all"])
def test_nothing_acknowledged_is_lost_to_a_bad_network(uri: str, proxy: Proxy, fault: str) -> None:
    gallery = Gallery.create(uri, STAMP)
    chance = random.Random(7)
    kinds = [bucket.LOSE_REQUEST, bucket.LOSE_ANSWER, bucket.BUSY, bucket.SLOW]
    proxy.plan = lambda method, path: (
        (chance.choice(kinds) if fault == "all" else fault) if chance.random() < 0.1 else None
    )
    acknowledged: dict[str, int] = {}
    unsure: set[str] = set()
    for seed in range(ROUNDS):
        names = [f"n/{seed}-{number}" for number in range(3)] + ["n/again"]
        try:
            gallery.upsert(rows_of(names, seed))
        except StoreUnreachable:
            unsure.update(names)
        else:
            acknowledged.update(dict.fromkeys(names, seed))
            unsure.discard("n/again")
    proxy.plan = lambda method, path: None
    assert acknowledged
    fresh = Gallery.open(uri)
    ids = fresh.ids()
    assert len(ids) == len(set(ids))
    assert set(acknowledged) <= set(ids) <= set(acknowledged) | unsure
    for name, row in fresh.rows(acknowledged).items():
        if name not in unsure:
            assert row.batch == f"b{acknowledged[name]}"
    # What was not acknowledged is done again, and then all is there once.
    for seed in range(ROUNDS):
        fresh.upsert(rows_of([f"n/{seed}-{number}" for number in range(3)], seed))
    fresh.refresh()
    assert len(fresh) == ROUNDS * 3 + 1


@pytest.mark.slow
def test_two_processes_write_through_a_bad_network(uri: str, proxy: Proxy) -> None:
    Gallery.create(uri, STAMP)
    chance = random.Random(3)
    kinds = [bucket.LOSE_REQUEST, bucket.LOSE_ANSWER, bucket.BUSY, bucket.SLOW]
    others = [Second(uri), Second(uri)]
    acknowledged: set[str] = set()
    try:
        for other in others:
            other.ask("open", uri)
        proxy.plan = lambda method, path: chance.choice(kinds) if chance.random() < 0.1 else None
        for round_ in range(5):
            asked = [[f"w{number}/{round_}", "both"] for number in range(2)]
            for number, other in enumerate(others):
                other.send("upsert", asked[number], 10 * round_ + number)
            for number, other in enumerate(others):
                if other.receive() is not None:
                    acknowledged.update(asked[number])
    finally:
        for other in others:
            other.close()
    proxy.plan = lambda method, path: None
    assert acknowledged
    ids = Gallery.open(uri).ids()
    assert len(ids) == len(set(ids))
    assert acknowledged <= set(ids)


@pytest.mark.slow
def test_one_tidies_while_another_writes(uri: str) -> None:
    gallery = Gallery.create(uri, STAMP)
    gallery.upsert(make_rows(random_vectors(10), thumbnail=PNG))
    other = Second(uri)
    try:
        for seed in range(6):
            other.send("upsert", [f"new/{seed}", "same"], seed)
            gallery.optimize()
            assert other.receive() is not None
    finally:
        other.close()
    gallery.refresh()
    assert len(gallery) == 10 + 6 + 1
    assert gallery.row("same").batch == "b5"


def test_where_conditions_are_ignored_nothing_is_written(uri: str, proxy: Proxy) -> None:
    gallery = Gallery.create(uri, STAMP)
    gallery.upsert(make_rows(random_vectors(3)))
    proxy.plan = lambda method, path: bucket.FORGET_CONDITION
    object_storage.probe.cache_clear()
    with pytest.raises(StoreUnsafe, match="ignores conditional writes"):
        gallery.upsert(make_rows(random_vectors(4)))
    for write in (
        lambda: gallery.delete(ids=["set/test/0"]),
        gallery.optimize,
        lambda: Gallery.create(uri, STAMP),
    ):
        with pytest.raises(StoreUnsafe):
            write()
    assert len(Gallery.open(uri)) == 3  # reading is safe


def test_the_probe_matters(uri: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, a server that ignores the condition loses acknowledged rows."""
    monkeypatch.setattr(object_storage, "check_writable", lambda uri: None)
    gallery = Gallery.create(uri, STAMP)
    proxy.plan = lambda method, path: bucket.FORGET_CONDITION
    stale = Gallery.open(uri)
    held = threading.Event()
    passed = threading.Event()

    def hold(method: str, path: str) -> str:
        # The first commit waits at the door until the second is through.
        if method == "PUT" and "_versions" in path and not held.is_set():
            held.set()
            assert passed.wait(120)
        return bucket.FORGET_CONDITION

    proxy.plan = hold
    first = threading.Thread(target=lambda: gallery.upsert(make_rows(random_vectors(2))))
    first.start()
    assert held.wait(120)
    stale.upsert(make_rows(random_vectors(2, seed=5), prefix="other/"))
    passed.set()
    first.join(120)
    proxy.plan = lambda method, path: None
    assert len(Gallery.open(uri)) == 2  # of four acknowledged


def test_the_probe_is_asked_once(uri: str, proxy: Proxy) -> None:
    gallery = Gallery.create(uri, STAMP)
    for seed in range(3):
        gallery.upsert(make_rows(random_vectors(2, seed=seed), prefix=f"{seed}/"))
    assert len(proxy.seen("PUT", "conditional-writes")) == 2
    object_storage.probe.cache_clear()  # as another process
    Gallery.create(uri, STAMP)
    assert len(proxy.seen("PUT", "conditional-writes")) == 3


def test_the_second_opening_reads_what_changed(uri: str, proxy: Proxy, tmp_path: Path) -> None:
    from dataclasses import replace

    stamp = replace(STAMP, dimension=256)
    vectors = random_vectors(4000, dimension=256)
    Gallery.create(uri, stamp).upsert(make_rows(vectors[:3990]))
    whole = 3990 * 256 * 4

    def open_and_ask() -> tuple[Gallery, int]:
        proxy.log.clear()
        gallery = Gallery.open(uri)
        gallery.refresh()
        hits = gallery.search(vectors[:1], 1)[0]
        assert hits[0].row.id == "set/test/0"
        received = proxy.received
        for thread in threading.enumerate():
            if thread.name == "cxr-save":
                thread.join(120)
        return gallery, received

    _, first = open_and_ask()
    assert first > whole
    assert all(one.ranged for one in proxy.seen("GET", ".lance/data/"))  # never a whole file
    uuid_folder = next((tmp_path / "cache" / "cxr-retrieval").iterdir())
    assert (uuid_folder / "mirror" / "mirror.json").is_file()
    _, second = open_and_ask()
    assert second < whole / 10  # manifests, and the hit's metadata
    Gallery.open(uri).upsert(make_rows(vectors[3990:], prefix="new/"))
    third_gallery, third = open_and_ask()
    assert third < whole / 10
    assert len(third_gallery) == 4000
    by_id = dict(zip(third_gallery.searcher.ids, third_gallery.searcher.vectors, strict=True))
    np.testing.assert_array_equal(by_id["new/3"], vectors[3993])
    shutil.rmtree(tmp_path / "cache")
    _, without = open_and_ask()
    assert without > whole


def test_what_is_wrong_is_named(
    uri: str, proxy: Proxy, server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreNotFound, match="no gallery at s3://"):
        Gallery.open(uri)
    with pytest.raises(StoreUnreachable, match="bucket does not exist"):
        Gallery.create("s3://no-such-bucket-here/gallery", STAMP)
    for wrong in ("s3+ddb://bucket/x", "http://host/x", "memory://x", "file:///x", "s3://"):
        with pytest.raises(UsageError):
            Gallery.open(wrong)
    monkeypatch.setattr(object_storage, "TRIES", 0)
    gallery = Gallery.create(uri, STAMP)
    gallery.upsert(make_rows(random_vectors(3)))
    assert len(gallery) == 3
    proxy.plan = lambda method, path: bucket.BUSY
    with pytest.raises(StoreUnreachable, match="keeps failing"):
        gallery.refresh()
    with pytest.raises(StoreUnreachable, match="keeps failing"):
        gallery.upsert(make_rows(random_vectors(3, seed=4)))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreUnreachable, match="does not answer"):
        Gallery.open(uri)


def test_without_the_extra_it_says_what_to_install(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    object_storage.client_with.cache_clear()
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(UsageError, match=r"pip install 'cxr-retrieval\[s3\]'"):
        Gallery.create(uri, STAMP)


def test_what_nobody_tried_is_said(caplog: pytest.LogCaptureFixture) -> None:
    object_storage.say_untried.cache_clear()
    for _ in range(2):
        object_storage.check_location("gs://bucket/gallery")
    assert [record.message for record in caplog.records] == [
        "gs:// is handed to LanceDB as it is; nobody here has tried it"
    ]


def test_endpoint_and_region_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-2")
    assert object_storage.options("s3://b/g")["aws_region"] == "eu-central-2"
    assert "aws_endpoint" not in object_storage.options("s3://b/g")
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:1")
    assert object_storage.options("s3://b/g")["allow_http"] == "true"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://minio.example")
    found = object_storage.options("s3://b/g")
    assert (found["aws_endpoint"], found.get("allow_http")) == ("https://minio.example", None)
    assert json.dumps(object_storage.options("gs://b/g")).count("aws") == 0
