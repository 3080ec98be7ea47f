"""Files on their way in: killed, interrupted, twice at once. What remains is always the whole.

``CXR_KILLS`` and ``CXR_KILL_FILES`` make the kill test as long as one likes.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest import ingest, open_source, read_status
from ingest.job.journal import entries, rejections_file, state_folder, write_json
from store import Gallery
from tests.clusters import eventually
from tests.ingest.fakes import FakeEncoder
from tests.ingest.films import png, write
from tests.ingest.test_job import contents

ROOT = Path(__file__).parents[2]
BATCH = 25
CHILD = """
import os, sys, time
from ingest import ingest, open_source
from store import Gallery
from tests.ingest.fakes import FakeEncoder

root, uri, log, batch = sys.argv[1:]
note = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

class Noting(FakeEncoder):
    def encode_images(self, images):
        os.write(note, b"." * len(images))
        time.sleep(0.02)
        return super().encode_images(images)

gallery = Gallery.create(uri, FakeEncoder().stamp)
print("ready", flush=True)
ingest(open_source("folder", root), gallery, Noting(), batch_size=int(batch))
print("finished", flush=True)
"""


def start(root: Path, uri: Path, log: Path) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", CHILD, str(root), str(uri), str(log), str(BATCH)]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def folder(root: Path, files: int) -> Path:
    data = [png(number, 8) for number in range(files)]
    for number, content in enumerate(data):
        write(root, f"{number % 7}/{number:05d}.png", content)
    return root


def test_killed_at_random_points(tmp_path: Path, record_property: Any) -> None:
    kills, files = (int(os.environ.get(f"CXR_KILL{x}", y)) for x, y in (("S", 2), ("_FILES", 150)))
    root, uri, log = folder(tmp_path / "films", files), tmp_path / "store", tmp_path / "log"
    chance = random.Random(4)
    killed = runs = 0
    while killed < kills and runs < 4 * kills:
        runs += 1
        child = start(root, uri, log)
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.02, 0.25))
        child.send_signal(signal.SIGKILL)
        child.wait()
        killed += "finished" not in child.stdout.read()
        child.stdout.close()
    last = ingest(open_source("folder", root), Gallery.open(uri), FakeEncoder(), batch_size=BATCH)
    undisturbed = Gallery.create(tmp_path / "other", FakeEncoder().stamp)
    ingest(open_source("folder", root), undisturbed, FakeEncoder())
    assert contents(uri) == contents(tmp_path / "other")
    assert Gallery.open(uri).check() == []
    encoded = log.stat().st_size + last.encoded
    record_property("kills", killed)
    record_property("encoded_twice", encoded - files)
    sys.stdout.write(f"{killed} kills, {files} files, {encoded - files} encoded twice\n")
    assert killed >= 1
    assert files <= encoded <= files + killed * BATCH


def test_two_processes_at_once(tmp_path: Path) -> None:
    root, uri = folder(tmp_path / "films", 100), tmp_path / "store"
    both = [start(root, uri, tmp_path / f"log{number}") for number in range(2)]
    for child in both:
        assert child.wait() == 0
        assert child.stdout is not None
        child.stdout.close()
    gallery = Gallery.open(uri)
    assert len(gallery) == len(gallery.ids()) == len(set(gallery.ids())) == 100
    assert gallery.check() == []


def test_stop_finishes_the_batch_in_hand(tmp_path: Path) -> None:
    root = folder(tmp_path / "films", 100)
    gallery = Gallery.create(tmp_path / "store", FakeEncoder().stamp)
    stop = threading.Event()

    class Stopping(FakeEncoder):
        def encode_images(self, images: Any) -> Any:
            stop.set()
            return super().encode_images(images)

    source = open_source("folder", root)
    report = ingest(source, gallery, Stopping(), batch_size=20, stop=stop)
    assert (report.stopped, report.inserted, report.encoded) == ("interrupted", 20, 20)
    status = read_status(gallery.uri)
    assert status is not None and status["state"] == "stopped"
    rest = ingest(open_source("folder", root), gallery, FakeEncoder(), batch_size=20)
    assert (rest.inserted, rest.unchanged, rest.stopped) == (80, 20, None)


def test_ctrl_c_once_and_twice(capsys: pytest.CaptureFixture[str]) -> None:
    from ui.commands.output import warn
    from ui.process import patient

    before = signal.getsignal(signal.SIGINT)
    with patient(warn) as stop:
        assert not stop.is_set()
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        assert "finishing the batch in hand; once more" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_status_and_journal(tmp_path: Path) -> None:
    root = folder(tmp_path / "films", 30)
    write(root, "=bad.png", b"no image")
    gallery = Gallery.create(tmp_path / "store", FakeEncoder().stamp)
    seen: list[dict[str, Any]] = []
    ingest(
        open_source("folder", root),
        gallery,
        FakeEncoder(),
        batch="monday",
        batch_size=10,
        progress=lambda _: seen.append(read_status(gallery.uri) or {}),
    )
    assert {one["state"] for one in seen} == {"running"}
    status = read_status(gallery.uri)
    assert status is not None
    assert (status["state"], status["done"], status["total"]) == ("finished", 31, 31)
    assert status["refused"] == {"not_an_image": 1} and status["pid"] == os.getpid()
    (entry,) = entries(gallery.uri)
    assert (entry["batch"], entry["inserted"], entry["refused"]) == (
        *("monday", 30),
        {"not_an_image": 1},
    )
    assert entry["root"] == str(root.resolve()) and entry["state"] == "finished"
    path = rejections_file(gallery.uri, "monday")
    assert path is not None
    heading, line = path.read_text().splitlines()
    assert heading == "source,reason,detail" and ",not_an_image," in line
    assert rejections_file(gallery.uri, "tuesday") is None


def test_a_failed_job_says_so(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "store", FakeEncoder().stamp)
    with pytest.raises(RuntimeError, match="the encoder broke"):
        ingest(
            open_source("folder", folder(tmp_path / "films", 5)), gallery, FakeEncoder(fail_at=1)
        )
    status = read_status(gallery.uri)
    assert status is not None and status["state"] == "failed"
    assert entries(gallery.uri)[0]["state"] == "failed: RuntimeError"


def test_the_notes_of_a_full_disk_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ingest.job.journal.write_json", full)
    gallery = Gallery.create(tmp_path / "store", FakeEncoder().stamp)
    report = ingest(open_source("folder", folder(tmp_path / "f", 5)), gallery, FakeEncoder())
    assert report.inserted == 5 and read_status(gallery.uri) is None


def test_a_remote_gallery_keeps_its_notes_at_home(tmp_path: Path) -> None:
    place = state_folder("s3://bucket/gallery")
    assert place.is_relative_to(tmp_path / "home")
    write_json(place / "status.json", {"state": "running"})
    assert read_status("s3://bucket/gallery") == {"state": "running"}
    (place / "status.json").write_text("{half")
    assert read_status("s3://bucket/gallery") is None


def test_decoding_runs_ahead_of_a_slow_encoder(tmp_path: Path) -> None:
    """While one batch is encoded, the next one's files are decoded."""
    root = folder(tmp_path / "films", 60)
    gallery = Gallery.create(tmp_path / "store", FakeEncoder().stamp)
    opened: list[str] = []
    ahead: list[int] = []
    source = open_source("folder", root)

    def watched() -> Any:
        from dataclasses import replace

        def read(data: bytes, name: str) -> Any:
            opened.append(name)
            return np.frombuffer(data[:64], np.uint8).reshape(8, 8), {}

        for item in source.records:
            yield replace(item, read=read)

    class Slow(FakeEncoder):
        def encode_images(self, images: Any) -> Any:
            if not ahead:  # it stands still until files of the next batch are open
                eventually(lambda: len(opened) > len(images))
            ahead.append(len(opened))
            return super().encode_images(images)

    from ingest import Source

    ingest(Source("films", 60, watched()), gallery, Slow(), batch_size=20)
    assert ahead[0] > 20 and len(opened) == 60
