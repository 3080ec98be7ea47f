"""Films in the forms of the hub's `datasets`: what is read of shards and of image folders."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest import ImageFile, Rejection, ingest, open_source, read_original, relocate
from store import BadImage, BadSource, Gallery, UsageError
from tests.ingest.fakes import FakeEncoder
from tests.ingest.hub_sets import PICTURE, cell, classes, films, png, shard

CASES = Path(__file__).parents[3] / "shared" / "cases" / "parquet-and-imagefolder"


def read(place: Path, **options: Any) -> tuple[dict[str, ImageFile], list[Rejection], str]:
    source = open_source("hf", place, **options)
    items = list(source.records)
    assert len(items) == source.total
    found = {str(one.id): one for one in items if isinstance(one, ImageFile)}
    return found, [one for one in items if isinstance(one, Rejection)], source.note or ""


def told(found: dict[str, ImageFile], name: str) -> list[Any]:
    return [one.metadata.get(name) for one in found.values()]


def store(tmp_path: Path, place: Path, **options: Any) -> tuple[Gallery, FakeEncoder, Any]:
    encoder = FakeEncoder()
    uri = tmp_path / "gallery"
    gallery = Gallery.open(uri) if uri.exists() else Gallery.create(uri, encoder.stamp)
    report = ingest(open_source("hf", place, **options), gallery, encoder, keep_going=True)
    gallery.refresh()
    return gallery, encoder, report


# -- shards ----------------------------------------------------------------------------------------


def test_shards_of_several_splits(tmp_path):
    place = tmp_path / "chest"
    names = {"label": classes("normal", "pneumonia")}
    for number, labels in ((0, [0, 1, 1]), (1, [1, 0])):
        pictures = [cell(10 * number + row) for row in range(len(labels))]
        path = place / "data" / f"train-0000{number}-of-00002.parquet"
        shard(path, {"image": pictures, "label": labels}, names)
    shard(
        place / "data" / "validation-00000-of-00001.parquet",
        {"image": [cell(30), cell(31)], "label": [None, -1]},
        names,
    )
    gallery, encoder, report = store(tmp_path, place)
    assert report.inserted == 7 and not report.rejected and encoder.encoded == 7
    assert gallery.ids() == [
        *(f"chest/train/{row}" for row in range(5)),
        *(f"chest/validation/{row}" for row in range(2)),
    ]
    rows = gallery.rows(gallery.ids())
    assert [row.labels for row in rows.values()][:5] == [
        *(("normal",), ("pneumonia",), ("pneumonia",), ("pneumonia",), ("normal",))
    ]
    assert {row.split for row in rows.values()} == {"train", "val"}
    row = rows["chest/train/3"]  # the first of the second shard
    assert row.source == f"{place}/data/train-00001-of-00002.parquet#0"
    assert row.sha256 == hashlib.sha256(png(10)).digest()
    assert (row.dataset, row.width) == ("chest", 8)
    assert rows["chest/validation/0"].outcome == "not labelled"
    assert gallery.thumbnails([row.id])[row.id].startswith(b"\x89PNG")
    _, again, report = store(tmp_path, place)
    assert (report.unchanged, report.inserted, report.updated) == (7, 0, 0)
    assert again.encoded == 0


def test_a_row_of_a_changed_shard_is_read_again_alone(tmp_path):
    place = tmp_path / "set"
    path = place / "train.parquet"
    shard(path, {"image": [cell(1), cell(2), cell(3)], "label": ["a", "b", "a"]})
    store(tmp_path, place)
    shard(path, {"image": [cell(1), cell(9), cell(3)], "label": ["a", "b", "b"]})
    gallery, encoder, report = store(tmp_path, place)
    assert (encoder.encoded, report.updated, report.unchanged) == (1, 2, 1)
    assert gallery.row("set/train/1").sha256 == hashlib.sha256(png(9)).digest()
    assert gallery.row("set/train/2").labels == ("b",)


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_shards_that_were_moved_are_found_by_the_pictures_in_them(tmp_path, ending):
    place = tmp_path / "set"
    for number in range(2):
        made = shard(
            place / f"train-{number}.parquet",
            {"image": [cell(10 * number), cell(1), {"bytes": None, "path": "x.png"}]},
        )
        if ending == "arrow":
            table = pq.read_table(made)
            made.unlink()
            with pa.ipc.new_file(made.with_suffix(".arrow"), table.schema) as file:
                file.write_table(table)
    gallery, _, _ = store(tmp_path, place)
    former = {id_: row.source for id_, row in gallery.rows(gallery.ids()).items()}
    place.rename(tmp_path / "disk")
    (tmp_path / "disk" / "of no film.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"words": ["no pictures"]}), tmp_path / "disk" / "words.parquet")
    counts = relocate(gallery, tmp_path / "disk", dry_run=True)
    assert (counts.files, counts.moved, counts.in_place, counts.missing) == (3, 4, 0, 0)
    assert (counts.others, counts.refused) == (1, 1)
    assert relocate(gallery, tmp_path / "disk") == counts
    gallery.refresh()
    for id_, source in former.items():
        assert gallery.row(id_).source == source.replace(str(place), str(tmp_path / "disk"))
        read_original(gallery, id_)
    again = relocate(gallery, tmp_path / "disk")
    assert (again.moved, again.in_place, again.others) == (0, 4, 1)


def test_columns_by_their_names(tmp_path):
    place = shard(
        tmp_path / "one.parquet",
        {
            "image": [cell(1), cell(2)],
            "image_id": ["007", "8"],
            "PatientID": [12, 13],
            "Patient Age": ["058Y", None],
            "gender": ["Female", "m"],
            "ViewPosition": ["pa", "LL"],
            "labels": [[0, 2], []],
            "ward": [3, None],
            "text": ["unread", "unread"],
        },
        {"labels": {"feature": classes("edema", "mass", "nodule"), "_type": "List"}},
    )
    found, refused, _ = read(place, columns=["ward"])
    assert list(found) == ["007", "8"] and not refused
    assert told(found, "patient") == ["12", "13"]
    assert told(found, "age") == [58.0, None]
    assert told(found, "sex") == ["F", "M"]
    assert told(found, "view") == ["PA", "LATERAL"]
    assert told(found, "labels") == [("edema", "nodule"), ()]
    assert told(found, "labelled") == [True, True]
    assert told(found, "extra") == [{"ward": 3}, {"ward": None}]
    source = open_source("hf", place, columns=["ward"])
    assert source.columns == {"ward": "int"}
    assert source.labelling["not_kept_columns"] == ["text"]


def test_reports_only_when_asked_for(tmp_path):
    columns = {
        "image": [cell(1), cell(2)],
        "report": ["Clear lungs.", None],
        "findings": ["Clear.", ""],
        "impression": ["Normal.", "Mass."],
    }
    place = shard(tmp_path / "one.parquet", columns)
    found, _, _ = read(place)
    assert [("report" in one.metadata) for one in found.values()] == [False, False]
    found, _, _ = read(place, report_column=["report"])
    assert told(found, "report") == ["Clear lungs.", None]
    found, _, _ = read(place, report_column=["findings,impression"])
    assert "Clear." in told(found, "report")[0] and "Mass." in told(found, "report")[1]
    assert open_source("hf", place, report_column=["report"]).reports.films == 1
    with pytest.raises(UsageError, match="--report-column"):
        open_source("hf", place, columns=["report"])
    with pytest.raises(Exception, match="no column 'nothing'"):
        open_source("hf", place, report_column=["nothing"])


def test_lists_of_flags_are_findings(tmp_path):
    place = shard(
        tmp_path / "one.parquet", {"image": [cell(1), cell(2)], "labels": [[0, 1], [1, 1]]}
    )
    found, _, _ = read(place, label_names=["edema,mass"])
    assert told(found, "labels") == [("mass",), ("edema", "mass")]
    assert told(found, "absent") == [("edema",), ()]


def test_a_path_without_bytes_is_never_opened(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(5))
    place = tmp_path / "set"
    pictures = [cell(1), {"bytes": None, "path": str(secret)}, None, cell(4)]
    shard(place / "train.parquet", {"image": pictures, "label": ["a", "a", "b", "b"]})
    gallery, encoder, report = store(tmp_path, place)
    assert gallery.ids() == ["set/train/0", "set/train/3"] and encoder.encoded == 2
    assert [one.reason for one in report.rejected] == ["no_bytes", "no_bytes"]
    assert "never opened" in report.rejected[0].detail
    assert report.rejected[1].source == f"{place}/train.parquet#2"


def test_bytes_that_are_no_picture_are_refused_alone(tmp_path):
    place = tmp_path / "set"
    pictures = [cell(1), {"bytes": b"no picture", "path": "a.png"}, {"bytes": b"", "path": None}]
    shard(place / "train.parquet", {"image": pictures})
    _, encoder, report = store(tmp_path, place)
    assert encoder.encoded == 1
    assert [one.reason for one in report.rejected] == ["not_an_image", "empty"]


def test_a_damaged_shard_does_not_stop_the_others(tmp_path):
    place = tmp_path / "set"
    shard(place / "train-00000-of-00002.parquet", {"image": [cell(1)], "label": ["a"]})
    (place / "train-00001-of-00002.parquet").write_bytes(b"PAR1 and no more")
    found, refused, _ = read(place)
    assert [one.reason for one in refused] == ["damaged"]
    assert list(found) == ["set/train-00000-of-00002/0"]


def test_ids_that_occur_twice_are_not_taken_unasked(tmp_path):
    columns = {"image": [cell(1), cell(2)], "id": ["x", "x"]}
    place = shard(tmp_path / "set" / "train.parquet", columns)
    found, _, note = read(place)
    assert list(found) == ["set/train/0", "set/train/1"]
    assert "'x' 2 times" in note
    gallery, _, report = store(tmp_path, place, id_column="id")
    assert gallery.ids() == ["x"]
    assert [one.reason for one in report.rejected] == ["duplicate_id"]


def test_classes_of_two_shards_must_be_the_same(tmp_path):
    place = tmp_path / "set"
    for number, names in enumerate((("a", "b"), ("b", "a"))):
        shard(
            place / f"train-0000{number}-of-00002.parquet",
            {"image": [cell(number)], "label": [0]},
            {"label": classes(*names)},
        )
    with pytest.raises(Exception, match="calls the classes of 'label'"):
        open_source("hf", place)


def test_two_columns_of_pictures(tmp_path):
    both = {"image": [cell(1)], "mask": [cell(2)]}
    found, _, note = read(shard(tmp_path / "a.parquet", both))
    assert "'mask' hold pictures, too" in note
    assert found[next(iter(found))].extract() == png(1)
    found, _, _ = read(tmp_path / "a.parquet", image_column="mask")
    assert next(iter(found.values())).extract() == png(2)
    place = shard(tmp_path / "b.parquet", {"left": [cell(1)], "right": [cell(2)]})
    with pytest.raises(BadSource, match="--image-column"):
        open_source("hf", place)
    with pytest.raises(BadSource, match="columns of pictures: 'left', 'right'"):
        open_source("hf", place, image_column="middle")


def test_bytes_alone_are_pictures_where_they_are_called_so(tmp_path):
    table = pa.table({"image": pa.array([png(1)], pa.binary()), "label": ["a"]})
    pq.write_table(table, tmp_path / "a.parquet")
    found, _, _ = read(tmp_path / "a.parquet")
    assert next(iter(found.values())).extract() == png(1)


def test_rows_out_of_order_and_from_threads(tmp_path):
    seeds = list(range(60))
    place = shard(
        tmp_path / "a.parquet", {"image": [cell(seed) for seed in seeds]}, row_group_size=17
    )
    found, _, _ = read(place)
    every = list(found.values())
    for row in (0, 59, 20, 21, 3, 40, 16, 17, 33):
        assert every[row].extract() == png(row)
    gallery, _, _ = store(tmp_path, place)
    assert [gallery.row(one.id).sha256 for one in every] == [
        hashlib.sha256(png(seed)).digest() for seed in seeds
    ]


def test_arrow_files(tmp_path):
    table = pa.table({"image": pa.array([cell(1), cell(2)], PICTURE), "label": ["a", "b"]})
    place = tmp_path / "set" / "train"
    place.mkdir(parents=True)
    with pa.ipc.new_stream(place / "data-00000-of-00001.arrow", table.schema) as writer:
        writer.write_table(table)
    (place / "state.json").write_text("{}")
    found, _, _ = read(tmp_path / "set")
    assert list(found) == ["set/train/data/0", "set/train/data/1"]
    assert told(found, "split") == ["train", "train"]
    assert [one.extract() for one in found.values()] == [png(1), png(2)]
    (place / "state.json").write_text('{"_indices_data_files": [{"filename": "i.arrow"}]}')
    with pytest.raises(BadSource, match="flatten_indices"):
        open_source("hf", tmp_path / "set")


def test_links_of_the_hubs_cache(tmp_path):
    real = shard(tmp_path / "blobs" / "a.parquet", {"image": [cell(1)]})
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "train.parquet").symlink_to(real)
    with pytest.raises(BadSource, match="--local-dir"):
        open_source("hf", tmp_path / "snapshot")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label_from_folder": True}, "image folders"),
        ({"file_column": "path"}, "image folders"),
        ({"uncertain": "maybe"}, "expected one of"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, said):
    place = shard(tmp_path / "a.parquet", {"image": [cell(1)]})
    with pytest.raises(UsageError, match=said):
        open_source("hf", place, **options)


def test_places_that_hold_no_films(tmp_path):
    place = tmp_path / "vectors.parquet"
    pq.write_table(pa.table({"embedding": [[1.0, 0.0]]}), place)
    with pytest.raises(BadSource, match="cxr import"):
        open_source("hf", place)
    with pytest.raises(BadSource, match="neither a folder"):
        open_source("hf", tmp_path / "none.csv")
    with pytest.raises(BadSource, match="has a column 'x'"):
        open_source("hf", shard(tmp_path / "a.parquet", {"image": [cell(1)]}), id_column="x")


# -- image folders ---------------------------------------------------------------------------------


def test_metadata_in_each_split(tmp_path):
    place = films(tmp_path / "set", {"train/a.png": 1, "train/b.png": 2, "test/a.png": 3})
    films(place, {"test/unlisted.png": 4})
    (place / "train" / "metadata.csv").write_text(
        "file_name,label,patient_id,age,ward\na.png,edema,7,61,3\nb.png,mass,8,62,4\n"
    )
    (place / "test" / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "label": "edema", "patient_id": 9, "sex": "Male"}\n'
    )
    found, refused, _ = read(place, columns=["ward"])
    assert {id_: one.metadata["labels"] for id_, one in found.items()} == {
        "set/test/a.png": ("edema",),
        "set/train/a.png": ("edema",),
        "set/train/b.png": ("mass",),
    }
    assert told(found, "split") == ["test", "train", "train"]
    assert told(found, "patient") == ["9", "7", "8"]
    assert told(found, "age") == [None, 61.0, 62.0]
    assert told(found, "extra") == [{"ward": None}, {"ward": 3}, {"ward": 4}]
    assert [(one.reason, Path(one.source).name) for one in refused] == [
        ("label_missing", "unlisted.png")
    ]
    found, refused, _ = read(place, unlabelled=True)
    assert len(found) == 4 and not refused


def test_a_row_means_the_film_in_its_own_folder(tmp_path):
    place = films(tmp_path / "set", {"train/a.png": 1, "more/train/a.png": 2})
    (place / "train" / "metadata.csv").write_text("file_name,label\na.png,edema\n")
    found, refused, _ = read(place)
    assert list(found) == ["set/train/a.png"]
    assert [one.reason for one in refused] == ["label_missing"]


def test_a_name_outside_of_the_folder_is_never_opened(tmp_path):
    films(tmp_path, {"secret.png": 1})
    place = films(tmp_path / "set", {"a.png": 2})
    (place / "metadata.csv").write_text("file_name,label\n../secret.png,x\na.png,y\n")
    found, refused, _ = read(place)
    assert list(found) == ["set/a.png"]
    assert [one.reason for one in refused] == ["file_missing"]


@pytest.mark.parametrize("column", ["image_file_name", "file_name", "scan_file_name"])
def test_the_column_of_files(tmp_path, column):
    place = films(tmp_path / "set", {"a.png": 1, "b.png": 2})
    rows = [{column: "a.png", "label": "x"}, {column: "b.png", "label": "y"}]
    if column == "image_file_name":
        rows = [{**row, "mask_file_name": "m.png"} for row in rows]
    (place / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, refused, _ = read(place)
    assert told(found, "labels") == [("x",), ("y",)] and not refused


def test_lists_of_labels_and_films_that_nobody_looked_at(tmp_path):
    place = films(tmp_path / "set", {f"{n}.png": n for n in range(4)})
    labels = [["edema", "mass"], [], None, ["edema"]]
    (place / "metadata.jsonl").write_text(
        "".join(
            json.dumps(
                {"file_name": f"{n}.png", "labels": said, "uncertain": ["nodule"] * (n == 3)}
            )
            + "\n"
            for n, said in enumerate(labels)
        )
    )
    gallery, _, _ = store(tmp_path, place)
    rows = gallery.rows(gallery.ids()).values()
    assert [row.labels for row in rows] == [("edema", "mass"), (), (), ("edema",)]
    assert [row.outcome for row in rows] == ["found", "no finding", "not labelled", "found"]
    assert [row.uncertain for row in rows] == [(), (), (), ("nodule",)]


def test_class_folders(tmp_path):
    place = films(
        tmp_path / "set",
        {f"{s}/{c}/{n}.png": n for s in ("train", "validation") for c in "ab" for n in range(3)},
    )
    found, _, _ = read(place)
    assert {(*one.metadata["labels"], one.metadata["split"]) for one in found.values()} == {
        *(("a", "train"), ("b", "train"), ("a", "val"), ("b", "val"))
    }


def test_metadata_without_labels_beside_class_folders(tmp_path):
    place = films(tmp_path / "set", {f"{c}/{n}.png": n for c in "ab" for n in range(3)})
    lines = [f"{c}/{n}.png,{n}\n" for c in "ab" for n in range(3)]
    (place / "metadata.csv").write_text("file_name,patient\n" + "".join(lines))
    found, _, note = read(place)
    assert told(found, "labels") == [None] * 6 and "--label-from-folder" in note
    found, _, _ = read(place, label_from_folder=True)
    assert told(found, "labels") == [("a",)] * 3 + [("b",)] * 3
    assert told(found, "patient") == ["0", "1", "2"] * 2


def test_metadata_that_cannot_be_read(tmp_path):
    place = films(tmp_path / "set", {"a.png": 1})
    (place / "metadata.jsonl").write_text('{"file_name": "a.png"\n')
    with pytest.raises(BadSource, match=r"metadata\.jsonl:1 is no JSON"):
        open_source("hf", place)
    (place / "metadata.jsonl").write_text("[1]\n")
    with pytest.raises(BadSource, match="expected an object"):
        open_source("hf", place)
    (place / "metadata.jsonl").write_text('{"name": "a.png"}\n')
    with pytest.raises(BadSource, match="no column 'file_name'"):
        open_source("hf", place)


def test_a_folder_says_who_reads_its_metadata(tmp_path):
    place = films(tmp_path / "set", {"train/a.png": 1})
    (place / "train" / "metadata.csv").write_text("file_name,label\na.png,edema\n")
    assert f"cxr ingest hf {place}" in (open_source("folder", place).note or "")
    (place / "train" / "metadata.csv").unlink()
    assert open_source("folder", place).note is None


def test_the_shared_cases():
    if not CASES.is_dir():
        pytest.skip(f"no {CASES}")
    found, refused, note = read(CASES / "imagefolder")
    assert told(found, "labels") == [("b",), ("a",), ("b",), ("a",)] and not refused
    assert "metadata.jsonl beside it is not" in note and told(found, "split") == ["train"] * 4
    found, _, _ = read(CASES / "train-00000-of-00001.parquet", label_names=["0=b,1=a"])
    assert list(found) == [f"{CASES.name}/train/{row}" for row in range(4)]
    assert {one.metadata["labels"] for one in found.values()} == {("a",), ("b",)}


def test_what_datasets_itself_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    classes_ = datasets.Sequence(datasets.ClassLabel(names=["edema", "mass"]))
    features = datasets.Features(
        {"image": datasets.Image(), "labels": classes_, "patient_id": datasets.Value("string")}
    )
    rows = {
        "image": [{"bytes": png(seed), "path": None} for seed in range(3)],
        "labels": [[0, 1], [], ["mass"]],
        "patient_id": ["007", "8", None],
    }
    made = datasets.Dataset.from_dict(rows, features=features)
    (tmp_path / "parquet").mkdir()
    made.to_parquet(tmp_path / "parquet" / "test-00000-of-00001.parquet")
    datasets.DatasetDict({"test": made}).save_to_disk(tmp_path / "saved")
    for place in (tmp_path / "parquet", tmp_path / "saved"):
        found, refused, _ = read(place)
        assert not refused
        assert told(found, "labels") == [("edema", "mass"), (), ("mass",)]
        assert told(found, "labelled") == [True] * 3 and told(found, "split") == ["test"] * 3
        assert told(found, "patient") == ["007", "8", None]
        assert [one.extract() for one in found.values()] == [png(0), png(1), png(2)]
    films(tmp_path / "files", {"a.png": 1})
    paths = datasets.Dataset.from_dict({"image": [str(tmp_path / "files" / "a.png")]})
    paths = paths.cast_column("image", datasets.Image())
    (tmp_path / "paths").mkdir()
    paths.to_parquet(tmp_path / "paths" / "train.parquet")
    found, _, _ = read(tmp_path / "paths")
    (one,) = found.values()
    try:
        assert one.extract() == png(1)  # where a version of `datasets` puts the bytes in
    except BadImage as error:
        assert error.reason == "no_bytes"


def test_a_row_without_a_film_is_told_by_its_own_line(tmp_path):
    place = films(tmp_path / "set", {"train/a.png": 1, "test/b.png": 2})
    (place / "train" / "metadata.csv").write_text("file_name,label,dataset\na.png,x,other\n")
    (place / "test" / "metadata.jsonl").write_text(
        '{"file_name": "b.png", "label": "x"}\n{"file_name": "gone.png", "label": "x"}\n'
    )
    found, refused, _ = read(place)
    assert [one.source for one in refused] == ["metadata.jsonl:2"]
    assert "other" in told(found, "dataset")
    assert open_source("hf", place).labelling["not_kept_columns"] == []
