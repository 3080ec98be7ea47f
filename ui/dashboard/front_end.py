"""Files of Streamlit's front end, each sent at once: a browser that is new here asks for a hundred.

Streamlit reads each in a thread, bit by bit; while the libraries of the store are loaded, every
change of threads waits for its turn.
"""

from __future__ import annotations

from pathlib import Path

import streamlit
from starlette.types import ASGIApp, Receive, Scope, Send

_PLACE = "/static/"
_KINDS = {
    ".css": b"text/css; charset=utf-8",
    ".js": b"application/javascript",
    ".ttf": b"font/ttf",
    ".woff2": b"font/woff2",
}
#: A file's name holds a digest of what is in it.
_CACHE = b"public, immutable, max-age=31536000"


class FrontEnd:
    """ASGI middleware that answers for the files of the front end; all else is the app's.

    Args:
        app: the application behind it, which serves the same files.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        folder = Path(streamlit.__file__).parent / "static" / "static"
        self._files = {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.suffix in _KINDS
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send one file, if it is one of these and wanted whole."""
        path = None
        if scope["type"] == "http" and scope["method"] == "GET":
            path = self._files.get(scope["path"].rpartition(_PLACE)[2])
        if path is None or any(name == b"range" for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        body = path.read_bytes()
        headers = [
            (b"content-type", _KINDS[path.suffix]),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", _CACHE),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
