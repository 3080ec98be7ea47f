"""The command ``cxr``: its commands, its exit codes, and its errors in one line."""

from __future__ import annotations

import atexit
import gc
import io
import sys
from functools import partial
from typing import Annotated, Any, NoReturn

import typer

from store import CxrError, EncoderMismatch, StoreDamaged, UsageError
from ui.commands import backup, batches, gallery, ingest, reports, search
from ui.commands.curation import films, history
from ui.commands.evaluation import analysis, classify, evaluate, trust
from ui.commands.learning import adapt, encoders
from ui.commands.options import Command, Group, OnRay
from ui.commands.serving import api, demo, serve

app = typer.Typer(
    name="cxr",
    help="Find similar chest radiographs by image or by sentence, with exact cosine scores. "
    "For research and education only, never for diagnosis.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 done with rejections, 4 wrong encoder or "
    "damaged store.",
    no_args_is_help=True,
    cls=Group,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_command = partial(app.command, cls=Command)
_command()(demo.demo)
app.command(cls=OnRay)(ingest.ingest)
_command()(batches.batches)
app.command(cls=OnRay)(search.search)
app.command(cls=OnRay)(reports.reports)
app.command(cls=OnRay)(evaluate.evaluate)
_command()(trust.trust)
_command()(classify.classify)
_command()(analysis.compare)
_command()(analysis.audit)
_command("map")(analysis.map_)
_command("matched-by")(analysis.matched_by)
_command()(evaluate.export)
_command("import")(ingest.import_)
_command()(gallery.stats)
_command()(gallery.check)
_command()(gallery.optimize)
_command()(gallery.delete)
_command()(films.exclude)
_command()(films.include)
_command()(films.tag)
_command()(films.note)
_command()(films.label)
_command()(history.select)
_command()(history.changes)
_command()(backup.backup)
_command()(backup.restore)
_command()(gallery.relocate)
app.add_typer(gallery.index, name="index")
_command()(encoders.encoders)
_command()(encoders.train)
_command()(adapt.adapt)
app.command(cls=OnRay)(serve.serve)
app.command(cls=OnRay)(api.api)
#: The error of a command line that does not parse, wherever this typer keeps click's.
_Misused: type[Exception] = typer.BadParameter.__mro__[1]


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
    """Run ``cxr``; an error of the library or of the command line is one line and an exit code."""
    # At its end Python looks for cycles among all objects, a fifth of the time of a search: the
    # process gives its memory back anyway.
    atexit.register(gc.freeze)
    # An undecodable path, for one, is not UTF-8: written as an escape.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(app(prog_name="cxr", standalone_mode=False))
    except CxrError as error:
        _fail(str(error), exit_code(error))
    except _Misused as error:
        _fail(misuse(error), 2)
    except typer.Abort:
        _fail("aborted", 1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone, as in `cxr search ... | head`
        sys.exit(1)


def _fail(message: str, code: int) -> NoReturn:
    if message:
        typer.secho(f"cxr: {message}", err=True, fg=typer.colors.RED)
    sys.exit(code)


def misuse(error: Any) -> str:
    """Message about a command line that does not parse; empty where the help was printed instead.

    Args:
        error: click's UsageError.
    """
    message = str(error.format_message()).rstrip(".")
    # Typer names the option; the value is in the error of its parser.
    faults: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
    if faults:
        wanted = faults[0]["msg"].removeprefix("Input should be ").partition(",")[0]
        article = "" if wanted.startswith("a ") else "a number "
        message = f"{error.param.opts[0]} {faults[0]['input']!r}: expected {article}{wanted}"
    command = error.ctx.command_path if error.ctx else "cxr"
    return f"{message[:1].lower()}{message[1:]}; see {command} --help" if message else ""


def exit_code(error: CxrError) -> int:
    """Exit code of an error: 2 for usage, 4 for a wrong encoder or a damaged store, else 1."""
    if isinstance(error, UsageError):
        return 2
    if isinstance(error, EncoderMismatch | StoreDamaged):
        return 4
    return 1


if __name__ == "__main__":
    main()
