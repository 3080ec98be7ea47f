"""Put a local table back in order after a crash: quarantine versions that cannot be read.

Only renames, never deletes. What was acknowledged is given up only where its manifest itself is
unreadable: then no program could open it. Running it again, or being killed in it, does no harm.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from store.table import filters, lance, local
from store.table.local import manifests, unfinished
from store.table.rows import CHECKSUM, checksums, joined

log = logging.getLogger("store")

#: Versions walked back at most.
_DEEPEST = 64
#: Opens the newest version of the gallery at a place, or a given one.
Open = Callable[..., Any]


CHUNK = 5000


def finish(uri: str, folder: Path, open_: Open) -> None:
    """Bring what a dead writer left to disk, or quarantine it where it cannot be read.

    Does nothing while a writer is alive, or where this process may not write.
    """
    with local.writer(uri, wait=False) as held:
        if held:
            try:
                handle = open_(uri)
                if unfinished(folder, int(handle.version)):
                    _settle(uri, folder, open_)
            except OSError as error:
                log.debug("%s is not settled: %s", uri, error)


def heal(uri: str, folder: Path, open_: Open) -> bool:
    """Make a table that does not open open again, at the newest version that can be read.

    Returns:
        Whether it opens now. If not, every file has the name that it had.
    """
    try:
        with local.writer(uri):
            return _settle(uri, folder, open_)
    except OSError as error:
        log.warning("the gallery at %s is damaged and cannot be mended here: %s", uri, error)
        return False


def _settle(uri: str, folder: Path, open_: Open) -> bool:
    safe = local.acknowledged(folder)
    moved: list[tuple[Path, Path]] = []
    why = ""
    for version, path in manifests(folder)[:_DEEPEST]:
        path.read_bytes()  # a file that may not be read is no reason to move it away
        try:
            handle = open_(uri)
        except (RuntimeError, OSError, ValueError) as error:
            fault: str | None = brief(error)
        else:
            # Acknowledged data that went bad later is for `cxr check` to name, not to give up.
            fault = None if safe is not None and version <= safe else _fault(handle)
        if fault is None:
            _report(uri, moved, version, why)
            local.acknowledge(folder, version)
            return True
        why = why or fault
        moved.append((path, _quarantine(path)))
    for path, target in reversed(moved):
        target.rename(path)
    return False


def set_aside(uri: str, folder: Path, open_: Open) -> bool:
    """Quarantine versions older than the newest that cannot be read: merging reads them all.

    A power loss among several commits can spare the last of them. For the table's writer.

    Returns:
        Whether there was one.
    """
    open_(uri)  # were this to fail, it would not be for what an older version holds
    moved = []
    for version, path in manifests(folder)[1:]:
        path.read_bytes()  # a file that may not be read is no reason to move it away
        try:
            open_(uri, version)
        except (RuntimeError, OSError, ValueError):
            moved.append(_quarantine(path).name)
    if moved:
        log.warning(
            "the gallery at %s had versions that cannot be read; the newest is whole and stays, "
            "the others are kept as %s",
            uri,
            ", ".join(moved),
        )
    return bool(moved)


def brief(error: Exception) -> str:
    """The first sentence of an error, without the place in LanceDB's source."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text.split(", /")[0].removeprefix("lance error: ")[:200]


def _quarantine(path: Path) -> Path:
    """Rename a manifest; its new name, which no file had."""
    target = path.with_name(path.name + ".corrupt")
    count = 1
    while target.exists():
        count += 1
        target = path.with_name(f"{path.name}.corrupt-{count}")
    path.rename(target)
    return target


def _report(uri: str, moved: list[tuple[Path, Path]], version: int, why: str) -> None:
    if moved:
        names = ", ".join(target.name for _, target in moved)
        log.warning(
            "the gallery at %s was damaged (%s): went back to version %d and kept the newer %d as "
            "%s; ingest the last batch again",
            uri,
            why,
            version,
            len(moved),
            names,
        )


def _fault(handle: Any) -> str | None:
    """Read a table whole, as a search, a join and an ingestion do; what is wrong, or None."""
    return unreadable(handle)


def unreadable(handle: Any) -> str | None:
    """Why a table cannot be read back whole and as written, in a few words; None when it can."""
    try:
        keys = lance.scan(handle, [*joined(handle.schema), "_rowid"])
        read = 0
        for batch in lance.scan_batches(handle, ["embedding", CHECKSUM]):
            flat = batch.column("embedding").flatten().to_numpy(zero_copy_only=False)
            vectors = flat.reshape(batch.num_rows, -1)
            if (checksums(vectors) != batch.column(CHECKSUM).to_numpy()).any():
                return "vectors are not the ones that were written"
            read += batch.num_rows
        for _ in _pictures(handle, keys["_rowid"].to_pylist()):
            pass
        ids = keys["id"].to_pylist()
        if not read == len(ids) == handle.count_rows() or _not_found_by_id(handle, ids):
            return "the rows are not all there"
    except (RuntimeError, OSError, ValueError) as error:
        return brief(error)
    return None


def _pictures(handle: Any, row_ids: list[int]) -> Iterable[bytes | None]:
    for start in range(0, len(row_ids), CHUNK):
        yield from lance.thumbnails(handle, row_ids[start : start + CHUNK])


def _not_found_by_id(handle: Any, ids: list[str]) -> list[str]:
    """Ids that the index does not lead to."""
    if not handle.list_indices():
        return []
    lost: list[str] = []
    for start in range(0, len(ids), CHUNK):
        wanted = ids[start : start + CHUNK]
        found = lance.scan(handle, ["id"], filters.among(wanted))["id"].to_pylist()
        lost += sorted(set(wanted) - set(found))
    return lost
