"""``cxr ingest`` and ``cxr import``: rows into a gallery."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ui import printing
from ui.commands.options import Device, EncoderName, Json, Quiet, Store

if TYPE_CHECKING:
    from ingest import Artefacts, IngestReport
    from ingest.encoders import Encoder

_LABELS, _PUBLISHED, _RUN = "Labels of a folder", "Data sets", "The run"


def ingest(
    source: Annotated[
        str,
        typer.Argument(
            help="What to read: medmnist:NAME, synthetic, or with a PATH: folder, dicom, nih, "
            "chexpert, mimic-cxr-jpg, vindr, rsna, kermany, embeddings.",
            metavar="SOURCE",
        ),
    ],
    store: Store,
    path: Annotated[
        Path | None, typer.Argument(help="The folder, or the file of embeddings.", metavar="PATH")
    ] = None,
    encoder: EncoderName = None,
    device: Device = None,
    labels: Annotated[
        Path | None, typer.Option(help="A CSV with a row per image.", rich_help_panel=_LABELS)
    ] = None,
    file_column: Annotated[
        str | None,
        typer.Option(help="Its column of files. Default: told.", rich_help_panel=_LABELS),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            help="Its column of ids; a moved file keeps its row. Default: data set and path.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    label_column: Annotated[
        list[str] | None,
        typer.Option(
            help="Findings joined by | ; or a comma; or repeat it for a column of 1, 0, -1 each.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            help="Also keep age,sex,view,patient,split; or age=HEADING.", rich_help_panel=_LABELS
        ),
    ] = None,
    label_from_folder: Annotated[
        bool | None,
        typer.Option(
            "--label-from-folder", help="A file's folder is its label.", rich_help_panel=_LABELS
        ),
    ] = None,
    unlabelled: Annotated[
        bool | None,
        typer.Option("--unlabelled", help="Take files without a row too.", rich_help_panel=_LABELS),
    ] = None,
    uncertain: Annotated[
        str | None,
        typer.Option(
            help="Uncertain findings (-1): apart (no label), present or absent.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Name of a folder's data set. Default: the folder's.", rich_help_panel=_LABELS
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Only this split; repeat for several.", rich_help_panel=_PUBLISHED),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            help="MedMNIST: 28 (the default), 64, 128 or 224.", rich_help_panel=_PUBLISHED
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="MedMNIST: folder of the npz. Default: $MEDMNIST_ROOT, then ~/.medmnist.",
            rich_help_panel=_PUBLISHED,
        ),
    ] = None,
    download: Annotated[
        bool | None,
        typer.Option(
            help="MedMNIST: whether a missing set may be fetched.", rich_help_panel=_PUBLISHED
        ),
    ] = None,
    vector_column: Annotated[
        str | None,
        typer.Option(help="Embeddings: the column of vectors.", rich_help_panel=_PUBLISHED),
    ] = None,
    normalise: Annotated[
        bool | None,
        typer.Option(
            "--normalise",
            help="Embeddings: bring vectors to unit length first.",
            rich_help_panel=_PUBLISHED,
        ),
    ] = None,
    batch: Annotated[
        str | None, typer.Option(help="Name of this batch.", rich_help_panel=_RUN)
    ] = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="List rows whose file is gone; with --yes remove them.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Really remove what --prune lists.", rich_help_panel=_RUN)
    ] = False,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going", help="Go on though more than half is refused.", rich_help_panel=_RUN
        ),
    ] = False,
    rejections: Annotated[
        Path | None,
        typer.Option(help="Also write the refusals to this CSV.", rich_help_panel=_RUN),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read images, encode what is new or changed, and write it to the gallery.

    Running it again does nothing twice, and finishes what was interrupted. Ctrl-C finishes the
    batch in hand. Refused images are listed with their reason; then it exits with 3.
    """
    from ingest import ingest as run
    from ingest import open_source
    from store import BadSource, Gallery, UsageError

    options = {
        "labels": labels,
        "file_column": file_column,
        "id_column": id_column,
        "label_column": label_column,
        "columns": columns,
        "label_from_folder": label_from_folder,
        "unlabelled": unlabelled,
        "uncertain": uncertain,
        "dataset": dataset,
        "splits": split,
        "size": size,
        "root": root,
        "download": download,
        "vector_column": vector_column,
        "normalise": normalise,
    }
    if yes and not prune:
        raise UsageError("--yes goes with --prune")
    if source.partition(":")[0] == "embeddings":
        _embeddings(source, path, store, options, encoder, json)
        return
    # Opened first: a source that is not there must not leave an empty gallery behind.
    images = open_source(source, path, **options)
    if images.note:
        printing.warn(images.note)
    if path is not None and images.total == 0 and not prune:
        raise BadSource(
            f"nothing to ingest in {path}: it holds no files that {source!r} reads; "
            "check the path, or see docs/sources.md"
        )
    model = _encoder(store, encoder, device)
    gallery = Gallery.create(store, model.stamp)
    try:
        with printing.ingest_progress(quiet) as progress, _patient() as stop:
            report = run(
                images,
                gallery,
                model,
                batch=batch,
                progress=progress,
                stop=stop,
                prune=("delete" if yes else "list") if prune else None,
                keep_going=keep_going,
            )
    except KeyboardInterrupt:
        printing.warn("stopped; what was written stays, the same command goes on from there")
        raise typer.Exit(130) from None
    _tell(report, store, rejections, json, pruning=prune)


