"""Options that several commands share, and what they open."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from ui.opening import default_store

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
    from store import EncoderMismatch, EncoderUnavailable, mismatch

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


_CLUSTER = "A cluster (pip install 'cxr-retrieval[ray]'; see docs/deploy)"

Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Do the work on Ray: 'auto', HOST:PORT of the head, or no address for a Ray of this "
        "machine alone.",
        rich_help_panel=_CLUSTER,
    ),
]
ShardsRay = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        envvar="CXR_RAY",
        help="Where the shards are: 'auto', HOST:PORT of the head, or no address for this machine.",
        rich_help_panel=_CLUSTER,
    ),
]
Shards = Annotated[
    int | None,
    typer.Option(
        envvar="CXR_SHARDS",
        min=1,
        help="Keep the vectors in so many shards on Ray; the answers are the same.",
        rich_help_panel=_CLUSTER,
    ),
]
OnLost = Annotated[
    str | None,
    typer.Option(
        envvar="CXR_ON_LOST",
        metavar="wait|partial",
        help="A lost shard: wait until it is rebuilt, or answer without it and say so.",
        rich_help_panel=_CLUSTER,
    ),
]
Workers = Annotated[
    str | None,
    typer.Option(
        metavar="N or MIN-MAX",
        help="Ray: workers that decode and encode. Default: 1 to as many as there is room for.",
        rich_help_panel=_CLUSTER,
    ),
]
Gpus = Annotated[
    float,
    typer.Option(
        min=0, help="Ray: GPUs of each worker; a fraction shares one.", rich_help_panel=_CLUSTER
    ),
]


class OnRay(TyperCommand):
    """A command whose ``--ray`` may come without an address."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As always, after ``--ray`` alone was made ``--ray local``."""
        whole: list[str] = []
        for place, arg in enumerate(args):
            whole.append(arg)
            following = args[place + 1] if place + 1 < len(args) else "-"
            if arg == "--ray" and following.startswith("-"):
                whole.append("local")
        found: list[str] = super().parse_args(ctx, whole)
        return found


def stage_of(
    ray: str | None,
    workers: str | None,
    gpus: float,
    encoder: Encoder,
    device: str | None,
    stop: threading.Event,
) -> Callable[..., Any] | None:
    """Where the job opens and encodes images until it is to stop; None for this process.

    Raises:
        UsageError: options of a cluster without one; no numbers; Ray is not installed.
    """
    from store import UsageError

    if ray is None:
        if workers is not None or gpus:
            raise UsageError("--workers and --gpus go with --ray")
        return None
    from ingest import EncoderCall, Pool, on_ray

    pool = Pool(ray, _range(workers), gpus)
    return on_ray(EncoderCall.of(encoder, device), pool, stop=stop)


def _range(workers: str | None) -> tuple[int, int] | None:
    from store import UsageError

    if workers is None:
        return None
    fewest, dash, most = workers.partition("-")
    try:
        return int(fewest), int(most if dash else fewest)
    except ValueError:
        raise UsageError(f"--workers {workers!r}: expected N, or MIN-MAX such as 1-8") from None
