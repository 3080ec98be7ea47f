"""Findings of a film: which labels name one, and the outcome of looking at it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Final, Literal

#: The outcomes of looking at a film, as filters, counts and pages name them. ``UNCERTAIN``: every
#: finding named is an uncertain one, which says neither yes nor no.
FOUND: Final = "found"
NOTHING_FOUND: Final = "no finding"
UNCERTAIN: Final = "uncertain only"
NOT_LABELLED: Final = "not labelled"
Outcome = Literal["found", "no finding", "uncertain only", "not labelled"]
#: Stands among the names of findings for a film in which nothing was found.
NO_FINDING = "No finding"
OUTCOMES: tuple[Outcome, ...] = (FOUND, NOTHING_FOUND, UNCERTAIN, NOT_LABELLED)
#: Outcomes of films that take part in no evaluation, and how these are counted.
LEFT_OUT: dict[Outcome, str] = {
    NOT_LABELLED: NOT_LABELLED,
    UNCERTAIN: "only uncertain findings",
}

_GAP = r"[ \t\r\n_]"
#: Pattern of labels by which data sets say that nothing was found, in any case and spacing; the
#: same to Python and to the table's regular expressions. ``normal`` is a class like any other.
NAMES_NOTHING = f"{_GAP}*[Nn][Oo]{_GAP}+[Ff][Ii][Nn][Dd][Ii][Nn][Gg][Ss]?{_GAP}*"
_NOTHING = re.compile(NAMES_NOTHING)


@lru_cache(4096)
def names_nothing(label: str) -> bool:
    """Whether a label says that nothing was found, as NIH's ``No Finding`` does."""
    return _NOTHING.fullmatch(label) is not None


def findings(labels: Sequence[str]) -> tuple[str, ...]:
    """The findings among labels: all but those that say that nothing was found."""
    return tuple(label for label in labels if not names_nothing(label))


def findings_instead(name: str, there: Sequence[str], most: int = 10) -> str:
    """The findings that there are, for a name that is none of them, and the one nearest to it.

    E.g. ``normal, pneumonia; did you mean 'pneumonia'?`` The nearest is told even where it is not
    among the ``most`` that are listed.
    """
    more = f" and {len(there) - most:,} more" if len(there) > most else ""
    plain = {one.casefold(): one for one in there}
    near = get_close_matches(name.casefold(), plain, 1)
    meant = f"; did you mean {plain[near[0]]!r}?" if near else ""
    return f"{', '.join(there[:most]) or 'none'}{more}{meant}"


def outcome(
    labels: Sequence[str], labelled: bool = False, uncertain: Sequence[str] = ()
) -> Outcome:
    """Outcome of looking at a film.

    Args:
        labels: the findings that are present, or a label that says that nothing was found.
        labelled: whether somebody looked; labels and uncertain findings say so themselves.
        uncertain: findings that somebody was not sure of.
    """
    if findings(labels):
        return FOUND
    if labels:
        return NOTHING_FOUND
    if uncertain:
        return UNCERTAIN
    return NOTHING_FOUND if labelled else NOT_LABELLED


def named_findings(
    labels: Sequence[str], labelled: bool = False, uncertain: Sequence[str] = ()
) -> tuple[str, ...]:
    """Findings by name, or ``NO_FINDING`` alone; empty where neither is known.

    Two films share a name where they share a finding, or nothing was found in either. Arguments
    as of ``outcome``.
    """
    if outcome(labels, labelled, uncertain) == NOTHING_FOUND:
        return (NO_FINDING,)
    return findings(labels)
