"""The checkpoint that ships: the vectors it always gave, and the figures it must reach."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ingest.encoders import DEFAULT_ENCODER, load_encoder

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "pneumoniamnist.npz"
CARD = Path(__file__).parents[2] / "ingest" / "encoders" / DEFAULT_ENCODER / "README.md"
README = Path(__file__).parents[2] / "README.md"


def drawn_film() -> np.ndarray:
    """A dark oval on a bright slope."""
    y, x = np.mgrid[0:28, 0:28]
    oval = np.hypot((x - 13.5) / 9, (y - 15) / 12) < 1
    return (150 + y - 90 * oval).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(device="cpu")


def test_canonical_vectors(encoder):
    image = [0.1168, 0.02206, 0.14659, -0.04675, 0.00763, 0.07341]
    text = [-0.11464, -0.09658, 0.08588, 0.13533, 0.02554, 0.06263]
    np.testing.assert_allclose(encoder.encode_images([drawn_film()])[0, :6], image, atol=1e-4)
    found = encoder.encode_texts(["No focal consolidation."])[0, :6]
    np.testing.assert_allclose(found, text, atol=1e-4)


def test_it_is_what_the_card_says(encoder):
    card = CARD.read_text("utf-8")
    assert encoder.name == "cxr-clip-28" and encoder.supports_text
    assert f"{encoder.dimension}" in card
    assert encoder.fingerprint in card
    assert "not for diagnosis" in card and "CC BY 4.0" in card
    assert (CARD.parent / "model.safetensors").stat().st_size < 8_000_000


def test_case_and_spaces_do_not_matter(encoder):
    one, two = encoder.encode_texts(["clear lungs", "  CLEAR   Lungs "])
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_negation_turns_a_finding_round(encoder):
    findings = ["consolidation", "pneumonia", "infiltrates", "focal opacity", "airspace disease"]
    present = encoder.encode_texts(findings)
    absent = encoder.encode_texts([f"no {finding}" for finding in findings])
    normal, abnormal = encoder.encode_texts(["clear lungs", "not normal"])
    assert (present @ abnormal > present @ normal).all()
    assert (absent @ normal > absent @ abnormal).all()


def test_abbreviations_are_read(encoder):
    normal, abnormal = encoder.encode_texts(["clear lungs", "not normal"])
    for text in ("lungs w/o consolidation", "-ve for pneumonia", "Chest film W/O opacity."):
        (found,) = encoder.encode_texts([text])
        assert found @ normal > found @ abnormal and encoder.understands(text).understood, text
    (found,) = encoder.encode_texts(["+ve for pneumonia"])
    assert found @ abnormal > found @ normal


#: Films of each of two splits that every run encodes; all 5,332 films where there is time.
FEW = 100


def encoded(encoder, split: str, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(vectors, labels) of a split, or of so many of its films, evenly spaced."""
    if not DATA.is_file():
        pytest.skip("needs ../shared/data/pneumoniamnist.npz")
    with np.load(DATA, allow_pickle=False) as data:
        images, labels = data[f"{split}_images"], data[f"{split}_labels"].ravel()
    kept = np.linspace(0, len(images) - 1, count or len(images)).round().astype(int)
    return encoder.encode_images(list(images[kept])), labels[kept]


@pytest.fixture(scope="module")
def few(encoder):
    return {split: encoded(encoder, split, FEW) for split in ("test", "val")}


@pytest.fixture(scope="module")
def whole(encoder):
    return {split: encoded(encoder, split) for split in ("train", "val", "test")}


@pytest.fixture(params=["few", pytest.param("whole", marks=pytest.mark.slow)])
def films(request):
    """(vectors, labels) by split."""
    return request.getfixturevalue(request.param)


def precision(scores: np.ndarray, queries: np.ndarray, gallery: np.ndarray, k: int) -> float:
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((gallery[nearest] == queries[:, None]).mean())


def test_leave_one_out(films):
    vectors, labels = films["test"]
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -2)
    assert precision(scores, labels, labels, 1) >= 0.92
    assert precision(scores, labels, labels, 10) >= 0.90


