"""What tests of the command line and of the pages share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ui.running import Cxr, runner


@pytest.fixture
def cxr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cxr:
    """Runs a command: exit code, stdout, stderr."""
    return runner(monkeypatch, capsys)


@pytest.fixture(autouse=True)
def _tests_keep_their_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in this process, which could not raise it again."""
    monkeypatch.delattr(os, "setpriority", raising=False)


@pytest.fixture(scope="session")
def drawn(made_once) -> Iterator[tuple[Path, Path]]:
    """(gallery of 60 drawn films, folder of its encoder), shared and never written to."""
    from store import Gallery
    from tests.ui import films

    def fill(root: Path) -> None:
        films.add(root / "gallery", films.tiny_clip(root / "tiny-clip"), films.films())

    root = made_once("drawn", fill)
    version = Gallery.open(root / "gallery").table_version
    yield root / "gallery", root / "tiny-clip"
    now = Gallery.open(root / "gallery").table_version
    assert now == version, "a test wrote to the gallery that all tests share"
