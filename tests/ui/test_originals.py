"""Originals for visitors: addresses, what is answered to them, and hand-outs made of originals."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from ingest import ingest, open_source
from store import Gallery, Row
from tests.ingest.fakes import FakeEncoder
from tests.ingest.films import chest, encoded, film, write
from tests.ui.running import Cxr
from ui.dashboard import originals
from ui.dashboard.search import answer, download
from ui.dashboard.search.state import Search
from ui.report.film_pictures import film_pictures

DEEP = chest(side=400).astype(np.uint16) * 15 + 100
TAGS = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2000, "WindowWidth": 3000}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "films"
    tags = {"ImagerPixelSpacing": [0.2, 0.1], "PhotometricInterpretation": "MONOCHROME1"}
    write(root, "deep.dcm", film(DEEP, SOPInstanceUID="1.2.3", **TAGS, **tags))
    for number in range(3):
        write(root, f"{number}.png", encoded(Image.fromarray(chest(number, 300))))
    return root


@pytest.fixture
def gallery(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gallery:
    monkeypatch.delenv("CXR_ORIGINALS", raising=False)
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))
    gallery = Gallery.create(tmp_path / "store", FakeEncoder().stamp)
    ingest(open_source("folder", root), gallery, FakeEncoder())
    gallery.refresh()
    return gallery


@pytest.fixture
def client(gallery: Gallery) -> Iterator[TestClient]:
    with TestClient(Starlette(routes=[originals.route()])) as client:
        yield client


def parts(body: bytes) -> tuple[dict[str, Any], np.ndarray]:
    """Header and values of an answer, as a browser takes it apart."""
    size = int.from_bytes(body[:4], "little")
    head = json.loads(body[4 : 4 + size])
    start = -(-(4 + size) // 8) * 8
    shape = (head["height"], head["width"], head["channels"])[: 2 + (head["channels"] > 1)]
    order = np.dtype(head["dtype"]).newbyteorder("<")
    return head, np.frombuffer(body, order, offset=start).reshape(shape)


def address(gallery: Gallery, id_: str = "films/deep.dcm") -> str:
    found = originals.address(gallery, gallery.row(id_))
    assert found is not None
    return found


def test_a_film_of_12_bits_is_sent_whole(client: TestClient, gallery: Gallery):
    answer = client.get(address(gallery))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["content-encoding"] == "identity"
    head, values = parts(answer.content)
    assert np.array_equal(values, DEEP)
    assert (head["dtype"], head["bits"], head["inverted"]) == ("uint16", 12, True)
    assert (head["spacing"], head["spacing_plane"]) == ([0.2, 0.1], "imager")
    assert head["presets"][0] == {
        "name": "as stored",
        "centre": 2000.0,
        "width": 3000.0,
        "function": "LINEAR",
    }
    assert (head["low"], head["high"]) == (DEEP.min(), DEEP.max())
    assert head["low"] <= head["p1"] < head["p99"] <= head["high"]
    head, values = parts(client.get(address(gallery, "films/1.png")).content)
    assert np.array_equal(values, chest(1, 300)) and head["presets"][0]["name"] == "as stored"


def test_a_table_is_sent_as_bytes(tmp_path: Path):
    from ingest.originals.decode import decode_original
    from tests.ingest import kinds

    found = decode_original(kinds.Kind("VOI 12 OW").made(), "it")
    head, _ = parts(originals.header(found) + found.values.tobytes())
    one = head["presets"][0]
    assert one["first"] == found.low
    assert base64.b64decode(one["table"]) == found.presets[0].table.tobytes()


def test_head_decodes_ahead_and_sends_nothing(client: TestClient, gallery: Gallery):
    answer = client.head(address(gallery))
    assert answer.status_code == 200 and not answer.content
    assert int(answer.headers["content-length"]) == len(client.get(address(gallery)).content)


def test_a_film_is_decoded_once_though_its_page_began_before_it_was_asked_for(
    client: TestClient, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
):
    from ingest.originals import reading

    decode, begun, go_on = reading.decode_original, threading.Event(), threading.Event()
    decoded = []

    def slow(data: bytes, name: str) -> Any:
        begun.set()
        assert go_on.wait(60)
        decoded.append(name)
        return decode(data, name)

    monkeypatch.setattr(reading, "decode_original", slow)
    originals.decode_ahead(gallery, gallery.row("films/deep.dcm"))
    assert begun.wait(60)  # nobody has asked for it
    originals.decode_ahead(gallery, gallery.row("films/1.png"))  # not while another is
    threading.Timer(0.2, go_on.set).start()
    assert client.get(address(gallery)).status_code == 200
    assert len(decoded) == 1


def said(client: TestClient, url: str, status: int = 404) -> str:
    """What is said instead of a film; nothing of where anything lies."""
    answer = client.get(url)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["cache-control"] == "no-store"
    assert "films" not in answer.text.replace("Too many films", "") and "/" not in answer.text
    return answer.text


def test_accidents_are_told_in_a_sentence(client: TestClient, gallery: Gallery, root: Path):
    url = address(gallery)
    client.get(url)
    (root / "deep.dcm").write_bytes(film(DEEP[::-1], SOPInstanceUID="1.2.3", **TAGS))
    assert "other bytes" in said(client, url)
    assert originals.state(gallery, gallery.row("films/deep.dcm")) == "original"
    (root / "deep.dcm").unlink()
    assert "no longer in its place" in said(client, url)
    assert originals.address(gallery, gallery.row("films/deep.dcm")) is None
    assert "no longer in" in originals.state(gallery, gallery.row("films/deep.dcm"))
    (root / "deep.dcm").symlink_to(root / "1.png")
    assert "a link" in said(client, url)


def test_turned_off(client: TestClient, gallery: Gallery, monkeypatch: pytest.MonkeyPatch):
    url = address(gallery)
    monkeypatch.setenv("CXR_ORIGINALS", "off")
    assert "turned off" in said(client, url)
    assert originals.address(gallery, gallery.row("films/deep.dcm")) is None


@pytest.mark.parametrize("number", range(8))
def test_no_address_but_one_that_was_given_out(client: TestClient, gallery: Gallery, number: int):
    uuid = gallery.state[0]
    good = originals.token(uuid, "films/deep.dcm")
    now = time.time()
    raw = base64.urlsafe_b64decode(good + "==")
    longer = raw[:16] + (2**40).to_bytes(8, "big") + raw[24:]
    bad = [
        originals.token("another gallery", "films/deep.dcm"),
        originals.token(uuid, "films/deep.dcm", now - 2 * originals.LIFE_S),
        originals.token(uuid, "films/none.dcm"),
        good[:-6] + "AAAAAA",
        base64.urlsafe_b64encode(longer).decode().rstrip("="),
        base64.urlsafe_b64encode(b"\0" * 16 + raw[16:]).decode().rstrip("="),
        b"films/deep.dcm".hex(),
        "é%00",
    ]
    assert said(client, f"/originals/{bad[number]}")
    assert client.get(f"/originals/{good}").status_code == 200


@pytest.mark.parametrize(
    "path", ["../films/deep.dcm", "..%2f..%2ffilms%2fdeep.dcm", "%2e%2e/deep.dcm", "x/../../y"]
)
def test_no_path(client: TestClient, path: str):
    assert client.get(f"/originals/{path}").status_code == 404


def test_a_token_lives_an_hour_or_two_and_is_the_same_for_one():
    now = 1_000_000 * originals.LIFE_S + 5.0
    token = originals.token("uuid", "é/1", now)
    assert token == originals.token("uuid", "é/1", now + originals.LIFE_S - 10)
    assert originals.id_of(token, "uuid", now + originals.LIFE_S) == "é/1"
    assert originals.id_of(token, "uuid", now + 2 * originals.LIFE_S) is None
    assert originals.id_of(token, "uui", now) is None
    assert originals.id_of("", "uuid", now) is None


def test_a_film_that_was_deleted_has_no_address(client: TestClient, gallery: Gallery):
    url = address(gallery)
    gallery.delete(ids=["films/deep.dcm"])
    assert "too old" in said(client, url)


def test_an_address_is_of_the_visitor_who_signed_in(
    client: TestClient, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CXR_SIGN_IN", "1")
    me = b"signed in\n_streamlit_user=me"
    mine = originals.token(gallery.state[0], "films/1.png", visitor=me)
    nobody = originals.token(gallery.state[0], "films/1.png")
    for one in (mine, nobody):
        assert "too old" in said(client, f"/originals/{one}")
    for cookies, status in (
        ({"_streamlit_user": "me", "_streamlit_user_tokens": "x", "other": "y"}, 200),
        ({"_streamlit_user": "you"}, 404),
        ({"_streamlit_user": "me", "_streamlit_user_1": "more"}, 404),
    ):
        client.cookies = cookies
        assert client.get(f"/originals/{mine}").status_code == status
        assert client.get(f"/originals/{nobody}").status_code == 404


def test_who_does_not_read_on_gets_no_more(gallery: Gallery, monkeypatch: pytest.MonkeyPatch):
    """And what was reserved for such a visitor is there for others again."""
    monkeypatch.setattr(originals, "PATIENCE_S", 0.05)
    app = Starlette(routes=[originals.route()])
    path = address(gallery)
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
        "query_string": b"", "headers": [], "root_path": "", "scheme": "http",
        "http_version": "1.1", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if len(sent) > 2:
            await asyncio.sleep(60)

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def visit() -> None:
        for _ in range(3):
            sent.clear()
            await asyncio.wait_for(app(scope, receive, send), 20)

    asyncio.run(visit())
    assert sent == ["http.response.start", "http.response.body", "http.response.body"]


def test_room_for_films_under_way_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(originals, "PATIENCE_S", 0.05)

    async def visits() -> list[bool]:
        room = originals.Room(100)
        found = [await room.enter(70), await room.enter(40)]
        waiting = asyncio.create_task(room.enter(40))
        await asyncio.sleep(0)
        await room.leave(70)
        found += [await waiting, await room.enter(60)]
        await room.leave(40)
        await room.leave(60)
        return [*found, await room.enter(500), await room.enter(1)]

    assert asyncio.run(visits()) == [True, False, True, True, True, False]


WHOLE = """
import json, os
from streamlit import config
config.set_option("server.baseUrlPath", "below")
from starlette.testclient import TestClient
from store import Gallery
from ui.dashboard import asgi, originals
gallery = Gallery.open(os.environ["CXR_STORE"])
with TestClient(asgi.app) as client:
    url = originals.address(gallery, gallery.row("films/deep.dcm"))
    got = client.get(url, headers={"Accept-Encoding": "gzip"})
    bare = client.get(url.removeprefix("/below"))
    print(json.dumps([url[:17], got.status_code, len(got.content), got.headers["content-encoding"],
        got.headers["content-length"], bare.headers["content-type"].partition(";")[0],
        client.get("/below/originals/x").status_code, client.post(url).status_code]))
