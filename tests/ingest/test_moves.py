"""The same ids from two folders: a move where the bytes are the same, else a refusal."""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from ingest import Progress, ingest, open_source
from ingest.job import file_memory
from ingest.job.run import IngestReport
from store import Gallery, UsageError
from tests.ingest.fakes import FakeEncoder, contents
from tests.ingest.films import film, png, write


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "store", FakeEncoder().stamp)


def films(root: Path, count: int = 4, seed: int = 0) -> Path:
    for number in range(count):
        write(root, f"{number}.png", png(seed + number, 16))
    return root


def run(root: Path, gallery: Gallery, kind: str = "folder", **options: Any) -> IngestReport:
    job = {
        name: options.pop(name) for name in ("take_over", "prune", "progress") if name in options
    }
    report = ingest(open_source(kind, root, **options), gallery, FakeEncoder(), **job)
    gallery.refresh()
    return report


def refused(root: Path, gallery: Gallery, **options: Any) -> str:
    """What is said; nothing may have been stored."""
    before, version = contents(gallery), gallery.table_version
    with pytest.raises(UsageError, match=r"--dataset NAME") as error:
        run(root, gallery, **options)
    assert contents(gallery) == before and gallery.table_version == version
    return str(error.value)


def test_two_folders_of_one_name(tmp_path: Path, gallery: Gallery) -> None:
    run(films(tmp_path / "2024" / "films"), gallery)
    said = refused(films(tmp_path / "2025" / "films", 6, seed=50), gallery)
    assert "4 films here have the ids of films that came from another folder" in said
    assert f"'films/0.png' came from {tmp_path}/2024/films/0.png" in said and "--replace" in said
    assert run(tmp_path / "2025" / "films", gallery, dataset="films 2025").inserted == 6
    assert run(tmp_path / "2024" / "films", gallery).unchanged == 4
    assert run(tmp_path / "2025" / "films", gallery, dataset="films 2025").unchanged == 6


def test_one_film_that_differs_is_enough(tmp_path: Path, gallery: Gallery) -> None:
    run(films(tmp_path / "2024" / "films", 9), gallery)
    copytree(tmp_path / "2024", tmp_path / "2025")
    write(tmp_path, "2025/films/8.png", png(99, 16))
    said = refused(tmp_path / "2025" / "films", gallery)
    assert "9 films here have the ids of films that came from another folder" in said
    assert "and 1 or more of them are not the same films: 'films/8.png' came from" in said


def test_whoever_wants_takes_their_place(tmp_path: Path, gallery: Gallery) -> None:
    run(films(tmp_path / "2024" / "films"), gallery)
    report = run(films(tmp_path / "2025" / "films", seed=50), gallery, take_over=True)
    assert (report.updated, report.changed) == (4, {"image": 4, "source": 4})


def test_a_moved_folder_is_followed(
    tmp_path: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_memory, "SETTLED_NS", 0)
    run(films(tmp_path / "2024" / "films"), gallery)
    (tmp_path / "2024").rename(tmp_path / "archive")
    told: list[Progress] = []
    report = run(tmp_path / "archive" / "films", gallery, progress=told.append, prune="list")
    assert (report.updated, report.encoded, report.changed) == (4, 0, {"source": 4})
    assert report.hashed == 4 and report.gone == []  # each file is read once
    assert told[0].stage == "checking" and told[0].done == 4
    assert gallery.row("films/0.png").source == f"{tmp_path}/archive/films/0.png"
    assert run(tmp_path / "archive" / "films", gallery).unchanged == 4


def test_a_copy_is_followed_too(tmp_path: Path, gallery: Gallery) -> None:
    run(films(tmp_path / "a" / "films"), gallery)
    copytree(tmp_path / "a", tmp_path / "b")
    assert run(tmp_path / "b" / "films", gallery).changed == {"source": 4}


def test_a_folder_moved_and_changed_since(tmp_path: Path, gallery: Gallery) -> None:
    run(films(tmp_path / "a" / "films"), gallery)
    (tmp_path / "a").rename(tmp_path / "b")
    write(tmp_path, "b/films/0.png", png(99, 16))
    write(tmp_path, "b/films/new.png", png(98, 16))
    report = run(tmp_path / "b" / "films", gallery)
    assert (report.inserted, report.changed) == (1, {"image": 1, "source": 4})


def test_where_most_changed_it_is_not_guessed(tmp_path: Path, gallery: Gallery) -> None:
    run(films(tmp_path / "a" / "films"), gallery)
    (tmp_path / "a").rename(tmp_path / "b")
    films(tmp_path / "b" / "films", 2, seed=50)
    refused(tmp_path / "b" / "films", gallery)


