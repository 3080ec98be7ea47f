"""``cxr changes`` and ``cxr select``: the log of curation with undo, and saved selections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from store import UsageError
from ui.commands import output
from ui.commands.curation import chosen
from ui.commands.curation.chosen import DryRun, Filters, Ids, IdsFrom, ShowEffect, Who
from ui.commands.options import Json, Store
from ui.opening import open_gallery

if TYPE_CHECKING:
    from store import Curation, Gallery, Operation


def changes(
    store: Store,
    operation: Annotated[
        str | None, typer.Argument(help="Show this one, film by film, with its effect.")
    ] = None,
    film: Annotated[
        str | None, typer.Option("--film", metavar="ID", help="The history of one film.")
    ] = None,
    set_aside: Annotated[
        bool, typer.Option("--set-aside", help="List the films that are excluded or deleted.")
    ] = False,
    undo: Annotated[
        str | None, typer.Option("--undo", metavar="CHANGE", help="Take this change back.")
    ] = None,
    partly: Annotated[
        bool,
        typer.Option("--partly", help="With --undo: leave films that were changed later."),
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV.")] = False,
    who: Who = None,
    dry_run: DryRun = False,
    effect: ShowEffect = None,
    json: Json = False,
) -> None:
    """List what people changed: who, when, from what to what; and take it back."""
    asked = [one for one in (operation, film, undo) if one is not None]
    if len(asked) + set_aside > 1:
        raise UsageError("one of CHANGE, --film, --set-aside and --undo at a time")
    if (partly or dry_run) and undo is None:
        raise UsageError("--partly and --dry-run go with --undo CHANGE")
    gallery = open_gallery(store)
    curation = gallery.curation(who)
    if undo is not None:
        result = curation.undo(undo, partly=partly, dry_run=dry_run)
        chosen.report(gallery, result, json, dry_run=dry_run, effect=effect)
    elif film is not None:
        _history(gallery, curation, film, csv, json)
    elif set_aside:
        _aside(gallery, curation, csv, json)
    elif operation is not None:
        _one(gallery, curation, operation, effect, csv, json)
    else:
        _all(gallery, curation.operations(), csv, json)


def _print(head: list[str], rows: list[list[str]], csv: bool) -> None:
    if csv:
        from ingest import csv_bytes

        typer.echo(csv_bytes(head, rows).decode(), nl=False)
    else:
        output.table(head, rows)


def _all(gallery: Gallery, found: list[Operation], csv: bool, json: bool) -> None:
    from ui import changes as words

    if json:
        output.as_json({"uri": gallery.uri, "changes": [one.as_dict() for one in found]})
        return
    _print(
        ["change", "when", "who", "what", "state"],
        [
            [one.id, f"{one.at:%Y-%m-%d %H:%M}", one.who, words.line(one), words.state(one)]
            for one in found
        ],
        csv,
    )


def _one(
    gallery: Gallery,
    curation: Curation,
    operation: str,
    effect: bool | None,
    csv: bool,
    json: bool,
) -> None:
    from ui import changes as words

    one = curation.operation(operation)
    films = curation.changes_of(operation)
    effects = None if csv else words.effect_now(gallery, [operation], effect)
    if json:
        output.as_json(
            {
                "uri": gallery.uri,
                **one.as_dict(),
                "changes": [{"id": f.film, "before": f.before, "after": f.after} for f in films],
                "effect": None if effects is None else [e.as_dict() for e in effects],
            }
        )
        return
    rows = [[f.film, words.cells(f.before), words.cells(f.after)] for f in films]
    _print(["film", "before", "after"], rows, csv)
    for line in words.effects(effects) if effects is not None else ():
        typer.echo(line)


def _history(gallery: Gallery, curation: Curation, film: str, csv: bool, json: bool) -> None:
    from ui import changes as words

    found = curation.history(film)
    if json:
        lines = [one.as_dict() for one in found]
        output.as_json({"uri": gallery.uri, "id": film, "history": lines})
        return
    if not found and not gallery.rows([film]):
        raise UsageError(f"nothing is known of a film {film!r}")
    _print(
        ["change", "when", "who", "what", "before", "after", "holds"],
        [
            [
                one.operation,
                f"{one.at:%Y-%m-%d %H:%M}",
                one.who,
                one.kind if one.of is None else f"undo of {one.of}",
                words.cells(one.before),
                words.cells(one.after),
                "yes" if one.in_force else "taken back",
            ]
            for one in found
        ],
        csv,
    )


def _aside(gallery: Gallery, curation: Curation, csv: bool, json: bool) -> None:
    found = curation.set_aside()
    if json:
        films = [
            {**one, "sha256": one["sha256"].hex(), "at": one["at"].isoformat()} for one in found
        ]
        output.as_json({"uri": gallery.uri, "set_aside": films})
        return
    _print(
        ["film", "as", "when", "who", "change", "labels", "data set"],
        [
            [
                one["id"],
                one["as"],
                f"{one['at']:%Y-%m-%d %H:%M}",
                one["by"],
                one["in"],
                ", ".join(one["labels"]),
                one["dataset"] or "",
            ]
            for one in found
        ],
        csv,
    )


def select(
    store: Store,
    name: Annotated[
        str | None, typer.Argument(help="Its name; without one, all saved selections are listed.")
    ] = None,
    id_: Ids = None,
    ids: IdsFrom = None,
    where: Filters = None,
    drop: Annotated[bool, typer.Option("--drop", help="Remove it; its films stay.")] = False,
    who: Who = None,
    json: Json = False,
) -> None:
    """Save films under a name: these ids, or all that pass filters; for --selection NAME.

    With a name alone its films are printed, one id a line.
    """
    gallery = open_gallery(store)
    curation = gallery.curation(who)
    chooses = bool(id_ or ids or where)
    if name is None:
        if chooses or drop:
            raise UsageError("a selection needs a name: cxr select NAME ...")
        found = curation.selections()
        if json:
            lines = [one.as_dict() for one in found]
            output.as_json({"uri": gallery.uri, "selections": lines})
            return
        output.table(
            ["selection", "when", "who", "films"],
            [
                [
                    one.name,
                    f"{one.at:%Y-%m-%d %H:%M}",
                    one.who,
                    " ".join(one.filters) if one.filters else f"{len(one.ids or ()):,} ids",
                ]
                for one in found
            ],
        )
        return
    if drop:
        if not curation.drop_selection(name):
            raise UsageError(f"no selection {name!r}; list them with: cxr select")
        output.say(f"selection {name} removed; its films stay")
        return
    if chooses:
        films = chosen.films(gallery, id_, ids, where, None)
        if where:
            saved = curation.save(name, where=where)
        else:
            assert isinstance(films, list)
            saved = curation.save(name, ids=films)
        if json:
            output.as_json({"uri": gallery.uri, **saved.as_dict()})
        else:
            output.say(f"saved; use it with: --selection {name}")
        return
    told = curation.selected(name)
    listed = told if isinstance(told, list) else gallery.ids(told)
    if json:
        output.as_json({"uri": gallery.uri, "name": name, "ids": listed})
        return
    for one in listed:
        typer.echo(one)
