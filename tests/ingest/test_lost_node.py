"""A node of a cluster dies during ``cxr ingest --ray``: others finish its work, or the job ends."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest import IngestReport, Progress, ingest
from ingest.distributed import workers
from ingest.distributed.stage import Pool, on_ray
from store import ClusterUnavailable, Gallery
from tests.clusters import Nodes, eventually
from tests.ingest.fakes import FakeEncoder, Noting, contents, record, source

pytestmark = pytest.mark.slow

#: Images per chunk in these tests.
CHUNK = 16
IMAGES = [record(number) for number in range(24 * CHUNK)]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "CHUNK", CHUNK)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    pytest.importorskip("ray")
    found = Nodes(2)
    yield found
    found.close()


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "ray", FakeEncoder().stamp)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """What one machine makes of the same images."""
    found = Gallery.create(tmp_path_factory.mktemp("one"), FakeEncoder().stamp)
    ingest(source(IMAGES), found, FakeEncoder())
    return found


def run(
    gallery: Gallery, encoder: Noting, nodes: Nodes, gpus: int = 0, **options: Any
) -> IngestReport:
    stage = on_ray(encoder, Pool(nodes.address, workers=(2, 2), gpus=gpus))
    films = source(IMAGES)
    return ingest(films, gallery, FakeEncoder(), batch_size=4 * CHUNK, stage=stage, **options)


def same(gallery: Gallery, alone: Gallery) -> None:
    assert contents(gallery) == contents(alone)
    mine, theirs = (one.vectors(alone.ids()) for one in (gallery, alone))
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("gpus", [0, 1])  # with one, other workers decode than encode
def test_the_other_node_finishes_what_a_dead_one_had(
    gpus: int,
    nodes: Nodes,
    gallery: Gallery,
    alone: Gallery,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    nodes.have(2)
    encoder, hold = Noting(tmp_path), tmp_path / "hold"
    hold.touch()

    def murder() -> None:
        eventually(lambda: len(set(encoder.pids())) == 2, 60)  # both have a chunk in hand
        nodes.lose()
        hold.unlink()

    killer = threading.Thread(target=murder, daemon=True)
    killer.start()
    report = run(gallery, encoder, nodes, gpus)
    killer.join(10)
    assert caplog.text.count("a node of the Ray cluster was lost") == 1
    eventually(lambda: nodes.room() == 1)  # Ray itself needs longer to see it
    assert (report.inserted, report.updated, report.encoded) == (len(IMAGES), 0, len(IMAGES))
    same(gallery, alone)


def test_where_no_node_is_left_it_ends_and_the_same_command_goes_on(
    nodes: Nodes,
    gallery: Gallery,
    alone: Gallery,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("ingest.distributed.stage.PATIENCE", 15.0)
    monkeypatch.setattr("ingest.distributed.stage.QUIET", 1.0)
    nodes.have(1)
    encoder = Noting(tmp_path)

    def murder(now: Progress) -> None:
        if now.done > 4 * CHUNK and nodes.room():  # a batch is written, and not all are sent
            nodes.have(0)

    with pytest.raises(ClusterUnavailable) as told:
        run(gallery, encoder, nodes, progress=murder)
    assert re.fullmatch(
        r"no node of the Ray cluster has room for a worker \(1 CPU\) since \d+ s, 1 was lost "
        r"during the work; what was written stays, the same command goes on from there when there "
        r"is a node; look at: ray status",
        str(told.value),
    )
    assert "waiting 15 s for one, Ctrl-C stops" in caplog.text
    gallery.refresh()
    written = len(gallery)
    assert 0 < written < len(IMAGES) and written % (4 * CHUNK) == 0

    nodes.have(1)
    report = run(gallery, encoder, nodes)
    assert (report.unchanged, report.inserted) == (written, len(IMAGES) - written)
    same(gallery, alone)


def test_who_waits_for_a_node_can_stop(nodes: Nodes, gallery: Gallery, tmp_path: Path) -> None:
    nodes.have(0)
    stop = threading.Event()
    threading.Timer(2.0, stop.set).start()
    stage = on_ray(FakeEncoder, Pool(nodes.address), stop=stop)
    report = ingest(source(IMAGES), gallery, FakeEncoder(), stage=stage, stop=stop)
    assert report.stopped == "interrupted" and report.inserted == 0
