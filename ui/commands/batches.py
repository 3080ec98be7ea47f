"""``cxr batches``: the list of ingestions with their counts and refusals, and the undo of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from store import UsageError, counted
from ui.commands import output
from ui.commands.options import Json, Store

if TYPE_CHECKING:
    from store import Gallery


def batches(
    store: Store,
    undo: Annotated[
        str | None,
        typer.Option(
            "--undo",
            help="Remove the rows that this batch brought, restore those it changed.",
            metavar="BATCH",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Really do it.")] = False,
    json: Json = False,
) -> None:
    """List the ingestions of a gallery, or undo one.

    Runs that changed nothing are in --json alone. Undoing removes the rows that a batch brought and
    restores those that it replaced or corrected; rows that were changed again later stay and are
    named. Without --yes it is counted only. Galleries on object stores restore nothing.
    """
    from store import Gallery

    gallery = Gallery.open(store)
    if undo is not None:
        _undo(gallery, undo, yes, json)
        return
    if yes:
        raise UsageError("--yes goes with --undo BATCH")
    found, others = _listed(gallery)
    if json:
        output.as_json({"uri": gallery.uri, "batches": found, "other_rows": others})
        return
    output.table(
        ["batch", "from", "state", "rows now", "inserted", "updated", "refused"],
        [
            [
                one["batch"],
                one.get("root") or one.get("source") or "",
                one.get("state", ""),
                f"{one['rows']:,}",
                f"{one.get('inserted', 0):,}",
                f"{one.get('updated', 0):,}",
                ", ".join(f"{n:,} {reason}" for reason, n in one.get("refused", {}).items()) or "0",
            ]
            for one in found
            if one["rows"] or any(one.get(key) for key in ("inserted", "updated", "refused"))
        ],
        numbers=4,
    )
    if others:
        typer.echo(f"{counted(others, 'row is', 'rows are')} of batches that left no notes here")


def _listed(gallery: Gallery) -> tuple[list[dict[str, Any]], int]:
    """Entries of the journal with their present number of rows, and the number of other rows."""
    from ingest import entries

    found = [
        {**one, "rows": gallery.delete(batch=one["batch"], dry_run=True)}
        for one in entries(gallery.uri)
    ]
    return found, gallery.stats()["rows"] - sum(one["rows"] for one in found)


def _undo(gallery: Gallery, batch: str, yes: bool, json: bool) -> None:
    from dataclasses import asdict

    from ingest import entries, mark_undone

    found = gallery.undo(batch, dry_run=True)
    nothing = not any(asdict(found).values())
    if nothing and batch not in {one["batch"] for one in entries(gallery.uri)}:
        raise UsageError(f"no batch {batch!r} in {gallery.uri}; list them with: cxr batches")
    if yes and not nothing:
        found = gallery.undo(batch)
        mark_undone(gallery.uri, batch, found)
    if json:
        output.as_json({"batch": batch, "done": yes, **asdict(found)})
        return
    typer.echo(
        f"{batch}: {counted(found.removed, 'row')} {'removed' if yes else 'would be removed'}, "
        f"{found.restored:,} restored, {found.corrected:,} corrected back"
        + ("" if yes else "; to do it: --yes")
    )
    for ids, what in (
        (found.later, "changed again or deleted since, left as they are"),
        (found.lost, "replaced, but what they were is not kept any more, left as they are"),
    ):
        if ids:
            output.warn(f"{counted(len(ids), 'row')} {what}: {output.some(ids)}")
