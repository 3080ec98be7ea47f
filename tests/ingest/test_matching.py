"""Which film a row of a table is of: never one whose path contradicts it.

The judges here share no code with the readers: they take paths apart by themselves.
"""

from __future__ import annotations

import csv
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import ImageFile, Rejection, ingest, open_source
from ingest.sources.tables.matching import FileIndex, path_of
from store import Gallery
from tests.ingest.fakes import FakeEncoder
from tests.ingest.films import png, write
from tests.ingest.test_folder import films, labels, sort
from tests.ingest.test_job import contents

# -- the rule, on random trees ---------------------------------------------------------------------

ENDINGS = (".png", ".jpg", ".dcm", ".dicom")
FOLDERS = st.lists(st.sampled_from(["a", "b", "p1", "p2"]), max_size=3)
NAMES = st.sampled_from(["v", "w", "007", "07", "7", "1.2.3", "\u00e9"])
FILES = st.tuples(FOLDERS, NAMES, st.sampled_from([".png", ".PNG", ".jpg", ""]))


@st.composite
def cells(draw: st.DrawFn) -> str:
    """A path as tables write them, right or wrong."""
    folders, name, ending = draw(FILES)
    parts = [*folders, unicodedata.normalize(draw(st.sampled_from(["NFC", "NFD"])), name + ending)]
    before = draw(st.sampled_from(["", "", "/", "./", "../", "C:/", "x/../", "root/", "far/root/"]))
    text = before + "/".join(parts)
    if draw(st.booleans()):
        text = text.replace("/", "\\")
    return draw(st.sampled_from(["{}", " {} ", "{}"])).format(text)


def parts_of(text: str) -> tuple[str, ...]:
    """The judge's own reading of a path."""
    kept: list[str] = []
    for part in unicodedata.normalize("NFC", text.strip()).replace("\\", "/").split("/"):
        if part == ".." and kept:
            kept.pop()
        elif part not in ("", ".", ".."):
            kept.append(part)
    return tuple(kept)


def without_drive(parts: tuple[str, ...]) -> tuple[str, ...]:
    return parts[1:] if parts and parts[0].endswith(":") else parts


