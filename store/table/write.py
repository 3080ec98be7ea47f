"""Writer of the table: upserts, corrections, deletions, undo; each one commit, forced to disk."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pyarrow as pa

from store.errors import BadQuery, BadRows, StoreUnreachable, UnknownId
from store.files import TABLE
from store.schema import COLUMNS, CURATED_COLUMNS, Row, UpsertReport
from store.table import (
    checked_commit,
    custom_columns,
    filters,
    lance,
    local,
    maintenance,
    object_storage,
    undo,
)
from store.table.filters import Where
from store.table.rows import (
    IMAGE,
    changes,
    check_metadata,
    check_rows,
    fitting,
    is_reader_version,
    merged,
    metadata_to_arrow,
    missing_fields,
    normalised,
    readers_to_arrow,
    report_of,
    storable,
    to_arrow,
)
from store.words import index as words_index

#: Looks at stored rows that another writer changes before they are written over.
_ATTEMPTS = 6
T = TypeVar("T")


def commit(uri: str, handle: Any, work: Callable[[], T]) -> T:
    """Write as the only writer; on return all of it is on disk.

    Args:
        uri: of the gallery.
        handle: its table; brought to the newest version first.
        work: reads and writes. On object storage it is called again after another writer's commit
            that conflicts with its own.
    """
    with writing(uri):
        return step(uri, handle, work)


@contextlib.contextmanager
def writing(uri: str) -> Iterator[None]:
    """Be the only writer of a folder's tables; on an object store there may be others."""
    if lance.is_local(uri):
        with local.named_faults(uri), local.writer(uri):
            yield
        return
    # No lock and no fsync there: what was put is kept, and LanceDB commits by conditional puts.
    object_storage.check_writable(uri)
    with object_storage.named_faults(uri):
        yield


def step(uri: str, handle: Any, work: Callable[[], T], name: str = TABLE) -> T:
    """One commit of several under ``writing``; see commit.

    Args:
        uri: of the gallery.
        handle: of one of its tables.
        work: see commit.
        name: of that table.
    """
    if not lance.is_local(uri):
        return object_storage.retry_conflicts(handle, work)
    handle.checkout_latest()
    done = work()
    if local.acknowledged(lance.folder(uri, name)) != int(handle.version):
        local.acknowledge(lance.folder(uri, name), int(handle.version))
    return done


def upsert(uri: str, handle: Any, rows: Sequence[Row], dimension: int) -> UpsertReport:
    """Insert or replace rows by id in one commit; rows equal to the stored ones are not written.

    A row that does not speak of all columns keeps what is stored in the others; see Row.told.

    Raises:
        BadRows: see check_rows. Nothing is written then.
        StoreUnwritable: the disk refused.
    """
    rows = fitting(normalised(rows), handle.schema)
    check_rows(rows, dimension)

    def make(changed: Sequence[Row]) -> pa.Table:
        return to_arrow(changed, dimension, handle.schema)

    return _write(uri, handle, rows, make, insert=True)


def update_metadata(uri: str, handle: Any, rows: Sequence[Row]) -> int:
    """Correct the editable columns of stored rows in one commit; vectors stay; see Row.told.

    Returns:
        How many rows changed. Ids that are not stored are ignored.

    Raises:
        BadRows: see check_metadata. Nothing is written then.
    """
    rows = fitting(normalised(rows), handle.schema)
    check_metadata(rows)

    def make(changed: Sequence[Row]) -> pa.Table:
        return metadata_to_arrow(changed, handle.schema)

    return _write(uri, handle, rows, make, insert=False).updated


