"""A short run of what ``make torture`` does at length."""

from __future__ import annotations

from tests.store import mixed, torture


def test_power_losses() -> None:
    seen = torture.losses(4, seed=1)
    assert seen["files damaged"] > 0


def test_kills() -> None:
    torture.kills(1, seed=1)


def test_kills_and_stops_beside_each_other() -> None:
    seen = mixed.run(1, 1, seed=1, roles=("ingest-0", "undo-0"))
    assert seen["steps acknowledged"] > 0
