"""Terms of a report: its words as the full-text index holds them.

A term is a word in small letters, without accents, reduced to its stem by Snowball's English
rules: ``Effusions`` becomes ``effus``. A word that the report says is absent has a mark before it,
so that "no effusion" is no hit for effusion, and is one for "no effusion". All of it is done here,
once, when a report is written, and LanceDB splits at spaces only: its own stemmer would come before
accents are taken off.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, NamedTuple

from store import negation
from store.negation import ABSENT, Sentence, State

#: Stands before a term that is absent.
NOT = "¬"
#: Stands between sentences, so that no phrase goes from one into the next.
_BREAK = "."
#: Characters of a term that count.
_LONGEST = 40
#: Words with their inner apostrophes; of scripts without spaces each character is one.
_WORD = re.compile(
    "[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
    "|(?:(?![\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])[^\\W_])+"
)


class Word(NamedTuple):
    """Word of a text: its characters from ``start`` to ``end``, its term, and its state."""

    start: int
    end: int
    term: str
    state: State

    @property
    def marked(self) -> str:
        """The term as the index holds it."""
        return f"{NOT}{self.term}" if self.state == ABSENT else self.term


def searched(report: str) -> str:
    """The text that the index is made of: all terms of a report in order, absent ones marked."""
    sentences = (
        " ".join(word.marked for word in words(report, sentence))
        for sentence in negation.read(report)
    )
    return f" {_BREAK} ".join(filter(None, sentences))


def words(report: str, sentence: Sentence) -> Iterator[Word]:
    """The words of one sentence of a report, in order."""
    for found in _WORD.finditer(report, sentence.start, sentence.end):
        state = sentence.state(found.start())
        yield Word(found.start(), found.end(), term(found.group()), state)


@lru_cache(maxsize=1 << 16)
def term(word: str) -> str:
    """The term of a word."""
    plain = unicodedata.normalize("NFKD", word.casefold())
    plain = "".join(one for one in plain if not unicodedata.combining(one))
    stem: str = _stemmer().stemWord(plain[:_LONGEST])
    return stem


@cache
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")
