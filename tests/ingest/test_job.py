"""The job: nothing twice, nothing half, and every interruption finished by running it again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import ImageRecord, Progress, Rejection, Source, ingest, open_source
from ingest.images.decode import read_image
from ingest.job.run import IngestReport
from store import BadSource, EncoderMismatch, Gallery, Row, UpsertReport, UsageError
from tests.ingest.fakes import FakeEncoder, picture, record, source, vector_of, write_npz


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "store", FakeEncoder().stamp)


def run(items: Sequence[ImageRecord | Rejection], gallery: Any, **options: Any) -> IngestReport:
    encoder = options.pop("encoder", None) or FakeEncoder()
    report = ingest(source(items), gallery, encoder, **options)
    assert report.encoded == encoder.encoded
    return report


def counts(report: IngestReport) -> tuple[int, int, int, int]:
    return report.inserted, report.updated, report.unchanged, report.encoded


def contents(uri: Path | str) -> dict[str, tuple[Any, ...]]:
    """Everything in a gallery but when and by which run it was written."""
    gallery = Gallery.open(uri)
    ids = gallery.ids()
    rows, pictures, vectors = gallery.rows(ids), gallery.thumbnails(ids), gallery.vectors(ids)
    return {
        id_: (
            repr(dataclasses.replace(rows[id_], batch="", ingested_at=None)),
            pictures[id_],
            vector.tobytes(),
        )
        for id_, vector in zip(ids, vectors, strict=True)
    }


# -- what is written -------------------------------------------------------------------------------


def test_a_record_becomes_a_row(gallery: Gallery) -> None:
    before = datetime.now(UTC)
    one = record(
        3, labels=("effusion", "mass"), patient="p1", view="PA", sex="F", age=61.0, split="val"
    )
    report = run([one], gallery, batch="monday")
    assert counts(report) == (1, 0, 0, 1)
    row = gallery.row("toy/test/3")
    assert (row.labels, row.split, row.dataset) == (("effusion", "mass"), "val", "toy")
    assert (row.patient, row.view, row.sex, row.age) == ("p1", "PA", "F", 61.0)
    assert (row.source, row.sha256, row.batch) == ("toy.npz#test/3", one.sha256, "monday")
    assert (row.width, row.height) == (6, 6)
    assert row.ingested_at is not None and before <= row.ingested_at <= datetime.now(UTC)
    stored = gallery.thumbnails([row.id])[row.id]
    assert stored is not None
    np.testing.assert_array_equal(read_image(stored), one.pixels)
    np.testing.assert_array_equal(gallery.vectors([row.id])[0], vector_of(one.pixels))


def test_batch_is_named_after_time_and_source(gallery: Gallery) -> None:
    report = run([record(0)], gallery)
    datetime.strptime(report.batch, "%Y-%m-%dT%H:%M:%SZ-toy").replace(tzinfo=UTC)
    assert gallery.row("toy/test/0").batch == report.batch


def test_report_as_json(gallery: Gallery) -> None:
    report = run([record(0), Rejection("b.png", "empty", "b.png is empty")], gallery)
    told = json.loads(json.dumps(report.as_dict()))
    assert told.pop("seconds") >= 0 and told.pop("images_per_second") > 0
    assert told == {
        "batch": report.batch,
        "inserted": 1,
        "updated": 0,
        "unchanged": 0,
        "changed": {},
        "encoded": 1,
        "reread": 0,
        "notes": {},
        "hashed": 0,
        "rejected": [{"source": "b.png", "reason": "empty", "detail": "b.png is empty"}],
        "reasons": {"empty": 1},
        "gone": [],
        "pruned": 0,
        "columns": {},
        "labelling": {},
        "reports": {},
        "outcomes": {"found": 1, "nothing_found": 0, "uncertain_only": 0, "not_labelled": 0},
        "labels_kept": 0,
        "set_aside": {},
        "encoder_changed": None,
        "encoder_note": None,
        "stopped": None,
        "warning": None,
        "table_version": gallery.table_version,
    }


def test_progress_counts_everything(gallery: Gallery) -> None:
    seen: list[Progress] = []
    items = [record(i) for i in range(5)] + [Rejection("x", "empty", "")]
    run(items, gallery, batch_size=4, progress=seen.append)
    assert [(p.done, p.total, p.encoded) for p in seen] == [(0, 6, 0), (4, 6, 4), (6, 6, 5)]
    assert seen[0].seconds <= seen[-1].seconds
    assert Progress(0, 1, 0, 0.0).images_per_second == 0
    assert Progress(10, 10, 3, 2.0).images_per_second == 5


# -- nothing twice ---------------------------------------------------------------------------------


class Unloadable(FakeEncoder):
    def encode_images(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        raise AssertionError("the model was loaded")


def test_again_encodes_nothing_and_writes_nothing(gallery: Gallery) -> None:
    items = [record(i) for i in range(10)]
    first = run(items, gallery, batch_size=3)
    assert counts(first) == (10, 0, 0, 10)
    again = run(items, gallery, encoder=Unloadable())
    assert counts(again) == (0, 0, 10, 0)
    assert again.table_version == first.table_version
    assert gallery.row("toy/test/0").batch == first.batch


def test_a_changed_image_is_encoded_again(gallery: Gallery) -> None:
    run([record(i) for i in range(4)], gallery)
    report = run([record(i, seed=99 if i == 2 else None) for i in range(4)], gallery)
    assert counts(report) == (0, 1, 3, 1)
    gallery.refresh()
    np.testing.assert_array_equal(gallery.vectors(["toy/test/2"])[0], vector_of(picture(99)))
    stored = gallery.thumbnails(["toy/test/2"])["toy/test/2"]
    assert stored is not None
    np.testing.assert_array_equal(read_image(stored), picture(99))


def test_changed_labels_are_corrected_without_the_model(gallery: Gallery) -> None:
    run([record(i) for i in range(4)], gallery)
    before = gallery.vectors(["toy/test/1"]), gallery.thumbnails(["toy/test/1"])
    items = [record(0), record(1, labels=("mass",), split="val", age=3.0), record(2), record(3)]
    assert counts(run(items, gallery, encoder=Unloadable())) == (0, 1, 3, 0)
    gallery.refresh()
    row = gallery.row("toy/test/1")
    assert (row.labels, row.split, row.age) == (("mass",), "val", 3.0)
    np.testing.assert_array_equal(gallery.vectors(["toy/test/1"]), before[0])
    assert gallery.thumbnails(["toy/test/1"]) == before[1]
    assert counts(run(items, gallery, encoder=Unloadable())) == (0, 0, 4, 0)


def test_the_same_pixels_under_two_ids_are_two_rows(gallery: Gallery) -> None:
    assert counts(run([record(0), record(1, seed=0)], gallery)) == (2, 0, 0, 2)


def test_a_source_without_images(gallery: Gallery) -> None:
    report = run([], gallery)
    assert counts(report) == (0, 0, 0, 0) and report.table_version >= 1


# -- what is refused -------------------------------------------------------------------------------


def test_rejections_are_collected_and_the_rest_goes_on(gallery: Gallery) -> None:
    items: list[ImageRecord | Rejection] = [
        record(0),
        Rejection("a.png", "truncated", "a.png is truncated"),
        record(0, seed=5),
        dataclasses.replace(record(1), id=""),
        dataclasses.replace(record(2), pixels=np.zeros((4, 4), np.float32)),
        dataclasses.replace(record(3), pixels=np.zeros((4, 0), np.uint8)),
        dataclasses.replace(record(4), pixels=np.zeros((4, 4, 4), np.uint8)),
        record(5),
    ]
    report = run(items, gallery, batch_size=2)
    assert counts(report) == (2, 0, 0, 2)
    assert [(one.source, one.reason) for one in report.rejected] == [
        ("a.png", "truncated"),
        ("toy.npz#test/0", "duplicate_id"),
        ("toy.npz#test/1", "no_id"),
        ("toy.npz#test/2", "bad_pixels"),
        ("toy.npz#test/3", "bad_pixels"),
        ("toy.npz#test/4", "bad_pixels"),
    ]
    np.testing.assert_array_equal(gallery.vectors(["toy/test/0"])[0], vector_of(picture(0)))


def test_another_encoder_is_refused_before_anything_is_read(gallery: Gallery) -> None:
    def never() -> Iterator[ImageRecord]:
        raise AssertionError("the source was read")
        yield

    with pytest.raises(EncoderMismatch, match=r"fake with fingerprint abab.*fake here has cdcd"):
        ingest(Source("toy", 1, never()), gallery, FakeEncoder("cd" * 32))


def test_batch_size(gallery: Gallery) -> None:
    with pytest.raises(UsageError, match="batch_size must be 1 or more, got 0"):
        run([], gallery, batch_size=0)


# -- streaming -------------------------------------------------------------------------------------


def test_only_a_few_batches_are_in_memory(gallery: Gallery) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    class Tracked(np.ndarray):  # type: ignore[type-arg]
        __hash__ = object.__hash__

    def stream() -> Iterator[ImageRecord]:
        nonlocal most
        for number in range(60):
            one = record(number)
            pixels = one.pixels.view(Tracked)
            alive.add(pixels)
            most = max(most, len(alive))
            yield dataclasses.replace(one, pixels=pixels)

    report = ingest(Source("toy", 60, stream()), gallery, FakeEncoder(), batch_size=6)
    assert report.inserted == 60
    assert most <= 4 * 6


# -- interruptions ---------------------------------------------------------------------------------


class BrokenGallery:
    """A gallery whose n-th write fails, before or after it reached the table."""

    def __init__(self, gallery: Gallery, write: int, after: bool, error: BaseException) -> None:
        self.gallery, self.left, self.after, self.error = gallery, write, after, error
        self.stamp, self.rows, self.uri = gallery.stamp, gallery.rows, gallery.uri
        self.set_readers, self.settle = gallery.set_readers, gallery.settle
        self.kept = gallery.kept

    def upsert(self, rows: Sequence[Row]) -> UpsertReport:
        self._break(not self.after)
        report = self.gallery.upsert(rows)
        self._break(self.after)
        return report

    def update_metadata(self, rows: Sequence[Row]) -> int:
        self._break(not self.after)
        changed = self.gallery.update_metadata(rows)
        self._break(self.after)
        return changed

    def _break(self, here: bool) -> None:
        if here:
            self.left -= 1
            if self.left < 0:
                raise self.error


def _old(number: int) -> ImageRecord:
    return record(number)


def _new(number: int) -> ImageRecord:
    """Of the old ones, every third has other pixels, every fourth other labels."""
    seed = number + 1000 if number % 3 == 0 else None
    return record(number, seed=seed, labels=("mass",) if number % 4 == 0 else ("normal",))


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, tuple[Any, ...]], dict[str, tuple[Any, ...]]]:
    """A gallery, and contents before and after a second ingestion that nothing interrupts."""
    old, new = (tmp_path_factory.mktemp("undisturbed") / name for name in ("old", "new"))
    run([_old(i) for i in range(6)], Gallery.create(old, FakeEncoder().stamp))
    shutil.copytree(old, new)
    run([_new(i) for i in range(10)], Gallery.open(new))
    return old, contents(old), contents(new)


@settings(max_examples=8)
@given(
    place=st.integers(0, 6),
    where=st.sampled_from(["encoder", "before write", "after write", "source"]),
    batch_size=st.integers(2, 6),
)
def test_an_interrupted_job_is_finished_by_running_it_again(
    undisturbed: tuple[Path, dict[str, Any], dict[str, Any]],
    place: int,
    where: str,
    batch_size: int,
) -> None:
    old, before, after = undisturbed

    def breaking() -> Iterator[ImageRecord]:
        for number in range(10):
            if where == "source" and number == place:
                raise BadSource("the file ended")
            yield _new(number)

    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(old, folder, dirs_exist_ok=True)
        gallery = Gallery.open(folder)
        target: Any = gallery
        if "write" in where:
            target = BrokenGallery(gallery, place, where == "after write", KeyboardInterrupt())
        encoder = FakeEncoder(fail_at=place if where == "encoder" else None)
        with contextlib.suppress(KeyboardInterrupt, BadSource, RuntimeError):
            ingest(Source("toy", 10, breaking()), target, encoder, batch_size=batch_size)
        partial = contents(folder)
        assert set(before) <= set(partial) <= set(after)
        for id_, row in partial.items():
            assert row in (before.get(id_), after[id_]), "half of a change"
        run([_new(i) for i in range(10)], Gallery.open(folder), batch_size=batch_size)
        assert contents(folder) == after


CHILD = """
import sys, time
from ingest import ingest
from store import Gallery
from tests.ingest.fakes import FakeEncoder, record, source

