"""Films that are larger than what the encoder sees: said once, with the encoders to use instead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from ingest import KNOWN, coarse_note, is_coarse
from store import Gallery
from tests.ingest.films import png, write
from tests.ui.running import Cxr

PAGE = Path(__file__).parents[2] / "ui" / "dashboard" / "views" / "store.py"


@pytest.mark.parametrize(
    ("side", "width", "height", "coarse"),
    [
        (28, 65, 2000, True),
        (28, 64, 64, False),
        (28, 2000, 60, False),
        (0, 2000, 2000, False),  # not known
        (224, 2000, 2000, False),
        (63, 1024, 1024, True),
    ],
)
def test_when_an_encoder_is_coarse(side: int, width: int, height: int, coarse: bool) -> None:
    assert is_coarse(side, width, height) is coarse


def test_the_note_says_what_each_encoder_takes() -> None:
    note = coarse_note("cxr-clip-28", 28)
    assert "sees 28 x 28 pixels" in note and "cxr encoders --try NAME" in note
    for one in KNOWN.values():
        assert f"--encoder {one.name} ({one.side} x {one.side}, " in note
        assert f"{one.bytes / 1e6:,.0f} MB to download, licence {one.licence}" in note
    assert note.count("ms a film") == len(KNOWN)
    assert "clip (" not in coarse_note("mine", 224) and "rad-dino" in coarse_note("mine", 224)


def test_an_ingestion_says_so_once(cxr: Cxr, tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / "films", f"{number}.png", png(number, 80))
    store = tmp_path / "store"
    done = cxr("ingest", "folder", tmp_path / "films", "--unlabelled", "--store", store, "--json")
    assert done.code == 0, done.err
    assert done.err.count("sees 28 x 28 pixels") == 1
    assert "--encoder biomedclip" in done.document["encoder_note"]
    assert Gallery.open(store).stamp.name == "cxr-clip-28"  # nothing is switched
    again = cxr("ingest", "folder", tmp_path / "films", "--store", store, "--json", "--unlabelled")
    assert again.document["encoder_note"] is None and "28 x 28" not in again.err
    write(tmp_path / "films", "3.png", png(3, 90))
    quiet = cxr("ingest", "folder", tmp_path / "films", "--store", store, "-q", "--unlabelled")
    assert quiet.err.count("sees 28 x 28 pixels") == 1
    assert Gallery.open(store).count_larger(64) == 4


def test_small_films_say_nothing(cxr: Cxr, tmp_path: Path) -> None:
    write(tmp_path / "films", "a.png", png(1, 64))
    done = cxr(
        "ingest", "folder", tmp_path / "films", "--unlabelled", "--store", tmp_path / "s", "--json"
    )
    assert done.document["encoder_note"] is None and "28 x 28" not in done.err


def test_the_store_page_says_so(cxr: Cxr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    monkeypatch.setenv("CXR_STORE", str(store))
    write(tmp_path / "films", "a.png", png(1, 64))
    assert cxr("ingest", "folder", tmp_path / "films", "--unlabelled").code == 0
    page = AppTest.from_file(str(PAGE), default_timeout=60).run()
    assert not page.exception and not page.warning
    write(tmp_path / "films", "b.png", png(2, 100))
    assert cxr("ingest", "folder", tmp_path / "films", "--unlabelled").code == 0
    page = AppTest.from_file(str(PAGE), default_timeout=60).run()
    [said] = [one.value for one in page.warning]
    assert "sees 28 x 28 pixels" in said and "biomedclip" in said and "Such films here: 1" in said


def test_the_list_of_encoders_says_what_they_see(cxr: Cxr) -> None:
    listed = {one["name"]: one["side"] for one in cxr("encoders", "--json").document}
    assert listed["cxr-clip-28"] == 28 and listed["rad-dino"] == 518
    assert json.dumps(listed)
