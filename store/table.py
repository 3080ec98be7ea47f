"""The LanceDB table: create, open, write, scan, take. The truth that the mirror copies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from store import arrow
from store.errors import EncoderMismatch, StoreDamaged, StoreNotFound, UsageError
from store.schema import EncoderStamp, Row, UpsertReport

NAME = "gallery"
_CACHE_BYTES = 16 << 20
#: Ids looked up in one query; keeps the filter text small.
_LOOKUP = 1000


def is_local(uri: str) -> bool:
    """Whether a store location is a path on this machine."""
    return "://" not in uri


def create(uri: str, stamp: EncoderStamp) -> Any:
    """Make an empty gallery, or open the one that is there.

    Raises:
        EncoderMismatch: there is one, made by another encoder.
        UsageError: the location is a file.
    """
    if is_local(uri):
        path = Path(uri)
        if path.is_file():
            raise UsageError(f"{uri} is a file; a gallery needs a folder, pass another --store")
        path.mkdir(parents=True, exist_ok=True)
    database = _connect(uri)
    try:
        database.create_table(
            NAME,
            schema=arrow.table_schema(stamp),
            storage_options={"new_table_enable_stable_row_ids": "true"},
        )
    except ValueError as error:
        if "already exists" not in str(error):
            raise
    return open_(uri, stamp)


def open_(uri: str, stamp: EncoderStamp | None = None) -> Any:
    """Open a gallery's table.

    Args:
        uri: folder or object-store location.
        stamp: when given, the encoder that must have made it.

    Raises:
        StoreNotFound: nothing there.
        StoreDamaged: something there that cannot be read, or was not made by this project.
        EncoderMismatch: made by another encoder than ``stamp``.
    """
    hint = f"make one with: cxr ingest medmnist:pneumoniamnist --store {uri}"
    if is_local(uri) and not (Path(uri) / f"{NAME}.lance").is_dir():
        raise StoreNotFound(f"no gallery at {uri}; {hint}")
    try:
        table = _connect(uri).open_table(NAME)
        metadata = table.schema.metadata
    except (ValueError, RuntimeError, OSError) as error:
        if "was not found" in str(error) and not is_local(uri):
            raise StoreNotFound(f"no gallery at {uri}; {hint}") from error
        raise StoreDamaged(
            f"the gallery at {uri} cannot be opened: {_first_line(error)}; restore it from a copy, "
            "or move it away and ingest again"
        ) from error
    found, layout = arrow.stamp_of(metadata), arrow.schema_version_of(metadata)
    if layout is not None and layout != arrow.SCHEMA_VERSION:
        raise StoreDamaged(
            f"the gallery at {uri} has schema version {layout}, this program reads "
            f"{arrow.SCHEMA_VERSION}; ingest it again into another --store, or use the program "
            "that made it"
        )
    if found is None or layout is None:
        raise StoreDamaged(f"the table at {uri} has no stamp of this project; pass another --store")
    if stamp is not None and (found.fingerprint, found.dimension) != (
        stamp.fingerprint,
        stamp.dimension,
    ):
        raise EncoderMismatch(
            f"the gallery at {uri} was made by encoder {found}, but this is {stamp}; "
            f"pass --encoder {found.name}, or another --store for this encoder"
        )
    _declare_primary_key(table)
    return table


def _connect(uri: str) -> Any:
    import lancedb

    return lancedb.connect(uri, session=lancedb.Session(_CACHE_BYTES, _CACHE_BYTES))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__


def _declare_primary_key(table: Any) -> None:
    # A crash right after creation may have left it out; without it two writers double rows.
    field_metadata = table.schema.field("id").metadata or {}
    if not any(b"primary-key" in key for key in field_metadata):
        table.set_unenforced_primary_key("id")


def uuid_of(table: Any) -> str:
    """Identity of the table; a dropped and recreated one has another."""
    return str(table.schema.metadata[b"cxr.table_uuid"].decode())


def pin(uri: str, version: int) -> Any:
    """A read-only handle that stays at one version."""
    return _connect(uri).open_table(NAME, version=version)


def upsert(table: Any, rows: Sequence[Row], dimension: int) -> UpsertReport:
    """Write rows by id in one commit; rows that say nothing new are not written.

    Raises:
        BadRows: see arrow.check_rows. Nothing is written then.
    """
    arrow.check_rows(rows, dimension)
    table.checkout_latest()
    stored = {row.id: row for row in rows_by_id(table, (row.id for row in rows))}
    changed = [
        row for row in rows if row.id not in stored or not arrow.same_metadata(row, stored[row.id])
    ]
    if changed:
        result = (
            table.merge_insert("id")
            .when_matched_update_all()
            .when_not_matched_insert_all()
            .execute(arrow.to_arrow(changed, dimension))
        )
        inserted, updated = result.num_inserted_rows, result.num_updated_rows
    else:
        inserted = updated = 0
    return UpsertReport(inserted, updated, len(rows) - len(changed), int(table.version))


def update_metadata(table: Any, rows: Sequence[Row], dimension: int) -> int:
    """Correct the editable columns of stored rows in one commit; vectors stay.

    Returns:
        How many rows changed. Ids that are not stored are ignored.
    """
    table.checkout_latest()
    stored = {row.id: row for row in rows_by_id(table, (row.id for row in rows))}
    changed = [
        row
        for row in rows
        if row.id in stored
        and any(getattr(row, name) != getattr(stored[row.id], name) for name in arrow.EDITABLE)
    ]
    if not changed:
        return 0
    result = (
        table.merge_insert("id")
        .when_matched_update_all()
        .execute(arrow.metadata_to_arrow(changed, dimension))
    )
    return int(result.num_updated_rows)


def rows_by_id(table: Any, ids: Iterable[str]) -> list[Row]:
    """The stored rows with these ids, without vectors, in any order."""
    from lancedb.expr import col

    wanted = list(ids)
    found: list[Row] = []
    for start in range(0, len(wanted), _LOOKUP):
        condition = col("id").isin(wanted[start : start + _LOOKUP])
        found += arrow.from_arrow(scan(table, list(arrow.METADATA), condition))
    return found


def scan(table: Any, columns: list[str], where: Any = None) -> pa.Table:
    """All rows, or those that pass, in any order."""
    query = table.search().select(columns).limit(None)
    return (query if where is None else query.where(where)).to_arrow()


def scan_batches(table: Any, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """All rows as a stream of record batches, in any order."""
    return iter(table.search().select(columns).limit(None).to_batches(batch_size=8192))


def take(table: Any, row_ids: Sequence[int]) -> dict[int, Row]:
    """Metadata by row id. Row ids that are gone are left out."""
    if not row_ids:
        return {}
    found = table.take_row_ids(list(row_ids)).select([*arrow.METADATA, "_rowid"]).to_arrow()
    return dict(zip(found["_rowid"].to_pylist(), arrow.from_arrow(found), strict=True))


def thumbnails(table: Any, row_ids: Sequence[int]) -> list[bytes | None]:
    """PNG bytes by row id, in the order asked."""
    if not row_ids:
        return []
    blobs: list[bytes | None] = table.fetch_blobs("thumbnail", list(row_ids)).to_pylist()
    return blobs


def size(uri: str, table: Any) -> tuple[int, int]:
    """Fragments of the newest version, and bytes of all that is kept."""
    table.checkout_latest()
    found = table.stats()
    fragments, live = found["fragment_stats"]["num_fragments"], found["total_bytes"]
    if not is_local(uri):
        return int(fragments), int(live)
    files = (path for path in Path(uri).rglob("*") if path.is_file())
    return int(fragments), sum(path.stat().st_size for path in files)


def optimize(table: Any, keep: timedelta = timedelta(days=1)) -> None:
    """Merge small fragments and forget versions older than ``keep``; retried after a conflict."""
    for attempt in range(5):
        table.checkout_latest()  # without it a conflict repeats for ever on this handle
        try:
            table.optimize(cleanup_older_than=keep)
            return
        except RuntimeError as error:
            if "conflict" not in str(error).lower() or attempt == 4:
                raise
