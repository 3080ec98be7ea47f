"""A short crowd; the long one is `python -m tests.ui.crowd`."""

from __future__ import annotations

import sys

import pytest

from tests.ui import crowd

pytest.importorskip("websockets")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")
def test_visitors_click_while_batches_come_in(tmp_path):
    found = crowd.crowd(tmp_path, visitors=3, seconds=4, batches=2)
    assert found.problems == []
    assert len({page.version for page in found.pages}) > 1
    assert len(found.seconds) >= 4
    assert found.growth_mb() < 100
