"""The commands of docs/keeping.md, run in their order as they stand there."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from store import Gallery
from tests.ui import films
from tests.ui.running import Cxr

PAGE = Path(__file__).parents[2] / "docs" / "keeping.md"


def test_every_command_of_the_page(
    cxr: Cxr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "films").mkdir()
    names = [f"{number}.png" for number in range(1, 13)]
    for number, name in enumerate(names):
        film = films.png(films.draw(number, number % 2 == 1))
        (tmp_path / "films" / name).write_bytes(film)
    labels = [f"{name},{('normal', 'pneumonia')[at % 2]}" for at, name in enumerate(names)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *labels]))
    commands = [line[4:] for line in PAGE.read_text("utf-8").splitlines() if line[:4] == "    "]
    assert len(commands) > 20
    rows = []
    for command in commands:
        words = shlex.split(command)
        if words[0] == "export":
            monkeypatch.setenv(*words[1].split("=", 1))
        elif words[0] == "cxr":
            done = cxr(*words[1:])
            assert done.code == 0, (command, done)
        else:
            subprocess.run(words, check=True)
        rows.append(len(Gallery.open("gallery")) if (tmp_path / "gallery").exists() else None)
    assert rows[1] == 12 and rows[-1] == 0
    assert len(Gallery.open("elsewhere")) == len(Gallery.open("copy")) == 12
