"""Ingestions that the dashboard asked for: one note and one lock each. No Streamlit here.

Each runs in a process of its own (``ui.dashboard.batches.runner``), one after another, so that a
page that is closed or a server that ends takes no batch with it.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree

from filelock import FileLock

from ingest import file_name, read_json, state_folder, write_json
from ui.dashboard.batches.inbox import inbox

#: How many notes of ended jobs are kept.
_KEEP = 20
WAITING, RUNNING = "waiting", "running"
_MESSAGE_MAX = 600
#: By how much the clock of a file server may be ahead of ours.
_CLOCKS_DIFFER_S = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """One ingestion that was asked for.

    Attributes:
        batch: its name in the gallery.
        what: what is added, for people.
        state: ``waiting``, ``running``, ``finished``, ``stopped``, ``failed`` or ``cut off``.
        message: what it said last, when it failed.
        asked_at: UTC.
    """

    batch: str
    what: str
    state: str
    message: str
    asked_at: str

    @property
    def open(self) -> bool:
        """Whether it is still to end."""
        return self.state in (WAITING, RUNNING)


def folder(uri: str) -> Path:
    """Folder of the notes of a gallery's jobs."""
    return state_folder(uri) / "jobs"


def _note(uri: str, batch: str) -> Path:
    return folder(uri) / f"{file_name(batch)}.json"


def start(
    uri: str, batch: str, what: str, options: Sequence[str], films: Sequence[bytes] = ()
) -> None:
    """Ask for an ingestion.

    Args:
        uri: of the gallery.
        batch: its name.
        what: what is added, for people.
        options: of ``cxr ingest``, source and path included.
        films: digests of what it brings, for who drops the same films before it is done.
    """
    note = {
        "batch": batch,
        "what": what,
        "state": WAITING,
        "options": [*options, f"--store={uri}", f"--batch={batch}", "--quiet"],
        "uri": uri,
        "films": [digest.hex() for digest in films],
        "asked_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    path = _note(uri, batch)
    write_json(path, note)
    # Spawned, with a session of its own: Ctrl-C in the server's terminal does not reach it.
    subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-m", "ui.dashboard.batches.runner", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def all_of(uri: str) -> list[Job]:
    """The jobs of a gallery, newest first; killed ones have a state of their own."""
    found = []
    for path in folder(uri).glob("*.json"):
        note = read_json(path)
        if note is None or not isinstance(note.get("batch"), str):
            continue
        state = str(note.get("state", ""))
        if state in (WAITING, RUNNING) and _left(path):
            state = "cut off"
        found.append(
            Job(
                note["batch"],
                str(note.get("what", "")),
                state,
                str(note.get("message", ""))[:_MESSAGE_MAX],
                str(note.get("asked_at", "")),
            )
        )
    return sorted(found, key=lambda job: (job.asked_at, job.batch), reverse=True)


def awaited(uri: str) -> dict[bytes, str]:
    """Digests of the films that open jobs bring, to the name of the batch."""
    found: dict[bytes, str] = {}
    for job in all_of(uri):
        if job.open:
            note = read_json(_note(uri, job.batch)) or {}
            films = note.get("films")
            for digest in films if isinstance(films, list) else ():
                with suppress(TypeError, ValueError):
                    found[bytes.fromhex(digest)] = job.batch
    return found


def stop(uri: str, batch: str) -> None:
    """Ask a job to end after the portion in hand."""
    with suppress(OSError):
        stop_file(_note(uri, batch)).touch()


def forget(uri: str, batch: str) -> None:
    """Take the note of an ended job away."""
    note = _note(uri, batch)
    for ending in (".json", ".stop", ".lock"):  # not "name.*": another may be called name.2
        note.with_suffix(ending).unlink(missing_ok=True)


def stop_file(note: Path) -> Path:
    """Its presence asks a job to end."""
    return note.with_suffix(".stop")


def tidy(uri: str) -> None:
    """Remove what killed jobs left behind, and the notes of all but the newest ended ones."""
    jobs = all_of(uri)
    alive = {job.batch for job in jobs if job.open}
    for left in inbox(uri).glob("*"):
        if left.name not in alive and _age(left) > 60:
            rmtree(left, ignore_errors=True)
    for job in [job for job in jobs if not job.open][_KEEP:]:
        forget(uri, job.batch)


def lock(note: Path) -> FileLock | None:
    """A job's lock, held until it or its process ends; None when another one holds it."""
    held = FileLock(note.with_suffix(".lock"), mode=0o600, blocking=False, preserve_lock_file=True)
    try:
        held.acquire()
    except OSError:  # a time-out, or a file system without locks
        return None
    return held


def _left(path: Path) -> bool:
    """Whether nobody works on an open job any more; a young one may not have begun."""
    if _age(path) < 20 or (held := lock(path)) is None:
        return False
    held.release()
    return True


def _age(path: Path) -> float:
    """Seconds since something changed there; endless where the clock has been set back since."""
    try:
        age = datetime.now(UTC).timestamp() - path.stat().st_mtime
    except OSError:
        return 0.0
    return age if age > -_CLOCKS_DIFFER_S else math.inf
