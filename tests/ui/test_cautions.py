"""What is said before the hits, on the command line and in the dashboard; prompts scored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

import ui
from ingest.encoders import load_encoder
from ingest.encoders.understanding import Understanding
from ingest.training.lexicon import save_lexicon
from store import BadQuery, Gallery, Labelled, UsageError
from store.evaluation.prompts import score_prompts
from store.search.out_of_distribution import Nearness
from tests.store.rows import STAMP, make_rows, random_vectors, unit
from tests.ui import films
from tests.ui.running import Cxr
from ui import notices
from ui.commands.evaluation.evaluate import Prompt, evaluate_prompts, read_prompts

APP = str(Path(ui.__file__).parent / "dashboard" / "app.py")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A gallery large enough to judge, of a tiny encoder that brings a lexicon."""
    root = tmp_path_factory.mktemp("cautions")
    encoder = films.tiny_clip(root / "tiny-clip")
    save_lexicon(encoder)
    films.add(root / "gallery", encoder, [films.film(number, "train") for number in range(120)])
    return root / "gallery", encoder


@pytest.fixture
def cxr(cxr: Cxr, made, monkeypatch: pytest.MonkeyPatch) -> Cxr:
    monkeypatch.setenv("CXR_STORE", str(made[0]))
    monkeypatch.setenv("CXR_ENCODER", str(made[1]))
    monkeypatch.setenv("CXR_DEVICE", "cpu")
    return cxr


