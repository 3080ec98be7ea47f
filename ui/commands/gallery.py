"""Upkeep of a gallery: ``cxr stats``, ``check``, ``optimize``, ``delete``, ``backup`` ..."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from store import UsageError
from ui import notices
from ui.commands import output
from ui.commands.options import Command, Group, Json, Quiet, Store
from ui.opening import open_gallery

if TYPE_CHECKING:
    from store import Repaired


def stats(store: Store, json: Json = False) -> None:
    """Counts, data sets, labels and versions of the gallery."""
    from ingest import READER

    found = open_gallery(store).stats()
    readers = found["pixel_readers"]
    older = sum(count for version, count in readers.items() if int(version) < READER)
    found["older_reader"] = older
    if json:
        output.as_json(found)
        return
    note = notices.of_results(found)
    found.pop("approximate", None)
    for key, value in found.items():
        shown = (
            ", ".join(_entry(name, one) for name, one in value.items()) or "none"
            if isinstance(value, dict)
            else str(value)
        )
        typer.echo(f"{key.replace('_', ' '):<16} {shown}")
    if note is not None:
        typer.echo(f"{'answers':<16} {note}")
    if older:
        output.say(
            f"{older:,} films were read by an older reader; when their source is ingested again, "
            "those that are read otherwise by now are read again"
        )


def _entry(name: str, value: object) -> str:
    """Label with its count, or column with its type."""
    return f"{name} {value:,}" if isinstance(value, int) else f"{name} ({value})"


def check(
    store: Store,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="First, of each id that occurs more than once, keep the newest row; the older go "
            "into the undo store.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Read everything back: ids, vectors and their checksums, pictures, the mirror.

    Names the rows that went bad. Checks the saved mirror as well and drops it if it is damaged.

    Exits with 4 when something is wrong.
    """
    gallery = open_gallery(store)
    found: dict[str, object] = {"uri": gallery.uri}
    if repair:
        done = gallery.repair()
        found["repaired"] = {"ids": done.ids, "removed": done.removed, "kept": done.kept}
        _say_repaired(done)
    problems = gallery.check()
    if json:
        output.as_json({**found, "problems": problems})
    elif not problems:
        typer.echo(f"{len(gallery):,} rows are sound")
    for problem in problems:
        output.warn(problem)
    if problems:
        raise typer.Exit(4)


def _say_repaired(done: Repaired) -> None:
    from store import REPAIR

    if not done.ids:
        output.warn("no id occurs more than once: nothing to repair")
        return
    place = (
        "they are in the undo store: cxr batches --undo BATCH of the newer row brings one back, "
        f"--undo {REPAIR} where that has none, or the same one"
        if done.kept
        else "galleries on object stores have no undo store"
    )
    output.warn(
        f"{done.removed:,} older rows of {len(done.ids):,} ids removed, the newest kept: "
        f"{output.some(done.ids)}; {place}"
    )


def optimize(store: Store) -> None:
    """Merge small files and forget versions that nobody reads. Happens by itself now and then."""
    gallery = open_gallery(store)
    before = gallery.stats()
    gallery.optimize()
    after = gallery.stats()
    typer.echo(
        f"fragments {before['fragments']} -> {after['fragments']}, "
        f"bytes {before['bytes']:,} -> {after['bytes']:,}"
    )


