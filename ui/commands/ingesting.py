"""``cxr ingest`` and ``cxr import``: rows into a gallery."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ui import printing
from ui.commands.options import Device, EncoderName, Json, Quiet, Store

if TYPE_CHECKING:
    from ingest import IngestReport
    from ingest.encoders import Encoder


def ingest(
    source: Annotated[str, typer.Argument(help="medmnist:NAME, or synthetic.")],
    store: Store,
    encoder: EncoderName = None,
    device: Device = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Only this split; repeat for several.")
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the images: 28, 64, 128 or 224.")] = 28,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder that holds the data set's npz. Default: $MEDMNIST_ROOT, then ~/.medmnist."
        ),
    ] = None,
    download: Annotated[
        bool, typer.Option(help="Whether a missing data set may be fetched.")
    ] = True,
    batch: Annotated[str | None, typer.Option(help="Name of this batch.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read images, encode what is new or changed, and write it to the gallery.

    Running it again does nothing twice, and finishes what was interrupted.
    """
    from ingest import ingest as run
    from ingest import open_source
    from store import Gallery

    # Opened first: a source that is not there must not leave an empty gallery behind.
    images = open_source(source, splits=split, size=size, root=root, download=download)
    if images.note:
        printing.warn(images.note)

    model = _encoder(store, encoder, device)
    gallery = Gallery.create(store, model.stamp)
    try:
        with printing.ingest_progress(quiet) as progress:
            report = run(images, gallery, model, batch=batch, progress=progress)
    except KeyboardInterrupt:
        printing.warn("stopped; what was written stays, the same command goes on from there")
        raise typer.Exit(130) from None
    if json:
        printing.as_json(report.as_dict())
    else:
        typer.echo(summary(report))
    for rejection in report.rejected[:20]:
        printing.warn(f"refused {rejection.source}: {rejection.reason}: {rejection.detail}")
    if len(report.rejected) > 20:
        printing.warn(f"... and {len(report.rejected) - 20} more; --json lists all")
    if report.rejected:
        raise typer.Exit(3)


def summary(report: IngestReport) -> str:
    """One line about an ingestion."""
    return (
        f"{report.inserted:,} inserted, {report.updated:,} updated, "
        f"{report.unchanged:,} unchanged, {len(report.rejected):,} refused; "
        f"{report.encoded:,} encoded in {report.seconds:.1f} s "
        f"({report.images_per_second:,.0f} images/s); table version {report.table_version}"
    )


def _encoder(store: str, name: str | None, device: str | None) -> Encoder:
    """The one asked for, else the one that made the gallery, else the bundled one."""
    from ingest.encoders import DEFAULT_ENCODER, load_encoder
    from store import Gallery, StoreNotFound
    from ui.commands.options import encoder_of

    if name is not None:
        return load_encoder(name, device=device)
    try:
        gallery = Gallery.open(store)
    except StoreNotFound:
        return load_encoder(DEFAULT_ENCODER, device=device)
    return encoder_of(gallery, None, device)


def import_(
    folder: Annotated[Path, typer.Argument(help="embeddings.npy, labels.npy and company.")],
    store: Store,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Bring vectors to unit length first.")
    ] = False,
    json: Json = False,
) -> None:
    """Read embeddings made elsewhere into a gallery, to be searched and evaluated as ours."""
    from ingest import read_artefacts, store_artefacts

    artefacts = read_artefacts(folder, normalise=normalise)
    for note in artefacts.notes:
        printing.warn(note)
    gallery, report = store_artefacts(artefacts, store)
    if json:
        printing.as_json(
            {
                "inserted": report.inserted,
                "updated": report.updated,
                "unchanged": report.unchanged,
                "table_version": report.table_version,
                "store": gallery.describe(),
            }
        )
        return
    typer.echo(
        f"{report.inserted:,} inserted, {report.updated:,} updated, {report.unchanged:,} unchanged "
        f"in {gallery.uri}; encoder {gallery.stamp}"
    )
