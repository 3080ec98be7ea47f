"""Repair of a local table after a crash: versions that cannot be read are quarantined.

Only renames, never deletes. An acknowledged version is given up only where its manifest itself is
unreadable: then no program could open it. Running it again, or being killed in it, does no harm.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from store.files import TABLE
from store.table import lance, local
from store.table.lance import ReadFault
from store.table.rows import CHECKSUM, checksums, joined_columns

log = logging.getLogger("store")

#: Versions walked back at most.
_DEEPEST = 64
#: Pictures, or ids, read at once.
_CHUNK = 5000


def settle(uri: str, name: str = TABLE) -> Any | None:
    """Acknowledge the version that a dead writer left, or quarantine it if it cannot be read.

    Returns:
        The table at its newest version. None where nothing was done: a writer is alive, or this
        process may not write.
    """
    folder = lance.folder(uri, name)
    with local.writer(uri, wait=False) as held:
        if held:
            try:
                for version, _ in local.manifests(folder)[:1]:
                    if local.unfinished(folder, version):
                        return _roll_back(uri, name)
            except OSError as error:
                log.debug("%s is not settled: %s", uri, error)
    return None


def roll_back(uri: str, name: str = TABLE) -> Any | None:
    """Open a table that does not open, at the newest version that can be read.

    Returns:
        The table, its newer versions quarantined. None where no version can be read: then every
        file has the name that it had.
    """
    try:
        with local.writer(uri):
            return _roll_back(uri, name)
    except OSError as error:
        log.warning("the gallery at %s is damaged and cannot be mended here: %s", uri, error)
        return None


def _roll_back(uri: str, name: str) -> Any | None:
    folder = lance.folder(uri, name)
    safe = local.acknowledged(folder)
    moved: list[tuple[Path, Path]] = []
    why = ""
    for version, path in local.manifests(folder)[:_DEEPEST]:
        path.read_bytes()  # a file that may not be read is no reason to move it away
        try:
            handle = lance.open_version(uri, name=name)
        except ReadFault as error:
            fault: str | None = brief(error)
        else:
            # Acknowledged data that went bad later is for `cxr check` to name, not to give up.
            fault = None if safe is not None and version <= safe else unreadable(handle)
        if fault is None:
            if moved:
                log.warning(
                    "the gallery at %s was damaged (%s): went back to version %d%s and kept the "
                    "newer %d as %s; %s again",
                    uri,
                    why,
                    version,
                    "" if name == TABLE else f" of its table {name}",
                    len(moved),
                    ", ".join(target.name for _, target in moved),
                    "ingest the last batch" if name == TABLE else "make the last change",
                )
            local.acknowledge(folder, version)
            return handle
        why = why or fault
        moved.append((path, _quarantine(path)))
    for path, target in reversed(moved):
        target.rename(path)
    return None


def quarantine_older(uri: str) -> bool:
    """Quarantine versions older than the newest that cannot be read: merging reads them all.

    A power loss among several commits can spare the last of them. For the table's writer.

    Returns:
        Whether there was one.
    """
    lance.open_version(uri)  # if the newest itself does not open, older ones are not the problem
    moved = []
    for version, path in local.manifests(lance.folder(uri))[1:]:
        path.read_bytes()  # a file that may not be read is no reason to move it away
        try:
            lance.open_version(uri, version)
        except ReadFault:
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


def unreadable(handle: Any) -> str | None:
    """Fault of a table that cannot be read back whole and as written; None of one that can."""
    try:
        if CHECKSUM not in handle.schema.names:  # a table without films
            whole = lance.scan(handle, list(handle.schema.names))
            return None if len(whole) == handle.count_rows() else "the rows are not all there"
        keys = lance.scan(handle, [*joined_columns(handle.schema), "_rowid"])
        read = 0
        for batch in lance.scan_batches(handle, ["embedding", CHECKSUM]):
            if (checksums(lance.vectors(batch)) != batch.column(CHECKSUM).to_numpy()).any():
                return "vectors are not the ones that were written"
            read += batch.num_rows
        for _ in pictures(handle, keys["_rowid"].to_pylist()):
            pass
        ids = keys["id"].to_pylist()
        if not read == len(ids) == handle.count_rows() or not_found_by_id(handle, ids):
            return "the rows are not all there"
    except ReadFault as error:
        return brief(error)
    return None


def pictures(handle: Any, row_ids: list[int]) -> Iterable[bytes | None]:
    """Thumbnails of all these rows, PNG bytes, read some at a time."""
    for start in range(0, len(row_ids), _CHUNK):
        yield from lance.thumbnails(handle, row_ids[start : start + _CHUNK])


def not_found_by_id(handle: Any, ids: list[str]) -> list[str]:
    """Stored ids that the index does not lead to."""
    if not handle.list_indices():
        return []
    found: set[str] = set()
    for part in lance.look_up(handle, ids, ["id"]):
        found.update(part["id"].to_pylist())
    return sorted(set(ids) - found)
