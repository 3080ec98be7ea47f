"""Backups: one file, consistent while others write, whole or not at all; buckets too."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import CxrError, Gallery, StoreDamaged, UsageError, back_up, look_into, restore
from store.errors import StoreUnwritable
from store.table import lance
from tests.store import bucket, mixed
from tests.store.bucket import Proxy, fresh_proxy, shared_server  # noqa: F401 - fixtures
from tests.store.rows import STAMP, make_rows, random_vectors

ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG\r\n\x1a\n"


def filled(uri: Path | str) -> Gallery:
    """A gallery that went through a little: merged files, a deletion, a batch to undo, an index."""
    gallery = Gallery.create(uri, STAMP)
    for batch in ("one", "two", "three"):
        rows = make_rows(random_vectors(40, len(batch)), batch=batch, thumbnail=PNG + bytes(9000))
        gallery.upsert([replace(row, labels=(batch,)) for row in rows])
    gallery.optimize()
    gallery.delete(ids=["set/test/3"])
    gallery.upsert(make_rows(random_vectors(4, 9), batch="late", view="AP", thumbnail=PNG))
    return gallery


def held(gallery: Gallery) -> dict[str, Any]:
    ids = gallery.ids()
    rows, pictures = gallery.rows(ids), gallery.thumbnails(ids)
    vectors = gallery.vectors(ids)
    return {
        id_: (str(rows[id_]), pictures[id_], vector.tobytes())
        for id_, vector in zip(ids, vectors, strict=True)
    }


def answers(gallery: Gallery) -> list[tuple[str, float]]:
    return [(hit.row.id, hit.score) for hit in gallery.search_by_id("set/test/0", 10)]


def saved(uri: Path | str, file: Path, **options: Any) -> Path:
    state = options.pop("state", Path(str(uri), "ingest"))
    back_up(uri, file, state=state, **options)
    return file


def brought_back(file: Path, uri: Path | str, **options: Any) -> Gallery:
    state = options.pop("state", Path(str(uri), "ingest"))
    restore(file, uri, state=state, **options)
    return Gallery.open(uri)


def left(folder: Path) -> list[str]:
    """All that is below a folder, but for the home that each test has."""
    names = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(name for name in names if name.split("/")[0] != "home")


def top(folder: Path) -> list[str]:
    return [name for name in left(folder) if "/" not in name]


# -- there and back --------------------------------------------------------------------------------


def test_a_restored_gallery_is_the_one_that_was_saved(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "store")
    beside = lance.connect(gallery.uri).create_table("beside", [{"id": "a", "n": 1}])
    beside.add([{"id": "b", "n": 2}])
    notes = tmp_path / "store" / "ingest" / "batches"
    notes.mkdir(parents=True)
    (notes / "late.json").write_text("{}")
    (notes.parent / "inbox").mkdir()
    (notes.parent / "inbox" / "film.png").write_bytes(PNG)
    seen: list[tuple[int, int]] = []
    done = back_up(
        gallery.uri,
        tmp_path / "films.zip",
        state=tmp_path / "store" / "ingest",
        without=["inbox"],
        progress=lambda now, total: seen.append((now, total)),
    )
    assert (done.rows, done.version) == (len(gallery), gallery.table.version)
    assert done.tables == ("gallery.lance", "beside.lance")
    assert seen[-1] == (done.size, done.size)
    before = held(gallery)
    gallery.delete(ids=["set/test/0"])

    assert look_into(tmp_path / "films.zip").rows == done.rows
    found = brought_back(tmp_path / "films.zip", tmp_path / "elsewhere" / "again")
    assert held(found) == before
    assert found.table.version == done.version
    assert found.check() == []
    place = tmp_path / "elsewhere"
    assert [path.name for path in place.iterdir()] == ["again"]
    assert (place / "again/ingest/batches/late.json").read_text() == "{}"
    assert not (place / "again/ingest/inbox").exists()
    aside = lance.connect(found.uri).open_table("beside").to_arrow()
    assert aside.to_pylist() == [{"id": "a", "n": 1}, {"id": "b", "n": 2}]
    assert found.undo("late").restored == 3
    assert found.upsert(make_rows(random_vectors(3, 7), prefix="new/", thumbnail=PNG)).inserted == 3
    found.optimize()
    assert found.check() == []


def test_answers_are_the_same_and_superseded_files_stay_behind(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "store")
    file = saved(gallery.uri, tmp_path / "films.zip")
    found = brought_back(file, tmp_path / "again")
    assert answers(found) == answers(gallery)
    assert lance.size(found.uri, found.table)[1] < lance.size(gallery.uri, gallery.table)[1]


@pytest.mark.usefixtures("few_ask")
def test_indexes_come_along(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "store", STAMP)
    gallery.upsert(make_rows(random_vectors(300), thumbnail=None))
    gallery.build_index()
    gallery.update_metadata([replace(make_rows(random_vectors(1))[0], view="PA")])
    file = saved(gallery.uri, tmp_path / "films.zip")
    brought_back(file, tmp_path / "again")
    found = [Gallery.open(uri, index="lance") for uri in (gallery.uri, tmp_path / "again")]
    assert answers(found[0]) == answers(found[1])
    assert found[0].describe()["approximate"] == found[1].describe()["approximate"]


def test_while_it_is_written(tmp_path: Path) -> None:
    Gallery.create(tmp_path / "store", STAMP)
    with mixed.at_work(tmp_path / "store", "delete-0") as steps:
        for number in range(3):
            done = steps()
            file = saved(tmp_path / "store", tmp_path / f"{number}.zip")
            found = brought_back(file, tmp_path / f"again{number}")
            assert found.check() == []
            assert mixed.held(found) in mixed.states("delete-0", done + 200)[done:]


# -- nothing is written over, nothing half is left -------------------------------------------------


def test_nothing_is_written_over(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "store")
    file = saved(gallery.uri, tmp_path / "films.zip")
    before, bytes_ = left(tmp_path), file.read_bytes()
    with pytest.raises(UsageError, match=r"something at .*films.zip already"):
        saved(gallery.uri, file)
    with pytest.raises(UsageError, match=r"something at .*store already"):
        brought_back(file, gallery.uri)
    with pytest.raises(UsageError, match="no folder"):
        saved(gallery.uri, tmp_path / "nowhere" / "films.zip")
    with pytest.raises(UsageError, match="cannot read the backup"):
        brought_back(tmp_path / "none.zip", tmp_path / "again")
    assert (left(tmp_path), file.read_bytes()) == (before, bytes_)


@cache
def small() -> bytes:
    """A backup of three films."""
    with TemporaryDirectory() as folder:
        gallery = Gallery.create(Path(folder, "store"), STAMP)
        gallery.upsert(make_rows(random_vectors(3), batch="one", thumbnail=PNG))
        return saved(gallery.uri, Path(folder, "films.zip")).read_bytes()


@cache
def small_content() -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        file = Path(folder, "films.zip")
        file.write_bytes(small())
        return held(brought_back(file, Path(folder, "again")))


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_backup_is_one_line_and_leaves_nothing(data: st.DataObject) -> None:
    whole = small()
    at = data.draw(st.integers(0, len(whole) - 1))
    length = data.draw(st.sampled_from([1, 1, 1, 40, len(whole)]))
    kind = data.draw(st.sampled_from(["flip", "cut", "zeros", "twice"]))
    piece = whole[at : at + length]
    new = {"flip": bytes(b ^ (1 << at % 8) for b in piece), "zeros": bytes(len(piece))}
    damaged = whole[:at] + new.get(kind, piece * 2 * (kind == "twice")) + whole[at + length :]
    with TemporaryDirectory() as folder:
        file, place = Path(folder, "films.zip"), Path(folder, "again")
        file.write_bytes(damaged)
        try:
            found = brought_back(file, place)
        except CxrError as error:
            assert isinstance(error, StoreDamaged)
            assert str(file) in str(error) and "\n" not in str(error)
            assert left(Path(folder)) == ["films.zip"]
        else:  # a date in the zip, for one, says nothing about a gallery
            assert held(found) == small_content()
            assert found.check() == []


def tampered(change: Callable[[dict[str, bytes]], object]) -> bytes:
    """The small backup with other members, whose digests are right."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "films.zip")
        file.write_bytes(small())
        with zipfile.ZipFile(file) as old:
            members = {name: old.read(name) for name in old.namelist()}
        about = json.loads(members.pop("backup.json"))
        change(members)
        about["members"] = [
            {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in members.items()
        ]
        with zipfile.ZipFile(file, "w") as new:
            for name, data in {**members, "backup.json": json.dumps(about).encode()}.items():
                new.writestr(name, data)
        return file.read_bytes()


def _link() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder, "films.zip")
        file.write_bytes(small())
        with zipfile.ZipFile(file, "a") as archive:
            info = zipfile.ZipInfo("state/link")
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc")
        return file.read_bytes()


