"""The batches page as it is served: who sees it, and what a batch does in every window."""

from __future__ import annotations

import re
import shutil

import pytest

from store import Gallery
from tests.ui import browser, films
from tests.ui.served.test_search_page import expect
from tests.ui.visitor import Visitor
from tests.ui.waiting import ended
from ui.dashboard import sign_in
from ui.dashboard.batches import inbox, jobs


def test_no_page_through_a_proxy_or_without_the_option(writable, monkeypatch):
    here = Visitor(writable.url)
    assert "Batches" in here.pages
    here.close()
    through = Visitor(writable.url, headers={"X-Forwarded-For": "203.0.113.9"})
    assert "Search" in through.pages
    assert "Batches" not in through.pages
    through.close()
    assert "Changes" not in through.pages
    monkeypatch.delenv("CXR_ALLOW_INGEST", raising=False)
    assert not sign_in.may_write()
    assert not sign_in.may_curate()


@pytest.fixture(scope="module")
def served(drawn, tmp_path_factory):
    """(dashboard, gallery, folder that may be read)."""
    home = tmp_path_factory.mktemp("batches")
    shutil.copytree(drawn[0], home / "gallery")
    root = home / "root"
    (root / "ward").mkdir(parents=True)
    lines = ["file,label"]
    for number in range(200, 206):
        (root / "ward" / f"{number}.png").write_bytes(
            films.png(films.draw(number, number % 2 == 1))
        )
        lines.append(f"{number}.png,{'pneumonia' if number % 2 else 'normal'}")
    (root / "ward" / "labels.csv").write_text("\n".join(lines))
    (root / "ward" / "not described.png").write_bytes(b"<svg/>")
    options = ["--allow-ingest", "--ingest-root", str(root)]
    with browser.serving(home / "gallery", drawn[1], home / "served", options) as board:
        yield board, home / "gallery", root


@pytest.mark.browser
@pytest.mark.slow
def test_drop_watch_read_undo_and_every_window_follows(served, page, visitor):
    board, store, _ = served
    dropped = [
        {
            "name": f"<img src=x>{number}.png",
            "mimeType": "image/png",
            "buffer": films.png(films.draw(number, True)),
        }
        for number in range(300, 304)
    ]
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    dropped.append({"name": "vector.png", "mimeType": "image/png", "buffer": svg})
    other = visitor()
    other.goto(board.url)
    other.get_by_text("drawn: 60 films").wait_for()
    page.goto(f"{board.url}/batches")
    page.get_by_role("heading", name="Add films").wait_for()
    page.get_by_role("radio", name="one for all").click()
    label = page.get_by_role("textbox", name="Label of all these films")
    label.fill("pneumonia; <i>new</i>")
    label.press("Enter")
    page.locator("input[type=file]").first.set_input_files(dropped)
    page.get_by_text("5 of these are here").wait_for()
    page.get_by_role("button", name="Add to the gallery").first.click()
    page.get_by_text("5 dropped films").first.wait_for()
    other.get_by_text("added, drawn: 64 films").wait_for()
    page.get_by_text("Refused: 1 not_an_image").wait_for()
    expect(page.locator(".refused")).to_have_text(re.compile("vector.png.*vector.png", re.S))
    expect(page.locator(".refused")).not_to_contain_text(str(store))
    expect(page.locator("img[src=x]")).to_have_count(0)
    assert ended(str(store), jobs.all_of(str(store))[0].batch).state == "finished"
    assert not list(inbox.inbox(str(store)).iterdir())

    page.get_by_role("tab", name="Folder of the server").click()
    page.get_by_role("radio", name="a CSV").last.click()
    for name, text in (("Folder below", "ward"), ("CSV in that folder", "labels.csv")):
        field = page.get_by_role("textbox", name=name)
        field.fill(text)
        field.press("Enter")
    page.get_by_role("button", name="Add to the gallery").last.click()
    for window in (other, page):  # this one too: it offers to undo what it shows
        window.get_by_text("added, drawn: 70 films").wait_for()

    page.get_by_role("button", name="Undo this batch").click()
    page.get_by_role("dialog").get_by_text("6 films would be removed").wait_for()
    assert len(Gallery.open(store)) == 70  # asked only
    page.get_by_role("dialog").get_by_role("button", name="Undo the batch").click()
    other.get_by_text("added, drawn: 64 films").wait_for()
    page.get_by_text("No film of it is left").wait_for()
