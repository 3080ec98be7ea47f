"""Labels of tables of embeddings: lists of 0 and 1, classes with names, names joined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.artefacts.folder import Artefacts, store_artefacts
from ingest.artefacts.table import read_table
from store import BadArtefacts, UsageError

NAMES = ("normal", "effusion", "mass")
HOT = [[1, 0, 0], [0, 1, 1], [0, 0, 0], None]
READ = [("normal",), ("effusion", "mass"), (), ()]


def saved(
    path: Path,
    values: Any,
    kind: pa.DataType | None = None,
    name: str = "labels",
    metadata: Any = None,
    **field: str,
) -> Path:
    """A Parquet file with one column of labels, whose field or schema may say more."""
    column = values if isinstance(values, pa.Array) else pa.array(values, kind)
    vectors = np.eye(len(column), max(len(column), 2), dtype=np.float32)
    schema = pa.schema(
        [
            pa.field("id", pa.string()),
            pa.field("embedding", pa.list_(pa.float32())),
            pa.field(name, column.type, metadata=field or None),
        ],
        metadata={k: json.dumps(v) for k, v in (metadata or {}).items()} or None,
    )
    ids = [f"film {number}" for number in range(len(column))]
    cells = [pa.array(ids), pa.array(list(vectors), pa.list_(pa.float32())), column]
    pq.write_table(pa.table(cells, schema=schema), path)
    return path


def read(tmp_path: Path, values: Any, kind: pa.DataType | None = None, **more: Any) -> Artefacts:
    options = {k: more.pop(k) for k in ("label_names", "label_column") if k in more}
    return read_table(saved(tmp_path / "t.parquet", values, kind, **more), **options)


def hub(feature: Any, name: str = "labels") -> dict[str, Any]:
    return {"huggingface": {"info": {"features": {name: feature}}}}


CLASS = {"names": list(NAMES), "_type": "ClassLabel"}

# -- lists of 0 and 1 ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.int64()),
        pa.list_(pa.uint8()),
        pa.list_(pa.bool_()),
        pa.list_(pa.float32()),
        pa.large_list(pa.int8()),
        pa.list_(pa.int32(), 3),
    ],
)
def test_lists_of_flags_are_columns(tmp_path: Path, kind: pa.DataType) -> None:
    hot = pa.array([row and [pa.scalar(bool(one)).cast(kind.value_type).as_py() for one in row]
                    for row in HOT], kind)  # fmt: skip
    found = read(tmp_path, hot)
    assert found.labels == [("0",), ("1", "2"), (), ()]
    assert found.columns["absent"] == [("1", "2"), ("0",), ("0", "1", "2"), ()]
    assert (
        "3 places of 0 and 1 without names" in found.notes[0] and "--label-names" in found.notes[0]
    )
    for names in (["normal,effusion,mass"], list(NAMES), ["0=normal,1=effusion", "2=mass"]):
        named = read(tmp_path, hot, label_names=names)
        assert named.labels == READ and not any("without names" in note for note in named.notes)


@pytest.mark.parametrize(
    "told",
    [
        {"metadata": hub({"feature": CLASS, "_type": "List"})},
        {"metadata": hub({"feature": CLASS, "length": 3, "_type": "Sequence"})},
        {"metadata": hub([CLASS])},
        {"metadata": hub({"feature": {"names": dict(enumerate(NAMES)), "_type": "ClassLabel"}})},
        {"metadata": {"label_names": NAMES}},
        {"names": json.dumps(NAMES)},
        {"classes": json.dumps(NAMES)},
    ],
)
def test_names_come_from_the_metadata(tmp_path: Path, told: Any) -> None:
    assert read(tmp_path, HOT, **told).labels == READ
    assert read(tmp_path, [[0], [2, 1], [], None], **told).labels == [
        ("normal",), ("mass", "effusion"), (), (),
    ]  # fmt: skip
    assert read(tmp_path, [0, 2, -1, None], **told).labels == [("normal",), ("mass",), (), ()]
    other = read(tmp_path, HOT, label_names=["a,b,c"], **told)
    assert other.labels == [("a",), ("b", "c"), (), ()]


def test_uncertain_and_blank_places(tmp_path: Path) -> None:
    found = read(tmp_path, [[1, -1, None], [0.0, float("nan"), 1]], label_names=["a,b,c"])
    assert found.labels == [("a",), ("c",)]
    assert found.columns == {"uncertain": [("b",), ()], "absent": [(), ("a",)]}


def test_lists_in_text_are_read_as_lists_are(tmp_path: Path) -> None:
    assert read(tmp_path, ["[1, 0, 0]", "[0 1 1]", "[0, 0, 0]", None]).labels == [
        ("0",), ("1", "2"), (), (),
    ]  # fmt: skip
    named = read(tmp_path, ["['mass']", "['effusion', ' mass ']", "[]", ""])
    assert named.labels == [("mass",), ("effusion", "mass"), (), ()]


def test_one_place_is_one_number(tmp_path: Path) -> None:
    found = read(tmp_path, [[0], [1], [1], None], name="label")
    assert found.labels == [("0",), ("1",), ("1",), ()] and "--label-names" in found.notes[0]
    found = read(tmp_path, [[0], [1], [1]], name="label", label_names=["0=well,1=sick"])
    assert found.labels == [("well",), ("sick",), ("sick",)]


@settings(max_examples=30)
@given(st.integers(2, 8).flatmap(lambda n: st.lists(
    st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=12)))  # fmt: skip
def test_no_film_has_what_it_has_not(tmp_path_factory: Any, hot: list[list[bool]]) -> None:
    names = [f"finding {number}" for number in range(len(hot[0]))]
    path = tmp_path_factory.mktemp("hot") / "t.parquet"
    found = read_table(saved(path, hot), label_names=[",".join(names)])
    for row, labels in zip(hot, found.labels, strict=True):
        assert set(labels) == {name for name, one in zip(names, row, strict=True) if one}


# -- one value a row -------------------------------------------------------------------------------


def test_two_numbers_are_two_classes(tmp_path: Path) -> None:
    for values in ([0, 1, 1, None], [0.0, 1.0, 1.0, float("nan")], ["0", "1", "1", ""]):
        assert read(tmp_path, values, name="label").labels == [("0",), ("1",), ("1",), ()]
        found = read(tmp_path, values, name="label", label_names=["0=normal,1=pneumonia"])
        assert found.labels == [("normal",), ("pneumonia",), ("pneumonia",), ()]
    for unsure in ([0, 1, -1], ["no", "yes", "maybe"]):
        names = [f"{unsure[0]}=normal,{unsure[1]}=pneumonia"]
        found = read(tmp_path, unsure, name="label", label_names=names)
        assert found.labels == [("normal",), ("pneumonia",), ()]
        assert found.columns["uncertain"][2] == ("pneumonia",)
    found = read(tmp_path, [True, False], name="pneumonia", label_column=["pneumonia"])
    assert found.labels == [("pneumonia",), ("no pneumonia",)]


def test_findings_joined_are_taken_apart(tmp_path: Path) -> None:
    values = ["Atelectasis|Effusion", "Effusion", "No Finding", None]
    wanted = [("Atelectasis", "Effusion"), ("Effusion",), ("No Finding",), ()]
    assert read(tmp_path, values, name="Finding Labels").labels == wanted
    coded = pa.array(values).dictionary_encode()
    assert read(tmp_path, coded, name="finding_labels").labels == wanted
    asked = read(tmp_path, values, name="what they found", label_column=["what they found"])
    assert asked.labels == wanted


def test_a_column_for_each_finding(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.parquet", [1, 0, -1, None], name="mass")
    table = pq.read_table(path).append_column("edema", pa.array([1.0, 1.0, 0.0, None]))
    pq.write_table(table, path)
    assert not read_table(path).tells_labels
    found = read_table(path, label_column=["mass,edema"])
    assert found.labels == [("mass", "edema"), ("edema",), (), ()]
    assert found.columns["uncertain"] == [(), (), ("mass",), ()]


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([["a"], ["b", "a", "b"]], r"row 'film 1', column 'labels': 'b' stands more than once"),
        (["a", "b|a| b"], r"row 'film 1', column 'labels': 'b' stands more than once"),
        (["['a']", "['b', 'a', 'b']"], r"row 'film 1', column 'labels': 'b' stands more than once"),
        ([[0, 2], [1, 1]], r"row 'film 1', column 'labels': '1' stands more than once"),
        ([[True], [True, False]], r"0 and 1 for each finding, as many in every row"),
        ([[1.0], [1.0, 0.0]], r"0 and 1 for each finding, as many in every row"),
        ([[0.5, 1.0], [1.0, 0.0]], r"row 'film 0', column 'labels': holds 0.5"),
        ([0.5, 1.0], r"row 'film 0', column 'labels': holds 0.5"),
        ([{"a": 1}, {"a": 2}], r"column 'labels' is struct.* must hold strings"),
        ([[["a"]], [["b"]]], r"holds lists of list"),
        (["['a'", "x"], r"row 'film 0', column 'labels'"),
    ],
)
def test_refusals(tmp_path: Path, values: Any, message: str) -> None:
    with pytest.raises(BadArtefacts, match=message):
        read(tmp_path, values)


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        (HOT, ["a,b"], "3 places in every row, but --label-names has 2 names"),
        (HOT, ["a,a,b"], "every name once"),
        (HOT, ["7=a"], "name the values that occur"),
        ([0, 1], ["x=a"], "name the values that occur"),
    ],
)
def test_names_that_do_not_fit(tmp_path: Path, values: Any, names: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, values, label_names=names)


def test_metadata_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(BadArtefacts, match="has class 3, but its metadata names 3 classes"):
        read(tmp_path, [0, 3], metadata=hub(CLASS))
    with pytest.raises(BadArtefacts, match="have one name"):
        read(tmp_path, [0, 1], metadata={"label_names": ["a", "a"]})
    for odd in ("{", "[" * 100_000, "null", '{"info": {"features": [1]}}', "[1, 2]"):
        path = saved(tmp_path / "odd.parquet", HOT)
        table = pq.read_table(path).replace_schema_metadata({"huggingface": odd, "names": odd})
        pq.write_table(table, path)
        assert read_table(path).labels == [("0",), ("1", "2"), (), ()]


# -- as files came ---------------------------------------------------------------------------------


def test_as_right_as_the_names_themselves(data: Path, tmp_path: Path) -> None:
    cases = data.parent / "cases" / "embeddings"
    names = read_table(cases / "names.parquet")
    order = sorted({name for labels in names.labels for name in labels})
    plain = read_table(cases / "multihot.parquet")
    of: dict[str, str] = {}
    for said, place in zip(names.labels, plain.labels, strict=True):
        of.update(zip(place, said, strict=True))
    assert len(set(of.values())) == len(of) == len(order)
    told = [",".join(of.get(str(place), f"none {place}") for place in range(14))]
    hot = read_table(cases / "multihot.parquet", label_names=told)
    assert hot.labels == names.labels
    figures = [
        store_artefacts(found, tmp_path / name)[0].evaluate(split=None, k=(1, 3)).precision
        for name, found in (("hot", hot), ("plain", plain), ("names", names))
    ]
    assert figures[0] == figures[1] == figures[2]
    assert all(value < 0.9 for value in figures[0].values())
    piped = read_table(cases / "nih.parquet")
    assert piped.labels[0] == ("Atelectasis", "Effusion")
