"""Limit of windows that are open at once, and the page for later visitors. No Streamlit here.

Every open window holds a connection for as long as it is open. When a process has no file number
left, it cannot even answer that it is full, and it says so in its log a thousand times a second.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Most windows, however many files may be open: each keeps what it shows in memory.
MOST = 1000
#: Part of the limit of open files that windows leave alone: for the gallery, for pictures, and for
#: the page that turns newcomers away.
_SPARE = 1 / 8
#: Most open files to ask for.
_ENOUGH = 65_536
#: The page for newcomers asks again after so many seconds.
_AGAIN_S = 10
#: Read now: later there may be no file number left to open it with.
_PAGE = (Path(__file__).parent / "components" / "too_many_visitors.html").read_text("utf-8")
_log = logging.getLogger("cxr.visitors")


def raise_file_limit() -> int:
    """Let this process, and those it starts, open as many files as the system allows it to.

    Returns:
        How many that are now.
    """
    try:
        import resource
    except ImportError:  # Windows: there is no such limit
        return _ENOUGH
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _ENOUGH if soft == resource.RLIM_INFINITY else int(soft)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # a system that promises more than it gives
        return int(soft)
    return int(wanted)


def most_windows() -> int:
    """Limit of open windows: ``$CXR_VISITORS``, else MOST."""
    asked = os.environ.get("CXR_VISITORS", "")
    return int(asked) if asked.isdigit() and int(asked) else MOST


class OncePerSecond(logging.Filter):
    """Log filter that passes a message once a second, without its traceback.

    Args:
        begins: beginning of the messages to limit; all others pass.
    """

    def __init__(self, begins: str = "") -> None:
        super().__init__()
        self._begins, self._last = begins, -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this one passes."""
        if not record.getMessage().startswith(self._begins):
            return True
        now = time.monotonic()
        if now < self._last + 1:
            return False
        self._last = now
        record.exc_info = record.exc_text = None
        return True


def quiet_logs() -> None:
    """Keep what happens to every newcomer from filling the disk with its log."""
    logging.getLogger("asyncio").addFilter(OncePerSecond("socket.accept() out of system resource"))
    _log.addFilter(OncePerSecond())


class VisitorLimit:
    """ASGI middleware that limits open windows; later visitors get a page that tries again.

    Args:
        app: the application behind it.
        most: limit of open windows.
        files: limit of open files. Closed windows keep theirs for a while, so that the number of
            open ones is asked of the system.
    """

    def __init__(self, app: App, most: int, files: int) -> None:
        self._app, self._most, self._inside = app, most, 0
        self._files = files - int(files * _SPARE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one connection in, or turn it away."""
        page = scope["type"] == "http" and _is_page(scope)
        full = (page or scope["type"] == "websocket") and self._is_full()
        if scope["type"] == "websocket":
            if full:
                self._log_full()
                await receive()
                await send({"type": "websocket.close", "code": 1013})  # try again later
                return
            self._inside += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._inside -= 1
        elif full:
            self._log_full()
            await _turn_away(send)
        else:
            await self._app(scope, receive, send)

    def _is_full(self) -> bool:
        return self._inside >= self._most or _lowest_free() >= self._files

    def _log_full(self) -> None:
        _log.warning(
            "no room: %s of %s windows are open, and files up to number %s; newcomers get a page "
            "that says so",
            self._inside,
            self._most,
            self._files,
        )


def _lowest_free() -> float:
    """The number that the next file would get: about how many are open."""
    try:
        number = os.dup(2)
    except OSError:
        return math.inf
    os.close(number)
    return number


def _is_page(scope: Scope) -> bool:
    """Whether somebody opens a window, rather than a window asking for what it shows."""
    accepts = dict(scope["headers"]).get(b"accept", b"")
    return scope["method"] == "GET" and b"text/html" in accepts


async def _turn_away(send: Send) -> None:
    body = _PAGE.replace("AGAIN_S", str(_AGAIN_S)).encode()
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-length": str(len(body)),
        "retry-after": str(_AGAIN_S),
        "cache-control": "no-store",
        "connection": "close",
    }
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 503, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
