"""Reports of the films nearest to one: each once, the own patient's left out, filters before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from store import BadFilter, BadQuery, Gallery, Row, UnknownId, Where, nearest_reports, passes
from tests.store.rows import STAMP, make_rows, random_vectors, unit


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """Films along an arc in the order of their numbers; 0 and those from 30 have no report."""
    angles = np.linspace(0, 1, 40)
    vectors = np.zeros((40, 8))
    vectors[:, 0], vectors[:, 1] = np.cos(angles), np.sin(angles)
    rows = make_rows(unit(vectors))
    gallery = Gallery.create(tmp_path / "g", STAMP)
    gallery.upsert([replace(row, **told(at)) for at, row in enumerate(rows)])
    gallery.refresh()
    return gallery


def told(at: int) -> dict[str, object]:
    report = None if at == 0 or at > 29 else f"text {at // 3}"
    return {"report": report, "patient": f"p{at // 3}", "view": "PA" if at % 2 else "AP"}


def texts(found: list) -> list[tuple[int, str, list[str]]]:
    return [
        (one.rank, one.report, [row.id.rpartition("/")[2] for row in one.films]) for one in found
    ]


def test_each_report_stands_once_with_its_films(gallery: Gallery) -> None:
    found = nearest_reports(gallery, "set/test/0", 2)
    assert [(rank, text, films[:3]) for rank, text, films in texts(found)] == [
        (1, "text 0", ["1", "2"]),
        (2, "text 1", ["3", "4", "5"]),
    ]
    assert found[0].score == gallery.search_by_id("set/test/0", 1)[0].score
    by_vector = nearest_reports(gallery, gallery.vectors(["set/test/0"])[0], 2)
    assert texts(by_vector)[0][1] == "text 0"
    assert [one.report for one in nearest_reports(gallery, "set/test/0", 40)] == [
        f"text {at}" for at in range(10)
    ]


def test_films_without_a_report_take_no_part(gallery: Gallery) -> None:
    assert nearest_reports(gallery, "set/test/39", 1)[0].report == "text 9"
    where = Where(view=("AP",))
    assert texts(nearest_reports(gallery, "set/test/39", 1, where=where)) == [(1, "text 9", ["28"])]
    for text, found in (("yes", 3), ("no", 0)):
        where = Where(extra=(("has_report", text), ("has_report", text)))
        assert len(nearest_reports(gallery, "set/test/0", 3, where=where)) == found


def test_the_own_patient_is_left_out(gallery: Gallery) -> None:
    found = nearest_reports(gallery, "set/test/4", 2, other_patients=True)
    assert {one.report for one in found} == {"text 0", "text 2"}
    found = nearest_reports(gallery, "set/test/4", 1, exclude=["set/test/3", "set/test/5"])
    assert found[0].report != "text 1"


def test_bad_queries(gallery: Gallery, tmp_path: Path) -> None:
    for k in (0, True, 1.5):
        with pytest.raises(BadQuery, match=r"expected 1 or more reports"):
            nearest_reports(gallery, "set/test/0", k)  # type: ignore[arg-type]
    with pytest.raises(UnknownId):
        nearest_reports(gallery, "nobody", 1)
    with pytest.raises(BadQuery, match="empty"):
        nearest_reports(Gallery.create(tmp_path / "empty", STAMP), random_vectors(1)[0], 1)


def test_the_filter_of_films_with_a_report(gallery: Gallery) -> None:
    with_it, without = (Where(extra=(("has_report", one),)) for one in ("yes", "no"))
    both = [*gallery.ids(with_it), *gallery.ids(without)]
    assert len(gallery.ids(with_it)) == 29 and sorted(both) == gallery.ids()
    rows: dict[str, Row] = gallery.rows(gallery.ids())
    assert {id_ for id_, row in rows.items() if passes(row, with_it)} == {*gallery.ids(with_it)}
    assert {id_ for id_, row in rows.items() if passes(row, without)} == {*gallery.ids(without)}
    with pytest.raises(BadFilter, match="true or false"):
        gallery.ids(Where(extra=(("has_report", "maybe"),)))
