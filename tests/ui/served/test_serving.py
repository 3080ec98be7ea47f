"""What a served dashboard refuses, says in its headers, and is like without a mouse or colours."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import InvalidStatus, WebSocketException

from tests.ui import browser
from tests.ui.visitor import Visitor
from ui.dashboard import child_process
from ui.opening import FILE_MB

#: The first two on every run, the others where there is time.
PAGES = [
    "/?id=drawn/test/103&like=drawn/train/7&unlike=drawn/train/8",
    "/films?sort=added",
    "/evaluation",
    *(
        pytest.param(path, marks=pytest.mark.slow)
        for path in ("/?text=clear+lungs", "/store", "/batches")
    ),
]


def request(board, method, path, headers=None, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", board.port, timeout=60)
    connection.request(method, path, body=body, headers=headers or {})
    found = connection.getresponse()
    data = found.read()
    connection.close()
    return found, data


# -- who may connect ---------------------------------------------------------------------------


def test_listens_on_loopback_only(board):
    for host in ("127.0.0.2", "::1"):
        with pytest.raises(OSError), socket.create_connection((host, board.port), timeout=2):
            pass
    listening = Path("/proc/net/tcp").read_text() if sys.platform == "linux" else ""
    for line in listening.splitlines()[1:]:
        address, state = line.split()[1], line.split()[3]
        if state == "0A" and int(address.split(":")[1], 16) == board.port:
            assert address.startswith("0100007F:")


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}], ids=str
)
def test_another_site_gets_no_websocket(board, headers):
    with pytest.raises((InvalidStatus, WebSocketException, OSError)) as refused:
        Visitor(board.url, origin=headers.get("Origin"), host=headers.get("Host"))
    assert "403" in str(refused.value)


def test_uploads_need_the_cross_site_token_and_a_session(board):
    for path in ("/_stcore/upload_file/no-such-session/file", "/_stcore/upload_file/x/../../y"):
        found, data = request(board, "PUT", path, body=b"x")
        assert found.status in (400, 403, 404), found.status
        assert b"Traceback" not in data


def test_cross_origin_requests_get_no_permission(board):
    for path in ("/", "/_stcore/health", "/_stcore/host-config"):
        found, _ = request(board, "GET", path, {"Origin": "https://evil.example"})
        assert found.getheader("Access-Control-Allow-Origin") in (None, board.url)


def test_files_of_the_server_are_not_served(board):
    for path in (
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/app/static/app.py",
        "/component/x/../../../../etc/passwd",
        "/media/../../app.py",
        "/ui/dashboard/app.py",
    ):
        found, data = request(board, "GET", path)
        assert b"root:" not in data
        assert b"import streamlit" not in data
        assert b"Traceback" not in data
        assert found.status < 500


def test_the_running_configuration_is_the_guarded_one(board):
    environment = {"PATH": "/usr/bin:/bin"}
    code = """
