"""Make the README's pictures from a gallery: the dashboard, and one retrieval figure.

    python -m docs.screenshots --store GALLERY --out docs/images

Needs Playwright and a Chromium (``/usr/bin/chromium``, or ``$CXR_BROWSER``). Serves the dashboard
by itself on a free port of 127.0.0.1, and ends it afterwards.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Browser

from tests.ui.browser import chromium, serving
from ui.dashboard.batches import inbox, jobs

if TYPE_CHECKING:
    from store import Gallery

OFFER = ["--allow-ingest"]
WIDE, PHONE = (1440, 900), (420, 900)
#: Colours of a saved picture: films are grey and the rest is flat, so few are enough.
COLOURS = 256


def picture(
    browser: Browser,
    url: str,
    until: str,
    size: tuple[int, int],
    scheme: str,
    out: Path,
    colours: int | None = None,
) -> None:
    """Open a page, wait until a CSS selector is there, save what is seen, in some colours."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    page.goto(url)
    page.locator(until).first.wait_for(timeout=90_000)
    page.locator("[data-testid=stSpinner]").first.wait_for(state="detached", timeout=90_000)
    page.wait_for_timeout(1500)  # pictures decode, charts grow in
    data = page.screenshot()
    context.close()
    image = Image.open(io.BytesIO(data)).convert("RGB")
    few = image.quantize(colours or COLOURS, dither=Image.Dither.NONE)
    (image if "canvas" in until and not colours else few).save(out, optimize=True)
    print(f"{out} {out.stat().st_size >> 10} KiB")


def _below(home: str, store: str) -> str:
    """A copy of the store under a name that does not tell where it is on this machine."""
    shutil.copytree(store, Path(home) / "gallery")
    return "gallery"


def _drop(home: str, ids: list[str], gallery: Gallery, encoder: str | None) -> None:
    """Add a batch to the copy as the batches page would: films, and two files that are none."""
    uri = str(Path(home) / "gallery")
    shown = gallery.thumbnails(ids)
    films = [(f"scan {at:02}.png", shown[id_] or b"") for at, id_ in enumerate(ids, 1)]
    films += [("scan 25.png", b"<svg/>"), ("scan 26.png", films[0][1][:200])]
    batch = inbox.batch_name()
    place, _ = inbox.put(uri, batch, films)
    options = ["folder", str(place), "--dataset=ward 3"]
    jobs.start(uri, batch, f"{len(films)} films", options + ["--encoder", encoder] * bool(encoder))
    while jobs.all_of(uri)[0].open:
        time.sleep(0.2)
    if jobs.all_of(uri)[0].state != "finished":
        raise SystemExit(jobs.all_of(uri)[0].message)


def _enlarged(root: Path, gallery: Gallery, ids: list[str]) -> None:
    """DICOM films of 12 bits in a folder with a table: films of the gallery, enlarged."""
    import numpy as np

    from tests.ingest.films import film

    root.mkdir()
    lines = ["file,label,patient,study_date"]
    for at, (id_, png) in enumerate(gallery.thumbnails(ids).items()):
        with Image.open(io.BytesIO(png or b"")) as small:
            large = small.convert("L").resize((1400, 1400), Image.Resampling.BICUBIC)
        values = 200 + np.asarray(large, np.float64) * 14
        values += np.random.default_rng(at).normal(0, 12, values.shape)
        tags = {"WindowCenter": 1985, "WindowWidth": 3570, "ImagerPixelSpacing": [0.2, 0.2]}
        deep = values.clip(0, 4095).astype(np.uint16)
        data = film(deep, SOPInstanceUID=f"1.2.3.{at + 1}", BitsStored=12, HighBit=11, **tags)
        (root / f"{at:02}.dcm").write_bytes(data)
        label = "|".join(gallery.row(id_).labels)
        lines.append(f"{at:02}.dcm,{label},p{at // 4},{2020 + at % 4}-0{1 + at % 9}-11")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


def film_pages(browser: Browser, folder: Path, encoder: str | None, out: Path) -> None:
    """The page of a film, and two compared, of films in a folder with a ``labels.csv``."""
    from store import Gallery
    from tests.ui.running import invoked

    with tempfile.TemporaryDirectory() as home:
        store = Path(home) / "gallery"
        told = ["--labels", folder / "labels.csv", "--columns", "patient,study_date"]
        chosen = ["--encoder", encoder] if encoder else []
        code, _, said = invoked(
            "ingest", "folder", folder, "--store", store, "--dataset", "ward", *told, *chosen
        )
        if code:
            raise SystemExit(said)
        one, *others = Gallery.open(store).ids()
        alone = "/film?" + urlencode({"id": one})
        two = "/film?" + urlencode({"id": one, "with": others[0]})
        shown = "canvas[data-shows=original]"
        with serving("gallery", encoder, Path(home)) as board:
            for name, link, size, scheme in (
                ("dashboard-film", alone, WIDE, "light"),
                ("dashboard-film-dark", alone, WIDE, "dark"),
                ("dashboard-film-phone", alone, PHONE, "light"),
                ("dashboard-compare", two, WIDE, "dark"),
                ("dashboard-compare-phone", two, PHONE, "light"),
            ):
                picture(browser, board.url + link, shown, size, scheme, out / f"{name}.png", 128)


