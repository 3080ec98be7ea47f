"""Originals for the viewer: addresses with a token, and the route that answers them.

A page makes an address for a visitor whom it admitted; its token names the gallery and the film,
expires, and is signed with a secret of this process; where visitors sign in, it is of the one who
did. No path comes from the browser. The answer is
one block: 4 bytes, little endian, the length of a JSON header; the header; padding to a multiple of
8; the stored values, little endian, row by row. HEAD decodes the film ahead and sends none of it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
import os
import re
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anyio
import streamlit as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from store import CxrError
from ui.dashboard import sign_in

if TYPE_CHECKING:
    from ingest import Original
    from store import Gallery, Row

#: An address is good for one to two of these, and the same for one of them.
LIFE_S = 3600
#: Bytes of films that are being decoded for visitors or sent to them, at most; others wait.
MOST_BYTES = 384 << 20
#: Bytes of the largest film that is decoded before it is asked for.
MOST_AHEAD = 96 << 20
#: Longest wait of a visitor for others, and of the server for one who does not read on.
PATIENCE_S = 30.0
_PIECE = 1 << 20
_MAC = 16
_secret = os.urandom(32)
#: Streamlit's cookie of a visitor who signed in, whole or in parts; not that of its tokens.
_SIGNED_IN = re.compile(r"_streamlit_user(_\d+)?")
_HEADERS = {
    "Cache-Control": "private, no-store",
    "Content-Type": "application/octet-stream",
    # Named, so that no middleware compresses it: that takes longer than to send it.
    "Content-Encoding": "identity",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def state(gallery: Gallery, row: Row) -> str:
    """``original`` where it can be shown, else a sentence that says why not. Nothing is decoded."""
    from ingest import OriginalUnavailable, original_is_there

    try:
        original_is_there(gallery.uri, row)
    except OriginalUnavailable as error:
        return str(error)
    return "original"


def address(gallery: Gallery, row: Row) -> str | None:
    """Address of a film's original for the visitor of this page; None where it is not to be had."""
    if state(gallery, row) != "original":
        return None
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    made = token(gallery.state[0], row.id, visitor=_visitor(st.context.cookies))
    return "/".join(["", *([base] if base else []), "originals", made])


def _visitor(cookies: Mapping[str, str]) -> bytes:
    """Who signed in, by the cookies that say so; nobody where nobody has to."""
    if not sign_in.needs_sign_in():
        return b""
    names = sorted(name for name in cookies if _SIGNED_IN.fullmatch(name))
    return "\n".join(["signed in", *(f"{name}={cookies[name]}" for name in names)]).encode()


#: Look up rows. Streamlit's caches warn that these threads draw no page, which is so.
_lookers = ThreadPoolExecutor(2, "originals-row")


#: Decodes the films of pages that are being drawn.
_ahead, _one_ahead = ThreadPoolExecutor(1, "originals-ahead"), threading.BoundedSemaphore()


def decode_ahead(gallery: Gallery, row: Row) -> None:
    """Begin to decode a film whose page is being drawn, before the browser can ask for it.

    One at a time for all visitors, none waits for its turn, and none takes half of what is kept.
    """
    if _bytes_of(row) > MOST_AHEAD or state(gallery, row) != "original":
        return
    if _one_ahead.acquire(blocking=False):
        decoding = _ahead.submit(_read, gallery.uri, row)
        decoding.add_done_callback(lambda _: _one_ahead.release())


def _not_ours(record: logging.LogRecord) -> bool:
    return not str(record.threadName).startswith("originals")


