"""``cxr ingest``: images into a gallery."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ui.commands import output
from ui.commands.options import (
    Device,
    EncoderName,
    Gpus,
    Json,
    Quiet,
    Ray,
    Store,
    Workers,
    stage_of,
)
from ui.commands.output import interrupted, labelling, tell
from ui.process import NICE, Nice, give_way, patient

if TYPE_CHECKING:
    from ingest import Artefacts
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
        Path | None,
        typer.Option(help="A CSV with a row per image or finding.", rich_help_panel=_LABELS),
    ] = None,
    file_column: Annotated[
        str | None,
        typer.Option(help="Its column of paths or names. Default: told.", rich_help_panel=_LABELS),
    ] = None,
    file_prefix: Annotated[
        str | None,
        typer.Option(
            help="What its paths begin with where they are of another machine; cut off.",
            rich_help_panel=_LABELS,
        ),
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
    label_names: Annotated[
        list[str] | None,
        typer.Option(
            help="Names of its values, or of folders: 0=normal,1=pneumonia.",
            metavar="VALUE=NAME,...",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            help="Also keep age,sex,view,patient,split and others, e.g. ward; or NAME=HEADING.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    label_from_folder: Annotated[
        bool | None,
        typer.Option(
            "--label-from-folder",
            help="A folder is the label of its films: the uppermost level with two names that are "
            "no split and no container.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    label_level: Annotated[
        int | None,
        typer.Option(
            help="The level of these folders; 1 is the first below PATH. Default: told.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    unlabelled: Annotated[
        bool | None,
        typer.Option("--unlabelled", help="Take files without a row too.", rich_help_panel=_LABELS),
    ] = None,
    uncertain: Annotated[
        str | None,
        typer.Option(
            help="Uncertain findings (-1): apart (no label, kept as uncertain), present or absent.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    body_part: Annotated[
        str | None,
        typer.Option(
            help="DICOM: any takes films whatever part their headers name. Default: chest.",
            rich_help_panel=_PUBLISHED,
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
    within: Annotated[
        Path | None,
        typer.Option(
            help="A folder that PATH and --labels may not leave, through a link either.",
            rich_help_panel=_LABELS,
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
    clear: Annotated[
        list[str] | None,
        typer.Option(
            help="Blank these columns of the films read, e.g. age,ward. Others stay as stored.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Let films take the place of others that came from another folder.",
            rich_help_panel=_RUN,
        ),
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
    nice: Nice = NICE,
    ray: Ray = None,
    workers: Workers = None,
    gpus: Gpus = 0.0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read images, encode what is new or changed, and write it to the gallery.

    Running it again does nothing twice, and finishes what was interrupted. Ctrl-C finishes the
    batch in hand. Refused images are listed with their reason; then it exits with 3.
    """
    give_way(nice)  # before the libraries start their threads
    from ingest import ingest as run
    from ingest import open_source
    from store import BadSource, Gallery, UsageError

    options = {
        "labels": labels,
        "file_column": file_column,
        "file_prefix": file_prefix,
        "id_column": id_column,
        "label_column": label_column,
        "label_names": label_names,
        "columns": columns,
        "label_from_folder": label_from_folder,
        "label_level": label_level,
        "unlabelled": unlabelled,
        "uncertain": uncertain,
        "dataset": dataset,
        "body_part": body_part,
        "splits": split,
        "size": size,
        "root": root,
        "download": download,
        "vector_column": vector_column,
        "normalise": normalise,
        "within": within,
    }
    if yes and not prune:
        raise UsageError("--yes goes with --prune")
    if source.partition(":")[0] == "embeddings":
        if clear:
            raise UsageError("source 'embeddings' has no option --clear")
        if ray is not None:
            raise UsageError("source 'embeddings' has no option --ray: its vectors are made")
        embeddings(source, path, store, options, encoder, json)
        return
    # Opened first: a source that is not there must not leave an empty gallery behind.
    images = open_source(source, path, **options)
    if images.note:
        output.warn(images.note)
    for line in labelling(images.labelling):
        output.say(line)
    if path is not None and images.total == 0 and not prune:
        raise BadSource(
            f"nothing to ingest in {path}: it holds no files that {source!r} reads; "
            "check the path, or see docs/sources.md"
        )
    model = _encoder(store, encoder, device)
    try:
        with patient(output.warn) as stop:
            stage = stage_of(ray, workers, gpus, model, device, stop)
            gallery = Gallery.create(store, model.stamp)
            with output.ingest_progress(quiet) as progress:
                report = run(
                    images,
                    gallery,
                    model,
                    batch=batch,
                    progress=progress,
                    stop=stop,
                    prune=("delete" if yes else "list") if prune else None,
                    keep_going=keep_going,
                    stage=stage,
                    take_over=replace,
                    clear=[name for entry in clear or () for name in entry.split(",")],
                )
    except KeyboardInterrupt:
        raise interrupted() from None
    tell(report, store, rejections, json, pruning=prune)


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
        from ingest import read_table

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
        output.warn(note)
    gallery, report = store_artefacts(artefacts, store)
    if json:
        output.as_json(
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
        f"{report.inserted:,} inserted, {output.updated(report.updated, report.changed)}, "
        f"{report.unchanged:,} unchanged in {gallery.uri}; encoder {gallery.stamp}"
    )
