"""An S3 server on this machine, and a proxy before it that counts, breaks and delays requests."""

from __future__ import annotations

import http.client
import logging
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

#: What a proxy may do with a request instead of passing it on.
LOSE_REQUEST, LOSE_ANSWER, BUSY, SLOW, FORGET_CONDITION = "request", "answer", "503", "slow", "if"
REGION = "us-east-1"


@dataclass(frozen=True)
class Asked:
    """One request as the proxy saw it."""

    method: str
    path: str
    ranged: bool
    sent: int
    received: int
    status: int


@dataclass
class Proxy:
    """Between the gallery and the server."""

    port: int
    log: list[Asked] = field(default_factory=list)
    plan: Callable[[str, str], str | None] = lambda method, path: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def seen(self, method: str = "", part: str = "") -> list[Asked]:
        return [one for one in self.log if method in one.method and part in one.path]

    @property
    def received(self) -> int:
        """Bytes that came back."""
        return sum(one.received for one in self.log)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def _pass(self) -> None:
        proxy: Proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = proxy.plan(self.command, self.path)
        if fault == LOSE_REQUEST:
            self._drop()
            return
        if fault == BUSY:
            self._answer(503, [], b"<Error><Code>SlowDown</Code></Error>", len(body))
            return
        if fault == SLOW:
            time.sleep(0.3)
        headers = dict(self.headers.items())
        if fault == FORGET_CONDITION:
            headers = {
                name: one for name, one in headers.items() if name.lower() != "if-none-match"
            }
        server = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=120)
        try:
            server.request(self.command, self.path, body, headers)
            found = server.getresponse()
            content = found.read()
        finally:
            server.close()
        if fault == LOSE_ANSWER:
            self._drop()
            return
        self._answer(found.status, found.getheaders(), content, len(body))

    def _answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, sent: int
    ) -> None:
        ranged = self.headers.get("Range") is not None
        self.server.proxy.log.append(
            Asked(self.command, self.path, ranged, sent, len(content), status)
        )
        self.send_response_only(status)
        length = str(len(content))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)

    def _drop(self) -> None:
        """Reset the connection, as a network that breaks does."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._pass
        raise AttributeError(name)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass  # the other side went away, or was made to


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    server = _Server(("127.0.0.1", 0), _Handler)
    proxy = Proxy(server.server_address[1])
    server.target, server.proxy = port, proxy  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def environment(url: str) -> dict[str, str]:
    """What a process needs to reach the server."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_REGION": REGION,
    }


@contextmanager
def s3_server() -> Iterator[int]:
    """Moto's S3 server; its port."""
    moto = pytest.importorskip("moto.server", reason="the S3 server of the tests: moto[server]")
    pytest.importorskip("obstore", reason="the extra s3")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()[1]
    finally:
        server.stop()


def make_bucket(port: int) -> str:
    """A fresh bucket; the URI of a gallery in it."""
    name = f"tests-{uuid.uuid4().hex[:12]}"
    server = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    server.request("PUT", f"/{name}")
    assert server.getresponse().status == 200
    server.close()
    return f"s3://{name}/films/gallery"


@pytest.fixture(scope="module", name="server")
def shared_server() -> Iterator[int]:
    """The port of an S3 server that a module's tests share."""
    with s3_server() as port:
        yield port


@pytest.fixture(name="proxy")
def fresh_proxy(server: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy before it, which the environment names; the cache is the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with proxy_to(server) as found:
        for name, value in environment(found.url).items():
            monkeypatch.setenv(name, value)
        yield found
