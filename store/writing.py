"""Every change of the table: one commit at a time, forced to disk before it is acknowledged."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from store import arrow, columns, durable, maintain, remote, replaced, table
from store.errors import BadQuery, UnknownId
from store.filters import Where
from store.schema import Row, UpsertReport

#: Of one commit on object storage, where other writers are not waited for.
_ATTEMPTS = 6
T = TypeVar("T")


def commit(uri: str, handle: Any, work: Callable[[], T]) -> T:
    """Write as the only writer; on return all of it is on disk.

    Args:
        uri: of the gallery.
        handle: its table; brought to the newest version first.
        work: looks and writes. On object storage it may be called again, after another writer's
            commit that does not go with its own.
    """
    if table.is_local(uri):
        with durable.named_faults(uri), durable.writer(uri):
            handle.checkout_latest()
            done = work()
            if durable.acknowledged(table.folder(uri)) != int(handle.version):
                durable.acknowledge(table.folder(uri), int(handle.version))
            return done
    # No lock and no fsync there: what was put is kept, and LanceDB commits by conditional puts.
    remote.check_writable(uri)
    with remote.named_faults(uri):
        for attempt in range(_ATTEMPTS):
            try:
                handle.checkout_latest()
                return work()
            except RuntimeError as error:
                if not remote.is_conflict(error) or attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311
    raise AssertionError("unreachable")


def upsert(uri: str, handle: Any, rows: Sequence[Row], dimension: int) -> UpsertReport:
    """Write rows by id in one commit; rows that say nothing new are not written.

    A row that does not speak of all columns keeps what is stored in the others; see Row.told.

    Raises:
        BadRows: see arrow.check_rows. Nothing is written then.
        StoreUnwritable: the disk refused.
    """
    arrow.check_rows(rows, dimension)
    wanted = columns.needed(rows)

    def work() -> UpsertReport:
        stored = _stored(handle, [row.id for row in rows])
        whole = [arrow.joined_with(row, stored.get(row.id)) for row in rows]
        changed = [
            row
            for row in whole
            if row.id not in stored or not arrow.same_metadata(row, stored[row.id])
        ]
        inserted = updated = 0
        if changed:
            replaced.keep(uri, handle, [row for row in changed if row.id in stored], vectors=True)
            columns.make_room(handle, wanted, arrow.lacking(handle.schema))
            made = arrow.to_arrow(changed, dimension, handle.schema)
            if table.is_local(uri) and not stored:
                # Nobody else writes now, so no merge need look through the table for these ids.
                handle.add(made)
                inserted = len(changed)
            else:
                result = (
                    handle.merge_insert("id")
                    .when_matched_update_all()
                    .when_not_matched_insert_all()
                    .execute(made)
                )
                inserted, updated = result.num_inserted_rows, result.num_updated_rows
        told = Counter(
            name
            for row in changed
            if row.id in stored
            for name in arrow.changes(row, stored[row.id])
        )
        unchanged = len(rows) - len(changed)
        return UpsertReport(inserted, updated, unchanged, int(handle.version), dict(told))

    report = commit(uri, handle, work)
    if report.unchanged < len(rows):
        maintain.when_due(uri, handle)
    return report


def _stored(handle: Any, ids: Sequence[str]) -> dict[str, Row]:
    from lancedb.expr import col, lit

    if not ids:
        return {}
    # New rows mostly come as neighbours: that nothing is stored between the first and the last of
    # them is found in a tenth of the time that looking for each takes.
    between = (col("id") >= lit(min(ids))) & (col("id") <= lit(max(ids)))
    if not handle.count_rows(between.to_sql()):
        return {}
    return {row.id: row for row in table.rows_by_id(handle, ids)}


def update_metadata(uri: str, handle: Any, rows: Sequence[Row]) -> int:
    """Correct the editable columns of stored rows in one commit; vectors stay; see Row.told.

    Returns:
        How many rows changed. Ids that are not stored are ignored.
    """
    wanted = columns.needed(rows)

    def work() -> int:
        stored = {row.id: row for row in table.rows_by_id(handle, (row.id for row in rows))}
        whole = [arrow.joined_with(row, stored[row.id]) for row in rows if row.id in stored]
        changed = [row for row in whole if not arrow.same_editable(row, stored[row.id])]
        if not changed:
            return 0
        replaced.keep(uri, handle, changed, vectors=False)
        columns.make_room(handle, wanted, arrow.lacking(handle.schema))
        result = (
            handle.merge_insert("id")
            .when_matched_update_all()
            .execute(arrow.metadata_to_arrow(changed, handle.schema))
        )
        return int(result.num_updated_rows)

    corrected = commit(uri, handle, work)
    if corrected:
        maintain.when_due(uri, handle)
    return corrected


def make_room(uri: str, handle: Any, wanted: Mapping[str, str]) -> None:
    """Add columns for rows to come; see columns.make_room."""
    handle.checkout_latest()
    new, wider = columns.missing(handle.schema, wanted)
    if new or wider:
        commit(uri, handle, lambda: columns.make_room(handle, wanted, arrow.lacking(handle.schema)))


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
    if ids is not None:
        stored = {row.id for row in table.rows_by_id(handle, ids)}
        missing = [id_ for id_ in ids if id_ not in stored]
        if missing:
            raise UnknownId(f"no row {missing[0]!r} ({len(missing)} of {len(ids)} not stored)")
    if dry_run:
        return len(matching(handle, condition, ids))

    def work() -> int:
        gone = len(matching(handle, condition, ids))
        if gone:
            handle.delete(_condition(handle.schema, condition, ids) or "true")
        return gone

    gone = commit(uri, handle, work)
    if gone:
        maintain.when_due(uri, handle)
    return gone


def undo(uri: str, handle: Any, batch: str, dimension: int, dry_run: bool) -> replaced.Undone:
    """Take back what a batch did; see Gallery.undo."""

    def plan() -> replaced.Plan:
        return replaced.plan(uri, handle, batch, matching(handle, Where(batch=(batch,)), None))

    def work() -> replaced.Undone:
        found = plan()
        for path in found.files:  # newest first, so that the oldest state is the one that stays
            rows, complete = replaced.former_rows(path, found.restore)
            if rows:
                made = (
                    arrow.to_arrow(rows, dimension, handle.schema)
                    if complete
                    else arrow.metadata_to_arrow(rows, handle.schema)
                )
                handle.merge_insert("id").when_matched_update_all().execute(made)
        if found.remove:
            handle.delete(_condition(handle.schema, None, found.remove) or "true")
        if table.is_local(uri) and not found.undone.later:
            replaced.forget(uri, batch)
        return found.undone

    if dry_run:
        handle.checkout_latest()
        return plan().undone
    undone = commit(uri, handle, work)
    maintain.when_due(uri, handle)
    return undone


def matching(handle: Any, where: Where | None, ids: Sequence[str] | None) -> list[str]:
    """The ids of stored rows that pass a filter and are among ``ids``, ascending."""
    return sorted(
        table.scan(handle, ["id"], _condition(handle.schema, where, ids))["id"].to_pylist()
    )


def _condition(schema: Any, where: Where | None, ids: Sequence[str] | None) -> str | None:
    from lancedb.expr import col, lit

    parts = [f"({where.to_filter(schema)})"] if where else []
    if ids is not None:
        parts.append((col("id").isin(list(ids)) if ids else lit(False)).to_sql())
    return " AND ".join(parts) or None
