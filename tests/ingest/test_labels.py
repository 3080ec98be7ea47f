"""The right label: which columns and folders hold labels, and what their values mean."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import (
    ImageFile,
    ImageRecord,
    IngestReport,
    Rejection,
    Source,
    ingest,
    open_source,
    opened,
)
from ingest.record import METADATA, told
from ingest.sources.tables.list_cell import items
from ingest.sources.tables.metadata_headings import is_metadata
from store import BadSource, Gallery, UsageError, outcome
from store.table import lance
from tests.conftest import DATA
from tests.ingest.fakes import FakeEncoder, write_npz
from tests.ingest.films import png, write

CASES = DATA.parent / "cases"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"no cases at {CASES}")


def films(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        write(root, name, png(number, 16))
    return root


def table(tmp_path: Path, text: str, **options: Any) -> Source:
    """A source of films a.png, b.png ... and a CSV; ``|`` in ``text`` parts its lines."""
    lines = text.split("|")
    root = tmp_path / f"s{len(list(tmp_path.iterdir()))}"
    films(root, *(f"{chr(97 + n)}.png" for n in range(len(lines) - 1)))
    rows = [lines[0], *(f"{chr(97 + n)}.png,{line}" for n, line in enumerate(lines[1:]))]
    sheet = write(tmp_path, "t.csv", "\n".join([f"file,{rows[0]}", *rows[1:]]) + "\n")
    return open_source("folder", root, labels=sheet, dataset="s", **options)


def said(source: Source, *names: str) -> list[Any]:
    """Per film in order its labels, or some of its metadata."""
    found = []
    for item in source.records:
        assert isinstance(item, ImageFile), item
        values = tuple(item.metadata[name] for name in names or ("labels",))
        found.append(values if len(values) > 1 else values[0])
    return found


def refused(source: Source) -> dict[str, str]:
    return {
        one.source.rpartition("/")[2]: one.reason
        for one in source.records
        if isinstance(one, Rejection)
    }


# -- one column of labels --------------------------------------------------------------------------


@pytest.mark.parametrize("heading", ["label", "Class", "target", "Diagnosis", "Category"])
@pytest.mark.parametrize("one", ["1", "1.0"])
def test_a_label_column_of_0_and_1_is_two_classes(tmp_path: Path, heading: str, one: str) -> None:
    source = table(tmp_path, f"{heading}|0|{one}||0")
    assert f"the labels of column {heading!r} are its values (0 1)" in str(source.note)
    assert "--label-names 0=NAME,1=NAME" in str(source.note)
    assert said(source, "labels", "labelled") == [
        (("0",), True), (("1",), True), ((), False), (("0",), True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("label|no|yes", [("no",), ("yes",)]),
        ("target|False|True", [("False",), ("True",)]),
        ("class|negative|POSITIVE|positive", [("negative",), ("POSITIVE",), ("POSITIVE",)]),
        ("Pneumonia|0|1", [("no Pneumonia",), ("Pneumonia",)]),
        ("Pneumonia|no|Yes|", [("no Pneumonia",), ("Pneumonia",), ()]),
        ("Pneumonia|-1|1", [(), ("Pneumonia",)]),
        ("No Finding|0|1", [("Finding",), ("No Finding",)]),
        ("label|0|1|2", [("0",), ("1",), ("2",)]),
        ("label|0.0|2.0|", [("0",), ("2",), ()]),
        ("label|1|2", [("1",), ("2",)]),
        ("label|-1|1", [("-1",), ("1",)]),
        ("label|-1|0|1", [(), ("0",), ("1",)]),
        ("label|yes|no|maybe", [("yes",), ("no",), ()]),
        ("label|1|1", [("1",), ("1",)]),
        ("label|0|", [("0",), ()]),
        ("label|007|012", [("007",), ("012",)]),
        ("label|normal|pneumonia", [("normal",), ("pneumonia",)]),
        ("label|x;y|x", [("x", "y"), ("x",)]),
    ],
)
def test_what_the_values_of_one_column_mean(tmp_path: Path, text: str, labels: list[Any]) -> None:
    assert said(table(tmp_path, text)) == labels


def test_a_value_that_is_not_sure_is_no_class(tmp_path: Path) -> None:
    beside = ("labels", "absent", "uncertain", "labelled")
    assert said(table(tmp_path, "Edema|1|0|-1|"), *beside) == [
        (("Edema",), (), (), True),
        (("no Edema",), ("Edema",), (), True),
        ((), (), ("Edema",), True),
        ((), (), (), False),
    ]
    assert said(table(tmp_path, "label|1|0|-1"), *beside)[2] == ((), (), ("1",), True)


@pytest.mark.parametrize(
    ("text", "names", "unsure"),
    [
        ("label|0|1|-1", "0=normal,1=pneumonia", "pneumonia"),
        ("label|0.0|1.0|-1.0", "0=normal,1=pneumonia", "pneumonia"),
        ("label|no|yes|maybe", "no=normal,yes=pneumonia", "pneumonia"),
        ("Edema|0|1|-1", "0=dry,1=wet", "wet"),
    ],
)
def test_a_value_that_is_not_sure_needs_no_name(
    tmp_path: Path, text: str, names: str, unsure: str
) -> None:
    source = table(tmp_path, text, label_names=[names])
    assert source.note is None
    last = said(source, "labels", "uncertain", "labelled")[2]
    assert last == ((), (unsure,), True)
    # Nor does the advice ask for one; a name that is given counts.
    assert "-1=NAME" not in str(table(tmp_path, "label|0|1|-1").note)
    called = table(tmp_path, "label|0|1|-1", label_names=["0=a,1=b,-1=c"])
    assert said(called) == [("a",), ("b",), ("c",)]


def test_several_columns_of_0_and_1_are_findings(tmp_path: Path) -> None:
    source = table(tmp_path, "Edema,Mass|1,0|0,0|,")
    assert said(source, "labels", "absent", "labelled") == [
        (("Edema",), ("Mass",), True), ((), ("Edema", "Mass"), True), ((), (), False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "names", "labels"),
    [
        ("label|0|1", ["0=normal,1=pneumonia"], [("normal",), ("pneumonia",)]),
        ("label|0.0|1.0|", ["0=normal", "1=pneumonia"], [("normal",), ("pneumonia",), ()]),
        ("label|0|1|2", ["0 = a , 1 = b , 2 = c = d"], [("a",), ("b",), ("c = d",)]),
        ("label|0|1|2", ["0=well,1=sick,2=sick"], [("well",), ("sick",), ("sick",)]),
        ("label|1|1", ["0=normal,1=pneumonia"], [("pneumonia",), ("pneumonia",)]),
        ("label|NORMAL|Covid", ["normal=no finding"], [("no finding",), ("Covid",)]),
        ("Edema|no|yes", ["no=dry,yes=wet"], [("dry",), ("wet",)]),
        ("label|0;1|1", ["0=a,1=b"], [("a", "b"), ("b",)]),
        ("label|-1|1", ["-1=edema?,1=edema"], [(), ("edema",)]),
    ],
)
def test_values_are_named(tmp_path: Path, text: str, names: list[str], labels: list[Any]) -> None:
    assert said(table(tmp_path, text, label_names=names)) == labels


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        ("label|0|1", "normal,pneumonia", "'normal' is not VALUE=NAME"),
        ("label|0|1", "0=,1=x", "'0=' is not VALUE=NAME"),
        ("label|0|1", "0=a,0.0=b,1=c", "names '0.0' twice"),
        ("label|0|1", "0=a,1=a", "gives all values the name 'a'"),
        ("label|0|1", "5=a,6=b", "holds '0', '1', and --label-names names '5', '6'"),
        ("label|0|1", "1=a", "name the values that occur"),
        ("label|0|1|2", "0=a,1=b,3=c", "name the values that occur"),
        ("Edema,Mass|0,1|1,0", "0=a,1=b", "names the values of one label column, and .* has 2"),
    ],
)
def test_names_that_do_not_fit(tmp_path: Path, text: str, names: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        table(tmp_path, text, label_names=[names])


def test_a_name_for_a_value_that_this_batch_lacks_is_said(tmp_path: Path) -> None:
    source = table(tmp_path, "label|1|1", label_names=["0=normal,1=pneumonia"])
    assert "column 'label' holds no '0', which --label-names names" in str(source.note)


def test_names_need_labels(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="goes with --labels FILE"):
        open_source("folder", films(tmp_path, "a.png"), label_names=["0=a"])


@pytest.mark.parametrize("names", [[], ["0=viral,1=bacterial"]])
def test_rows_of_a_film_that_name_both_classes_contradict(tmp_path: Path, names: list[str]) -> None:
    root = films(tmp_path / "s", "a.png", "b.png")
    both = "file,Target\na.png,0\na.png,1\nb.png,1\nb.png,1\n"
    sheet = write(tmp_path, "t.csv", both)
    source = open_source("folder", root, labels=sheet, label_names=names)
    assert refused(source) == {"a.png": "contradictory_rows"}


@pytest.mark.parametrize(
    ("heading", "refusal"),
    [
        ("label", {"a.png": "contradictory_rows"}),
        ("Diagnosis", {"a.png": "contradictory_rows"}),
        ("finding", {}),
        ("class_name", {}),
    ],
)
def test_normal_and_another_are_two_classes_under_a_heading_of_classes(
    tmp_path: Path, heading: str, refusal: dict[str, str]
) -> None:
    root = films(tmp_path / "s", "a.png", "b.png", "c.png")
    text = f"file,{heading}\na.png,normal\na.png,pneumonia\nb.png,normal\nc.png,pneumonia\n"
    source = open_source("folder", root, labels=write(tmp_path, "t.csv", text))
    assert refused(source) == refusal
    # Of more than two, a film may have several: then "normal" gives way.
    more = write(tmp_path, "t.csv", f"{text}c.png,effusion\n")
    found = said(open_source("folder", root, labels=more))
    assert found == [("pneumonia",), ("normal",), ("pneumonia", "effusion")]


def test_rows_of_a_film_may_name_several_of_many_numbers(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a.png", "b.png")
    sheet = write(tmp_path, "t.csv", "file,class_id\na.png,0.0\na.png,3.0\nb.png,14\n")
    source = open_source("folder", root, labels=sheet, label_column=["class_id"])
    assert said(source) == [("0", "3"), ("14",)]


@needs_cases
def test_the_binary_case_in_numbers_and_in_words() -> None:
    case = CASES / "binary-label"
    named, words = (
        said(open_source("folder", case / "films", labels=case / csv, label_names=names))
        for csv, names in (("binary.csv", ["0=normal,1=pneumonia"]), ("words.csv", []))
    )
    assert named == words and set(words) == {("normal",), ("pneumonia",)}
    numbers = said(open_source("folder", case / "films", labels=case / "binary.csv"))
    assert numbers == [("0",) if one == ("normal",) else ("1",) for one in words]


# -- lists in text ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("['normal']", ("normal",)),
        ("['pleural effusion', ' cardiomegaly ']", ("pleural effusion", "cardiomegaly")),
        ('["a", "b"]', ("a", "b")),
        ("['a' 'b'\n 'c']", ("a", "b", "c")),
        ("array(['a', 'b'], dtype=object)", ("a", "b")),
        ("('a', 'b')", ("a", "b")),
        ("{'a', 'b'}", ("a", "b")),
        ("[]", ()),
        ("['']", ("",)),
        ("[nan]", ("nan",)),
        ("[\"Kerley's lines\", 'x']", ("Kerley's lines", "x")),
        ("['Kerley's lines', 'x']", ("Kerley's lines", "x")),
        (r"['Kerley\'s lines', 'x']", ("Kerley's lines", "x")),
        ("[['a', 'b'], ['c']]", ("a", "b", "c")),
        ("[0 1 0]", ("0", "1", "0")),
        ("[normal, effusion]", ("normal", "effusion")),
        ("\"['a']\"", ("a",)),
        (r'"[\"a\", \"b\"]"', ("a", "b")),
        ("[np.str_('a'), np.str_('b')]", ("a", "b")),
        ("['a, b', 'c']", ("a, b", "c")),
        ("[__import__('os').getcwd()]", None),
        ("normal", None),
        ("(mild) effusion (left)", None),
        ("[unknown] effusion", None),
        ("{'a': 1}", None),
        ("[1]? effusion", None),
        ("", None),
    ],
)
def test_cells_that_are_lists_in_text(cell: str, found: tuple[str, ...] | None) -> None:
    if "__import__" in cell:
        assert items(cell) == ("__import__('os').getcwd()",) or items(cell)  # text, never run
        return
    assert items(cell) == found


@pytest.mark.parametrize("cell", ["['normal'", '["a", "b', "[0", "[mass", "[0 1", "["])
def test_half_a_list_is_no_label(tmp_path: Path, cell: str) -> None:
    with pytest.raises(ValueError, match="begins as a list and does not end as one"):
        items(cell)
    quoted = cell.replace('"', '""')
    source = table(tmp_path, f'label|mass|"{quoted}"|effusion')
    assert refused(source) == {"b.png": "bad_label"}


def test_a_line_of_more_cells_than_headings_loses_no_finding_in_silence(tmp_path: Path) -> None:
    source = table(tmp_path, "label|effusion, mass|edema|mass,,|['a', 'b']")
    found = [one for one in source.records if isinstance(one, Rejection)]
    assert {one.source.rpartition("/")[2] for one in found} == {"a.png", "d.png"}
    assert found[0].reason == "bad_label"
    assert found[0].detail == (
        "t.csv:2: 3 cells for 2 headings; put double quotes around a cell that holds ','"
    )
    # Under a separator at the end of the headings there is a column, if one without a name.
    assert said(table(tmp_path, "label,|edema,seen twice|mass,")) == [("edema",), ("mass",)]


def test_a_blank_column_of_labels_gives_way_to_findings(tmp_path: Path) -> None:
    source = table(tmp_path, "label,Edema,Mass|,1,0|,0,0|,,")
    assert source.labelling["label_columns"] == ["Edema", "Mass"]
    assert "column 'label' is blank" in str(source.note)
    assert said(source, "labels", "labelled") == [(("Edema",), True), ((), True), ((), False)]
    assert said(table(tmp_path, "label,Edema|,1|,0", label_column=["label"])) == [(), ()]
    assert said(table(tmp_path, "label,ward|,1|,0"), "labelled") == [False, False]


@given(st.lists(st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=9)))
def test_any_list_comes_back(names: list[str]) -> None:
    stripped = tuple(name.strip() for name in names)
    assert items(repr(names)) == stripped
    assert items(json.dumps(names)) == stripped
    assert items(json.dumps(names, ensure_ascii=False)) == stripped
    assert items(json.dumps(json.dumps(names))) == stripped


@given(st.lists(st.text("ab' \"-", min_size=1, max_size=6), min_size=1))
def test_what_numpy_prints_comes_back(names: list[str]) -> None:
    if any("' '" in name or '" "' in name or "' \"" in name or "\" '" in name for name in names):
        return  # within one name, what parts names
    assert items("[" + "\n ".join(map(repr, names)) + "]") == tuple(map(str.strip, names))


@given(st.text("[](){}'\",\\ ab|;", max_size=30))
def test_no_cell_breaks_it(cell: str) -> None:
    try:
        items(cell)
    except ValueError as error:
        assert "list" in str(error)


def test_a_column_of_lists(tmp_path: Path) -> None:
    text = """label|"['a', 'b?']"|"[""c""]"|[]|['']||plain|"['d', 'd']" """.strip()
    assert said(table(tmp_path, text), "labels", "uncertain", "labelled") == [
        (("a",), ("b",), True),
        (("c",), (), True),
        ((), (), True),
        *[((), (), False)] * 2,
        (("plain",), (), True),
        (("d",), (), True),
    ]
    assert said(table(tmp_path, """label|"['a', 'b']"|['a']""", label_names=["a=x,b=y"])) == [
        ("x", "y"),
        ("x",),
    ]
    broken = table(tmp_path, """label|"['a', 'b"|['a']""")
    assert refused(broken) == {"a.png": "bad_label"}


def test_lists_of_0_and_1_are_a_finding_for_each_place(tmp_path: Path) -> None:
    text = 'label|"[0, 1, 0]"|"[0, 0, 0]"|[1 0 1]|'
    source = table(tmp_path, text)
    assert "a finding for each place" in str(source.note)
    assert said(source, "labels", "labelled") == [
        (("1",), True), ((), True), (("0", "2"), True), ((), False),
    ]  # fmt: skip
    named = table(tmp_path, text, label_names=["0=edema,1=mass,2=nodule"])
    assert said(named)[2] == ("edema", "nodule")


@needs_cases
def test_padchest() -> None:
    case = CASES / "padchest"
    found = said(open_source("folder", case, labels=next(case.glob("*.csv"))))
    assert ("normal",) in found and ("pleural effusion", "cardiomegaly") in found
    assert not any(char in name for labels in found for name in labels for char in "[]'\"")


# -- which columns ---------------------------------------------------------------------------------


def test_metadata_beside_findings_is_no_finding(tmp_path: Path) -> None:
    text = (
        "Unnamed: 0,age,Sex,ward,Patient_ID,followup,is_test,fold,Width,Edema,Mass,smoker,note"
        "|0,1,0,1,1,0,1,0,1,1,0,yes,x|1,0,1,0,0,1,0,1,0,0,-1,no,y"
    )
    source = table(tmp_path, text)
    assert source.labelling["label_columns"] == ["Edema", "Mass"]
    assert source.labelling["not_kept_columns"] == [
        *("Unnamed: 0", "age", "Sex", "ward", "Patient_ID", "followup", "is_test", "fold"),
        *("Width", "smoker", "note"),
    ]
    assert said(source, "labels", "uncertain") == [(("Edema",), ()), ((), ("Mass",))]
    kept = table(tmp_path, text, columns=["ward", "x=note"])
    assert kept.labelling["kept_columns"] == {"ward": "ward", "x": "note"}
    assert "ward" not in kept.labelling["not_kept_columns"]
    asked = table(tmp_path, text, label_column=["sex"])
    assert asked.labelling["label_columns"] == ["Sex"]
    assert said(asked) == [("0",), ("1",)]


def test_only_metadata_is_no_labels(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="'sex' are taken only when named; name it with --label-co"):
        table(tmp_path, "sex,note|0,x|1,y")


def test_words_for_flags_are_findings_where_there_are_no_numbers(tmp_path: Path) -> None:
    source = table(tmp_path, "Edema,Mass,inpatient|YES,NO,YES|NO,NO,NO")
    assert source.labelling["label_columns"] == ["Edema", "Mass"]
    assert said(source) == [("Edema",), ()]


@pytest.mark.parametrize(
    ("heading", "metadata"),
    [
        *((name, True) for name in ("PatientAge", "ViewPosition", "Follow-up #", "study_id")),
        *((name, True) for name in ("Unnamed: 0.1", "column 1", "OriginalImage[Width", "x_min")),
        *((name, True) for name in ("is_male", "image index", "Frontal/Lateral", "AP/PA", "#")),
        *((name, False) for name in ("Pneumonia", "Pleural Effusion", "Support Devices", "No")[:3]),
        *((name, False) for name in ("No Finding", "ETT - Abnormal", "skin fold", "Heart size")),
        *((name, False) for name in ("Enlarged Cardiomediastinum", "COVID-19", "vertebral column")),
    ],
)
def test_headings_of_metadata(heading: str, metadata: bool) -> None:
    assert is_metadata(heading) is metadata


def test_the_report_says_which_columns_and_what_they_say(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    gallery = Gallery.create(tmp_path / "g", encoder.stamp)
    text = "age,Edema,Mass|40,1,0|50,0,0|60,,"
    source = table(tmp_path, text)
    report = ingest(source, gallery, encoder).as_dict()
    assert report["labelling"] == {
        "table": "t.csv", "file_column": "file", "id_column": None,
        "label_columns": ["Edema", "Mass"], "kept_columns": {}, "not_kept_columns": ["age"],
    }  # fmt: skip
    assert report["outcomes"] == {
        "found": 1, "nothing_found": 1, "uncertain_only": 0, "not_labelled": 1,
    }  # fmt: skip
    assert source.root is not None
    same = open_source("folder", source.root, labels=tmp_path / "t.csv", dataset="s")
    again = ingest(same, gallery, encoder)
    assert (again.updated, again.unchanged) == (0, 3)
    assert again.outcomes == report["outcomes"]


# -- found, no finding, uncertain only, not labelled -----------------------------------------------


def outcomes(source: Source) -> Counter[str]:
    found: Counter[str] = Counter()
    for item in source.records:
        if isinstance(item, ImageRecord):
            found[item.outcome] += 1
        elif isinstance(item, ImageFile):
            said = told(item.metadata)
            names = ("labels", "labelled", "uncertain")
            found[outcome(*(said.get(name, METADATA[name]) for name in names))] += 1
    return found


def test_outcomes() -> None:
    assert outcome(("effusion",), True) == "found"
    assert outcome(("No Finding",), True) == outcome((), True) == "no finding"
    assert outcome(("no finding", "support devices"), True) == "found"
    assert outcome((), True, ("edema",)) == "uncertain only"
    assert outcome((), False) == "not labelled"
    assert ImageRecord("a", np.zeros((2, 2), np.uint8), b"", labels=("x",)).labelled


def test_zeros_of_chestmnist_are_nothing_found(tmp_path: Path) -> None:
    labels = np.zeros((6, 14), np.uint8)
    labels[0, 3] = labels[1, [0, 13]] = 1
    write_npz(
        tmp_path / "chestmnist.npz", {"train": 6}, train_labels=labels, classes=14, multi_label=True
    )
    source = open_source("medmnist:chestmnist", root=tmp_path, splits=["train"])
    assert outcomes(source) == {"found": 2, "no finding": 4}


def test_folders_and_tables_that_say_nothing(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a.png", "b.png")
    assert outcomes(open_source("folder", root)) == {"not labelled": 2}
    sheet = write(tmp_path, "t.csv", "file,Finding Labels\na.png,No Finding\n")
    found = open_source("folder", root, labels=sheet, unlabelled=True)
    assert outcomes(found) == {"no finding": 1, "not labelled": 1}
    states = [one.labelled for one in opened(
        open_source("folder", root, labels=sheet, unlabelled=True).records
    ) if isinstance(one, ImageRecord)]  # fmt: skip
    assert states == [True, False]


FOURTEEN = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,"
    "Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,"
    "Support Devices"
)


def published(root: Path, kind: str) -> Counter[str]:
    """Outcomes of a published layout with one film of each outcome, and one or two more."""
    if kind == "nih":
        heading = "Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position"
        rows = ("Mass|Edema", "No Finding", "")
        text = "".join(f"{n}.png,{said},1,50,M,PA\n" for n, said in enumerate(rows))
        write(root, "Data_Entry_2017.csv", f"{heading}\n{text}")
        films(root, "0.png", "1.png", "2.png")
    elif kind == "chexpert":
        said_ = ["0," * 13 + "1", "1" + "," * 13, "0" + ",0" * 13, "," * 13, ",,,,,-1" + "," * 8]
        paths = [f"train/patient0000{n}/study1/view1_frontal.jpg" for n in range(5)]
        lines = [f"{path},Male,50,Frontal,AP,{row}" for path, row in zip(paths, said_, strict=True)]
        heading = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{FOURTEEN}"
        write(root, "train.csv", "\n".join([heading, *lines]) + "\n")
        films(root, *paths)
    elif kind == "vindr":
        write(
            root,
            "annotations/image_labels_train.csv",
            "image_id,rad_id,Edema,No finding\na,R1,1,0\nb,R1,0,1\nc,R1,0,0\nd,R1,,\n",
        )
        for name in "abcd":
            write(root, f"train/{name}.dicom", b"\0" * 132)
    elif kind == "rsna":
        boxes = "".join(f"{name},,,,,{target}\n" for name, target in zip("abc", "010", strict=True))
        write(root, "stage_2_train_labels.csv", f"patientId,x,y,width,height,Target\n{boxes}")
        for name in "abc":
            write(root, f"stage_2_train_images/{name}.dcm", b"\0" * 132)
        write(root, "stage_2_test_images/d.dcm", b"\0" * 132)
    elif kind == "mimic-cxr-jpg":
        ids = "s1", "s2", "s3", "s4"
        rows = ("1" + "," * 13, "0" + ",0" * 13, "," * 13)
        tables = {
            "metadata": "dicom_id,subject_id,study_id,ViewPosition\n"
            + "".join(f"d{n},10000032,{n},PA\n" for n, _ in enumerate(ids)),
            "split": "dicom_id,study_id,subject_id,split\n",
            "chexpert": f"subject_id,study_id,{FOURTEEN}\n"
            + "".join(f"10000032,{n},{row}\n" for n, row in enumerate(rows)),
        }
        for name, text in tables.items():
            write(root, f"mimic-cxr-2.0.0-{name}.csv", text)
        films(root, *(f"files/p10/p10000032/s{n}/d{n}.jpg" for n, _ in enumerate(ids)))
    return outcomes(open_source(kind, root))


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("nih", {"found": 1, "no finding": 1, "not labelled": 1}),
        ("chexpert", {"found": 1, "no finding": 2, "uncertain only": 1, "not labelled": 1}),
        ("vindr", {"found": 1, "no finding": 2, "not labelled": 1}),
        ("rsna", {"found": 3, "not labelled": 1}),
        ("mimic-cxr-jpg", {"no finding": 2, "not labelled": 2}),
    ],
)
def test_published_readers_tell_outcomes_apart(
    tmp_path: Path, kind: str, wanted: dict[str, int]
) -> None:
    assert published(tmp_path, kind) == wanted


def test_a_cell_of_nih_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    published(tmp_path, "nih")
    sheet = tmp_path / "Data_Entry_2017.csv"
    sheet.write_text(sheet.read_text().replace("0.png,Mass|Edema", "0.png,['Mass"))
    assert refused(open_source("nih", tmp_path)) == {"0.png": "bad_label"}


def test_target_0_of_rsna_is_a_class_without_its_table_too(tmp_path: Path) -> None:
    published(tmp_path, "rsna")
    source = open_source("rsna", tmp_path)
    assert "films with Target 0 are labelled 'no lung opacity'" in str(source.note)
    assert [dict(one.metadata).get("labels") for one in source.records][1:] == [  # type: ignore[union-attr]
        ("no lung opacity",), ("lung opacity",), ("no lung opacity",),
    ]  # fmt: skip


# -- folders ---------------------------------------------------------------------------------------


def by_folder(root: Path, **options: Any) -> Source:
    return open_source("folder", root, label_from_folder=True, dataset="s", **options)


def label_of(source: Source) -> dict[str, Any]:
    return {
        str(one.id).partition("/")[2]: (one.metadata["labels"][0], one.metadata.get("split"))
        for one in source.records
        if isinstance(one, ImageFile)
    }


MASKED = {
    "covid/images/1.png": "covid",
    "covid/masks/1.png": None,
    "normal/images/1.png": "normal",
    "normal/lung masks/1.png": None,
    "normal/infection masks/1.png": None,
    "normal/Lung_Segmentation/1.png": None,
    "normal/leftMask/1.png": None,
    "normal/ManualMask/rightMask/1.png": None,
    "normal/previews/1.png": None,
    "normal/labels/1.png": None,
    "normal/2.png": "normal",
    "normal/2_mask.png": None,
    "normal/2_left_mask.png": None,
}


@pytest.mark.parametrize("top", ["", "COVID-19_Radiography_Dataset/", "a/b/", "data/train/"])
def test_masks_are_no_films_and_images_are_no_label(tmp_path: Path, top: str) -> None:
    root = films(tmp_path / "set", *(top + name for name in MASKED))
    write(root, "Normal.metadata.xlsx", b"PK\3\4")
    write(root, "README.md.txt", "read me")
    source = by_folder(root)
    wanted = {top + name: label for name, label in MASKED.items() if label}
    assert source.labelling["masks"] == len(MASKED) - len(wanted)
    assert source.labelling["folder_level"] == top.count("/") + 1
    assert f"{len(MASKED) - len(wanted)} masks, segmentations or previews" in str(source.note)
    split = "train" if "train" in top else None
    assert label_of(source) == {name: (label, split) for name, label in wanted.items()}
    assert source.total == len(wanted)
    assert open_source("folder", root).total == len(wanted)


def test_masks_of_a_table_are_no_films_either(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "images/a.png", "masks/a.png", "images/b.png")
    sheet = write(tmp_path, "t.csv", "file,label\na.png,x\nb.png,y\n")
    source = open_source("folder", root, labels=sheet)
    assert source.labelling["masks"] == 1 and "1 masks" in str(source.note)
    assert said(source) == [("x",), ("y",)]
    rows = "file,label\nimages/a.png,x\nmasks/a.png,x\nimages/b.png,y\n"
    named = open_source("folder", root, labels=write(tmp_path, "t.csv", rows))
    (row,) = (one for one in named.records if isinstance(one, Rejection))
    assert (row.reason, row.source) == ("file_missing", "t.csv:3")
    assert "'masks/a.png' was left out as a mask, segmentation or preview" in row.detail


def test_a_data_set_of_segmentations_is_no_mask(tmp_path: Path) -> None:
    """COVID-QU-Ex: the word stands in the name of all, and two parts hold the same classes."""
    names = [
        f"{part} Segmentation Data/{part} Segmentation Data/{split}/{label}/{kind}/{split}{n}.png"
        for part in ("Lung", "Infection")
        for split in ("Train", "Val", "Test")
        for label in ("COVID-19", "Non-COVID", "Normal")
        for kind in ("images", "lung masks")
        for n in range(2)
    ]
    source = by_folder(films(tmp_path / "set", *names))
    assert source.labelling["folder_level"] == 4 and source.labelling["masks"] == 36
    assert source.labelling["folders"] == {"COVID-19": 12, "Non-COVID": 12, "Normal": 12}
    assert Counter(split for _, split in label_of(source).values()) == {
        "train": 12, "val": 12, "test": 12,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["NORMAL/a.png", "PNEUMONIA/b.png"], ["NORMAL", "PNEUMONIA"]),
        (["0/a.png", "1/b.png", "1/c.png"], ["0", "1", "1"]),
        (["train/images/NORMAL/a.png", "train/images/sick/b.png"], ["NORMAL", "sick"]),
        (["NORMAL/train/a.png", "PNEUMONIA/test/b.png"], ["NORMAL", "PNEUMONIA"]),
        (["chest_xray/test/a/1.png", "chest_xray/chest_xray/test/b/2.png"], ["b", "a"]),
        (["normal data/a.png", "covid data/b.png"], ["covid data", "normal data"]),
        (["PA/a.png", "AP/b.png"], ["AP", "PA"]),
        (["x/a.png", "y/b.png"], ["x", "y"]),
        (["Chest X-rays/a/1.png", "x_ray images/b/2.png"], ["a", "b"]),
        (["imgs/a/1.png", "imgs/b/2.png", "annotations/1.png"], ["a", "b"]),
        (["a/x/1.png", "a/y/2.png", "b/x/3.png"], ["a", "a", "b"]),
        (["fold_1/a/1.png", "fold_2/b/2.png"], ["a", "b"]),
        (["stage_2_train/a/1.png", "stage_2_test/b/2.png"], ["b", "a"]),
        (["train_normal/1.png", "train_sick/2.png"], ["train_normal", "train_sick"]),
        (["images_001/images/a/1.png", "images_002/images/b/2.png"], ["a", "b"]),
    ],
)
def test_the_uppermost_level_that_tells_apart(
    tmp_path: Path, names: list[str], labels: list[str]
) -> None:
    source = by_folder(films(tmp_path / "set", *names))
    assert [one.metadata["labels"][0] for one in source.records] == labels  # type: ignore[union-attr]


def test_folders_that_differ_in_capitals_alone_are_one_label(tmp_path: Path) -> None:
    names = "train/NORMAL/1.png", "train/NORMAL/2.png", "test/Normal/3.png", "test/sick/4.png"
    source = by_folder(films(tmp_path / "s", *names))
    assert source.labelling["folders"] == {"NORMAL": 3, "sick": 1}
    assert "folders 'Normal' were taken for 'NORMAL'" in str(source.note)


def test_folders_that_differ_in_their_split_alone(tmp_path: Path) -> None:
    names = "covid_train/a/1.png", "covid_train/b/2.png", "covid_test/a/3.png"
    assert label_of(by_folder(films(tmp_path / "s", *names))) == {
        "covid_train/a/1.png": ("a", "train"),
        "covid_train/b/2.png": ("b", "train"),
        "covid_test/a/3.png": ("a", "test"),
    }


def test_a_level_is_asked_for(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "a/x/1.png", "b/y/2.png", "b/3.png")
    assert label_of(by_folder(root)) == {
        "a/x/1.png": ("a", None), "b/3.png": ("b", None), "b/y/2.png": ("b", None),
    }  # fmt: skip
    second = open_source("folder", root, label_level=2, dataset="s")
    assert second.labelling["folder_level"] == 2
    assert label_of(second) == {"a/x/1.png": ("x", None), "b/y/2.png": ("y", None)}
    assert refused(open_source("folder", root, label_level=2)) == {"3.png": "label_missing"}
    named = by_folder(films(tmp_path / "n", "0/1.png", "1/2.png"), label_names=["0=well,1=sick"])
    assert label_of(named) == {"0/1.png": ("well", None), "1/2.png": ("sick", None)}
    for level in (0, 3):
        with pytest.raises(
            UsageError, match=r"expected 1 \(the first folder below the source\) to 2"
        ):
            open_source("folder", root, label_level=level)
    with pytest.raises(UsageError, match="--labels and --label-level both say"):
        open_source("folder", root, labels=root / "t.csv", label_level=1)


def test_files_at_different_depths(tmp_path: Path) -> None:
    names = "train/NORMAL/a.png", "train/PNEUMONIA/b.png", "extra/c.png", "d.png"
    source = by_folder(films(tmp_path / "s", *names))
    assert "labels are folder names of several levels (1 film at level 1, 2 films at level 2)" in (
        str(source.note)
    )
    assert source.labelling["folder_level"] == [1, 2]
    assert label_of(source) == {
        "extra/c.png": ("extra", None),
        "train/NORMAL/a.png": ("NORMAL", "train"),
        "train/PNEUMONIA/b.png": ("PNEUMONIA", "train"),
    }
    assert refused(by_folder(tmp_path / "s")) == {"d.png": "label_missing"}
    assert outcomes(by_folder(tmp_path / "s", unlabelled=True)) == {"found": 3, "not labelled": 1}


@pytest.mark.parametrize(
    "names",
    [
        [f"patient{n:05d}/study1/view{v}.png" for n in range(4) for v in range(3)],
        [f"CheXpert-v1.0-small/train/patient{n:05d}/study1/v.png" for n in range(12)],
        ["study1/a.png", "study2/b.png"],
        [f"{n:04d}/a.png" for n in range(5)],
        [f"1.2.840.{n}/a.dcm" for n in range(5)],
        [f"{n:02d}/{v}.png" for n in range(25) for v in range(4)],
        [f"name {chr(97 + n)}/film.png" for n in range(12)],
    ],
)
def test_patients_are_no_labels(tmp_path: Path, names: list[str]) -> None:
    root = films(tmp_path / "s", *names)
    with pytest.raises(BadSource, match=r"patients rather than labels; .*--label-level N \(1: "):
        by_folder(root)
    assert by_folder(root, label_level=names[0].count("/")).total == len(names)


def test_folders_that_tell_nothing_apart(tmp_path: Path) -> None:
    root = films(tmp_path / "s", "MontgomerySet/CXR_png/a.png", "MontgomerySet/ManualMask/a.png")
    with pytest.raises(BadSource, match=r"no level .* two names .*1: 1 names, MontgomerySet; 2:"):
        by_folder(root)
    assert label_of(by_folder(root, label_level=1)) == {
        "MontgomerySet/CXR_png/a.png": ("MontgomerySet", None)
    }


@needs_cases
@pytest.mark.parametrize("inside", ["", "COVID-19_Radiography_Dataset"])
def test_the_case_with_masks(inside: str) -> None:
    source = by_folder(CASES / "class-with-masks" / inside)
    assert source.labelling["folders"] == {
        "COVID": 3, "Lung_Opacity": 3, "Normal": 3, "Viral Pneumonia": 3,
    }  # fmt: skip
    assert (source.labelling["masks"], source.total) == (12, 12)


def test_reading_a_source_again_fills_what_an_older_gallery_lacks(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    gallery = Gallery.create(tmp_path / "g", encoder.stamp)
    root = films(tmp_path / "s", "a.png", "b.png", "c.png", "d.png")
    text = "file,Finding Labels,Study ID\na.png,Mass,1.2\nb.png,[],1.2\nc.png,Mass?,1.3\nd.png,,\n"
    sheet = write(tmp_path, "t.csv", text)

    def again(into: Gallery) -> IngestReport:
        source = open_source("folder", root, labels=sheet, dataset="s", columns=["study"])
        return ingest(source, into, encoder)

    assert again(gallery).outcomes == {
        "found": 1, "nothing_found": 1, "uncertain_only": 1, "not_labelled": 1,
    }  # fmt: skip
    gallery.refresh()
    before = {id_: (row.outcome, row.study) for id_, row in gallery.rows(gallery.ids()).items()}
    assert before == {
        "s/a.png": ("found", "1.2"),
        "s/b.png": ("no finding", "1.2"),
        "s/c.png": ("uncertain only", "1.3"),
        "s/d.png": ("not labelled", None),
    }
    lance.open_version(gallery.uri).drop_columns(["labelled", "study"])
    older = Gallery.open(gallery.uri)
    assert older.row("s/b.png").outcome == "not labelled"
    grown = again(older)
    assert (grown.encoded, grown.updated, grown.unchanged) == (0, 3, 1)
    assert grown.changed == {"study": 3, "labelled": 1}
    older.refresh()
    assert {id_: (row.outcome, row.study) for id_, row in older.rows(older.ids()).items()} == before
    assert again(older).unchanged == 4
    # That nothing is found any more, and that nobody looked, are two changes.
    write(tmp_path, "t.csv", text.replace("a.png,Mass,", "a.png,[],").replace("b.png,[]", "b.png,"))
    assert again(older).updated == 2
    older.refresh()
    assert [older.row(f"s/{n}.png").outcome for n in "ab"] == ["no finding", "not labelled"]


@pytest.mark.parametrize("kind", ["chexpert", "mimic-cxr-jpg"])
def test_published_sets_tell_studies(tmp_path: Path, kind: str) -> None:
    published(tmp_path, kind)
    items = [one for one in open_source(kind, tmp_path).records if isinstance(one, ImageFile)]
    assert [one.metadata["study"] for one in items] == {
        "chexpert": [f"chexpert/patient0000{n}/study1" for n in range(5)],
        "mimic-cxr-jpg": [f"mimic/s{n}" for n in range(4)],
    }[kind]
