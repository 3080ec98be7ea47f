"""The page of all films: its order, its filters, its address. And words that lead to labels."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import date

import pytest

from store import Gallery
from tests.ui import films
from tests.ui.page import opened
from ui import notices
from ui.dashboard import shared
from ui.dashboard.browse import listing as of
from ui.dashboard.browse.listing import Listing

ORDERS = {"id": "id", "added": "date", "own.taken": "date", "age": "age", "doubt": "doubt"}


@pytest.fixture(scope="module")
def made(drawn, tmp_path_factory):
    """(gallery with ages and days, encoder folder), never written to."""
    store = tmp_path_factory.mktemp("browse") / "gallery"
    rows = [
        replace(
            films.film(number, "train"),
            labels=("COVID-19",) if number < 3 else ("normal",),
            age=None if number == 4 else 30.0 + 7 * number % 40,
            extra={"taken": date(2024, 1, 28 - number)},
        )
        for number in range(25)
    ]
    films.add(store, drawn[1], rows)
    return store, drawn[1]


@pytest.fixture
def page(made, monkeypatch):
    def start(link=(), page="films"):
        if page is None:
            return opened(monkeypatch, *made, link)
        test = opened(monkeypatch, *made, (), page)
        for name, value in dict(link).items():
            test.query_params[name] = value
        return test.run() if link else test

    return start


def shown(test) -> list[str]:
    assert not test.exception, test.exception
    return [
        one.key.removeprefix("more-") for one in test.button if (one.key or "").startswith("more-")
    ]


def said(test) -> str:
    return "\n".join(box.value for box in [*test.caption, *test.info, *test.warning])


def params(test) -> dict:
    return dict(test.query_params)


def test_all_films_page_by_page(page, made):
    ids = Gallery.open(made[0]).ids()
    test = page()
    assert shown(test) == ids[:20]
    assert "Films 1 to 20 of 25" in said(test)
    test = page({"page": "2"})
    assert shown(test) == ids[20:]
    test = page({"page": "9"})
    assert shown(test) == ids[20:]
    assert "There is no page 9; this is the last one, page 2." in said(test)


def test_sorted_by_age_and_by_a_day_of_ones_own(page, made):
    rows = Gallery.open(made[0]).rows(Gallery.open(made[0]).ids())
    test = page({"sort": "age", "order": "descending"})
    known = sorted((id_ for id_ in rows if rows[id_].age is not None), key=lambda i: -rows[i].age)
    assert [rows[id_].age for id_ in shown(test)] == [rows[id_].age for id_ in known[:20]]
    assert "last, 1 film without age" in said(test)
    test = page({"sort": "own.taken"})
    assert shown(test)[:3] == ["drawn/train/0", "drawn/train/1", "drawn/train/2"]  # newest first
    assert "taken: 2024-01-28" in "".join(one.body for one in test.get("html"))


def test_what_is_chosen_is_in_the_address(page):
    test = page()
    test.selectbox(key="box-films-sort").set_value("own.taken").run()
    assert params(test) == {"sort": "own.taken"}
    test.button_group(key="box-films-way").set_value(False).run()
    assert params(test) == {"sort": "own.taken", "order": "ascending"}
    assert shown(test)[0] == "drawn/train/24"
    test.button_group(key="box-label").set_value(["COVID-19"]).run()
    assert shown(test) == [f"drawn/train/{number}" for number in (2, 1, 0)]
    assert params(test)["label"] == "COVID-19"
    test.switch_page("views/search.py").run()
    assert params(test) == {"label": "COVID-19"}  # one choice of filters for both pages


def test_doubtful_labels_come_first(page, made):
    test = page({"sort": "doubt"})
    text = "".join(one.body for one in test.get("html"))
    assert " of 10 neighbours: " in text
    assert {"drawn/train/0", "drawn/train/1", "drawn/train/2"} <= set(shown(test)[:8])


@pytest.mark.parametrize(
    ("link", "note"),
    [
        ({"sort": "<script>"}, "which these films are not sorted by"),
        ({"order": "sideways"}, "is neither ascending nor descending"),
        ({"page": "-3"}, "is no page"),
        ({"page": "²"}, "is no page"),
        ({"label": "nothing"}, "This gallery has no label 'nothing'"),
    ],
)
def test_nonsense_in_a_link_is_said(page, link, note):
    test = page(link)
    assert len(shown(test)) == 20
    assert note in said(test).replace("\\", "")


def test_a_listing_survives_its_address():
    known = {"label": ["a b", "ü&=?#"]}
    for listing in (
        Listing(),
        Listing({"label": ("ü&=?#", "a b")}, "own.taken", False, 3),
        Listing(by="doubt", down=True),
        Listing(by="id", down=True, page=2),
    ):
        assert of.from_link(of.to_link(listing, ORDERS), known, ORDERS) == (listing, [])


def test_orders_are_those_that_a_gallery_has():
    kinds = {"taken": "date", "beds": "int", "ward": "string"}
    assert list(of.orders(kinds, {"age": []}, True)) == [
        *("id", "added", "own.taken", "age", "doubt", "own.beds")
    ]
    assert list(of.orders({}, {}, False)) == ["id", "added"]


# -- a sentence that is a label here ---------------------------------------------------------


def test_a_sentence_that_is_a_label_here_leads_to_its_films(page, monkeypatch, made, cxr):
    from ingest.encoders import Encoder
    from ingest.encoders.understanding import Understanding

    monkeypatch.setattr(Encoder, "understands", lambda *_: Understanding(False, "it is unknown"))
    test = page({"text": "covid 19"}, None)
    [offer] = [one for one in test.button if one.key == "labelled-COVID-19"]
    assert offer.label.replace("\\", "") == "See 3 films labelled COVID-19"
    code, _, err = cxr("search", "--store", made[0], "--encoder", made[1], "--text", "COVID-19")
    assert code == 0
    assert "'COVID-19' is a label here, of 3 films" in err
    assert "cxr search --id drawn/train/0 --where label=COVID-19" in err


def test_labels_that_a_sentence_names():
    names = ["COVID-19", "Effusion", "Pleural effusion", "normal", "()"]
    meant = notices.labels_meant
    assert meant("covid-19", names) == ["COVID-19"]
    assert meant("a film with pleural EFFUSION and Covid_19", names) == [
        *("Pleural effusion", "COVID-19")
    ]
    assert meant("effusions, abnormal", names) == []
    assert meant("", names) == []


def test_colours_stay_when_a_label_is_added(made, tmp_path):
    def colours() -> dict[str, tuple[str, str]]:
        labels = shared.labels(Gallery.open(tmp_path / "gallery"))
        return {name: labels.mark(name) for name in labels.names}

    shutil.copytree(made[0], tmp_path / "gallery")
    before = colours()
    extra = [
        replace(films.film(100 + at, "test"), labels=(name,))
        for at, name in enumerate(("Aaa", "Mass", "Nodule", "zzz", "Hernia", "Edema"))
    ]
    films.add(tmp_path / "gallery", made[1], extra)
    after = colours()
    assert {name: after[name] for name in before} == before
    assert len(set(after.values())) == len(after) == 8
