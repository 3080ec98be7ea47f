"""``cxr stats``, ``check``, ``optimize``, ``delete``, ``relocate`` and ``index``: upkeep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from store import UnknownId, counted
from ui import notices
from ui.commands import output
from ui.commands.curation.chosen import ShowEffect, Who, report, whole_ids
from ui.commands.options import Command, Group, Json, Quiet, Store
from ui.opening import open_gallery

if TYPE_CHECKING:
    from store import Gallery, Repaired


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
            f"{counted(older, 'film was', 'films were')} read by an older reader; when their "
            "source is ingested again, "
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
        typer.echo(f"{counted(len(gallery), 'row is', 'rows are')} sound")
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
        f"{counted(done.removed, 'older row')} of {counted(len(done.ids), 'id')} removed, the "
        "newest kept: "
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
    id_: Annotated[
        list[str] | None,
        typer.Option("--id", help="A row's id, or its end where no other id ends so. May repeat."),
    ] = None,
    batch: Annotated[
        str | None, typer.Option("--batch", help="Rows that this ingestion wrote last.")
    ] = None,
    for_good: Annotated[
        bool,
        typer.Option(
            "--for-good",
            help="Remove them from the disk, those set aside too: no undo, and the next run of "
            "their source brings them again.",
        ),
    ] = False,
    why: Annotated[str, typer.Option("--why", help="The reason, for the history.")] = "",
    who: Who = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    effect: ShowEffect = None,
    json: Json = False,
) -> None:
    """Remove films: those that meet all the conditions given, after a count and a question.

    They are kept aside for an undo, and stay out when their source is ingested again. A whole data
    set (--where dataset=NAME alone) or a whole batch (--batch alone) is removed for good, and may
    come again.
    """
    from store import parse_where, whole_of

    gallery = open_gallery(store)
    condition = parse_where(where or [], gallery.columns() if where else ())
    chosen = whole_ids(gallery, id_ or ()) or None
    curation = gallery.curation(who)
    if for_good and chosen and not condition and batch is None:
        count = _for_good(gallery, chosen, dry_run=dry_run, yes=yes)
        _deleted(gallery, count, json, dry_run=dry_run)
        return
    only = chosen if not condition and batch is None else None
    whole = for_good or (chosen is None and whole_of(condition, batch) is not None)
    if only and not whole:  # excluded films, too
        count = len(curation.delete(only, dry_run=True).changed)
    else:
        count = gallery.delete(condition, chosen, batch, dry_run=True)
    forgotten = 0
    if dry_run or not count:
        if whole and not dry_run and chosen is None:  # films set aside alone may be left of it
            before = _set_aside(gallery)
            gallery.delete(condition, chosen, batch)
            forgotten = before - _set_aside(gallery)
        _deleted(gallery, count, json, dry_run=dry_run, forgotten=forgotten)
        return
    if not yes:
        question = f"Delete {count:,} of {counted(len(gallery), 'row')}"
        typer.confirm(f"{question}{' for good' if whole else ''}?", abort=True, err=True)
    if whole:
        before = _set_aside(gallery)
        count = gallery.delete(condition, chosen, batch)
        _deleted(gallery, count, json, forgotten=before - _set_aside(gallery))
        return
    result = curation.delete(only or gallery.matching(condition, chosen, batch), why)
    deleted = len(result.changed)
    more = {"deleted": deleted, "matched": count}
    said = f"{counted(deleted, 'row')} deleted"
    report(gallery, result, json, effect=effect, more=more, said=said)


def _for_good(gallery: Gallery, ids: list[str], *, dry_run: bool, yes: bool) -> int:
    """Remove films by id from the disk, in the gallery or set aside; how many."""
    here = list(gallery.rows(ids))
    aside = gallery.curation().forget(ids=ids, dry_run=True)
    if absent := len(set(ids)) - len(here) - aside:
        raise UnknownId(f"{absent:,} of these ids are neither in the gallery nor set aside")
    count = len(here) + aside
    if dry_run:
        return count
    if not yes:
        typer.confirm(f"Remove {count:,} films from the disk?", abort=True, err=True)
    gallery.curation().forget(ids=ids)
    if here:
        gallery.delete(ids=here)
    return count


def _set_aside(gallery: Gallery) -> int:
    return len(gallery.curation().set_aside())


def _deleted(
    gallery: Gallery, count: int, json: bool, *, dry_run: bool = False, forgotten: int = 0
) -> None:
    if json:
        gone = {"deleted": 0 if dry_run else count, "matched": count, "forgotten": forgotten}
        output.as_json({"uri": gallery.uri, **gone})
        return
    typer.echo(f"{counted(count, 'row')} {'would be deleted' if dry_run else 'deleted'}")
    if forgotten:
        output.say(f"{counted(forgotten, 'film')} set aside went with them, and may come again")


def relocate(
    store: Store,
    root: Annotated[Path, typer.Argument(help="The folder to look in.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, change nothing.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Find the films' own files again after they were moved, by their digests.

    Every file below the folder is read, of Parquet and Arrow shards the pictures. A row whose file
    is no longer in its place gets the place of the film with the same bytes; nothing else of it
    changes, and nothing is encoded.
    """
    from dataclasses import asdict

    from ingest import relocate as find
    from store import Gallery

    def tell(done: int, total: int) -> None:
        output.say(f"{done:,} of {counted(total, 'file')} read")

    gallery = Gallery.open(store)
    done = find(gallery, root, dry_run=dry_run, progress=None if quiet else tell)
    if json:
        output.as_json({"uri": gallery.uri, "done": not dry_run, **asdict(done)})
        return
    typer.echo(
        f"{counted(done.moved, 'row')} {'would get' if dry_run else 'got'} a new place below "
        f"{done.root}; in their place: {done.in_place:,}, not found: {done.missing:,}"
    )
    if done.others or done.refused:
        output.say(f"files of no row: {done.others:,}, not readable: {done.refused:,}")


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
