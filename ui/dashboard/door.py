"""How many visitors come in at once, and what the others are told. No Streamlit here.

Every open window holds a connection for as long as it is open. When a process has no file number
left, it cannot even answer that it is full, and it says so in its log a thousand times a second.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
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
#: More open files than that are asked for by nobody.
_ENOUGH = 65_536
_AGAIN_S = 10
_log = logging.getLogger("cxr.door")


def raise_limit() -> int:
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


def room() -> int:
    """How many windows may be open: ``$CXR_VISITORS``, else MOST."""
    asked = os.environ.get("CXR_VISITORS", "")
    return int(asked) if asked.isdigit() and int(asked) else MOST


class OncePerSecond(logging.Filter):
    """Lets a message pass once a second, without a traceback that says no more than it does.

    Args:
        begins: how the messages begin that are meant; all others pass.
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


def calm() -> None:
    """Keep what happens to every newcomer from filling the disk with its log."""
    logging.getLogger("asyncio").addFilter(OncePerSecond("socket.accept() out of system resource"))
    _log.addFilter(OncePerSecond())


class Door:
    """An ASGI application before another one: so many windows at once, a page for who comes later.

    Args:
        app: the other one.
        most: windows.
        files: that may be open; windows that were closed keep theirs for a while, so that these
            are looked at, not counted.
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
                self._say()
                await receive()
                await send({"type": "websocket.close", "code": 1013})  # try again later
                return
            self._inside += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._inside -= 1
        elif full:
            self._say()
            await _turn_away(send)
        else:
            await self._app(scope, receive, send)

    def _is_full(self) -> bool:
        return self._inside >= self._most or _lowest_free() >= self._files

    def _say(self) -> None:
        _log.warning(
            "no room: %s windows are open of %s that may be, and files up to number %s; newcomers "
            "are told",
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
    body = _PAGE.format(again=_AGAIN_S).encode()
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


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{again}">
<title>cxr-retrieval: no room just now</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center;
  font: 1rem/1.55 "Source Sans", "Source Sans Pro", system-ui, sans-serif;
  background: #ffffff; color: #18242e; }}
main {{ max-width: 34rem; padding: 2rem 1.5rem; }}
h1 {{ font-size: 1.75rem; font-weight: 650; line-height: 1.2; margin: 0 0 1rem; }}
p {{ margin: 0 0 1rem; }}
code {{ white-space: nowrap; }}
.care {{ color: #5a6b77; font-size: .875rem; border-top: 1px solid #d3dde3; padding-top: 1rem; }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #0f1519; color: #e6edf0; }}
  .care {{ color: #a3b4bd; border-color: #33424c; }}
}}
</style>
</head>
<body>
<main>
<h1>Too many visitors just now</h1>
<p>As many windows of this dashboard are open as it can serve. Nothing is lost: this page tries
again by itself every {again} seconds and lets you in when somebody has closed theirs.</p>
<p>If you have several windows open here, close one. Whoever runs the dashboard can let in more
with <code>ulimit -n</code> and <code>cxr serve --visitors</code>.</p>
<p class="care">Research and education only, not for diagnosis</p>
</main>
</body>
</html>
"""
