"""``cxr encoders`` and ``cxr train``: the models behind the vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ui import printing
from ui.commands.options import Json


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
) -> None:
    """Train the bundled encoder from the training split alone."""
    raise NotImplementedError
