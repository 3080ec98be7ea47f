"""Filters on age and on the user's own columns: at the side, in links, and wherever others work."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import Gallery, parse_where, passes
from store.table.column_stats import Range
from tests.ui import films
from tests.ui.page import opened

pytest.importorskip("streamlit")

from ui.dashboard import shared
from ui.dashboard.search import answer, download, link, ranges, session, state
from ui.dashboard.search.state import Search

ASK = "drawn/train/3"
NASTY = "<b>x</b> **y** ' OR 1=1 " + "long " * 30
DAY = date(2024, 1, 1)


def columns_of(n: int) -> dict[str, object]:
    """Own columns of film n: of every kind, each blank in some films."""
    found = {
        "ward": ("ICU", "Ward 3", "it's 1..2")[n % 3] if n % 5 else None,
        "urgent": n % 2 == 0 if n % 7 else None,
        "beds": n % 6 if n % 9 else None,
        "score": n / 8 if n % 4 else None,
        "taken": DAY + timedelta(days=9 * n) if n % 6 else None,
        "k": ("page", "text")[n % 2],
        "same": "alike",
    }
    return {name: value for name, value in found.items() if value is not None}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(gallery, encoder folder), shared and never written to."""
    root = tmp_path_factory.mktemp("own")
    encoder = films.tiny_clip(root / "tiny-clip")
    records = [
        replace(films.film(n, "train"), age=20.0 + 2 * n if n % 8 else None, extra=columns_of(n))
        for n in range(40)
    ]
    films.add(root / "gallery", encoder, records)
    return root / "gallery", encoder


@pytest.fixture(scope="module")
def gallery(made):
    return Gallery.open(made[0])


@pytest.fixture(scope="module")
def known(gallery):
    return shared.known(gallery)


@pytest.fixture
def app(made, monkeypatch):
    """Open a page: app(query parameters, store=, page=)."""

    def start(link=(), store=made[0], page=None):
        test = opened(monkeypatch, store, made[1], link, page)
        assert not test.exception, test.exception
        return test

    return start


def shown(test) -> list[str]:
    assert not test.exception, test.exception
    return [b.key.removeprefix("more-") for b in test.button if (b.key or "").startswith("more-")]


def said(test) -> str:
    boxes = [*test.info, *test.warning, *test.error, *test.caption]
    return "\n".join(box.value.replace("\\", "") for box in boxes)


def params(test) -> dict:
    return dict(test.query_params)


def slider(test, facet):
    [found] = [one for one in test.slider if one.key.startswith(f"box-{facet}-")]
    return found


def expected(gallery, *conditions: str, k: int = 10) -> list[str]:
    where = parse_where(conditions, gallery.columns())
    return [hit.row.id for hit in gallery.search_by_id(ASK, k, where)]


def labels(test) -> list[str]:
    sides = [*test.slider, *test.button_group, *test.multiselect, *test.date_input]
    return [one.label.replace("\\", "") for one in sides]


# -- at the side ------------------------------------------------------------------------------


def test_a_gallery_without_ages_and_own_columns_has_no_such_filters(app, made, tmp_path):
    films.add(tmp_path / "gallery", made[1], [films.film(n, "train") for n in range(12)])
    test = app({"id": ASK}, store=tmp_path / "gallery")
    assert sorted(labels(test)) == ["Hits on a page", "Label", "Split"]
    assert not [one for one in test.expander if "Own" in one.label]


