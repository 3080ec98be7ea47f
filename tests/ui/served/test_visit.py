"""The dashboard in a real browser: what a visitor does, from click to paint."""

from __future__ import annotations

import re
import urllib.request
from urllib.parse import parse_qs, urlsplit

import pytest

from store import Gallery, Where
from tests.ui import films
from ui.opening import FILE_MB

ASK = "drawn/test/103"

pytestmark = pytest.mark.browser


@pytest.fixture
def url(board):
    return board.url


def go(page, url, link=""):
    page.goto(url + link)
    page.get_by_text("Research and education only, not for diagnosis").wait_for()


def ids(page) -> list[str]:
    return page.locator(".cxr.hit .mono").all_inner_texts()


def query(page):
    return page.locator(".cxr.query")


def expect(locator):
    from playwright.sync_api import expect as check

    return check(locator)


def asked(page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def test_search_by_sentence(page, url):
    go(page, url)
    expect(page.locator(".cxr.hit")).to_have_count(10)
    box = page.get_by_role("searchbox", name="Describe what the film shows")
    box.fill("clear lungs")
    box.press("Enter")
    expect(query(page)).to_contain_text("“clear lungs”")  # loads the encoder
    expect(page.locator(".cxr.hit .score")).to_have_count(10)
    assert all(re.fullmatch(r"-?\d\.\d{3}", s) for s in page.locator(".score").all_inner_texts())
    assert asked(page) == {"text": ["clear lungs"]}
    page.get_by_role("button", name="Clear", exact=True).click()
    page.get_by_role("button", name="normal chest radiograph").click()
    expect(query(page)).to_contain_text("“normal chest radiograph”")
    expect(box).to_have_value("normal chest radiograph")


def test_search_by_id_more_like_this_and_back(page, url):
    go(page, url)
    page.get_by_role("tab", name="Id").click()
    page.get_by_role("textbox", name="Id of a film in the gallery").fill(ASK)
    page.get_by_role("button", name="Find").click()
    expect(query(page)).to_contain_text(ASK)
    expect(page.locator(".cxr.hit .score")).to_have_count(10)
    found = ids(page)
    assert ASK not in found
    last = page.get_by_role("button", name="More like this").last
    last.scroll_into_view_if_needed()
    last.click()
    expect(query(page)).to_contain_text(found[-1])
    expect(query(page)).to_be_in_viewport()  # the page went back up to show what is asked now
    hits = page.locator(".cxr.hit .mono")
    expect(hits.and_(page.get_by_text(found[-1], exact=True))).to_have_count(0)
    assert asked(page)["id"] == [found[-1]]
    page.go_back()
    expect(query(page)).to_contain_text(ASK)
    expect(hits).to_have_text(found)  # the cards follow the query one by one
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(query(page)).to_have_count(0)


def test_search_by_upload(page, url, tmp_path):
    file = tmp_path / "my film.png"
    file.write_bytes(films.png(films.draw(103, True)))
    go(page, url)
    page.get_by_role("tab", name="Upload").click()
    chooser = page.locator('input[type="file"]')
    chooser.set_input_files(file)
    expect(query(page)).to_contain_text("my film.png")
    expect(page.locator(".cxr.hit").first).to_contain_text(ASK)
    expect(page.locator(".cxr.hit").first).to_contain_text("exact duplicate of the query")
    assert asked(page) == {}
    text = tmp_path / "text.png"
    text.write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    expect(chooser).to_have_count(1)  # the one that was used goes when the page is drawn again
    chooser.set_input_files(text)
    expect(page.get_by_text("text.png cannot be searched")).to_be_visible()
    # the server keeps neither of them beside what the page made of it
    told = urllib.request.urlopen(f"{url}/_stcore/metrics", timeout=5).read().decode()
    assert "UploadedFileManager" not in told
    large = tmp_path / "large.png"
    large.write_bytes(bytes((FILE_MB + 1) << 20))
    expect(chooser).to_have_count(1)
    chooser.set_input_files(large)
    expect(page.get_by_text(re.compile(rf"{FILE_MB}(.0)? ?MB or smaller"))).to_be_visible()


def test_filter_and_take_it_off(page, url):
    go(page, url, f"/?id={ASK}")
    page.get_by_role("button", name="train (40)").click()
    chip = page.get_by_role("button", name="split: train")
    expect(chip).to_be_visible()
    expect(page.locator(".cxr.hit").filter(has_text="drawn/train/")).to_have_count(10)
    assert asked(page) == {"id": [ASK], "split": ["train"]}
    page.get_by_role("button", name="pneumonia (20)").click()
    expect(page.locator(".cxr.hit .chip").filter(has_text="pneumonia")).to_have_count(10)
    chip.click()
    expect(chip).to_have_count(0)
    assert asked(page) == {"id": [ASK], "label": ["pneumonia"]}


def test_deep_link_opens_the_same_page_for_everyone(page, url, visitor):
    link = f"/?id={ASK}&split=test&label=normal&k=6"
    go(page, url, link)
    expect(page.locator(".cxr.hit .score")).to_have_count(6)
    assert all(id_.startswith("drawn/test/") for id_ in ids(page))
    other = visitor()
    go(other, url, link)
    expect(other.locator(".cxr.hit .score")).to_have_count(6)
    assert ids(other) == ids(page)
    page.get_by_role("link", name="Store").click()
    expect(page.get_by_role("heading", name="What is loaded")).to_be_visible()
    page.get_by_role("link", name="Search").click()
    expect(page.locator(".cxr.hit .score")).to_have_count(6)  # the search waited


def test_nonsense_link(page, url):
    go(page, url, "/?k=9999&id=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&label='%20OR%201%3D1")
    expect(page.get_by_text("No film has the id")).to_be_visible()
    expect(page.get_by_text("here 50")).to_be_visible()
    expect(page.get_by_text("This gallery has no label")).to_be_visible()
    expect(page.locator("img[src='x']")).to_have_count(0)


def test_evaluation_page(page, url):
    go(page, url, "/evaluation")  # opened by its address, inside the frame
    expect(page.get_by_role("heading", name="Leave-one-out: test")).to_be_visible()
    expect(page.get_by_role("columnheader", name="P@10")).to_have_count(2)
    expect(page.get_by_role("row", name="chance")).to_have_count(2)
    expect(page.locator("[data-testid=stVegaLiteChart] canvas, svg.marks").first).to_be_visible()
    expect(page.get_by_text("cxr evaluate --split test")).to_be_visible()
    expect(page.get_by_role("link", name="Search")).to_be_visible()


def test_every_control_has_a_name_and_every_film_a_description(page, url):
    go(page, url, f"/?id={ASK}")
    expect(page.locator(".cxr.hit .score")).to_have_count(10)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, [role=slider], [role=tab]')]
        .filter(e => e.checkVisibility())
        .filter(e => !(e.innerText || '').trim() && !e.getAttribute('aria-label')
                  && !e.getAttribute('aria-labelledby') && !(e.labels && e.labels.length))
        .map(e => e.outerHTML.slice(0, 200))"""
    )
    assert nameless == []
    described = page.locator(".cxr img").evaluate_all("found => found.map(image => image.alt)")
    assert len(described) == 11
    assert all("film drawn/" in alt for alt in described)


#: Notes whether a text has been on the page, which may be gone before anybody looks.
NOTES = """text => {
  window.noted = false;
  const look = () => { window.noted ||= document.body.innerText.includes(text); };
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
}"""


def test_follows_a_new_batch_of_another_process_without_a_reload(page, writable):
    gallery = Gallery.open(writable.store)
    total, before = len(gallery.ids()), len(gallery.ids(Where(split=("test",))))
    go(page, writable.url, f"/?id={ASK}")
    expect(page.locator(".cxr.hit .score")).to_have_count(10)
    page.evaluate(NOTES, "The gallery changed: +2 films")
    batch = [films.film(300, "test", "followed", of=103), films.film(301, "test", "followed")]
    films.add(writable.store, writable.encoder, batch)  # by this process; another one serves
    expect(page.locator(".cxr.hit").first).to_contain_text("followed/test/300")
    expect(page.locator(".cxr.status")).to_contain_text("followed, ")
    expect(page.locator(".cxr.status")).to_contain_text(f": {total + 2} films")
    expect(page.get_by_role("button", name=f"test ({before + 2})")).to_be_visible()
    page.wait_for_function("window.noted")  # of this visit
    gallery.delete(Where(dataset=("followed",)))
