"""Edits of films: tags, notes and findings as they are after a change, from what they are before.

Pure functions over columns as JSON has them; nothing is read or written here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from store.errors import UsageError
from store.outcomes import names_nothing
from store.schema import FINDINGS
from store.table.rows import storable

#: Columns of findings, in which a correction is written.
LABELS = (*FINDINGS, "labelled")
#: Longest tag or label, and longest note, in characters.
_LONGEST, _LONGEST_NOTE = 100, 4000


@dataclass(frozen=True, slots=True)
class Correction:
    """Correction of a film's findings.

    Attributes:
        only: the findings that are present, in place of those stored; an empty tuple: nothing was
            found. None: those stored stay.
        add: findings that are present as well.
        remove: findings that are not said any more, neither present nor uncertain nor absent.
        uncertain, absent: findings that become so.
        unlabelled: nothing is known of the film.
    """

    only: tuple[str, ...] | None = None
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    unlabelled: bool = False

    @classmethod
    def of(
        cls,
        only: Iterable[str] | None = None,
        add: Iterable[str] = (),
        remove: Iterable[str] = (),
        uncertain: Iterable[str] = (),
        absent: Iterable[str] = (),
        *,
        unlabelled: bool = False,
    ) -> Correction:
        """A checked correction.

        Raises:
            UsageError: it says nothing, or two things at once; or a name is none.
        """
        whole = None if only is None else names(only, "label")
        more, less, doubts, without = (
            names(one, "label") for one in (add, remove, uncertain, absent)
        )
        found = cls(whole, more, less, doubts, without, unlabelled)
        said = [*(whole or ()), *more, *less, *doubts, *without]
        if len(set(said)) < len(said):
            twice = next(one for one in said if said.count(one) > 1)
            raise UsageError(f"label {twice!r} is given twice; say one thing of each")
        if found == cls():
            raise UsageError("a correction needs labels: what is present, added or removed")
        if unlabelled and found != cls(unlabelled=True):
            raise UsageError("a film is either not labelled or has labels; give one of both")
        if whole is not None and (found.add or found.remove):
            raise UsageError("labels are replaced, or added and removed; give one of both")
        return found

    @property
    def named(self) -> list[str]:
        """All labels that it would give films, in order."""
        return [*(self.only or ()), *self.add, *self.uncertain, *self.absent]

    def __str__(self) -> str:
        if self.unlabelled:
            return "not labelled"
        parts = [] if self.only is None else [", ".join(self.only) or "no finding"]
        parts += [f"+{name}" for name in self.add] + [f"-{name}" for name in self.remove]
        parts += [f"?{name}" for name in self.uncertain] + [f"no {name}" for name in self.absent]
        return " ".join(parts)

    def applied(self, film: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of findings after it.

        Args:
            film: columns of LABELS.
        """
        if self.unlabelled:
            return {**{name: [] for name in FINDINGS}, "labelled": False}
        labels, uncertain, absent = (list(film[name]) for name in FINDINGS)
        if self.only is not None:
            labels = list(self.only)
            uncertain = [] if not labels else uncertain
        moved = {*self.named, *self.remove}
        labels = [one for one in labels if one not in moved or one in (self.only or ())]
        uncertain = [one for one in uncertain if one not in moved]
        absent = [one for one in absent if one not in moved]
        labels += self.add
        if any(not names_nothing(one) for one in labels):
            labels = [one for one in labels if not names_nothing(one)]
        return {
            "labels": labels,
            "uncertain": [*uncertain, *self.uncertain],
            "absent": [*absent, *self.absent],
            "labelled": True,
        }


def same_findings(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two films have the same findings, in whatever order these are listed."""
    if any(set(one[name]) != set(other[name]) for name in FINDINGS):
        return False
    return _looked(one) == _looked(other)


def _looked(film: Mapping[str, Any]) -> bool:
    return bool(film["labelled"]) or any(film[name] for name in FINDINGS)


def tagged(tags: Sequence[str], add: Collection[str], remove: Collection[str]) -> list[str]:
    """Tags after a change, sorted."""
    return sorted(({*tags} | {*add}) - {*remove})


def tag_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Tags that a change added and removed."""
    then, now = set(before["tags"]), set(after["tags"])
    return now - then, then - now


def names(given: Iterable[str], what: str) -> tuple[str, ...]:
    """Tags or labels as they are stored: without blanks around, each once.

    Args:
        given: texts.
        what: they are, for messages.

    Raises:
        UsageError: one is empty, too long, or has characters that cannot be seen.
    """
    if isinstance(given, str):
        raise UsageError(f"{what}s {given!r}: expected a list of texts, not one")
    found = []
    for one in given:
        if not isinstance(one, str):
            raise UsageError(f"{what} {one!r} is of type {type(one).__name__}, expected a text")
        text = one.strip()
        if not text or len(text) > _LONGEST or not text.isprintable() or not storable(text):
            raise UsageError(
                f"{what} {one[:40]!r}: expected 1 to {_LONGEST} characters that can be seen"
            )
        found.append(text)
    return tuple(dict.fromkeys(found))


def note_of(text: str) -> str | None:
    """A note as it is stored; None for a blank one.

    Raises:
        UsageError: it is too long, or no text that can be stored.
    """
    if not isinstance(text, str) or not storable(text) or len(text) > _LONGEST_NOTE:
        raise UsageError(f"a note has at most {_LONGEST_NOTE:,} characters of text")
    return text.strip() or None
