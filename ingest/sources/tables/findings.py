"""Findings in tables: present, absent, uncertain and not mentioned are four different things.

Rows carry what is present as ``labels``. Absent and uncertain findings are never among them: an
uncertain finding counted as present makes evaluation dishonest, one counted as absent too. They
are the columns ``absent`` and ``uncertain`` of the row; ``uncertain="present"`` is an explicit wish
to count them in.

An image of which something is said is labelled, also where nothing was found; one of which nothing
is said is not labelled; see store.outcomes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ingest.sources.tables import list_cell
from store import BadSource, UsageError, names_nothing

UNCERTAIN_POLICIES = ("apart", "present", "absent")
_WHOLE = re.compile(r"([+-]?)([0-9]{1,18})(?:\.0*)?", re.ASCII)

_PRESENT = {"1", "1.0", "true", "yes", "y", "positive", "present", "+"}
_ABSENT = {"0", "0.0", "false", "no", "n", "negative", "absent"}
_UNCERTAIN = {"-1", "-1.0", "uncertain", "?", "maybe", "possible", "u"}
#: Cells that say nothing.
BLANK = {"", "nan", "na", "n/a", "none", "null", "-"}
_JOINTS = ("|", ";", ",")
#: Labels that cannot be true of an image beside a finding, as one that says that nothing was found.
_GIVES_WAY = {"normal", "healthy"}


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings of one image by what a table says; one in none of the three is not mentioned.

    Attributes:
        present, absent, uncertain: names of findings.
        looked: somebody looked and named none, as an empty list in a table says.
    """

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    looked: bool = False

    @property
    def labelled(self) -> bool:
        """Whether the image has any finding, or was looked at."""
        return bool(self.looked or self.present or self.absent or self.uncertain)

    def metadata(self, policy: str = "apart") -> dict[str, Any]:
        """As rows carry it: ``labels``, ``absent``, ``uncertain``, and whether it is ``labelled``.

        Args:
            policy: what becomes of uncertain findings: ``apart``, ``present`` or ``absent``.
        """
        check_policy(policy)
        labels, absent, uncertain = self.present, self.absent, self.uncertain
        if policy == "present":
            labels, uncertain = (*labels, *uncertain), ()
        elif policy == "absent":
            absent, uncertain = (*absent, *uncertain), ()
        return {
            "labels": labels,
            "absent": absent,
            "uncertain": uncertain,
            "labelled": self.labelled,
        }


def check_policy(policy: str) -> None:
    """Refuse another policy for uncertain findings than those there are, with UsageError."""
    if policy not in UNCERTAIN_POLICIES:
        raise UsageError(f"uncertain {policy!r}: expected one of {', '.join(UNCERTAIN_POLICIES)}")


@lru_cache(4096)
def state(cell: str) -> str | None:
    """``present``, ``absent`` or ``uncertain``; None for a blank: not mentioned.

    Raises:
        ValueError: anything else.
    """
    text = cell.strip().casefold()
    if text in BLANK:
        return None
    for name, words in (("present", _PRESENT), ("absent", _ABSENT), ("uncertain", _UNCERTAIN)):
        if text in words:
            return name
    raise ValueError(f"{cell!r} is none of 1, 0, -1 and blank")


def from_columns(cells: Mapping[str, str], names: Mapping[str, str]) -> Findings:
    """Findings of a row with a column per finding.

    Args:
        cells: heading to cell.
        names: heading to the finding's name.

    Raises:
        ValueError: a cell that is none of 1, 0, -1 and blank; names the column.
    """
    found: dict[str, list[str]] = {"present": [], "absent": [], "uncertain": []}
    for heading, name in names.items():
        try:
            said = state(cells.get(heading, ""))
        except ValueError as error:
            raise ValueError(f"column {heading!r}: {error}") from None
        if said is not None:
            found[said].append(name)
    return Findings(tuple(found["present"]), tuple(found["absent"]), tuple(found["uncertain"]))


def joint_of(cells: Iterable[str]) -> str | None:
    """The separator of several findings in a cell: the first of | ; , that occurs in the column.

    Cells that are lists in text have their own.
    """
    present: set[str] = set()
    for cell in cells:
        if not is_list(cell):
            present.update(joint for joint in _JOINTS if joint in cell)
    return next((joint for joint in _JOINTS if joint in present), None)


def is_list(cell: str) -> bool:
    """Whether a cell is a list in text, or begins as one."""
    try:
        return list_cell.items(cell) is not None
    except ValueError:
        return True


