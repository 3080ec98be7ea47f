"""Options of several commands, and their parsing."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from store import BadQuery, UsageError, expanded
from ui.opening import default_store

if TYPE_CHECKING:
    from ingest.encoders import Encoder
    from store import SamePatient


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
Paths = Annotated[
    bool,
    typer.Option("--paths", help="Of sources, tell the folders too, not the file's name alone."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Depths = Annotated[str, typer.Option("--k", help="Depths of Precision@k, separated by commas.")]
QuerySplit = Annotated[
    str | None,
    typer.Option(help="Split of the queries, or all. Default: test, if there is one."),
]
OneDataset = Annotated[str | None, typer.Option("--dataset", help="Only this data set.")]
GallerySplit = Annotated[str, typer.Option(help="Split that the split protocol searches.")]
SamePatientFilms = Annotated[
    str,
    typer.Option(
        "--same-patient",
        metavar="exclude|count",
        help="Other films of the query's own patient: exclude them from its ranking, or count them "
        "as any other. Nothing differs where no patient is known.",
    ),
]
MedmnistRoot = Annotated[
    Path | None,
    typer.Option(help="Folder that holds the npz. Default: $MEDMNIST_ROOT, then ~/.medmnist."),
]
THE_RUN = "The run"
Nice = Annotated[
    int,
    typer.Option(
        help="How far to give way to other programs: 0 not at all, 19 most. Alone on the machine, "
        "it is as fast either way.",
        min=0,
        max=19,
        rich_help_panel=THE_RUN,
    ),
]


def depths(text: str) -> list[int]:
    """Depths of Precision@k in ``1,3,5,10``; BadQuery when it is not that."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise BadQuery(f"--k {text!r}: expected numbers such as 1,3,5,10") from None


def same_patient_films(text: str) -> SamePatient:
    """``exclude`` or ``count``; UsageError when it is neither."""
    from store import SAME_PATIENT

    for one in SAME_PATIENT:
        if text == one:
            return one
    raise UsageError(f"--same-patient {text!r}: expected {' or '.join(SAME_PATIENT)}")


_cluster = partial(
    typer.Option, rich_help_panel="A cluster (pip install 'cxr-retrieval[ray]'; see docs/deploy)"
)

Ray = Annotated[
    str | None,
    _cluster(
        "--ray",
        metavar="[ADDRESS]",
        help="Do the work on Ray: 'auto', HOST:PORT of the head, or no address for a Ray of this "
        "machine alone.",
    ),
]
ShardsRay = Annotated[
    str | None,
    _cluster(
        "--ray",
        metavar="[ADDRESS]",
        envvar="CXR_RAY",
        help="Where the shards are: 'auto', HOST:PORT of the head, or no address for this machine.",
    ),
]
Shards = Annotated[
    int | None,
    _cluster(
        envvar="CXR_SHARDS",
        min=1,
        help="Keep the vectors in so many shards on Ray; the answers are the same.",
    ),
]
OnLost = Annotated[
    str | None,
    _cluster(
        envvar="CXR_ON_LOST",
        metavar="wait|partial",
        help="A lost shard: wait until it is rebuilt, or answer without it and say so.",
    ),
]
Workers = Annotated[
    str | None,
    _cluster(
        metavar="N or MIN-MAX",
        help="Ray: workers that decode and encode. Default: 1 to as many as there is room for.",
    ),
]
Gpus = Annotated[float, _cluster(min=0, help="Ray: GPUs of each worker; a fraction shares one.")]


def _plain(item: Any) -> Any:
    """A copy of a command or an option whose help is shown as it is written.

    Rich takes words in brackets for markup and leaves them out: ``[ray]``.
    """
    from rich.markup import escape

    made = copy.copy(item)
    for name in ("help", "short_help", "epilog", "rich_help_panel"):
        if isinstance(text := getattr(made, name, None), str):
            setattr(made, name, escape(text))
    if params := getattr(made, "params", None):
        made.params = [_plain(one) for one in params]
    if commands := getattr(made, "commands", None):
        made.commands = {name: _plain(one) for name, one in commands.items()}
    return made


class Group(TyperGroup):
    """Group of commands whose help is shown as it is written."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        TyperGroup.format_help(_plain(self), ctx, formatter)


class Command(TyperCommand):
    """Command whose paths may begin with ``~``, which a shell leaves in ``--option=~/path``."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, as it is written."""
        TyperCommand.format_help(_plain(self), ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, with the home folder in every path."""
        left: list[str] = super().parse_args(ctx, args)
        ctx.params = {name: _at_home(value) for name, value in ctx.params.items()}
        return left


def _at_home(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_at_home, value))
    return expanded(value) if isinstance(value, Path) else value


class OnRay(Command):
    """Command with an option ``--ray`` whose address may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, with ``--ray`` alone as ``--ray local``."""
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
    """Stage of the job that opens and encodes images on a cluster; None for this process.

    Raises:
        UsageError: options of a cluster without one; no numbers; Ray is not installed.
    """
    if ray is None:
        if workers is not None or gpus:
            raise UsageError("--workers and --gpus go with --ray")
        return None
    from ingest import EncoderCall, Pool, on_ray

    pool = Pool(ray, _range(workers), gpus)
    return on_ray(EncoderCall.of(encoder, device), pool, stop=stop)


def _range(workers: str | None) -> tuple[int, int] | None:
    if workers is None:
        return None
    fewest, dash, most = workers.partition("-")
    try:
        return int(fewest), int(most if dash else fewest)
    except ValueError:
        raise UsageError(f"--workers {workers!r}: expected N, or MIN-MAX such as 1-8") from None