def test_every_kind_of_column_has_its_filter_with_live_counts(app):
    test = app({"id": ASK})
    assert {"Age in years (35)", "beds (35)", "score (30)", "urgent", "ward", "k"} <= {
        *labels(test)
    }
    assert "same" not in labels(test)  # every film says the same
    assert [one.label for one in test.date_input] == ["taken from (33)", "taken to"]
    assert (slider(test, "age").min, slider(test, "age").max) == (22, 98)
    assert slider(test, "age").value == (22, 98)
    test.button_group(key="box-own.urgent").set_value(["true"]).run()
    urgent = [n for n in range(40) if n % 7 and n % 2 == 0]
    ward = test.button_group(key="box-own.ward").proto.options
    counts = [len([n for n in urgent if columns_of(n).get("ward") == name]) for name in
              ("ICU", "Ward 3", "it's 1..2")]  # fmt: skip
    assert [one.content.replace("\\", "") for one in ward] == [
        f"{name} ({count})"
        for name, count in zip(("ICU", "Ward 3", "it's 1..2"), counts, strict=True)
    ]
    assert f"Age in years ({len([n for n in urgent if n % 8])})" in labels(test)


def test_handles_choose_ages_and_the_full_range_is_no_filter(app, gallery):
    test = app({"id": ASK, "k": "50"})
    assert len(shown(test)) == 39  # also those without an age
    slider(test, "age").set_value((40, 60)).run()
    assert params(test) == {"id": ASK, "k": "50", "age": "40..60"}
    assert shown(test) == expected(gallery, "age=40..60", k=39)
    slider(test, "age").set_value((40, 98)).run()
    assert params(test)["age"] == "40.."
    slider(test, "age").set_value((22, 98)).run()
    assert "age" not in params(test)
    assert len(shown(test)) == 39


def test_handles_and_days_of_own_columns(app, gallery):
    test = app({"id": ASK})
    slider(test, "own.score").set_value((0.5, 2.25)).run()
    slider(test, "own.beds").set_value((2, 5)).run()
    assert params(test) == {"id": ASK, "own.score": "0.5..2.25", "own.beds": "2.."}
    assert shown(test) == expected(gallery, "score=0.5..2.25", "beds=2..")
    first, last = test.date_input
    first.set_value(date(2024, 2, 1)).run()
    assert params(test)["own.taken"] == "2024-02-01.."
    last.set_value(date(2024, 4, 1)).run()
    assert params(test)["own.taken"] == "2024-02-01..2024-04-01"
    days = "taken=2024-02-01..2024-04-01"
    assert shown(test) == expected(gallery, "score=0.5..2.25", "beds=2..", days)
    first, last = test.date_input
    first.set_value(date(2024, 9, 9)).run()  # after the last day: that one gives way
    assert params(test)["own.taken"] == "2024-09-09.."
    assert test.date_input[1].value is None


def test_several_values_of_one_own_column_mean_any_of_them(app, gallery):
    test = app({"id": ASK})
    test.button_group(key="box-own.ward").set_value(["ICU", "it's 1..2"]).run()
    assert params(test)["own.ward"] == ["ICU", "it's 1..2"]
    assert shown(test) == expected(gallery, "ward=ICU", "ward=it's 1..2")


def test_chips_take_filters_off_one_by_one_and_all_at_once(app):
    test = app({"id": ASK, "age": "40..", "own.ward": ["ICU", "Ward 3"], "own.beds": "..3"})
    chips = {b.label.replace("\\", ""): b for b in test.button if (b.key or "").startswith("off-")}
    assert [*chips] == ["age: from 40", "beds: up to 3", "ward: ICU", "ward: Ward 3"]
    chips["ward: ICU"].click().run()
    assert params(test)["own.ward"] == "Ward 3"
    [chip] = [b for b in test.button if b.label.replace("\\", "") == "age: from 40"]
    chip.click().run()
    assert "age" not in params(test)
    assert slider(test, "age").value == (22, 98)
    [clear] = [b for b in test.button if b.label == "Clear filters"]
    clear.click().run()
    assert params(test) == {"id": ASK}
    assert slider(test, "own.beds").value == (0, 5)


def test_many_own_columns_are_folded_until_one_filters(app):
    def box(test):
        [found] = [one for one in test.expander if one.label == "Own columns (6)"]
        return found.proto

    assert not box(app({"id": ASK})).expanded
    test = app({"id": ASK, "own.beds": "3"})
    assert box(test).expanded
    [chip] = [b for b in test.button if (b.key or "").startswith("off-")]
    chip.click().run()
    assert box(test).expanded  # who takes it off again is not thrown out


