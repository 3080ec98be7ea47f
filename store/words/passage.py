"""Passage of a report: the sentence that a query in words found, with the words marked."""

from __future__ import annotations

from dataclasses import dataclass

from store import negation
from store.negation import State
from store.words import terms
from store.words.query import WordQuery

#: Characters of a sentence that are shown, and of those before its first mark.
_LONGEST, _BEFORE = 320, 120
_CUT = "… "


@dataclass(frozen=True, slots=True)
class Mark:
    """Marked word of a passage: its characters from ``start`` to ``end``, and its state."""

    start: int
    end: int
    state: State


@dataclass(frozen=True, slots=True)
class Passage:
    """Sentence of a report, and its words that were asked for, in order."""

    text: str
    marks: tuple[Mark, ...] = ()

    def marked(self, before: str = "[", after: str = "]") -> str:
        """The text with signs around each mark."""
        return "".join(f"{before}{part}{after}" if mark else part for part, mark in self.parts())

    def parts(self) -> list[tuple[str, Mark | None]]:
        """The text in pieces, each with its mark or without one; joined they are the text."""
        found: list[tuple[str, Mark | None]] = []
        at = 0
        for mark in self.marks:
            found += [(self.text[at : mark.start], None), (self.text[mark.start : mark.end], mark)]
            at = mark.end
        return [one for one in (*found, (self.text[at:], None)) if one[0]]


def passage(report: str, query: WordQuery) -> Passage:
    """The sentence of a report that has most of the terms asked for; of equal ones the first.

    Where none has any, the one that has most of them in another state, or the first, without
    marks. A long sentence is cut around its marks.
    """
    marked, bare = query.marked_terms(), query.bare_terms()
    best, found = (-1, -1), list[terms.Word]()
    where: negation.Sentence | None = None
    for sentence in negation.read(report):
        named = [word for word in terms.words(report, sentence) if word.term in bare]
        has = [word for word in named if word.marked in marked]
        count = (len({word.term for word in has}), len({word.term for word in named}))
        if count > best:
            best, found, where = count, has, sentence
    if where is None:
        return Passage("")
    start, end, cut = where.start, where.end, ""
    if end - start > _LONGEST:
        first = found[0].start if found else start
        if first - start > _BEFORE:
            space = report.find(" ", first - _BEFORE, first)
            start, cut = (first if space < 0 else space + 1), _CUT
        end = min(end, start + _LONGEST)
    text = cut + report[start:end] + (_CUT.rstrip() if end < where.end else "")
    # Line breaks inside a sentence are those that wrapped it.
    text = "".join(" " if one.isspace() else one for one in text)
    move = len(cut) - start
    marks = (Mark(w.start + move, w.end + move, w.state) for w in found if w.end <= end)
    return Passage(text, tuple(marks))
