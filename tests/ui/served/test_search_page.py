"""The search page in a real browser, beyond one query: paste, marks, pages, pairs, files."""

from __future__ import annotations

import base64
import re
import zipfile
from urllib.parse import parse_qs, urlsplit

import pytest

from store import Gallery
from store.gallery import refined_search
from tests.ui import films

pytestmark = pytest.mark.browser
ASK = "drawn/test/103"


@pytest.fixture
def made(board):
    """(gallery, address)."""
    return Gallery.open(board.store), board.url


def expect(locator):
    from playwright.sync_api import expect as check

    return check(locator)


def go(page, url, link=""):
    page.goto(url + link)
    expect(page.locator(".cxr.status")).to_be_visible()


def ids(page) -> list[str]:
    return page.locator("[class*=st-key-hits] .cxr.hit > .mono").all_inner_texts()


def button(page, id_, name):
    """A button of a hit."""
    return (
        page.locator(".st-key-hits [data-testid=stGridCell]")
        .filter(has=page.get_by_title(id_, exact=True))
        .get_by_role("button", name=name, exact=True)
    )


def asked(page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


PASTE = """([name, type, text]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type }));
  const how = { clipboardData: data, bubbles: true, cancelable: true };
  const event = new ClipboardEvent("paste", how);
  document.activeElement.dispatchEvent(event);
  return event.defaultPrevented;
}"""


def test_an_image_is_pasted_anywhere_and_text_is_left_alone(page, made):
    go(page, made[1])
    page.wait_for_function("!!window.cxrPaste")
    data = base64.b64encode(films.png(films.draw(103, True))).decode()
    assert page.evaluate(PASTE, ["image.png", "image/png", data])
    query = page.locator(".cxr.query")
    expect(query).to_contain_text("pasted image.png")
    expect(page.locator(".cxr.hit").first).to_contain_text(ASK)
    assert asked(page) == {}
    assert page.evaluate(PASTE, ["x.png", "image/png", base64.b64encode(b"<svg/>").decode()])
    expect(page.get_by_text("pasted x.png cannot be searched (not_an_image)")).to_be_visible()
    assert not page.evaluate(PASTE, ["words.txt", "text/plain", "YWJj"])


def test_marks_and_weights(page, made):
    gallery, url = made
    go(page, url, f"/?id={ASK}")
    expect(page.locator(".cxr.hit .score")).to_have_count(10)
    like, unlike = ids(page)[1], ids(page)[3]
    button(page, like, "Like +").click()
    expect(page.locator(".cxr.mark")).to_have_count(1)
    button(page, unlike, "Unlike −").click()
    expect(page.locator(".cxr.mark")).to_have_count(2)
    hits = refined_search(gallery, ASK, 10, like=[like], unlike=[unlike])
    expect(page.locator(".cxr.hit > .mono")).to_have_text([hit.row.id for hit in hits])
    page.get_by_role("button", name="Weights").click()
    weight = page.get_by_role("spinbutton", name="of films −")
    weight.fill("1.2")
    weight.press("Enter")
    expect(page.get_by_text("− 1.2 × (mean of 1 film to be unlike)")).to_be_visible()
    link = asked(page)
    assert link == {"id": [ASK], "like": [like], "unlike": [unlike], "weights": ["1,0.75,1.2"]}
    page.keyboard.press("Escape")
    page.get_by_role("button", name=f"Take the mark off {unlike}", exact=True).click()
    expect(page.locator(".cxr.mark")).to_have_count(1)
    page.go_back()
    expect(page.locator(".cxr.mark")).to_have_count(2)


def test_pages_and_history(page, made):
    gallery, url = made
    go(page, url, f"/?id={ASK}")
    expect(page.locator(".cxr.hit .score")).to_have_count(10)
    page.get_by_role("button", name="Page 2", exact=True).click()
    expect(page.get_by_role("heading", name="Hits 11 to 20")).to_be_visible()
    assert asked(page) == {"id": [ASK], "page": ["2"]}
    expected = [hit.row.id for hit in gallery.search_by_id(ASK, 20)[10:]]
    expect(page.locator(".cxr.hit > .mono")).to_have_text(expected)
    page.get_by_role("button", name="More like this").first.click()
    expect(page.locator(".cxr.query")).to_contain_text(expected[0])
    page.locator("[data-testid=stSidebar]").get_by_role("button", name=ASK).click()
    expect(page.get_by_role("heading", name="Hits 11 to 20")).to_be_visible()
    expect(page.locator(".cxr.hit > .mono")).to_have_text(expected)


def test_why_these_two_moves_both_films_together(page, made):
    go(page, made[1], f"/?id={ASK}")
    expect(page.locator(".cxr.hit .score")).to_have_count(10)
    page.get_by_role("button", name="Compare").nth(2).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Where they agree.")
    films_ = dialog.locator("canvas")
    expect(films_).to_have_count(2)
    expect(films_.first).to_have_attribute("aria-label", f"Query: {ASK}")
    readout = dialog.locator(".readout")
    expect(readout).to_contain_text("as stored · window 255 · level 128")
    first, second = films_.first, films_.last
    before = shot(first), shot(second)
    box = first.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    drag(page, middle, (40, -30), "left")
    expect(readout).to_contain_text("window 295 · level 98")
    drag(page, middle, (0, -60), "right")
    expect(readout).to_contain_text("zoom 1.65")
    page.mouse.move(*middle)
    page.mouse.wheel(0, -400)
    expect(readout).to_contain_text("zoom 4.48")
    drag(page, middle, (30, 0), "middle")
    changed(first, before[0])
    changed(second, before[1])  # only the first one was touched
    expect(readout).to_contain_text(re.compile(r"patch -?\d\.\d\d and -?\d\.\d\d"))
    page.keyboard.press("i")
    page.keyboard.press("h")
    expect(readout).to_contain_text("inverted · mirrored: left is right")
    page.keyboard.press(" ")
    expect(readout).to_contain_text("window 255 · level 128")
    expect(readout).not_to_contain_text("inverted")
    map_ = dialog.get_by_role("button", name="Map")
    with_map = shot(second)
    map_.click()
    expect(map_).to_have_attribute("aria-pressed", "false")
    changed(second, with_map)
    assert "with" in asked(page)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.wait_for_url(lambda url: "with" not in url)
    expect(page.locator(".cxr.hit .score")).to_have_count(10)


def shot(canvas) -> str:
    return canvas.evaluate("canvas => canvas.toDataURL()")


def changed(canvas, before: str) -> None:
    """Wait until a canvas shows something else."""
    look = "([canvas, before]) => canvas.toDataURL() !== before"
    canvas.page.wait_for_function(look, arg=[canvas.element_handle(), before])


def next_frame(page) -> None:
    """Wait until what was asked of a canvas is drawn: that is done in the next frame."""
    twice = "done => requestAnimationFrame(() => requestAnimationFrame(done))"
    page.evaluate(f"() => new Promise({twice})")


def drag(page, start, way, button):
    page.mouse.move(*start)
    page.mouse.down(button=button)
    page.mouse.move(start[0] + way[0], start[1] + way[1], steps=4)
    page.mouse.up(button=button)


def test_two_fingers_zoom_on_a_phone(visitor, made):
    phone = {"viewport": {"width": 420, "height": 900}, "has_touch": True}
    page = visitor(**phone, color_scheme="dark")
    go(page, made[1], f"/?id={ASK}&with=drawn/train/7")
    canvas = page.locator("canvas").first
    expect(canvas).to_be_visible()
    readout = page.locator(".readout")
    expect(readout).to_contain_text("zoom 1.00")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)

    def fingers(kind, *apart):
        points = [{"x": x + side, "y": y, "id": n} for n, side in enumerate(apart)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", -10, 10)
    fingers("touchMove", -20, 20)
    fingers("touchMove", -30, 30)
    fingers("touchEnd")
    expect(readout).to_contain_text(re.compile(r"zoom [23]\.\d\d"))
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(wide)
    # a dialog is outside the page's own frame, and once had its small print in the light colours
    colours = "found => [...new Set(found.map(one => getComputedStyle(one).color))]"
    assert len(page.locator("[data-testid=stCaptionContainer]").evaluate_all(colours)) == 1


def test_files_are_what_the_page_shows(page, made, tmp_path):
    go(page, made[1], f"/?id={ASK}&k=4&split=train")
    expect(page.locator(".cxr.hit .score")).to_have_count(4)
    shown = ids(page)
    page.get_by_text("Take it with you").click()
    found = {}
    for name in ("CSV", "ZIP with pictures", "Contact sheet (PDF)"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        found[name] = tmp_path / download.value.suggested_filename
        download.value.save_as(found[name])
    lines = found["CSV"].read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == shown
    with zipfile.ZipFile(found["ZIP with pictures"]) as whole:
        assert whole.namelist()[:2] == ["query.json", "hits.csv"]
    assert found["Contact sheet (PDF)"].read_bytes().startswith(b"%PDF-")
    expect(page.get_by_text(f"cxr search --id {ASK} --where split=train -k 4")).to_be_visible()
    script = "from store import Gallery, Where, refined_search"
    expect(page.get_by_text(script)).to_be_visible()


def test_the_filter_that_empties_the_set_is_named(page, made):
    go(page, made[1], f"/?id={ASK}&split=train&label=normal")
    expect(page.locator(".cxr.hit .score")).to_have_count(10)
    page.get_by_role("button", name="label: normal").click()
    expect(page.get_by_role("button", name="label: normal")).to_have_count(0)
    assert asked(page) == {"id": [ASK], "split": ["train"]}
