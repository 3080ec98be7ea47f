"""The grammar of the captions, read from grammar.txt, and the words that are kept out of it.

Negation is written out on both sides, because "no consolidation" and "pneumonia, no effusion" share
their words and differ in their meaning; and so is its double, "cannot be ruled out". Ordinary words
for healthy and sick stand beside those of radiologists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

#: What the captions can be about, by label name.
SUBJECTS = ("normal", "pneumonia")

_HELD_OUT = """
    pneumonitis shadowing shadowng whiteout aerated aereated lacking unaffected excluded
    consolidated keeping cloudy infectious areas increased throughout cough fever new opaque far
    yet show normally normaly sides devoid perfectly wrong which bones intact neither nor i do
    airspaces radiographic inflamed toddler bronchopnuemonia
"""
#: Words that no training text holds: every held-out prompt of prompts.csv has one of them.
HELD_OUT = frozenset(_HELD_OUT.split())

#: Beginnings of words that no training text holds: the near relations of those above are out too.
HELD_OUT_STEMS = ("shadow", "aerat", "lack", "affect", "unaffect", "exclu", "cloud", "whiteout")


def is_held_out(word: str) -> bool:
    """Whether a lower-case word is kept from training, to test unheard words honestly."""
    return word in HELD_OUT or word.startswith(HELD_OUT_STEMS)


def _parsed(rules: str) -> dict[str, list[str]]:
    grammar: dict[str, list[str]] = {}
    choices: list[str] = []
    for line in rules.splitlines():
        if line.startswith("#"):
            continue
        if line.endswith(" ="):
            grammar[line.removesuffix(" =")] = choices = []
        else:
            choices += [choice.strip() for choice in line.split("|") if choice.strip()]
    return grammar


#: The choices that each name stands for.
GRAMMAR: Mapping[str, Sequence[str]] = _parsed(
    Path(__file__).with_name("grammar.txt").read_text("utf-8")
)


def learned_words() -> set[str]:
    """Every word that a caption of the grammar can hold, lower case."""
    texts = (re.sub(r"\{\w+\}|\S*~\S*", " ", text) for texts in GRAMMAR.values() for text in texts)
    return {word for text in texts for word in re.findall(r"[a-z]+", text.lower())}
