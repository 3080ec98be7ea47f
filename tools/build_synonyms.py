"""Makes synonyms.txt: common English words that no caption holds, beside words of captions.

    python -m tools.build_synonyms WORDNET ENCODER     or     make synonyms MINILM=ENCODER

Two words are taken for synonyms where WordNet puts them into one synset, they stand in the same
form ("excluding" is no "omit"), and a sentence encoder finds them near: WordNet alone also pairs
"spot" with "office", the encoder alone "visible" with "hidden".
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ingest.training import captions

FILE = Path(captions.__file__).with_name("synonyms.txt")
#: Least cosine of two synonyms, and how many of them a word gets.
_NEAR, _MOST = 0.5, 3
#: How common two senses must be together: the sum of their ranks among the senses of their words.
_RANKS = 5
_SHORTEST = 3
_UNFIT_WORDS = """
    caucasian negro tremendous saved covered
"""
#: Words for people are no words for what a film shows; others would be read amiss.
_UNFIT = frozenset(_UNFIT_WORDS.split())
_OTHERWISE_WORDS = """
    admitted air apart away back bare behind bottom call called caught child children class control
    crystal cut denied deny denying dismissed dull failed fails fit fold gone great ground heart
    infiltrate infiltrated instead left like mass massive means missed mistake omit overlooked pass
    place present raised remove respect right ruled rules save single skin sound spared spots think
    thought treated turned void wanting
"""
#: Words that captions use in another sense than the dictionary's commonest: "dismissed" of a
#: finding, not of a patient. Found by reading all pairs.
_OTHERWISE = frozenset(_OTHERWISE_WORDS.split())
_PARTS = ("noun", "verb", "adj", "adv")
#: Endings that are taken off to find a word, as in WordNet's own morphy(7WN), by form.
_ENDINGS = {
    ("noun", "s"): ("s:", "ses:s", "xes:x", "zes:z", "ches:ch", "shes:sh", "men:man", "ies:y"),
    ("verb", "s"): ("s:", "ies:y", "es:e", "es:"),
    ("verb", "ed"): ("ed:e", "ed:"),
    ("verb", "ing"): ("ing:e", "ing:"),
    ("adj", "er"): ("er:", "er:e"),
    ("adj", "est"): ("est:", "est:e"),
}
#: What an irregular form mostly is.
_IRREGULAR = {"noun": "s", "verb": "ed", "adj": "er", "adv": "er"}
_Sense = tuple[str, str, str]  # part of speech, form, offset of a synset


class WordNet:
    """The index of a WordNet 3 database, in the files of wndb(5WN)."""

    def __init__(self, folder: Path) -> None:
        self.senses: dict[tuple[str, str], list[str]] = {}  # part, word -> synsets, commonest first
        self.irregular: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
        for part in _PARTS:
            for line in (folder / f"index.{part}").read_text("utf-8").splitlines():
                if not line.startswith(" "):
                    word, _, count, *rest = line.split()
                    self.senses[part, word] = rest[-int(count) :]
            for line in (folder / f"{part}.exc").read_text("utf-8").splitlines():
                word, *bases = line.split()
                form = "ing" if word.endswith("ing") else _IRREGULAR[part]
                self.irregular[word] += [(part, form, base) for base in bases]

    def of(self, word: str) -> Iterator[tuple[_Sense, int]]:
        """What a word may be, and how rare each of its meanings is among all of that word."""
        found = {(part, "", word) for part in _PARTS} | set(self.irregular.get(word, ()))
        for (part, form), endings in _ENDINGS.items():
            for ending, _, base in (rule.partition(":") for rule in endings):
                if word.endswith(ending):
                    found.add((part, form, word.removesuffix(ending) + base))
        for part, form, base in found:
            for rank, offset in enumerate(self.senses.get((part, base), ())):
                yield (part, form, offset), rank


def synonyms(
    words: Sequence[str], heard: set[str], wordnet: WordNet, encoder: Any, rarest: int = _RANKS
) -> dict[str, list[str]]:
    """Words -> heard words that mean much the same, the nearest first.

    Args:
        words: lower case; those that are heard are left out.
        heard: words of captions.
        wordnet: tells which words share a meaning.
        encoder: words -> float32 unit vectors; tells how near they are.
        rarest: how rare two meanings may be together.
    """
    ranks: dict[_Sense, dict[str, int]] = defaultdict(dict)
    for word in heard:
        for sense, rank in wordnet.of(word):
            ranks[sense][word] = min(rank, ranks[sense].get(word, rank))
    shared: dict[str, set[str]] = {}
    for word in words:
        near = {
            other
            for sense, rank in wordnet.of(word)
            for other, rank_there in ranks.get(sense, {}).items()
            if rank + rank_there <= rarest and len(other) >= _SHORTEST and other not in _OTHERWISE
        }
        if near and word not in heard:
            shared[word] = near
    names = sorted({*shared, *(other for near in shared.values() for other in near)})
    vectors = dict(zip(names, encoder(names), strict=True))
    found = {}
    for word, near in shared.items():
        cosines = {other: float(vectors[word] @ vectors[other]) for other in near}
        close = sorted((o for o in near if cosines[o] >= _NEAR), key=lambda o: (-cosines[o], o))
        if close:
            found[word] = close[:_MOST]
    return found


def sentence_encoder(folder: Path) -> Any:
    """Words -> unit vectors: the mean of a transformer's last states."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    @torch.no_grad()
    def encode(words: Sequence[str]) -> np.ndarray[Any, Any]:
        parts = []
        for start in range(0, len(words), 512):
            rows = tokenizer(list(words[start : start + 512]), padding=True, return_tensors="pt")
            mask = rows["attention_mask"][..., None]
            mean = (model(**rows).last_hidden_state * mask).sum(1) / mask.sum(1)
            parts.append(torch.nn.functional.normalize(mean, dim=-1).numpy())
        return np.concatenate(parts)

    return encode


def main(wordnet: str, encoder: str) -> None:
    """Write synonyms.txt.

    Args:
        wordnet: folder of a WordNet 3 database.
        encoder: folder of a sentence encoder that lists its words, as BERTs do: they are common.
    """
    for folder, file, what in (
        (wordnet, "index.noun", "WordNet 3 (Debian: wordnet-base)"),
        (encoder, "vocab.txt", "all-MiniLM-L6-v2 in the transformers layout"),
    ):
        if not Path(folder, file).is_file():
            sys.exit(f"{Path(folder, file)} is missing: pass a folder of {what}")
    listed = Path(encoder, "vocab.txt").read_text("utf-8").split()
    words = sorted(w for w in set(listed) - _UNFIT if re.fullmatch(rf"[a-z]{{{_SHORTEST},}}", w))
    try:
        model = sentence_encoder(Path(encoder))
    except (OSError, ValueError) as error:
        sys.exit(f"{encoder} does not load as a model: {str(error).splitlines()[0]}")
    found = synonyms(words, captions.learned_words(), WordNet(Path(wordnet)), model)
    head = [line for line in FILE.read_text("utf-8").splitlines() if line.startswith("#")]
    lines = [" ".join([word, *near]) for word, near in found.items()]
    FILE.write_text("\n".join([*head, *lines]) + "\n", "utf-8")
    print(f"{FILE}: {len(found)} words")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("python -m tools.build_synonyms WORDNET ENCODER (two folders)")
    main(*sys.argv[1:])
