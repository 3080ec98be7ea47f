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


def watched(context, broken: list[str]) -> None:
    """Note in a list what breaks on the pages of a context: scripts, and the app's own errors."""
    context.add_init_script(_WATCH)
    context.on("weberror", lambda error: broken.append(str(error.error)))
    context.on(
        "console",
        lambda told: broken.append(told.text) if told.text.startswith(_ERROR_BOX) else None,
    )


def settled(page) -> None:
    """Have a page's actions and expectations wait until the app has drawn what was last asked for.

    While it draws, what is new and what is about to go stand side by side: a button is there twice,
    or one that is pressed is taken away.
    """
    states = ("running", "rerunRequested")
    drawing = ", ".join(f"[data-test-script-state={state}]" for state in states)
    page.add_locator_handler(page.locator(drawing), lambda: None)


@contextlib.contextmanager
def visitor(browser, timeout: int, **context) -> Iterator:
    """A page; complains when it asked another host for anything, or a script or the app broke.

    Args:
        browser: from chromium.
        timeout: of whatever it waits for, in milliseconds.
        context: more for playwright's new_context.
    """
    window = browser.new_context(**context)
    window.set_default_timeout(timeout)
    strangers, broken = [], []
    watched(window, broken)
    page = window.new_page()
    settled(page)
    page.on("request", lambda asked: strangers.append(asked.url) if foreign(asked.url) else None)
    yield page
    window.close()
    assert strangers == [], strangers
    assert broken == [], broken


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
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2),
            ):
                return
            time.sleep(0.02)
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
            process.wait(timeout=30)
    assert "Traceback" not in log.read_text(), log.read_text()[-4000:]