@pytest.fixture
def stranger(tmp_path) -> Path:
    random = np.random.default_rng(0)
    path = tmp_path / "noise.png"
    Image.fromarray(random.integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def film(tmp_path) -> Path:
    path = tmp_path / "film.png"
    Image.fromarray(films.draw(12_345, True).astype(np.uint8)).save(path)
    return path


def test_search_says_what_is_not_understood(cxr):
    code, out, err = cxr("search", "--text", "carburettor gasket", "-k", 2, "--json")
    query = json.loads(out)["query"]
    assert code == 0 and query["understood"] is False and "carburettor" in query["reason"]
    assert "! not understood" in err
    _, out, err = cxr("search", "--text", "clear lungs", "-k", 2, "--json")
    query = json.loads(out)["query"]
    assert query["understood"] is True and query["reason"] is None and "understood" not in err


def test_search_says_that_there_is_no_good_match(cxr, stranger, film):
    _, out, err = cxr("search", "--image", stranger, "-k", 2, "--json")
    near = json.loads(out)["query"]["nearness"]
    assert near["unlike"] is True and near["picture_percentile"] < 1 and "no good match" in err
    _, out, err = cxr("search", "--image", film, "-k", 2)
    assert "no good match" not in err and "percentile" in err and "rank" in out


def test_a_small_gallery_says_that_it_cannot_tell(cxr, drawn, film, monkeypatch):
    monkeypatch.setenv("CXR_ENCODER", str(drawn[1]))  # of 60 films
    said = "it takes 100 films with a picture, and here are 60"
    _, out, err = cxr("search", "--image", film, "-k", 2, "--store", drawn[0])
    assert f"good match is not judged: {said}" in err
    _, out, err = cxr("search", "--image", film, "-k", 2, "--store", drawn[0], "--json")
    near = json.loads(out)["query"]["nearness"]
    assert near["unlike"] is None and near["not_judged"] == said
    monkeypatch.setenv("CXR_STORE", str(drawn[0]))
    test = AppTest.from_file(APP, default_timeout=60).run()
    test.file_uploader[0].set_value((film.name, film.read_bytes(), "image/png")).run()
    assert not test.exception
    [band] = [box for box in test.caption if "Match not judged" in box.value]
    assert len(band.value) < 60 and said in band.help and "Nearest cosine" in band.help
    # with what else is said before the hits it is one line still
    other = [box for box in test.toggle if box.label == "Other patients only"]
    other[0].set_value(True).run()
    assert not test.exception
    [band] = [box for box in test.caption if "Match not judged" in box.value]
    assert "patient" in band.value and said in band.help


def test_the_dashboard_says_both(made, monkeypatch, stranger):
    monkeypatch.setenv("CXR_STORE", str(made[0]))
    monkeypatch.setenv("CXR_ENCODER", str(made[1]))
    test = AppTest.from_file(APP, default_timeout=60)
    test.query_params["text"] = "knee fracture"
    test.run()
    assert not test.exception
    [warning] = [box.value for box in test.warning]
    assert "Not understood" in warning and "knee" in warning
    test.query_params["text"] = "clear lungs"
    test.run()
    assert not test.warning

    test.file_uploader[0].set_value((stranger.name, stranger.read_bytes(), "image/png")).run()
    assert not test.exception
    [warning] = [box.value for box in test.warning]
    assert "No good match" in warning
    [said] = [box for box in test.caption if "of 100 films here are less like" in box.value]
    assert "percentile" not in said.value and "percentile" in said.help


def test_an_encoder_without_a_lexicon_claims_nothing():
    assert notices.of_text(Understanding(None)) is None
    assert notices.of_text(Understanding(True)) is None
    assert notices.of_image(Nearness(0.5, 10, None, None, None, 20)) is None


# --- prompts ---


def test_prompts_are_scored(cxr, tmp_path):
    path = tmp_path / "prompts.json"
    rows = [
        {"text": "clear lungs", "label": "normal", "held_out": True},
        {"text": "pneumonia", "label": "pneumonia"},
    ]
    path.write_text(json.dumps(rows))
    code, out, _ = cxr("evaluate", "--prompts", path, "--json")
    found = json.loads(out)
    assert code == 0 and found["k"] == 10
    assert [one["text"] for one in found["prompts"]] == ["clear lungs", "pneumonia"]
    assert set(found["overall"]) == {"all", "held_out", "normal", "pneumonia"}
    one = found["prompts"][0]
    assert 0 <= one["precision"] <= 1 and 0 < one["average_precision"] <= 1
    assert one["understood"] is True
    code, out, _ = cxr("evaluate", "--prompts", path)
    assert code == 0 and "mean AP" in out


def test_scores_are_those_of_the_definition():
    gallery = Labelled(
        ["b", "a", "c", "d"],
        np.asarray([[1, 0], [1, 0], [0.6, 0.8], [0, 1]], np.float32),
        [("x",), ("y",), ("x",), ("y",)],
    )
    # a and b tie: a comes first. Ranking a(y) b(x) c(x) d(y).
    (one,) = score_prompts(np.asarray([[1, 0]], np.float32), ["x"], gallery, k=2)
    assert one.precision == 0.5
    assert one.average_precision == pytest.approx((1 / 2 + 2 / 3) / 2)
    with pytest.raises(BadQuery, match="'z'"):
        score_prompts(np.asarray([[1, 0]], np.float32), ["z"], gallery, k=2)
    with pytest.raises(BadQuery, match="k = 9"):
        score_prompts(np.asarray([[1, 0]], np.float32), ["x"], gallery, k=9)


def test_sentences_of_no_finding_and_films_that_are_not_sure():
    gallery = Labelled(
        ["a", "b", "c"],
        np.asarray([[1, 0], [0.8, 0.6], [0, 1]], np.float32),
        [("x",), (), ("x",)],
    )
    asked = np.asarray([[1, 0]] * 2, np.float32)
    nothing, x = score_prompts(asked, ["No Finding", "x"], gallery, 2, [(), ("x",), ()])
    assert (nothing.precision, nothing.average_precision) == (0.5, 0.5)
    assert (x.precision, x.average_precision) == (1, 1)  # b takes no part


def test_films_in_which_nothing_was_found_are_asked_and_the_others_counted(made, tmp_path):
    encoder = load_encoder(made[1])
    kinds = [
        ((), {"labelled": True}),
        (("No Finding",), {}),
        (("effusion",), {"uncertain": ("edema",)}),
        (("edema",), {}),
        ((), {}),
        ((), {"uncertain": ("edema",)}),
    ]
    vectors = random_vectors(12 * len(kinds), 1, encoder.stamp.dimension)
    gallery = Gallery.create(tmp_path / "gallery", encoder.stamp)
    for at, (labels, columns) in enumerate(kinds):
        mine = vectors[12 * at : 12 * (at + 1)]
        gallery.upsert(make_rows(mine, [labels] * 12, f"{at}/", **columns))
    asked = [Prompt("clear lungs", "no finding"), Prompt("lungs", "edema")]
    found = evaluate_prompts(gallery, encoder, asked, k=24)
    assert found["gallery"] == 48
    assert found["left_out"] == {"not labelled": 12, "only uncertain findings": 12}
    nothing, edema = found["prompts"]
    text = encoder.encode_texts(["clear lungs"])[0].astype(float)
    ranked = np.argsort(-(vectors[:48].astype(float) @ text))[:24]
    assert nothing["precision"] == (ranked < 24).mean()  # by either name
    # A dozen of the 36 that are sure, at worst behind all others.
    assert edema["average_precision"] >= np.mean([n / (24 + n) for n in range(1, 13)])


def test_a_sentence_for_no_finding_finds_films_in_which_nothing_was_found():
    gallery = Labelled(["a", "b", "c"], np.eye(3, dtype=np.float32), [(), ("mass",), ()])
    asked = np.asarray([[0.8, 0.6, 0.0]], np.float32)
    for label in ("No Finding", "no findings"):
        (one,) = score_prompts(asked, [label], gallery, k=2)
        assert (one.precision, one.average_precision) == (0.5, pytest.approx((1 + 2 / 3) / 2))
    with pytest.raises(BadQuery, match="mass, no finding"):
        score_prompts(asked, ["normal"], gallery, k=2)


def test_sentences_rank_films_as_a_search_does(tmp_path):
    """Also films whose scores differ in float64 alone; every pair of them has both labels."""
    vectors = random_vectors(402, 3, 64)
    vectors[201:] = unit(vectors[:201] + 1e-7 * random_vectors(201, 4, 64))
    rows = make_rows(vectors)
    gallery = Gallery.create(tmp_path / "g", replace(STAMP, dimension=64))
    gallery.upsert(rows)
    films = Labelled([row.id for row in rows], vectors, [row.labels for row in rows])
    found = score_prompts(vectors[:201], ["normal"] * 201, films, k=1)
    for hits, score in zip(gallery.search(vectors[:201], 402), found, strict=True):
        right = np.asarray([hit.row.labels == ("normal",) for hit in hits])
        at = np.flatnonzero(right)
        assert score.precision == right[0]
        assert score.average_precision == (np.arange(1, len(at) + 1) / (at + 1)).mean()


def test_prompts_ask_every_film_that_somebody_looked_at(cxr, made, tmp_path):
    taken = [films.film(number, "test") for number in range(16)]
    looked = [
        *(replace(one, labels=(), labelled=True) for one in taken[:3]),
        replace(taken[3], labels=("No Finding",)),
        replace(taken[4], labels=(), labelled=False),
        replace(taken[5], labels=(), uncertain=("pneumonia",), labelled=True),
        *taken[6:],
    ]
    root = films.add(tmp_path / "looked", made[1], looked).uri
    path = tmp_path / "prompts.csv"
    path.write_text("text,label\nclear lungs,no finding\npneumonia,pneumonia\n")
    code, out, err = cxr("evaluate", "--store", root, "--prompts", path, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["gallery"] == 14
    assert found["left_out"] == {"not labelled": 1, "only uncertain findings": 1}
    code, out, err = cxr("evaluate", "--store", root, "--prompts", path)
    assert code == 0 and "left out" in err and "1 only uncertain findings" in err


def test_prompt_files(tmp_path):
    assert len(read_prompts("bundled")) >= 90
    assert len(read_prompts("sentences")) >= 400
    path = tmp_path / "p.csv"
    path.write_text("text,label,held_out\nclear,normal,yes\nodd,pneumonia,\n")
    assert read_prompts(str(path)) == [Prompt("clear", "normal", True), Prompt("odd", "pneumonia")]
    for content in ("", "text,label\n", "text,label\n,normal\n", "words\nclear\n"):
        path.write_text(content)
        with pytest.raises(UsageError):
            read_prompts(str(path))
    with pytest.raises(UsageError):
        read_prompts(str(tmp_path / "nowhere.csv"))


def test_encoders_are_listed(cxr):
    _, out, _ = cxr("encoders", "--json")
    found = {one["name"]: one for one in json.loads(out)}
    assert next(iter(found)) == "cxr-clip-28"
    assert {"pubmed-clip", "clip", "medsiglip", "biomedclip", "rad-dino"} <= set(found)
    assert found["rad-dino"]["text"] is False and found["medsiglip"]["gated"] is True
    for one in found.values():
        assert {"dimension", "text", "bytes", "licence", "on_disk", "revision"} <= set(one)
    assert found["cxr-clip-28"]["on_disk"] is True and found["clip"]["on_disk"] is False
