"""``cxr encoders`` and ``cxr train``: list of known encoders, training of the bundled one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from store import UsageError
from ui.commands import output
from ui.commands.options import Device, Json, MedmnistRoot, Quiet

if TYPE_CHECKING:
    from ingest import TrainingProgress


def encoders(
    try_: Annotated[
        str | None,
        typer.Option(
            "--try",
            metavar="NAME|FOLDER",
            help="Encode eight invented films with this one, one by one and together: dimension, "
            "text, milliseconds a film, tokens it reads, largest difference.",
        ),
    ] = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """The bundled encoder and those that people bring: dimension, text, size, licence, here or not.

    Any folder in the layout of transformers, open_clip or timm, or hub id, works with --encoder.
    """
    if try_ is not None:
        _try(try_, device, json)
        return
    found = _listed()
    if json:
        output.as_json(found)
        return
    output.table(
        ["name", "text", "licence", "on this disk", "from", "MB", "pixels", "dimension"],
        [
            [
                one["name"],
                "yes" if one["text"] else "no",
                one["licence"] + (" (gated)" if one["gated"] else ""),
                "yes" if one["on_disk"] else "no",
                one["repo"] or "bundled",
                f"{one['bytes'] / 1e6:,.0f}",
                str(one["side"]),
                str(one["dimension"]),
            ]
            for one in found
        ],
        numbers=3,
    )
    typer.echo("A folder in the layout of transformers, open_clip or timm, or a hub id, works too.")


def _try(name: str, device: str | None, json: bool) -> None:
    """Try an encoder out and print what was found."""
    from ingest import trial
    from ingest.encoders import load_encoder

    found = trial(load_encoder(name, device=device))
    if json:
        output.as_json(asdict(found))
        return
    texts = f"yes, {found.tokens} tokens" if found.text else "no"
    lines = {
        "encoder": f"{found.name} ({found.fingerprint[:12]})",
        "model": f"{found.family} of {found.library}, on {found.device}",
        "vectors": f"{found.dimension}-d",
        "sees": f"{found.side} pixels" if found.side else "images of any size",
        "text": f"{texts}: {found.no_text}" if found.no_text else texts,
        "ms a film": f"{found.ms_one:.1f} one by one, {found.ms_together:.1f} together; "
        f"loaded in {found.load_seconds:.1f} s",
        "difference": f"{found.difference:.1e} at most between a film alone and with others",
    }
    output.table(["", "found"], [[key, value] for key, value in lines.items()])


def _listed() -> list[dict[str, Any]]:
    from ingest import KNOWN, bundled_names, card_of, is_here
    from ingest.encoders import load_encoder

    bundled = [
        {
            "name": one.name,
            "dimension": one.dimension,
            "text": one.supports_text,
            "bytes": one.size,
            "licence": card_of(one.name, one).licence or "unknown",
            "gated": False,
            "on_disk": True,
            "repo": None,
            "revision": None,
            "fingerprint": one.fingerprint,
            "side": one.side,
        }
        for one in map(load_encoder, bundled_names())
    ]
    return bundled + [
        {
            "name": known.name,
            "dimension": known.dimension,
            "text": known.text,
            "bytes": known.bytes,
            "licence": known.licence,
            "gated": known.gated,
            "on_disk": is_here(known),
            "repo": known.repo,
            "revision": known.revision,
            "fingerprint": None,
            "side": known.side,
        }
        for known in KNOWN.values()
    ]


def train(
    out: Annotated[Path, typer.Argument(help="Folder for the checkpoint.")],
    films: Annotated[list[str] | None, typer.Argument(hidden=True, metavar=" ")] = None,
    source: Annotated[
        str, typer.Option(help="medmnist:pneumoniamnist, or synthetic; others: cxr adapt.")
    ] = "medmnist:pneumoniamnist",
    root: MedmnistRoot = None,
    seed: Annotated[int, typer.Option(help="Of everything drawn at random.")] = 0,
    text_only: Annotated[
        Path | None,
        typer.Option(help="Checkpoint whose image tower stays; only its text tower is taught."),
    ] = None,
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make the bundled encoder again: learn from the training split, choose by validation.

    A run that was stopped goes on when the same command is given again. The test split is never
    looked at.
    """
    from ingest import SOURCES, check_source, open_source, opened, train_texts
    from ingest import train as run

    kind, colon, _ = str(out).partition(":")
    taken = [str(out)] if colon and kind in SOURCES else []
    for given in [*taken, *(films or ())]:  # films, as cxr ingest takes them
        check_source(given)
        raise UsageError(f"{given}: expected as an option: cxr train OUT --source {given}")
    check_source(source)
    images = open_source(source, splits=["train", "val"], root=root)
    if images.note:
        output.warn(images.note)
    progress = None if quiet else _say_progress
    records = opened(images.records)
    report: Any
    if text_only is None:
        report = run(records, out, seed=seed, device=device, progress=progress)
        image_tower = f"epoch {report.epoch} of validation {_figures(report.validation)}; "
    else:
        report = train_texts(text_only, records, out, seed=seed, device=device, progress=progress)
        image_tower = ""
    if json:
        output.as_json({**asdict(report), "folder": str(report.folder)})
    else:
        typer.echo(
            f"{report.folder}: {image_tower}sentences {_figures(report.sentences)}; "
            f"{report.seconds / 60:.0f} minutes"
        )


def _figures(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items())


def _say_progress(now: TrainingProgress) -> None:
    figures = f", validation {_figures(now.validation)}" if now.validation else ""
    output.say(f"{now.stage}: {now.done} of {now.total}, loss {now.loss:.4f}{figures}")
