"""What no gallery can hold or answer is refused in one line, and nothing is written or lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.job.journal import file_name
from store import (
    BadFilter,
    BadQuery,
    BadRows,
    CxrError,
    Gallery,
    Row,
    UnknownId,
    Where,
    parse_where,
)
from tests.store.rows import STAMP, make_rows, random_vectors

HALF = "film\ud800.png"


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    made = Gallery.create(tmp_path, STAMP)
    made.upsert(
        [replace(row, extra={"ward": 3, "who": "a"}) for row in make_rows(random_vectors(5))]
    )
    made.refresh()
    return made


def one(**columns: Any) -> Row:
    return replace(make_rows(random_vectors(1, 9), prefix="new/")[0], **columns)


ROWS = {
    "half a character in an id": {"id": HALF},
    "a number as id": {"id": 5},
    "bytes as id": {"id": b"film"},
    "no id": {"id": None},
    "half a character in a label": {"labels": (HALF,)},
    "no label": {"labels": (None,)},
    "a number as label": {"labels": (2**64 - 1,)},
    "bytes as label": {"absent": (b"x",)},
    "one text for labels": {"labels": "pneumonia"},
    "no labels": {"uncertain": None},
    "half a character in a data set": {"dataset": HALF},
    "a number as view": {"view": 3},
    "a number as batch": {"batch": 7},
    "half a character in a batch": {"batch": HALF},
    "half a character in a source": {"source": HALF},
    "half a character in an own column": {"extra": {"who": HALF}},
    "too large a number": {"extra": {"ward": 2**64 - 1}},
    "a complex number": {"extra": {"ward": 1j}},
    "a list": {"extra": {"ward": [1]}},
    "an age that is a text": {"age": "60"},
    "a complex age": {"age": 60j},
    "an infinite age": {"age": float("inf")},
    "a width that is too large": {"width": 2**40},
    "a height that is a text": {"height": "28"},
    "a digest as text": {"sha256": "ab" * 16},
    "a number as picture": {"thumbnail": 5},
    "a picture as text": {"thumbnail": "png"},
    "no reader": {"pixel_reader": None},
    "half a reader": {"pixel_reader": 1.5},
    "a reader before the first": {"pixel_reader": -1},
    "a time as text": {"ingested_at": "2026-01-01"},
    "a day as time": {"ingested_at": date(2026, 1, 1)},
    "own columns that are none": {"extra": None},
    "own columns without names": {"extra": [1]},
    "a complex vector": {"embedding": np.ones(8) * (1 + 1j) / np.sqrt(8)},
    "a vector of texts": {"embedding": np.array(["a"] * 8)},
    "a list as vector": {"embedding": [1.0] + [0.0] * 7},
}


@pytest.mark.parametrize("columns", ROWS.values(), ids=ROWS)
def test_rows(gallery: Gallery, columns: dict[str, Any]) -> None:
    with pytest.raises(BadRows) as refused:
        gallery.upsert([one(), one(**{"id": "new/1"} | columns)])
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400
    str(refused.value).encode()  # it can be printed
    image = {"width", "height", "sha256", "thumbnail", "embedding", "pixel_reader", "ingested_at"}
    metadata = image.isdisjoint(columns)
    if metadata:
        with pytest.raises(BadRows):
            gallery.update_metadata([one(**{"id": "set/test/1"} | columns)])
    gallery.refresh()
    assert len(gallery) == 5


QUESTIONS: dict[str, tuple[type[CxrError], Callable[[Gallery], object]]] = {
    "k of 2.5": (BadQuery, lambda g: g.search(random_vectors(1), k=2.5)),
    "k as text": (BadQuery, lambda g: g.search(random_vectors(1), k="3")),
    "k by id": (BadQuery, lambda g: g.search_by_id("set/test/0", k=2.5)),
    "no k": (BadQuery, lambda g: g.search(random_vectors(1), k=None)),
    "a complex query": (BadQuery, lambda g: g.search(random_vectors(1) * (1 + 0j), 3)),
    "a query of texts": (BadQuery, lambda g: g.search([["a"] * 8], 3)),
    "a query of two lengths": (BadQuery, lambda g: g.search([[1.0], [0.0, 1.0]], 3)),
    "no query": (BadQuery, lambda g: g.search(None, 3)),
    "one text to leave out": (
        BadQuery,
        lambda g: g.search(random_vectors(1), 3, exclude="set/test/0"),
    ),
    "an unknown half id": (UnknownId, lambda g: g.search_by_id(HALF, 3)),
    "a number as id": (UnknownId, lambda g: g.search_by_id(5, 3)),
    "vectors of one text": (BadQuery, lambda g: g.vectors("set/test/0")),
    "a row of a number": (UnknownId, lambda g: g.row(5)),
    "pictures of bytes": (UnknownId, lambda g: g.thumbnails([b"set/test/0"])),
    "delete a half id": (UnknownId, lambda g: g.delete(ids=[HALF])),
    "delete a number": (UnknownId, lambda g: g.delete(ids=[5])),
    "delete one text": (BadQuery, lambda g: g.delete(ids="set/test/0")),
    "delete a half batch": (BadFilter, lambda g: g.delete(batch=HALF)),
    "undo a half batch": (BadFilter, lambda g: g.undo(HALF)),
    "undo a batch without a name": (BadQuery, lambda g: g.undo("")),
    "a reader as text": (BadRows, lambda g: g.set_readers({"set/test/0": "2"})),
    "too late a reader": (BadRows, lambda g: g.set_readers({"set/test/0": 2**64 - 1})),
    "a half label": (BadFilter, lambda g: g.ids(Where(label=(HALF,)))),
    "no label": (BadFilter, lambda g: g.ids(Where(label=(None,)))),
    "a label of numbers": (BadFilter, lambda g: g.ids(Where(label=(2**64 - 1,)))),
    "an own number": (BadFilter, lambda g: g.ids(Where(extra=(("ward", 2**64 - 1),)))),
    "an own half text": (BadFilter, lambda g: g.ids(Where(extra=(("who", HALF),)))),
    "an own column without a value": (BadFilter, lambda g: g.ids(Where(extra=("ward",)))),
    "an age that no float is": (BadFilter, lambda g: g.ids(Where(age_min=10**400))),
    "an age as text": (BadFilter, lambda g: g.ids(Where(age_min="3"))),
    "a condition": (BadFilter, lambda g: parse_where([f"label={HALF}"])),
}


@pytest.mark.parametrize(("kind", "ask"), QUESTIONS.values(), ids=QUESTIONS)
def test_questions(
    gallery: Gallery, kind: type[CxrError], ask: Callable[[Gallery], object]
) -> None:
    with pytest.raises(kind) as refused:
        ask(gallery)
    assert "\n" not in str(refused.value)
    str(refused.value).encode()
    assert len(gallery) == 5


def test_what_is_only_looked_up_is_not_there(gallery: Gallery) -> None:
    assert gallery.rows([HALF, 5, "set/test/0"]).keys() == {"set/test/0"}  # type: ignore[list-item]
    assert len(gallery.search(random_vectors(1), 5, exclude=[HALF, 5])[0]) == 5  # type: ignore[list-item]


def test_large_numbers_in_filters(gallery: Gallery) -> None:
    for condition in ("ward=18446744073709551615", "ward=1e300..", "ward=..-9223372036854775809"):
        assert gallery.ids(parse_where([condition], gallery.columns())) == []
    assert len(gallery.ids(parse_where(["ward=3..18446744073709551615"], ["ward"]))) == 5


def test_numpys_scalars_are_numbers(gallery: Gallery) -> None:
    row = one(
        id=np.str_("new/it's"),
        labels=[np.str_("mass")],
        age=np.float32(60),
        width=np.int64(28),
        extra={
            "ward": np.int16(4),
            "who": np.str_("b"),
            "cured": np.bool_(True),
            "w": np.float32(2),
        },
        batch="one",
    )
    gallery.upsert([row])
    assert gallery.upsert([row]).unchanged == 1
    gallery.refresh()
    stored = gallery.row("new/it's")
    assert (stored.labels, stored.age, stored.width) == (("mass",), 60.0, 28)
    assert dict(stored.extra) == {"ward": 4, "who": "b", "cured": True, "w": 2.0}
    assert len(gallery.search(random_vectors(1).astype(np.float16), np.int64(3))[0]) == 3
    assert gallery.undo("one").removed == 1


def test_numbers_that_change_their_kind_can_be_undone(gallery: Gallery) -> None:
    first = one(id="a", age=60, extra={"ward": 7}, batch="one")
    gallery.upsert([first])
    second = one(id="a", age=61, extra={"ward": 8}, batch="two", sha256=bytes(32))
    gallery.upsert([second])
    gallery.upsert([one(id="b", extra={"ward": 7.5}, batch="three")])  # now a column of floats
    assert gallery.undo("two").restored == 1
    assert gallery.rows(["a"])["a"].extra["ward"] == 7


def test_a_nul_is_a_character(gallery: Gallery) -> None:
    gallery.upsert([one(id="a\0b", labels=("x\0",), extra={"who": "\0"}), one(id="a")])
    gallery.refresh()
    assert gallery.ids(Where(label=("x\0",))) == ["a\0b"]
    assert gallery.ids(Where(extra=(("who", "\0"),))) == ["a\0b"]
    assert gallery.delete(ids=["a\0b"]) == 1
    assert gallery.rows(["a", "a\0b"]).keys() == {"a"}


def test_ids_that_are_nearly_the_same_are_two(gallery: Gallery) -> None:
    ids = [
        "Film",
        "film",
        "film ",
        " film",
        "\u00e9",
        "e\u0301",
        "\u212b",
        "\u00c5",
        "1",
        "01",
        "1.0",
    ]
    vectors = random_vectors(len(ids), 4)
    rows = [replace(row, id=id_) for row, id_ in zip(make_rows(vectors), ids, strict=True)]
    assert gallery.upsert(rows).inserted == len(ids)
    gallery.refresh()
    for id_, vector in zip(ids, vectors, strict=True):
        np.testing.assert_array_equal(gallery.vectors([id_])[0], vector)
    for number, id_ in enumerate(ids, start=1):
        assert gallery.delete(ids=[id_]) == 1
        gallery.refresh()
        assert len(gallery) == 5 + len(ids) - number


def test_dates_stay_dates(gallery: Gallery) -> None:
    gallery.upsert([one(extra={"on": date(2024, 2, 29)}), one(id="x", extra={"on": date(1, 1, 1)})])
    gallery.refresh()
    found = parse_where(["on=2024-02-29"], gallery.columns())
    assert gallery.ids(found) == ["new/0"]


@pytest.mark.parametrize(
    "batch", ["\U0001fa7b" * 80, "x" * 300, "../..", ".", "a\0b", "-", "é" * 80]
)
def test_every_batch_has_a_file_name(batch: str, tmp_path: Path) -> None:
    name = file_name(batch)
    (tmp_path / f"{name}.json").write_text("{}")
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == [f"{name}.json"]
    assert file_name(f"{batch}x") != name
