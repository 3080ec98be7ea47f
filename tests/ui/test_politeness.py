"""A batch job gives way; nobody else does because of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ui.running import invoked

pytestmark = pytest.mark.skipif(not hasattr(os, "getpriority"), reason="no priorities here")

CHILD = """
import os, subprocess, sys, threading
from ui.process import give_way
give_way(int(sys.argv[1])); give_way(int(sys.argv[1]))
found = [os.getpriority(os.PRIO_PROCESS, 0)]
thread = threading.Thread(target=lambda: found.append(os.getpriority(os.PRIO_PROCESS, 0)))
thread.start(); thread.join()
print(*found, open("/proc/self/autogroup").read() if os.path.exists("/proc/self/autogroup") else "")
"""


def child(nice: int, alone: bool = False) -> list[str]:
    command = [sys.executable, "-c", CHILD, str(nice)]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, start_new_session=alone
    ).stdout.split()


def test_threads_give_way_too_and_only_once() -> None:
    now = os.getpriority(os.PRIO_PROCESS, 0)
    assert child(5)[:2] == [str(max(now, 5))] * 2
    assert child(0)[:2] == [str(now)] * 2
    assert child(1)[:2] == [str(max(now, 1))] * 2  # never raised


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="sessions are not grouped")
def test_a_session_of_its_own_gives_way_as_a_whole() -> None:
    mine = Path("/proc/self/autogroup").read_text().split()
    if not mine:
        pytest.skip("this session is in no group")
    nice = str(max(os.getpriority(os.PRIO_PROCESS, 0), 5))
    assert child(5, alone=True)[-1] == nice
    assert child(5)[2:] == mine  # one shared with others does not
    assert Path("/proc/self/autogroup").read_text().split() == mine


def test_ingestion_gives_way_unless_told_otherwise(monkeypatch, tmp_path) -> None:
    asked: list[int] = []
    monkeypatch.setattr("ui.commands.ingest.give_way", asked.append)
    arguments = ["ingest", "folder", tmp_path / "nowhere", "--store", tmp_path / "store"]
    for more in ([], ["--nice", "0"], ["--nice", "19"], ["--nice", "20"]):
        assert invoked(*arguments, *more)[0] != 0
    assert asked == [5, 0, 19]
