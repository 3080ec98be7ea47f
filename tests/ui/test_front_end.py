"""Files of Streamlit's front end come from the middleware as Streamlit itself would send them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("streamlit")
import streamlit
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from ui.dashboard.front_end import FrontEnd

FILES = Path(streamlit.__file__).parent / "static" / "static"


def test_files_are_sent_whole_and_all_else_is_the_app_s() -> None:
    client = TestClient(FrontEnd(PlainTextResponse("the app")))
    script = next((FILES / "js").glob("*.js"))
    for before in ("", "/cxr"):
        found = client.get(f"{before}/static/js/{script.name}")
        assert found.content == script.read_bytes()
        assert found.headers["content-type"] == "application/javascript"
        assert "immutable" in found.headers["cache-control"]
    for path in (
        "/",
        "/static/js/nothing.js",
        "/static/js/../../index.html",
        "/static/js/..%2f..%2findex.html",
        f"/js/{script.name}",
        "/static/",
    ):
        assert client.get(path).text == "the app", path
    path = f"/static/js/{script.name}"
    assert client.post(path).text == "the app"
    assert client.get(path, headers={"Range": "bytes=0-1"}).text == "the app"
