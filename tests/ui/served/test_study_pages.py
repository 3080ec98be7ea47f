"""Evaluation, map and audit in a real browser: what a visitor does, from click to paint."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.ui import browser
from tests.ui.served.test_search_page import next_frame

pytestmark = pytest.mark.browser


@pytest.fixture
def url(board):
    return board.url


@pytest.fixture
def page(page):
    page.set_viewport_size({"width": 1280, "height": 1000})
    return page


def expect(found):
    from playwright.sync_api import expect as check

    return check(found)


def go(page, url, link):
    page.goto(url + link)
    page.get_by_text("Research and education only, not for diagnosis").wait_for()


def stage(page):
    found = page.get_by_role("application")
    expect(found).to_have_attribute("data-drawn", re.compile(r"\d"))
    return found


def drag(page, found, *corners):
    """Press, move along corners given as shares of the map, release."""
    found.scroll_into_view_if_needed()
    box = found.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def asked(page) -> str:
    return parse_qs(urlsplit(page.url).query).get("id", [""])[0]


# -- map --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_line_around_films_lists_them_and_clear_takes_it_away(page, url):
    go(page, url, "/map")
    found = stage(page)
    page.get_by_role("button", name="Lasso").click()
    ring = [(0.5, 0.01), (0.99, 0.01), (0.99, 0.99), (0.005, 0.99), (0.005, 0.01)]
    drag(page, found, *ring)
    expect(page.get_by_role("heading", name="60 films selected")).to_be_visible()
    expect(page.locator(".cxr.hit")).to_have_count(12)
    expect(page.get_by_role("row", name="pneumonia")).to_be_visible()
    with page.expect_download() as wait:
        page.get_by_role("button", name="CSV").click()
    lines = Path(wait.value.path()).read_text("utf-8").splitlines()
    assert lines[0].startswith("id,labels") and len(lines) == 61
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("Draw a line around films")).to_be_visible()
    page.get_by_role("button", name="Box").click()
    drag(page, found, (0.3, 0.01), (0.7, 0.99))
    expect(page.get_by_role("heading", name=re.compile(r"^\d+ films? selected"))).to_be_visible()


@pytest.mark.slow
def test_the_selection_is_still_there_after_a_look_at_a_film(page, url):
    go(page, url, "/map")
    stage(page)
    page.get_by_role("button", name="Select view").click()
    expect(page.get_by_role("heading", name="60 films selected")).to_be_visible()
    film = page.locator(".cxr.hit").first
    id_ = film.locator(".mono").inner_text()
    page.get_by_role("button", name="Neighbours").first.click()
    expect(page.get_by_text("Query: a film of the gallery")).to_be_visible()
    assert asked(page) == id_
    page.get_by_role("link", name="Map").click()
    expect(page.get_by_role("heading", name="60 films selected")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("Draw a line around films")).to_be_visible()


def test_a_search_is_marked_on_the_map(page, url):
    go(page, url, "/?id=drawn/test/103&k=5")
    expect(page.locator(".cxr.hit .score").first).to_be_visible()
    page.get_by_role("button", name="Show on the map").click()
    stage(page)
    assert asked(page) == "drawn/test/103"
    expect(page.get_by_text("Marked: drawn/test/103 (?) and its hits by rank.")).to_be_visible()
    go(page, url, "/map?id=drawn/train/7")
    expect(page.get_by_text("Marked: drawn/train/7 (?)")).to_be_visible()


def test_the_pointer_shows_a_film_and_the_keys_move_the_map(page, url):
    go(page, url, "/map?id=drawn/train/7")
    found = stage(page)
    drawn = int(found.get_attribute("data-frames"))
    for key in ("+", "ArrowLeft", "ArrowUp", "0", "Escape"):
        found.press(key)
    page.wait_for_function(
        "before => Number(document.querySelector('[role=application]')?.dataset.frames ?? "
        "[...document.querySelectorAll('*')].map(e => e.shadowRoot?.querySelector("
        "'[role=application]')).find(Boolean).dataset.frames) > before",
        arg=drawn,
    )
    box = found.bounding_box()
    card = page.locator(".st-key-map-peek-card .cxr.hit")
    for share in range(1, 40):  # along the diagonal until a film is under the pointer
        page.mouse.move(box["x"] + box["width"] * share / 40, box["y"] + box["height"] * share / 40)
        next_frame(page)
        if page.locator(".tip:visible").count():
            break
    expect(card).to_be_visible()
    expect(page.locator(".tip b")).to_have_text(re.compile("drawn/"))


def test_coloured_by_a_column_of_text_or_of_numbers(page, url):
    go(page, url, "/map")
    stage(page)
    expect(page.get_by_text("normal (31)")).to_be_visible()
    page.get_by_role("combobox", name="Coloured by").click()
    page.get_by_role("option", name="split").click()
    expect(page.get_by_text("train (40)")).to_be_visible()
    page.get_by_role("combobox", name="Coloured by").click()
    page.get_by_role("option", name="width").click()
    expect(page.locator(".cxr.ramp")).to_contain_text("28")


# -- audit ------------------------------------------------------------------------------------


def test_a_leak_is_found_and_both_films_are_a_click_away(page, url):
    go(page, url, "/audit")
    expect(page.get_by_text("1 group of 2 films")).to_be_visible()
    expect(page.get_by_role("img", name="chest film drawn/test/100")).to_be_visible()
    with page.expect_download() as wait:
        page.get_by_role("button", name="CSV").click()
    lines = Path(wait.value.path()).read_text("utf-8").splitlines()
    assert [line.split(",")[4] for line in lines[1:]] == ["drawn/test/100", "drawn/test/119"]
    page.get_by_role("button", name="Neighbours of 119").click()
    expect(page.get_by_text("Query: a film of the gallery")).to_be_visible()
    assert asked(page) == "drawn/test/119"


def test_near_duplicates_follow_the_threshold(page, url):
    go(page, url, "/audit?list=Near+duplicates")
    expect(page.get_by_text("1 pair among 60 films")).to_be_visible()
    page.get_by_role("radio", name="vectors").click()
    count = page.get_by_text(re.compile(r"^[\d,]+ pairs? among 60 films"))
    # While the page is drawn anew, the former line stays beside the new one for a moment.
    expect(page.get_by_text(re.compile("^1 pair among 60 films"))).to_have_count(0)
    expect(count).to_have_count(1)
    many = int(count.inner_text().split()[0].replace(",", ""))
    page.get_by_role("slider", name="Cosine from").press("End")
    expect(page.get_by_text(re.compile(f"^{many:,} pairs among 60 films"))).to_have_count(0)
    expect(count).to_have_count(1)
    assert int(count.inner_text().split()[0].replace(",", "")) < many


def test_doubtful_labels_and_metadata(page, url):
    go(page, url, "/audit?list=Doubtful+labels")
    expect(page.get_by_text(re.compile(r"of 60 labelled films differ"))).to_be_visible()
    expect(
        page.get_by_text(re.compile(r"^disagreement [01]\.\d\d; \d+ of 10")).first
    ).to_be_visible()
    go(page, url, "/audit?list=Labels+and+metadata")
    expect(page.get_by_role("row", name="all films")).to_contain_text("60")
    expect(page.get_by_role("heading", name="Patients in several splits")).to_be_visible()
    expect(page.get_by_role("row", name="patient")).to_contain_text("21")


# -- evaluation -------------------------------------------------------------------------------


def test_vote_hardest_queries_and_the_other_store(page, url):
    go(page, url, "/evaluation")
    expect(page.get_by_role("heading", name="Leave-one-out: test")).to_be_visible()
    page.get_by_role("radio", name="Majority vote").first.click()
    expect(page.locator("table.confusion")).to_be_visible()
    page.get_by_role("radio", name="Compared with another store").first.click()
    expect(page.get_by_role("columnheader", name="difference")).to_be_visible()
    expect(page.get_by_text("20 queries and 20 films that both stores have")).to_be_visible()
    page.get_by_role("radio", name="Hardest queries").first.click()
    expect(page.get_by_text(re.compile(r"^P@10 0\.\d\d; nearest wrong")).first).to_be_visible()
    id_ = page.locator(".cxr.hit .mono").first.inner_text()
    page.get_by_role("button", name="Neighbours").first.click()
    expect(page.get_by_text("Query: a film of the gallery")).to_be_visible()
    assert asked(page) == id_


@pytest.mark.parametrize("link", ["/map", "/audit", "/evaluation"])
def test_nothing_is_wider_than_a_phone_and_every_control_has_a_name(page, url, link):
    page.set_viewport_size({"width": 420, "height": 900})
    go(page, url, link)
    browser.drawn(page)
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(wide)
    nameless = page.evaluate(
        """() => {
        const all = (root) => [...root.querySelectorAll('*')].flatMap(
            (e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
        return all(document)
        .filter(e => e.matches('button, input, [role=slider], [role=application]'))
        .filter(e => e.offsetParent !== null)
        .filter(e => !(e.innerText || '').trim() && !e.getAttribute('aria-label')
                  && !e.getAttribute('aria-labelledby') && !(e.labels && e.labels.length))
        .map(e => e.outerHTML.slice(0, 200))}"""
    )
    assert nameless == []