def test_what_empties_the_set_is_named_with_a_way_out(app):
    test = app({"id": ASK, "own.urgent": "true", "own.k": "text"})  # even and odd
    assert "No film passes k text and urgent true" in said(test)
    [way] = [b for b in test.button if b.label.startswith("Without the urgent filter")]
    way.click().run()
    assert params(test) == {"id": ASK, "own.k": "text"}
    assert len(shown(test)) == 10


def test_any_film_is_one_that_passes(app, gallery):
    test = app({"age": "90..", "own.ward": "ICU"})
    [dice] = [b for b in test.button if b.label == "Random film"]
    dice.click().run()
    where = parse_where(["age=90..", "ward=ICU"], gallery.columns())
    assert params(test)["id"] in gallery.ids(where)


def test_names_and_values_are_shown_as_text_and_cut(app, made, tmp_path):
    name = "a_" * 40
    other = NASTY + "another end"
    records = [
        replace(films.film(n, "train"), extra={name: (NASTY, other)[n % 2], "n": n})
        for n in range(8)
    ]
    films.add(tmp_path / "gallery", made[1], records)
    test = app({"own." + name: NASTY, "id": "drawn/train/2"}, store=tmp_path / "gallery")
    [choice] = [one for one in test.multiselect if one.key == f"box-own.{name}"]
    assert len(choice.label.replace("\\", "")) == 40
    assert "<b>" not in choice.label
    assert "**" not in choice.label
    assert len(set(choice.options)) == 2  # alike where they are cut, and still told apart
    assert all("\\<b\\>" in text and "\\*\\*y" in text for text in choice.options)
    [chip] = [b for b in test.button if (b.key or "").startswith("off-")]
    assert len(chip.label.replace("\\", "")) < 110
    assert sorted(shown(test)) == [f"drawn/train/{n}" for n in (0, 4, 6)]
    choice.set_value([other]).run()
    assert params(test)["own." + name] == other


def test_a_filter_goes_when_its_column_no_longer_reaches_there(app, made, tmp_path):
    store = tmp_path / "gallery"
    records = [replace(films.film(n, "train"), age=20.0 + n) for n in range(12)]
    growing = films.add(store, made[1], records)
    test = app({"id": "drawn/train/1", "age": "30.."}, store=store)
    assert sorted(shown(test)) == ["drawn/train/10", "drawn/train/11"]
    growing.delete(ids=["drawn/train/10", "drawn/train/11"])
    test.run()
    assert "some age filters no longer exist" in said(test)
    assert params(test) == {"id": "drawn/train/1"}
    assert slider(test, "age").value == (20, 29)


# -- links ------------------------------------------------------------------------------------


def test_links_carry_them_and_names_clash_with_nothing(app, gallery, known):
    search = Search(id=ASK, k=7, page=2, like=("drawn/train/5",), pair="drawn/train/9")
    for facet, values in (
        ("own.k", ["page"]),
        ("own.taken", ["2024-02-01..2024-09-30"]),
        ("own.score", ["..4.5"]),
        ("age", ["30..90"]),
        ("own.urgent", ["true"]),
        ("label", ["normal"]),
    ):
        search = search.choose(facet, values)
    assert [*search.filters] == ["label", "age", "own.k", "own.score", "own.taken", "own.urgent"]
    there = link.to_link(search)
    assert link.from_link(there, known) == (search, [])
    assert (there["k"], there["own.k"], there["age"]) == (["7"], ["page"], ["30..90"])
    test = app({**link.to_link(replace(search, page=1, pair=None, like=()))})
    conditions = ["label=normal", "age=30..90", "k=page", "score=..4.5", "urgent=true"]
    days = "taken=2024-02-01..2024-09-30"
    assert shown(test) == expected(gallery, *conditions, days, k=7)
    assert slider(test, "age").value == (30, 90)
    assert [one.value for one in test.date_input] == [date(2024, 2, 1), date(2024, 9, 30)]


