"""What an encoder says it learnt from."""

from __future__ import annotations

import json

import pytest

from ingest.encoders.locate import DEFAULT_ENCODER, FILE, KEY, as_entries, locate, seen_in_training


def test_the_bundled_encoder_learnt_from_the_training_split_alone():
    assert seen_in_training(locate(DEFAULT_ENCODER).folder) == {("pneumoniamnist", "train")}


def test_round_trip_and_unknown(tmp_path):
    assert seen_in_training(tmp_path) == frozenset()
    entries = as_entries([("b", "train"), ("a", "train"), ("b", "train")])
    (tmp_path / FILE).write_text(json.dumps({KEY: entries, "curve": []}))
    assert seen_in_training(tmp_path) == {("a", "train"), ("b", "train")}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"trained_on": [1]}', '{"trained_on": 3}'])
def test_a_damaged_note_is_no_note(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    assert seen_in_training(tmp_path) == frozenset()