class Slow(FakeEncoder):
    def encode_images(self, images):
        time.sleep(0.02)
        return super().encode_images(images)

gallery = Gallery.create(sys.argv[1], FakeEncoder().stamp)
print("ready", flush=True)
ingest(source(record(i) for i in range(60)), gallery, Slow(), batch_size=3)
print("finished", flush=True)
"""


@pytest.mark.slow
def test_a_killed_job_is_finished_by_running_it_again(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    uri = tmp_path / "store"
    killed = 0
    for patience in (0.05, 0.15, 0.35):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(uri)], cwd=root, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(patience)
        child.send_signal(signal.SIGKILL)
        child.wait()
        killed += "finished" not in child.stdout.read()
        child.stdout.close()
        for row in contents(uri).values():  # whole rows only
            assert row[1] is not None
    assert killed >= 1
    items = [record(i) for i in range(60)]
    report = run(items, Gallery.open(uri), batch_size=3)
    assert report.inserted + report.unchanged == 60 and report.updated == 0
    run(items, Gallery.create(tmp_path / "other", FakeEncoder().stamp))
    assert contents(uri) == contents(tmp_path / "other")


@settings(max_examples=6)
@given(
    seeds=st.lists(st.integers(0, 5), min_size=1, max_size=12),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_twice_is_once_whatever_the_batches(seeds: list[int], sizes: tuple[int, int]) -> None:
    items = [record(number, seed=seed) for number, seed in enumerate(seeds)]
    with tempfile.TemporaryDirectory() as folder:
        gallery = Gallery.create(folder, FakeEncoder().stamp)
        first = run(items, gallery, batch_size=sizes[0])
        once = contents(folder)
        again = run(items, gallery, batch_size=sizes[1], encoder=Unloadable())
        assert counts(again) == (0, 0, len(items), 0)
        assert again.table_version == first.table_version
        assert contents(folder) == once


# -- with real sources -----------------------------------------------------------------------------


def test_from_an_npz_to_a_search(tmp_path: Path, gallery: Gallery) -> None:
    write_npz(tmp_path / "pneumoniamnist.npz", {"train": 5, "test": 4})
    options: dict[str, Any] = {"root": tmp_path, "splits": ["train", "test"]}
    report = ingest(
        open_source("medmnist:pneumoniamnist", **options), gallery, FakeEncoder(), batch_size=2
    )
    assert report.inserted == 9
    assert gallery.search_by_id("pneumoniamnist/test/3", k=3)[0].row.dataset == "pneumoniamnist"


def test_pneumoniamnist_again_writes_nothing(data: Path, gallery: Gallery) -> None:
    def once() -> IngestReport:
        films = open_source("medmnist:pneumoniamnist", root=data, splits=["val", "test"])
        return ingest(films, gallery, FakeEncoder())

    first = once()
    assert counts(first) == (1148, 0, 0, 1148)
    again = once()
    assert counts(again) == (0, 0, 1148, 0)
    assert again.table_version == first.table_version


# -- the encoder is exchanged while the job runs ---------------------------------------------------


def test_an_encoder_exchanged_meanwhile_is_told(gallery: Gallery) -> None:
    class Exchanged(FakeEncoder):
        def changed(self) -> str | None:
            return "encoder 'fake' was read with fingerprint 1, its folder has fingerprint 2 now"

    report = run([record(1)], gallery, encoder=Exchanged())
    assert report.encoder_changed == Exchanged().changed()
    assert report.as_dict()["encoder_changed"] == report.encoder_changed
    # Nothing was encoded, so that no row is of either.
    assert run([record(1)], gallery, encoder=Exchanged()).encoder_changed is None
    assert run([record(2)], gallery).encoder_changed is None
