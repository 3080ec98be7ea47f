"""Curation in a real browser: the work list by keyboard alone, a closed window, undo."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from store import Correction, Gallery, audit
from tests.ui import browser
from tests.ui.page import opened
from tests.ui.served.test_search_page import expect
from tests.ui.served.test_study_pages import drag, stage

pytestmark = pytest.mark.browser


class Board(NamedTuple):
    """A served gallery with wrong labels, which visitors may curate."""

    url: str
    store: Path


@pytest.fixture(scope="module")
def board(drawn, tmp_path_factory) -> Iterator[Board]:
    root = tmp_path_factory.mktemp("curated")
    shutil.copytree(drawn[0], root / "gallery", ignore=shutil.ignore_patterns("readers"))
    with browser.serving(root / "gallery", drawn[1], root / "home", ["--allow-curation"]) as served:
        yield Board(served.url, root / "gallery")


def doubts(store: Path) -> list[Any]:
    return list(audit.doubtful(Gallery.open(store), 10).films)


def at(page, number: int) -> None:
    expect(page.get_by_text(f"Film {number} of")).to_be_visible()
    browser.drawn(page)  # whole: the keys are those of this film


def begin(page, url: str) -> None:
    page.goto(f"{url}/audit?list=Doubtful+labels")
    page.get_by_role("button", name="Work through").click()
    at(page, 1)


def test_the_work_list_by_keyboard_alone(board: Board, page: Any) -> None:
    listed = doubts(board.store)
    assert len(listed) >= 4
    ids = [one.film.id for one in listed]
    begin(page, board.url)
    page.keyboard.press("y")
    at(page, 2)
    page.keyboard.press("1")
    at(page, 3)
    expect(page.get_by_text("1 label changed, 1 confirmed: P@5")).to_be_visible()
    page.keyboard.press("n")
    at(page, 4)
    page.keyboard.press("b")
    at(page, 3)
    page.keyboard.press("x")
    at(page, 4)
    page.keyboard.press("z")
    at(page, 3)
    gallery = Gallery.open(board.store)
    told = gallery.curation().operations()
    assert [one.kind for one in reversed(told)] == ["confirm", "label", "exclude", "undo"]
    assert ids[2] in gallery.ids()
    page.keyboard.press("x")
    at(page, 4)
    browser.leave(page)  # nothing is lost with the window
    fresh = Gallery.open(board.store)
    assert ids[2] not in fresh.ids()
    assert fresh.rows([ids[1]])[ids[1]].labels != listed[1].film.labels
    assert fresh.curation().problems() == []


def test_what_was_decided_is_not_shown_again(board: Board, page: Any) -> None:
    gallery = Gallery.open(board.store)
    settled = set(gallery.curation().stated())
    assert settled
    begin(page, board.url)
    left = [one.film.id for one in doubts(board.store) if one.film.id not in settled]
    expect(page.get_by_text(f"Film 1 of {len(left)}")).to_be_visible()
    expect(page.get_by_role("heading", name=left[0])).to_be_visible()
    page.keyboard.press("q")
    expect(page.get_by_text("labels corrected or confirmed here")).to_be_visible()


def test_a_film_is_tagged_excluded_and_brought_back(board: Board, page: Any) -> None:
    gallery = Gallery.open(board.store)
    id_ = gallery.ids()[-1]
    page.goto(f"{board.url}/film?id={id_}")
    page.get_by_role("heading", name="nearest films").wait_for()  # the last to be drawn
    page.get_by_text("Curate this film").click()
    box = page.get_by_role("combobox", name="Tags")
    box.click()
    box.press_sequentially("teach")
    page.get_by_text("Add: teach").click()
    box.press("Escape")  # until the list is closed, nothing else can be pressed
    page.get_by_role("button", name="Remove teach").wait_for()
    page.get_by_role("button", name="Tag", exact=True).click()
    expect(page.get_by_text("1 film: tags changed").first).to_be_visible()
    assert gallery.rows([id_])[id_].tags == ("teach",)
    page.get_by_role("button", name="Exclude", exact=True).click()
    expect(page.get_by_text("1 film: excluded").first).to_be_visible()
    assert id_ not in Gallery.open(board.store).ids()
    page.get_by_role("button", name="Undo").first.click()
    expect(page.get_by_text("1 film: as it was before").first).to_be_visible()
    assert gallery.rows([id_])[id_].tags == ("teach",)
    page.goto(f"{board.url}/changes")
    expect(page.get_by_text("tags changed: +teach").first).to_be_visible()


def test_films_in_a_lasso_are_tagged(board: Board, page: Any) -> None:
    page.goto(f"{board.url}/map")
    found = stage(page)
    page.get_by_role("button", name="Lasso").click()
    drag(page, found, (0.5, 0.01), (0.99, 0.01), (0.99, 0.99), (0.005, 0.99), (0.005, 0.01))
    page.get_by_role("button", name="Curate").click()
    box = page.get_by_role("combobox", name="Tags")
    box.fill("mapped")
    box.press("Enter")
    box.press("Escape")
    page.get_by_role("button", name="Tag", exact=True).click()
    expect(page.get_by_text("tags changed").first).to_be_visible()
    gallery = Gallery.open(board.store)
    assert gallery.facets()["tags"]["mapped"] == len(gallery)
    page.get_by_role("button", name="Undo").first.click()
    expect(page.get_by_text("as they were before").first).to_be_visible()
    assert "mapped" not in Gallery.open(board.store).facets()["tags"]


def test_visitors_who_may_not_curate_see_tags_only(drawn, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXR_ALLOW_CURATION", raising=False)
    monkeypatch.delenv("CXR_ALLOW_INGEST", raising=False)
    store = tmp_path / "g"
    shutil.copytree(drawn[0], store, ignore=shutil.ignore_patterns("readers"))
    gallery = Gallery.open(store)
    id_ = gallery.ids()[0]
    gallery.curation("ann").tag([id_], ["teach"])
    gallery.curation("ann").label([id_], Correction.of(["other"]))

    def page(view: str) -> str:
        found = opened(monkeypatch, store, drawn[1], {"id": id_}, view)
        if view == "audit":
            found.button_group(key="list").set_value("Doubtful labels").run()
        return said(found)

    for view, shown, hidden in (
        ("film", "teach", "Curate this film"),
        ("audit", "labelled films differ", "Work through"),
        ("changes", "Search", "Look at a change"),  # no page of theirs: the first is shown
    ):
        there = page(view)
        assert shown in there
        assert hidden not in there
        monkeypatch.setenv("CXR_ALLOW_CURATION", "1")
        assert hidden in page(view)
        monkeypatch.delenv("CXR_ALLOW_CURATION")


def said(test: Any) -> str:
    """All that a page says, with what is on its buttons and in what is folded."""
    parts = [
        *(one.body for one in test.get("html")),
        *(one.value for kind in (test.caption, test.markdown, test.text) for one in kind),
        *(one.label for kind in (test.button, test.expander, test.selectbox) for one in kind),
    ]
    return "\n".join(parts)
