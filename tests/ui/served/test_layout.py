"""What is on the screen: the first hits whole, cards of one height, ids in one line, paper."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest

from store import Gallery
from tests.ui import browser

pytestmark = pytest.mark.browser
ASK = "drawn/test/103"
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 420, "height": 900}


@pytest.fixture(scope="module")
def marked(board) -> str:
    """A search with films marked + and −, and with filters."""
    found = [hit.row.id for hit in Gallery.open(board.store).search_by_id(ASK, 10)]
    link = {"id": ASK, "like": found[:6], "unlike": found[6:9], "label": ["normal", "pneumonia"]}
    return "/?" + urlencode(link, doseq=True)


def expect(locator):
    from playwright.sync_api import expect as check

    return check(locator)


def opened(page, url: str) -> None:
    page.goto(url)
    expect(page.locator(".cxr.hit .score")).to_have_count(10)
    page.wait_for_function("[...document.images].every(one => one.complete)")
    browser.drawn(page)


def cells(page) -> list[dict[str, float]]:
    """Boxes of the cards, in CSS pixels."""
    return page.locator(".st-key-hits [data-testid=stGridCell]").evaluate_all(
        "found => found.map(one => one.getBoundingClientRect()).map(({x, y, bottom, height}) => "
        "({x, y, bottom, height}))"
    )


def floor(page) -> float:
    """Where the line under everything begins."""
    return page.locator("[data-testid=stBottom]").bounding_box()["y"]


@pytest.mark.parametrize("with_marks", [False, True])
def test_the_first_row_of_hits_is_whole_on_screen(page, board, marked, with_marks):
    page.set_viewport_size(WIDE)
    opened(page, board.url + (marked if with_marks else f"/?id={ASK}"))
    found = cells(page)
    row = [one for one in found if one["y"] == found[0]["y"]]
    assert len(row) >= 4
    assert max(one["bottom"] for one in row) <= floor(page)
    assert len({round(one["height"], 1) for one in found}) == 1


@pytest.mark.parametrize("with_marks", [False, True])
def test_one_and_a_half_cards_are_on_the_screen_of_a_phone(page, board, marked, with_marks):
    page.set_viewport_size(PHONE)
    opened(page, board.url + (marked if with_marks else f"/?id={ASK}"))
    first, second = cells(page)[:2]
    assert first["bottom"] <= floor(page)
    assert first["x"] == second["x"] and first["bottom"] < second["y"]
    assert second["y"] + second["height"] / 2 <= floor(page)
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(wide)
    line = page.locator(".cxr.status").bounding_box()["height"]
    assert line < 24  # one line


def test_an_id_is_one_line_whose_whole_is_there_on_hover_and_when_copied(page, board):
    opened(page, board.url + f"/?id={ASK}")
    id_ = page.locator(".st-key-hits .cxr.hit > .id").first
    whole = id_.get_attribute("title")
    high = id_.bounding_box()["height"]
    id_.evaluate("one => one.style.width = '96px'")
    assert id_.bounding_box()["height"] == high
    start, end = id_.locator(".start"), id_.locator(".end")
    assert start.evaluate("one => one.scrollWidth > one.clientWidth")  # gives way
    assert end.evaluate(
        "one => one.getBoundingClientRect().right <= one.parentNode.getBoundingClientRect().right"
    )
    copied = id_.evaluate(
        "one => { getSelection().selectAllChildren(one); return String(getSelection()); }"
    )
    assert copied == whole
    assert whole.startswith("drawn/")


def test_on_paper_there_is_nothing_to_click(page, board, marked):
    opened(page, board.url + marked)
    page.emulate_media(media="print")
    for gone in ("[data-testid=stSidebar]", ".st-key-ways-in", ".st-key-hits button", "header"):
        expect(page.locator(gone).filter(visible=True)).to_have_count(0)
    expect(page.locator(".cxr.query")).to_be_visible()
    for at in (0, 9):
        expect(page.locator(".cxr.hit").nth(at)).to_be_visible()
    expect(page.locator(".cxr.status")).to_contain_text("not for diagnosis")
    # nothing is cut off by a frame that scrolls
    main = page.locator("[data-testid=stMain]")
    assert main.evaluate("one => getComputedStyle(one).overflowY") == "visible"
    assert page.pdf().startswith(b"%PDF-")


def test_a_picture_leads_to_its_film_and_all_films_are_a_click_away(page, board):
    page.goto(board.url)
    page.get_by_role("link", name="All films").click()
    expect(page.get_by_role("heading", name="Films", exact=True)).to_be_visible()
    expect(page.locator(".st-key-films .cxr.hit")).to_have_count(20)
    ids = Gallery.open(board.store).ids()
    expect(page.locator(".st-key-films .cxr.hit > .id")).to_have_text(ids[:20])
    page.get_by_role("button", name="Page 2", exact=True).click()
    expect(page.locator(".st-key-films .cxr.hit > .id")).to_have_text(ids[20:40])
    expect(page).to_have_url(re.compile(r"/films\?page=2$"))
    page.get_by_role("radio", name="Z to A").click()
    expect(page.locator(".st-key-films .cxr.hit > .id")).to_have_text(ids[::-1][:20])
    expect(page).to_have_url(re.compile(r"/films\?order=descending$"))
    page.get_by_role("button", name="test (20)").click()
    expect(page.get_by_text("20 films that pass the filters")).to_be_visible()
    passing = [id_ for id_ in ids[::-1] if id_.startswith("drawn/test/")]
    expect(page.locator(".st-key-films .cxr.hit > .id")).to_have_text(passing[:20])
    page.get_by_role("button", name="More like this").first.click()
    expect(page.locator(".cxr.query")).to_contain_text("drawn/test/")
    expect(page.get_by_role("button", name="split: test")).to_be_visible()