def _tell(
    report: IngestReport, store: str, rejections: Path | None, json: bool, *, pruning: bool
) -> None:
    """Report, refusals and exit code."""
    from ingest.journal import rejections_file
    from ingest.state import write_rejections

    if json:
        printing.as_json(report.as_dict())
    else:
        typer.echo(summary(report))
    for rejection in report.rejected[:20]:
        printing.warn(f"refused {rejection.source}: {rejection.reason}: {rejection.detail}")
    if report.rejected:
        if rejections is not None:
            write_rejections(rejections, report.rejected)
        listed = rejections or rejections_file(store, report.batch)
        counts = ", ".join(f"{count:,} {reason}" for reason, count in report.reasons.items())
        printing.warn(f"refused {len(report.rejected):,}: {counts}; all of them in {listed}")
    if pruning:
        _tell_pruned(report)
    if report.warning:
        printing.warn(report.warning)
    if report.stopped == "interrupted":
        printing.warn("stopped; what was written stays, the same command goes on from there")
        raise typer.Exit(130)
    if report.stopped:
        printing.warn(f"stopped: {report.stopped}. To go on all the same: --keep-going")
        raise typer.Exit(1)
    if report.rejected:
        raise typer.Exit(3)


def _tell_pruned(report: IngestReport) -> None:
    if report.pruned:
        printing.say(f"{report.pruned:,} rows whose file is gone were removed")
        return
    for id_ in report.gone[:20]:
        printing.say(f"gone: {id_}")
    more = "; to remove them: --prune --yes" if report.gone else ""
    printing.say(f"{len(report.gone):,} rows have lost their file{more}")


def _patient() -> Any:
    """Ctrl-C once finishes the batch in hand, twice stops at once."""
    import signal
    import threading
    from contextlib import contextmanager

    @contextmanager
    def handled() -> Any:
        stop = threading.Event()

        def asked(*_: object) -> None:
            if stop.is_set():
                raise KeyboardInterrupt
            stop.set()
            printing.warn("finishing the batch in hand; once more to stop at once")

        if threading.current_thread() is not threading.main_thread():
            yield stop
            return
        before = signal.signal(signal.SIGINT, asked)
        try:
            yield stop
        finally:
            signal.signal(signal.SIGINT, before)

    return handled()


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


def _embeddings(
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
    allowed = ("id_column", "vector_column", "normalise")
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
        from ingest.artefact_table import read_table

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
                "table_version": report.table_version,
                "store": gallery.describe(),
            }
        )
        return
    typer.echo(
        f"{report.inserted:,} inserted, {report.updated:,} updated, {report.unchanged:,} unchanged "
        f"in {gallery.uri}; encoder {gallery.stamp}"
    )
