"""Every test has its own home, and no network."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

# A test that is slow on a busy machine has not failed; pytest-timeout ends one that hangs.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# Before anything that makes threads is imported. Workers of a run share the cores, and so do the
# processes they start: more threads than cores would only wait for each other.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(share, 1)))

#: Set by `make slow`; without it, tests marked slow are left out.
SLOW = bool(os.environ.get("CXR_SLOW_TESTS"))
DATA = Path(__file__).parent.parent.parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Idle workers steal what comes last. Tests of a running dashboard come first, so that they stay
    # with the worker that has the browser and the servers.
    items.sort(key=lambda item: "served" not in item.path.parts)
    for item in items:
        if item.get_closest_marker("slow") and not SLOW:
            item.add_marker(pytest.mark.skip(reason="slow: `make slow` runs it"))


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in ("CXR_STORE", "CXR_ENCODER", "CXR_DEVICE", "MEDMNIST_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.setenv("HF_HOME", str(home / "huggingface"))
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])  # type: ignore[index]
            if not host.startswith("127.") and host not in ("::1", "localhost"):
                raise OSError(f"no network in tests: {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="module")
def all_cores() -> Iterator[None]:
    """Searches of these tests use every core, as they do outside of tests."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    yield
    faiss.omp_set_num_threads(before)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable], Path]:
    """A folder that all workers of a run share: made_once(its name, what fills the new folder)."""
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def once(name: str, fill: Callable[[Path], object]) -> Path:
        folder, filled = base / name, base / f"{name}.filled"
        with FileLock(f"{folder}.lock"):
            if not filled.exists():  # also where who began to fill it has failed
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                filled.touch()
        return folder

    return once


@pytest.fixture
def data() -> Path:
    """The folder of real images; the test is skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real images at {DATA}")
    return DATA