def token(uuid: str, id_: str, now: float | None = None, visitor: bytes = b"") -> str:
    """A token for one film of one gallery, good for LIFE_S to twice that.

    Args:
        uuid: of the gallery's table.
        id_: of the film.
        now: seconds; the clock's when ``None``.
        visitor: who may use it.
    """
    until = (int(time.time() if now is None else now) // LIFE_S + 2) * LIFE_S
    said = until.to_bytes(8, "big") + id_.encode()
    return base64.urlsafe_b64encode(_mac(uuid, visitor, said) + said).decode().rstrip("=")


def id_of(given: str, uuid: str, now: float | None = None, visitor: bytes = b"") -> str | None:
    """The film that a token is for; None of one of another gallery or visitor, or that expired."""
    try:
        raw = base64.urlsafe_b64decode(given + "=" * (-len(given) % 4))
    except (binascii.Error, ValueError):
        return None
    mac, said = raw[:_MAC], raw[_MAC:]
    if len(said) < 8 or not hmac.compare_digest(mac, _mac(uuid, visitor, said)):
        return None
    if int.from_bytes(said[:8], "big") <= (time.time() if now is None else now):
        return None
    return said[8:].decode("utf-8", "replace")


def _mac(uuid: str, visitor: bytes, said: bytes) -> bytes:
    name = uuid.encode()
    sizes = len(name).to_bytes(8, "big") + len(visitor).to_bytes(8, "big")
    return hmac.digest(_secret, sizes + name + visitor + said, hashlib.sha256)[:_MAC]


def route() -> Route:
    """The route of originals, below the dashboard's base path."""
    name = "streamlit.runtime.scriptrunner_utils.script_run_context"
    logging.getLogger(name).addFilter(_not_ours)
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    path = f"/{base}/originals/{{token}}" if base else "/originals/{token}"
    return Route(path, _answer, methods=["GET", "HEAD"])


async def _answer(request: Request) -> Response:
    loop = asyncio.get_running_loop()
    given, visitor = request.path_params["token"], _visitor(request.cookies)
    found = await loop.run_in_executor(_lookers, _row, given, visitor)
    if found is None:
        return _said("This address is of no film here, or too old; load the page again.")
    uri, row = found
    if not await _room.enter(_bytes_of(row)):
        return _said("Too many films are under way; try again in a moment.", 503)
    kept = False
    try:
        film = await anyio.to_thread.run_sync(_read, uri, row, limiter=_readers())
        if isinstance(film, str):
            return _said(film)
        if request.method == "HEAD":
            size = len(header(film)) + film.values.nbytes
            return Response(headers={**_HEADERS, "Content-Length": str(size)})
        kept = True
        return _Film(film, _bytes_of(row))
    finally:
        if not kept:
            await _room.leave(_bytes_of(row))


def _said(sentence: str, status: int = 404) -> Response:
    return PlainTextResponse(sentence, status, {"Cache-Control": "no-store"})


def _row(given: str, visitor: bytes) -> tuple[str, Row] | None:
    from ui.dashboard import shared

    try:
        gallery = shared.newest()
        id_ = id_of(given, gallery.state[0], visitor=visitor)
        return None if id_ is None else (gallery.uri, gallery.row(id_))
    except CxrError:
        return None


def _read(uri: str, row: Row) -> Original | str:
    from ingest import OriginalUnavailable, read_original_of

    try:
        return read_original_of(uri, row)
    except OriginalUnavailable as error:
        return str(error)


def _readers() -> anyio.CapacityLimiter:
    """Threads that wait for decoders: fewer than the server has for everything else."""
    global _limiter
    if _limiter is None:
        _limiter = anyio.CapacityLimiter(8)
    return _limiter


_limiter: anyio.CapacityLimiter | None = None


def _bytes_of(row: Row) -> int:
    """About the bytes of a film of 16 bits; one that was halved has more."""
    return 2 * max(row.width, 1) * max(row.height, 1)


def header(film: Original) -> bytes:
    """The head of an answer: length, JSON, padding to a multiple of 8."""
    presets: list[dict[str, Any]] = []
    for one in film.presets:
        if one.table is None:
            window = {"centre": one.centre, "width": one.width, "function": one.function}
            presets.append({"name": one.name, **window})
        else:
            table = base64.b64encode(one.table.tobytes()).decode()
            presets.append({"name": one.name, "first": one.first, "table": table})
    document = {
        "height": film.height,
        "width": film.width,
        "channels": film.channels,
        "dtype": film.values.dtype.name,
        "bits": film.bits,
        "inverted": film.inverted,
        "slope": film.slope,
        "intercept": film.intercept,
        "unit": film.unit,
        "presets": presets,
        "spacing": film.spacing,
        "spacing_plane": film.spacing_plane,
        "low": film.low,
        "high": film.high,
        "p1": film.p1,
        "p99": film.p99,
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    head = len(text).to_bytes(4, "little") + text
    return head + bytes(-len(head) % 8)


class _Film(Response):
    """The answer with a film's values, a piece at a time; given up when nobody reads on."""

    def __init__(self, film: Original, reserved: int) -> None:
        self._head, self._film, self._reserved = header(film), film, reserved
        super().__init__()
        size = len(self._head) + film.values.nbytes
        self.init_headers({**_HEADERS, "Content-Length": str(size)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            await self._piece(send, self._head)
            values = self._film.values.reshape(-1).view("uint8")
            for at in range(0, len(values), _PIECE):
                await self._piece(send, values[at : at + _PIECE].tobytes())
            del values
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            return  # who does not read on gets no more; the server closes the connection
        finally:
            del self._film
            await _room.leave(self._reserved)

    async def _piece(self, send: Send, piece: bytes) -> None:
        with anyio.fail_after(PATIENCE_S):
            await send({"type": "http.response.body", "body": piece, "more_body": True})


class Room:
    """Budget of bytes for films under way; a film larger than all of it goes alone."""

    def __init__(self, most: int) -> None:
        self._most, self._used = most, 0
        self._changed = asyncio.Condition()

    async def enter(self, size: int) -> bool:
        """Wait for room; False where there is none in time."""
        async with self._changed:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._changed.wait_for(
                        lambda: self._used == 0 or self._used + size <= self._most
                    )
            except TimeoutError:
                return False
            self._used += size
            return True

    async def leave(self, size: int) -> None:
        """Give room back."""
        async with self._changed:
            self._used -= size
            self._changed.notify_all()


_room = Room(MOST_BYTES)