def _write(
    uri: str,
    handle: Any,
    rows: Sequence[Row],
    make: Callable[[Sequence[Row]], pa.Table],
    *,
    insert: bool,
) -> UpsertReport:
    """Replace stored rows by id in one commit, and insert the others if wished.

    Args:
        uri: of the gallery.
        handle: its table.
        rows: checked ones.
        make: rows in the table's columns.
        insert: whether rows whose id is not stored are inserted; otherwise they are ignored, and
            only metadata is replaced.
    """
    wanted = custom_columns.needed(rows, custom_columns.kinds(handle.schema))

    def work() -> UpsertReport:
        inserted = updated = 0
        first: tuple[int, dict[str, int]] | None = None
        for _ in range(_ATTEMPTS):
            stored = _stored(handle, [row.id for row in rows])
            whole = [merged(row, stored[row.id].row if row.id in stored else None) for row in rows]
            differing = {
                row.id: [n for n in changes(row, stored[row.id].row) if insert or n != IMAGE]
                for row in whole
                if row.id in stored
            }
            changed = [row for row in whole if differing.get(row.id, insert)]
            old = [row for row in changed if row.id in stored]
            if first is None:
                counts = Counter(name for names in differing.values() for name in names)
                first = len(rows) - len(changed), dict(counts)
            if not changed:
                break
            undo.keep_former(uri, handle, old, vectors=insert)
            _make_room(handle, wanted)
            if any(report_of(row) is not None for row in changed):
                words_index.build(handle)
            made = make(changed)
            if insert and lance.is_local(uri) and not stored:
                # Nobody else writes now, so no merge need look through the table for these ids.
                inserted += checked_commit.insert(uri, handle, made)
                break
            row_ids = [stored[row.id].row_id for row in old]
            more, again = checked_commit.merge(uri, handle, made, row_ids, insert=insert)
            inserted, updated = inserted + more, updated + again
            if more + again == len(changed):
                break
            handle.checkout_latest()  # another writer came between: look again
        else:
            raise _overtaken(uri)
        return UpsertReport(inserted, updated, first[0], int(handle.version), first[1])

    report = commit(uri, handle, work)
    if report.inserted or report.updated:
        maintenance.when_due(uri, handle)
    return report


def _stored(handle: Any, ids: Sequence[str]) -> dict[str, lance.Stored]:
    if not ids:
        return {}
    # New rows mostly come as neighbours: that nothing is stored between the first and the last of
    # them is found in a tenth of the time that looking for each takes.
    if not handle.count_rows(filters.between("id", min(ids), max(ids))):
        return {}
    return lance.stored(handle, ids)


def _overtaken(uri: str) -> StoreUnreachable:
    return StoreUnreachable(
        f"other writers change the same rows of {uri} all the time; what was acknowledged is "
        "there. Run the same command again when they are done"
    )


def set_readers(uri: str, handle: Any, readers: Mapping[str, int]) -> None:
    """Note for stored rows by which version of the pixel reader they are right; nothing else."""
    for id_, version in readers.items():
        if not is_reader_version(version):
            raise BadRows(f"row {id_!r}: {version!r} is no version of a pixel reader")
    if not readers:
        return

    def work() -> None:
        stored = lance.stored(handle, readers)
        if not stored:
            return
        _make_room(handle, {})
        made = readers_to_arrow({id_: readers[id_] for id_ in stored})
        row_ids = [one.row_id for one in stored.values()]
        checked_commit.merge(uri, handle, made, row_ids, insert=False)

    commit(uri, handle, work)
    maintenance.when_due(uri, handle)


def make_room(uri: str, handle: Any, wanted: Mapping[str, str]) -> None:
    """Add columns of the user's own for rows to come; see custom_columns.make_room."""
    handle.checkout_latest()
    have = custom_columns.kinds(handle.schema)
    # Where a later column of ours is not the user's own, their values are for ours.
    wanted = {n: k for n, k in wanted.items() if n in have or n not in custom_columns.LATER}
    new, wider = custom_columns.missing(handle.schema, wanted)
    if new or wider:
        commit(uri, handle, lambda: _make_room(handle, wanted))


def _make_room(handle: Any, wanted: Mapping[str, str]) -> None:
    custom_columns.make_room(handle, wanted, missing_fields(handle.schema))


