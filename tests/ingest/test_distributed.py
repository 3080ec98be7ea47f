"""Ingestion on Ray: the same gallery and the same report, whatever becomes of the workers."""

from __future__ import annotations

import itertools
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
from PIL import Image

from ingest import ImageRecord, Rejection, Source, ingest, open_source
from ingest.distributed import workers
from ingest.distributed.stage import Pool, on_ray
from ingest.distributed.workers import EncoderCall
from ingest.encoders import load_encoder
from store import ClusterUnavailable, EncoderMismatch, Gallery, UsageError, connection, files
from tests.clusters import eventually, kill, ray  # noqa: F401 - a fixture
from tests.ingest.fakes import FakeEncoder, Noting, contents, picture, record, source
from tests.ingest.films import chest, encoded, png, write

# The first of them also waits for Ray to start, which takes minutes on a busy machine.
pytestmark = pytest.mark.timeout(600)
needs_ray = pytest.mark.usefixtures("ray")
#: Images per chunk in these tests: many chunks of few.
CHUNK = 16


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "CHUNK", CHUNK)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "store", FakeEncoder().stamp)


def same(report: Any) -> dict[str, Any]:
    told = report.as_dict()
    return {
        name: value
        for name, value in told.items()
        if name not in ("batch", "seconds", "images_per_second", "table_version", "hashed")
    }


def some(count: int, first: int = 0) -> list[ImageRecord | Rejection]:
    items: list[ImageRecord | Rejection] = [record(n) for n in range(first, first + count)]
    items[3:3] = [Rejection("list#3", "label_missing", "no row"), record(first)]
    return items


@needs_ray
@pytest.mark.slow  # the same without Ray is in test_readers
def test_films_of_an_older_reader_are_read_again_there_too(tmp_path: Path) -> None:
    encoder = load_encoder()
    root = tmp_path / "films"
    write(root, "deep.png", encoded(Image.fromarray(chest(1).astype(np.uint16) * 100)))
    write(root, "large.png", png(2, 1100))
    write(root, "grey.png", png(3))
    on_cluster = on_ray(EncoderCall.of(encoder), Pool(workers=(1, 1)))
    told, made = [], []
    for name, stage in (("one", None), ("ray", on_cluster)):
        uri = str(tmp_path / name)
        ingest(open_source("folder", root), Gallery.create(uri, encoder.stamp), encoder, batch="a")
        lancedb.connect(uri).open_table(files.TABLE).drop_columns(["pixel_reader"])
        gallery = Gallery.open(uri)
        report = ingest(open_source("folder", root), gallery, encoder, batch="b", stage=stage)
        gallery.refresh()
        told.append(same(report))
        made.append((contents(gallery), gallery.vectors(gallery.ids())))
        assert report.reread == 2
        assert gallery.stats()["pixel_readers"] == {"2": 3}
    assert told[0] == told[1]
    assert made[0][0] == made[1][0]
    np.testing.assert_allclose(made[0][1], made[1][1], atol=1e-6)


@needs_ray
def test_real_films_become_the_rows_that_one_machine_makes(tmp_path: Path, data: Path) -> None:
    encoder = load_encoder()
    on_cluster = on_ray(EncoderCall.of(encoder), Pool(workers=(1, 1)))
    told, made = [], []
    for name, stage in (("one", None), ("ray", on_cluster)):
        films = open_source("medmnist:pneumoniamnist", root=data, splits=["test"])
        few = Source(films.name, 200, itertools.islice(films.records, 200))
        gallery = Gallery.create(tmp_path / name, encoder.stamp)
        report = ingest(few, gallery, encoder, batch="b", batch_size=60, stage=stage)
        told.append(same(report) | {"version": report.table_version})
        made.append((contents(gallery), gallery.vectors(gallery.ids())))
    assert told[0] == told[1] and told[0]["inserted"] == 200
    assert made[0][0] == made[1][0]
    np.testing.assert_allclose(made[0][1], made[1][1], rtol=0, atol=1e-5)


