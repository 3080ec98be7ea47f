"""Journal of a gallery's batches: status, counts and rejections, as small files beside it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest.job.report import IngestReport, Progress
from ingest.record import Rejection
from ingest.sources.source import Source
from ingest.sources.tables.safe_csv import csv_bytes
from store import Undone, UpsertReport, expanded, location

#: Of a report, as an entry keeps them.
_COUNTS = (
    *("inserted", "updated", "unchanged", "changed", "encoded", "pruned", "seconds"),
    *("labels_kept", "set_aside"),
)
#: Head of the CSV of what was refused.
REJECTION = ("source", "reason", "detail")
#: Bytes of a batch's name in a file's: file systems take 255, and there is an ending, too.
_LONGEST_NAME = 200


class Journal:
    """Journal of one running ingestion. Never stands in its way: a full disk costs it only."""

    def __init__(self, uri: str, source: Source, report: IngestReport, now: datetime) -> None:
        self._folder = state_folder(uri)
        self._report = report
        self._last: Progress | None = None
        self._written = 0.0
        self._entry: dict[str, Any] = {
            "batch": report.batch,
            "source": source.name,
            "root": None if source.root is None else str(source.root),
            "started_at": _utc(now),
        }
        self._save("running")

    def tell(self, now: Progress) -> None:
        """Write the status file, about once a second."""
        self._last = now
        if time.monotonic() - self._written >= 0.9 or now.done >= now.total:
            self._status("running")

    def end(self, state: str) -> None:
        """Write the final state of the batch, and its rejections."""
        self._status(state)
        self._save(state)

    def _status(self, state: str) -> None:
        self._written = time.monotonic()
        last = self._last
        document = {
            "batch": self._report.batch,
            "source": self._entry["source"],
            "state": state.partition(":")[0],
            "stage": last.stage if last and state == "running" else state,
            "done": last.done if last else 0,
            "total": last.total if last else 0,
            "encoded": self._report.encoded,
            "refused": self._report.reasons,
            "images_per_second": round(last.images_per_second, 1) if last else 0.0,
            "seconds": round(last.seconds, 1) if last else 0.0,
            "seconds_left": None
            if not last or last.seconds_left is None
            else round(last.seconds_left, 1),
            "updated_at": _utc(datetime.now(UTC)),
            "pid": os.getpid(),
        }
        with suppress(OSError):
            write_json(self._folder / "status.json", document)

    def _save(self, state: str) -> None:
        name = file_name(self._report.batch)
        entry: dict[str, Any] = {**self._entry, "state": state}
        if state != "running":
            report = self._report
            counts = report.as_dict()
            entry["ended_at"] = _utc(datetime.now(UTC))
            entry |= {key: counts[key] for key in _COUNTS}
            entry |= {"refused": report.reasons, "stopped": report.stopped}
        with suppress(OSError):
            if state != "running" and self._report.rejected:
                path = self._folder / "rejections" / f"{name}.csv"
                write_rejections(path, self._report.rejected)
                entry["rejections"] = f"rejections/{name}.csv"
            write_json(self._folder / "batches" / f"{name}.json", entry)


def note(uri: str, batch: str, place: Path, started: datetime, rows: UpsertReport) -> None:
    """Enter a batch of rows that came with their vectors, without a job."""
    entry = {
        "batch": batch,
        "source": place.name,
        "root": str(place),
        "started_at": _utc(started),
        "ended_at": _utc(datetime.now(UTC)),
        "state": "finished",
        "inserted": rows.inserted,
        "updated": rows.updated,
        "unchanged": rows.unchanged,
        "changed": dict(rows.changed),
        "encoded": 0,
        "pruned": 0,
        "refused": {},
    }
    with suppress(OSError):
        write_json(state_folder(uri) / "batches" / f"{file_name(batch)}.json", entry)


def _utc(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def entries(uri: str) -> list[dict[str, Any]]:
    """The journal's entries of a gallery's batches, oldest first.

    Keys: ``batch``, ``source``, ``root``, ``started_at``, ``state``, and once it ended
    ``ended_at``, ``inserted``, ``updated``, ``unchanged``, ``changed`` (column to count),
    ``encoded``, ``pruned``, ``labels_kept``, ``set_aside``, ``refused`` (reason to
    count), ``rejections`` (a CSV, relative to the state folder), ``seconds``.
    """
    found = []
    for path in sorted((state_folder(uri) / "batches").glob("*.json")):
        entry = read_json(path)
        if entry is not None and isinstance(entry.get("batch"), str):
            found.append(entry)
    return sorted(found, key=lambda one: (str(one.get("started_at", "")), one["batch"]))


def rejections_file(uri: str, batch: str) -> Path | None:
    """The CSV of what a batch refused; None when it refused nothing."""
    path = state_folder(uri) / "rejections" / f"{file_name(batch)}.csv"
    return path if path.is_file() else None


def mark_undone(uri: str, batch: str, undone: Undone) -> None:
    """Note that a batch was taken back, and with which counts."""
    path = state_folder(uri) / "batches" / f"{file_name(batch)}.json"
    entry = read_json(path) or {"batch": batch, "started_at": ""}
    entry |= {"state": "undone", "undone_at": _utc(datetime.now(UTC))}
    entry["undone"] = asdict(undone)
    entry["undone_rows"] = undone.removed
    with suppress(OSError):
        write_json(path, entry)


def state_folder(uri: str) -> Path:
    """The folder of a gallery's journal: inside it, or in the user's data folder if remote."""
    if "://" not in uri:
        return Path(location(uri)) / "ingest"
    from platformdirs import user_data_path

    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    return user_data_path("cxr-retrieval", appauthor=False) / "ingest" / name


def write_json(path: Path, document: Any) -> None:
    """Write a document so that a reader sees the old one or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        # Half a character, as of an undecodable file name, becomes JSON's own escape of it.
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(document, file, ensure_ascii=False, indent=1)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """A document written by write_json; None when there is none that can be read."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def read_status(uri: str) -> dict[str, Any] | None:
    """Status of the newest ingestion into a gallery; None when there never was one.

    Keys: ``batch``, ``source``, ``state`` (``running``, ``finished``, ``stopped``, ``failed``),
    ``stage``, ``done``, ``total``, ``encoded``, ``refused`` (reason to count),
    ``images_per_second``, ``seconds``, ``seconds_left`` (or null), ``updated_at`` (UTC), ``pid``.
    A job that was killed stays ``running`` with an old ``updated_at``; it writes every second.
    """
    return read_json(state_folder(uri) / "status.json")


def write_rejections(path: Path, rejected: Sequence[Rejection]) -> None:
    """A CSV of source, reason, detail; cells that a spreadsheet would run are quoted with '."""
    path = expanded(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ([one.source, one.reason, one.detail] for one in rejected)
    path.write_bytes(csv_bytes(REJECTION, rows))


def file_name(batch: str) -> str:
    """A batch's name as a file name: never a path, never two batches the same."""
    plain = "".join(char if char.isalnum() or char in "-_." else "_" for char in batch)[:80]
    if plain == batch and not plain.startswith(".") and len(plain.encode()) <= _LONGEST_NAME:
        return plain
    while len(plain.encode()) > _LONGEST_NAME:
        plain = plain[:-1]
    return f"{plain.lstrip('.')}-{hashlib.sha256(batch.encode()).hexdigest()[:8]}"
