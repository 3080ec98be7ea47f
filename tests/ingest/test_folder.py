"""Folders of images and the tables that people have for them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest import (
    ImageFile,
    ImageRecord,
    Rejection,
    Source,
    ingest,
    open_source,
    opened,
    read_image,
)
from ingest.images.file_tree import read_plain
from ingest.sources.tables.csv_file import read_sheet
from ingest.sources.tables.findings import Findings, from_cell, joint_of, state
from ingest.sources.tables.matching import FileIndex
from store import BadImage, BadSource, Gallery, UsageError
from tests.ingest.fakes import FakeEncoder
from tests.ingest.films import png, write


def sort(source: Source) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """(id to metadata, source to reason) of all that a source yields."""
    found: dict[str, dict[str, Any]] = {}
    refused: dict[str, str] = {}
    items = list(source.records)
    assert len(items) == source.total
    for item in items:
        if isinstance(item, Rejection):
            refused[item.source] = item.reason
        else:
            assert isinstance(item, ImageFile) and item.id is not None
            found[item.id] = dict(item.metadata)
    return found, refused


def films(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        write(root, name, png(number, 16))
    return root


def labels(found: dict[str, dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    return {id_.partition("/")[2]: one["labels"] for id_, one in found.items()}


# -- without a table -------------------------------------------------------------------------------


def test_a_folder_as_it_is(tmp_path: Path) -> None:
    root = films(tmp_path / "ward 7", "a.png", "b/c.jpg", "b/no-extension")
    write(root, "notes.txt", "to be looked at")
    write(root, ".hidden.png", png())
    write(root, "b/Thumbs.db", "x")
    source = open_source("folder", root)
    found, refused = sort(source)
    assert set(found) == {"ward 7/a.png", "ward 7/b/c.jpg", "ward 7/b/no-extension"}
    assert not refused and source.note is None and source.root == root.resolve()
    one = found["ward 7/b/c.jpg"]
    assert one["dataset"] == "ward 7" and one["source"] == f"{root.resolve()}/b/c.jpg"
    assert set(sort(open_source(f"folder:{root}", dataset="x"))[0]) == {
        "x/a.png",
        "x/b/c.jpg",
        "x/b/no-extension",
    }


def test_labels_from_folders(tmp_path: Path) -> None:
    root = films(
        tmp_path / "set", "train/sick/a.png", "test/well/b.png", "loose.png", "other/c.png"
    )
    found, refused = sort(open_source("folder", root, label_from_folder=True))
    assert {id_: (one["labels"], one["split"]) for id_, one in found.items()} == {
        "set/train/sick/a.png": (("sick",), "train"),
        "set/test/well/b.png": (("well",), "test"),
        "set/other/c.png": (("other",), None),
    }
    assert list(refused.values()) == ["label_missing"]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="does not exist"):
        open_source("folder", tmp_path / "none")
    with pytest.raises(BadSource, match="is a file"):
        open_source("folder", write(tmp_path, "a.png", png()))
    (tmp_path / "empty").mkdir()
    assert "holds no files" in str(open_source("folder", tmp_path / "empty").note)


# -- tables in all their forms ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"]
)
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_any_encoding_and_separator(tmp_path: Path, encoding: str, separator: str) -> None:
    root = films(tmp_path / "s", "é 1.png", "b.png")
    joint = ";" if separator != ";" else "|"
    text = separator.join(["Größe", "file", "Finding Labels"]) + "\r\n"
    text += separator.join(["1", "é 1.png", f'"effusion{joint}mass"']) + "\r\n"
    text += separator.join(["2", "b.png", "No Finding"]) + "\r\n\r\n"
    table = write(tmp_path, "t.csv", text.encode(encoding))
    source = open_source("folder", root, labels=table)
    found, refused = sort(source)
    assert labels(found) == {"é 1.png": ("effusion", "mass"), "b.png": ("No Finding",)}
    assert not refused
    assert ("Windows-1252" in str(source.note)) == (encoding == "cp1252")


@pytest.mark.parametrize(
    "text",
    [
        "file,temp\na.png,38°C\nb.png,36.5°C\n",
        "archivo;etiqueta;edad\na.png;neumonía;45 años\nb.png;normal;61 años\n",
        "arquivo;rótulo\na.png;pneumonia não específica\nb.png;consolidação\n",
        "fil;fynd\na.png;förtätning höger lunga\nb.png;normal\n",
        "file,pixel µm,label\na.png,143,normal\nb.png,143,pneumonia\n",
        "file;Größe\na.png;4,5\nb.png;7,2;zu viel\nc.png\n",  # lines of many lengths
        "Röntgenbild\na.png\nc.png\n",  # one column
    ],
)
def test_three_lines_of_windows_1252(tmp_path: Path, text: str) -> None:
    sheet = read_sheet(write(tmp_path, "t.csv", text.encode("cp1252")))
    first = text.splitlines()[0]
    separator = next((one for one in ";," if one in first), "\t")
    assert sheet.headings == tuple(first.split(separator))
    assert [cells for _, cells in sheet.lines()] == [
        tuple((line.split(separator) + [""] * 9)[: len(sheet.headings)])
        for line in text.splitlines()[1:]
    ]
    assert "Windows-1252" in sheet.notes[0]


def test_decomposed_names_match(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "e\u0301.png")  # as macOS writes them
    table = write(tmp_path, "t.csv", "file,label\n\u00e9.png,x\n".encode())
    assert len(sort(open_source("folder", root, labels=table))[0]) == 1


def test_excel_hint_and_trailing_separators(tmp_path: Path) -> None:
    table = write(tmp_path, "t.csv", "sep=;\na;b,c;\n1;2,5;\n")
    sheet = read_sheet(table)
    assert sheet.headings == ("a", "b,c")
    assert [row for _, row in sheet.rows()] == [{"a": "1", "b,c": "2,5"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,a\n1,2\n", "heading 'a' more than once"),
        (b"a,b\n\0\0\0\0\0\0\0\0", "NUL bytes"),
        (b"PK\x03\x04rest", "Excel workbook"),
        (b"\xff\xfeabc", "says it is utf-16"),
        (b"\x1f\x8bnot gzip at all", "cannot be read"),
        (b'a,b\n"' + b"x" * 200_000, "not CSV"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(BadSource, match=message):
        list(read_sheet(write(tmp_path, "t.csv", content)).rows())


def test_one_column_each_keeps_four_states_apart(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a.png", "b.png", "c.png")
    table = write(
        tmp_path,
        "t.csv",
        "name,Effusion,Mass,Edema,Nodule\na,1,0,-1,\nb,1.0,-1.0,0.0,\nc,,,,\n",
    )
    found, refused = sort(open_source("folder", root, labels=table))
    assert not refused
    states = ("labels", "absent", "uncertain")
    assert {id_: tuple(one[name] for name in states) for id_, one in found.items()} == {
        "s/a.png": (("Effusion",), ("Mass",), ("Edema",)),
        "s/b.png": (("Effusion",), ("Edema",), ("Mass",)),
        "s/c.png": ((), (), ()),
    }
    counted = sort(open_source("folder", root, labels=table, uncertain="present"))[0]
    assert counted["s/a.png"]["labels"] == ("Effusion", "Edema")
    chosen = open_source("folder", root, labels=table, label_column=["mass", "Edema"])
    assert sort(chosen)[0]["s/a.png"]["labels"] == ()
    assert sort(open_source("folder", root, labels=table, label_column=["Mass,Effusion"]))[0][
        "s/a.png"
    ]["labels"] == ("Effusion",)


def test_a_cell_that_is_no_flag(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a.png", "b.png")
    table = write(tmp_path, "t.csv", "name,x,y\na,1,0\nb,2,0\n")
    found, refused = sort(open_source("folder", root, labels=table, label_column=["x", "y"]))
    assert labels(found) == {"a.png": ("x",)}
    assert list(refused.values()) == ["bad_label"]


def test_rows_without_files_and_files_without_rows(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a.png", "b.png", "x/c.png", "y/c.png")
    table = write(
        tmp_path,
        "t.csv",
        "file,label\na.png,1\na.png,2\nnone.png,3\nc.png,4\n,5\n../../etc/passwd,6\n",
    )
    found, refused = sort(open_source("folder", root, labels=table, label_column=["label"]))
    assert labels(found) == {"a.png": ("1", "2")}
    place = root.resolve()
    assert refused == {
        "t.csv:4": "file_missing",
        "t.csv:5": "ambiguous_file",
        "t.csv:6": "file_missing",
        "t.csv:7": "file_missing",
        f"{place}/b.png": "label_missing",
        f"{place}/x/c.png": "label_missing",
        f"{place}/y/c.png": "label_missing",
    }
    kept, _ = sort(
        open_source("folder", root, labels=table, label_column=["label"], unlabelled=True)
    )
    assert len(kept) == 4


@pytest.mark.parametrize(("cells", "said"), [(["44 J"], "1 age is"), (["44 J", "?"], "2 ages are")])
def test_an_age_in_other_words_is_not_a_number(tmp_path: Path, cells: list[str], said: str) -> None:
    names = [f"{number}.png" for number in range(len(cells))]
    rows = [f"{name},x,{cell}" for name, cell in zip(names, cells, strict=True)]
    table = write(tmp_path, "t.csv", "\n".join(["file,label,age", *rows]) + "\n")
    source = open_source("folder", films(tmp_path / "s", *names), labels=table, columns=["age"])
    assert f"{said} not a number of years from 0 to 120, such as '44 J'" in str(source.note)


def test_columns_ids_and_paths(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "deep/a.png", "b.png")
    table = write(
        tmp_path,
        "t.csv",
        "uid,Image Path,label,Patient Age,Gender,ViewPosition,PatientID,fold\n"
        "u1,C:\\data\\deep\\a.png,x,058Y,female,pa,p9,valid\n"
        "u2,s\\b.png,y,999,Unknown,LL,,train\n",
    )
    source = open_source(
        "folder",
        root,
        labels=table,
        id_column="UID",
        columns=["age,sex,view", "patient", "split=fold"],
        file_prefix=r"C:\data",
    )
    found, refused = sort(source)
    assert not refused
    one, two = found["u1"], found["u2"]
    assert (one["age"], one["sex"], one["view"], one["patient"], one["split"]) == (
        *(58.0, "F", "PA"),
        *("p9", "val"),
    )
    assert (two["age"], two["sex"], two["view"], two["patient"], two["split"]) == (
        *(None, "Unknown", "LATERAL"),
        *(None, "train"),
    )
    assert "1 age is not a number of years from 0 to 120, such as '999'; left out" in str(
        source.note
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"label_from_folder": True}, UsageError, "choose one"),
        ({"columns": ["weight"]}, BadSource, r"no column 'weight' \(--columns\)"),
        ({"columns": ["width=file"]}, UsageError, "means something else"),
        ({"columns": ["view"]}, BadSource, "no column for view; say which"),
        ({"label_column": ["nope"]}, BadSource, "no column 'nope' .--label-column"),
        ({"file_column": "nope"}, BadSource, "no column 'nope' .--file-column"),
        ({"uncertain": "maybe"}, UsageError, "expected one of apart, present, absent"),
    ],
)
def test_wrong_options(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    root = films(tmp_path / "s", "a.png")
    table = write(tmp_path, "t.csv", "file,label\na.png,x\n")
    with pytest.raises(error, match=message):
        open_source("folder", root, labels=table, **options)


def test_a_table_of_another_folder(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a.png")
    with pytest.raises(BadSource, match=r"no column of .* names a file"):
        open_source("folder", root, labels=write(tmp_path, "t.csv", "file,label\nq.png,x\n"))
    with pytest.raises(UsageError, match="without a CSV"):
        open_source("folder", root, columns=["age"])


def test_words() -> None:
    assert [state(cell) for cell in ("1", "0.0", "-1", " ", "YES", "nan")] == [
        *("present", "absent", "uncertain"),
        *(None, "present", None),
    ]
    assert joint_of(["a, b", "c"]) == "," and joint_of(["a, b|c"]) == "|" and not joint_of(["a"])
    assert from_cell("a| b |a|c?", "|") == Findings(("a", "b"), (), ("c",))


def test_index_never_leaves_the_list() -> None:
    index = FileIndex(["a/b.png", "c.png"])
    assert index.find("/x/y/a/b.png") == "a/b.png" and index.find("b") == "a/b.png"
    assert index.find("./c.png") == "c.png" and index.find("..\\c.png") == "c.png"
    assert index.find("../../etc/passwd") is None and index.find("") is None


# -- again and again -------------------------------------------------------------------------------


def run(root: Path, gallery: Gallery, **options: Any) -> Any:
    again = {key: options.pop(key) for key in ("prune", "keep_going") if key in options}
    report = ingest(open_source("folder", root, **options), gallery, FakeEncoder(), **again)
    gallery.refresh()
    return report


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "store", FakeEncoder().stamp)


def _settle(root: Path) -> None:
    """As if the files had been there for a while: fresh ones are hashed again, to be sure."""
    import os

    for path in root.rglob("*"):
        os.utime(path, (1e9, 1e9))


def test_unchanged_files_are_not_read(
    tmp_path: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingest.job import file_memory

    monkeypatch.setattr(file_memory, "SETTLED_NS", 0)
    root = films(tmp_path / "s", *(f"{i}.png" for i in range(8)))
    assert run(root, gallery).inserted == 8
    again = run(root, gallery)
    assert (again.unchanged, again.hashed, again.encoded) == (8, 0, 0)
    _settle(root)  # another stat, the same bytes
    touched = run(root, gallery)
    assert (touched.unchanged, touched.hashed, touched.encoded) == (8, 8, 0)
    assert run(root, gallery).hashed == 0
    write(root, "3.png", png(99, 16))
    changed = run(root, gallery)
    assert (changed.unchanged, changed.updated, changed.hashed, changed.encoded) == (7, 1, 1, 1)
    (tmp_path / "store" / "ingest" / "files.sqlite").unlink()
    lost = run(root, gallery)
    assert (lost.unchanged, lost.hashed, lost.encoded) == (8, 8, 0)


def test_a_file_changed_within_the_clock_tick_is_looked_at_again(
    tmp_path: Path, gallery: Gallery
) -> None:
    root = films(tmp_path / "s", "a.png")
    run(root, gallery)
    assert run(root, gallery).hashed == 1


@pytest.mark.parametrize("damage", [b"", b"rubbish" * 100])
def test_a_damaged_memory_is_no_memory(tmp_path: Path, gallery: Gallery, damage: bytes) -> None:
    root = films(tmp_path / "s", "a.png")
    write(tmp_path, "store/ingest/files.sqlite", damage)
    assert run(root, gallery).inserted == 1
    assert run(root, gallery).unchanged == 1


def test_a_moved_file_keeps_its_row_when_the_table_has_ids(
    tmp_path: Path, gallery: Gallery
) -> None:
    root = films(tmp_path / "s", "a.png", "b.png")
    table = write(tmp_path, "t.csv", "uid,file,label\nu1,a.png,x\nu2,b.png,y\n")
    run(root, gallery, labels=table, id_column="uid")
    (root / "new").mkdir()
    (root / "a.png").rename(root / "new" / "a.png")
    report = run(root, gallery, labels=table, id_column="uid", prune="list")
    assert (report.updated, report.unchanged, report.encoded, report.gone) == (1, 1, 0, [])
    assert gallery.row("u1").source.endswith("/new/a.png")


def test_new_labels_need_no_pixels(tmp_path: Path, gallery: Gallery) -> None:
    root = films(tmp_path / "s", "a.png", "b.png")
    table = write(tmp_path, "t.csv", "file,label\na.png,x\nb.png,y\n")
    run(root, gallery, labels=table)
    write(tmp_path, "t.csv", "file,label\na.png,x\nb.png,z\n")
    report = run(root, gallery, labels=table)
    assert (report.updated, report.unchanged, report.encoded) == (1, 1, 0)
    assert gallery.row("s/b.png").labels == ("z",)


def test_prune(tmp_path: Path, gallery: Gallery) -> None:
    root, other = films(tmp_path / "s", "a.png", "b.png", "c/d.png"), films(tmp_path / "o", "a.png")
    run(root, gallery)
    run(other, gallery, dataset="s2")
    (root / "b.png").unlink()
    (root / "a.png").write_bytes(b"")  # still there, though no longer an image
    listed = run(root, gallery, prune="list")
    assert (listed.gone, listed.pruned, len(gallery)) == (["s/b.png"], 0, 4)
    done = run(root, gallery, prune="delete")
    assert (done.gone, done.pruned, len(gallery)) == (["s/b.png"], 1, 3)
    for path in list(root.rglob("*.png")):
        path.unlink()
    with pytest.raises(UsageError, match=r"all 2 rows .* have lost their file"):
        run(root, gallery, prune="delete")
    assert len(gallery) == 3


def test_prune_needs_a_folder(gallery: Gallery) -> None:
    with pytest.raises(UsageError, match="not a folder: there is nothing to prune"):
        ingest(open_source("synthetic"), gallery, FakeEncoder(), prune="list")


def test_mostly_refused_stops_and_says_why(tmp_path: Path, gallery: Gallery) -> None:
    root = tmp_path / "s"
    for number in range(60):
        write(root, f"{number:02d}.png", b"no image at all" if number < 50 else png(number, 16))
    source = open_source("folder", root)
    report = ingest(source, gallery, FakeEncoder(), batch_size=10)
    assert report.stopped is not None and "are these images at all?" in report.stopped
    assert (len(report.rejected), report.encoded) == (40, 0)
    went_on = run(root, gallery, keep_going=True)
    assert (len(went_on.rejected), went_on.inserted, went_on.stopped) == (50, 10, None)


def test_opened_reads_every_file(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a.png", "b.png")
    write(root, "c.png", b"")
    found = list(opened(open_source("folder", root).records))
    assert [type(one).__name__ for one in found] == ["ImageRecord", "ImageRecord", "Rejection"]
    first = found[0]
    assert isinstance(first, ImageRecord) and first.id == "s/a.png"
    np.testing.assert_array_equal(first.pixels, read_image(root / "a.png"))
    assert len(first.sha256) == 32 and first.dataset == "s"


def test_columns_of_pixels_differ(tmp_path: Path, gallery: Gallery) -> None:
    root = films(tmp_path / "s", "a.png", "b.png")
    run(root, gallery)
    first, second = gallery.vectors(["s/a.png", "s/b.png"])
    assert not np.allclose(first, second)


def test_what_may_not_be_read_is_refused(
    tmp_path: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Played by a stand-in: who runs the tests as root may read anything."""
    root = films(tmp_path / "s", "a.png", "locked.png", "unseen.png", "shut/c.png")

    def refusing(function: Any, name: str) -> Any:
        def call(path: Any, *rest: Any, **named: Any) -> Any:
            asked = Path(f"/proc/self/fd/{path}").readlink() if isinstance(path, int) else path
            if isinstance(asked, str | Path) and Path(asked).name == name:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return function(path, *rest, **named)

        return call

    for function, name in (("open", "locked.png"), ("lstat", "unseen.png"), ("scandir", "shut")):
        monkeypatch.setattr(os, function, refusing(getattr(os, function), name))
    report = ingest(open_source("folder", root), gallery, FakeEncoder(), keep_going=True)
    monkeypatch.undo()
    found = {Path(one.source).name: (one.reason, one.detail) for one in report.rejected}
    assert {name: reason for name, (reason, _) in found.items()} == {
        "locked.png": "unreadable", "unseen.png": "unreadable", "shut": "unreadable",
    }  # fmt: skip
    assert all("Permission denied" in detail for _, detail in found.values())
    assert report.inserted == 1


