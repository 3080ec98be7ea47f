"""The saved mirror: the same answers, never believed where damaged, and any number of savers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import pytest

from store import Gallery
from store.mirror import disk_cache
from store.table import local
from tests.store.rows import STAMP, make_rows, mirror_of, random_vectors, table_of


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    gallery = Gallery.create(tmp_path / "store", STAMP)
    gallery.upsert(make_rows(random_vectors(20)))
    return gallery


@pytest.fixture
def kept(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> Gallery:
    monkeypatch.setattr(disk_cache, "WORTH_SAVING", 0)
    gallery.refresh()
    live = table_of(gallery)
    for _ in range(500):  # until the thread that saves is done
        if disk_cache.load(gallery.uri, live, STAMP.dimension) is not None:
            break
        time.sleep(0.02)
    assert list(disk_cache.folder_of(gallery.uri).glob("*.vectors"))
    return gallery


def answers(gallery: Gallery) -> list[tuple[str, float]]:
    return [
        (hit.row.id, hit.score)
        for hits in gallery.search(random_vectors(3, seed=8), 7)
        for hit in hits
    ]


def test_a_saved_mirror_answers_the_same(kept: Gallery) -> None:
    again = Gallery.open(kept.uri)
    assert answers(again) == answers(kept)
    now = mirror_of(again)
    assert type(now.index).__name__ == "IndexFlatIP"
    assert not now.index.codes.is_owned and not now.vectors.flags.writeable  # mapped, not read
    [path] = disk_cache.folder_of(kept.uri).glob("*.vectors")
    assert faiss.read_index(str(path)).ntotal == len(again)  # a file of FAISS's own
    again.upsert(make_rows(random_vectors(4, seed=5), prefix="new/test/"))
    third = Gallery.open(kept.uri)  # an older saved mirror, followed from there
    assert len(third) == 24
    assert third.check()[0].startswith("24 thumbnails")


@pytest.mark.parametrize("name", ["*.vectors", "*.arrow", "mirror.json"])
@pytest.mark.parametrize("how", ["gone", "empty", "cut", "flipped", "longer"])
def test_a_damaged_saved_mirror_is_never_believed(kept: Gallery, name: str, how: str) -> None:
    expected = answers(kept)
    path = next(disk_cache.folder_of(kept.uri).glob(name))
    data = path.read_bytes()
    path.unlink()
    if how != "gone":
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 64]) + data[middle + 1 :]
        damaged = {"empty": b"", "cut": data[:middle], "flipped": flipped, "longer": data + b"x"}
        path.write_bytes(damaged[how])
    again = Gallery.open(kept.uri)
    again.refresh()
    if (name, how) == ("*.vectors", "flipped"):
        for _ in range(200):  # found by the digest, behind the first answers
            if mirror_of(again).vectors.flags.writeable:  # no longer the mapped file
                break
            time.sleep(0.02)
    assert answers(again) == expected


def test_a_saved_mirror_of_another_table_is_not_taken(kept: Gallery, tmp_path: Path) -> None:
    other = Gallery.create(tmp_path / "other", STAMP)
    other.upsert(make_rows(random_vectors(20, seed=9)))
    (tmp_path / "other" / "_cxr" / "mirror").mkdir(parents=True)
    for path in disk_cache.folder_of(kept.uri).iterdir():
        (disk_cache.folder_of(other.uri) / path.name).write_bytes(path.read_bytes())
    assert disk_cache.load(other.uri, table_of(other), STAMP.dimension) is None


def at_once(work: Callable[[int], object], threads: int = 4) -> None:
    """Do it on several threads from one moment on; raises what one of them raised."""
    failures: list[BaseException] = []
    start = threading.Barrier(threads)

    def run(number: int) -> None:
        start.wait()
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    pool = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for one in pool:
        one.start()
    for one in pool:
        one.join()
    if failures:
        raise failures[0]


def test_threads_that_replace_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    texts = [str(number).encode() * 1000 * (number + 1) for number in range(4)]

    def replace(number: int) -> None:
        for _ in range(50):
            local.write_whole(path, texts[number])
            assert path.read_bytes() in texts

    at_once(replace)
    assert list(tmp_path.glob("status*")) == [path]  # nothing temporary is left


def test_threads_that_save_one_mirror_at_once(kept: Gallery) -> None:
    expected, snapshot = answers(kept), mirror_of(kept)
    dead = disk_cache.folder_of(kept.uri) / "mirror.json.0.tmp"
    dead.write_bytes(b"what a killed saver left")

    def save(_: int) -> None:
        for _ in range(20):
            disk_cache.save(kept.uri, snapshot)

    at_once(save)
    assert not disk_cache.damaged(kept.uri)
    found = disk_cache.load(kept.uri, table_of(kept), STAMP.dimension)
    assert found is not None
    assert (found.vectors == snapshot.vectors).all()
    assert sorted(path.suffix for path in disk_cache.folder_of(kept.uri).iterdir()) == [
        "",  # the lock
        ".arrow",
        ".json",
        ".vectors",
    ]
    assert answers(Gallery.open(kept.uri)) == expected


def test_a_saver_whose_files_were_cleared_away_does_not_fail(
    kept: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a file system without locks, where another saver takes them for leftovers.
    whole = local.write_whole

    def cleared(path: Path, data: bytes) -> None:
        for one in path.parent.glob("*.vectors"):
            one.unlink()
        raise FileNotFoundError(str(path))

    monkeypatch.setattr(local, "write_whole", cleared)
    disk_cache.save(kept.uri, mirror_of(kept))
    monkeypatch.setattr(local, "write_whole", whole)
    assert disk_cache.load(kept.uri, table_of(kept), STAMP.dimension) is None  # rebuilt, never half
    disk_cache.save(kept.uri, mirror_of(kept))
    assert disk_cache.load(kept.uri, table_of(kept), STAMP.dimension) is not None


def test_a_mirror_of_an_earlier_build_is_built_anew_without_a_word(
    kept: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    expected, folder = answers(kept), disk_cache.folder_of(kept.uri)
    told = json.loads((folder / "mirror.json").read_bytes())
    [path] = folder.glob("*.vectors")
    header = bytes(64)  # its vectors began at byte 64, behind a header that was not read by name
    path.write_bytes(header + mirror_of(kept).vectors.tobytes())
    told |= {"format": 1, "vectors": {**told["vectors"], "bytes": path.stat().st_size}}
    (folder / "mirror.json").write_text(json.dumps(told))
    assert answers(Gallery.open(kept.uri)) == expected
    assert not caplog.records
