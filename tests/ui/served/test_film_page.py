"""The page of a film in a real browser: its original, windowed there; arrows, tray, comparison."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from store import Gallery
from tests.ingest import films as files
from tests.ui import browser
from tests.ui.running import invoked
from tests.ui.served.test_search_page import drag, expect, next_frame
from tests.ui.served.test_serving import darken, violations

pytestmark = pytest.mark.browser
WIDTH, HEIGHT = 720, 600
#: A square of one stored value, and beside it one of the next: a thumbnail shows them alike.
LEFT, RIGHT, VALUE = (slice(200, 260), slice(200, 260)), (slice(200, 260), slice(260, 320)), 2008


class Board(NamedTuple):
    """A served gallery of files, and the folder that they are in."""

    url: str
    store: Path
    root: Path


def values(seed: int, bits: int = 12) -> np.ndarray:
    """Stored values of a film of some bits, uint16 (HEIGHT, WIDTH)."""
    small = files.chest(seed, 60).astype(float) / 255
    large = np.kron(small, np.ones((10, 12)))
    noisy = large + np.random.default_rng(seed).normal(0, 0.01, large.shape)
    return np.clip(noisy * (1 << bits), 0, (1 << bits) - 1).astype(np.uint16)


def dicom(seed: int, **tags: Any) -> bytes:
    pixels = values(seed)
    pixels[LEFT], pixels[RIGHT] = VALUE, VALUE + 1
    known = {
        "SOPInstanceUID": f"1.2.3.{seed}",
        "BitsStored": 12,
        "HighBit": 11,
        "WindowCenter": "1024",
        "WindowWidth": "4096",
        "RescaleSlope": "1",
        "RescaleIntercept": "-1024",
        "ImagerPixelSpacing": ["0.2", "0.1"],
    }
    return files.film(pixels, **{**known, **tags})


@pytest.fixture(scope="module")
def board(drawn, tmp_path_factory) -> Iterator[Board]:
    root = tmp_path_factory.mktemp("films")
    folder, store = root / "ward", root / "gallery"
    files.write(folder, "a.dcm", dicom(1))
    files.write(folder, "b.dcm", dicom(2, PhotometricInterpretation="MONOCHROME1"))
    for name in ("c", "moved", "replaced", "deleted"):
        deep = files.Image.fromarray(values(sum(map(ord, name)), 16))
        files.write(folder, f"{name}.png", files.encoded(deep))
    lines = ["file,label,patient,seen", "a.dcm,normal,p1,2024-03-01", "b.dcm,normal,p1,2023-05-01"]
    lines += ["c.png,pneumonia,p1,2024-01-01", "moved.png,normal,p2,", "replaced.png,normal,p2,"]
    files.write(root, "labels.csv", "\n".join([*lines, "deleted.png,normal,p2,"]) + "\n")
    told = ["--labels", root / "labels.csv", "--columns", "patient,seen"]
    code, _, said = invoked(
        "ingest", "folder", folder, "--store", store, "--encoder", drawn[1], *told, "--quiet"
    )
    assert code == 0, said
    with browser.serving(store, drawn[1], root / "home") as served:
        yield Board(served.url, store, folder)


def open_film(page, board: Board, name: str, shows: str = "original") -> Any:
    page.goto(f"{board.url}/film?id=ward/{name}")
    return shown(page, name, shows)


def shown(page, name: str, shows: str = "original", title: str = "chest film ") -> Any:
    """The canvas, once it shows the film; beside another one, a film's title is its id alone."""
    canvas = page.locator(f"canvas[aria-label='{title}ward/{name}'][data-shows={shows}]")
    canvas.wait_for()
    expect(page.locator(".viewer")).to_have_count(1)  # that of before is gone
    expect(page.locator(".readout")).to_contain_text("zoom 1.00")
    next_frame(page)
    return canvas


def place(canvas, column: float, row: float) -> tuple[float, float]:
    """Where the middle of a pixel of a film is in the window, the film being upright and fitted."""
    box = canvas.bounding_box()
    scale = min(box["width"] / WIDTH, box["height"] / HEIGHT)
    x = box["x"] + box["width"] / 2 + (column + 0.5 - WIDTH / 2) * scale
    return x, box["y"] + box["height"] / 2 + (row + 0.5 - HEIGHT / 2) * scale


def grey(canvas, x: float, y: float) -> list[int]:
    """Red, green and blue of the canvas at a place of the window."""
    box = canvas.bounding_box()
    at = [(x - box["x"]) / box["width"], (y - box["y"]) / box["height"]]
    return canvas.evaluate(
        "(one, [x, y]) => [...one.getContext('2d').getImageData(x * one.width, y * one.height, 1,"
        " 1).data].slice(0, 3)",
        at,
    )


