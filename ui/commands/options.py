"""Options that several commands share, and what they open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ui.settings import default_store

if TYPE_CHECKING:
    from ingest.encoders import Encoder
    from store import Gallery

Store = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="CXR_STORE",
        help="The gallery: a folder or an object-store location.",
        default_factory=default_store,
        show_default="in the user's data folder",
    ),
]
EncoderName = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        envvar="CXR_ENCODER",
        help="A bundled name, a folder, or a hub id. Default: the one that made the gallery.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", envvar="CXR_DEVICE", help="cpu, cuda or mps. Default: the best."),
]
Index = Annotated[
    str | None,
    typer.Option(
        "--index",
        envvar="CXR_INDEX",
        help="exact (the default): all vectors in memory; lance: LanceDB's index, approximate, for "
        "galleries beyond memory. Make it with: cxr index build.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Depths = Annotated[str, typer.Option("--k", help="Depths of Precision@k, separated by commas.")]


def depths(text: str) -> list[int]:
    """``1,3,5,10`` as numbers; BadQuery when it is not that."""
    from store import BadQuery

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise BadQuery(f"--k {text!r}: expected numbers such as 1,3,5,10") from None


def encoder_of(gallery: Gallery, name: str | None, device: str | None) -> Encoder:
    """The encoder that made a gallery, found by its name and checked by its fingerprint.

    Raises:
        EncoderMismatch: the encoder asked for, or the one of that name here, is another one, or
            the vectors came from outside and no encoder was named.
        EncoderUnavailable: it is not on this machine.
    """
    from ingest.encoders import load_encoder
    from store import EncoderMismatch, EncoderUnavailable
    from store.table.stamps import mismatch

    stamp = gallery.stamp
    if name is None and stamp.name.startswith("external:"):
        raise EncoderMismatch(
            f"the vectors of {gallery.uri} were imported without saying which encoder made them; "
            "images and texts can be searched only with that very encoder. Search by --id, or "
            "import again with a meta.json that names encoder, fingerprint and dimension"
        )
    try:
        encoder = load_encoder(name or stamp.name, device=device)
    except EncoderUnavailable as error:
        if name is not None:
            raise
        raise EncoderUnavailable(
            f"the gallery at {gallery.uri} was made by encoder {stamp}, which is not found by its "
            f"name here ({error}); pass --encoder with its folder or hub id, or search by --id"
        ) from error
    if encoder.stamp.fingerprint != stamp.fingerprint:
        raise mismatch(f"the gallery at {gallery.uri}", stamp, encoder.stamp)
    return encoder
