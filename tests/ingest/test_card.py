"""Cards of encoders: licence, training data, and whether they saw given films."""

from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import KNOWN, Card, card_of, is_at_hand
from ingest.encoders import DEFAULT_ENCODER, load_encoder
from tests.ui.films import tiny_clip


def test_the_bundled_encoder_says_what_it_learnt_from():
    encoder = load_encoder(DEFAULT_ENCODER)
    card = card_of(encoder.name, encoder)
    assert (card.licence, card.data) == ("CC BY 4.0", "pneumoniamnist train")
    assert card.saw("pneumoniamnist", "train") == "yes"
    assert card.saw("pneumoniamnist", "test") == card.saw("chestmnist", "train") == "no"
    # The films of PneumoniaMNIST are Kermany's, divided otherwise.
    assert card.saw("kermany", "train") == card.saw("pneumoniamnist", None) == "unknown"
    assert card.saw(None, "train") == "unknown"
    assert 1.9e6 < encoder.parameters < 2.1e6


def test_published_encoders_say_what_their_pages_say():
    assert all(known.licence and known.data for known in KNOWN.values())
    card = card_of("rad-dino")
    assert card.licence == "MIT"
    assert card.saw("nih-chestxray14", "test") == card.saw("chestmnist", "test") == "yes"
    assert card.saw("mimic-cxr-jpg", "train") == card.saw("chexpert", "val") == "yes"
    assert card.saw("chexpert", "test") == "unknown"  # published later, and not among its films
    assert card.saw("mimic-cxr-jpg", "test") == card.saw("pneumoniamnist", "test") == "unknown"
    assert card_of("clip@bf16") == card_of("clip")
    assert {card_of("clip").saw(name, "test") for name in ("chexpert", "x")} == {"unknown"}
    assert card_of("nobody's") == Card()


def test_the_card_beside_a_folder_of_weights(tmp_path):
    folder = tiny_clip(tmp_path / "mine")
    assert card_of("mine", load_encoder(folder)) == Card()
    readme = folder / "README.md"
    readme.write_text("---\nlicense: apache-2.0\ndatasets: [ours, theirs]\n---\n# Mine\n")
    card = card_of("mine", load_encoder(folder))
    assert (card.licence, card.data, card.complete) == ("Apache 2.0", "ours, theirs", False)
    assert card.saw("ours", "train") == "unknown"  # a name on a card tells no split
    readme.write_text("---\nlicense: other\nlicense_name: our-terms\n---\n")
    assert card_of("mine", load_encoder(folder)).licence == "our-terms"
    (folder / "training.json").write_text(
        json.dumps({"trained_on": [{"dataset": "ours", "split": "train"}]})
    )
    card = card_of("mine", load_encoder(folder))
    assert (card.saw("ours", "train"), card.saw("ours", "test")) == ("yes", "no")
    assert load_encoder(folder).fingerprint == load_encoder(folder).fingerprint


@pytest.mark.parametrize(
    "text",
    [b"", b"\xff\xfe", b"---\n: [\n---\n", b"---\n- a\n---\n", b"---\nlicense: [1]\n---\n"],
    ids=["empty", "no text", "no YAML", "a list", "a licence that is none"],
)
def test_a_damaged_card_is_no_card(tmp_path, text):
    folder = tiny_clip(tmp_path / "mine")
    (folder / "README.md").write_bytes(text)
    assert card_of("mine", load_encoder(folder)) == Card()


SETS = st.sampled_from(["kermany", "pneumoniamnist", "chestmnist", "nih-chestxray14", "ward"])
SPLITS = st.sampled_from([None, "train", "test"])


@given(st.frozensets(st.tuples(SETS, SPLITS)), st.booleans(), SETS, SPLITS)
def test_no_is_said_of_films_that_no_source_holds(trained_on, complete, dataset, split):
    """Against sets of films: a data set is its own films, or a part of those it is made of."""
    made_of = {"pneumoniamnist": "kermany", "chestmnist": "nih-chestxray14"}
    origin = made_of.get(dataset, dataset)
    kin = {part for name, part in trained_on if made_of.get(name, name) == origin}
    said = Card(trained_on=trained_on, complete=complete).saw(dataset, split)
    if not kin:
        assert said == ("no" if complete else "unknown")
    elif (dataset, split) in trained_on or {(dataset, None), (origin, None)} & trained_on:
        assert said == "yes"
    else:
        others = any(
            name != dataset and made_of.get(name, name) == origin for name, _ in trained_on
        )
        sure = complete and not others and split is not None
        assert said == ("no" if sure else "unknown")


def test_nothing_is_fetched_to_know_whether_an_encoder_is_here(tmp_path):
    assert is_at_hand(DEFAULT_ENCODER)
    assert is_at_hand(str(tiny_clip(tmp_path / "mine")))
    for name, precision in product([*KNOWN, "some/one", "external:x"], ["", "@bf16"]):
        assert not is_at_hand(name + precision)
