"""Encoders of one's own and long texts, on the command line and in the dashboard."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import ui
from ingest.encoders import TextQuery
from ingest.training.lexicon import save_lexicon
from store import Gallery
from tests.ingest.films import png, write
from tests.ingest.test_encoders import save_processor, tiny_model
from tests.store.rows import STAMP, make_rows, random_vectors
from tests.ui import films as drawn
from tests.ui.films import tiny_clip
from tests.ui.running import invoked
from ui import notices

APP = str(Path(ui.__file__).parent / "dashboard" / "app.py")
REPORT = "Clear lungs in the normal. No pneumonia in the lungs. A normal opacity in no lungs."


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXR_ENCODER", raising=False)
    monkeypatch.setenv("CXR_DEVICE", "cpu")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    for number in range(6):
        write(tmp_path / "films", f"{number}.png", png(number, 32))
    return tmp_path / "films"


@pytest.fixture
def made(tmp_path: Path, films: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A gallery of an encoder folder that is called as a known encoder is; and the folder."""
    encoder = tiny_clip(tmp_path / "mine" / "clip")
    save_lexicon(encoder)
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "gallery"))
    code, _, err = invoked("ingest", "folder", films, "--encoder", encoder, "-q")
    assert code == 0, err
    return tmp_path / "gallery", encoder


def test_the_encoder_is_found_without_being_named_again(made: tuple[Path, Path], films: Path):
    encoder = made[1]
    code, out, err = invoked("search", "--text", "clear lungs", "-k", 2, "--json")
    assert code == 0 and len(json.loads(out)["hits"]) == 2, err
    write(films, "new.png", png(77, 32))
    assert invoked("ingest", "folder", films, "-q")[1].startswith("1 inserted")
    moved = encoder.rename(encoder.with_name("moved"))
    code, _, err = invoked("search", "--text", "clear lungs", "-k", 2)
    assert code == 1 and str(encoder) in err and "pass --encoder" in err and "\n" not in err
    assert invoked("search", "--text", "clear lungs", "-k", 2, "--encoder", moved)[0] == 0


def test_an_encoder_that_fails_leaves_nothing(tmp_path: Path, films: Path, monkeypatch):
    broken, good = tmp_path / "broken", tmp_path / "good"
    for folder, side in ((broken, 56), (good, 28)):
        tiny_model("image-only").save_pretrained(folder)
        save_processor(folder, side)
    config = json.loads((broken / "preprocessor_config.json").read_text())
    (broken / "preprocessor_config.json").write_text(json.dumps({**config, "image_mean": [1, 2]}))
    store = tmp_path / "gallery"
    code, out, err = invoked("ingest", "folder", films, "--store", store, "--encoder", broken, "-q")
    assert code == 1 and "Dinov2Model" in err and "Traceback" not in out + err
    assert not store.exists()
    code, out, err = invoked("ingest", "folder", films, "--store", store, "--encoder", good, "-q")
    assert code == 0 and out.startswith("6 inserted"), err


def test_a_report_is_searched_as_chosen_and_what_was_read_is_said(made: tuple[Path, Path]):
    code, out, err = invoked("search", "--text", REPORT, "-k", 3, "--json")
    query = json.loads(out)["query"]
    assert code == 0 and query["long_text"] == "cut" and query["sentences"] == []
    assert f"{query['read']} {query['cut']}" == REPORT
    assert query["tokens"]["longest"] == 16 < query["tokens"]["text"]
    assert "--long-text mean or best" in err and query["cut"][:20] in err
    found = {}
    for how in ("mean", "best"):
        code, out, err = invoked("search", "--text", REPORT, "-k", 3, "--long-text", how, "--json")
        query = json.loads(out)["query"]
        assert code == 0 and (query["long_text"], query["cut"]) == (how, None)
        assert len(query["sentences"]) == 3 and "sentence by sentence, 3 of them" in err
        found[how] = [hit["score"] for hit in json.loads(out)["hits"]]
        assert found[how] == sorted(found[how], reverse=True)
    assert found["mean"] != found["best"]
    code, _, err = invoked("search", "--text", "clear lungs", "-k", 3)
    assert code == 0 and "tokens" not in err
    assert invoked("search", "--text", REPORT, "--long-text", "all")[0] == 2
    like = ("--long-text", "best", "--like", "x")
    assert invoked("search", "--text", REPORT, *like)[0] == 2