def test_split_protocol(films):
    (queries, labels), (gallery, known) = films["test"], films.get("train", films["val"])
    scores = queries @ gallery.T
    assert precision(scores, labels, known, 1) >= 0.88
    assert precision(scores, labels, known, 10) >= 0.88


def labelled(films, split: str):
    from store import Labelled

    vectors, labels = films[split]
    ids = [f"pneumoniamnist/{split}/{i}" for i in range(len(labels))]
    return Labelled(ids, vectors, [(("normal", "pneumonia")[label],) for label in labels])


@pytest.mark.slow
def test_the_readme_says_what_evaluate_says(whole):
    from store.evaluation.metrics import evaluate

    readme = README.read_text("utf-8")
    test, train = labelled(whole, "test"), labelled(whole, "train")
    for protocol, gallery in (("leave-one-out", test), ("split", train)):
        found = evaluate(protocol, test, gallery)
        cells = [
            f"{found.precision[k]:.4f} [{found.ci95[k][0]:.3f}, {found.ci95[k][1]:.3f}]"
            for k in (1, 3, 5, 10)
        ]
        row = f"| {protocol} | **{DEFAULT_ENCODER}** | {' | '.join(cells)} | {found.map:.4f} |"
        assert row in readme
    for label in ("normal", "pneumonia"):
        assert f"{found.per_label[label]['precision'][1]:.4f}" in readme


def test_the_readme_says_what_a_few_films_do_not_contradict(few):
    """All of them, to the last digit, where there is time."""
    from store.evaluation.metrics import evaluate

    rows = re.findall(
        rf"\| leave-one-out \| \*\*{DEFAULT_ENCODER}\*\* \| (0\.\d{{4}}) ", README.read_text()
    )
    found = evaluate("leave-one-out", labelled(few, "test"), labelled(few, "test"))
    low, high = found.ci95[1]
    assert len(rows) == 1 and low <= float(rows[0]) <= high


@pytest.mark.parametrize(
    ("prompt", "label"),
    [
        ("pneumonia opacity in lungs", 1),
        ("normal chest radiograph", 0),
        ("consolidation in the right lower lobe", 1),
        ("viral pneumonia in a child", 1),
        ("not normal", 1),
        ("lungs are clear, no pneumonia", 0),
        ("without focal opacity", 0),
        ("no acute cardiopulmonary abnormality", 0),
        ("nomal chest xray", 0),
    ],
)
def test_sentences_find_their_films(encoder, films, prompt, label):
    vectors, labels = films["test"]
    scores = encoder.encode_texts([prompt]) @ vectors.T
    assert precision(scores, np.array([label]), labels, 10) >= 0.9


@pytest.mark.parametrize("kind", ["unheard", "denial", "search", "asked"])
def test_sentences_of_other_writers_are_read(encoder, films, kind):
    """On validation films, so that test stays untouched."""
    from ingest.training.sentences import read_sentences

    sentences = [one for one in read_sentences() if one.kind == kind]
    vectors, labels = films["val"]
    wanted = np.array([("normal", "pneumonia").index(one.label) for one in sentences])
    scores = encoder.encode_texts([one.text for one in sentences]) @ vectors.T
    assert len(sentences) >= 40 and precision(scores, wanted, labels, 10) >= 0.88


def test_held_out_prompts_find_their_films(encoder, films):
    """Each has a word that no training text held; ``cxr evaluate --prompts bundled`` prints it."""
    from store.evaluation.prompts import score_prompts
    from ui.commands.evaluation.evaluate import read_prompts

    prompts = [one for one in read_prompts("bundled") if one.held_out]
    gallery = labelled(films, "test")
    texts = encoder.encode_texts([one.text for one in prompts])
    found = score_prompts(texts, [one.label for one in prompts], gallery, k=10)
    assert len(prompts) >= 30
    assert np.mean([one.precision for one in found]) >= 0.95
    assert np.mean([one.average_precision for one in found]) >= 0.95
    assert min(one.precision for one in found) >= 0.7