def _twice() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder, "films.zip")
        file.write_bytes(small())
        with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("backup.json", b"{}")
        return file.read_bytes()


def _drop_manifest(members: dict[str, bytes]) -> None:
    members.pop(next(name for name in members if "_versions" in name))


def _drop_data(members: dict[str, bytes]) -> None:
    members.pop(next(name for name in members if "/data/" in name))


def _other_manifest(members: dict[str, bytes]) -> None:
    members[next(name for name in members if "_versions" in name)] = b"\x00" * 400


@pytest.mark.parametrize(
    "made",
    [
        *(
            lambda name=name: tampered(lambda members: members.update({name: b"x"}))
            for name in (
                "../out",
                "state/../../out",
                "/tmp/out",
                "state//out",
                "state/./out",
                "state\\..\\out",
                "C:/out",
                "state/nul\x00",
                "state/CON.",
                "gallery.lance/_versions/../../../out",
                "other/file",
                "_cxr/lock",
                "gallery.lance/_versions/12.manifest",
                "new.lance/_versions/1.manifest",
            )
        ),
        lambda: tampered(_drop_manifest),
        lambda: tampered(_drop_data),
        lambda: tampered(_other_manifest),
        _link,
        _twice,
        lambda: b"",
        lambda: b"PK\x05\x06" + bytes(18),
        lambda: small()[:-30],
    ],
)
def test_a_tampered_backup_is_refused(tmp_path: Path, made: Callable[[], bytes]) -> None:
    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    (home / "films.zip").write_bytes(made())
    with pytest.raises(StoreDamaged, match=r"films\.zip"):
        brought_back(home / "films.zip", home / "again")
    assert left(tmp_path) == ["a", "a/b", "a/b/films.zip"]