def agree(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """To the letter."""
    return all(a == b for a, b in zip(reversed(one), reversed(other), strict=False))


def plain(name: str) -> str:
    for ending in ENDINGS:
        if name.casefold().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def may_mean(cell: tuple[str, ...], film: tuple[str, ...]) -> bool:
    """Folders agree, and the names do but for ending and eaten zeros."""
    one, other = plain(cell[-1]), plain(film[-1])
    numbers = len(cell) == 1 and one.isdecimal() and other.isdecimal() and int(one) == int(other)
    return agree(cell[:-1], film[:-1]) and (one == other or numbers)


@settings(max_examples=150)
@given(
    tree=st.lists(
        FILES, min_size=1, max_size=8, unique_by=lambda one: ("/".join(one[0]), *one[1:])
    ),
    rows=st.lists(cells(), min_size=1, max_size=8),
    pointed=st.sampled_from(["", "a", "p1"]),
)
def test_no_film_gets_a_row_whose_path_contradicts_it(
    tree: list[tuple[list[str], str, str]], rows: list[str], pointed: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "root" / pointed
        for folders, name, ending in tree:
            path = root.joinpath(*folders, name + ending)
            if not path.is_dir() and not any(parent.is_file() for parent in path.parents):
                write(path.parent, path.name, b"x")
        table = Path(folder, "t.csv")
        lines = [f'"{cell}",row{number}' for number, cell in enumerate(rows)]
        table.write_text("\n".join(["file,label", *lines]) + "\n", encoding="utf-8")
        source = open_source(
            "folder", root, labels=table, file_column="file", label_column=["label"]
        )
        items = list(source.records)
        named = [parts_of(cell) for cell in rows]
        bare = [without_drive(parts) for parts in named]
        paths = {str(p): parts_of(str(p)) for p in root.rglob("*") if p.is_file()}
        for item in items:
            if not isinstance(item, ImageFile):
                continue
            film = paths[str(item.path)]
            given_ = [int(label[3:]) for label in item.metadata["labels"]]
            assert given_
            assert all(may_mean(bare[number], film) for number in given_)
            # All its rows name one path, and no other row means this film to the letter.
            assert len({named[number] for number in given_}) == 1
            others = {named[n] for n, cell in enumerate(bare) if cell and agree(cell, film)}
            assert others <= {named[given_[0]]}
            # Nor does the row mean another film to the letter.
            assert sum(agree(bare[given_[0]], other) for other in paths.values()) <= 1
        # What is clear to the letter is never refused.
        got = {str(item.path) for item in items if isinstance(item, ImageFile)}
        for place, film in paths.items():
            mine = {named[n] for n, cell in enumerate(bare) if cell and agree(cell, film)}
            if len(mine) == 1:
                cell = without_drive(next(iter(mine)))
                if sum(agree(cell, other) for other in paths.values()) == 1:
                    assert place in got


def read(root: Path, table: str, **options: Any) -> tuple[dict[str, Any], dict[str, str]]:
    path = write(root.parent, "t.csv", table)
    return sort(open_source("folder", root, labels=path, **options))


def test_a_part_of_a_tree_gets_its_own_rows(tmp_path: Path) -> None:
    """The folders above the one that is pointed at count."""
    root = films(
        tmp_path / "set", *(f"train/p{p}/study{s}/view1.png" for p in (1, 2) for s in (1, 2))
    )
    table = "path,label\n" + "".join(
        f"set/train/p{p}/study{s}/view1.png,p{p}s{s}\n" for p in (1, 2, 3) for s in (1, 2, 3)
    )
    place = write(tmp_path, "t.csv", table)
    for part, expected in (
        ("train", {f"p{p}/study{s}/view1.png": (f"p{p}s{s}",) for p in (1, 2) for s in (1, 2)}),
        ("train/p2", {"study1/view1.png": ("p2s1",), "study2/view1.png": ("p2s2",)}),
        ("train/p2/study1", {"view1.png": ("p2s1",)}),
    ):
        source = open_source("folder", root / part, labels=place, file_column="path")
        found, _ = sort(source)
        assert labels(found) == expected


def test_contradicting_folders_are_no_match(tmp_path: Path) -> None:
    root = films(tmp_path / "films", "patient2/study1/view1.png")
    source = open_source(
        "folder",
        root,
        labels=write(
            tmp_path,
            "t.csv",
            "path,label\ntrain/patient1/study1/view1.png,x\ntrain/patient2/study2/view1.png,y\n",
        ),
    )
    items = list(source.records)
    assert [one.reason for one in items] == ["file_missing", "file_missing", "label_missing"]  # type: ignore[union-attr]
    last = items[-1].detail  # type: ignore[union-attr]
    assert "patient2/study1/view1.png" in last and "was compared with 2 cells" in last
    assert "nearest is 'train/patient1/study1/view1.png', in another folder" in last


def test_another_ending_of_a_film_with_a_row_of_its_own_is_said_as_such(tmp_path: Path) -> None:
    root = films(tmp_path / "films", "a/0.png", "b/1.png", "b/1.jpg")
    rows = "path,label\na/0.png,x\na/0.PNG,y\na/0,z\nb/1.png,x\n"
    source = open_source("folder", root, labels=write(tmp_path, "t.csv", rows))
    details = {one.source: one.detail for one in source.records if isinstance(one, Rejection)}
    assert set(details) == {"t.csv:3", "t.csv:4", f"{root}/b/1.jpg"}
    assert not any("another folder" in detail for detail in details.values())
    own = "'a/0.png' differs in its ending alone, and has a row of its own"
    assert own in details["t.csv:3"] and own in details["t.csv:4"]
    assert "nearest is 'b/1.png', of another file" in details[f"{root}/b/1.jpg"]


def test_ids_that_became_floats_on_the_way_are_eaten_zeros_too(tmp_path: Path) -> None:
    """What pandas writes of a column of ids with a blank among them."""
    root = films(tmp_path / "s", "0007.png", "0010.png", "0.5.png")
    found, refused = read(root, "id,label\n7.0,x\n10.0,y\n,z\n0.5,w\n")
    assert labels(found) == {"0007.png": ("x",), "0010.png": ("y",), "0.5.png": ("w",)}
    assert refused == {"t.csv:4": "file_missing"}


def test_one_row_of_another_patient_is_no_match_however_little_is_known(tmp_path: Path) -> None:
    root = films(tmp_path / "patient2" / "study1", "view1.png")
    found, refused = read(root, "path,label\npatient1/study1/view1.png,x\n")
    assert not found and sorted(refused.values()) == ["file_missing", "label_missing"]


def test_two_rows_that_could_mean_one_film(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a/v.png", "b/w.png")
    found, refused = read(root, "file,label\nv.png,x\na/v.png,y\nw.png,z\n")
    assert labels(found) == {"b/w.png": ("z",)}
    assert refused == {f"{root}/a/v.png": "ambiguous_row"}
    rows = [*open_source("folder", root, labels=tmp_path / "t.csv", unlabelled=True).records]
    assert "'v.png' and 'a/v.png', which could both mean" in rows[0].detail  # type: ignore[union-attr]


def test_one_row_that_could_mean_two_films(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a/v.png", "b/v.png", "c/v.png")
    found, refused = read(root, "file,label\nv.png,x\n")
    assert not found
    assert refused == {
        "t.csv:2": "ambiguous_file",
        **{f"{root}/{one}/v.png": "label_missing" for one in "abc"},
    }
    items = [*open_source("folder", root, labels=tmp_path / "t.csv").records]
    assert "could mean 'a/v.png' and 'b/v.png' and 1 more" in items[0].detail  # type: ignore[union-attr]
    assert "'v.png' could mean 3 files" in items[1].detail  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("cell", "path"),
    [
        ("a/b.png", "a/b.png"),
        (" ./a//b.png ", "a/b.png"),
        ("..\\films\\a\\b.png", "films/a/b.png"),
        ("/data/x/../a/b.png", "data/a/b.png"),
        ("a / b.png", "a/b.png"),
        ("C:\\films\\b.png", "C:/films/b.png"),
        ("e\u0301.png", "\u00e9.png"),
        ("../..", ""),
    ],
)
def test_paths_as_tables_write_them(cell: str, path: str) -> None:
    assert path_of(cell) == path


def test_paths_of_another_machine_need_their_beginning_said(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a/v.png", "b/v.png")
    table = "file,label\n/home/me/a/v.png,x\n/home/me/b/v.png,y\n"
    found, refused = read(root, table)
    assert not found
    note = open_source("folder", root, labels=tmp_path / "t.csv").note
    assert note is not None and "--file-prefix 'home/me'" in note
    found, refused = read(root, table, file_prefix="/home/me/")
    assert labels(found) == {"a/v.png": ("x",), "b/v.png": ("y",)} and not refused
    # No advice where the beginnings differ: that would be another patient's row.
    source = open_source(
        "folder",
        root / "a",
        labels=write(tmp_path, "u.csv", "file,label\np1/v.png,x\np2/v.png,y\n"),
    )
    assert "--file-prefix" not in str(source.note)


# -- what tools do to names ------------------------------------------------------------------------


def test_endings_in_capitals_other_formats_and_none(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "x/a.PNG", "x/b.png", "x/c.dcm.png", "x/d.png", "x/1.2.3.png")
    table = "file,label\nx/a.png,a\nx/b.dicom,b\nx/c.dcm,c\nd,d\n1.2.3,e\n1.2.9,none\n"
    found, refused = read(root, table)
    assert labels(found) == {
        "x/a.PNG": ("a",), "x/b.png": ("b",), "x/c.dcm.png": ("c",), "x/d.png": ("d",),
        "x/1.2.3.png": ("e",),
    }  # fmt: skip
    assert refused == {"t.csv:7": "file_missing"}
    note = str(open_source("folder", root, labels=tmp_path / "t.csv").note)
    assert "1 file was matched with a row of t.csv although the capitals" in note
    assert "2 files were matched with a row of t.csv although its ending differs" in note
    assert "('x/b.dicom' there, 'x/b.png' here)" in note


def test_another_format_only_when_it_is_the_only_one(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a.png", "a.jpg", "b.jpg", "c.png")
    found, refused = read(root, "file,label\na.dcm,x\nb.png,y\nb.tif,z\nc.png,c\nc.jpg,d\n")
    # c.png is named outright, so c.jpg, of which there is none here, cannot mean it.
    assert labels(found) == {"c.png": ("c",)}
    assert refused == {
        "t.csv:2": "ambiguous_file", "t.csv:6": "file_missing", f"{root}/b.jpg": "ambiguous_row",
        f"{root}/a.png": "label_missing", f"{root}/a.jpg": "label_missing",
    }  # fmt: skip


def test_a_folder_counts_for_another_format_too(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "p2/a.png")
    found, _ = read(root, "file,label\np1/a.dcm,x\n", file_column="file")
    assert not found


def test_zeros_that_a_spreadsheet_ate(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "0007.png", "a/0012.png", "0100.png", "b/100.png", "0000.png")
    found, refused = read(root, "id,label\n7,x\n12,y\n100,z\n0,o\n", label_column=["label"])
    assert labels(found) == {
        "0007.png": ("x",), "a/0012.png": ("y",), "b/100.png": ("z",), "0000.png": ("o",),
    }  # fmt: skip
    assert refused == {f"{root}/0100.png": "label_missing"}
    note = str(open_source("folder", root, labels=tmp_path / "t.csv", label_column=["label"]).note)
    assert "3 files were matched with a row of t.csv by its number without leading zeros" in note
    # Not when two films differ in zeros alone, nor where the table kept its zeros.
    films(root, "00012.png")
    assert "a/0012.png" not in labels(read(root, "id,label\n12,y\n7,x\n")[0])
    assert not read(root, "id,label\n12,y\n7,x\n007,z\n", file_column="id")[0]


def test_an_age_is_not_taken_for_a_number_of_a_film(tmp_path: Path) -> None:
    root = films(tmp_path / "s", *(f"{number:04d}.png" for number in range(1, 9)))
    rows = "".join(f"{1 + number % 3},{number},x\n" for number in range(1, 9))
    found, refused = read(root, "age,id,label\n" + rows)
    assert len(found) == 8 and not refused


def test_index_alone() -> None:
    index = FileIndex(["a/b.png", "c.png"], "/data/films")
    assert index.find("films/a/b.png") == index.find("b") == index.find("/a/b.png") == "a/b.png"
    assert index.find("other/a/b.png") is None and index.find("") is None
    assert index.find("far/data/films/c.png") == "c.png"


# -- several rows of one film ----------------------------------------------------------------------


def test_a_row_per_finding(tmp_path: Path) -> None:
    root = films(tmp_path / "s", *(f"f{number}.png" for number in range(5)))
    table = (
        "image,finding,age\nf0.png,Edema,40\n./f0.png,Effusion,40\nf1.png,No Finding,\n"
        "f2.png,No finding,50\nf2.png,Mass,50\nf3.png,Edema,60\nf3.png,Mass,61\nf4.png,Mass,\n"
        "f4.png,Edema,70\n"
    )
    found, refused = read(root, table, columns=["age"])
    assert labels(found) == {
        "f0.png": ("Edema", "Effusion"), "f1.png": ("No Finding",), "f2.png": ("Mass",),
        "f4.png": ("Mass", "Edema"),
    }  # fmt: skip
    assert found["s/f4.png"]["age"] == 70.0
    assert refused == {f"{root}/f3.png": "contradictory_rows"}
    source = open_source("folder", root, labels=tmp_path / "t.csv", columns=["age"])
    (wrong,) = [item for item in source.records if isinstance(item, Rejection)]
    assert "lines 7 and 8 are of this file and differ in age (60.0, 61.0)" in wrong.detail
    assert "4 files have several of the 9 rows used of t.csv: all their findings" in str(
        source.note
    )
    # What is not kept need not agree.
    assert len(read(root, table)[0]) == 5


def test_boxes_of_columns_and_ids(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a.png", "b.png", "c.png")
    table = (
        "uid,image,Edema,Mass,Nodule,x\n1,a.png,1,0,,5\n1,a.png,0,-1,,6\n2,b.png,0,0,,5\n"
        "3,c.png,1,0,,5\n4,c.png,1,0,,5\n"
    )
    found, refused = read(root, table, id_column="uid", label_column=["Edema,Mass,Nodule"])
    one = found["1"]
    assert (one["labels"], one["uncertain"], one["absent"]) == (("Edema",), ("Mass",), ())
    assert found["2"]["absent"] == ("Edema", "Mass")
    assert refused == {f"{root}/c.png": "contradictory_rows"}
    _, refused = read(root, table, columns=["x"], label_column=["Edema,Mass,Nodule"])
    assert refused[f"{root}/a.png"] == "contradictory_rows"


def test_two_classes_exclude_each_other(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a.png", "b.png", "c.png", "d.png")
    found, refused = read(
        root, "file,Target\na.png,1\na.png,1\nb.png,0\nc.png,0\nc.png,1\nd.png,0\n"
    )
    assert labels(found) == {"a.png": ("1",), "b.png": ("0",), "d.png": ("0",)}
    assert refused == {f"{root}/c.png": "contradictory_rows"}
    # A row per box: a column named after a finding is present when any row says so.
    found, refused = read(root, "file,Mass\na.png,0\na.png,1\nb.png,0\nc.png,0\nd.png,1\n")
    assert labels(found)["a.png"] == ("Mass",) and not refused


def test_a_majority_of_readers(tmp_path: Path) -> None:
    root = films(tmp_path / "train", "a.png", "b.png")
    table = (
        "image_id,class_name,rad_id,x_min\na,Mass,R1,1\na,Mass,R1,2\na,Edema,R1,3\na,Mass,R2,1\n"
        "a,No finding,R3,\nb,No finding,R1,\nb,No finding,R2,\nb,Mass,R3,9\n"
    )
    found, refused = read(root, table)
    assert not refused
    one, two = found["train/a.png"], found["train/b.png"]
    assert one["labels"] == ("Mass",) and set(one["uncertain"]) == {"Edema", "No finding"}
    assert two["labels"] == ("No finding",) and two["uncertain"] == ("Mass",)
    note = str(open_source("folder", root, labels=tmp_path / "t.csv").note)
    assert "present for the majority by 'rad_id'" in note


# -- small inputs that failed, where they are ------------------------------------------------------


def case(data: Path, name: str) -> Path:
    place = data.parent / "cases" / name
    if not place.is_dir():
        pytest.skip(f"no {place}")
    return place


def test_case_same_name_other_folder(data: Path) -> None:
    place = case(data, "same-name-other-folder")
    source = open_source("folder", place / "films", labels=place / "labels.csv", columns=["age"])
    found, refused = sort(source)
    assert not found and sorted(refused.values()) == [
        "file_missing", "file_missing", "label_missing",
    ]  # fmt: skip


def test_case_row_per_finding(data: Path) -> None:
    place = case(data, "row-per-finding")
    said: dict[str, set[str]] = {}
    with (place / "long.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            said.setdefault(row["image"], set()).add(row["finding"])
    found, refused = sort(open_source("folder", place, labels=place / "long.csv"))
    assert not refused and len(found) == 4
    assert {name: set(one) for name, one in labels(found).items()} == said


@pytest.mark.parametrize("through", ["vindr", "folder", "vindr train"])
def test_case_vindr_as_png(data: Path, through: str) -> None:
    place = case(data, "vindr-png")
    votes: dict[str, dict[str, set[str]]] = {}
    with (place / "train.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            name = row["class_name"].casefold()
            votes.setdefault(row["image_id"], {}).setdefault(name, set()).add(row["rad_id"])
    kind, _, part = through.partition(" ")
    options = {"labels": place / "train.csv"} if kind == "folder" else {}
    found, refused = sort(open_source(kind, place / part, **options))
    assert not refused and len(found) == 5
    for id_, one in found.items():
        of_film = votes[Path(id_).stem]
        readers = len(set().union(*of_film.values()))
        assert {name.casefold() for name in one["labels"]} == {
            name for name, by in of_film.items() if 2 * len(by) > readers
        }


# -- a run that is stopped -------------------------------------------------------------------------


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "store", FakeEncoder().stamp)


def test_a_run_that_the_table_stops_opens_nothing(tmp_path: Path, gallery: Gallery) -> None:
    root = films(tmp_path / "s", *(f"{number:02d}.png" for number in range(50)))
    rows = "".join(f"{number:02d}.png,x,{number}\n" for number in range(20))
    table = write(tmp_path, "t.csv", "file,label,ward\n" + rows)
    encoder = FakeEncoder()
    options: dict[str, Any] = {"labels": table, "columns": ["ward"]}
    before = gallery.table_version
    report = ingest(open_source("folder", root, **options), gallery, encoder, batch_size=10)
    assert report.stopped is not None and "nothing was stored" in report.stopped
    assert (report.inserted, len(gallery), encoder.encoded) == (0, 0, 0)
    assert len(report.rejected) == 30 and gallery.table_version == before
    went_on = ingest(open_source("folder", root, **options), gallery, encoder, keep_going=True)
    assert (went_on.inserted, went_on.stopped) == (20, None)


def broken(root: Path, good: int, bad: int) -> Path:
    for number in range(good + bad):
        data = png(number, 16) if number < good else b"no image"
        write(root, f"{number:02d}.png", data)
    return root


@pytest.mark.parametrize("batch_size", [10, 512])
def test_a_run_that_its_files_stop_takes_back_what_it_wrote(
    tmp_path: Path, gallery: Gallery, batch_size: int
) -> None:
    root = broken(tmp_path / "s", 0, 0)
    films(root, *(f"{number:02d}.png" for number in range(5)))
    table = write(
        tmp_path, "t.csv", "file,label\n" + "".join(f"{n:02d}.png,x\n" for n in range(60))
    )
    ingest(open_source("folder", root, labels=table), gallery, FakeEncoder(), batch="first")
    gallery.refresh()
    before = contents(gallery.uri)
    broken(root, 20, 40)
    write(root, "00.png", png(99, 16))  # replaced
    write(tmp_path, "t.csv", "file,label\n" + "".join(f"{n:02d}.png,y\n" for n in range(60)))
    report = ingest(
        open_source("folder", root, labels=table), gallery, FakeEncoder(), batch_size=batch_size
    )
    assert report.stopped is not None and "nothing was stored" in report.stopped
    assert (report.inserted, report.updated, report.changed) == (0, 0, {})
    gallery.refresh()
    assert contents(gallery.uri) == before


def test_what_another_run_wrote_under_the_same_name_is_not_taken_back(
    tmp_path: Path, gallery: Gallery
) -> None:
    ingest(open_source("folder", films(tmp_path / "o", "a.png")), gallery, FakeEncoder(), batch="x")
    root = broken(tmp_path / "s", 20, 40)
    report = ingest(open_source("folder", root), gallery, FakeEncoder(), batch="x", batch_size=10)
    # It cannot be undone alone, so it is not stopped: what can be read is there, with a warning.
    assert report.stopped is None and report.inserted == 20
    assert report.warning is not None and "are these images at all?" in report.warning
    gallery.refresh()
    assert len(gallery) == 21


# -- one pass --------------------------------------------------------------------------------------


def test_a_table_is_parsed_as_often_for_many_columns_as_for_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingest.sources.tables import csv_file

    parsed = 0

    def counting(*given: Any, **named: Any) -> Any:
        nonlocal parsed
        parsed += 1
        return csv.reader(*given, **named)

    class Module:
        reader = staticmethod(counting)
        Error = csv.Error

    root = films(tmp_path / "s", "a.png", "b.png")
    counts = []
    monkeypatch.setattr(csv_file, "csv", Module)
    for width in (2, 90):
        flags = [f"finding {number}" for number in range(width)]
        own = [f"own {number}" for number in range(width)]
        lines = [",".join(["file", *flags, *own])]
        lines += [
            ",".join([name, *["1", *["0"] * (width - 1)], *["5"] * width])
            for name in ("a.png", "b.png")
        ]
        table = write(tmp_path, "t.csv", "\n".join(lines) + "\n")
        parsed = 0
        found, refused = sort(
            open_source("folder", root, labels=table, columns=own, label_column=flags)
        )
        assert labels(found)["a.png"] == ("finding 0",) and not refused
        assert len(found["s/a.png"]["extra"]) == width
        counts.append(parsed)
    assert counts[0] == counts[1]
