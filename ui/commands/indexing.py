"""``cxr index``: LanceDB's own vector index, for galleries beyond memory."""

from __future__ import annotations

from typing import Annotated

import typer

from ui import printing
from ui.commands.options import Json, Quiet, Store

app = typer.Typer(
    help="An index on disk, for galleries beyond memory; used with --index lance.",
    no_args_is_help=True,
)


@app.command()
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
    from ui.opening import approximate

    gallery = Gallery.open(store)
    built = gallery.build_index(partitions, recall, None if quiet else printing.say)
    found = {**built, "rows_not_indexed": 0}
    if json:
        printing.as_json({"uri": gallery.uri, "approximate": found})
    else:
        typer.echo(approximate(found))
    wanted = 0.95 if recall is None else recall
    if built["recall_at_10"] < wanted:
        printing.warn(
            f"recall@10 {built['recall_at_10']:.3f} is below {wanted:g}, the most that was tried "
            f"({built['probes']} of {built['partitions']} partitions); try fewer --partitions"
        )


@app.command()
def show(store: Store, json: Json = False) -> None:
    """What the index is and what was measured when it was built."""
    from ui.opening import manner, open_gallery

    gallery = open_gallery(store, "lance")
    found = gallery.describe()
    if json:
        printing.as_json({"uri": gallery.uri, "approximate": found["approximate"]})
    else:
        typer.echo(manner(found))


@app.command()
def drop(store: Store) -> None:
    """Remove the index. Exact search does not need it."""
    from store import Gallery

    gallery = Gallery.open(store)
    typer.echo("removed" if gallery.drop_index() else f"there is no index in {gallery.uri}")