def test_a_backup_of_a_later_program_says_so(tmp_path: Path) -> None:
    file = tmp_path / "films.zip"
    with zipfile.ZipFile(file, "w") as new:
        new.writestr("backup.json", json.dumps({"format": "cxr-retrieval backup", "version": 99}))
    with pytest.raises(UsageError, match="later version"):
        look_into(file)


_KILLED = """
import os, sys
from pathlib import Path
from store import back_up, restore
what, uri, file, at = sys.argv[1:]
seen = 0
def told(done, total):
    global seen
    seen += 1
    if seen == int(at):
        os._exit(9)
state = Path(uri, "ingest")
if what == "back_up":
    back_up(uri, Path(file), state=state, progress=told)
else:
    restore(Path(file), uri, state=state, progress=told)
"""


@pytest.mark.parametrize("at", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_killed_half_way_leaves_nothing_half(tmp_path: Path, at: int) -> None:
    gallery = filled(tmp_path / "store")
    file = tmp_path / "films.zip"
    command = [sys.executable, "-c", _KILLED]
    for what, uri in (("back_up", gallery.uri), ("restore", tmp_path / "again")):
        done = subprocess.run([*command, what, str(uri), str(file), str(at)], cwd=ROOT)
        assert done.returncode == 9
        if what == "back_up":
            assert not file.exists()
            saved(uri, file)
        else:
            assert not (tmp_path / "again").exists()
            assert held(brought_back(file, uri)) == held(gallery)
    assert top(tmp_path) == ["again", "films.zip", "store"]


def _full(done: int, total: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "store")
    with pytest.raises(StoreUnwritable, match="no space is left"):
        saved(gallery.uri, tmp_path / "films.zip", progress=_full)
    file = saved(gallery.uri, tmp_path / "films.zip")
    with pytest.raises(StoreUnwritable, match="no space is left"):
        brought_back(file, tmp_path / "again", progress=_full)
    assert top(tmp_path) == ["films.zip", "store"]


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "store")
    file = saved(gallery.uri, tmp_path / "films.zip")
    tried: list[str] = []

    def meanwhile(done: int, total: int) -> None:
        if not tried:
            with pytest.raises(UsageError, match="another process") as refused:
                brought_back(file, tmp_path / "again")
            tried.append(str(refused.value))

    found = brought_back(file, tmp_path / "again", progress=meanwhile)
    assert held(found) == held(gallery)
    assert tried