def test_the_same_folder_with_changed_films_is_an_update(
    tmp_path: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = films(tmp_path / "films")
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    run(Path("films"), gallery)
    for number, place in enumerate(("link", f"{root}/", "./films/../films")):
        films(root, seed=10 * (number + 1))
        assert run(Path(place), gallery, dataset="films").changed == {"image": 4}


@pytest.mark.parametrize("inner_first", [False, True])
def test_a_folder_and_one_below_it(tmp_path: Path, gallery: Gallery, inner_first: bool) -> None:
    outer = films(tmp_path / "films")
    inner = films(outer / "2025", seed=50)
    first, second = (inner, outer) if inner_first else (outer, inner)
    run(first, gallery, dataset="x")
    refused(second, gallery, dataset="x")


def test_parts_of_one_data_set(tmp_path: Path, gallery: Gallery) -> None:
    for part in ("1", "2"):
        write(tmp_path / part, f"patient{part}/0.png", png(int(part), 16))
        assert run(tmp_path / part, gallery, dataset="x").inserted == 1
    assert run(tmp_path / "1", gallery, dataset="x").unchanged == 1


def test_ids_of_a_table(tmp_path: Path, gallery: Gallery) -> None:
    one, two = films(tmp_path / "one"), films(tmp_path / "two", seed=50)
    lines = "".join(f"u{n},{n}.png,x\n" for n in range(4))
    table = write(tmp_path, "t.csv", f"uid,file,label\n{lines}")
    options: dict[str, Any] = {"labels": table, "id_column": "uid"}
    run(one, gallery, **options)
    assert "--id-column" in refused(two, gallery, **options)
    (one / "new").mkdir()
    (one / "0.png").rename(one / "new" / "0.png")
    write(one, "new/0.png", png(70, 16))  # moved and changed below the same folder
    assert run(one, gallery, **options).changed == {"image": 1, "source": 1}


def test_a_published_set_in_two_versions(tmp_path: Path, gallery: Gallery) -> None:
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position\n"
    )
    for name, seed in (("full", 0), ("small", 50)):
        films(tmp_path / name / "images", seed=seed)
        rows = "".join(f"{n}.png,Mass,0,{n},40,M,PA\n" for n in range(4))
        write(tmp_path / name, "Data_Entry_2017.csv", header + rows)
    run(tmp_path / "full", gallery, kind="nih")
    refused(tmp_path / "small", gallery, kind="nih")


def test_a_dicom_film_is_its_uid(tmp_path: Path, gallery: Gallery) -> None:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8)
    for place, name in (("a", "first"), ("b", "second")):
        tags = {"SOPInstanceUID": "1.2.3", "StationName": name}
        write(tmp_path, f"{place}/export/1", film(values, **tags))
        run(tmp_path / place / "export", gallery, kind="dicom")
    assert len(gallery) == 1


def without_uid(data: bytes) -> bytes:
    from pydicom import dcmread

    header = dcmread(io.BytesIO(data))
    del header.SOPInstanceUID
    out = io.BytesIO()
    header.save_as(out)
    return out.getvalue()


def test_dicom_films_without_a_uid_are_their_paths(tmp_path: Path, gallery: Gallery) -> None:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8)
    for place in ("a", "b"):
        for name in ("1", "2"):
            bare = without_uid(film(values + 9 * (place == "b")))
            write(tmp_path, f"{place}/export/{name}", bare)
    assert run(tmp_path / "a" / "export", gallery, kind="dicom").inserted == 2
    refused(tmp_path / "b" / "export", gallery, kind="dicom")
    for name in ("1", "2"):
        write(tmp_path, f"b/export/{name}", film(values, SOPInstanceUID=f"1.2.{name}"))
    assert run(tmp_path / "b" / "export", gallery, kind="dicom").inserted == 2


def test_rows_without_pixels_take_their_films(tmp_path: Path, gallery: Gallery) -> None:
    run(films(tmp_path / "films"), gallery)
    rows = gallery.rows(gallery.ids()).values()
    other = Gallery.create(tmp_path / "other", gallery.stamp)
    vectors = gallery.vectors([row.id for row in rows])
    other.upsert(
        [
            dataclasses.replace(row, embedding=vector, sha256=bytes(32), width=0, source="e#1")
            for row, vector in zip(rows, vectors, strict=True)
        ]
    )
    assert run(tmp_path / "films", other).changed == {"image": 4, "source": 4}


def test_odd_names_are_compared_as_they_are(tmp_path: Path, gallery: Gallery) -> None:
    root = tmp_path / 'it\'s 100% "odd" \\ ü' / "films"
    films(root)
    write(root, "sub'/é\n.png", png(9, 16))
    assert run(root, gallery).inserted == 5
    assert run(root, gallery).unchanged == 5
    os.rename(root.parent, tmp_path / "plain")  # noqa: PTH104
    assert run(tmp_path / "plain" / "films", gallery).changed == {"source": 5}
