"""What tests of the command line share."""

from __future__ import annotations

import os

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