"""


def test_the_whole_application_answers_below_its_base_path(gallery: Gallery):
    done = subprocess.run([sys.executable, "-P", "-c", WHOLE], capture_output=True, check=True)
    url, status, size, coded, length, bare, unknown, posted = json.loads(done.stdout)
    assert (url, status, coded, unknown) == ("/below/originals/", 200, "identity", 404)
    assert size == int(length) > DEEP.nbytes
    assert bare != "application/octet-stream"
    assert posted == 405


# -- hand-outs -------------------------------------------------------------------------------------


def test_pictures_are_originals_or_say_that_they_are_not(gallery: Gallery, root: Path):
    rows = [*gallery.rows(gallery.ids()).values()]
    found = film_pictures(gallery, rows, 200)
    assert (found.originals, found.note) == (4, "pictures from the films' own files")
    assert {one.shape for one in found.by_id.values()} == {(200, 200)}  # type: ignore[union-attr]
    (root / "1.png").unlink()
    found = film_pictures(gallery, rows, 200)
    assert found.note == "1 of 4 pictures are thumbnails: no original at hand"
    assert list(found.instead) == ["films/1.png"]
    assert found.by_id["films/1.png"] == gallery.thumbnails(["films/1.png"])["films/1.png"]


def test_zip_and_contact_sheet_hold_originals(gallery: Gallery, root: Path):
    (root / "1.png").unlink()
    search = Search(id="films/deep.dcm", k=3)
    found = answer.answer(gallery, search, None, 60)
    with zipfile.ZipFile(io.BytesIO(download.archive(gallery, search, found))) as whole:
        about = json.loads(whole.read("query.json"))["pictures"]
        sizes = {
            name: Image.open(whole.open(name)).size
            for name in whole.namelist()
            if name.endswith(".png")
        }
    lost = next(hit.rank for hit in found.hits if hit.row.id == "films/1.png")
    assert sizes.pop("query.png") == (400, 400)
    assert sizes.pop(f"films/{lost:04}.png") == (256, 256)
    assert set(sizes.values()) == {(300, 300)}
    assert (about["originals"], list(about["thumbnails"])) == (3, ["films/1.png"])
    assert download.contact_sheet(gallery, search, found).startswith(b"%PDF-")


@pytest.mark.parametrize(
    ("name", "begins"), [("x.png", b"\x89PNG"), ("x.PDF", b"%PDF-"), ("x.svg", b"<?xml")]
)
def test_a_figure_is_what_its_name_says(
    cxr: Cxr, gallery: Gallery, tmp_path: Path, name: str, begins: bytes
):
    path = tmp_path / name
    done = cxr("search", "--store", gallery.uri, "--id", "films/1.png", "-k", 2, "--figure", path)
    assert done.code == 0, done.err
    first = path.read_bytes()
    assert first.startswith(begins)
    cxr("search", "--store", gallery.uri, "--id", "films/1.png", "-k", 2, "--figure", path)
    assert path.read_bytes() == first


@pytest.mark.parametrize("name", ["x.jpg", "x", "x.pdf.gz", ".png"])
def test_another_suffix_is_refused_before_any_work(cxr: Cxr, tmp_path: Path, name: str):
    done = cxr("search", "--store", tmp_path / "none", "--id", "x", "--figure", tmp_path / name)
    assert done.code == 2 and "expected a name ending in .png, .pdf or .svg" in done.err


def test_relocate_by_command(cxr: Cxr, gallery: Gallery, root: Path):
    root.rename(root.with_name("moved"))
    place = ("relocate", root.with_name("moved"), "--store", gallery.uri)
    done = cxr(*place, "--dry-run")
    assert done.out == (
        f"4 rows would get a new place below {root.with_name('moved')}; in their place: 0, "
        "not found: 0\n"
    )
    found = cxr(*place, "--json").document
    assert {name: found[name] for name in ("done", "files", "moved", "missing")} == {
        "done": True, "files": 4, "moved": 4, "missing": 0,
    }  # fmt: skip
    assert cxr("relocate", root, "--store", gallery.uri).code == 1


def test_row_is_asked_cheaply(gallery: Gallery):
    """Nothing of a film is decoded to say whether it can be shown."""
    from ingest.originals import kept

    kept.KEPT.clear()
    row: Row = gallery.row("films/deep.dcm")
    assert originals.state(gallery, row) == "original" and kept.KEPT.bytes == 0
