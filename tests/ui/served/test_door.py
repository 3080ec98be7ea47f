"""Too many visitors: those who are in stay, newcomers are told, the log stays short."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import http.client
import logging
import sys
import time
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.ui import browser
from tests.ui.visitor import Visitor
from tests.ui.waiting import until
from ui.dashboard import visitor_limit

resource = pytest.importorskip("resource")


def asked(port: int, path: str = "/", accept: str = "text/html") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Accept": accept})
    found = connection.getresponse()
    text = found.read().decode("utf-8", "replace")
    connection.close()
    return found.status, text


@contextlib.contextmanager
def limited(soft: int, hard: int | None = None):
    """A limit of open files for whatever is started meanwhile; the hard one only in a child."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard or before[1]))
    try:
        yield before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's limits from /proc")
def test_visitors_beyond_the_limit_get_a_page_that_says_so(drawn, tmp_path):
    """And the soft limit of open files is raised for those that are let in."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    home, options = tmp_path / "home", ["--visitors", "3"]
    with limited(300), browser.serving(*drawn, home, options) as board:
        lines = Path(f"/proc/{board.pid}/limits").read_text().splitlines()
        [line] = [line for line in lines if line.startswith("Max open files")]
        expected = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
        assert int(line.split()[3]) == expected
        windows = [Visitor(board.url) for _ in range(3)]
        began = time.monotonic()
        for _ in range(40):
            status, text = asked(board.port)
            assert status == 503
            assert "Too many visitors just now" in text
            assert "not for diagnosis" in text
        with pytest.raises(InvalidStatus, match="403"):
            Visitor(board.url)
        # Those who are inside go on, with all that a page asks for.
        assert asked(board.port, "/_stcore/health", "*/*")[0] == 200
        windows[0].look()
        windows[0].close()
        until(lambda: asked(board.port)[0] == 200)
        Visitor(board.url).close()
        for window in windows[1:]:
            window.close()
        at_most = 2 + time.monotonic() - began  # one a second
        assert 1 <= board.log.read_text().count("no room") <= at_most
        board.process.kill()  # and the server ends with it: browser.serving looks
        board.process.wait(timeout=60)


@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's files from /proc")
def test_open_files_do_not_run_out(drawn, tmp_path):
    """Where the hard limit is low, windows leave some for pictures and for that page."""
    # The limits of this process cannot be taken back once they are lowered, so a shell's are.
    command = ["/bin/sh", "-c", 'ulimit -n 160; exec "$@"', "sh"]
    with browser.serving(*drawn, tmp_path / "home", before=command) as board:
        windows = []
        with pytest.raises(InvalidStatus, match="403"):
            while len(windows) < 60:
                windows.append(Visitor(board.url))
        assert len(windows) > 5
        assert len([*Path(f"/proc/{board.pid}/fd").iterdir()]) < 155
        assert asked(board.port)[0] == 503
        windows[0].look()
        for window in windows:
            assert window.problems == []
            window.close()
    assert "out of system resource" not in board.log.read_text()
    assert len(board.log.read_text()) < 10_000


def test_a_message_that_repeats_comes_once_a_second(caplog):
    visitor_limit.quiet_logs()
    began = time.monotonic()
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(500):
                logging.getLogger("asyncio").error(
                    "socket.accept() out of system resource",
                    exc_info=OSError(errno.EMFILE, "Too many open files"),
                )
            logging.getLogger("asyncio").error("something else")
    finally:
        for name in ("asyncio", "cxr.visitors"):
            logging.getLogger(name).filters.clear()
    said = [record.getMessage() for record in caplog.records]
    assert said.count("something else") == 1
    at_most = 2 + time.monotonic() - began
    assert 1 <= said.count("socket.accept() out of system resource") <= at_most
    assert "Traceback" not in caplog.text


def test_the_real_message_is_the_one_that_is_calmed():
    """asyncio's own words, from the interpreter that runs."""
    source = Path(asyncio.selector_events.__file__).read_text("utf-8")
    assert "'socket.accept() out of system resource'" in source


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's files from /proc")
def test_250_windows_under_a_limit_of_1024_files(drawn, tmp_path):
    command = ["/bin/sh", "-c", 'ulimit -n 1024; exec "$@"', "sh"]
    with browser.serving(*drawn, tmp_path / "home", before=command) as board:
        windows, refused = [], 0
        for _ in range(250):
            try:
                windows.append(Visitor(board.url))
            except InvalidStatus:
                refused += 1
        assert refused and len(windows) > 150
        assert asked(board.port)[0] == 503
        for window in windows:
            window.close()
    assert len(board.log.read_text()) < 100_000