@needs_ray
@pytest.mark.parametrize("apart", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_folder_with_bad_files_is_told_as_on_one_machine(apart: bool, tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for number in range(40):
        Image.fromarray(picture(number, 9)).save(films / f"{number:02}.png")
    (films / "07.png").write_bytes(b"")
    (films / "23.png").write_bytes((films / "24.png").read_bytes()[:-60])
    (films / "31.png").write_text("not an image")
    told, made = [], []
    for name in ("one", "ray"):
        gallery = Gallery.create(tmp_path / name, FakeEncoder().stamp)
        seen: list[Any] = []
        for _ in range(2):
            stage = (
                None if name == "one" else on_ray(FakeEncoder, Pool(workers=(1, 2)), apart=apart)
            )
            report = ingest(
                open_source("folder", films),
                gallery,
                FakeEncoder(),
                batch_size=16,
                stage=stage,
                progress=lambda now, seen=seen: seen.append((now.done, now.refused)),
            )
            told.append(same(report))
        assert seen[-1] == (40, 3)
        made.append(contents(gallery))
    assert told[0] == told[2] and told[1] == told[3]
    assert [one["reason"] for one in told[0]["rejected"]] == ["empty", "truncated", "not_an_image"]
    assert (told[0]["inserted"], told[1]["encoded"], told[1]["unchanged"]) == (37, 0, 37)
    assert made[0] == made[1]


@needs_ray
def test_what_a_run_is_not_told_stays_there_too(tmp_path: Path) -> None:
    films, table = tmp_path / "films", tmp_path / "t.csv"
    films.mkdir()
    made, told = [], []
    for name in ("one", "ray"):
        gallery = Gallery.create(tmp_path / name, FakeEncoder().stamp)
        for number in range(6):
            Image.fromarray(picture(number, 9)).save(films / f"{number}.png")
        lines = [f"{n}.png,normal,{40 + n},{n % 2}" for n in range(6)]
        table.write_text("\n".join(["file,label,age,ward", *lines]))
        first = open_source("folder", films, labels=table, columns=["age,ward"])
        ingest(first, gallery, FakeEncoder())
        Image.fromarray(picture(99, 9)).save(films / "2.png")
        lines = [f"{n}.png,{'mass' if n == 3 else 'normal'}" for n in range(6)]
        table.write_text("\n".join(["file,label", *lines]))
        stage = None if name == "one" else on_ray(FakeEncoder, Pool(workers=(1, 1)))
        second = open_source("folder", films, labels=table)
        told.append(same(ingest(second, gallery, FakeEncoder(), stage=stage, clear=["ward"])))
        gallery.refresh()
        assert sorted(row.age or 0 for row in gallery.rows(gallery.ids()).values()) == [
            40 + n for n in range(6)
        ]
        made.append(contents(gallery))
    assert told[0] == told[1]
    assert told[0]["changed"] == {"image": 1, "ward": 6, "labels": 1}
    assert made[0] == made[1]


@needs_ray
def test_killed_workers_lose_nothing_and_double_nothing(
    gallery: Gallery, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    encoder = Noting(tmp_path, fatal=(4, 13))
    items = some(30 * CHUNK)
    report = ingest(
        source(items),
        gallery,
        FakeEncoder(),
        batch_size=2 * CHUNK,
        stage=on_ray(encoder, Pool(workers=(2, 2))),
    )
    assert len(list(tmp_path.glob("killed.*"))) == 2 and len(set(encoder.pids())) >= 3
    counts = (report.inserted, report.updated, report.encoded, len(report.rejected))
    assert counts == (30 * CHUNK, 0, 30 * CHUNK, 2)
    assert len(encoder.pids()) >= 30 + 2  # what the dead were at was done again
    other = Gallery.create(tmp_path / "one", FakeEncoder().stamp)
    ingest(source(items), other, FakeEncoder())
    assert contents(gallery) == contents(other)
    assert gallery.vectors(other.ids()).tobytes() == other.vectors(other.ids()).tobytes()
    assert capfd.readouterr().out == ""  # Ray would print it where a command's JSON goes


@pytest.mark.slow
@needs_ray
def test_images_that_kill_every_worker_are_named(
    gallery: Gallery,
    tmp_path: Path,
    ray: Any,  # noqa: F811
) -> None:
    encoder = Noting(tmp_path, deadly=picture(2 * CHUNK).tobytes())
    items = [record(n) for n in range(3 * CHUNK)]
    with pytest.raises(ClusterUnavailable, match=f"toy.npz#test/{2 * CHUNK}; look at the memory"):
        ingest(
            source(items),
            gallery,
            FakeEncoder(),
            batch_size=CHUNK,
            stage=on_ray(encoder, Pool(workers=(1, 1))),
        )
    kept = len(gallery)
    assert kept in {CHUNK, 2 * CHUNK}  # what came before is kept
    eventually(lambda: ray.available_resources().get("CPU") == 2)  # and nobody holds a core
    report = ingest(source(items), gallery, FakeEncoder())
    assert (report.inserted, report.unchanged) == (3 * CHUNK - kept, kept)


@needs_ray
def test_stopping_lets_the_workers_go(gallery: Gallery, tmp_path: Path, ray: Any) -> None:  # noqa: F811
    stop = threading.Event()
    encoder = Noting(tmp_path, 0.05)
    report = ingest(
        source([record(n) for n in range(20 * CHUNK)]),
        gallery,
        FakeEncoder(),
        batch_size=CHUNK,
        stage=on_ray(encoder, Pool(workers=(2, 2))),
        stop=stop,
        progress=lambda now: stop.set() if now.done >= 2 * CHUNK else None,
    )
    assert report.stopped == "interrupted" and report.inserted == len(gallery) < 8 * CHUNK
    eventually(lambda: ray.available_resources().get("CPU") == 2)


@pytest.mark.slow
@needs_ray
def test_the_source_is_not_read_faster_than_it_is_committed(gallery: Gallery) -> None:
    read = itertools.count()
    last = 0

    def records() -> Iterator[ImageRecord]:
        nonlocal last
        for last in read:
            if last == 40 * CHUNK:
                return
            yield record(last, seed=0)

    ahead: list[int] = []
    pool = Pool(workers=(1, 1))
    ingest(
        Source("toy", 40 * CHUNK, records()),
        gallery,
        FakeEncoder(),
        batch_size=CHUNK,
        stage=on_ray(FakeEncoder, pool),
        progress=lambda now: ahead.append(last - now.done),
    )
    assert len(gallery) == 40 * CHUNK
    assert max(ahead) <= 11 * CHUNK  # 4 chunks a worker and 4, and batches in and out of hand


@needs_ray
def test_what_the_encoder_says_arrives_as_it_was_said(gallery: Gallery) -> None:
    wrong = EncoderCall("cxr-clip-28", "00" * 32)
    with pytest.raises(EncoderMismatch, match="a worker found encoder cxr-clip-28"):
        ingest(source(some(5)), gallery, FakeEncoder(), stage=on_ray(wrong, Pool()))
    assert len(gallery) == 0


def test_nothing_new_needs_no_cluster(gallery: Gallery) -> None:
    pytest.importorskip("ray")
    ingest(source(some(9)), gallery, FakeEncoder())
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        stage = on_ray(FakeEncoder, Pool(address=f"127.0.0.1:{nobody.getsockname()[1]}"))
        report = ingest(source(some(9)), gallery, FakeEncoder(), stage=stage)
    assert (report.unchanged, report.encoded, len(report.rejected)) == (9, 0, 2)


def test_a_head_that_is_not_there_is_said_at_once() -> None:
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(ClusterUnavailable, match=r"no Ray cluster answers at .*ray start"):
            on_ray(FakeEncoder, Pool(address=address))


def test_a_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")

    def slow(**_: Any) -> None:
        raise Exception("The current node timed out during startup.\nThis could happen")

    monkeypatch.setattr("ray.init", slow)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(ClusterUnavailable, match=r"answers at 'local' .*timed out during startup"):
        connection.connect()


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'cxr-retrieval\[ray\]'"):
        on_ray(FakeEncoder, Pool())


@pytest.mark.parametrize("workers", [(0, 1), (3, 2)])
def test_a_pool_needs_workers(workers: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="expected 1 or more, the fewest first"):
        Pool(workers=workers)


def test_a_folders_encoder_is_found_by_its_folder() -> None:
    encoder = load_encoder()
    named = EncoderCall.of(encoder)
    assert named.name == "cxr-clip-28" and named().stamp == encoder.stamp
    elsewhere = load_encoder(encoder.folder)
    assert EncoderCall.of(elsewhere)().fingerprint == elsewhere.fingerprint
