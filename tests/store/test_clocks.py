"""Clocks that are set back, or forward by years, and the hour that comes twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from store import Gallery, UsageError
from store.table import local, maintenance
from tests.store.rows import STAMP, make_rows, random_vectors, small_gallery

FAKETIME = shutil.which("faketime")
fake = pytest.mark.skipif(FAKETIME is None, reason="needs Debian's faketime")
_WORK = """
import sys
from store import Gallery
from tests.store.rows import STAMP, make_rows, random_vectors
gallery = Gallery.create(sys.argv[1], STAMP)
for seed in range(int(sys.argv[2])):
    rows = make_rows(random_vectors(2, seed), prefix=f"{sys.argv[3]}/{seed}/", thumbnail=None)
    assert gallery.upsert(rows).inserted == 2
gallery.optimize()
"""


def at(time: str, place: Path, commits: int, name: str) -> None:
    """Write and tidy in a process whose clock stands at a time."""
    assert FAKETIME is not None
    done = subprocess.run(
        [FAKETIME, time, sys.executable, "-c", _WORK, str(place), str(commits), name],
        cwd=Path(__file__).parent.parent.parent,
        env={**os.environ, "TZ": "Europe/Berlin"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def reader_of(place: Path) -> Gallery:
    """A reader that holds the newest version, so that maintenance asks how old it is."""
    reader = Gallery.open(place)
    reader.refresh()
    return reader


def still_there(reader: Gallery, rows: int, rows_now: int) -> None:
    """The version that a reader holds is whole, and so is the newest."""
    version = reader.table_version
    assert len(reader.search(random_vectors(1), rows)[0]) == rows
    assert {hit.row.source for hit in reader.search(random_vectors(1), rows)[0]} == {""}
    assert reader.table_version == version
    assert reader.refresh() and len(reader) == rows_now
    assert reader.check() == []


@fake
def test_a_clock_that_steps_back(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path, STAMP)
    gallery.upsert(make_rows(random_vectors(4), thumbnail=None))
    reader = reader_of(tmp_path)
    at("2 hours ago", tmp_path, 17, "second")  # enough for tidying by itself, too
    still_there(reader, 4, 38)


@fake
def test_a_version_of_2038(tmp_path: Path) -> None:
    at("2038-02-01 12:00:00 UTC", tmp_path, 2, "first")
    reader = reader_of(tmp_path)
    Gallery.open(tmp_path).upsert(make_rows(random_vectors(1, 9), thumbnail=None))
    Gallery.open(tmp_path).optimize()
    still_there(reader, 4, 5)


@fake
def test_the_hour_that_comes_twice(tmp_path: Path) -> None:
    at("2026-10-25 00:50:00 UTC", tmp_path, 2, "first")  # 02:50 in Berlin, in summer time
    reader = reader_of(tmp_path)
    at("2026-10-25 01:10:00 UTC", tmp_path, 1, "second")  # 02:10 there, twenty minutes later
    still_there(reader, 4, 6)


# -- without faketime ------------------------------------------------------------------------------


class _Versions(SimpleNamespace):
    """A table that only tells its versions, as LanceDB does: local times without a zone."""

    def list_versions(self) -> list[dict[str, Any]]:
        return [
            {"version": number, "timestamp": made.astimezone().replace(tzinfo=None)}
            for number, made in enumerate(self.made, start=1)
        ]


def test_ages_are_never_negative() -> None:
    now = datetime.now(UTC)
    for made in (now + timedelta(hours=2), datetime(2038, 2, 1, tzinfo=UTC)):
        assert maintenance.age_of(made) == timedelta()
    assert maintenance.age_of(now - timedelta(hours=1)) >= timedelta(hours=1)


def test_all_versions_from_the_oldest_in_use_on_are_kept() -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    made = [now - timedelta(days=2), now + timedelta(hours=1), now - timedelta(minutes=5), now]
    assert maintenance.made_at(_Versions(made=made), 2) == now - timedelta(minutes=5)
    assert maintenance.made_at(_Versions(made=made), 0) is None


def test_tidying_that_fails_fails_no_upsert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gallery = small_gallery(tmp_path)
    monkeypatch.setattr(maintenance, "due", lambda _: True)

    def fails(*_: object) -> None:
        raise OverflowError("can't convert negative int to unsigned")

    monkeypatch.setattr(maintenance, "run", fails)
    assert gallery.upsert(make_rows(random_vectors(1, 5), prefix="new/")).inserted == 1
    assert gallery.delete(ids=["new/0"]) == 1
    assert "is tried again later" in caplog.text


def test_a_negative_age_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected an age"):
        small_gallery(tmp_path).optimize(keep=timedelta(seconds=-1))


def test_what_was_just_written_is_forced_to_disk_though_the_clock_was_set_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[str] = []
    monkeypatch.setattr(local, "fsync", lambda path: forced.append(path.name))
    for name, age in (("old", 10_000), ("new", 0)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (10**9 - age, 10**9 - age))
    local.sync(tmp_path)
    assert "new" in forced and "old" not in forced


def test_what_was_written_since_the_last_acknowledged_commit_is_forced_whatever_the_clock_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[str] = []
    local.write_whole(tmp_path / "_cxr_acknowledged.json", b'{"version": 1}')
    monkeypatch.setattr(local, "fsync", lambda path: forced.append(path.name))
    # A day passes on the clock between the rows and the manifest of one commit.
    for name, age in (("old", 200_000), ("_cxr_acknowledged.json", 100_000), ("rows", 90_000)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (10**9 - age, 10**9 - age))
    (tmp_path / "manifest").write_bytes(b"x")
    local.sync(tmp_path)
    assert {"rows", "manifest"} <= set(forced) and "old" not in forced