def delete(
    uri: str,
    handle: Any,
    where: Where | None,
    ids: Sequence[str] | None,
    batch: str | None,
    dry_run: bool,
) -> int:
    """Remove the rows that meet all the conditions given, in one commit; see Gallery.delete."""
    if not where and ids is None and batch is None:
        raise BadQuery("delete needs a filter, ids or a batch; remove the folder to drop all")
    condition = where or Where()
    if batch is not None:
        if condition.batch:
            raise BadQuery(f"batch {batch!r} and a filter on batch were both given; give one")
        condition = replace(condition, batch=(batch,))
    handle.checkout_latest()
    if isinstance(ids, str | bytes):
        raise BadQuery(f"ids {ids!r}: expected a list of ids, not one")
    if ids is not None:
        stored = set(matching(handle, None, [id_ for id_ in ids if storable(id_)]))
        missing = [id_ for id_ in ids if id_ not in stored]
        if missing:
            raise UnknownId(f"no row {missing[0]!r} ({len(missing)} of {len(ids)} not stored)")
    if dry_run:
        return len(matching(handle, condition, ids))

    gone = commit(uri, handle, lambda: _remove(uri, handle, condition, ids))
    if gone:
        maintenance.when_due(uri, handle)
    return gone


def _remove(uri: str, handle: Any, where: Where | None, ids: Sequence[str] | None) -> int:
    gone = 0
    for _ in range(_ATTEMPTS):
        condition = _condition(handle.schema, where, ids)
        row_ids = lance.scan(handle, ["_rowid"], condition)["_rowid"].to_pylist()
        if not row_ids:
            return gone
        now = checked_commit.delete(uri, handle, row_ids, condition)
        gone += now
        if now == len(row_ids):
            return gone
        handle.checkout_latest()  # another writer came between: look again
    raise _overtaken(uri)


def undo_batch(uri: str, handle: Any, batch: str, dimension: int, dry_run: bool) -> undo.Undone:
    """Take back what a batch did; see Gallery.undo."""
    if not batch:  # rows that were written without one are no batch
        raise BadQuery("undo needs the name of a batch; list them with: cxr batches")

    def plan() -> undo.Plan:
        return undo.plan(uri, handle, batch, matching(handle, Where(batch=(batch,)), None))

    def work() -> undo.Undone:
        found = plan()
        for path in found.files:  # newest first, so that the oldest state is the one that stays
            rows, complete = undo.former_rows(path, found.restore)
            if rows:
                now = lance.stored(handle, [row.id for row in rows])
                rows = [merged(_bare(row), now[row.id].row) for row in rows]
                if complete:
                    check_rows(rows, dimension)
                    made = to_arrow(rows, dimension, handle.schema)
                else:
                    check_metadata(rows)
                    made = metadata_to_arrow(rows, handle.schema)
                checked_commit.merge(
                    uri, handle, made, [now[row.id].row_id for row in rows], insert=False
                )
        # On an object store another writer may have changed some since: those stay.
        removed = _remove(uri, handle, Where(batch=(batch,)), found.remove) if found.remove else 0
        if lance.is_local(uri) and not found.undone.later:
            undo.forget(uri, batch)
        return replace(found.undone, removed=removed)

    if dry_run:
        handle.checkout_latest()
        return plan().undone
    undone = commit(uri, handle, work)
    maintenance.when_due(uri, handle)
    return undone


def _bare(row: Row) -> Row:
    """A former row without tags and note, which are those of today."""
    return replace(row, **{name: COLUMNS[name].default for name in CURATED_COLUMNS})


def matching(handle: Any, where: Where | None, ids: Sequence[str] | None) -> list[str]:
    """The ids of stored rows that pass a filter and are among ``ids``, ascending."""
    return sorted(
        lance.scan(handle, ["id"], _condition(handle.schema, where, ids))["id"].to_pylist()
    )


def _condition(schema: Any, where: Where | None, ids: Sequence[str] | None) -> str | None:
    return filters.both(
        [
            where.to_filter(schema) if where else None,
            None if ids is None else filters.equal("id", ids),
        ]
    )
