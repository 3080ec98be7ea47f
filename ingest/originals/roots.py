"""Roots: the folders that a gallery ingested from, below which its originals may be read.

The journal of ingestions names the folder of every run; those that ``cxr relocate`` found stand in
a file beside it. Both lie in the gallery's state folder. Folders of imported vectors are not among
them.
"""

from __future__ import annotations

import threading
from pathlib import Path

from ingest.job.journal import entries, read_json, state_folder, write_json

_FILE = "roots.json"
_lock = threading.Lock()
_known: dict[str, tuple[tuple[int, int], tuple[Path, ...]]] = {}


def roots(uri: str) -> tuple[Path, ...]:
    """Folders that a gallery ingested from, longest path first; read again when that changed."""
    folder = state_folder(uri)
    state = _changed(folder / "batches"), _changed(folder / _FILE)
    with _lock:
        known = _known.get(uri)
    if known is not None and known[0] == state:
        return known[1]
    named = [str(entry["root"]) for entry in entries(uri) if _of_films(entry)]
    added = (read_json(folder / _FILE) or {}).get("roots", [])
    named += [one for one in added if isinstance(one, str)]
    places = {Path(one) for one in named}
    found = tuple(sorted((one for one in places if one.is_absolute()), key=_by_length))
    with _lock:
        _known[uri] = state, found
    return found


def add_root(uri: str, root: Path) -> None:
    """Record a folder below which films of a gallery were found.

    Raises:
        OSError: the state folder cannot be written.
    """
    path = state_folder(uri) / _FILE
    before = (read_json(path) or {}).get("roots", [])
    write_json(path, {"roots": sorted({*before, str(root)})})


def _of_films(entry: dict[str, object]) -> bool:
    """Whether an entry's root is a folder of films; an import of vectors has no such counts."""
    ended = "ended_at" in entry
    return isinstance(entry.get("root"), str) and (not ended or "seconds" in entry)


def _by_length(root: Path) -> tuple[int, str]:
    return -len(root.parts), str(root)


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
