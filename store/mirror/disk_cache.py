"""Disk cache of a gallery's snapshot, which may be deleted at any time.

One file that FAISS wrote of its index, mapped into memory as it is, one Arrow file of ids, and a
description with their digests, written last. On any doubt it is not used and the mirror is built
anew.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from store import files
from store.mirror import faiss_index
from store.mirror.snapshot import Snapshot
from store.table import lance, local

log = logging.getLogger("store")

S = TypeVar("S", bound=Snapshot)

#: Of format 1 the vectors were not a file of FAISS's own; it is built anew.
FORMAT = 2
_FOLDER = "mirror"
_DESCRIPTION = "mirror.json"
_LOCK = "lock"
#: Smaller mirrors are built about as fast as they are loaded.
WORTH_SAVING = 64 << 20
_CHUNK = 16 << 20

_saving = threading.Lock()


def folder_of(uri: str, uuid: str = "") -> Path:
    """Folder of a gallery's saved mirror: beside a local table, else in the user's cache."""
    return files.folder(uri, uuid) / _FOLDER


def save(uri: str, snapshot: Snapshot) -> None:
    """Write a snapshot and remove older ones. Savers of one gallery wait for each other.

    Raises:
        OSError: the folder cannot be written. What was saved before is still whole.
    """
    folder = folder_of(uri, snapshot.uuid)
    with local.locked(folder / _LOCK):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{snapshot.version}-{snapshot.token[:12]}-{uuid.uuid4().hex[:12]}"
        vectors, rows = folder / f"{name}.vectors", folder / f"{name}.arrow"
        try:
            _write(snapshot, vectors, rows, folder / _DESCRIPTION)
        except OSError as error:
            vectors.unlink(missing_ok=True)
            rows.unlink(missing_ok=True)
            if not isinstance(error, FileNotFoundError):
                raise
            # Without locks, another saver took them for leftovers: its own are in place.
            log.info("the mirror of %s was saved by another at the same time", uri)
            return
        for path in folder.glob("*"):
            # A process that has one of these mapped keeps it.
            if path.name not in (vectors.name, rows.name, _DESCRIPTION, _LOCK):
                path.unlink(missing_ok=True)


def _write(snapshot: Snapshot, vectors: Path, rows: Path, description: Path) -> None:
    crc = _write_vectors(vectors, snapshot)
    _write_rows(rows, snapshot)
    description_of = {
        "format": FORMAT,
        "uuid": snapshot.uuid,
        "version": snapshot.version,
        "token": snapshot.token,
        "rows": snapshot.count,
        "dimension": snapshot.vectors.shape[1],
        "vectors": {"file": vectors.name, "bytes": vectors.stat().st_size, "crc32": crc},
        "ids": {"file": rows.name, "bytes": rows.stat().st_size, "crc32": _crc(rows)},
    }
    local.write_whole(description, json.dumps(description_of, indent=1).encode())


def load(
    uri: str,
    handle: Any,
    dimension: int,
    kind: type[S] = Snapshot,  # type: ignore[assignment]
) -> S | None:
    """The saved snapshot, or None where there is none or it is not surely of this table.

    It may be of an older version than the handle. Vectors are mapped, not read: their digest is
    left to ``damaged``.
    """
    folder = folder_of(uri, lance.uuid_of(handle))
    try:
        found = json.loads((folder / _DESCRIPTION).read_bytes())
        rows, version = int(found["rows"]), int(found["version"])
        vectors, ids = folder / found["vectors"]["file"], folder / found["ids"]["file"]
        known = (FORMAT, lance.uuid_of(handle), dimension, lance.token(handle, version))
        if (found["format"], found["uuid"], found["dimension"], found["token"]) != known:
            return None
        if not rows or vectors.stat().st_size != found["vectors"]["bytes"]:
            return None
        if ids.stat().st_size != found["ids"]["bytes"] or _crc(ids) != found["ids"]["crc32"]:
            return None
        columns = pa.ipc.open_file(pa.memory_map(str(ids))).read_all()
        if len(columns) != rows:
            return None
        index, memory = faiss_index.mapped(vectors, rows, dimension)
        pinned = handle if int(handle.version) == version else lance.pin(uri, version)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, pa.ArrowException) as error:
        log.warning("the saved mirror of %s is damaged (%s); it is built anew", uri, error)
        discard(uri, lance.uuid_of(handle))
        return None
    keys = pa.concat_arrays(columns["id"].chunks)
    row_ids, changed_at = (columns[name].to_numpy() for name in ("row_id", "changed_at"))
    return kind.of(pinned, found["token"], index, memory, keys, row_ids, changed_at)


def damaged(uri: str, uuid: str = "") -> bool:
    """Read the saved vectors back: whether they are not the ones that were written."""
    folder = folder_of(uri, uuid)
    try:
        found = json.loads((folder / _DESCRIPTION).read_bytes())
        return bool(_crc(folder / found["vectors"]["file"]) != found["vectors"]["crc32"])
    except FileNotFoundError:
        return False  # replaced or deleted meanwhile: a cache may be
    except (OSError, ValueError, KeyError, TypeError):
        return True


def discard(uri: str, uuid: str = "") -> None:
    """Forget the saved mirror."""
    with contextlib.suppress(OSError):
        (folder_of(uri, uuid) / _DESCRIPTION).unlink(missing_ok=True)


def verify_behind(uri: str, snapshot: Snapshot, distrust: Callable[[Snapshot], None]) -> None:
    """Check the digest of the saved vectors on a thread; call back if it is wrong."""

    def work() -> None:
        if damaged(uri, snapshot.uuid):
            log.warning("the saved mirror of %s is damaged and is built anew from the table", uri)
            discard(uri, snapshot.uuid)
            distrust(snapshot)

    threading.Thread(target=work, name="cxr-verify", daemon=True).start()


def save_behind(uri: str, snapshot: Snapshot) -> None:
    """Save a large snapshot on a thread, unless one is being saved. A full disk is only logged."""
    least = WORTH_SAVING if lance.is_local(uri) else 1
    if snapshot.vectors.nbytes < least or not _saving.acquire(blocking=False):
        return

    def work() -> None:
        try:
            save(uri, snapshot)
        except OSError as error:
            log.info("the mirror of %s is not saved: %s", uri, error)
        finally:
            _saving.release()

    threading.Thread(target=work, name="cxr-save", daemon=False).start()


def _write_vectors(path: Path, snapshot: Snapshot) -> int:
    faiss_index.write(snapshot.index, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return _crc(path)


def _write_rows(path: Path, snapshot: Snapshot) -> None:
    columns = pa.table(
        {"id": snapshot.keys, "row_id": snapshot.row_ids, "changed_at": snapshot.changed_at}
    )
    with path.open("wb") as file:
        with pa.ipc.new_file(file, columns.schema) as writer:
            writer.write_table(columns)
        file.flush()
        os.fsync(file.fileno())


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            crc = zlib.crc32(piece, crc)
    return crc
