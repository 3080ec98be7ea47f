"""Process of one ingestion that the dashboard asked for.

``python -m ui.dashboard.batches.runner NOTE``

Waits for its turn (one at a time), runs ``cxr ingest``, notes how it ended, and takes the dropped
films away.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from shutil import rmtree
from typing import Any

from filelock import FileLock

from ingest import file_name, read_json, write_json
from ui.dashboard import child_process
from ui.dashboard.batches import jobs
from ui.dashboard.batches.inbox import inbox, without_place
from ui.process import give_way

#: Between two looks at the child, at the queue and at the stop file.
_POLL_S = 0.2
_STATES = {0: "finished", 3: "finished", 130: "stopped"}


def main() -> None:
    """Run the job of a note."""
    path = Path(sys.argv[1])
    note = read_json(path)
    if note is None or (own := jobs.lock(path)) is None:
        return
    home = inbox(note["uri"]) / file_name(note["batch"])
    signal.signal(signal.SIGTERM, _end)
    give_way()  # whoever searches meanwhile comes first
    note["state"], note["message"] = "failed", "it was ended from outside"
    turn = None
    try:
        turn = _turn(path)
        note["state"], note["message"] = _run(path, note)
    finally:
        rmtree(home, ignore_errors=True)
        write_json(path, note)
        jobs.stop_file(path).unlink(missing_ok=True)
        for held in (turn, own):
            if held is not None:
                held.release()


def _end(*_: object) -> None:
    raise SystemExit(143)


def _turn(path: Path) -> FileLock | None:
    """The lock of the one job of this gallery that runs; None when this one was stopped before."""
    while not jobs.stop_file(path).exists():
        if (turn := jobs.lock(path.with_name("turn"))) is not None:
            return turn
        time.sleep(_POLL_S)
    return None


def _run(path: Path, note: dict[str, Any]) -> tuple[str, str]:
    """State in which the ingestion ended, and its last message."""
    if jobs.stop_file(path).exists():
        return "stopped", "it had not begun"
    write_json(path, {**note, "state": jobs.RUNNING, "message": ""})
    with tempfile.TemporaryFile() as messages:
        # A runner that is killed takes the ingestion along: nobody would tell of it any more.
        child = child_process.start(
            "ui.cli", ["ingest", *note["options"]], stdout=subprocess.DEVNULL, stderr=messages
        )
        asked = False
        try:
            while child.poll() is None:
                if not asked and jobs.stop_file(path).exists():
                    asked = True
                    child.send_signal(signal.SIGINT)
                time.sleep(_POLL_S)
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
        messages.seek(0)
        lines = messages.read().decode("utf-8", "replace").splitlines()
    state = _STATES.get(child.returncode, "failed")
    last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
    words = without_place(last.removeprefix("cxr: "), note["uri"], note["batch"])
    return state, words if state == "failed" else ""


if __name__ == "__main__":
    main()
