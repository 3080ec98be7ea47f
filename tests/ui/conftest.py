"""What tests of the command line share."""

from __future__ import annotations

import pytest

from tests.ui.running import Cxr, runner


@pytest.fixture
def cxr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cxr:
    """Runs a command: exit code, stdout, stderr."""
    return runner(monkeypatch, capsys)