@pytest.mark.parametrize(
    ("asked_for", "message"),
    [
        ({"age": "old"}, "The link's filter age=old: expected a number"),
        ({"age": "60..40"}, "age=60..40 is empty; put the lower bound first"),
        ({"age": ".."}, "age=..: expected a number"),
        ({"age": "nan.."}, "age=nan..: expected a number"),
        ({"age": "200..300"}, "No film of this gallery has age 200 to 300"),
        ({"age": "9" * 300}, "range of age has 300 characters"),
        ({"age": ["30..40", "50..60"]}, "2 ranges of age; the last is used"),
        ({"own.beds": "many"}, "beds=many: expected a number"),
        ({"own.beds": "1 OR 1=1"}, "expected a number"),
        ({"own.taken": "1.5.2024"}, "taken=1.5.2024: expected a date"),
        (
            {"own.taken": "1999-01-01..1999-12-31"},
            "No film of this gallery has taken 1999-01-01 to 1999-12-31",
        ),
        ({"own.ward": "Moon"}, "no ward 'Moon'"),
        ({"own.urgent": "perhaps"}, "no urgent 'perhaps'"),
        ({"own.nothing": "1"}, "no filter on the column 'nothing'"),
        ({f"own.{n}": "1" for n in range(9)}, "the column '0', '1', '2' and 6 more"),
        ({"own." + "<script>alert(1)</script>" * 40: "1"}, "no filter on the column '<script>"),
        ({"own.": "1"}, "no filter on the column ''"),
    ],
)
def test_nonsense_in_a_link_is_a_sentence(app, asked_for, message):
    test = app({"id": ASK, **asked_for})
    assert message in said(test)
    assert len(said(test)) < 1500
    if "the last is used" in message:
        assert params(test) == {"id": ASK, "age": "50..60"}
    else:
        assert params(test) == {"id": ASK}
        assert len(shown(test)) == 10


def test_a_link_to_ages_of_a_gallery_without(app, made, tmp_path):
    films.add(tmp_path / "gallery", made[1], [films.film(n, "train") for n in range(6)])
    test = app({"age": "40..60"}, store=tmp_path / "gallery")
    assert "This gallery has no ages" in said(test)
    assert params(test) == {}


def test_the_usual_form_of_a_range_is_in_the_address(app):
    test = app({"id": ASK, "age": " 4e1 ..60.0", "own.beds": "3..3", "own.taken": "..20240501"})
    assert params(test) == {
        "id": ASK, "age": "40..60", "own.beds": "3", "own.taken": "..2024-05-01",
    }  # fmt: skip


def test_the_map_marks_the_hits_of_such_a_link(app, gallery, monkeypatch):
    from ui.dashboard import map_points

    marked = []
    monkeypatch.setattr(map_points, "marks", lambda of, search, found: marked.append(found) or [])
    test = app(page="map")
    for name, value in {"id": ASK, "own.ward": "ICU", "age": "..60"}.items():
        test.query_params[name] = value
    test.run()
    assert f"Marked: {ASK}" in said(test)
    assert marked == [[ASK, *expected(gallery, "ward=ICU", "age=..60")]]


def test_history_says_which_column(gallery):
    search = Search(id=ASK).choose("own.urgent", ["true"]).choose("age", ["40..60"])
    search = search.choose("label", ["normal"])
    assert session.title(search) == f"{ASK} · normal · age 40 to 60 · urgent true"


# -- taken away -------------------------------------------------------------------------------

SEARCHES = [
    {"age": ("40..60",)},
    {"age": ("41",), "label": ("pneumonia",)},
    {"own.ward": ("ICU", "it's 1..2"), "own.urgent": ("true",)},
    {"own.score": ("0.3..",), "own.beds": ("..4",), "own.taken": ("2024-02-01..",)},
    {"own.k": ("page",), "own.taken": ("2024-03-04",)},
]


