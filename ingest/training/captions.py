"""Grammar of captions about chest films, which the text tower learns from.

A caption says that a film is normal, or that it shows pneumonia; the two classes of PneumoniaMNIST.
A lesson is what the tower is given: captions joined, misspelt, and strewn with words that do not
exist, so that a word it never heard leaves the meaning to the others.

Negation is written out on both sides, because "no consolidation" and "pneumonia, no effusion" share
their words and differ in their meaning; and so is its double, "cannot be ruled out". Ordinary words
for healthy and sick stand beside those of radiologists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random


def _lines(name: str) -> list[str]:
    """The lines of a file beside this one, without blank ones and comments."""
    text = Path(__file__).with_name(name).read_text("utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


#: Abbreviations of words of captions; WordNet has none of them.
ABBREVIATIONS: dict[str, tuple[str, ...]] = {
    "w/o": ("without",),
    "-ve": ("negative",),
    "+ve": ("positive",),
}
#: word -> words of captions; ``make synonyms`` makes the file.
SYNONYMS: dict[str, tuple[str, ...]] = {
    word: tuple(near) for line in _lines("synonyms.txt") for word, *near in [line.split()]
}


#: Subjects of captions, by label name.
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


def _parsed(lines: Iterable[str]) -> dict[str, list[str]]:
    grammar: dict[str, list[str]] = {}
    choices: list[str] = []
    for line in lines:
        if line.endswith(" ="):
            grammar[line.removesuffix(" =")] = choices = []
        else:
            choices += [choice.strip() for choice in line.split("|") if choice.strip()]
    return grammar


#: The choices that each name stands for.
GRAMMAR: Mapping[str, Sequence[str]] = _parsed(_lines("grammar.txt"))


def words_of(text: str) -> list[str]:
    """The words of a text, lower case."""
    return re.findall(r"[a-z]+", text.lower())


def learned_words() -> set[str]:
    """Every word that a caption of the grammar can hold, lower case."""
    texts = (re.sub(r"\{\w+\}|\S*~\S*", " ", text) for texts in GRAMMAR.values() for text in texts)
    return {word for text in texts for word in words_of(text)}


#: Shares of training texts that get another caption, and another word that does not exist.
_JOINED, _STREWN = 0.2, 0.3
#: Shares of words that are misspelt: most writers are careful, some are not.
_TYPOS = (0.0, 0.1, 0.3, 0.5)
_JOINTS = (", ", "; ", ". ")
#: Share of strange words that are English, from a list of common nouns, verbs and adjectives.
_ENGLISH = 0.6
#: Common English words that mostly have nothing to do with chest films.
ENGLISH = [word for line in _lines("words.txt") for word in line.split()]
#: Words that are in no caption.
_FILLERS = sorted({*ENGLISH} - learned_words())
#: The grammar without words that do not exist.
_PLAIN = {
    name: [choice for choice in choices if "~" not in choice] for name, choices in GRAMMAR.items()
}
_ONSETS = (*"bcdfghklmnprstvw", *("st", "tr", "pl", "sh", "th", "gr", "cl", "bl", "sp", "fl"))
_VOWELS = (*"aeiouaeio", "ea", "ou", "ai")
_CODAS = ("", "", "n", "r", "s", "d", "l", "ck", "st", "ng", "t", "m")
_ENDINGS = (*[""] * 6, "s", "ly", "ed", "ing", "er", "al", "ate", "ion", "ous", "ive", "ment")


def caption(subject: str, random: Random, *, strange: bool = False) -> str:
    """One sentence about a film.

    Args:
        subject: ``normal`` or ``pneumonia``.
        random: the only source of chance.
        strange: whether words that do not exist may come in, where the grammar says so.
    """
    return _expand(subject, GRAMMAR if strange else _PLAIN, random)


def lesson(subject: str, random: Random) -> str:
    """A training text: captions joined, with words that do not exist, and misspelt.

    Words that are held out never come in, not even by chance.

    Args:
        subject: ``normal`` or ``pneumonia``.
        random: the only source of chance.
    """
    while True:
        text = caption(subject, random, strange=True)
        while random.random() < _JOINED:
            text += random.choice(_JOINTS) + caption(subject, random, strange=True)
        text = with_typos(_strewn(text, random), random, random.choice(_TYPOS))
        if not any(map(is_held_out, words_of(text))):
            return text


def with_typos(text: str, random: Random, rate: float = 0.15) -> str:
    """The same sentence, as hurried fingers would type some of its words.

    Args:
        text: a sentence.
        random: the only source of chance.
        rate: probability that a word of five letters or more is misspelt.
    """
    return " ".join(
        _misspell(word, random) if len(word) > 4 and random.random() < rate else word
        for word in text.split()
    )


def _strewn(text: str, random: Random) -> str:
    """A text with words added here and there that mean nothing here."""
    words = text.split()
    while random.random() < _STREWN:
        words.insert(random.randint(0, len(words)), strange_word(random) + random.choice(_ENDINGS))
    return " ".join(words)


def strange_word(random: Random) -> str:
    """An English word that has nothing to do with chest films, or syllables that are none."""
    if random.random() < _ENGLISH:
        return random.choice(_FILLERS)
    return "".join(
        random.choice(_ONSETS) + random.choice(_VOWELS) + random.choice(_CODAS)
        for _ in range(random.choice((1, 2, 2, 3)))
    )


def _expand(name: str, grammar: Mapping[str, Sequence[str]], random: Random) -> str:
    text = random.choice(grammar[name])
    while "{" in text:
        head, _, rest = text.partition("{")
        inner, _, tail = rest.partition("}")
        text = head + _expand(inner, grammar, random) + tail
    while "~" in text:
        text = text.replace("~", strange_word(random), 1)
    return text


def _misspell(word: str, random: Random) -> str:
    at = random.randrange(1, len(word) - 1)
    return random.choice(
        [
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + random.choice("abcdefghijklmnopqrstuvwxyz") + word[at + 1 :],
        ]
    )
