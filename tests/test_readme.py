"""What the README says is what the program does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from tests.ui.test_cli import save_npz
from ui import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def command_lines() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("cxr ")]


def test_every_command_is_in_the_readme() -> None:
    shown = {words[1] for words in command_lines()}
    told = set(re.findall(r"`cxr (\w+)", README))
    assert set(COMMANDS) - shown - told == set()


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_command_lines_parse(words: list[str]) -> None:
    command = COMMANDS[words[1]]
    command.make_context(words[1], words[2:], resilient_parsing=False)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_npz(tmp_path / "pneumoniamnist.npz", {"train": 20, "val": 4, "test": 24})
    monkeypatch.setenv("MEDMNIST_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert re.search(r"^1 -?[01]\.\d{4} pneumoniamnist/test/\d+ \('\w+',\)$", printed, re.MULTILINE)
