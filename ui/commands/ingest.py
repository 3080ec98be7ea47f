"""``cxr ingest`` and ``cxr import``: images, or embeddings made elsewhere, into a gallery."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from store import BadSource, UsageError
from ui.commands import output
from ui.commands.options import (
    THE_RUN,
    Device,
    EncoderName,
    Gpus,
    Json,
    Nice,
    Quiet,
    Ray,
    Store,
    Workers,
    stage_of,
)
from ui.process import NICE, give_way, patient

if TYPE_CHECKING:
    from ingest import Artefacts
    from ingest.encoders import Encoder
    from store import Gallery


#: Options of the source are those under these headings.
_LABELS, _PUBLISHED = "Labels of a folder", "Data sets"
_SERVICE = "A DICOMweb service (pip install 'cxr-retrieval[dicomweb]'; see docs/dicomweb.md)"
_labels = partial(typer.Option, rich_help_panel=_LABELS)
_published = partial(typer.Option, rich_help_panel=_PUBLISHED)
_service = partial(typer.Option, rich_help_panel=_SERVICE)
_run = partial(typer.Option, rich_help_panel=THE_RUN)
#: Options of vectors made elsewhere, as ``ingest.read_vectors`` calls them.
_TABLE = (
    *("id_column", "vector_column", "label_column", "label_names"),
    *("normalise", "encoder_name", "report_column"),
)
_NAME_HELP = (
    "What to call the encoder of vectors that name none. Vectors under one name share a gallery, "
    "also when they are imported one after the other."
)
_REPORT_HELP = (
    "Also keep reports: the columns (of MIMIC-CXR the sections) of their parts, e.g. "
    "findings,impression."
)
_CHECKED_HELP = (
    "Store reports although parts of them look like names, dates or numbers of persons: you have "
    "looked, and may."
)
EncoderOf = Annotated[str | None, typer.Option(help=_NAME_HELP, metavar="NAME")]


def ingest(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            help="What to read: medmnist:NAME, synthetic, or with a PATH: folder, hf, dicom, nih, "
            "chexpert, mimic-cxr-jpg, iu-xray, padchest, vindr, rsna, kermany, embeddings; "
            "dicomweb with a URL.",
            metavar="SOURCE",
        ),
    ],
    store: Store,
    path: Annotated[
        str | None,
        typer.Argument(
            help="The folder, the file of embeddings, or the address of the service.",
            metavar="PATH",
        ),
    ] = None,
    encoder: EncoderName = None,
    device: Device = None,
    labels: Annotated[Path | None, _labels(help="A CSV with a row per image or finding.")] = None,
    file_column: Annotated[
        str | None, _labels(help="Its column of paths or names. Default: told.")
    ] = None,
    file_prefix: Annotated[
        str | None,
        _labels(help="What its paths begin with where they are of another machine; cut off."),
    ] = None,
    image_column: Annotated[
        str | None, _labels(help="hf: the column of pictures in shards. Default: told.")
    ] = None,
    id_column: Annotated[
        str | None,
        _labels(help="Its column of ids; a moved file keeps its row. Default: data set and path."),
    ] = None,
    label_column: Annotated[
        list[str] | None,
        _labels(
            help="Findings joined by | ; or a comma; or repeat it for a column of 1, 0, -1 each."
        ),
    ] = None,
    label_names: Annotated[
        list[str] | None,
        _labels(
            help="Names of its values, or of folders: 0=normal,1=pneumonia.",
            metavar="VALUE=NAME,...",
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        _labels(
            help="Also keep age,sex,view,patient,split and others, e.g. ward; or NAME=HEADING."
        ),
    ] = None,
    report_column: Annotated[
        list[str] | None, _labels(help=_REPORT_HELP, metavar="HEADING,...")
    ] = None,
    label_from_folder: Annotated[
        bool | None,
        _labels(
            "--label-from-folder",
            help="A folder is the label of its films: the uppermost level with two names that are "
            "no split and no container.",
        ),
    ] = None,
    label_level: Annotated[
        int | None,
        _labels(help="The level of these folders; 1 is the first below PATH. Default: told."),
    ] = None,
    unlabelled: Annotated[
        bool | None, _labels("--unlabelled", help="Take files without a row too.")
    ] = None,
    uncertain: Annotated[
        str | None,
        _labels(
            help="Uncertain findings (-1): apart (no label, kept as uncertain), present or absent."
        ),
    ] = None,
    body_part: Annotated[
        str | None,
        _published(help="DICOM: any takes films whatever part their headers name. Default: chest."),
    ] = None,
    dataset: Annotated[
        str | None, _labels(help="Name of a folder's data set. Default: the folder's.")
    ] = None,
    splits: Annotated[
        list[str] | None, _published("--split", help="Only this split; repeat for several.")
    ] = None,
    size: Annotated[
        int | None, _published(help="MedMNIST: 28 (the default), 64, 128 or 224.")
    ] = None,
    root: Annotated[
        Path | None,
        _published(help="MedMNIST: folder of the npz. Default: $MEDMNIST_ROOT, then ~/.medmnist."),
    ] = None,
    download: Annotated[
        bool | None, _published(help="MedMNIST: whether a missing set may be fetched.")
    ] = None,
    reports: Annotated[
        Path | None,
        _published(help="MIMIC-CXR: also keep reports; the folder, or the zip, of their files."),
    ] = None,
    no_reports: Annotated[
        bool | None,
        _published("--no-reports", help="IU X-ray, PadChest: leave the reports out."),
    ] = None,
    vector_column: Annotated[
        str | None, _published(help="Embeddings: the column of vectors.")
    ] = None,
    normalise: Annotated[
        bool | None,
        _published("--normalise", help="Embeddings: bring vectors to unit length first."),
    ] = None,
    encoder_name: Annotated[
        str | None, _published(help=f"Embeddings: {_NAME_HELP}", metavar="NAME")
    ] = None,
    query: Annotated[
        str | None,
        _service(help="Which films: 'Modality=CR&StudyDate=20240101-'; DICOM keywords."),
    ] = None,
    rate: Annotated[float | None, _service(help="Requests a second, at most. Default: 20.")] = None,
    connections: Annotated[
        int | None, _service(help="Requests at a time, at most. Default: 4.")
    ] = None,
    insecure_http: Annotated[
        bool | None,
        _service("--insecure-http", help="Plain http to another machine, readable on the way."),
    ] = None,
    within: Annotated[
        Path | None,
        _labels(help="A folder that PATH and --labels may not leave, through a link either."),
    ] = None,
    batch: Annotated[str | None, _run(help="Name of this batch.")] = None,
    prune: Annotated[
        bool, _run("--prune", help="List rows whose file is gone; with --yes remove them.")
    ] = False,
    yes: Annotated[bool, _run("--yes", help="Really remove what --prune lists.")] = False,
    clear: Annotated[
        list[str] | None,
        _run(help="Blank these columns of the films read, e.g. age,ward. Others stay as stored."),
    ] = None,
    replace: Annotated[
        bool,
        _run("--replace", help="Let films take the place of others that came from another folder."),
    ] = False,
    reports_checked: Annotated[bool, _run("--reports-checked", help=_CHECKED_HELP)] = False,
    keep_going: Annotated[
        bool, _run("--keep-going", help="Go on though more than half is refused.")
    ] = False,
    rejections: Annotated[Path | None, _run(help="Also write the refusals to this CSV.")] = None,
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
    given = locals()
    give_way(nice)  # before the libraries start their threads
    from ingest import clear_away, open_source
    from ingest import ingest as run
    from store import Gallery

    options = {
        str(one.name): given[str(one.name)]
        for one in ctx.command.params
        if getattr(one, "rich_help_panel", None) in (_LABELS, _PUBLISHED, _SERVICE)
    }
    if yes and not prune:
        raise UsageError("--yes goes with --prune")
    if source.partition(":")[0] == "embeddings":
        if clear:
            raise UsageError("source 'embeddings' has no option --clear")
        if ray is not None:
            raise UsageError("source 'embeddings' has no option --ray: its vectors are made")
        _embeddings(source, path, store, options, encoder, json, reports_checked)
        return
    # Opened first: a source that is not there must not leave an empty gallery behind.
    images = open_source(source, path, **options)
    if images.note:
        output.warn(images.note)
    for line in output.labelling(images.labelling):
        output.say(line)
    output.reports(images.reports)
    if path is not None and images.total == 0 and not (prune or images.remote):
        raise BadSource(
            f"nothing to ingest in {path}: it holds no files that {source!r} reads; "
            "check the path, or see docs/sources.md"
        )
    model, gallery = _target(store, encoder, device)
    opened = gallery is not None
    try:
        with patient(output.warn) as stop:
            stage = stage_of(ray, workers, gpus, model, device, stop)
            if gallery is None:
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
                    reports_checked=reports_checked,
                    clear=[name for entry in clear or () for name in entry.split(",")],
                )
    except KeyboardInterrupt:
        raise output.interrupted() from None
    except Exception:
        if gallery is not None and not opened:
            clear_away(gallery)  # or it would refuse every other encoder, for nothing
        raise
    output.conclude(report, store, rejections, json, pruning=prune)


def _target(store: str, name: str | None, device: str | None) -> tuple[Encoder, Gallery | None]:
    """The encoder asked for, else the gallery's, else the bundled one; the gallery, if opened."""
    from ingest.encoders import DEFAULT_ENCODER, encoder_for, load_encoder
    from store import Gallery, StoreNotFound

    if name is not None:
        return load_encoder(name, device=device), None
    try:
        gallery = Gallery.open(store)
    except StoreNotFound:
        return load_encoder(DEFAULT_ENCODER, device=device), None
    return encoder_for(gallery, device=device), gallery