@pytest.mark.parametrize("filters", SEARCHES, ids=str)
def test_command_line_and_python_give_the_page_s_hits(filters, gallery, capsys, monkeypatch):
    from ui import cli

    search = Search(id=ASK, k=6, filters=filters)
    found = answer.answer(gallery, search, None, len(gallery.ids(search.where)))
    expected = [(hit.rank, hit.row.id, f"{hit.score:.6f}") for hit in found.hits]
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", shlex.split(download.command(search, gallery.uri) + " --json"))
    with contextlib.suppress(SystemExit):
        cli.main()
    document = json.loads(capsys.readouterr().out)
    assert [(h["rank"], h["id"], f"{h['score']:.6f}") for h in document["hits"]] == expected
    assert download.document(search, found.hits, gallery.describe())["query"] == document["query"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(download.python(search, gallery.uri, "tiny-clip"), "recipe", "exec"), {})
    lines = [line.split("\t") for line in printed.getvalue().splitlines()]
    assert [(int(rank), id_, score) for rank, score, id_ in lines] == expected
    assert download.contact_sheet(gallery, search, found).startswith(b"%PDF-")


# -- the parts that need no page ----------------------------------------------------------------

FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "label": st.sampled_from([("normal",), ("normal", "pneumonia")]),
        "age": st.sampled_from([("40..60",), ("..22",), ("98",), ("22..98",)]),
        "own.ward": st.lists(st.sampled_from(["ICU", "Ward 3", "it's 1..2"]), min_size=1).map(
            tuple
        ),
        "own.urgent": st.sampled_from([("true",), ("false",), ("true", "false")]),
        "own.beds": st.sampled_from([("0..2",), ("5",), ("3..",)]),
        "own.score": st.sampled_from([("..0.125",), ("1..4.5",)]),
        "own.taken": st.sampled_from([("..2024-03-01",), ("2024-06-01..2024-07-09",)]),
    },
)


@given(filters=FILTERS)
def test_a_film_passes_as_the_store_decides(gallery, filters):
    rows = gallery.rows(gallery.ids())
    where = state.where(filters)
    passing = [id_ for id_ in gallery.ids() if passes(rows[id_], where)]
    assert passing == gallery.ids(where)


finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.tuples(st.just("float"), finite, finite) | st.tuples(
    st.just("int"), st.integers(-(2**53), 2**53), st.integers(-(2**53), 2**53)
)


@given(numbers, st.sampled_from(["age", "own.x"]), st.floats(0, 1), st.floats(0, 1))
def test_handles_say_what_they_show(column, facet, left, right):
    kind, *ends = column
    of = Range(kind, *sorted(ends), 3)
    on = ranges.scale(facet, of)
    if on is None:
        assert ranges.shown(facet, of, ()) == {}
        return
    [box] = ranges.boxes(facet, of)
    assert on.low <= of.low < of.high <= on.high
    assert len({type(one) for one in (on.low, on.high, on.step)}) == 1
    assert 1 < (on.high - on.low) / on.step < 2100
    assert ranges.shown(facet, of, ()) == {box: (on.low, on.high)}
    assert ranges.chosen(facet, of, {box: (on.low, on.high)}, box) == ""
    steps = sorted(round(place * (on.high - on.low) / on.step) for place in (left, right))
    places = tuple(min(max(on.low + step * on.step, on.low), on.high) for step in steps)
    text = ranges.chosen(facet, of, {box: places}, box)
    shown = ranges.shown(facet, of, (text,) if text else ())
    assert shown[box] == pytest.approx(places, rel=1e-11)
    assert ranges.chosen(facet, of, shown, box) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2..7", "2 to 7"),
        ("-0.5..", "from -0.5"),
        ("..2024-05-01", "up to 2024-05-01"),
        ("1e-07..1e+21", "1e-07 to 1e+21"),
        ("40", "40"),
        ("it's 1..2", "it's 1..2"),
        ("1..2..3", "1..2..3"),
        ("..", ".."),
    ],
)
def test_a_range_in_words(text, words):
    assert ranges.in_words("own.x", text) == words
    assert ranges.in_words("split", text) == text
