"""``cxr encoders`` and ``cxr train``: the models behind the vectors."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ui import printing
from ui.commands.options import Device, Json, Quiet

if TYPE_CHECKING:
    from ingest.train import Progress


def encoders(json: Json = False) -> None:
    """The bundled encoders: name, dimension, text or not, fingerprint."""
    from ingest.encoders import load_encoder
    from ingest.encoders.locate import bundled_names

    found = [load_encoder(name) for name in bundled_names()]
    if json:
        printing.as_json(
            [
                {
                    "name": one.name,
                    "dimension": one.dimension,
                    "text": one.supports_text,
                    "fingerprint": one.fingerprint,
                }
                for one in found
            ]
        )
        return
    printing.table(
        ["name", "text", "fingerprint", "dimension"],
        [
            [
                one.name,
                "yes" if one.supports_text else "no",
                one.fingerprint[:12],
                str(one.dimension),
            ]
            for one in found
        ],
        numbers=1,
    )
    typer.echo("Any folder in the transformers layout, or hub id, works with --encoder as well.")


def train(
    out: Annotated[Path, typer.Argument(help="Folder for the checkpoint.")],
    source: Annotated[
        str, typer.Option(help="28 x 28 films labelled normal or pneumonia.")
    ] = "medmnist:pneumoniamnist",
    root: Annotated[
        Path | None,
        typer.Option(help="Folder that holds the npz. Default: $MEDMNIST_ROOT, then ~/.medmnist."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything drawn at random.")] = 0,
    device: Device = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make the bundled encoder again: learn from the training split, choose by validation.

    A run that was stopped goes on when the same command is given again. The test split is never
    looked at.
    """
    from ingest import open_source, opened
    from ingest.train import train as run

    images = open_source(source, splits=["train", "val"], root=root)
    if images.note:
        printing.warn(images.note)
    progress = None if quiet else _say_progress
    report = run(opened(images.records), out, seed=seed, device=device, progress=progress)
    if json:
        printing.as_json({**asdict(report), "folder": str(report.folder)})
    else:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in report.validation.items())
        typer.echo(
            f"{report.folder}: epoch {report.epoch} of validation {figures}; "
            f"{report.seconds / 60:.0f} minutes"
        )


def _say_progress(now: Progress) -> None:
    figures = (now.validation or {}).items()
    shown = "".join(f", validation {name} {value:.4f}" for name, value in figures)
    printing.say(f"{now.stage}: {now.done} of {now.total}, loss {now.loss:.4f}{shown}")
