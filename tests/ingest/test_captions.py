"""The captions say what they should, and never what is held out."""

from __future__ import annotations

import re
from random import Random

import pytest

from ingest.training import captions
from ingest.training.captions import (
    GRAMMAR,
    HELD_OUT,
    SUBJECTS,
    caption,
    is_held_out,
    learned_words,
    lesson,
    with_typos,
    words_of,
)


def many(subject: str, count: int = 4000) -> list[str]:
    random = Random(1)
    return [caption(subject, random) for _ in range(count)]


def test_grammar_is_closed_and_used():
    named = {n for choices in GRAMMAR.values() for c in choices for n in re.findall(r"{(\w+)}", c)}
    assert named <= GRAMMAR.keys()
    assert named | set(SUBJECTS) == GRAMMAR.keys()
    assert all(GRAMMAR.values())


@pytest.mark.parametrize("subject", SUBJECTS)
def test_captions_are_whole_sentences(subject):
    for text in many(subject):
        assert text.strip() == text and "  " not in text
        assert not set("{}|") & set(text)
        assert len(text.split()) < 30


def test_no_sentence_means_both():
    assert not set(many("normal", 20_000)) & set(many("pneumonia", 20_000))


def test_the_words_of_radiologists_are_there():
    words = " ".join(many("pneumonia"))
    for phrase in ("consolidation", "infiltrate", "opacity", "airspace disease", "air bronchogram"):
        assert phrase in words
    for phrase in ("lobar", "patchy", "bilateral", "viral pneumonia", "bacterial pneumonia"):
        assert phrase in words
    words = " ".join(many("normal"))
    for phrase in ("clear lungs", "unremarkable", "no acute cardiopulmonary", "costophrenic"):
        assert phrase in words


def test_negation_is_on_both_sides():
    assert any(re.search(r"\b(no|without) .*consolidation", text) for text in many("normal"))
    assert "not normal" in many("pneumonia")
    assert any(re.search(r"\b(no|without) ", text) for text in many("pneumonia"))


def test_held_out_words_are_nowhere_in_the_grammar():
    assert not [word for word in learned_words() if is_held_out(word)]
    assert is_held_out("shadows") and is_held_out("excluding") and not is_held_out("newborn")


@pytest.mark.parametrize("subject", SUBJECTS)
def test_lessons_never_hold_a_held_out_word(subject, monkeypatch):
    random = Random(2)
    assert not any(is_held_out(w) for _ in range(5000) for w in words_of(lesson(subject, random)))
    monkeypatch.setattr(captions, "strange_word", lambda random: random.choice([*HELD_OUT, "gro"]))
    texts = [lesson(subject, random) for _ in range(2000)]
    assert not any(is_held_out(word) for text in texts for word in words_of(text))
    assert any("gro" in words_of(text) for text in texts)


def test_strange_words_come_into_lessons_only():
    random, known = Random(3), learned_words()
    plain = {word for text in many("pneumonia") for word in words_of(text)}
    assert plain <= known
    strange = {word for _ in range(1000) for word in words_of(lesson("pneumonia", random))} - known
    assert len(strange) > 500


def test_same_seed_same_captions():
    assert many("normal", 50) == many("normal", 50)


def test_typos_change_long_words_only():
    text = "no consolidation in the lungs"
    assert with_typos(text, Random(0), rate=0) == text
    changed = {with_typos(text, Random(seed), rate=1) for seed in range(40)}
    assert len(changed) > 20
    for typo in changed:
        words = typo.split()
        assert words[0] == "no" and words[2:4] == ["in", "the"]
        assert len(words) == 5
