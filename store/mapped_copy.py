"""Copy of a gallery's table with other vectors: every other column stays as it is."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from store.errors import BadRows, StoreDamaged, UsageError
from store.files import location
from store.schema import EncoderStamp, Progress, Vectors
from store.table import lance, local, object_storage, opening, rows
from store.words import index

#: Rows at once: bounds memory by their pictures, of some ten kilobytes each.
_BLOCK = 2048
#: Stands for the folder of a copy that is not finished; such folders are left by killed processes.
_PART = ".part"


def copy_mapped(
    handle: Any,
    uri: str,
    stamp: EncoderStamp,
    change: Callable[[Vectors], Vectors],
    progress: Progress | None = None,
    beside: Callable[[str], None] = lambda _: None,
) -> int:
    """Make a gallery of a table's rows with other vectors; the table itself stays as it is.

    A folder appears whole or not at all: it is made beside its place and renamed. On an object
    store the rows come in one commit; who is killed before it leaves an empty gallery.

    Args:
        handle: the table, pinned to one version.
        uri: of the new gallery; nothing may be there.
        stamp: the encoder of the new vectors.
        change: float32 (n, d) unit rows to those of the new gallery.
        progress: called with rows done and in all.
        beside: called with the place of the copy once its rows are there, to add what is beside
            them.

    Returns:
        How many rows were copied.

    Raises:
        UsageError: something is there.
        BadRows: vectors that may not be stored came out.
        StoreUnwritable: the disk refused.
    """
    check_free(uri)
    schema = rows.restamped(handle.schema, stamp)
    if not lance.is_local(uri):
        with object_storage.named_faults(uri):
            table = opening.create_table(uri, schema)
            count = _fill(uri, table, handle, stamp, change, progress)
            beside(uri)
            return count
    place = Path(uri)
    part = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}{_PART}")
    try:
        with local.named_faults(uri):
            local.make_folder(part)
            table = opening.create_table(str(part), schema)
            count = _fill(str(part), table, handle, stamp, change, progress)
            beside(str(part))
            with contextlib.suppress(FileNotFoundError):
                place.rmdir()
            try:
                part.rename(place)
            except OSError as error:  # somebody else made it meanwhile
                raise _taken(uri) from error
            local.fsync(place.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return count


def check_free(uri: str | Path) -> None:
    """Refuse a place for a new gallery at which there is something, with UsageError."""
    uri = location(uri)
    object_storage.check_location(uri)
    if lance.is_local(uri):
        place = Path(uri)
        if place.is_file() or (place.is_dir() and any(place.iterdir())):
            raise _taken(uri)
        return
    object_storage.check_writable(uri)
    with object_storage.named_faults(uri):
        if object_storage.newest(uri) is not None:
            raise _taken(uri)


def _taken(uri: str) -> UsageError:
    return UsageError(f"there is something at {uri} already; name another place for the copy")


def _fill(
    uri: str,
    table: Any,
    source: Any,
    stamp: EncoderStamp,
    change: Callable[[Vectors], Vectors],
    progress: Progress | None,
) -> int:
    """Write all rows into an empty table, in one commit."""
    done, total = 0, int(source.count_rows())
    wire = rows.wire(table.schema)

    faults: list[BaseException] = []

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal done
        names = [name for name in wire.names if name not in _MADE]
        try:
            for part in lance.scan_batches(source, [*names, "embedding", "_rowid"]):
                for start in range(0, part.num_rows, _BLOCK):
                    block = part.slice(start, _BLOCK)
                    yield _changed(block, source, wire, stamp.dimension, change)
                    done += block.num_rows
                    if progress is not None:
                        progress(done, total)
        except BaseException as error:
            faults.append(error)
            raise

    try:
        if index.is_built(source):
            index.build(table)
        if total:
            table.add(pa.RecordBatchReader.from_batches(wire, batches()))
    except Exception:
        if faults:  # which LanceDB hands on as text
            raise faults[0] from None
        raise
    if int(table.count_rows()) != total:
        raise StoreDamaged(f"{uri} has {table.count_rows()} rows of {total}; copy it again")
    if index.is_built(table):
        table.optimize()
    if lance.is_local(uri):
        local.acknowledge(lance.folder(uri), int(table.version))
    return total


#: Columns that a copy does not take as they are scanned.
_MADE = ("thumbnail", "embedding", rows.CHECKSUM)


def _changed(
    block: pa.RecordBatch,
    source: Any,
    wire: pa.Schema,
    dimension: int,
    change: Callable[[Vectors], Vectors],
) -> pa.RecordBatch:
    """Rows of the copy."""
    vectors = change(lance.vectors(block))
    if vectors.shape != (block.num_rows, dimension) or not np.allclose(
        rows.lengths(vectors), 1, rtol=0, atol=rows.NORM_TOLERANCE
    ):
        raise BadRows(
            f"the map gave vectors of shape {vectors.shape} that are not all of unit length; "
            f"expected ({block.num_rows}, {dimension})"
        )
    with lance.panics_as_errors():
        pictures = source.fetch_blobs("thumbnail", block["_rowid"].to_pylist())
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    made = {
        "thumbnail": pictures,
        "embedding": pa.FixedSizeListArray.from_arrays(flat, dimension),
        rows.CHECKSUM: pa.array(rows.checksums(vectors)),
    }
    cells = [made[name] if name in made else block[name] for name in wire.names]
    return pa.RecordBatch.from_arrays(cells, schema=wire)
