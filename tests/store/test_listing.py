"""Films in order, the doubt of their labels, and places of labels that stay."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import (
    BadQuery,
    Gallery,
    Where,
    audit,
    doubt_of_labels,
    film_order,
    given_places,
    label_places,
    ordered_columns,
    sort_films,
)
from tests.store.rows import STAMP, make_rows, random_vectors

AGES = [40.0, None, 61.5, 0.0, None, 40.0]
DAYS = [None, *(date(2024, 5, day) for day in (9, 1, 7, 3)), None]


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    rows = make_rows(random_vectors(6), [("a",), ("b",), ("a", "b"), (), ("a",), ("b",)])
    gallery = Gallery.create(tmp_path / "gallery", STAMP)
    gallery.upsert(
        [
            replace(row, id=name, age=age, extra={"taken": day, "ward": "x"})
            for row, name, age, day in zip(rows, "cabdfe", AGES, DAYS, strict=True)
        ]
    )
    gallery.refresh()
    return gallery


def test_films_are_in_order_and_those_without_a_value_come_last(gallery: Gallery) -> None:
    assert film_order(gallery).page(0, 10) == list("abcdef")
    assert film_order(gallery, descending=True).page(1, 2) == list("ed")
    up, down = film_order(gallery, "age"), film_order(gallery, "age", descending=True)
    assert up.page(0, 10) == list("dceb") + list("af")
    assert down.page(0, 10) == list("bced") + list("af")  # equal ones by id in both
    assert up.without == down.without == 2
    assert [up.value(at) for at in range(6)] == [0, 40, 40, 61.5, None, None]
    assert film_order(gallery, "taken").page(0, 4) == list("bfda")
    assert len(film_order(gallery, "ingested_at")) == 6
    assert film_order(gallery, "age", Where(label=("a",))).page(0, 10) == list("cbf")
    assert len(film_order(gallery, where=Where(label=("nowhere",)))) == 0


def test_what_films_are_ordered_by_is_said_where_it_is_something_else(gallery: Gallery) -> None:
    assert ordered_columns(gallery) == {"age": "float", "taken": "date"}
    with pytest.raises(BadQuery, match="not ordered by 'ward'; expected one of id, ingested_at"):
        film_order(gallery, "ward")


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=True, width=32))), st.booleans())
def test_the_order_is_that_of_python(values: list[float | None], down: bool) -> None:
    ids = [f"{at:03}" for at in range(len(values))]
    table = pa.table({"id": pa.array(ids, pa.string()), "x": pa.array(values, pa.float64())})
    found = sort_films(table, "x", down)
    known = [
        (value, id_)
        for value, id_ in zip(values, ids, strict=True)
        if value is not None and not math.isnan(value)
    ]
    expected = sorted(known, key=lambda one: (-one[0] if down else one[0], one[1]))
    rest = sorted(set(ids) - {id_ for _, id_ in known})
    assert found.page(0, len(ids)) == [id_ for _, id_ in expected] + rest
    assert found.without == len(rest)


def test_the_doubt_of_labels_is_that_of_the_audit(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path, STAMP)
    labels = [("ab"[at % 3 == 0],) for at in range(30)] + [()] * 3
    gallery.upsert(make_rows(random_vectors(33), labels))
    gallery.refresh()
    found = {row["id"]: row for row in doubt_of_labels(gallery, 5).to_pylist()}
    assert len(found) == 30  # the rest is not labelled
    for one in audit.doubtful(gallery, 5).films:
        row = found[one.film.id]
        assert (row["doubt"], row["said"]) == (one.disagreement, one.said)
        assert (row["votes"], row["asked"]) == (one.votes, one.asked)
    with pytest.raises(BadQuery, match="no labelled film"):
        empty = Gallery.create(tmp_path / "unlabelled", STAMP)
        empty.upsert(make_rows(random_vectors(3), [()] * 3))
        doubt_of_labels(empty)


NAMES = st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=12)


@given(NAMES, NAMES)
def test_a_label_keeps_its_place_when_others_come_and_go(some: list[str], more: list[str]) -> None:
    before = given_places(some)
    after = given_places(more, before)
    assert {name: after[name] for name in some} == before
    places = [after[name] for name in {*some, *more}]
    assert len(set(places)) == len(places)  # no two labels look alike
    assert len({place % 8 for place in before.values()}) == min(8, len(some))


def test_more_labels_than_places_share_the_look_of_none() -> None:
    first = given_places([f"finding {at}" for at in range(64)])
    assert sorted(first.values()) == list(range(64))
    later = given_places(["one more", "finding 1"], first)
    assert later["finding 1"] == first["finding 1"]
    assert len(later) == 2  # labels that are gone made room


def test_places_are_kept_beside_the_gallery_where_it_can_be_written(gallery: Gallery) -> None:
    first = label_places(gallery, ["a", "b"])
    assert label_places(Gallery.open(gallery.uri), ["a", "b", "c"]).items() >= first.items()
    [path] = Path(gallery.uri).rglob("label-places.json")
    path.write_text(json.dumps({"a": 60, "b": "nonsense"}))
    assert label_places(gallery, ["a", "b"]) == first  # a damaged file is made again
    path.write_text(json.dumps({"a": 60}))
    assert label_places(gallery, ["a", "b"])["a"] == 60
    path.unlink()
    path.mkdir()  # nothing can be written there
    assert label_places(gallery, ["a", "b"]) == first
