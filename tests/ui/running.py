"""A command as people run it, in this process."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import typer.main

from ui import cli

# A process of a command builds the parsers of all commands once; this one, which runs many
# commands, does so too. Before typer.testing is imported, which takes the name along.
typer.main.get_command = functools.cache(typer.main.get_command)


class Result(NamedTuple):
    """Exit code and what was written where."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Cxr = Callable[..., Result]


def invoked(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command that typer's own runner called."""
    from typer.testing import CliRunner

    from store.errors import CxrError

    done = CliRunner().invoke(cli.app, [str(one) for one in arguments])
    error = done.exception
    if isinstance(error, CxrError):
        return cli.exit_code(error), done.stdout, f"{done.stderr}cxr: {error}"
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return done.exit_code, done.stdout, done.stderr


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cxr:
    """What runs ``cxr`` with some arguments."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["cxr", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run
