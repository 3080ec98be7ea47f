"""One Chromium and two served galleries, for as long as tests of this folder run.

Not for the whole session: while Playwright is there, nothing else in this thread may run asyncio.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.ui import browser, films
from tests.ui.served import hostile
from tests.ui.visitor import Visitor

#: Of whatever a window waits for, in milliseconds; the encoder is loaded by then.
PATIENCE = 60_000
SIZE = {"width": 1280, "height": 900}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The test that comes first pays for browser, servers and encoder: it may take longer."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(600))


class Board(NamedTuple):
    """A dashboard that runs, its gallery, and the encoder's folder."""

    served: browser.Served
    store: Path
    encoder: Path

    @property
    def url(self) -> str:
        return self.served.url

    @property
    def port(self) -> int:
        return self.served.port


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    pytest.importorskip("playwright", reason="playwright is not installed")
    if not browser.there():
        pytest.skip(f"no browser at {browser.BROWSER}; set CXR_BROWSER")
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE)
    with browser.chromium() as found:
        yield found


@pytest.fixture(scope="package")
def profile(chromium) -> Iterator[Any]:
    """The browser context of page."""
    with browser.profile(chromium, PATIENCE, viewport=SIZE, accept_downloads=True) as found:
        yield found


@pytest.fixture
def page(profile) -> Iterator[Any]:
    """A window as if nobody had been anywhere in it; browser.visit says what must not happen.

    It is lent to one test after the other: a new one is a new process, which compiles all scripts
    of Streamlit again, and that takes most of the processor time of a test.
    """
    from playwright.sync_api import Error

    found = profile.pages[0] if profile.pages else browser.new_page(profile)
    found.set_viewport_size(SIZE)
    with browser.visit(found):
        yield found
    try:
        browser.leave(found)
    except Error:  # it was closed, or hangs; the next test gets a new one
        found.close()


@pytest.fixture
def visitor(chromium) -> Iterator[Callable[..., Any]]:
    """Opens more windows, each in a profile of its own: visitor(viewport=..., has_touch=...)."""
    with contextlib.ExitStack() as stack:
        yield lambda **more: stack.enter_context(browser.visitor(chromium, PATIENCE, **more))


@pytest.fixture(scope="package")
def board(drawn, tmp_path_factory) -> Iterator[Board]:
    """The drawn films, to be looked at; compared with another encoder's gallery of them."""
    root = tmp_path_factory.mktemp("board")
    store, encoder = drawn
    other = root / "other-clip"
    shutil.copytree(encoder, other)
    config = other / "preprocessor_config.json"
    config.write_text(config.read_text().replace("0.25", "0.3"))
    films.add(root / "rival", other, films.films())
    with browser.serving(
        store, encoder, root / "home", ["--compare", str(root / "rival")]
    ) as found:
        Visitor(found.url, "text=clear+lungs", timeout=300).close()  # loads the encoder
        yield Board(found, store, encoder)


@pytest.fixture(scope="package")
def writable(drawn, tmp_path_factory) -> Iterator[Board]:
    """Films with hostile text in all that is said of them, and one drawn one; takes batches."""
    root = tmp_path_factory.mktemp("writable")
    _, encoder = drawn
    gallery = films.add(root / "gallery", encoder, [*hostile.films(), films.film(103, "test")])
    reports = {id_: f"No change. Effusion, {id_}" for id_ in gallery.ids()}
    reports["drawn/test/103"] = "Large pleural effusion on the left. No pneumothorax."
    rows = gallery.rows(reports)
    gallery.update_metadata([replace(row, report=reports[id_]) for id_, row in rows.items()])
    with browser.serving(root / "gallery", encoder, root / "home", ["--allow-ingest"]) as found:
        Visitor(found.url, "text=clear+lungs", timeout=300).close()
        yield Board(found, root / "gallery", encoder)
