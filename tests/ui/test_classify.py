"""``cxr classify`` as typed."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from ingest.encoders import load_encoder
from store import Gallery
from tests.ingest.test_encoders import save_processor, tiny_model
from tests.ui import films
from tests.ui.running import Cxr

LABELS = ("--labels", "pneumonia,normal=clear lungs")


@pytest.fixture
def store(drawn: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CXR_STORE", str(drawn[0]))
    monkeypatch.setenv("CXR_ENCODER", str(drawn[1]))
    return drawn[0]


def test_cosines_of_every_film(
    cxr: Cxr, store: Path, drawn: tuple[Path, Path], tmp_path: Path
) -> None:
    done = cxr(
        "classify", *LABELS, "--template", "a chest radiograph with {}", "--where", "split=test",
        "--csv", tmp_path / "lists" / "all.csv", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = done.document
    pneumonia, normal = found["labels"]
    assert pneumonia["sentence"] == "a chest radiograph with pneumonia"
    assert normal["sentence"] == "clear lungs" and normal["understood"] is None
    assert (pneumonia["films"], pneumonia["others"]) == (9, 11) and 0 <= pneumonia["auroc"] <= 1
    assert found["judged"] == len(found["films"]) == 20 and found["store"]["rows"] == 60
    encoder, gallery = load_encoder(drawn[1]), Gallery.open(store)
    sentences = encoder.encode_texts([pneumonia["sentence"], normal["sentence"]])
    for one in found["films"]:
        wanted = sentences @ gallery.vectors([one["id"]])[0]
        assert [*one["similarity"].values()] == pytest.approx(wanted.tolist(), abs=1e-5)
        assert one["nearest"] == ("pneumonia", "normal")[int(np.argmax(wanted))]
    with (tmp_path / "lists" / "all.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "labels", "split", "nearest", "pneumonia", "normal"]
    assert [row["id"] for row in rows] == [one["id"] for one in found["films"]]
    right = [one["nearest"] in one["labels"] for one in found["films"]]
    assert found["precision_at_1"] == pytest.approx(np.mean(right))


def test_a_table_of_labels(cxr: Cxr, store: Path) -> None:
    done = cxr("classify", "--labels", "pneumonia,normal,fracture")
    assert done.code == 0 and "AUROC" in done.out and "P@1" in done.out
    assert "no film is labelled 'fracture'" in done.err
    for word in ("probab", "confiden"):
        assert word not in (done.out + done.err).casefold()


def test_figures_that_there_cannot_be_are_explained(cxr: Cxr, store: Path) -> None:
    done = cxr("classify", "--labels", "pneumonia", "--where", "label=pneumonia", "--json")
    label = done.document["labels"][0]
    assert label["auroc"] is label["precision_at_1"] is done.document["precision_at_1"] is None
    assert "every labelled film here carries 'pneumonia': no AUROC" in done.err
    assert "one label alone has no P@1" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--labels", ""),
        ("--labels", "a,,b"),
        ("--labels", "a,A"),
        ("--labels", "a="),
        ("--labels", "a", "--template", "a film"),
        ("--labels", "a", "--template", "{} or {}"),
        ("--labels", "a", "--where", "nothing=1"),
        (),
    ],
)
def test_misuse(cxr: Cxr, store: Path, arguments: tuple[str, ...]) -> None:
    done = cxr("classify", *arguments)
    assert done.code == 2 and done.err.count("\n") == 1


def test_an_encoder_without_text_is_one_line(cxr: Cxr, tmp_path: Path) -> None:
    encoder = tmp_path / "tiny-vit"
    tiny_model("image-only").save_pretrained(encoder)
    save_processor(encoder)
    films.add(tmp_path / "store", encoder, [films.film(1, "test")])
    done = cxr("classify", *LABELS, "--store", tmp_path / "store", "--encoder", encoder)
    assert done.code == 1 and "understands images only" in done.err
    assert done.err.count("\n") == 1