def test_the_value_under_the_cursor_is_what_pydicom_reads(page, board):
    import pydicom

    canvas = open_film(page, board, "a.dcm")
    expect(page.locator(".said")).to_have_text("The original: 720 × 600, 12 bits.")
    stored = pydicom.dcmread(board.root / "a.dcm").pixel_array
    for column, row in ((10, 20), (333, 417), (700, 580), (230, 230)):
        page.mouse.move(*place(canvas, column, row))
        expect(page.locator(".value")).to_have_text(re.compile(r"^x \d+, y \d+: \d+ stored, -?\d+"))
        said = page.locator(".value").inner_text()
        x, y, value, meant = map(int, re.findall(r"-?\d+", said))
        assert abs(x - column) <= 1
        assert abs(y - row) <= 1
        assert value == stored[y, x]
        assert meant == value - 1024


def test_windowing_reaches_what_the_thumbnail_cannot_show(page, board):
    from PIL import Image

    canvas = open_film(page, board, "a.dcm")
    one, other = place(canvas, 230, 230), place(canvas, 290, 230)
    assert grey(canvas, *one) == grey(canvas, *other)
    png = Gallery.open(board.store).thumbnails(["ward/a.dcm"])["ward/a.dcm"]
    small = np.asarray(Image.open(files.io.BytesIO(png)))
    at = [(230 * len(small) // HEIGHT, x * small.shape[1] // WIDTH) for x in (230, 290)]
    assert small[at[0]] == small[at[1]]
    page.get_by_text("More", exact=True).click()
    page.get_by_role("slider", name="Width").fill("-9")  # 4096 / 2 ** 9: 8 values
    page.get_by_role("slider", name="Level").fill("-0.01")  # about what 2008 means
    expect(page.locator(".readout")).to_contain_text("window 8 · level 983")
    next_frame(page)
    assert 0 < grey(canvas, *one)[0] < 255
    assert grey(canvas, *one) != grey(canvas, *other)
    # a length, in millimetres of the plane that the file names: rows and columns differ
    page.keyboard.press(" ")
    page.keyboard.press("d")
    start = place(canvas, 200, 100)
    end = place(canvas, 500, 100)
    drag(page, start, (end[0] - start[0], 0), "left")
    across = re.compile(r"(29\.9|30\.0|30\.1) mm in the imager plane")
    expect(page.locator(".readout")).to_contain_text(across)
    drag(page, start, (0, end[0] - start[0]), "left")
    expect(page.locator(".readout")).to_contain_text(re.compile(r"(59\.|60\.)\d mm in the imager"))


def test_a_length_is_drawn_by_keys_alone_and_told(page, board):
    canvas = open_film(page, board, "a.dcm")
    told = page.locator(".viewer [role=status]")
    length = page.get_by_role("button", name="Length")
    before = grey(canvas, *place(canvas, 360, 300))
    length.focus()
    page.keyboard.press("Enter")
    expect(length).to_have_attribute("aria-pressed", "true")
    expect(told).to_contain_text("arrows move the first end")
    page.keyboard.press("ArrowLeft")
    expect(told).to_have_text(re.compile(r"First end x 35\d, y 300\."))
    for _ in range(5):
        page.keyboard.press("Shift+ArrowLeft")
    page.wait_for_timeout(100)
    page.keyboard.press("Enter")
    expect(told).to_contain_text("Arrows move the second end")
    start = [int(one) for one in re.findall(r"\d+", told.inner_text())]
    for _ in range(20):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    expect(told).to_contain_text("Second end")
    x, y = (int(one) for one in re.findall(r"\d+", told.inner_text())[:2])
    assert y == start[1] == 300
    assert x > start[0] + 100
    page.keyboard.press("Enter")
    expect(told).to_have_text(re.compile(r"^Length: [\d.]+ mm in the imager plane\.$"))
    said = float(re.findall(r"[\d.]+", told.inner_text())[0])
    assert said == pytest.approx(0.1 * (x - start[0]), abs=0.15)  # columns are 0.1 mm apart
    expect(page.locator(".readout")).to_contain_text(f"{said:.1f} mm in the imager plane")
    expect(length).to_have_attribute("aria-pressed", "false")
    page.wait_for_timeout(100)
    assert grey(canvas, *place(canvas, 360, 300)) != before  # the line is on the film
    page.keyboard.press("d")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    expect(told).to_have_text("The length is dropped.")
    expect(page.locator(".readout")).not_to_contain_text("mm in the")
    expect(page).to_have_url(re.compile("a.dcm"))  # arrows led to no other film


def test_a_film_is_upright_and_says_when_it_is_not(page, board):
    canvas = open_film(page, board, "c.png")
    before = grey(canvas, *place(canvas, 100, 300))
    page.keyboard.press("h")
    expect(page.locator(".corner")).to_have_text("mirrored: left is right")
    next_frame(page)
    assert grey(canvas, *place(canvas, WIDTH - 101, 300)) == before
    page.keyboard.press("h")
    for key, said in (("r", "turned to the right"), ("r", "turned by 180°"), ("v", "mirrored")):
        page.keyboard.press(key)
        expect(page.locator(".corner")).to_contain_text(said)
    page.keyboard.press(" ")
    expect(page.locator(".corner")).to_have_text("")
    page.keyboard.press("0")
    expect(page.locator(".readout")).to_contain_text("100 % of full size")
    page.keyboard.press("2")
    expect(page.locator(".readout")).to_contain_text("full range")
    page.keyboard.press("?")
    expect(page.locator(".keys")).to_be_visible()
    expect(page.locator(".keys")).to_be_in_viewport()
    page.emulate_media(media="print")
    expect(page.locator(".tools").first).to_be_hidden()
    expect(page.locator(".keys")).to_be_hidden()
    expect(canvas).to_be_visible()
    page.emulate_media(media="screen")


def test_films_are_gone_through_and_two_are_compared(page, board):
    page.goto(f"{board.url}/?id=ward/a.dcm&k=3")
    expect(page.locator(".cxr.hit .score")).to_have_count(3)
    ids = [hit.row.id for hit in Gallery.open(board.store).search_by_id("ward/a.dcm", 3)]
    link = page.get_by_role("link", name=f"Open {ids[0]}")
    link.focus()
    page.keyboard.press("Enter")  # as a click on the picture does
    shown(page, ids[0][5:])
    expect(page.get_by_text("1 of 3")).to_be_visible()
    page.get_by_role("button", name="Add to compare").click()
    expect(page.locator(".cxr.tray")).to_have_count(1)
    page.locator(".viewer").press("ArrowRight")
    shown(page, ids[1][5:])
    expect(page).to_have_url(re.compile(f"id={ids[1].replace('/', '%2F')}&of=hits$"))
    page.get_by_role("link", name="Before").click()
    shown(page, ids[0][5:])
    page.get_by_role("link", name="Next").click()
    shown(page, ids[1][5:])
    page.get_by_role("button", name="Add to compare").click()
    page.get_by_role("button", name="Compare", exact=True).click()
    first, second = (shown(page, id_[5:], title="") for id_ in ids[:2])
    drag(page, place(first, 360, 300), (0, -60), "right")
    expect(page.locator(".readout")).to_contain_text("zoom 1.65")
    page.keyboard.press("k")  # not linked any more
    drag(page, place(second, 360, 300), (0, -60), "right")
    expect(page.locator(".readout")).to_contain_text(
        re.compile(f"zoom 2.72.*of {ids[1]}; not linked")
    )
    page.go_back()
    shown(page, ids[1][5:])


def test_a_page_has_the_patients_other_films_by_date_and_all_that_is_known(page, board):
    open_film(page, board, "a.dcm")
    expect(page.get_by_role("heading", name="Other films of this patient, by seen")).to_be_visible()
    others = page.locator("[class*=st-key-patient-grid] .cxr.hit")
    expect(others).to_have_count(2)
    expect(others.first).to_contain_text("b.dcm")  # 2023, before 2024
    known = page.locator(".cxr.all-facts")
    for said in ("p1", "2024-03-01", "720 × 600 pixels", "a.dcm"):
        expect(known).to_contain_text(said)
    page.locator("[class*=st-key-patient-grid]").get_by_role("link", name="Open ward/c.png").click()
    shown(page, "c.png")
    expect(page.get_by_text("2 of 3")).to_be_visible()
    expect(page.locator("[class*=st-key-film-neighbours] .cxr.hit .score")).to_have_count(5)


def test_an_original_that_is_not_to_be_had_is_told_and_the_thumbnail_shown(page, board):
    (board.root / "moved.png").rename(board.root / "elsewhere.png")
    (board.root / "deleted.png").unlink()
    (board.root / "replaced.png").write_bytes(files.png(9, 80))
    for name, why in (
        ("moved", "no longer in its place"),
        ("deleted", "no longer in its place"),
        ("replaced", "other bytes than those that were ingested"),
    ):
        canvas = open_film(page, board, f"{name}.png", "thumbnail")
        expect(page.locator(".said")).to_contain_text(why)
        expect(page.locator(".said")).to_contain_text("Shown instead: its thumbnail")
        page.mouse.move(*place(canvas, 360, 300))
        expect(page.locator(".value")).to_contain_text("thumbnail")
    page.goto(f"{board.url}/film?id=ward/none.png")
    expect(page.get_by_text("No film has the id")).to_be_visible()
    expect(page.get_by_role("link", name="All films")).to_be_visible()


def test_a_pair_on_a_phone_is_stacked_and_axe_finds_nothing(visitor, board):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    size = {"viewport": {"width": 420, "height": 900}, "has_touch": True}
    page = visitor(**size)
    open_film(page, board, "a.dcm")
    page.get_by_role("button", name="Add to compare").click()
    expect(page.locator(".cxr.tray")).to_be_visible()
    assert violations(axe, page) == []
    page.goto(f"{board.url}/film?id=ward/a.dcm&with=ward/c.png")
    first, second = (shown(page, name, title="").bounding_box() for name in ("a.dcm", "c.png"))
    assert second["y"] > first["y"] + first["height"]
    assert first["width"] > 350
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(wide)
    darken(page)
    assert violations(axe, page, "color-contrast") == []
