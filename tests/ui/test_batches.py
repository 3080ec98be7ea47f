"""The batches page: what is dropped, what is named, what runs, what is undone."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import ingest, open_source
from ingest.encoders import load_encoder
from ingest.job.journal import entries, file_name, state_folder, write_json, write_rejections
from ingest.record import Rejection
from store import Gallery, UsageError
from tests.ui import films
from tests.ui.page import opened
from tests.ui.waiting import ended, until
from ui.dashboard.batches import entries as batches
from ui.dashboard.batches import inbox, jobs

NAMES = [
    "../../etc/passwd",
    "..\\..\\windows\\system.ini",
    "/abs/film.png",
    "a\nb\x00c.png",
    ".hidden.png",
    "-rf.png",
    "=cmd()|' /C calc'!A0.png",
    "<img src=x onerror=alert(1)>.png",
    "film.png",
    "FILM.PNG",
    "x" * 300 + ".png",
    "Ärzte – Thorax 1.png",
    "\u202egnp.exe",
    "",
    "...",
]


def test_hostile_names_become_plain_files_in_one_folder(tmp_path):
    dropped = [(name, films.png(films.draw(at, False))) for at, name in enumerate(NAMES)]
    place, table = inbox.put(str(tmp_path / "gallery"), "b1", dropped, label="normal")
    found = sorted((place / "b1").iterdir())
    assert len(found) == len(NAMES)
    assert all(path.is_file() and path.name.isprintable() for path in found)
    assert all(not path.name.startswith((".", "-")) for path in found)
    assert "Ärzte – Thorax 1.png" in {path.name for path in found}
    assert len({path.name.casefold() for path in found}) == len(NAMES)
    assert sorted(tmp_path.rglob("*.png")) == [path for path in found if path.suffix == ".png"]
    assert len(table.read_text().splitlines()) >= len(NAMES) + 1
    for private in (place.parents[1], place.parent, place / "b1"):
        assert private.stat().st_mode & 0o077 == 0


@given(st.text(max_size=400))
def test_any_name_becomes_a_file_name(name):
    found = inbox.safe_name(name, set())
    assert found
    assert len(found.encode()) <= 100
    assert not set(found) & set('/\\\0<>:"|?*')
    assert found.isprintable()
    assert found not in (".", "..")


@pytest.mark.parametrize(
    "asked",
    ["..", "../other", "a/../../other", "/etc", "link", "link/x", "none", "a\0b", "\\..\\.."],
)
def test_nothing_beside_the_allowed_folder_is_reached(tmp_path, asked):
    root, other = tmp_path / "root", tmp_path / "other"
    (root / "a").mkdir(parents=True)
    other.mkdir()
    (other / "x").write_bytes(b"secret")
    (root / "link").symlink_to(other)
    with pytest.raises(UsageError, match="there is no"):
        inbox.below(root, asked)
    assert inbox.below(root, "a") == root / "a"
    assert inbox.below(root, ".") == root


def test_what_a_drop_may_be():
    png, dicom = ("a.png", b"\x89PNG" + bytes(200)), ("b", bytes(128) + b"DICM")
    assert inbox.kind_of([png]) == "folder"
    assert inbox.kind_of([dicom]) == "dicom"
    for films_, said in [([], "choose"), ([png, dicom], "two batches"), ([png] * 501, "500")]:
        with pytest.raises(UsageError, match=said):
            inbox.kind_of(films_)


@pytest.mark.parametrize("name", ["", "--json", "a/b", "../x", "x" * 61, "a\nb;c", "<b>"])
def test_a_data_set_needs_a_plain_name(name):
    with pytest.raises(UsageError, match="cannot name a data set"):
        inbox.check_dataset(name)


@pytest.mark.parametrize(
    "options",
    [
        ["--allow-ingest", "--public-url", "https://x.example"],
        ["--allow-curation", "--public-url", "https://x.example"],
        ["--ingest-root", "."],
    ],
)
def test_batches_for_everyone_are_refused(cxr, tmp_path, options):
    done = cxr("serve", "--store", tmp_path, *options)
    assert done.code == 2
    assert "--sign-in" in done.err or "--allow-ingest" in done.err


# -- jobs -----------------------------------------------------------------------------------------


@pytest.fixture
def store(drawn, tmp_path):
    """A gallery of its own."""
    shutil.copytree(drawn[0], tmp_path / "gallery")
    return tmp_path / "gallery"


def test_a_job_that_fails_says_why_and_leaves_no_film_behind(store, tmp_path):
    uri = str(store)
    place, table = inbox.put(uri, "broken", [("a.png", b"x")], sheet=b"no,columns\n1,2\n")
    jobs.start(uri, "broken", "1 film", ["folder", str(place), f"--labels={table}"])
    job = ended(uri, "broken")
    assert job.state == "failed"
    assert "no column of the dropped films/labels.csv names a file" in job.message
    assert not (inbox.inbox(uri) / "broken").exists()
    jobs.forget(uri, "broken")


def test_a_job_that_is_stopped_while_it_waits_never_begins(store):
    uri = str(store)
    while (turn := jobs.lock(jobs.folder(uri) / "turn")) is None:
        time.sleep(0.1)  # the job before this one has told its end, and is about to go
    # From here on, somebody else's batch is running.
    try:
        place, _ = inbox.put(uri, "late", [("a.png", films.png(films.draw(1, True)))])
        jobs.start(uri, "late", "1 film", ["folder", str(place)])
        jobs.stop(uri, "late")
        assert ended(uri, "late").state == "stopped"
    finally:
        turn.release()
    assert not (inbox.inbox(uri) / "late").exists()
    assert "late" not in {one["batch"] for one in entries(uri)}
    jobs.forget(uri, "late")


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_an_ingestion_ends_with_its_runner(store):
    uri, before = str(store), len(Gallery.open(store))
    place, _ = inbox.put(uri, "killed", [("a.png", films.png(films.draw(900, True)))])
    others = children(os.getpid())
    jobs.start(uri, "killed", "1 film", ["folder", str(place), "--dataset=killed"])
    [runner] = children(os.getpid()) - others
    until(lambda: children(runner))
    [child] = children(runner)
    os.kill(runner, signal.SIGKILL)
    os.waitpid(runner, 0)
    until(lambda: not Path(f"/proc/{child}").exists())
    assert len(Gallery.open(store)) == before
    jobs.forget(uri, "killed")


@pytest.mark.parametrize("swapped", ["ward", "labels.csv"])
def test_a_folder_swapped_for_a_link_while_its_job_waits_is_not_followed(store, tmp_path, swapped):
    uri, batch, before = str(store), f"swapped-{swapped[0]}", len(Gallery.open(store))
    root, outside = tmp_path / "root", tmp_path / "outside"
    for place in (root / "ward", outside):
        place.mkdir(parents=True)
        (place / "a.png").write_bytes(films.png(films.draw(950, True)))
        (place / "labels.csv").write_text("file,label\na.png,secret")
    place = inbox.below(root, "ward")
    while (turn := jobs.lock(jobs.folder(uri) / "turn")) is None:
        time.sleep(0.1)
    try:
        options = [f"--labels={place / 'labels.csv'}", "--dataset=swapped", f"--within={root}"]
        jobs.start(uri, batch, "films", ["folder", str(place), *options])
        there = root / "ward" if swapped == "ward" else root / "ward" / swapped
        there.rename(tmp_path / "aside")
        there.symlink_to(outside if swapped == "ward" else outside / swapped)
    finally:
        turn.release()
    job = ended(uri, batch)
    assert job.state == "failed"
    assert "link" in job.message
    assert len(Gallery.open(store)) == before
    jobs.forget(uri, batch)


def children(pid: int) -> set[int]:
    """Processes that a process started."""
    found = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found |= {int(one) for one in task.read_text().split()}
    return found


def test_names_that_begin_like_formulas_are_guarded_once_their_folder_is_gone(tmp_path):
    uri, name = str(tmp_path / "gallery"), "=HYPERLINK(0)!A0.png"
    place, _ = inbox.put(uri, "b1", [(name, b"x")])
    [film] = (place / "b1").iterdir()
    found = [
        Rejection(str(film), "truncated", f"{film} ends too early"),
        Rejection("/films/-1.png", "truncated", "@SUM(A1) is no film\nat all"),
    ]
    write_rejections(state_folder(uri) / "rejections" / "b1.csv", found)
    shown, data = batches.refusals(uri, "b1")
    assert shown[0] == [film.name, "truncated", f"{film.name} ends too early"]
    assert shown[1][2] == "@SUM(A1) is no film at all"
    assert film.name.startswith("=")
    rows = [*csv.reader(io.StringIO(data.decode(), newline=""))]
    assert rows[0] == ["source", "reason", "detail"]
    assert rows[1] == [f"'{film.name}", "truncated", f"'{film.name} ends too early"]
    assert rows[2][2] == "'@SUM(A1) is no film\nat all"


def test_nobody_learns_where_dropped_films_waited(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    for number, uri in enumerate(("real", "link", str(tmp_path / "real"))):
        place, _ = inbox.put(uri, f"b-{number}", [("a.png", b"x")])
        found = str(place.resolve())
        assert inbox.is_inside(uri, found)
        batch = place.parent.name
        assert inbox.without_place(f"{found}/{batch}/a.png is cut", uri, batch) == "a.png is cut"
    assert not inbox.is_inside("real", str(tmp_path / "elsewhere"))


def test_jobs_come_newest_first_whatever_their_names(tmp_path):
    jobs.folder(str(tmp_path)).mkdir(parents=True)
    for batch, hour in (("zeta", 1), ("alpha", 3), ("mu", 2)):
        note = {"batch": batch, "state": "finished", "asked_at": f"2026-11-23T0{hour}:00:00Z"}
        (jobs.folder(str(tmp_path)) / f"{batch}.json").write_text(json.dumps(note))
    assert [job.batch for job in jobs.all_of(str(tmp_path))] == ["alpha", "mu", "zeta"]


@pytest.mark.parametrize("age", [1000, -1000])  # the clock may have been set back since
def test_what_a_killed_job_left_is_tidied_away(age, tmp_path):
    uri = str(tmp_path)
    inbox.put(uri, "dead", [("a.png", b"x")])
    note = jobs.folder(uri) / "dead.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"batch": "dead", "state": "running", "what": "1 film"}))
    changed = time.time() - age
    for path in (note, inbox.inbox(uri) / "dead"):
        os.utime(path, (changed, changed))
    [job] = jobs.all_of(uri)
    assert job.state == "cut off"
    jobs.tidy(uri)
    assert not (inbox.inbox(uri) / "dead").exists()


def test_progress_is_told_only_of_the_batch_that_runs():
    status = {"batch": "b", "state": "running", "stage": "encoding", "done": 5, "total": 20}
    assert batches.progress(status, "b")[0] == 0.25
    assert batches.progress(status, "other") is None
    assert batches.progress(None, "b") is None
    assert batches.progress({**status, "total": 0, "done": "x"}, "b")[0] == 0.0


# -- films that are here already ---------------------------------------------------------------


def dropped(name: str, data: bytes) -> tuple[str, tuple[bytes, ...]]:
    return name, inbox.digests_of(name, data)


def test_known_films_are_told_by_what_they_hold(store, drawn, tmp_path):
    gallery, encoder = Gallery.open(store), drawn[1]
    (tmp_path / "ward").mkdir()
    file = films.png(films.draw(500, True))
    (tmp_path / "ward" / "a.png").write_bytes(file)
    ingest(open_source("folder", tmp_path / "ward"), gallery, load_encoder(encoder))
    asked = [
        dropped("another name.png", file),
        dropped("of the data set.png", films.png(films.draw(100, False))),  # two rows have it
        dropped("new.png", films.png(films.draw(501, True))),
        dropped("new again.png", films.png(films.draw(501, True))),
        dropped("waits.png", films.png(films.draw(502, True))),
        dropped("no film.png", b"no film"),
    ]
    awaited = {asked[4][1][0]: "2026-x"}
    assert inbox.already_here(gallery, asked, awaited) == {
        0: "ward/a.png",
        1: "drawn/test/100 and 1 more",
        3: "new.png of this drop",
        4: "on its way in batch 2026-x",
    }
    assert inbox.already_here(None, asked[:3], {}) == {}
    assert inbox.already_here(gallery, [], {}) == {}


def test_a_second_drop_says_that_the_films_are_here(store, drawn, monkeypatch):
    encoder, started = drawn[1], []

    def at_once(uri, batch, what, options, brought=()):
        source, place, dataset, *_ = options
        name = dataset.removeprefix("--dataset=")
        ingest(open_source(source, place, dataset=name), Gallery.open(uri), load_encoder(encoder))
        started.append((batch, what, len(brought)))

    monkeypatch.setattr(jobs, "start", at_once)
    monkeypatch.setenv("CXR_ALLOW_INGEST", "1")
    names = ("a.png", "b.png")
    drop = [(n, films.png(films.draw(600 + i, True)), "image/png") for i, n in enumerate(names)]

    def shown(page):
        assert not page.exception, page.exception
        return "\n".join(box.value for box in (*page.info, *page.error)).replace("\\", "")

    page = opened(monkeypatch, store, encoder, page="batches")
    page.file_uploader[0].set_value(drop[:1]).run()
    assert "already here" not in shown(page)
    page.button(key="batch-drop").click().run()
    [(batch, what, brought)] = started
    assert (what, brought) == ("1 dropped film", 1) and len(Gallery.open(store)) == 61

    page.file_uploader[0].set_value(drop[:1]).run()
    assert f"a.png: added/{batch}/a.png" in shown(page)
    page.button(key="batch-drop").click().run()
    assert "Nothing was added: all of these films are already here" in shown(page)
    assert len(started) == 1

    page.file_uploader[0].set_value(drop).run()
    assert "1 of these is already here" in shown(page)
    page.button(key="batch-drop").click().run()
    assert started[1][1:] == ("1 dropped film", 1) and len(Gallery.open(store)) == 62

    page.file_uploader[0].set_value(drop).run()
    page.checkbox[0].check().run()
    page.button(key="batch-drop").click().run()
    assert started[2][1:] == ("2 dropped films", 2) and len(Gallery.open(store)) == 64


def test_what_waits_is_known_while_it_waits(tmp_path):
    uri = str(tmp_path)
    jobs.folder(uri).mkdir(parents=True)
    for batch, state in (("open", "running"), ("over", "finished"), ("odd", "waiting")):
        note = {"batch": batch, "state": state, "films": [batch.encode().hex(), None, "zz"]}
        (jobs.folder(uri) / f"{batch}.json").write_text(json.dumps(note))
    assert jobs.awaited(uri) == {b"open": "open", b"odd": "odd"}


def test_forgetting_a_job_leaves_that_of_a_like_name(tmp_path):
    uri = str(tmp_path)
    for batch in ("ward", "ward.2", "ward.json"):
        write_json(jobs.folder(uri) / f"{file_name(batch)}.json", {"batch": batch})
        jobs.stop(uri, batch)
    jobs.forget(uri, "ward")
    assert sorted(path.name for path in jobs.folder(uri).iterdir()) == [
        "ward.2.json",
        "ward.2.stop",
        "ward.json.json",
        "ward.json.stop",
    ]
