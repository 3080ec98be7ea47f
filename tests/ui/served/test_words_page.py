"""Words in reports, in a real browser: typed, joined to a film, taken off, linked to."""

from __future__ import annotations

import pytest

from tests.ui.served.test_search_page import asked, expect, go

pytestmark = pytest.mark.browser
FILM = "drawn/test/103"


def test_words_are_typed_marked_and_joined_to_a_film(page, writable):
    go(page, writable.url)
    page.get_by_role("tab", name="Words in reports").click()
    box = page.locator("input[aria-label='Words in reports']")
    box.fill("pleural effusion left")
    box.press("Enter")
    first = page.locator(".cxr.hit").first
    expect(first.locator(".sentence")).to_have_text("Large pleural effusion on the left.")
    expect(first.locator("mark.present")).to_have_text(["pleural", "effusion", "left"])
    expect(page.get_by_text("with such a report · BM25")).to_be_visible()
    assert asked(page) == {"words": ["pleural effusion left"]}
    page.get_by_role("button", name="More like this").nth(1).click()
    expect(page.locator(".cxr.hit .bar").first).to_be_visible()
    assert "words" not in asked(page)  # another film starts afresh
    page.get_by_role("tab", name="Words in reports").click()
    box.fill("pleural effusion left")
    box.press("Enter")
    expect(page.get_by_text("words 1st, film").first).to_be_visible()
    assert asked(page)["words"] == ["pleural effusion left"] and "id" in asked(page)
    page.get_by_role("button", name="Words in reports: pleural effusion left").click()
    expect(page.get_by_text("words 1st, film")).to_have_count(0)
    assert "words" not in asked(page)


def test_a_link_with_words_is_followed(page, writable):
    go(page, writable.url, f"/?words=no+pneumothorax&id={FILM}&fusion=0.5")
    expect(page.locator(".cxr.hit")).to_have_count(10)
    expect(page.locator(".st-key-words input").first).to_have_value("words count 0.5")
    go(page, writable.url, "/?words=no+pneumothorax")
    expect(page.locator(".cxr.hit")).to_have_count(1)
    expect(page.locator("mark.absent")).to_have_text("pneumothorax")
    go(page, writable.url, "/?words=fracture")
    expect(page.get_by_text("No report says fracture.")).to_be_visible()
