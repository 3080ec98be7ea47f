"""``cxr import`` and ``cxr ingest embeddings``: vectors that were made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ui import printing
from ui.commands.options import Json, Store

if TYPE_CHECKING:
    from ingest import Artefacts


def embeddings(
    source: str,
    path: Path | None,
    store: str,
    options: dict[str, Any],
    encoder: str | None,
    json: bool,
) -> None:
    """``cxr ingest embeddings PATH``: a folder as ``cxr import`` reads it, or a table."""
    from store import UsageError

    place = path or Path(source.partition(":")[2])
    if str(place) == ".":
        raise UsageError("source 'embeddings' needs a folder or a file: embeddings PATH")
    allowed = ("id_column", "vector_column", "label_column", "label_names", "normalise")
    wrong = [name for name, value in options.items() if value is not None and name not in allowed]
    if wrong or encoder is not None:
        option = (wrong or ["encoder"])[0].replace("_", "-")
        raise UsageError(f"source 'embeddings' has no option --{option}: its vectors are made")
    given = {name: options[name] for name in allowed if options[name] is not None}
    if place.is_dir():
        from ingest import read_artefacts

        columns = [name for name in given if name != "normalise"]
        if columns:
            raise UsageError(f"--{columns[0].replace('_', '-')} is for a Parquet or Arrow file")
        artefacts = read_artefacts(place, **given)
    else:
        from ingest.artefacts.table import read_table

        artefacts = read_table(place, **given)
    _store(artefacts, store, json)


def import_(
    folder: Annotated[Path, typer.Argument(help="embeddings.npy, labels.npy and company.")],
    store: Store,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Bring vectors to unit length first.")
    ] = False,
    json: Json = False,
) -> None:
    """Read embeddings made elsewhere into a gallery, to be searched and evaluated as ours."""
    from ingest import read_artefacts

    _store(read_artefacts(folder, normalise=normalise), store, json)


def _store(artefacts: Artefacts, store: str, json: bool) -> None:
    from ingest import store_artefacts

    for note in artefacts.notes:
        printing.warn(note)
    gallery, report = store_artefacts(artefacts, store)
    if json:
        printing.as_json(
            {
                "inserted": report.inserted,
                "updated": report.updated,
                "unchanged": report.unchanged,
                "changed": dict(report.changed),
                "table_version": report.table_version,
                "store": gallery.describe(),
            }
        )
        return
    typer.echo(
        f"{report.inserted:,} inserted, {printing.updated(report.updated, report.changed)}, "
        f"{report.unchanged:,} unchanged in {gallery.uri}; encoder {gallery.stamp}"
    )
