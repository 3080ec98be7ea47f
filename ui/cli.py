"""The command ``cxr``. Parses, calls the library, prints; decides nothing else."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from store import CxrError, EncoderMismatch, StoreDamaged, UsageError
from ui.commands import analysis, batches, demo, encoders, evaluate, gallery, ingest, search, serve
from ui.commands.options import OnRay

app = typer.Typer(
    name="cxr",
    help="Find similar chest radiographs by image or by sentence, with exact cosine scores. "
    "For research and education only, never for diagnosis.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 done with rejections, 4 wrong encoder or "
    "damaged store.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command(cls=OnRay)(ingest.ingest)
app.command()(batches.batches)
app.command(cls=OnRay)(search.search)
app.command(cls=OnRay)(evaluate.evaluate)
app.command()(analysis.compare)
app.command()(analysis.audit)
app.command("map")(analysis.map_)
app.command()(evaluate.export)
app.command("import")(ingest.import_)
app.command()(gallery.stats)
app.command()(gallery.check)
app.command()(gallery.optimize)
app.command()(gallery.delete)
app.add_typer(gallery.app, name="index")
app.command()(encoders.encoders)
app.command()(encoders.train)
app.command(cls=OnRay)(serve.serve)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cxr-retrieval {version('cxr-retrieval')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run ``cxr``; every refusal of the library is one line and an exit code."""
    # What UTF-8 cannot say, such as an undecodable path, is written as an escape; stderr does so.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="cxr")
    except CxrError as error:
        typer.secho(f"cxr: {error}", err=True, fg=typer.colors.RED)
        sys.exit(exit_code(error))
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone, as in `cxr search ... | head`
        sys.exit(1)


def exit_code(error: CxrError) -> int:
    """2 for usage, 4 for a wrong encoder or a damaged store, 1 for the rest."""
    if isinstance(error, UsageError):
        return 2
    if isinstance(error, EncoderMismatch | StoreDamaged):
        return 4
    return 1


if __name__ == "__main__":
    main()
