"""``cxr stats``, ``check``, ``optimize``: what is in the store, is it sound, tidy it."""

from __future__ import annotations

import typer

from ui import printing
from ui.commands.options import Json, Store


def stats(store: Store, json: Json = False) -> None:
    """What is in the gallery."""
    from store import Gallery

    found = Gallery.open(store).stats()
    if json:
        printing.as_json(found)
        return
    for key, value in found.items():
        shown = (
            ", ".join(f"{name} {count:,}" for name, count in value.items()) or "none"
            if isinstance(value, dict)
            else str(value)
        )
        typer.echo(f"{key.replace('_', ' '):<16} {shown}")


def check(store: Store, json: Json = False) -> None:
    """Read everything back: ids unique, vectors of unit length, pictures there.

    Exits with 4 when something is wrong.
    """
    from store import Gallery

    gallery = Gallery.open(store)
    problems = gallery.check()
    if json:
        printing.as_json({"uri": gallery.uri, "problems": problems})
    elif not problems:
        typer.echo(f"{len(gallery):,} rows are sound")
    for problem in problems:
        printing.warn(problem)
    if problems:
        raise typer.Exit(4)


def optimize(store: Store) -> None:
    """Merge small files and forget versions older than a day."""
    from store import Gallery

    gallery = Gallery.open(store)
    before = gallery.stats()
    gallery.optimize()
    after = gallery.stats()
    typer.echo(
        f"fragments {before['fragments']} -> {after['fragments']}, "
        f"bytes {before['bytes']:,} -> {after['bytes']:,}"
    )
