"""Opening and creation of a gallery's table, with the checks that make it ours and sound."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from pathlib import Path
from typing import Any

from store.errors import EncoderChanged, EncoderMismatch, StoreDamaged, StoreNotFound, UsageError
from store.files import CURATED, FOLDER, TABLE
from store.schema import EncoderStamp
from store.table import local, object_storage, repair, rows, undo
from store.table.lance import ReadFault, connect, folder, is_local, open_version


def create(uri: str, stamp: EncoderStamp) -> Any:
    """Make an empty gallery, or open the one that is there.

    One without rows, of which nothing is kept for an undo, is made again for another encoder.

    Raises:
        EncoderMismatch: there is one, made by another encoder.
        UsageError: the location is a file, or no place for a gallery.
        StoreUnsafe, StoreUnreachable: see object_storage.check_writable.
    """
    object_storage.check_location(uri)
    if is_local(uri):
        path = Path(uri)
        if path.is_file():
            raise UsageError(f"{uri} is a file; a gallery needs a folder, pass another --store")
        if folder(uri).is_dir() and any(folder(uri).glob("_versions/*")):
            handle = open_(uri)
            if not _may_be_taken_over(uri, handle, stamp):
                return open_(uri, stamp)
        with local.named_faults(uri):
            local.make_folder(path)
            with local.writer(uri):
                _drop_empty(uri, stamp)
                handle = create_table(uri, rows.table_schema(stamp))
                local.acknowledge(folder(uri), int(handle.version))
    else:
        object_storage.check_writable(uri)
        with object_storage.named_faults(uri):
            if object_storage.newest(uri) is not None:
                _drop_empty(uri, stamp)
            if object_storage.newest(uri) is None:
                create_table(uri, rows.table_schema(stamp))
    return open_(uri, stamp)


def remove_empty(uri: str) -> bool:
    """Remove a gallery that has no rows, with its folder where nothing else is in there.

    Returns:
        Whether it is gone; one with rows, or with rows kept for an undo, stays.
    """
    if not is_local(uri):
        with object_storage.named_faults(uri):
            return _drop_empty(uri)
    with local.named_faults(uri), local.writer(uri):
        if not _drop_empty(uri):
            return False
        shutil.rmtree(Path(uri, FOLDER), ignore_errors=True)
    with contextlib.suppress(OSError):
        Path(uri).rmdir()
    return True


def _drop_empty(uri: str, but: EncoderStamp | None = None) -> bool:
    """Drop a table without rows, unless it is of this encoder already."""
    try:
        handle = open_version(uri)
    except ReadFault:
        return False
    if not _may_be_taken_over(uri, handle, but):
        return False
    database = connect(uri)
    database.drop_table(TABLE)
    for name in CURATED:  # without rows, too
        database.drop_table(name, ignore_missing=True)
    return True


def _may_be_taken_over(uri: str, handle: Any, stamp: EncoderStamp | None) -> bool:
    """Whether a table holds no rows, neither to search nor to bring back, of another encoder."""
    made = rows.stamp_of(handle.schema.metadata)
    if made is None or made == stamp:
        return False
    if handle.count_rows() or (is_local(uri) and undo.keeps_rows(uri)):
        return False
    return not any(_rows_beside(uri, name) for name in CURATED)


def _rows_beside(uri: str, name: str) -> int:
    """Rows of another table of a gallery, as far as it can be read; 0 where there is none."""
    try:
        return int(open_version(uri, name=name).count_rows())
    except ReadFault as error:
        return 0 if "was not found" in str(error) else 1


def create_table(uri: str, schema: Any, name: str = TABLE) -> Any:
    """Create an empty table, or open the one that another creator made meanwhile.

    Args:
        uri: of the gallery.
        schema: see rows.table_schema and rows.restamped; a column ``id`` becomes the primary key.
        name: of the table.
    """
    database = connect(uri)
    try:
        handle = database.create_table(
            name,
            schema=_with_primary_key(schema) if "id" in schema.names else schema,
            storage_options={"new_table_enable_stable_row_ids": "true"},
        )
    except (ValueError, RuntimeError) as error:  # another creator was first, or is now
        if "already exists" not in str(error) and not object_storage.is_conflict(error):
            raise
        handle = database.open_table(name)
    return handle


def open_(uri: str, stamp: EncoderStamp | None = None) -> Any:
    """Open a gallery's table.

    Args:
        uri: folder or object-store location.
        stamp: when given, the encoder that must have made it.

    Raises:
        StoreNotFound: nothing there.
        StoreDamaged: something there that cannot be read, or was not made by this project.
        EncoderMismatch: made by another encoder than ``stamp``.
        StoreUnreachable: the object store does not answer, or refuses.
    """
    object_storage.check_location(uri)
    hint = f"make one with: cxr ingest folder PATH-TO-YOUR-FILMS --store {uri}"
    if is_local(uri) and not folder(uri).is_dir():
        raise StoreNotFound(f"no gallery at {uri}; {hint}")
    try:
        with object_storage.named_faults(uri):
            table = open_version(uri)
    except ReadFault as error:
        if "was not found" in str(error) and not is_local(uri):
            raise StoreNotFound(f"no gallery at {uri}; {hint}") from error
        table = repair.roll_back(uri) if is_local(uri) else None
        if table is None:
            raise StoreDamaged(
                f"the gallery at {uri} cannot be opened: {repair.brief(error)}; restore it from a "
                "copy, or move it away and ingest again"
            ) from error
    if is_local(uri) and local.unfinished(folder(uri), int(table.version)):
        table = repair.settle(uri) or open_version(uri)
    metadata = table.schema.metadata
    found, layout = rows.stamp_of(metadata), rows.schema_version_of(metadata)
    if layout is not None and layout not in (rows.SCHEMA_VERSION, *rows.OLDER_VERSIONS):
        raise StoreDamaged(
            f"the gallery at {uri} has schema version {layout}, this program reads "
            f"{rows.SCHEMA_VERSION}; ingest it again into another --store, or use the program "
            "that made it"
        )
    if found is None or layout is None:
        raise StoreDamaged(f"the table at {uri} has no stamp of this project; pass another --store")
    if stamp is not None:
        check_encoder(f"the gallery at {uri}", found, stamp)
    return table


def _with_primary_key(schema: Any) -> Any:
    # Without it two writers of one new id leave two rows. Declared with the table itself, as
    # table.set_unenforced_primary_key would a commit later: until then there could be a writer.
    key = schema.field("id").with_metadata({"lance-schema:unenforced-primary-key:position": "1"})
    return schema.set(schema.get_field_index("id"), key)


def check_encoder(where: str, made: EncoderStamp, here: EncoderStamp) -> None:
    """Refuse an encoder other than the one that made a gallery.

    Args:
        where: the gallery, e.g. ``the gallery at data/gallery``.
        made: the encoder that made it.
        here: the one at hand.

    Raises:
        EncoderMismatch: they differ in fingerprint or dimension; EncoderChanged where both have
            one name.
    """
    if (made.fingerprint, made.dimension) == (here.fingerprint, here.dimension):
        return
    read_from = f", read from {made.folder}," if made.folder else ""
    if made.name == here.name:
        raise EncoderChanged(
            f"{where} was made by an encoder named {made.name}{read_from} with fingerprint "
            f"{made.fingerprint[:12]} ({made.dimension}-d), but the {here.name} here has "
            f"{here.fingerprint[:12]} ({here.dimension}-d): the encoder has changed since. Ingest "
            f"again into another --store to make a gallery of it, or pass --encoder with the "
            "folder of the old one"
        )
    raise EncoderMismatch(
        f"{where} was made by encoder {made}, but this is {here}; pass --encoder "
        f"{shlex.quote(made.address)}, or another --store for this encoder"
    )
