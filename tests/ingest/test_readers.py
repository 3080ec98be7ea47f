"""Films that are read otherwise than when they came in: read again, once, and only those."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
import tifffile
from PIL import Image

from ingest import ImageRecord, ingest, open_source
from ingest.images import pixels as pixel_arithmetic
from ingest.images.decode import read_image
from ingest.images.pixels import pixels_digest, reduced, thumbnail
from ingest.images.reader_version import READER
from ingest.job import file_memory
from ingest.sources.source import Source
from store import Gallery, files
from tests.ingest.fakes import FakeEncoder, vector_of
from tests.ingest.films import chest, encoded, film, png, write

#: Files whose reading changed with version 2 of the reader, and some of which it did not.
CHANGED = ("deep.png", "deep.tif", "big.tif", "large.png", "x-ray.dcm")
SAME = ("grey.png", "grey.jpg", "grey.tif")


class Encoder(FakeEncoder):
    """As the bundled one: it sees 28 pixels."""

    side = 28

    def encode_images(self, images: Any) -> Any:
        return super().encode_images([reduced(one, self.side) for one in images])


@pytest.fixture
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(
        file_memory, "SETTLED_NS", 0
    )  # the stat of files this young is trusted, too
    root = tmp_path / "films"
    deep = chest(1).astype(np.uint16) * 100
    file, big = io.BytesIO(), io.BytesIO()
    tifffile.imwrite(file, deep + 1, photometric="minisblack")
    tifffile.imwrite(big, deep + 3, photometric="minisblack", bigtiff=True)
    write(root, "deep.png", encoded(Image.fromarray(deep)))
    write(root, "deep.tif", file.getvalue())
    write(root, "big.tif", big.getvalue())
    write(root, "large.png", png(2, 1100))
    write(root, "x-ray.dcm", film(deep + 2))
    write(root, "grey.png", png(3))
    write(root, "grey.jpg", encoded(Image.fromarray(chest(4)), "JPEG"))
    write(root, "grey.tif", encoded(Image.fromarray(chest(5)), "TIFF"))
    return root


def run(gallery: Gallery, root: Path, **options: Any) -> Any:
    return ingest(open_source("folder", root), gallery, Encoder(), **options)


@pytest.fixture
def older(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gallery:
    """A gallery of these films as today's build wrote it: 16 bits for every depth, no versions."""
    uri = str(tmp_path / "store")
    gallery = Gallery.create(uri, Encoder().stamp)
    with monkeypatch.context() as patch:
        patch.setattr(pixel_arithmetic, "value_range", lambda values, counts: (0.0, 65535.0))
        patch.setattr(
            "ingest.images.dicom.read.stretch",
            lambda values, low, high: values // 256,
            raising=False,
        )
        patch.setattr("ingest.job.pipeline.reduced", lambda pixels, side: pixels)
        run(gallery, films, batch="then")
    lancedb.connect(uri).open_table(files.TABLE).drop_columns(["pixel_reader"])
    return Gallery.open(uri)


def readers(gallery: Gallery) -> dict[str, int]:
    gallery.refresh()
    return {id_.split("/")[-1]: gallery.row(id_).pixel_reader for id_ in gallery.ids()}


def test_new_rows_say_who_read_them(films: Path, tmp_path: Path) -> None:
    gallery = Gallery.create(str(tmp_path / "new"), Encoder().stamp)
    report = run(gallery, films)
    assert report.inserted == 8 and report.reread == 0
    assert set(readers(gallery).values()) == {READER}
    assert gallery.stats()["pixel_readers"] == {str(READER): 8}
    again = run(gallery, films)
    assert (again.unchanged, again.encoded, again.reread) == (8, 0, 0)


def test_only_films_whose_reading_changed_are_read_again(older: Gallery, films: Path) -> None:
    assert set(readers(older).values()) == {1}
    assert older.stats()["pixel_readers"] == {"1": 8}
    old = {id_: older.row(id_) for id_ in older.ids()}
    report = run(older, films, batch="now")
    told = (report.inserted, report.updated, report.unchanged, report.encoded, report.reread)
    assert told == (0, len(CHANGED), len(SAME), len(CHANGED), len(CHANGED))
    assert report.as_dict()["reread"] == len(CHANGED)
    assert report.changed == {"image": len(CHANGED)}
    assert set(readers(older).values()) == {READER}
    assert older.check() == []
    for id_ in older.ids():
        name, row = id_.split("/")[-1], older.row(id_)
        assert row.batch == ("now" if name in CHANGED else "then")
        assert row.sha256 == old[id_].sha256
        assert (row.width, row.height) == (old[id_].width, old[id_].height)
        pixels = read_image(films / name)
        np.testing.assert_array_equal(older.vectors([id_])[0], vector_of(reduced(pixels, 28)))
        assert older.thumbnails([id_])[id_] == thumbnail(pixels)
    version = older.stats()["table_version"]
    again = run(older, films)
    assert (again.unchanged, again.encoded, again.reread, again.hashed) == (8, 0, 0, 0)
    assert older.stats()["table_version"] == version  # and nothing was written