def test_a_lost_file_of_the_table_is_named(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "store")
    lost = next((tmp_path / "store" / "gallery.lance" / "data").glob("*.lance"))
    for path in (tmp_path / "store" / "gallery.lance" / "data").glob("*.lance"):
        path.rename(path.with_suffix(".gone"))
    with pytest.raises(StoreDamaged, match=r"not there|cannot be opened"):
        saved(gallery.uri, tmp_path / "films.zip")
    assert lost.suffix == ".lance"
    assert top(tmp_path) == ["store"]


# -- buckets ---------------------------------------------------------------------------------------


@pytest.fixture
def buckets(server: int, proxy: Proxy) -> Iterator[tuple[str, str]]:
    yield bucket.make_bucket(server), bucket.make_bucket(server)


def test_from_a_bucket_and_into_one(tmp_path: Path, buckets: tuple[str, str]) -> None:
    here, there = buckets
    gallery = filled(here)
    notes = tmp_path / "notes"
    (notes / "batches").mkdir(parents=True)
    (notes / "batches" / "late.json").write_text("{}")
    file = saved(here, tmp_path / "films.zip", state=notes)
    local = brought_back(file, tmp_path / "again")
    assert held(local) == held(gallery)
    assert local.check() == []
    local.upsert(make_rows(random_vectors(2, 5), prefix="more/", thumbnail=PNG))
    local.refresh()
    second = saved(local.uri, tmp_path / "second.zip")
    found = brought_back(second, there, state=tmp_path / "notes-there")
    assert held(found) == held(local)
    assert found.check() == []
    assert (tmp_path / "notes-there" / "batches" / "late.json").exists()
    with pytest.raises(UsageError, match="something at"):
        brought_back(file, there, state=tmp_path / "notes-there")
    assert held(Gallery.open(there)) == held(local)


def test_a_bucket_is_there_whole_or_not_at_all(
    tmp_path: Path, buckets: tuple[str, str], proxy: Proxy
) -> None:
    _, there = buckets
    gallery = filled(tmp_path / "store")
    file = saved(gallery.uri, tmp_path / "films.zip")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bad.zip").write_bytes(data)
    with pytest.raises(StoreDamaged):
        brought_back(tmp_path / "bad.zip", there, state=tmp_path / "notes")
    assert proxy.seen("PUT", "gallery.lance") == []

    def stopped(done: int, total: int) -> None:
        if done > 0.6 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        brought_back(file, there, state=tmp_path / "notes", progress=stopped)
    with pytest.raises(CxrError, match="no gallery at"):
        Gallery.open(there)
    assert held(brought_back(file, there, state=tmp_path / "notes")) == held(gallery)
