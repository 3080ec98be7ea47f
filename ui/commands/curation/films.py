"""``cxr tag``, ``note``, ``label``, ``exclude`` and ``include``: what people say of films."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from store import UsageError
from ui.commands import output
from ui.commands.curation import chosen
from ui.commands.curation.chosen import DryRun, Filters, Ids, IdsFrom, Saved, ShowEffect, Who
from ui.commands.options import Json, Store
from ui.opening import open_gallery

if TYPE_CHECKING:
    from store import Gallery

Why = Annotated[str, typer.Option("--why", help="The reason, for the history.")]


def tag(
    store: Store,
    tags: Annotated[list[str] | None, typer.Argument(help="Tags to put on the films.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", help="A tag to take off. May repeat.")
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="List the films that have tags or a note.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="With --list: as CSV.")] = False,
    id_: Ids = None,
    ids: IdsFrom = None,
    where: Filters = None,
    selection: Saved = None,
    who: Who = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Put tags on films, or take them off; --where tag=NAME finds them in every command."""
    gallery = open_gallery(store)
    if list_:
        _list(gallery, csv, json)
        return
    if csv:
        raise UsageError("--csv goes with --list")
    films = chosen.films(gallery, id_, ids, where, selection)
    result = gallery.curation(who).tag(films, tags or (), remove or (), dry_run=dry_run)
    chosen.report(gallery, result, json, dry_run=dry_run)


def _list(gallery: Gallery, csv: bool, json: bool) -> None:
    from ui.tables import remarks

    told = gallery.curation().remarks()
    if json:
        output.as_json(
            {
                "uri": gallery.uri,
                "films": [
                    {"id": film, "tags": one["tags"], "note": one["remark"]}
                    for film, one in told.items()
                ],
            }
        )
    elif csv:
        from ingest import csv_bytes

        typer.echo(csv_bytes(*remarks(told)).decode(), nl=False)
    else:
        head, rows = remarks(told)
        output.table(head, [[str(cell or "") for cell in row] for row in rows])


def note(
    store: Store,
    text: Annotated[str, typer.Argument(help="The note; an empty text takes it off.")],
    id_: Ids = None,
    ids: IdsFrom = None,
    where: Filters = None,
    selection: Saved = None,
    who: Who = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write a note on films, in place of the one they have."""
    gallery = open_gallery(store)
    films = chosen.films(gallery, id_, ids, where, selection)
    result = gallery.curation(who).note(films, text, dry_run=dry_run)
    chosen.report(gallery, result, json, dry_run=dry_run)


def label(
    store: Store,
    only: Annotated[
        str | None,
        typer.Option(
            "--set", metavar="A,B", help="The findings that are present, in place of those stored."
        ),
    ] = None,
    add: Annotated[
        list[str] | None, typer.Option("--add", help="A finding that is present too. May repeat.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", help="A finding to take off. May repeat.")
    ] = None,
    uncertain: Annotated[
        list[str] | None, typer.Option("--uncertain", help="An uncertain finding. May repeat.")
    ] = None,
    absent: Annotated[
        list[str] | None, typer.Option("--absent", help="A finding that is absent. May repeat.")
    ] = None,
    nothing: Annotated[bool, typer.Option("--nothing", help="Nothing was found.")] = False,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="The films are not labelled.")
    ] = False,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="The labels are right as they are.")
    ] = False,
    new: Annotated[
        bool, typer.Option("--new", help="Allow a label that no film of the gallery has yet.")
    ] = False,
    id_: Ids = None,
    ids: IdsFrom = None,
    where: Filters = None,
    selection: Saved = None,
    who: Who = None,
    dry_run: DryRun = False,
    effect: ShowEffect = None,
    json: Json = False,
) -> None:
    """Correct labels of films, or confirm them, and see what it does to Precision@k.

    The next run of their source keeps what is said here.
    """
    from store import Correction

    gallery = open_gallery(store)
    if nothing and only is not None:
        raise UsageError("--nothing or --set, one of both")
    asked = (only, add, remove, uncertain, absent, nothing, unlabelled)
    if confirm and any(asked):
        raise UsageError("--confirm says that labels are right as they are: give it alone")
    films = chosen.films(gallery, id_, ids, where, selection)
    curation = gallery.curation(who)
    if confirm:
        result = curation.confirm(films, dry_run=dry_run)
    else:
        correction = Correction.of(
            () if nothing else None if only is None else only.split(","),
            add or (),
            remove or (),
            uncertain or (),
            absent or (),
            unlabelled=unlabelled,
        )
        if not new:
            _check_known(gallery, correction.named)
        result = curation.label(films, correction, dry_run=dry_run)
    chosen.report(gallery, result, json, dry_run=dry_run, effect=effect)


def _check_known(gallery: Gallery, names: list[str]) -> None:
    """Refuse a label that no film has: mostly a slip."""
    if not names:
        return
    facets = gallery.facets()
    known = {name for column in ("labels", "uncertain", "absent") for name in facets[column]}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"no film has the label {unknown[0]!r}; there are: {output.some(sorted(known))}. "
            "If it is a new one: --new"
        )


def exclude(
    store: Store,
    id_: Ids = None,
    ids: IdsFrom = None,
    where: Filters = None,
    selection: Saved = None,
    why: Why = "",
    who: Who = None,
    dry_run: DryRun = False,
    effect: ShowEffect = None,
    json: Json = False,
) -> None:
    """Take films out of the gallery and keep them aside; cxr include brings them back.

    They take part in no search and no evaluation, and stay out when their source is ingested again.
    """
    gallery = open_gallery(store)
    films = chosen.films(gallery, id_, ids, where, selection)
    result = gallery.curation(who).exclude(films, why, dry_run=dry_run)
    chosen.report(gallery, result, json, dry_run=dry_run, effect=effect)


def include(
    store: Store,
    id_: Ids = None,
    ids: IdsFrom = None,
    all_: Annotated[bool, typer.Option("--all", help="Every excluded film.")] = False,
    why: Why = "",
    who: Who = None,
    dry_run: DryRun = False,
    effect: ShowEffect = None,
    json: Json = False,
) -> None:
    """Bring films back that were excluded or deleted; cxr changes --set-aside lists them."""
    gallery = open_gallery(store)
    curation = gallery.curation(who)
    if all_:
        if id_ or ids:
            raise UsageError("--all or --id, one of both")
        films = [str(one["id"]) for one in curation.set_aside() if one["as"] == "excluded"]
    else:
        found = chosen.films(gallery, id_, ids, None, None)
        assert isinstance(found, list)
        films = found
    result = curation.include(films, why, dry_run=dry_run)
    chosen.report(gallery, result, json, dry_run=dry_run, effect=effect)
