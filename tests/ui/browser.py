"""One Chromium and one served dashboard, for tests, benchmarks and screenshots."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
BROWSER = os.environ.get("CXR_BROWSER") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def there() -> bool:
    """Whether there is a browser to drive."""
    return Path(BROWSER).exists()


@contextlib.contextmanager
def chromium() -> Iterator:
    """A browser that asks nobody but us for anything."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


#: Tells of an error of the app on the page, however short it stands there.
_ERROR_BOX = "an error of the app is on the page: "
_WATCH = """
new MutationObserver(() => {
  for (const box of document.querySelectorAll('[data-testid="stException"]')) {
    if (!box.cxrTold) console.error("TOLD" + (box.cxrTold = box.innerText || "?"));
  }
}).observe(document, { childList: true, subtree: true });
""".replace("TOLD", _ERROR_BOX)
#: What is on a page while its script runs.
_DRAWING = ", ".join(f"[data-test-script-state={one}]" for one in ("running", "rerunRequested"))
_WORKING = "[data-testid=stSpinner], [data-testid=stProgress]"
#: An empty page of the same origin: it needs no server, and the browser keeps the process.
_LEAVE = """() => {
  localStorage.clear();
  sessionStorage.clear();
  location.replace(URL.createObjectURL(new Blob(["<p>"], { type: "text/html" })));
}"""


@contextlib.contextmanager
def profile(browser, timeout: int, **context) -> Iterator:
    """A browser context: cookies and a cache of its own, and pages that new_page opens.

    Args:
        browser: from chromium.
        timeout: of whatever its pages wait for, in milliseconds.
        context: more for playwright's new_context. Nothing moves for show unless it says so: that
            takes processor time.
    """
    found = browser.new_context(**{"reduced_motion": "reduce", **context})
    found.set_default_timeout(timeout)
    found.add_init_script(_WATCH)
    yield found
    found.close()


def new_page(context):
    """A page whose actions and expectations wait until the app has drawn what was last asked for.

    While it draws, what is new and what is about to go stand side by side: a button is there twice,
    or one that is pressed is taken away.
    """
    page = context.new_page()
    page.add_locator_handler(page.locator(_DRAWING), lambda: None)
    return page


def drawn(page) -> None:
    """Return once a page of the dashboard is whole: its last line is there, and nothing runs."""
    from playwright.sync_api import expect

    page.locator(".cxr.status .care").wait_for()
    expect(page.locator(f"{_DRAWING}, {_WORKING}")).to_have_count(0)


@contextlib.contextmanager
def visit(page) -> Iterator:
    """Complains when a page asked another host for anything, or a script or the app broke."""
    wrong: list[str] = []

    def asked(request) -> None:
        if foreign(request.url):
            wrong.append(f"asked for {request.url}")

    def told(message) -> None:
        if message.text.startswith(_ERROR_BOX):
            wrong.append(message.text)

    listeners = {
        "request": asked,
        "console": told,
        "weberror": lambda error: wrong.append(str(error.error)),
    }
    for event, listener in listeners.items():
        page.context.on(event, listener)
    try:
        yield
    finally:
        for event, listener in listeners.items():
            page.context.remove_listener(event, listener)
    assert wrong == [], wrong


def leave(page) -> None:
    """Leave a page as if nobody had been there: no cookie, nothing stored, nothing set."""
    if page.url.startswith("http"):
        with page.expect_navigation():
            page.evaluate(_LEAVE)
    page.context.clear_cookies()
    page.emulate_media(media="screen", color_scheme="light", reduced_motion="reduce")
    page.mouse.move(0, 0)


@contextlib.contextmanager
def visitor(browser, timeout: int, **context) -> Iterator:
    """A page in a profile of its own, for one visit; see profile and visit."""
    with profile(browser, timeout, **context) as own:
        page = new_page(own)
        with visit(page):
            yield page


def foreign(url: str) -> bool:
    """Whether an address is of another host."""
    return urlsplit(url).hostname not in ("127.0.0.1", None)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """A dashboard that runs: its address, its process, and what it wrote."""

    def __init__(self, port: int, process: subprocess.Popen, log: Path) -> None:
        self.url, self.port = f"http://127.0.0.1:{port}", port
        self.process, self.log = process, log

    @property
    def pid(self) -> int:
        """Of the process that draws the pages: the child of ``cxr serve``."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text().split()[0])

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2),
            ):
                return
            time.sleep(0.1)
        raise AssertionError(
            f"the dashboard did not start (exit code {self.process.poll()}):\n"
            + self.log.read_text()[-2000:]
        )


@contextlib.contextmanager
def serving(
    store: Path | str,
    encoder: Path | str | None,
    home: Path,
    options: Sequence[str] = (),
    *,
    wait: bool = True,
    port: int | None = None,
    before: Sequence[str] = (),
    **environment: str,
) -> Iterator[Served]:
    """``cxr serve`` from a home of its own, on a free port; fails when it wrote a traceback.

    Fails too when something still answers there a while after the command has ended.

    ``before`` is put before the command, e.g. a shell with limits of its own.
    """
    home.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = [*before, sys.executable, "-m", "ui.cli", "serve", "--store", str(store)]
    command += ["--port", str(port), *options]
    if encoder is not None:
        command += ["--encoder", str(encoder)]
    log = home / "log"
    surroundings = {**os.environ, "HOME": str(home), **environment}
    with log.open("w") as file:
        process = subprocess.Popen(command, env=surroundings, cwd=home, stdout=file, stderr=file)
        served = Served(port, process, log)
        try:
            if wait:
                served.wait()
            yield served
        finally:
            process.terminate()
            process.wait(timeout=60)
    _wait_until_silent(port)
    assert "Traceback" not in log.read_text(), log.read_text()[-4000:]


def _wait_until_silent(port: int) -> None:
    """Until nothing listens there: what a command has started ends with it."""
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as probe:
            probe.settimeout(10)
            if probe.connect_ex(("127.0.0.1", port)):
                return
        assert time.monotonic() < deadline, f"port {port} still answers, its command has ended"
        time.sleep(0.1)
