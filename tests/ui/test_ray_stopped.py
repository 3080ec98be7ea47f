"""Ctrl-C on ``cxr ingest --ray``, as a terminal sends it: to the command and all its children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from store import Gallery, StoreNotFound
from tests.clusters import Nodes, eventually

pytestmark = pytest.mark.slow


class Command:
    """An ingestion in a process group of its own, whose descendants can be told by a mark."""

    def __init__(self, folder: Path, data: Path, *ray: object) -> None:
        pytest.importorskip("ray")
        self.mark = f"CXR_TEST_MARK={uuid.uuid4().hex}"
        self.said = folder / "said"
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "ui.cli", "ingest", "medmnist:pneumoniamnist"),
                    *("--root", data, "--store", folder / "store", "--ray", *map(str, ray)),
                ],
                env=os.environ | dict([self.mark.split("=")]),
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def interrupt(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def left(self) -> list[int]:
        """Processes that it, or what it started, left behind."""
        found = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if self.mark.encode() in environment.read_bytes():
                    found.append(int(environment.parent.name))
        return found

    def text(self) -> str:
        return self.said.read_text()


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[list[Command]]:
    started: list[Command] = []
    yield started
    for one in started:
        one.process.kill()
        one.process.wait()
        for pid in one.left():
            os.kill(pid, signal.SIGKILL)


def ended(command: Command, seconds: float) -> None:
    """Within so many seconds, with a word on how to go on, and with nothing left behind."""
    assert command.process.wait(seconds) == 130, command.text()
    assert "stopped; what was written stays, the same command goes on from there" in command.text()
    assert "Traceback" not in command.text()
    eventually(lambda: not command.left(), 10)


@pytest.mark.parametrize("again", ["never", "at once", "while it ends"])
def test_while_it_works(again: str, tmp_path: Path, data: Path, commands: list[Command]) -> None:
    store = tmp_path / "store"
    command = Command(tmp_path, data, "--workers", 1)
    commands.append(command)

    def written() -> bool:
        assert command.process.poll() is None, command.text()
        with suppress(StoreNotFound):  # not yet
            return len(Gallery.open(store)) > 0
        return False

    eventually(written, 100)
    assert len(command.left()) > 3  # with a Ray of its own
    command.interrupt()
    if again == "while it ends":
        eventually(lambda: "stopped; what was written stays" in command.text(), 10)
    if again != "never":
        time.sleep(0.3)
        command.interrupt()
    ended(command, 10)
    count = len(Gallery.open(store))
    assert 0 < count < 5856 and count % 512 == 0


def test_while_it_waits_for_a_node(tmp_path: Path, data: Path, commands: list[Command]) -> None:
    nodes = Nodes(0)
    try:
        command = Command(tmp_path, data, nodes.address)
        commands.append(command)
        eventually(lambda: "has room for a worker (1 CPU); waiting 60 s" in command.text(), 90)
        command.interrupt()
        ended(command, 10)
    finally:
        nodes.close()