import json, sys
from streamlit import config
from streamlit.web import bootstrap
config._main_script_path = sys.argv[1]
config.get_config_options(force_reparse=True)
names = sys.argv[2:]
print(json.dumps({name: config.get_option(name) for name in names}))
"""
    wanted = {
        "server.address": "127.0.0.1",
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "server.maxUploadSize": FILE_MB,
        "server.enableStaticServing": False,
        "server.allowedHosts": ["localhost", "127.0.0.1"],
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",
    }
    script = browser.ROOT / "ui" / "dashboard" / "app.py"
    command = [sys.executable, "-c", code, str(script), *wanted]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=browser.ROOT, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == wanted
    window = Visitor(board.url)
    assert window.usage_stats is False  # and so says the server itself
    window.close()


def test_no_header_names_the_program(board):
    found = urllib.request.urlopen(board.url, timeout=60).headers
    assert "python" not in str(found.get("server", "")).casefold()


def test_an_error_of_the_app_is_in_the_log_and_on_the_page(tmp_path):
    """A page that breaks, served as the dashboard is: with its configuration, its stdout unread."""
    shutil.copytree(browser.ROOT / "ui" / "dashboard" / ".streamlit", tmp_path / ".streamlit")
    page = tmp_path / "page.py"
    page.write_text("raise RuntimeError('planted')")
    port, log = browser.free_port(), tmp_path / "log"
    with log.open("w") as file:
        child = child_process.start(
            "ui.dashboard.server",
            ["run", str(page), "--server.port", str(port)],
            env={
                **os.environ,
                "CXR_STORE": str(tmp_path / "none"),
                "PYTHONPATH": str(browser.ROOT),
            },
            stdout=subprocess.DEVNULL,
            stderr=file,
        )
        try:
            served = browser.Served(port, child, log)
            served.wait()
            window = Visitor(served.url)
            assert window.problems
            assert not any("planted" in told or "page.py" in told for told in window.problems)
            with pytest.raises(AssertionError):  # no test closes such a window unawares
                window.close()
        finally:
            child.terminate()
            child.wait(timeout=60)
    assert "Traceback (most recent call last)" in log.read_text()
    assert "RuntimeError: planted" in log.read_text()


@pytest.mark.browser
def test_an_error_box_on_the_page_is_noticed(chromium):
    with (
        pytest.raises(AssertionError, match="an error of the app"),
        browser.visitor(chromium, 5_000) as page,
    ):
        page.goto("data:text/html,<body></body>")
        with page.expect_console_message():
            page.set_content("<div data-testid=stException>it broke</div>")


# -- states, in a browser ----------------------------------------------------------------------


@pytest.mark.browser
def test_a_60_mb_upload_is_refused_before_it_is_sent(writable, page, tmp_path):
    file = tmp_path / "huge.png"
    with file.open("wb") as handle:
        handle.truncate(60 << 20)
    sent = []
    page.on("request", lambda one: sent.append(one.url) if "upload_file" in one.url else None)
    page.goto(f"{writable.url}/batches")
    page.get_by_role("heading", name="Add films").wait_for()
    page.locator("input[type=file]").first.set_input_files(file)
    page.get_by_text(re.compile(rf"{FILE_MB}(\.0)?MB or smaller")).wait_for()
    assert sent == []


@pytest.mark.browser
def test_a_60_mb_upload_that_comes_all_the_same_is_refused(writable):
    window = Visitor(writable.url)
    path = f"/_stcore/upload_file/{window.session}/file"
    body = b"--b\r\nContent-Disposition: form-data; name=f; filename=a.png\r\n\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    found, _ = request(writable, "PUT", path, headers, body + bytes(60 << 20) + b"\r\n--b--\r\n")
    assert found.status in (400, 403, 413)
    window.close()


# -- without a mouse, without colours ----------------------------------------------------------


def opened(page, board, path):
    page.goto(board.url + path)
    browser.drawn(page)


@pytest.mark.browser
@pytest.mark.parametrize("path", PAGES)
def test_names_contrast_and_alternatives(board, writable, page, path):
    """axe, light and dark: every control named, AA contrast of the colours, images described."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    opened(page, writable if path == "/batches" else board, path)
    said = violations(axe, page)
    darken(page)
    said += violations(axe, page, "color-contrast")  # all that a change of colours can change
    assert said == []


def darken(page):
    """Change to the dark colours, and wait until they are everywhere."""
    ground = "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"light => {ground} !== light", arg=light)
    page.wait_for_timeout(300)
    page.wait_for_function("document.getAnimations().every(one => !(one instanceof CSSTransition))")


def violations(axe, page, *rules):
    """What axe finds wrong by these rules; default: all of AA."""
    asked = {"type": "rule", "values": rules}
    if not rules:
        asked = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21aa"]}
    found = axe.Axe().run(page, options={"runOnly": asked})
    return [
        f"{one['id']}: {node['target']} {node['failureSummary'][:300]}"
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.browser
def test_everything_is_reached_with_the_keyboard(writable, page):
    opened(page, writable, "/?id=drawn/test/103")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "(e => (e.innerText || e.ariaLabel || '').trim())(document.activeElement)"
            )
        )
    assert {"Search", "Evaluation", "Store", "Batches", "More like this", "Clear"} <= {
        name.split("\n")[-1] for name in reached
    }
    box = page.get_by_role("searchbox", name="Describe what the film shows")
    box.focus()
    page.keyboard.type("clear lungs")
    page.keyboard.press("Enter")
    page.locator(".cxr.query").filter(has_text="clear lungs").wait_for()


def test_every_page_is_a_known_host_only(board):
    page = request(board, "GET", "/")[1].decode()
    for part in page.split('"'):
        assert urlsplit(part).hostname in (None, "127.0.0.1")


# -- it ends with whoever started it -----------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signals here")
@pytest.mark.slow
def test_the_server_ends_with_a_terminal_that_is_closed(drawn, tmp_path):
    """As with SIGTERM, which ends every server of these tests, and SIGKILL (test_door)."""
    with browser.serving(*drawn, tmp_path / "home") as board:  # looks whether it has ended
        board.process.send_signal(signal.SIGHUP)
        board.process.wait(timeout=60)
