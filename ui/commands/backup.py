"""``cxr backup`` and ``cxr restore``: a gallery in one file, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from store import UsageError
from ui.commands import output
from ui.commands.options import Json, Quiet, Store

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
