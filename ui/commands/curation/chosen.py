"""Options that say which films a command of curation is about, in whose name, and its report."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from store import UsageError
from ui.commands import output

if TYPE_CHECKING:
    from store import Gallery, Result, Where

_WHICH = "Which films"
Ids = Annotated[
    list[str] | None,
    typer.Option(
        "--id",
        help="A film's id, or its end where no other id ends so. May repeat.",
        rich_help_panel=_WHICH,
    ),
]
IdsFrom = Annotated[
    str | None,
    typer.Option(
        "--ids",
        metavar="FILE",
        help="A file with one id a line; - reads them from stdin.",
        rich_help_panel=_WHICH,
    ),
]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        help="KEY=VALUE, as in search: all films that pass. May repeat.",
        rich_help_panel=_WHICH,
    ),
]
Saved = Annotated[
    str | None,
    typer.Option(
        "--selection",
        metavar="NAME",
        help="A saved selection; see cxr select.",
        rich_help_panel=_WHICH,
    ),
]
Who = Annotated[
    str | None,
    typer.Option("--as", metavar="NAME", help="Who does it. Default: the system's user name."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, write nothing.")]
ShowEffect = Annotated[
    bool | None,
    typer.Option(
        "--effect/--no-effect",
        help="What it does to Precision@k. Default: in galleries of at most 20,000 films.",
        show_default=False,
    ),
]


def films(
    gallery: Gallery,
    ids: Sequence[str] | None,
    ids_from: str | None,
    where: Sequence[str] | None,
    selection: str | None,
) -> list[str] | Where:
    """The films that the options mean.

    Raises:
        UsageError: none, or more than one way; no such selection; a file that cannot be read.
    """
    ways = [ids or ids_from, where, selection]
    if sum(map(bool, ways)) != 1:
        raise UsageError(
            "which films? Give --id or --ids, or --where KEY=VALUE, or --selection NAME; one of "
            "these"
        )
    if selection:
        return gallery.curation().selected(selection)
    if where:
        from store import parse_where

        return parse_where(where, gallery.columns())
    found = [*whole_ids(gallery, ids or ()), *(_read(ids_from) if ids_from else ())]
    if not found:
        raise UsageError(f"{ids_from} has no ids; expected one a line")
    return found


def whole_ids(gallery: Gallery, ids: Sequence[str]) -> list[str]:
    """The ids that are meant, each given whole or by its end; an end is said with what it means.

    An id that no film of the gallery has stays as it is: it may be one that was set aside.

    Raises:
        BadQuery: several ids end so.
    """
    from store import UnknownId

    found = []
    for one in ids:
        try:
            found.append(gallery.whole_id(one))
        except UnknownId:
            found.append(one)
        if found[-1] != one:
            output.say(f"{one} is {found[-1]}")
    return found


def _read(place: str) -> list[str]:
    try:
        text = sys.stdin.read() if place == "-" else Path(place).read_text("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"--ids {place!r} cannot be read ({reason}); one id a line") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def report(
    gallery: Gallery,
    result: Result,
    json: bool,
    *,
    dry_run: bool = False,
    effect: bool | None = False,
    more: Mapping[str, Any] | None = None,
    said: str = "",
) -> None:
    """Print the result of an operation, and what it did to Precision@k.

    Args:
        gallery: that was changed.
        result: of the operation.
        json: as one document.
        dry_run: whether nothing was written.
        effect: whether to say what it did; see changes.effect_now.
        more: keys of the document besides.
        said: all of stdout, where it is not the usual lines.
    """
    from ui import changes

    found = None
    if result.operation is not None and effect is not False:
        gallery.refresh()
        found = changes.effect_now(gallery, [result.operation.id], effect)
    if json:
        output.as_json(
            {
                "uri": gallery.uri,
                "dry_run": dry_run,
                **result.as_dict(),
                "effect": None if found is None else [one.as_dict() for one in found],
                **(more or {}),
            }
        )
        return
    typer.echo(said or changes.done(result, dry_run=dry_run))
    for film, reason in list(result.left.items())[:20]:
        output.warn(f"{film}: {reason}")
    for line in changes.effects(found) if found is not None else ():
        output.say(line) if said else typer.echo(line)
    if result.operation is not None:
        output.say(f"to take it back: cxr changes --undo {result.operation.id}")
