"""A short run of what ``make torture`` does at length."""

from __future__ import annotations

from tests.store import torture


def test_power_losses() -> None:
    seen = torture.losses(12, seed=1)
    assert seen["files damaged"] > 0


def test_kills() -> None:
    torture.kills(4, seed=1)
