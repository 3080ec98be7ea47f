"""Former states of rows that a batch overwrote, so that the batch can be undone.

Kept beside a local gallery: LanceDB forgets old versions whenever it merges fragments.
Before a commit replaces or corrects rows, they are written to a file of their own, in the table's
columns; each with a digest of the row that takes its place, to see later whether that is still
there. Where the files grow too large, only the ids of the oldest remain, so that undo can say what
it cannot restore.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from store import files
from store.schema import COLUMNS, CURATED_COLUMNS, Row
from store.table import custom_columns, filters, lance, local
from store.table.rows import from_arrow, joined_columns

_PLACE = "replaced"
_WRITTEN = "cxr.written"
#: The batch under which a repair keeps older rows of an id that no batch took the place of: where
#: the newer row has no batch, or is of the same one. See store.table.duplicate_ids.
REPAIR = "repair"
#: Kept in all, oldest given up first; of those only the ids are remembered.
MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Undone:
    """Counts and ids of the rows that undoing a batch changed, or would change.

    Attributes:
        removed: rows that came with the batch and are gone.
        restored: rows that it replaced and that are as they were, vectors and pictures too.
        corrected: rows whose labels or other metadata it had changed and that are as they were.
        later: ids of rows that it changed and that were changed again or deleted since; left alone.
        lost: ids of rows that it replaced and whose former state is not kept any more; left alone.
        forgotten: films that came with it, were excluded or deleted since, and are gone for good.
    """

    removed: int = 0
    restored: int = 0
    corrected: int = 0
    later: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    forgotten: int = 0


@dataclass(slots=True)
class Plan:
    """Rows to remove and to restore when a batch is undone.

    Attributes:
        remove: ids of rows that came with it.
        files: of former rows, newest first.
        restore: ids whose former state is put back; True where the vector was replaced too.
        undone: the counts.
    """

    remove: list[str]
    files: list[Path]
    restore: dict[str, bool]
    undone: Undone


def state_of(row: Row) -> bytes:
    """Digest of a row's editable metadata, 16 bytes."""
    extra = custom_columns.known(row.extra)
    # A column of ints may become one of floats between two looks.
    whole = {n: int(v) for n, v in extra.items() if isinstance(v, float) and v.is_integer()}
    return _digest(row, {**extra, **whole})


def _is_state(row: Row, digest: bytes) -> bool:
    """Whether a digest is that of a row, also as versions before this one took it."""
    return digest in (state_of(row), _digest(row, custom_columns.known(row.extra)))


def _digest(row: Row, extra: Mapping[str, object]) -> bytes:
    # What earlier versions wrote stays comparable: later columns count where they are not blank.
    later = {
        name: value
        for name, column in COLUMNS.items()
        if column.since > 4
        and name not in CURATED_COLUMNS  # no batch writes them, nor takes them back
        and (value := getattr(row, name)) != column.default
    }
    if row.has_findings:  # which say themselves that somebody looked
        later.pop("labelled", None)
    values = [getattr(row, name) for name, column in COLUMNS.items() if column.since <= 4]
    values.append(sorted({**extra, **later}.items()))
    return hashlib.blake2b(json.dumps(values, default=str).encode(), digest_size=16).digest()


def keep_former(uri: str, handle: Any, rows: Sequence[Row], *, vectors: bool) -> None:
    """Keep the stored rows that a commit is about to overwrite.

    Args:
        uri: of the gallery; those on object stores keep nothing.
        handle: its table, before the commit.
        rows: that will be written over rows of the same ids, each with its batch.
        vectors: whether vectors and pictures are replaced, or only metadata is corrected.
    """
    if not lance.is_local(uri):
        return
    batches: dict[str, dict[str, bytes]] = {}
    for row in rows:
        if row.batch:
            batches.setdefault(row.batch, {})[row.id] = state_of(row)
    for batch, written in batches.items():
        _put(uri, handle, batch, _former(handle, filters.among(list(written)), vectors), written)
    if batches:
        _give_up_oldest(uri)


def keep_older(uri: str, handle: Any, pairs: Sequence[tuple[int, int]]) -> bool:
    """Keep rows that a repair is about to remove because a newer row has their id.

    Args:
        uri: of the gallery.
        handle: its table, before the commit.
        pairs: row ids of a row and of the next older one of the same id, the newest first.

    Returns:
        Whether they are kept: galleries on object stores keep nothing.
    """
    if not lance.is_local(uri):
        return False
    rows = lance.take(handle, sorted({row_id for pair in pairs for row_id in pair}))
    batches: dict[str, dict[int, bytes]] = {}
    heads: dict[int, Row] = {}  # by row id, the newest of the rows of the same id and batch
    for new, old in pairs:
        head = heads.setdefault(new, rows[new])
        if head.batch and head.batch != rows[old].batch:
            batches.setdefault(head.batch, {})[old] = state_of(head)
        else:
            batches.setdefault(REPAIR, {})[old] = state_of(rows[new])
        if head.batch == rows[old].batch:
            heads[old] = head
    for batch, written in batches.items():
        former = _former(handle, filters.rows(written), True)
        at = {row_id: place for place, row_id in enumerate(former["_rowid"].to_pylist())}
        # One row of each id to a file, the newer ones in the first: there may be several.
        files: list[dict[str, int]] = []
        for row_id in written:
            file = next((one for one in files if rows[row_id].id not in one), None)
            if file is None:
                files.append(file := {})
            file[rows[row_id].id] = row_id
        for order, file in enumerate(reversed(files)):
            digests = {id_: written[row_id] for id_, row_id in file.items()}
            taken = former.take([at[row_id] for row_id in file.values()])
            _put(uri, handle, batch, taken, digests, order)
    _give_up_oldest(uri)
    return True