def test_what_is_remembered_of_files_does_not_hide_it(older: Gallery, films: Path) -> None:
    with_memory = run(older, films)
    assert with_memory.reread == len(CHANGED)
    assert with_memory.hashed == len(CHANGED)  # of the others only the header was looked at


def test_and_without_memory(older: Gallery, films: Path) -> None:
    for path in (Path(older.uri) / "ingest").glob("files.sqlite*"):
        path.unlink()
    report = run(older, films)
    assert (report.reread, report.unchanged) == (len(CHANGED), len(SAME))


def test_undo_brings_back_what_an_older_reader_read(older: Gallery, films: Path) -> None:
    ids = [f"films/{name}" for name in CHANGED]
    before = older.vectors(ids), older.thumbnails(ids)
    run(older, films, batch="now")
    older.refresh()
    assert not np.array_equal(older.vectors(ids), before[0])
    undone = older.undo("now")
    assert undone.restored == len(CHANGED) and not undone.removed
    older.refresh()
    np.testing.assert_array_equal(older.vectors(ids), before[0])
    assert older.thumbnails(ids) == before[1]
    assert {name: readers(older)[name] for name in CHANGED} == dict.fromkeys(CHANGED, 1)
    assert run(older, films).reread == len(CHANGED)


def test_labels_are_corrected_on_the_way(older: Gallery, films: Path) -> None:
    labels = films / "labels.csv"
    rows = [f"{name},edema" for name in (*CHANGED, *SAME)]
    labels.write_text("\n".join(["file,label", *rows]))
    report = ingest(open_source("folder", films, labels=labels), older, Encoder())
    assert (report.reread, report.updated) == (len(CHANGED), 8)
    assert {n: report.changed[n] for n in ("image", "labels")} == {"image": 5, "labels": 8}
    older.refresh()
    assert {older.row(id_).labels for id_ in older.ids()} == {("edema",)}
    assert set(readers(older).values()) == {READER}


def test_a_film_that_is_refused_by_now_stays(older: Gallery, films: Path) -> None:
    blank = encoded(Image.fromarray(np.full((50, 50), 7, np.uint16)))
    row = next(older.row(id_) for id_ in older.ids() if id_.endswith("deep.png"))
    write(films, "deep.png", blank)
    report = run(older, films)
    assert [one.reason for one in report.rejected] == ["no_contrast"]
    older.refresh()
    kept = older.row(row.id)
    assert (kept.sha256, kept.pixel_reader) == (row.sha256, 1)
    assert older.stats()["pixel_readers"] == {"1": 1, str(READER): 7}


def test_arrays_have_no_header_but_a_size(tmp_path: Path) -> None:
    def arrays() -> Source:
        sides = (28, 64, 1100)
        films = [chest(side, side) for side in sides]
        records = [ImageRecord(f"a/{len(one)}", one, pixels_digest(one)) for one in films]
        return Source("arrays", len(records), iter(records))

    uri = str(tmp_path / "store")
    gallery = Gallery.create(uri, Encoder().stamp)
    ingest(arrays(), gallery, Encoder())
    lancedb.connect(uri).open_table(files.TABLE).drop_columns(["pixel_reader"])
    gallery = Gallery.open(uri)
    report = ingest(arrays(), gallery, Encoder())
    assert (report.unchanged, report.encoded, report.reread) == (2, 1, 1)
    assert set(readers(gallery).values()) == {READER}


def test_stats_counts_the_old_ones(older: Gallery, films: Path) -> None:
    from typer.testing import CliRunner

    from ui.cli import app

    def stats(*options: str) -> Any:
        done = CliRunner().invoke(app, ["stats", "--store", older.uri, *options])
        assert done.exit_code == 0
        return done

    assert json.loads(stats("--json").stdout)["older_reader"] == 8
    assert "8 films were read by an older reader" in stats().stderr
    run(older, films)
    told = json.loads(stats("--json").stdout)
    assert (told["older_reader"], told["pixel_readers"]) == (0, {str(READER): 8})
    assert "older reader" not in stats().stderr