def _embeddings(
    source: str,
    path: str | None,
    store: str,
    options: dict[str, Any],
    encoder: str | None,
    json: bool,
    reports_checked: bool,
) -> None:
    """Read vectors made elsewhere, as ``cxr import`` does."""
    place = Path(path or source.partition(":")[2])
    if str(place) == ".":
        raise UsageError("source 'embeddings' needs a folder or a file: embeddings PATH")
    wrong = [name for name, value in options.items() if value is not None and name not in _TABLE]
    if wrong or encoder is not None:
        option = (wrong or ["encoder"])[0].replace("_", "-")
        raise UsageError(f"source 'embeddings' has no option --{option}: its vectors are made")
    _import([place], store, json, {name: options[name] for name in _TABLE}, reports_checked)


def import_(
    places: Annotated[
        list[Path],
        typer.Argument(
            help="Folders and files of vectors, such as train and test: npy, npz, Parquet, Arrow; "
            "see docs/sources.md.",
            metavar="PLACE...",
        ),
    ],
    store: Store,
    encoder_name: EncoderOf = None,
    id_column: Annotated[
        str | None, typer.Option(help="The column of ids. Default: by its usual names.")
    ] = None,
    vector_column: Annotated[
        str | None, typer.Option(help="The column of vectors. Default: by its usual names.")
    ] = None,
    label_column: Annotated[
        list[str] | None, typer.Option(help="The column of labels, or one for each finding.")
    ] = None,
    label_names: Annotated[
        list[str] | None,
        typer.Option(help="Names of its numbers.", metavar="NAME,... or VALUE=NAME,..."),
    ] = None,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Bring vectors to unit length first.")
    ] = False,
    report_column: Annotated[
        list[str] | None, typer.Option(help=_REPORT_HELP, metavar="HEADING,...")
    ] = None,
    reports_checked: Annotated[bool, typer.Option("--reports-checked", help=_CHECKED_HELP)] = False,
    json: Json = False,
) -> None:
    """Read vectors made elsewhere into a gallery, to be searched and evaluated as ours.

    Several places become one gallery. Without a column of splits, names of files and folders tell
    them (train, val, test).
    """
    given = locals()
    _import(places, store, json, {name: given[name] for name in _TABLE}, reports_checked)