def _put(
    uri: str,
    handle: Any,
    batch: str,
    former: pa.Table,
    written: Mapping[str, bytes],
    order: int = 0,
) -> None:
    """Write a file of former rows, each with the digest of what takes its place.

    Of several at one version, the one with the greater ``order`` holds the newer rows.
    """
    former = former.drop_columns("_rowid")
    digests = pa.array([written[id_] for id_ in former["id"].to_pylist()], pa.binary())
    sink = pa.BufferOutputStream()
    former = former.append_column(_WRITTEN, digests)
    with pa.ipc.new_file(sink, former.schema) as file:
        file.write_table(former)
    place = _folder(uri, batch)
    local.make_folder(place)
    name = f"{int(handle.version):012d}-{order:04d}{uuid.uuid4().hex[:8]}.arrow"
    local.write_whole(place / name, sink.getvalue().to_pybytes())


def _former(handle: Any, condition: Any, vectors: bool) -> pa.Table:
    """Rows as they are stored, with row ids: metadata, and if wished vectors and pictures."""
    names = [*joined_columns(handle.schema), "_rowid"]
    if not vectors:
        return lance.scan(handle, names, condition)
    found = lance.scan(handle, [*names, "embedding"], condition)
    pictures = lance.thumbnails(handle, found["_rowid"].to_pylist())
    return found.append_column("thumbnail", pa.array(pictures, pa.large_binary()))


def plan(uri: str, handle: Any, batch: str, brought: Sequence[str]) -> Plan:
    """The plan for undoing a batch.

    Args:
        uri: of the gallery.
        handle: its table, newest version.
        batch: its name.
        brought: ids of rows that it wrote last.
    """
    files = sorted(_folder(uri, batch).glob("*.arrow"), reverse=True)
    newest: dict[str, bytes] = {}
    oldest: dict[str, Row] = {}
    full: dict[str, bool] = {}
    for path in files:
        kept = read_kept(path)
        for row, written in zip(from_arrow(kept), kept[_WRITTEN].to_pylist(), strict=True):
            newest.setdefault(row.id, written)
            oldest[row.id] = row
            full[row.id] = full.get(row.id, False) or "embedding" in kept.column_names
    found = Plan([], files, {}, Undone())
    now = lance.rows_by_id(handle, newest)
    for id_, before in oldest.items():
        current = now.get(id_)
        if before.batch == batch:
            continue  # it came with the batch, under the same name
        if current is not None and _is_again(current, before):
            continue  # restored by an undo that was cut off
        same = current is not None and _is_state(current, newest[id_])
        own = ("", before.batch) if batch == REPAIR else (batch,)
        if same and current is not None and (not full[id_] or current.batch in own):
            found.restore[id_] = full[id_]
        else:
            found.undone.later.append(id_)
    lost = {id_ for path in _folder(uri, batch).glob("*.ids") for id_ in _ids(path)}
    stay = {*found.restore, *found.undone.later, *lost}
    found.remove = sorted(id_ for id_ in brought if id_ not in stay)
    lost_now = sorted((lost - set(newest)) & {*brought})
    restored = sum(found.restore.values())
    found.undone = Undone(
        removed=len(found.remove),
        restored=restored,
        corrected=len(found.restore) - restored,
        later=sorted(found.undone.later),
        lost=lost_now,
    )
    return found


def former_rows(path: Path, ids: Mapping[str, bool]) -> tuple[list[Row], bool]:
    """The rows of a file with some ids, and whether they have their vectors and pictures."""
    kept = read_kept(path)
    complete = "embedding" in kept.column_names
    rows = from_arrow(kept)
    if complete:
        vectors = np.stack(kept["embedding"].to_numpy()) if len(rows) else np.empty((0, 0))
        rows = [
            replace(row, embedding=vector.astype(np.float32), thumbnail=picture)
            for row, vector, picture in zip(
                rows, vectors, kept["thumbnail"].to_pylist(), strict=True
            )
        ]
    return [row for row in rows if row.id in ids], complete


def forget(uri: str, batch: str) -> None:
    """Delete the former rows of a batch, once they are restored."""
    for path in _folder(uri, batch).glob("*"):
        path.unlink(missing_ok=True)


def keeps_rows(uri: str) -> bool:
    """Whether former rows are kept that an undo could bring back."""
    return any(Path(uri, files.FOLDER, _PLACE).glob("*/*.arrow"))


def _is_again(current: Row, before: Row) -> bool:
    now = (current.sha256, current.batch, state_of(current))
    return now == (before.sha256, before.batch, state_of(before))


def _folder(uri: str, batch: str) -> Path:
    name = hashlib.sha256(batch.encode()).hexdigest()[:24]
    return Path(uri, files.FOLDER, _PLACE, name)


def read_kept(path: Path) -> pa.Table:
    """Former rows that one file keeps, mapped."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _ids(path: Path) -> Iterator[str]:
    yield from json.loads(path.read_bytes())


def _give_up_oldest(uri: str) -> None:
    """Stay within MOST_BYTES: of the oldest files only the ids remain."""
    kept = [
        (found.name, found.stat().st_size, found)  # names begin with the version
        for found in Path(uri, files.FOLDER, _PLACE).glob("*/*.arrow")
    ]
    size = sum(one[1] for one in kept)
    for _, bytes_, path in sorted(kept):
        if size <= MOST_BYTES:
            return
        ids = json.dumps(read_kept(path)["id"].to_pylist()).encode()
        local.write_whole(path.with_suffix(".ids"), ids)
        path.unlink(missing_ok=True)
        size -= bytes_