def delete(
    store: Store,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", help="KEY=VALUE, as in search, also batch=NAME. All given must hold."
        ),
    ] = None,
    id_: Annotated[list[str] | None, typer.Option("--id", help="A row's id. May repeat.")] = None,
    batch: Annotated[
        str | None, typer.Option("--batch", help="Rows that this ingestion wrote last.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove rows: those that meet all the conditions given, after a count and a question."""
    from store import parse_where

    gallery = open_gallery(store)
    condition = parse_where(where or [], gallery.columns() if where else ())
    chosen = id_ or None
    count = gallery.delete(condition, chosen, batch, dry_run=True)
    if not dry_run and count:
        if not yes:
            typer.confirm(f"Delete {count:,} of {len(gallery):,} rows?", abort=True, err=True)
        count = gallery.delete(condition, chosen, batch)
    if json:
        output.as_json({"uri": gallery.uri, "deleted": 0 if dry_run else count, "matched": count})
    else:
        typer.echo(f"{count:,} rows {'would be deleted' if dry_run else 'deleted'}")


#: In the folder of an ingestion's notes, but no notes: made again, or only for a job that runs.
_NO_NOTES = (
    *(f"files.sqlite{ending}" for ending in ("", "-wal", "-shm", "-journal")),
    "status.json",
    "inbox",
    "jobs",
)
BackupFile = Annotated[Path, typer.Argument(help="The backup, e.g. films-2026-12-01.zip.")]


def backup(
    file: BackupFile,
    store: Store,
    salt: Annotated[
        bool,
        typer.Option(
            "--salt",
            help="With the salt of the patients' pseudonyms: who has it can try out patient "
            "numbers. Needed to give the same patients the same names on another machine.",
        ),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the whole gallery into one file, also while others use it and add to it.

    In it are all films with vectors and thumbnails, labels, the journal and what can be undone;
    not the original files, nor the encoder. Each part has its sha256. An existing file is never
    overwritten.
    """
    from ingest import salt_file, state_folder
    from store import back_up

    secret = None
    if salt:
        try:
            secret = salt_file().read_bytes()
        except OSError as error:
            raise UsageError(
                f"there is no salt to add at {salt_file()} ({error.strerror}): leave out --salt, "
                "or set CXR_SALT_FILE"
            ) from None
    with output.byte_progress("backup", quiet) as progress:
        done = back_up(
            store,
            file,
            state=state_folder(store),
            without=_NO_NOTES,
            salt=secret,
            progress=progress,
        )
    if done.encoder_folder is not None:
        output.warn(
            f"the gallery's encoder is not in it: keep a copy of {done.encoder_folder} as well"
        )
    if json:
        output.as_json(
            {
                "file": str(file),
                "rows": done.rows,
                "table_version": done.version,
                "tables": [*done.tables],
                "members": done.members,
                "bytes": done.size,
                "salt": done.salt,
            }
        )
        return
    typer.echo(
        f"{done.rows:,} films (table version {done.version}), {done.size:,} bytes in {file}"
        + ("; it holds the salt: keep it to yourself" if done.salt else "")
    )


def restore(
    file: BackupFile,
    store: Store,
    salt: Annotated[
        bool,
        typer.Option("--salt", help="Also put the backup's salt in its place, if none is there."),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only read the backup and compare its checksums.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a gallery of a backup, at --store, where nothing may be yet.

    It appears whole or not at all. Look at every row of it with: cxr check.
    """
    from ingest import check_salt, keep_salt, state_folder
    from store import look_into
    from store import restore as restored

    if check and salt:
        raise UsageError("--salt plays no part with --check")
    with output.byte_progress("restore", quiet) as progress:
        if check:
            done = look_into(file, progress)
        else:
            if salt and (held := look_into(file).salt) is not None:
                check_salt(held)
            done = restored(file, store, state=state_folder(store), progress=progress)
    for what in done.left_out:
        output.warn(f"not restored: {what}")
    kept = None
    if salt:
        if done.salt is None:
            output.warn("this backup holds no salt; it was made without --salt")
        else:
            kept = keep_salt(done.salt)
            output.say(f"salt: {kept}")
    elif done.salt is not None and not check:
        output.say("the backup holds a salt, which was not taken; to take it: --salt")
    if json:
        output.as_json(
            {
                "file": str(file),
                "uri": done.uri or None,
                "made_at": done.made_at,
                "rows": done.rows,
                "table_version": done.version,
                "tables": [*done.tables],
                "members": done.members,
                "bytes": done.size,
                "salt": done.salt is not None,
                "salt_file": None if kept is None else str(kept),
            }
        )
        return
    whole = f"{done.rows:,} films (table version {done.version}) of {done.made_at}"
    typer.echo(f"{whole}: {file} is sound" if check else f"{whole} are in {done.uri}")


index = typer.Typer(
    help="An index on disk, for galleries beyond memory; used with --index lance.",
    no_args_is_help=True,
    cls=Group,
)


@index.command(cls=Command)
def build(
    store: Store,
    partitions: Annotated[
        int | None, typer.Option(help="Of the vectors. Default: one per 4,096 rows.")
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(help="Recall@10 to reach, by looking into more partitions. Default: 0.95."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build the index anew and measure how often it misses a neighbour."""
    from store import Gallery

    gallery = Gallery.open(store)
    built = gallery.build_index(partitions, recall, None if quiet else output.say)
    found = {**built, "rows_not_indexed": 0}
    if json:
        output.as_json({"uri": gallery.uri, "approximate": found})
    else:
        typer.echo(notices.of_index(found))
    wanted = 0.95 if recall is None else recall
    if built["recall_at_10"] < wanted:
        output.warn(
            f"recall@10 {built['recall_at_10']:.3f} is below {wanted:g}, the most that was tried "
            f"({built['probes']} of {built['partitions']} partitions); try fewer --partitions"
        )


@index.command(cls=Command)
def show(store: Store, json: Json = False) -> None:
    """The index and the measurements at its building."""
    gallery = open_gallery(store, "lance")
    found = gallery.describe()
    if json:
        output.as_json({"uri": gallery.uri, "approximate": found["approximate"]})
    else:
        typer.echo(notices.of_results(found))


@index.command(cls=Command)
def drop(store: Store) -> None:
    """Remove the index. Exact search does not need it."""
    from store import Gallery

    gallery = Gallery.open(store)
    typer.echo("removed" if gallery.drop_index() else f"there is no index in {gallery.uri}")
