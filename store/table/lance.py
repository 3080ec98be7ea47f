"""LanceDB table: connect, open a version, look up, scan, take."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from store.errors import StoreDamaged, UsageError
from store.files import TABLE
from store.library import lancedb
from store.schema import Row, Vectors
from store.table import filters, local, object_storage, rows

#: Errors of LanceDB over data that cannot be read.
ReadFault = (RuntimeError, OSError, ValueError)
#: LanceDB's column of the version that last changed a row; the newer of two rows has the greater.
CHANGED_AT = "_row_last_updated_at_version"
_CACHE_BYTES = 16 << 20
#: Ids looked up in one query; keeps the filter text small.
_LOOKUP = 1000
#: Rows that LanceDB hands over at once: its own 1,024 cost more than what is in them.
BATCH = 8192


def is_local(uri: str) -> bool:
    """Whether a store location is a path on this machine."""
    return not object_storage.scheme(uri)


def folder(uri: str, name: str = TABLE) -> Path:
    """The folder of a local gallery's table, or of another table beside it."""
    return Path(uri) / f"{name}.lance"


def open_version(uri: str, version: int | None = None, name: str = TABLE) -> Any:
    """The LanceDB table at a version, or at its newest; LanceDB's own errors come through."""
    with panics_as_errors():
        table = connect(uri).open_table(name)
        if version is not None:
            table.checkout(version)
    if not len(table.schema):  # Lance takes a manifest of zeros for a table without columns
        raise ValueError("its manifest is empty")
    return table