def test_a_text_without_spaces_is_quoted():
    asked = TextQuery(np.ones((1, 2), np.float32), "cut", "肺" * 50, "心" * 70, (), 120, 50)
    said = notices.of_reading(asked, "--long-text")
    assert said is not None and "“… 肺" in said and "“心" in said


def test_the_page_says_what_was_read_and_offers_the_other_ways(made, monkeypatch):
    test = AppTest.from_file(APP, default_timeout=60)
    test.query_params["text"] = REPORT
    test.run()
    assert not test.exception
    assert any("this encoder reads 16" in box.value for box in test.info)
    for how in ("mean", "best"):
        test.query_params["long"] = how
        test.run()
        assert not test.exception
        assert any("sentence by sentence, 3 of them" in box.value for box in test.info)
    test.query_params["long"] = "all"
    test.run()
    assert any("none of the ways" in box.value for box in test.info)
    test.query_params["text"] = "clear lungs"
    test.run()
    assert not any("tokens" in box.value for box in test.info)


def test_an_encoder_is_tried_out(made: tuple[Path, Path]):
    code, out, _ = invoked("encoders", "--try", made[1], "--json")
    found = json.loads(out)
    assert code == 0 and found["dimension"] == 8 and found["tokens"] == 16
    assert found["difference"] < 1e-5 and found["family"] == "CLIPModel"
    code, out, _ = invoked("encoders", "--try", made[1])
    assert code == 0 and "CLIPModel of transformers" in out and "yes, 16 tokens" in out
    code, _, err = invoked("encoders", "--try", made[1].with_name("nowhere"))
    assert code == 1 and "\n" not in err


def test_an_encoder_below_raw_pixels_is_told(tmp_path: Path, monkeypatch):
    """Vectors drawn at random, and films whose pixels alone tell what they show."""
    store = tmp_path / "gallery"
    rows = make_rows(random_vectors(60), [("a", "b")[i % 2 :][:1] for i in range(60)])
    shown = [np.full((28, 28), 40, np.uint8), np.full((28, 28), 40, np.uint8)]
    shown[0][:14], shown[1][:, :14] = 200, 200
    rows = [replace(row, thumbnail=drawn.png(shown[i % 2])) for i, row in enumerate(rows)]
    Gallery.create(store, STAMP).upsert(rows)
    code, _, err = invoked("evaluate", "--store", store, "--protocol", "leave-one-out")
    assert code == 0 and "the encoder is below raw pixels (precision @1 " in err
    monkeypatch.setenv("CXR_STORE", str(store))
    test = AppTest.from_file(APP, default_timeout=60)
    test.switch_page("views/evaluation.py").run()
    assert not test.exception
    assert any("below raw pixels" in box.value for box in test.warning)


def test_an_encoder_above_raw_pixels_gets_no_warning():
    found = {"precision": {"1": 0.9, "5": 0.8}, "baselines": {"raw_pixels": {"precision": {}}}}
    assert notices.of_raw_pixels(found) is None
    found["baselines"]["raw_pixels"]["precision"] = {"1": 0.9, "5": 0.7}
    assert notices.of_raw_pixels(found) is None
    found["baselines"]["raw_pixels"]["precision"] = {"1": 0.9, "5": 0.81}
    assert "@5 0.800 against 0.810" in str(notices.of_raw_pixels(found))
    assert notices.of_raw_pixels({**found, "baselines": {}}) is None
