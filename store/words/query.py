"""Queries in words: what a person typed, as terms and as LanceDB asks for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from store import negation
from store.errors import BadQuery
from store.words import index, terms
from store.words.terms import NOT, Word

#: Words of which every report has some; they are asked for where there are no others.
_SMALL = re.compile(
    "a|an|the|of|in|on|at|to|with|and|or|is|are|was|were|be|been|has|have|had|there|this|that|it|"
    "for|from|by|as|which|any"
)
#: Headings of a pasted report, which tell no more than that it is one.
_HEADING = re.compile(
    r"\b(?:findings?|impression|indication|technique|comparison|examination|exam|history)[ \t]*:"
    r"|\bfinal report\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r'"([^"]*)"')


@dataclass(frozen=True, slots=True)
class WordQuery:
    """Query in words.

    Attributes:
        text: as it was asked.
        terms: that a report is to have, the more of them the better; with ``¬`` before one that
            it is to say is absent.
        phrases: terms in a row, of which a report must have each: what stood between quotes.
        negated: whether absent terms are asked for.
        either: whether a term counts whether present or absent.
        is_report: whether it has several sentences, as a report has.
    """

    text: str
    terms: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...] = ()
    negated: bool = False
    either: bool = False
    is_report: bool = False

    def marked_terms(self) -> frozenset[str]:
        """The terms that a word of a report is to have, with its mark, to be one asked for."""
        asked = {*self.terms, *(one for phrase in self.phrases for one in phrase)}
        return frozenset(self._both(tuple(asked)))

    def bare_terms(self) -> frozenset[str]:
        """The same terms without marks: present or absent."""
        return frozenset(one.removeprefix(NOT) for one in self.marked_terms())

    def as_lancedb(self) -> Any:
        """The query as LanceDB takes it, over the column of terms."""
        from lancedb import query

        ask: Any = query  # its classes are of pydantic, and look untyped from here
        parts = []
        if self.terms:
            parts.append(
                (ask.Occur.SHOULD, ask.MatchQuery(" ".join(self._both(self.terms)), index.COLUMN))
            )
        for phrase in self.phrases:
            ways = [phrase]
            if self.either:
                plain = tuple(one.removeprefix(NOT) for one in phrase)
                ways = list(dict.fromkeys([phrase, plain, tuple(f"{NOT}{one}" for one in plain)]))
            each = [
                (ask.PhraseQuery if len(way) > 1 else ask.MatchQuery)(" ".join(way), index.COLUMN)
                for way in ways
            ]
            whole = each[0]
            if len(each) > 1:
                whole = ask.BooleanQuery([(ask.Occur.SHOULD, one) for one in each])
            parts.append((ask.Occur.MUST, whole))
        return ask.BooleanQuery(parts) if len(parts) > 1 or self.phrases else parts[0][1]

    def _both(self, wanted: tuple[str, ...]) -> list[str]:
        if not self.either:
            return list(wanted)
        plain = [one.removeprefix(NOT) for one in wanted]
        return list(dict.fromkeys([*plain, *(f"{NOT}{one}" for one in plain)]))


def parse(text: str, either: bool = False) -> WordQuery:
    """A query from what was typed.

    Args:
        text: words; those between quotes must stand in a row. Negations are read as in reports:
            ``no effusion`` asks for reports that say there is none.
        either: a word counts in reports that say it is absent as well as in those that do not.

    Raises:
        BadQuery: there is no word in it.
    """
    if not isinstance(text, str):
        raise BadQuery(f"words {text!r}: expected a text")
    quoted = [one.span(1) for one in _QUOTED.finditer(text)]
    plain = text.replace('"', " ")
    found: list[Word] = []
    cues: list[tuple[int, int]] = []
    sentences = negation.read(plain)
    for sentence in sentences:
        found += terms.words(plain, sentence)
        cues += sentence.cues
    if not found:
        raise BadQuery(f"words {text!r}: there is no word in it to look for")
    phrases = [[w.marked for w in found if at <= w.start < end] for at, end in quoted]
    single = [w for w in found if not any(at <= w.start < end for at, end in quoted)]
    cues += [one.span() for one in _HEADING.finditer(plain)]
    telling = [
        word
        for word in single
        if not _SMALL.fullmatch(plain[word.start : word.end].lower())
        and not any(at <= word.start < end for at, end in cues)
    ]
    if not telling and not any(phrases):
        telling = single
    asked = tuple(dict.fromkeys(word.marked for word in telling))
    return WordQuery(
        text,
        asked,
        tuple(tuple(one) for one in phrases if one),
        any(one.startswith(NOT) for one in (*asked, *(one for part in phrases for one in part))),
        either,
        len(sentences) > 1,
    )
