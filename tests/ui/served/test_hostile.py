"""What comes from headers, files and other people's labels is shown as text, or not at all."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from tests.ingest.films import film as dicom_film
from tests.ui import browser, films
from tests.ui.served.hostile import DIRECTIVES, HTML, MARKDOWN, STYLE
from tests.ui.served.test_search_page import expect
from tests.ui.waiting import ended
from ui.dashboard.batches import entries, inbox, jobs

pytestmark = pytest.mark.browser

#: Of a person, in a header; none of these may be anywhere else.
PERSON = {
    "PatientName": "Mustermann^Erikarosa^Quasimodo",
    "PatientID": "MRN-47110815",
    "PatientBirthDate": "19700131",
    "AccessionNumber": "ACC-99120",
    "InstitutionName": "Elsewhere General",
    "ReferringPhysicianName": "Frankenstein^Viktorine",
    "StudyDescription": "hush-hush study",
    "PatientComments": "prefers tea",
}
SECRETS = [word for value in PERSON.values() for word in value.split("^")]


def inert(page) -> str:
    """What a page says, after looking whether any of the hostile text became more than text."""
    assert page.evaluate("window.hacked") is None
    for made in (
        *("img[src='x']", "img[src*=evil]", ".katex", "svg[onload]"),
        "a[href*=evil]:not([href^='film?id='])",  # a film's own page, whatever its id
        *("strong:has-text('INJECTED')", "b:has-text('INJECTED')", "span[style*=red]"),
    ):
        expect(page.locator(made)).to_have_count(0)
    expect(page.locator("[data-testid=stException]")).to_have_count(0)
    return page.locator("body").inner_text()


@pytest.mark.parametrize(
    ("path", "clicks"),
    [
        (f"/?id={quote(HTML + '/0')}&with={quote(DIRECTIVES + '/3')}", ()),
        (f"/film?id={quote(HTML + '/0')}&of={quote(HTML)}", ()),
        (f"/film?id={quote(HTML + '/0')}&with={quote(DIRECTIVES + '/3')}", ()),
        (f"/?text={quote(HTML)}&label={quote(MARKDOWN)}", ()),
        (f"/?words={quote('effusion ' + HTML)}&id={quote(DIRECTIVES + '/3')}&negated=yes", ()),
        (f"/?own.caption={quote(MARKDOWN)}&own.{quote(HTML)}={quote(HTML)}", ()),
        ("/evaluation", ("Hardest queries",)),
        ("/store", ()),
        (f"/map?id={quote(STYLE + '/1')}", ()),
        ("/audit", ("Near duplicates", "Doubtful labels", "Labels and metadata")),
    ],
    ids=[
        *("pair", "film", "films", "text", "words", "own columns", "evaluation", "store", "map"),
        "audit",
    ],
)
def test_hostile_text_stays_text(writable, page, path, clicks):
    page.goto(writable.url + path)
    browser.drawn(page)
    said = inert(page)
    for click in clicks:
        page.get_by_role("radio", name=click).or_(
            page.get_by_role("button", name=click, exact=True)
        ).first.click()
        page.wait_for_timeout(300)  # until the app has begun to draw
        browser.drawn(page)
        said += inert(page)
    assert "INJECTED" in said or "window.hacked" in said


def test_nothing_of_a_patient_leaves_the_header_of_a_dropped_film(writable, page, tmp_path):
    served, store = writable.served, writable.store
    pixels = films.draw(5, True).astype(np.uint16) * 16
    data = dicom_film(pixels, SOPInstanceUID="1.2.77", PatientAge="058Y", **PERSON)
    assert all(word.encode() in data for word in SECRETS)
    page.goto(served.url)
    browser.drawn(page)
    page.get_by_role("tab", name="Upload").click()
    film = {"name": "film.dcm", "mimeType": "application/dicom", "buffer": data}
    page.locator("input[type=file]").first.set_input_files(film)
    page.get_by_text("Query: your film").wait_for()
    page.get_by_text("Take it with you").click()
    taken = []
    for name in ("CSV", "ZIP with pictures", "Contact sheet (PDF)"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        taken.append(tmp_path / download.value.suggested_filename)
        download.value.save_as(taken[-1])
    page.get_by_text("Copy as Python").wait_for()
    seen = [page.content().encode(), page.url.encode(), *map(unpacked, taken)]

    # The same film, and one cut short, as a batch.
    uri = str(store)
    cut = dicom_film(pixels, SOPInstanceUID="1.2.78", **PERSON)[:-100]
    place, _ = inbox.put(uri, "ward", [("a.dcm", data), ("b.dcm", cut)])
    options = ["--dataset=ward", f"--encoder={writable.encoder}"]
    jobs.start(uri, "ward", "2 films", ["dicom", str(place), *options])
    job = ended(uri, "ward")
    assert job.state == "finished", job
    assert [line[1] for line in entries.refusals(uri, "ward")[0]] == ["truncated"]
    page.goto(f"{served.url}/batches")
    page.get_by_text("Refused: 1 truncated").wait_for()
    inert(page)
    page.screenshot(path=tmp_path / "batches.png")
    seen += [page.content().encode(), served.log.read_bytes(), json.dumps(job.message).encode()]
    seen += [path.read_bytes() for path in Path(store).rglob("*") if path.is_file()]
    seen += [path.read_bytes() for path in served.log.parent.rglob("*") if path.is_file()]
    assert b"058Y" not in b"".join(seen)
    for word in SECRETS:
        assert not any(word.encode() in part for part in seen), word


def unpacked(path: Path) -> bytes:
    """All that a taken file holds, inflated."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as whole:
            return b"".join(name.encode() + whole.read(name) for name in whole.namelist())
    whole = path.read_bytes()
    for part in re.findall(rb"stream\r?\n(.*?)endstream", whole, re.S):
        try:
            whole += zlib.decompress(part)
        except zlib.error:
            continue
    return whole
