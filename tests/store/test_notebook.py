"""Films in notebooks: HTML that escapes what films say, and data frames."""

from __future__ import annotations

import pickle
import re
from dataclasses import fields, replace
from datetime import date
from pathlib import Path

import pytest

from store import Gallery, Row, Where, evaluate_vectors, refined_search
from tests.store.rows import STAMP, make_rows, random_vectors

ODD = "<b>a&b</b>"
#: Bytes that begin like a PNG are all that HTML needs.
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    found = Gallery.create(tmp_path / "g", STAMP)
    labels = [(ODD,) if at % 2 else ("normal", "mass") for at in range(12)]
    extra = {"ward": 3, "taken": date(2024, 5, 1), "read": "<i>yes</i>"}
    found.upsert(make_rows(random_vectors(12), labels, thumbnail=PNG, extra=extra, age=40.0))
    return found


def test_hits_are_a_list_and_a_table(gallery: Gallery) -> None:
    hits = gallery.search_by_id("set/test/3", 5)
    table = hits.to_arrow()
    assert table["id"].to_pylist() == [hit.row.id for hit in hits]
    assert table["score"].to_pylist() == [hit.score for hit in hits]
    assert table["labels"].to_pylist() == [list(hit.row.labels) for hit in hits]
    assert table["ward"].to_pylist() == [3] * 5
    assert table["taken"].to_pylist() == [date(2024, 5, 1)] * 5
    assert hits.to_pandas()["rank"].tolist() == [1, 2, 3, 4, 5]
    assert hits.to_polars()["age"].to_list() == [40.0] * 5
    assert hits[1:3].to_arrow()["rank"].to_pylist() == [2, 3]
    again = pickle.loads(pickle.dumps(hits))
    assert again.to_arrow() == table
    assert refined_search(gallery, "set/test/3", 5, like=["set/test/4"]).to_arrow().num_rows == 5
    assert gallery.search(random_vectors(2), 3)[1].to_pandas().shape[0] == 3


def test_hits_of_words_are_a_table_too(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "w", STAMP)
    rows = make_rows(random_vectors(3), thumbnail=PNG)
    texts = ("Effusion.", "Small effusion, stable.", None)
    gallery.upsert([replace(row, report=one) for row, one in zip(rows, texts, strict=True)])
    hits = gallery.search_words("effusion", 3)
    table = hits.to_pandas()
    assert table["bm25"].tolist() == [hit.bm25 for hit in hits] == table["score"].tolist()
    assert table["words_rank"].tolist() == [1, 2]
    assert hits._repr_html_().count("<img") == 2
    both = gallery.search_words("effusion", 3, vectors=random_vectors(1))
    assert both.to_arrow()["cosine"].to_pylist() == [hit.cosine for hit in both]
    assert [hit.passage for hit in both[:1]] == [both[0].passage]


def test_html_shows_pictures_and_escapes(gallery: Gallery) -> None:
    hits = gallery.search_by_id("set/test/3", 5)
    for html in (hits._repr_html_(), gallery._repr_html_()):
        assert "data:image/png;base64," in html
        assert ODD not in html and "&lt;b&gt;a&amp;b" in html
        assert not re.search(r"<(script|iframe)|on\w+=", html)
    many = gallery.search_by_id("set/test/3", 11)
    assert many._repr_html_().count("<img") == 11
    assert gallery.search(random_vectors(1), 3, Where(label=("none",)))[0]._repr_html_()


def test_a_gallery_is_a_table(gallery: Gallery) -> None:
    table = gallery.to_arrow()
    assert table["id"].to_pylist() == gallery.ids()
    assert "embedding" not in table.column_names and "thumbnail" not in table.column_names
    film = gallery.rows(["set/test/1"])["set/test/1"]
    gallery.update_metadata([replace(film, report="Small effusion.")])
    told = gallery.to_arrow()  # the terms that searches in words look up are nobody's data
    named = {one.name for one in fields(Row)} | {*film.extra, "outcome"}
    assert {*told.column_names} <= named
    assert told["report"].to_pylist().count("Small effusion.") == 1
    assert {*table["outcome"].to_pylist()} == {"found"}
    some = gallery.to_pandas(Where(label=(ODD,)), vectors=True)
    assert len(some) == 6
    assert some["embedding"][0].tolist() == gallery.vectors([some["id"][0]])[0].tolist()
    assert gallery.to_polars().height == 12


def test_an_evaluation_is_a_table(gallery: Gallery) -> None:
    found = gallery.evaluate(split=None, k=(1, 5))
    frame = found.to_pandas()
    for k in (1, 5):
        line = frame[
            (frame["of"] == "encoder") & (frame["measure"] == "precision") & (frame.k == k)
        ]
        assert line["value"].item() == found.precision[k]
        assert (line["low"].item(), line["high"].item()) == found.ci95[k]
    assert {*frame["of"]} == {"encoder", "baseline", "label", "finding"}
    html = found._repr_html_()
    assert "<svg" in html and f"{found.precision[1]:.4f}" in html
    assert found.to_polars().height == len(frame) == found.to_arrow().num_rows


def test_an_evaluation_without_intervals_or_store_is_shown() -> None:
    found = evaluate_vectors(random_vectors(6), ["a", "a", "b", "b", "a", "b"], k=(1, 2))
    assert "P@2" in found._repr_html_()