def retrieval(gallery: Gallery, out: Path) -> None:
    """Draw the first test film, by id, with both right and wrong films among its neighbours."""
    from store import Where
    from ui.report.figures import Query, retrieval_figure
    from ui.report.sheet import png_bytes, provenance_of

    for id_ in gallery.ids(Where(split=("test",))):
        row = gallery.row(id_)
        hits = gallery.search_by_id(id_, 10, Where(split=("train",)))
        right = sum(bool(set(row.labels) & set(hit.row.labels)) for hit in hits)
        if 5 <= right <= 8:
            break
    asked = Query(gallery.thumbnails([id_])[id_], labels=row.labels, name=id_)
    shown = gallery.thumbnails([hit.row.id for hit in hits])
    origin = provenance_of(gallery, "test query, train gallery")
    out.write_bytes(png_bytes(retrieval_figure(asked, hits, shown, origin)))
    print(f"{out} {out.stat().st_size >> 10} KiB")


def main() -> None:
    """Make all pictures."""
    from store import Gallery, Where

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", required=True, help="the gallery")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder")
    parser.add_argument("--encoder", help="default: the one that made the gallery")
    parser.add_argument("--id", help="the film to ask with; default: one of the test split")
    parser.add_argument(
        "--films",
        type=Path,
        help="folder of films of full size with a labels.csv (file, label, patient, study_date), "
        "for the page of a film; default: films of the gallery, enlarged",
    )
    parser.add_argument("--text", default="pneumonia opacity in lungs")
    arguments = parser.parse_args()
    gallery = Gallery.open(arguments.store)
    ids = gallery.ids(Where(split=("test",))) or gallery.ids()
    asked = arguments.id or ids[len(ids) // 3]
    arguments.out.mkdir(parents=True, exist_ok=True)
    retrieval(gallery, arguments.out / "retrieval.png")
    by_id = "/?" + urlencode({"id": asked})
    by_text = "/?" + urlencode({"text": arguments.text, "split": "test"})
    nearest = [hit.row.id for hit in gallery.search_by_id(asked, min(40, len(gallery)))]
    labels = gallery.row(asked).labels
    others = [id_ for id_ in ids[:200] if gallery.row(id_).labels != labels] or nearest[-1:]
    marks = {"text": arguments.text, "like": nearest[:2], "unlike": others[:1]}
    combined = "/?" + urlencode(marks, doseq=True)
    pair = "/?" + urlencode({"id": asked, "with": nearest[0]})
    score, table = ".cxr.hit .score", "[data-testid=stVegaLiteChart]"
    with (
        tempfile.TemporaryDirectory() as home,
        serving(_below(home, arguments.store), arguments.encoder, Path(home), OFFER) as board,
        chromium() as browser,
    ):
        for name, link, until, size, scheme in (
            ("dashboard", by_id, score, WIDE, "light"),
            ("dashboard-dark", by_id, score, WIDE, "dark"),
            ("dashboard-text", by_text, score, WIDE, "light"),
            ("dashboard-phone", by_id, score, PHONE, "light"),
            ("dashboard-combined", combined, score, WIDE, "light"),
            ("dashboard-films", "/films?sort=doubt", ".st-key-films .cxr.hit", WIDE, "light"),
            # a patch map has too many colours to save some
            ("dashboard-why", pair, "canvas", WIDE, "dark"),
            ("dashboard-why-phone", pair, "canvas", PHONE, "light"),
            ("dashboard-evaluation", "/evaluation", table, WIDE, "light"),
            # as laid out by: cxr map
            ("dashboard-map", "/map?" + urlencode({"id": asked}), ".points", WIDE, "light"),
            ("dashboard-map-phone", "/map", ".points", PHONE, "dark"),
            ("dashboard-audit", "/audit", ".cxr.beside", WIDE, "light"),
        ):
            picture(browser, board.url + link, until, size, scheme, arguments.out / f"{name}.png")
        folder = arguments.films or Path(home) / "enlarged"
        if arguments.films is None:
            _enlarged(folder, gallery, [asked, *nearest][:12])
        film_pages(browser, folder, arguments.encoder, arguments.out)
        _drop(home, ids[:24], gallery, arguments.encoder)
        undo = ".st-key-undo button"
        for name, size, scheme in (
            ("dashboard-batches", WIDE, "light"),
            ("dashboard-batches-phone", PHONE, "dark"),
        ):
            place = arguments.out / f"{name}.png"
            picture(browser, f"{board.url}/batches", undo, size, scheme, place)


if __name__ == "__main__":
    main()
