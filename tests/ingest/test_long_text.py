"""Texts longer than an encoder reads: what is read is told, and only that is judged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.encoders import load_encoder, text_query
from ingest.encoders.long_text import read, sentences
from ingest.training.lexicon import save_lexicon
from store import BadQuery, UsageError, refined_search
from tests.store.rows import random_vectors, small_gallery
from tests.ui.films import tiny_clip

REPORT = (
    "FINDINGS: The heart size is normal, e.g. 45 % of the chest. No focal\nconsolidation!  Dr. X. "
    "Yu read it.\n\nIMPRESSION:\n1. Clear lungs.\n2. Pneumonia of the left lung 1.5 cm?\n"
    "- no opacity"
)


def test_sentences_of_a_report():
    assert sentences(REPORT) == [
        "FINDINGS: The heart size is normal, e.g. 45 % of the chest.",
        "No focal consolidation!",
        "Dr. X. Yu read it.",
        "IMPRESSION:",
        "1. Clear lungs.",
        "2. Pneumonia of the left lung 1.5 cm?",
        "- no opacity",
    ]
    assert sentences("clear lungs") == ["clear lungs"] and sentences(" \n 12. ... ") == []


@given(st.text(max_size=300))
def test_no_word_of_a_text_is_lost_between_sentences(text):
    kept = "".join("".join(sentences(text)).split())
    assert all(letter in text for letter in kept)
    assert [c for c in kept if c.isalpha()] == [c for c in text if c.isalpha()]


@given(st.lists(st.integers(1, 9).map("x".__mul__), min_size=1, max_size=40), st.integers(2, 60))
def test_what_is_read_is_the_longest_beginning_that_fits(words, longest):
    text = "  ".join(words)

    def count(part: str) -> int:
        return 2 + sum(map(len, part.split()))

    found = read(text, count, longest)
    assert found.tokens == count(text)
    if count(words[0]) > longest:  # then as many of its characters as fit
        assert (found.text, found.cut) == (text[: longest - 2], text[longest - 2 :])
        return
    assert [*found.text.split(), *found.cut.split()] == words
    assert not found.text or count(found.text) <= longest
    if found.cut:
        assert count(f"{found.text} {found.cut.split()[0]}") > longest


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tiny_clip(tmp_path_factory.mktemp("long") / "tiny")
    save_lexicon(folder)
    return load_encoder(folder, device="cpu")


LONG = "clear lungs in the normal " * 4 + "carburettor gasket " * 4


def test_a_text_without_spaces_is_cut_between_characters():
    """As Chinese and Japanese are written; and one word alone may be longer than all that fits."""
    text = "肺は清明です。胸水を認めません。" * 9
    reading = read(text, lambda piece: len(piece) + 2, 16)
    assert (reading.text, reading.text + reading.cut) == (text[:14], text)
    assert sentences(text)[:2] == ["肺は清明です。", "胸水を認めません。"]
    assert sentences("Is it clear? No！Yes. 肺") == ["Is it clear?", "No！", "Yes.", "肺"]
    late = "clear " + "x" * 90
    assert read(late, len, 16).text == "clear"


def test_what_is_cut_is_neither_encoded_nor_judged(encoder):
    reading = encoder.read(LONG)
    assert (reading.longest, reading.tokens) == (16, 30)
    assert reading.text.split() == LONG.split()[:14] and reading.cut.split() == LONG.split()[14:]
    ours, cut = encoder.encode_texts([LONG, reading.text])
    np.testing.assert_allclose(ours, cut, atol=1e-6)
    assert encoder.understands(LONG).understood is True
    assert encoder.understands("carburettor gasket " + LONG).understood is not None
    assert encoder.understands("carburettor gasket oil " * 9).understood is False
    short = encoder.read("clear lungs")
    assert (short.text, short.cut, short.tokens) == ("clear lungs", "", 4)


def test_ways_to_search_a_report(encoder):
    report = "Clear lungs in the normal. No pneumonia in the lungs. A normal opacity in no lungs."
    parts = encoder.encode_texts(sentences(report))
    cut, mean, best = (text_query(encoder, report, how) for how in ("cut", "mean", "best"))
    assert (cut.how, cut.sentences, len(cut.vectors)) == ("cut", (), 1) and cut.cut
    assert mean.sentences == best.sentences == tuple(sentences(report)) and not mean.cut
    expected = parts.mean(axis=0) / np.linalg.norm(parts.mean(axis=0))
    np.testing.assert_allclose(mean.vectors[0], expected, atol=1e-6)
    np.testing.assert_allclose(best.vectors, parts, atol=1e-6)
    whole = text_query(encoder, "clear lungs", "best")
    assert (whole.how, whole.sentences, len(whole.vectors)) == ("whole", (), 1)
    too_long = text_query(encoder, f"{LONG}. Clear lungs.", "mean")
    assert "gasket" in too_long.cut and too_long.read.endswith("Clear lungs.")
    with pytest.raises(UsageError, match="cut, mean, best"):
        text_query(encoder, report, "all")
    with pytest.raises(BadQuery):
        text_query(encoder, " ", "mean")


def test_a_film_counts_by_the_nearest_of_several_vectors(tmp_path):
    gallery = small_gallery(tmp_path / "gallery", 60)
    asked = random_vectors(3, seed=5)
    ids = gallery.ids()
    scores = gallery.vectors(ids).astype(np.float64) @ asked.astype(np.float64).T
    expected = sorted(zip(-scores.max(axis=1), ids, strict=True))[:7]
    found = refined_search(gallery, asked, 7)
    assert [hit.row.id for hit in found] == [id_ for _, id_ in expected]
    assert [hit.rank for hit in found] == list(range(1, 8))
    np.testing.assert_allclose([hit.score for hit in found], [-s for s, _ in expected], atol=1e-6)
    one = refined_search(gallery, asked[:1], 7)
    assert [hit.row.id for hit in one] == [h.row.id for h in refined_search(gallery, asked[0], 7)]
    with pytest.raises(BadQuery, match="one query vector"):
        refined_search(gallery, asked, 7, like=[ids[0]])
