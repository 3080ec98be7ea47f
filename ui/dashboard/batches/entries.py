"""Batches of the journal and progress of jobs, in words. No Streamlit here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingest import (
    REJECTION,
    csv_bytes,
    entries,
    kept_sentence,
    mark_undone,
    rejections_file,
    rows_of,
)
from store import Gallery, Undone, counted
from ui.dashboard.batches.inbox import is_inside, without_place

#: How many batches and refusals a page shows.
SHOWN, REFUSALS = 50, 100

HEAD = ["batch", "films now", "new", "changed", "known", "refused"]


def newest(uri: str) -> list[dict[str, Any]]:
    """The journal's newest batches, newest first; without those that changed and refused nothing.

    One that still runs, or failed, is always there.
    """
    counted = ("inserted", "updated", "refused", "undone_rows")
    quiet = {"finished", "stopped"}
    found = [
        one
        for one in entries(uri)
        if one.get("state") not in quiet or any(one.get(key) for key in counted)
    ]
    return found[::-1][:SHOWN]


def line(entry: Mapping[str, Any], films: int, uri: str) -> list[str]:
    """One batch as a line of the table; what is small stands after a newline."""
    refused = sum(_counts(entry.get("refused")).values())
    small = " · ".join(
        part for part in (origin(entry, uri), when(entry), str(entry.get("state", ""))) if part
    )
    numbers = [films, *(entry.get(key) for key in ("inserted", "updated", "unchanged")), refused]
    return [
        f"{_one_line(entry['batch'])}\n{_one_line(small)}",
        *(f"{number:,}" if isinstance(number, int) else "–" for number in numbers),
    ]


def origin(entry: Mapping[str, Any], uri: str) -> str:
    """Origin of a batch, for people."""
    root = entry.get("root")
    if not isinstance(root, str):
        return str(entry.get("source", ""))
    return "dropped films" if is_inside(uri, root) else root


def when(entry: Mapping[str, Any]) -> str:
    """Start of a batch, in UTC."""
    return str(entry.get("started_at", "")).replace("T", " ").replace("Z", " UTC")


def kept(entry: Mapping[str, Any]) -> str:
    """What stayed as people of the gallery have it, though the source of a batch says otherwise."""
    labels = entry.get("labels_kept")
    count = labels if isinstance(labels, int) else 0
    return kept_sentence(count, _counts(entry.get("set_aside"))) or ""


def changes(entry: Mapping[str, Any]) -> str:
    """Of the rows that a batch changed, how many in which column."""
    return ", ".join(f"{name} {count:,}" for name, count in _counts(entry.get("changed")).items())


def reasons(entry: Mapping[str, Any]) -> str:
    """Number of refused files by reason."""
    return ", ".join(f"{n:,} {reason}" for reason, n in _counts(entry.get("refused")).items())


def refusals(uri: str, batch: str) -> tuple[list[list[str]], bytes | None]:
    """The first refusals of a batch (file, reason, detail), and the CSV of all of them.

    Files are told by their place below the batch's root, never by where the server keeps them.
    """
    path = rejections_file(uri, batch)
    if path is None:
        return [], None
    try:
        found = rows_of(path.read_bytes())[1:]
    except (OSError, ValueError):
        return [], None
    # Guarded last of all: without its folder, a name may begin like a formula.
    rows = [[without_place(cell, uri, batch) for cell in row] for row in found if len(row) == 3]
    shown = [[_one_line(cell) for cell in row] for row in rows[:REFUSALS]]
    return shown, csv_bytes(REJECTION, rows)


def undo(uri: str, batch: str) -> Undone:
    """Remove the films that a batch brought, restore those that it changed."""
    found = Gallery.open(uri).undo(batch)
    mark_undone(uri, batch, found)
    return found


def undo_sentence(found: Undone, *, done: bool) -> str:
    """Effect of undoing a batch, in one sentence."""
    verb = "were" if done else "would be"
    parts = [f"{counted(found.removed, 'film')} {verb} removed"]
    if found.restored:
        parts.append(f"{found.restored:,} that it replaced {verb} restored")
    if found.corrected:
        parts.append(f"{found.corrected:,} whose labels it changed {verb} corrected back")
    if stay := len(found.later) + len(found.lost):
        parts.append(f"{stay:,} that cannot be taken back stay as they are")
    return ", ".join(parts)


def progress(status: Mapping[str, Any] | None, batch: str) -> tuple[float, str] | None:
    """Progress of a batch, 0 to 1, and a sentence; None before it has begun."""
    if status is None or status.get("batch") != batch or status.get("state") != "running":
        return None
    done, total = _number(status.get("done")), _number(status.get("total"))
    said = [f"{status.get('stage', 'running')}: {done:,.0f} of {total:,.0f}"]
    if pace := _number(status.get("images_per_second")):
        said.append(f"{pace:,.0f} films/s")
    if left := _number(status.get("seconds_left")):
        said.append(f"about {left:,.0f} s left")
    if refused := _counts(status.get("refused")):
        said.append(f"{sum(refused.values()):,} refused")
    return (min(max(done / total, 0.0), 1.0) if total else 0.0), ", ".join(said)


def _counts(value: Any) -> dict[str, int]:
    if not isinstance(value, Mapping):
        return {}
    return {str(key): n for key, n in value.items() if isinstance(n, int) and n}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _one_line(text: str) -> str:
    return " ".join(str(text).split())