def _import(
    places: list[Path], store: str, json: bool, options: dict[str, Any], reports_checked: bool
) -> None:
    from ingest import read_vectors

    given = {name: value for name, value in options.items() if value is not None}
    _store(read_vectors(places, **given), store, json, reports_checked)


def _store(artefacts: Artefacts, store: str, json: bool, reports_checked: bool) -> None:
    from ingest import kept_sentence, store_artefacts

    for note in artefacts.notes:
        output.warn(note)
    output.reports(artefacts.reports)
    gallery, report = store_artefacts(artefacts, store, reports_checked=reports_checked)
    if json:
        output.as_json(
            {
                "inserted": report.inserted,
                "updated": report.updated,
                "unchanged": report.unchanged,
                "changed": dict(report.changed),
                "reports": artefacts.reports.as_dict() if artefacts.reports.films else {},
                "labels_kept": report.labels_kept,
                "set_aside": dict(report.set_aside),
                "table_version": report.table_version,
                "store": gallery.describe(),
            }
        )
        return
    typer.echo(
        f"{report.inserted:,} inserted, {output.updated(report.updated, report.changed)}, "
        f"{report.unchanged:,} unchanged in {gallery.uri}; encoder {gallery.stamp}"
    )
    if said := kept_sentence(report.labels_kept, report.set_aside):
        output.say(said)
