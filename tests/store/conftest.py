"""Fixtures of the store's tests."""

from __future__ import annotations

import pytest

from store.search import lance_index


@pytest.fixture
def few_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index is measured with 20 films that ask: for tests that are about something else."""
    monkeypatch.setattr(lance_index, "SAMPLE", 20)
