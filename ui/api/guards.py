"""Guards in front of every request: token, rate, and size of the body."""

from __future__ import annotations

import hmac
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from store import UsageError
from ui.opening import FILE_MB

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Paths that anybody may ask: a probe has no token, and the documentation no data.
OPEN = ("/health", "/docs", "/openapi.json")
_STATIC = "/static-offline-docs/"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a service.

    Attributes:
        token: what ``Authorization: Bearer`` must bring; None asks for none.
        rate: requests of one client, as the library ``limits`` reads it: ``600/minute``.
        body: largest body, in bytes.
    """

    token: str | None = None
    rate: str = "600/minute"
    body: int = FILE_MB << 20

    def __post_init__(self) -> None:
        from limits import parse

        try:
            parse(self.rate)
        except ValueError:
            raise UsageError(
                f"--rate {self.rate!r}: expected e.g. 600/minute or 20/second"
            ) from None


class Guard:
    """Middleware that answers 401, 429 and 413 before anything is read or computed."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        from limits import parse
        from limits.storage import MemoryStorage
        from limits.strategies import MovingWindowRateLimiter

        self.app = app
        self.limits = limits
        self.rate = parse(limits.rate)
        self.window = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        if scope["path"] in OPEN or scope["path"].startswith(_STATIC):
            await self.app(scope, receive, send)
            return
        client = (scope.get("client") or ("unknown",))[0]
        if not self.window.hit(self.rate, client):
            reset = self.window.get_window_stats(self.rate, client).reset_time
            wait = max(math.ceil(reset - time.time()), 1)
            detail = f"more than {self.limits.rate} requests of one client; wait {wait} s"
            await refuse(429, detail, scope, receive, send, {"Retry-After": str(wait)})
            return
        if not self._admitted(headers.get(b"authorization", b"")):
            detail = "this service asks for a token; send the header Authorization: Bearer TOKEN"
            await refuse(401, detail, scope, receive, send, {"WWW-Authenticate": "Bearer"})
            return
        told = headers.get(b"content-length", b"")
        if told.isdigit() and int(told) > self.limits.body:
            await refuse(413, self._too_large(), scope, receive, send)
            return
        await self._bounded(scope, receive, send)

    def _admitted(self, header: bytes) -> bool:
        if self.limits.token is None:
            return True
        kind, _, given = header.partition(b" ")
        wanted = self.limits.token.encode()
        return kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), wanted)

    def _too_large(self) -> str:
        return f"the body is larger than {self.limits.body >> 20} MB, the most that is taken"

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the bytes of a body that does not say its length."""
        from starlette.exceptions import HTTPException

        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.limits.body:
                raise HTTPException(413, self._too_large())
            return message

        await self.app(scope, counted, send)


async def refuse(
    status: int, detail: str, scope: Any, receive: Any, send: Any, headers: Any = None
) -> None:
    """Answer with an error in the service's form."""
    from starlette.responses import JSONResponse

    await JSONResponse({"error": detail}, status, headers)(scope, receive, send)
