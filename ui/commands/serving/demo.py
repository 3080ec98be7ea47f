"""``cxr demo``: the whole chain on PneumoniaMNIST, then the dashboard."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from store import NothingToMeasure, counted
from ui.commands import output
from ui.commands.evaluation.evaluate import measure
from ui.commands.options import Device, MedmnistRoot, Quiet
from ui.commands.serving.serve import Port, check_port, run
from ui.opening import PORT, default_store

if TYPE_CHECKING:
    from ingest import Source

DATASET = "pneumoniamnist"


def demo(
    store: Annotated[
        str | None,
        typer.Option(
            envvar="CXR_STORE",
            help="The gallery. Default: in the user's data folder.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the artefacts go.")] = Path("task3_outputs"),
    root: MedmnistRoot = None,
    serve: Annotated[bool, typer.Option(help="Whether the dashboard follows.")] = True,
    port: Port = PORT,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Ingest PneumoniaMNIST, print Precision@k, write the artefacts, serve the dashboard.

    A second call reuses what is there. Without the data set and without a network it runs on the
    bundled synthetic cohort, and says so.
    """
    from ingest import ingest
    from ingest.encoders import load_encoder
    from store import Gallery
    from ui.report.export import export, is_current

    if serve:
        check_port(port)
    started = time.perf_counter()
    source, notice = _images(root)
    # Never mixed with real films: invented ones get a gallery of their own.
    store = store or default_store("gallery-synthetic" if notice else "gallery")
    encoder = load_encoder(device=device)
    gallery = Gallery.create(store, encoder.stamp)
    with output.ingest_progress(quiet) as progress:
        report = ingest(source, gallery, encoder, progress=progress)
    output.say(f"{store}: {output.summary(report)}")
    gallery.refresh()
    try:
        found = measure(gallery, dataset=source.name)
        output.evaluations(found)
    except NothingToMeasure as error:  # an npz of one's own; all else can be shown
        found = []
        output.warn(str(error))
    if is_current(gallery, out, encoder):
        output.say(f"artefacts in {out} are those of table version {gallery.table_version}")
    else:
        written = export(
            gallery,
            out,
            encoder,
            evaluations=found or None,
            progress=None if quiet else output.say,
        )
        output.say(f"{counted(len(written.files), 'file')} in {out}")
    output.say(f"done in {time.perf_counter() - started:.0f} s")
    if notice:
        output.warn(notice)
    if serve:
        run(store, None, device, port)


def _images(root: Path | None) -> tuple[Source, str | None]:
    """PneumoniaMNIST; the synthetic cohort, with its notice, only where that cannot be had."""
    from ingest import SYNTHETIC_NOTICE, SourceUnavailable, open_source

    try:
        source = open_source(f"medmnist:{DATASET}", root=root)
    except SourceUnavailable as error:
        output.warn(str(error))
        output.warn(SYNTHETIC_NOTICE)
        return open_source("synthetic"), SYNTHETIC_NOTICE
    if source.note:
        output.warn(source.note)
    return source, None