def parts_of(cell: str, joint: str | None) -> tuple[list[str], bool]:
    """The names in one cell, joined or a list in text, and whether it is an empty list.

    Raises:
        ValueError: a list that cannot be read.
    """
    inside = list_cell.items(cell)
    if inside is None:
        parts = [part.strip() for part in (cell.split(joint) if joint else [cell])]
    else:
        parts = list(inside)
    return [part for part in parts if part.casefold() not in BLANK], inside == ()


def from_cell(cell: str, joint: str | None, names: Mapping[str, str] | None = None) -> Findings:
    """Findings in one cell, joined or a list in text; a name followed by ? is uncertain.

    Args:
        cell: stripped.
        joint: what joins them; None for a cell with one.
        names: what to call some of them instead, by their canonical spelling.

    Raises:
        ValueError: a list that cannot be read.
    """
    named, empty = parts_of(cell, joint)
    if names:
        named = [names.get(canonical(part), part) for part in named]
    sure = [part for part in named if not part.endswith("?")]
    unsure = [part[:-1].strip() for part in named if part.endswith("?") and part[:-1].strip()]
    return Findings(tuple(dict.fromkeys(sure)), (), tuple(dict.fromkeys(unsure)), empty)


def canonical(value: str) -> str:
    """A value as it is compared: small letters; 1, 1.0 and 01 are one number."""
    text = " ".join(value.casefold().split())
    number = _WHOLE.fullmatch(text)
    if number is None:
        return text
    return ("-" if number[1] == "-" and int(number[2]) else "") + str(int(number[2]))


def is_flags(cells: Iterable[str]) -> bool:
    """Whether a column holds nothing but flags and blanks, and not blanks alone.

    Flags are 1, 0, -1 and the words for them, such as yes and no.
    """
    some = False
    for cell in cells:
        try:
            some = state(cell) is not None or some
        except ValueError:
            return False
    return some


def is_numbers(cells: Iterable[str]) -> bool:
    """Whether a column of flags holds 1, 0 and -1 only, no words for them."""
    told = {canonical(cell) for cell in cells if cell.casefold() not in BLANK}
    return bool(told) and told <= {"1", "0", "-1"}


def vocabulary(name: str) -> str:
    """A published finding as this project spells it: small letters, spaces, one name for one thing.

    Effusion is pleural in all the chest data sets, and Infiltrate is Infiltration in NIH's own
    boxes. Nothing else is merged.
    """
    plain = " ".join(name.replace("_", " ").casefold().split())
    return {"pleural effusion": "effusion", "infiltrate": "infiltration"}.get(plain, plain)


def named(headings: Sequence[str], table: str) -> dict[str, str]:
    """Headings to names in one vocabulary; BadSource when two become one."""
    names = {heading: vocabulary(heading) for heading in headings}
    if len(set(names.values())) != len(names):
        raise BadSource(f"{table}: two of the columns {list(headings)} are one finding")
    return names


def agreed(votes: Mapping[str, int], readers: int) -> Findings:
    """Findings by majority of an image's readers: present for more than half, or uncertain."""
    present = tuple(name for name, count in votes.items() if 2 * count > readers)
    some = tuple(name for name, count in votes.items() if 0 < 2 * count <= readers)
    return Findings(present, tuple(name for name, count in votes.items() if not count), some)


def majority(said: Sequence[Findings]) -> Findings:
    """Findings that several readers of one image come to."""
    read = [one for one in said if one.labelled]
    votes: dict[str, int] = {}
    for name in (name for one in read for name in one.present):
        votes[name] = votes.get(name, 0) + 1
    found = agreed(votes, len(read))
    doubted = dict.fromkeys(name for one in read for name in one.uncertain if name not in votes)
    denied = dict.fromkeys(
        name for one in read for name in one.absent if name not in votes and name not in doubted
    )
    return Findings(found.present, tuple(denied), (*found.uncertain, *doubted), bool(read))


def union(said: Sequence[Findings]) -> Findings:
    """Findings of several rows of one image, where the rows are not of different readers.

    Present outweighs uncertain, and that absent; that nothing was found gives way to a finding, and
    ``no mass`` to ``mass``.
    """
    present = dict.fromkeys(name for one in said for name in one.present)
    plain = {name: " ".join(name.casefold().split()) for name in present}
    gives_way = {name for name, one in plain.items() if one in _GIVES_WAY or names_nothing(name)}
    if gives_way != plain.keys():
        there = set(plain.values())
        present = {
            name: None
            for name, one in plain.items()
            if name not in gives_way and not (one[:3] == "no " and one[3:] in there)
        }
    doubted = dict.fromkeys(name for one in said for name in one.uncertain if name not in present)
    denied = dict.fromkeys(
        name for one in said for name in one.absent if name not in present and name not in doubted
    )
    looked = any(one.looked for one in said)
    return Findings(tuple(present), tuple(denied), tuple(doubted), looked)
