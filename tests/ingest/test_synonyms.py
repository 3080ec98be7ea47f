"""Words that no caption holds, and the vectors they get."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from ingest.training.captions import SUBJECTS, SYNONYMS, is_held_out, learned_words

torch = pytest.importorskip("torch")

from ingest.training.model import new_model, new_tokenizer  # noqa: E402
from ingest.training.vocabulary import learn_synonyms  # noqa: E402
from tools import build_synonyms  # noqa: E402


def test_synonyms_are_words_of_captions_of_words_that_are_not():
    heard = learned_words()
    assert len(SYNONYMS) > 300
    for word, near in SYNONYMS.items():
        assert re.fullmatch("[a-z]+", word) and word not in heard
        assert near and set(near) <= heard and not any(map(is_held_out, near))


def test_no_word_is_turned_into_a_label():
    assert not {one for near in SYNONYMS.values() for one in near} & set(SUBJECTS)


@pytest.fixture(scope="module")
def towers():
    """An untrained tower, before and after it is told of synonyms."""
    texts = ["absent however still", "exactly reader report absent", "bigger large however"] * 5
    tokenizer = new_tokenizer(texts)
    torch.manual_seed(0)
    model = new_model(len(tokenizer)).eval()
    before = model.text_model.embeddings.word_embeddings.weight.detach().clone()
    return model, tokenizer, before, learn_synonyms(model, tokenizer)


def test_a_new_word_has_the_mean_of_its_synonyms(towers):
    model, tokenizer, before, wider = towers
    after = model.text_model.embeddings.word_embeddings.weight.detach()
    assert torch.equal(after[: len(before)], before)
    assert len(wider) == len(after) == model.config.text_config.vocab_size > len(before)
    old, new = tokenizer.get_vocab(), wider.get_vocab()
    assert {piece: new[piece] for piece in old} == old
    assert torch.equal(after[new["lacking"]], before[old["absent"]])
    pair = before[[old["however"], old["still"]]].mean(0)
    assert SYNONYMS["nonetheless"] == ("however", "still")
    torch.testing.assert_close(after[new["nonetheless"]], pair)


def test_a_new_word_is_read_as_its_synonym(towers):
    model, _, _, wider = towers

    def read(text: str) -> torch.Tensor:
        with torch.no_grad():
            return model.text_model(**wider(text, return_tensors="pt")).pooler_output

    torch.testing.assert_close(read("exactly lacking"), read("Exactly ABSENT"))
    assert (read("lacking") - read("report")).abs().max() > 1e-3


def test_all_other_words_keep_their_pieces(towers):
    _, tokenizer, _, wider = towers
    others = [*learned_words(), *(f"{word}x" for word in SYNONYMS), "lackin", "un-lackinged"]
    assert [word for word in others if wider.tokenize(word) != tokenizer.tokenize(word)] == []
    assert wider.tokenize("un LACKING x") == [*tokenizer.tokenize("un"), "lacking", "x"]


def test_new_words_survive_saving(towers, tmp_path):
    from transformers import AutoTokenizer

    *_, wider = towers
    wider.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("lungs lacking a report", "Nonetheless LACKING", "lackingly"):
        assert again(text)["input_ids"] == wider(text)["input_ids"]


def test_synonyms_whose_words_are_spelled_are_left_out(towers):
    _, tokenizer, _, wider = towers
    assert "breast" in SYNONYMS
    assert "chest" not in tokenizer.get_vocab() and "breast" not in wider.get_vocab()


@pytest.fixture
def wordnet(tmp_path: Path) -> build_synonyms.WordNet:
    """Four synsets: absent and lacking; leave out; spot and office; hide and obscure."""
    index = {
        "noun": "spot n 1 0 1 0 00000003\noffice n 1 0 1 0 00000003\n",
        "verb": "omit v 1 0 1 0 00000002\nskip v 1 0 1 0 00000002\n"
        "exclude v 1 0 1 0 00000002\n"
        "hide v 1 0 1 0 00000004\nobscure v 1 0 1 0 00000004\n",
        "adj": "absent a 1 0 1 0 00000001\nlacking a 2 0 2 0 00000009 00000001\n",
        "adv": "",
    }
    for part, lines in index.items():
        (tmp_path / f"index.{part}").write_text("  1 the licence\n" + lines)
        (tmp_path / f"{part}.exc").write_text(
            "skipped skip\nskipping skip\nhidden hide\n" if part == "verb" else ""
        )
    return build_synonyms.WordNet(tmp_path)


def made(
    wordnet: build_synonyms.WordNet, words: str, heard: str, **options: int
) -> dict[str, list[str]]:
    def encode(names: list[str]) -> np.ndarray:
        """All alike but for the office, which is near nothing."""
        return np.array([[0.0, 1.0] if n == "office" else [1.0, 0.0] for n in names])

    return build_synonyms.synonyms(words.split(), set(heard.split()), wordnet, encode, **options)


def test_synonyms_share_a_synset(wordnet):
    assert made(wordnet, "lacking", "absent spot") == {"lacking": ["absent"]}
    assert made(wordnet, "lacking", "spot") == {}
    assert made(wordnet, "absent", "absent lacking") == {}  # it is heard


def test_synonyms_stand_in_the_same_form(wordnet):
    assert made(wordnet, "excluding exclude excluded", "skip") == {"exclude": ["skip"]}
    assert made(wordnet, "excluding excluded", "skipping skipped") == {
        "excluding": ["skipping"],
        "excluded": ["skipped"],
    }
    assert made(wordnet, "hidden", "obscured obscure") == {"hidden": ["obscured"]}


def test_synonyms_are_near_each_other(wordnet):
    assert made(wordnet, "office", "spot") == {}


def test_what_captions_mean_otherwise_is_no_synonym(wordnet):
    assert made(wordnet, "office", "spot spots") == made(wordnet, "exclude", "omit") == {}


def test_a_rare_meaning_counts_little(wordnet):
    assert made(wordnet, "lacking", "absent", rarest=0) == {}


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        ((), "two folders"),
        (("nowhere", "nowhere"), "index.noun is missing: pass a folder of WordNet 3"),
        (("wordnet", "nowhere"), "vocab.txt is missing: pass a folder of all-MiniLM-L6-v2"),
        (("wordnet", "model"), "does not load as a model"),
    ],
)
def test_what_is_missing_is_said_in_one_line(tmp_path, folders, says, monkeypatch, capfd):
    for folder, file in (("wordnet", "index.noun"), ("model", "vocab.txt")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text("word\n")
    before = build_synonyms.FILE.read_bytes()
    monkeypatch.setattr(sys, "argv", ["build_synonyms", *(str(tmp_path / one) for one in folders)])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(build_synonyms.__file__, run_name="__main__")
    assert says in left.value.code and "\n" not in left.value.code
    assert capfd.readouterr() == ("", "")  # what Python ends with is said to stderr
    assert build_synonyms.FILE.read_bytes() == before