@contextlib.contextmanager
def panics_as_errors() -> Iterator[None]:
    """Turn LanceDB's panics, which some damaged files cause, into RuntimeError."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ not in ("RustPanic", "PanicException"):
            raise
        raise RuntimeError(f"LanceDB gave up over damaged data: {error}") from error


def session(index_bytes: int = _CACHE_BYTES) -> Any:
    """Small caches for LanceDB; at most ``index_bytes`` for parts of indexes."""
    return lancedb().Session(index_bytes, _CACHE_BYTES)


def connect(uri: str, caches: Any = None) -> Any:
    """A LanceDB connection, with caches of its own if none are given.

    Raises:
        UsageError: a location that is no text, such as an undecodable path.
    """
    try:
        uri.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"the gallery's place {uri!r} is no text that a table can be named by; choose another "
            "--store"
        ) from None
    caches = caches or session()
    if is_local(uri):
        return lancedb().connect(uri, session=caches)
    return lancedb().connect(uri, session=caches, storage_options=object_storage.options(uri))


def uuid_of(table: Any) -> str:
    """Identity of the table; a dropped and recreated one has another."""
    return str(table.schema.metadata[b"cxr.table_uuid"].decode())


def token(table: Any, version: int) -> str | None:
    """Digest of the manifest of a version; None when it is gone."""
    uri = str(table.uri)
    if not is_local(uri):
        return object_storage.token(uri.rpartition("/")[0], version)
    manifest = dict(local.manifests(Path(uri))).get(version)
    return _digest(manifest) if manifest else None


def newest(uri: str) -> tuple[int, str] | None:
    """Version and token of the newest manifest; None where there is none, or it must be opened.

    Far quicker than opening the table, and as sure: the token is a digest of all that it says.
    """
    if not is_local(uri):
        return object_storage.newest(uri)
    for number, path in local.manifests(folder(uri))[:1]:
        # Opening settles what a dead writer left.
        digest = None if local.unfinished(folder(uri), number) else _digest(path)
        return (number, digest) if digest else None
    return None


def _digest(manifest: Path) -> str | None:
    try:
        return hashlib.blake2b(manifest.read_bytes(), digest_size=16).hexdigest()
    except FileNotFoundError:
        return None


def pin(uri: str, version: int, caches: Any = None, name: str = TABLE) -> Any:
    """A read-only handle that stays at one version; see connect."""
    return connect(uri, caches).open_table(name, version=version)


class Stored(NamedTuple):
    """A row as it is stored, without vector and picture, and its row id."""

    row: Row
    row_id: int


def stored(table: Any, ids: Iterable[str]) -> dict[str, Stored]:
    """The rows with these ids and their row ids, by id; unknown ids are left out.

    Raises:
        StoreDamaged: one of the ids is stored twice.
    """
    found: dict[str, Stored] = {}
    for part in _look_up_rows(table, ids):
        row_ids = part["_rowid"].to_pylist()
        for row, row_id in zip(rows.from_arrow(part), row_ids, strict=True):
            if row.id in found:
                raise StoreDamaged(
                    f"id {row.id!r} is stored more than once, so nothing was written; keep the "
                    "newer row of each id with: cxr check --repair"
                )
            found[row.id] = Stored(row, row_id)
    return found


def by_digest(table: Any, digests: Iterable[bytes]) -> Iterator[tuple[bytes, str]]:
    """(sha256, id) of the stored rows with one of these digests; no other column is read."""
    for found in look_up(table, digests, ["sha256", "id"], "sha256"):
        yield from zip(found["sha256"].to_pylist(), found["id"].to_pylist(), strict=True)


def ids_at(table: Any, end: str) -> list[str]:
    """Ids that a text means, sorted: the one that it is, else those that end with it.

    Those in which a word begins there come first; where there are some, the others are left out.
    """
    if not rows.storable(end):
        return []
    if int(table.count_rows(filters.equal("id", [end]))):
        return [end]
    ids = scan(table, ["id"], filters.ends_with("id", end))["id"].to_pylist() if end else []
    words = [id_ for id_ in ids if not (id_[-len(end) - 1] + end[0]).isalnum()]
    return sorted(words or ids)


def rows_by_id(table: Any, ids: Iterable[str]) -> dict[str, Row]:
    """The rows with these ids, without vector and picture; unknown ids are left out.

    Of an id that is stored twice, the newer row.
    """
    found: dict[str, Row] = {}
    ages: dict[str, tuple[int, int]] = {}
    for part in _look_up_rows(table, ids):
        ranks = zip(part[CHANGED_AT].to_pylist(), part["_rowid"].to_pylist(), strict=True)
        for row, rank in zip(rows.from_arrow(part), ranks, strict=True):
            if rank > ages.get(row.id, (-1, -1)):
                found[row.id], ages[row.id] = row, rank
    return found


def _look_up_rows(table: Any, ids: Iterable[str]) -> Iterator[pa.Table]:
    names = [*rows.joined_columns(table.schema), "_rowid", CHANGED_AT]
    return look_up(table, filter(rows.storable, ids), names)


def look_up(
    table: Any, values: Iterable[str] | Iterable[bytes], names: Sequence[str], column: str = "id"
) -> Iterator[pa.Table]:
    """Columns of the rows with one of these values, some rows at a time, in any order.

    Args:
        table: the table.
        values: of the column; those that no row has are left out.
        names: of the columns to read.
        column: of ids or digests.
    """
    wanted: list[Any] = list(dict.fromkeys(values))
    for start in range(0, len(wanted), _LOOKUP):
        yield scan(table, list(names), filters.among(wanted[start : start + _LOOKUP], column))


def vectors(batch: pa.RecordBatch) -> Vectors:
    """The embeddings of a record batch, float32 (n, d)."""
    column = batch.column("embedding")
    flat: Vectors = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), column.type.list_size)


def scan(table: Any, columns: list[str], where: Any = None) -> pa.Table:
    """All rows, or those that pass, in any order."""
    with panics_as_errors():
        return _reader(table, columns, where).read_all()


def scan_batches(table: Any, columns: list[str], where: Any = None) -> Iterator[pa.RecordBatch]:
    """All rows, or those that pass, as a stream of record batches, in any order."""
    with panics_as_errors():
        yield from _reader(table, columns, where)


def _reader(table: Any, columns: list[str], where: Any) -> pa.RecordBatchReader:
    query = table.search().select(columns).limit(None)
    return (query if where is None else query.where(where)).to_batches(batch_size=BATCH)


def take(table: Any, row_ids: Sequence[int]) -> dict[int, Row]:
    """Metadata by row id. Row ids that are gone are left out."""
    if not row_ids:
        return {}
    with panics_as_errors():
        joined = [*rows.joined_columns(table.schema), "_rowid"]
        found = table.take_row_ids(list(row_ids)).select(joined).to_arrow()
    return dict(zip(found["_rowid"].to_pylist(), rows.from_arrow(found), strict=True))


def thumbnails(table: Any, row_ids: Sequence[int]) -> list[bytes | None]:
    """PNG bytes by row id, in the order asked."""
    if not row_ids:
        return []
    with panics_as_errors():
        blobs: list[bytes | None] = table.fetch_blobs("thumbnail", list(row_ids)).to_pylist()
    return blobs


def size(uri: str, table: Any) -> tuple[int, int]:
    """Fragments of the table's version, and bytes of all versions that are kept."""
    fragments = table.stats()["fragment_stats"]["num_fragments"]
    if not is_local(uri):
        return int(fragments), object_storage.size(uri)
    files = (path for path in folder(uri).rglob("*") if path.is_file())
    return int(fragments), sum(path.stat().st_size for path in files)
