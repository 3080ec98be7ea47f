"""What survives: damaged versions, full disks, killed writers, lost caches."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path

import pytest

from store import Gallery, Row, StoreDamaged, StoreNotFound, StoreUnwritable
from store.table import lance as tables
from store.table import local
from tests.store.rows import STAMP, make_rows, random_vectors


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    gallery = Gallery.create(tmp_path / "store", STAMP)
    gallery.upsert(make_rows(random_vectors(20)))
    return gallery


def folder(gallery: Gallery) -> Path:
    return tables.folder(gallery.uri)


def newest_manifest(gallery: Gallery) -> Path:
    return local.manifests(folder(gallery))[0][1]


@pytest.mark.parametrize("damage", [b"", b"\0" * 400, b"LANC", 0.1, 0.5, 0.9])
def test_a_damaged_head_is_quarantined_with_one_loud_line(
    gallery: Gallery, damage: bytes | float, caplog: pytest.LogCaptureFixture
) -> None:
    gallery.upsert(make_rows(random_vectors(5), prefix="late/test/"))
    path = newest_manifest(gallery)
    data = path.read_bytes()
    path.write_bytes(damage if isinstance(damage, bytes) else data[: int(damage * len(data))])
    with caplog.at_level(logging.WARNING):
        again = Gallery.open(gallery.uri)
    assert len(again) == 20
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == 1
    assert "went back to version" in lines[0]
    assert "ingest the last batch again" in lines[0]
    assert path.with_name(path.name + ".corrupt").exists()
    assert len(Gallery.open(gallery.uri)) == 20  # nothing left to mend
    report = again.upsert(make_rows(random_vectors(5), prefix="late/test/"))
    assert report.inserted == 5
    assert again.check() == ["25 thumbnails are not PNG: " + again.check()[0].split(": ", 1)[1]]


def test_several_damaged_versions_are_walked_back(gallery: Gallery) -> None:
    for generation in range(3):
        gallery.upsert(make_rows(random_vectors(2), prefix=f"g{generation}/test/"))
    for _, path in local.manifests(folder(gallery))[:2]:
        path.write_bytes(b"")
    assert len(Gallery.open(gallery.uri)) == 22


@pytest.mark.parametrize("damage", ["empty", "zeros", "half", "no place of the manifest"])
def test_a_damaged_older_version_does_not_keep_the_table_from_being_tidied(
    gallery: Gallery, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    for generation in range(3):
        gallery.upsert(make_rows(random_vectors(2), prefix=f"g{generation}/test/"))
    _, path = local.manifests(folder(gallery))[1]
    data = path.read_bytes()
    damaged = {
        "empty": b"",
        "zeros": bytes(400),
        "half": data[: len(data) // 2],
        "no place of the manifest": data[:-16] + bytes(8) + data[-8:],
    }
    path.write_bytes(damaged[damage])
    again = Gallery.open(gallery.uri)
    assert len(again) == 26  # the newest is whole
    with caplog.at_level(logging.WARNING):
        again.optimize(keep=timedelta(0))
    assert [record.getMessage() for record in caplog.records if path.name in record.getMessage()]
    assert path.with_name(path.name + ".corrupt").exists()
    assert len(Gallery.open(gallery.uri)) == 26
    assert len(local.manifests(folder(gallery))) == 1  # older ones were forgotten


def test_when_nothing_can_be_read_every_name_stays(gallery: Gallery) -> None:
    before = sorted(folder(gallery).rglob("*"))
    for _, path in local.manifests(folder(gallery)):
        path.write_bytes(b"")
    with pytest.raises(StoreDamaged, match="cannot be opened"):
        Gallery.open(gallery.uri)
    assert sorted(folder(gallery).rglob("*")) == before


def test_looking_for_a_store_makes_none(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        Gallery.open(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreNotFound):
        Gallery.open(tmp_path / "empty")
    assert list(tmp_path.rglob("*")) == [tmp_path / "empty", tmp_path / "home"]


def test_acknowledged_rows_that_went_bad_are_not_given_up(gallery: Gallery) -> None:
    gallery.upsert(make_rows(random_vectors(5, seed=1), prefix="late/test/"))
    newest = max(folder(gallery).glob("data/*.lance"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(b"\0" * newest.stat().st_size)
    with pytest.raises(StoreDamaged):
        len(Gallery.open(gallery.uri))
    assert not list(folder(gallery).rglob("*.corrupt"))


def test_what_a_dead_writer_left_half_is_given_up(gallery: Gallery) -> None:
    mark = folder(gallery) / "_cxr_acknowledged.json"
    before = mark.read_bytes()
    gallery.upsert(make_rows(random_vectors(5, seed=1), prefix="late/test/"))
    mark.write_bytes(before)  # as if the power had gone before the acknowledgement
    newest = max(folder(gallery).glob("data/*.lance"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(b"\0" * newest.stat().st_size)
    assert len(Gallery.open(gallery.uri)) == 20
    assert local.acknowledged(folder(gallery)) == Gallery.open(gallery.uri).table_version


def test_a_number_used_again_after_a_quarantine_is_another_version(gallery: Gallery) -> None:
    reader = Gallery.open(gallery.uri)
    gallery.upsert(make_rows(random_vectors(5, seed=1), prefix="lost/test/"))
    reader.refresh()
    assert len(reader) == 25
    version = reader.table_version
    newest_manifest(gallery).write_bytes(b"")
    writer = Gallery.open(gallery.uri)
    writer.upsert(make_rows(random_vectors(5, seed=2), prefix="kept/test/"))
    assert reader.refresh()
    assert reader.table_version == version
    assert next(id_ for id_ in reader.ids() if not id_.startswith("set/")) == "kept/test/0"
    assert reader.check()[0].startswith("25 thumbnails")  # and the mirror equals the table


def test_every_file_is_forced_to_disk_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: set[Path] = set()
    fsync = local.fsync
    monkeypatch.setattr(local, "fsync", lambda path: (forced.add(path), fsync(path)))
    gallery = Gallery.create(tmp_path / "store", STAMP)
    for generation in range(3):
        gallery.upsert(make_rows(random_vectors(20, seed=generation)))
        files = {path for path in folder(gallery).rglob("*") if path.is_file()}
        assert files - forced - {folder(gallery) / "_cxr_acknowledged.json"} == set()
        assert {path.parent for path in files} <= forced


def test_new_folders_last_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: set[Path] = set()
    fsync = local.fsync
    monkeypatch.setattr(local, "fsync", lambda path: (forced.add(path), fsync(path)))
    place = tmp_path / "new" / "store"
    gallery = Gallery.create(place, STAMP)
    assert {tmp_path, tmp_path / "new"} <= forced
    for seed in range(2):
        gallery.upsert(make_rows(random_vectors(3, seed=seed), batch=f"batch {seed}"))
    assert place in forced
    (kept,) = (place / "_cxr" / "replaced").glob("*/*.arrow")  # for undo
    above = {folder for folder in kept.parents if folder.is_relative_to(place)}
    assert above <= forced


def big() -> list[Row]:
    """A batch of 4 MB, most of it pictures."""
    return make_rows(random_vectors(400, seed=3), prefix="big/test/", thumbnail=bytes(10_000))


WRITER = textwrap.dedent(
    """
    import sys
    from store import Gallery, StoreUnwritable
    from tests.store.test_durable import big
    gallery = Gallery.open(sys.argv[1])
    try:
        gallery.upsert(big())
    except StoreUnwritable as error:
        print(error)
        sys.exit(7)
    """
)


def after_a_fault(gallery: Gallery) -> None:
    """The store reads as before, and the same batch goes in once the disk is well."""
    again = Gallery.open(gallery.uri)
    assert len(again) == 20
    assert len(again.search(random_vectors(1), 5)[0]) == 5
    assert again.upsert(big()).inserted == 400
    again.refresh()
    assert len(again) == 420


def test_a_file_size_limit(gallery: Gallery) -> None:
    limit = (200_000, 200_000)
    done = subprocess.run(
        [sys.executable, "-c", WRITER, gallery.uri],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert done.returncode == 7, done.stderr
    assert "a file would be larger than this process may write" in done.stdout
    after_a_fault(gallery)


def test_a_full_disk(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        gallery = Gallery.create(place / "store", STAMP)
        gallery.upsert(make_rows(random_vectors(20)))
        with pytest.raises(StoreUnwritable, match="no space is left on the device"):
            gallery.upsert(big())
        assert len(Gallery.open(gallery.uri)) == 20
        subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
        after_a_fault(gallery)
        del gallery
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("at", ["first", "last"])
def test_a_device_error_while_forcing_to_disk(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    rows = make_rows(random_vectors(6, seed=4), prefix="more/test/")
    fsync = os.fsync
    calls = 0

    def broken(handle: int) -> None:
        nonlocal calls
        calls += 1
        if at == "first" or calls > 4:
            raise OSError(errno.EIO, "Input/output error")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(StoreUnwritable, match="input/output error; this batch is not"):
            gallery.upsert(rows)
    again = Gallery.open(gallery.uri)
    assert len(again) in (20, 26)
    again.upsert(rows)
    again.refresh()
    assert len(again) == 26
    assert local.acknowledged(folder(gallery)) == again.table_version


def test_a_folder_that_may_not_be_written(gallery: Gallery) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (folder(gallery) / "data").chmod(0o500)
    with pytest.raises(StoreUnwritable, match="permission denied"):
        gallery.upsert(make_rows(random_vectors(2), prefix="x/test/"))


def test_a_killed_writer_frees_the_lock(gallery: Gallery) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        from store.table import local
        with local.writer(sys.argv[1]):
            print("held", flush=True)
            time.sleep(60)
        """
    )
    holder = subprocess.Popen([sys.executable, "-c", script, gallery.uri], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with local.writer(gallery.uri, wait=False) as held:
        assert not held
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert gallery.upsert(make_rows(random_vectors(1), prefix="x/test/")).inserted == 1


def test_threads_and_processes_hold_the_lock_one_at_a_time(tmp_path: Path) -> None:
    lock, count = tmp_path / "new" / "lock", tmp_path / "count"
    count.write_text("0")
    script = textwrap.dedent(
        """
        import sys, threading, time
        from pathlib import Path
        from store.table import local

        lock, count = Path(sys.argv[1]), Path(sys.argv[2])

        def add():
            for _ in range(15):
                with local.locked(lock) as held:
                    assert held
                    number = int(count.read_text())
                    time.sleep(0.001)
                    count.write_text(str(number + 1))

        threads = [threading.Thread(target=add) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        """
    )
    both = [subprocess.Popen([sys.executable, "-c", script, lock, count]) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    assert count.read_text() == "90"
    assert lock.is_file()  # flock of the shell locks this very file


def test_a_lock_that_this_thread_holds_is_not_given_twice(tmp_path: Path) -> None:
    with (
        local.locked(tmp_path / "lock") as held,
        local.locked(tmp_path / "lock", wait=False) as again,
    ):
        assert held and not again
    with local.locked(tmp_path / "lock", wait=False) as held:
        assert held


def test_a_lock_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with local.locked(tmp_path / "file" / "lock", wait=False) as held:
        assert not held
    with (
        pytest.raises(OSError, match=r"[Nn]ot a directory|exists"),
        local.locked(tmp_path / "file" / "lock"),
    ):
        pass


def test_a_file_system_without_locks_is_written_all_the_same(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def without(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without)
    assert gallery.upsert(make_rows(random_vectors(1), prefix="x/test/")).inserted == 1
    with local.writer(gallery.uri, wait=False) as held:
        assert held