# -- folders exchanged for links meanwhile ---------------------------------------------------------


def two_folders(tmp_path: Path) -> tuple[Path, Path]:
    """A folder with a film in a ward, and another film of that name elsewhere."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for number, place in enumerate((root / "ward", outside)):
        place.mkdir(parents=True)
        (place / "a.png").write_bytes(png(number))
    return root, outside


@pytest.mark.skipif(os.open not in os.supports_dir_fd, reason="no descriptors of folders here")
def test_a_folder_exchanged_at_the_last_moment_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, outside = two_folders(tmp_path)
    inside, opened = (root / "ward" / "a.png").read_bytes(), os.open

    def exchanged(path: Any, *rest: Any, **options: Any) -> int:
        if str(path).endswith("a.png") and not (root / "ward").is_symlink():
            (root / "ward").rename(tmp_path / "aside")
            (root / "ward").symlink_to(outside)
        return opened(path, *rest, **options)

    monkeypatch.setattr(os, "open", exchanged)
    assert read_plain(root.resolve() / "ward" / "a.png") == inside
    with pytest.raises(BadImage, match="through a link") as refused:
        read_plain(root.resolve() / "ward" / "a.png")
    assert refused.value.reason == "link"


def test_a_folder_exchanged_after_the_listing_is_refused(tmp_path: Path) -> None:
    root, outside = two_folders(tmp_path)
    source = open_source("folder", root)
    (root / "ward").rename(tmp_path / "aside")
    (root / "ward").symlink_to(outside)
    gallery = Gallery.create(tmp_path / "gallery", FakeEncoder().stamp)
    report = ingest(source, gallery, FakeEncoder(), keep_going=True)
    assert [one.reason for one in report.rejected] == ["link"]


@pytest.mark.parametrize("at", ["", "ward", "ward/deep"])
def test_what_is_confined_is_not_left_through_a_link(tmp_path: Path, at: str) -> None:
    root, outside = two_folders(tmp_path)
    (root / "ward" / "deep").mkdir()
    (outside / "deep").mkdir()
    asked = root / "ward" / "deep"
    assert open_source("folder", asked, within=root).total == 0
    place = root / at
    place.rename(tmp_path / "aside")
    place.symlink_to(outside)
    with pytest.raises(BadSource, match=r"through a link|not within"):
        open_source("folder", asked, within=root)
    for elsewhere in (outside, root / ".." / "outside"):
        with pytest.raises(BadSource, match="not within"):
            open_source("dicom", elsewhere, within=root if at else tmp_path / "none")
