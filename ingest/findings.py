"""Findings from tables: present, absent, uncertain and not mentioned are four different things.

Rows carry what is present as ``labels``. Absent and uncertain findings are never among them: an
uncertain finding counted as present makes evaluation dishonest, one counted as absent too. They
are the columns ``absent`` and ``uncertain`` of the row; ``uncertain="present"`` is an explicit wish
to count them in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from store.errors import BadSource, UsageError

UNCERTAIN_POLICIES = ("apart", "present", "absent")

_PRESENT = {"1", "1.0", "true", "yes", "y", "positive", "present", "+"}
_ABSENT = {"0", "0.0", "false", "no", "n", "negative", "absent"}
_UNCERTAIN = {"-1", "-1.0", "uncertain", "?", "maybe", "possible", "u"}
#: Cells that say nothing.
BLANK = {"", "nan", "na", "n/a", "none", "null", "-"}
#: Names that say that nothing was found, in small letters.
NOTHING = {"no finding", "no findings", "normal", "healthy"}
_JOINTS = ("|", ";", ",")


@dataclass(frozen=True, slots=True)
class Findings:
    """What is said of one image; a finding in none of them is not mentioned."""

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()

    def metadata(self, policy: str = "apart") -> dict[str, tuple[str, ...]]:
        """As rows carry it.

        Args:
            policy: what becomes of uncertain findings: ``apart``, ``present`` or ``absent``.
        """
        if policy not in UNCERTAIN_POLICIES:
            raise UsageError(
                f"uncertain {policy!r}: expected one of {', '.join(UNCERTAIN_POLICIES)}"
            )
        labels, absent, uncertain = self.present, self.absent, self.uncertain
        if policy == "present":
            labels, uncertain = (*labels, *uncertain), ()
        elif policy == "absent":
            absent, uncertain = (*absent, *uncertain), ()
        return {"labels": labels, "absent": absent, "uncertain": uncertain}


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
    """Findings of one column each.

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
    return Findings(*(tuple(found[key]) for key in ("present", "absent", "uncertain")))


def joint_of(cells: Iterable[str]) -> str | None:
    """What joins several findings in a cell: the first of | ; , that occurs in the column."""
    present: set[str] = set()
    for cell in cells:
        present.update(joint for joint in _JOINTS if joint in cell)
    return next((joint for joint in _JOINTS if joint in present), None)


def from_cell(cell: str, joint: str | None) -> Findings:
    """Findings joined in one cell; a name followed by ? is uncertain."""
    parts = [part.strip() for part in (cell.split(joint) if joint else [cell])]
    named = [part for part in parts if part.casefold() not in BLANK]
    sure = [part for part in named if not part.endswith("?")]
    unsure = [part[:-1].strip() for part in named if part.endswith("?") and part[:-1].strip()]
    return Findings(tuple(dict.fromkeys(sure)), (), tuple(dict.fromkeys(unsure)))


def is_flags(cells: Iterable[str]) -> bool:
    """Whether a column holds nothing but 1, 0, -1 and blanks, and not blanks alone."""
    some = False
    for cell in cells:
        try:
            some = state(cell) is not None or some
        except ValueError:
            return False
    return some


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
    """By the majority of an image's readers: present for more than half, uncertain for some."""
    present = tuple(name for name, count in votes.items() if 2 * count > readers)
    some = tuple(name for name, count in votes.items() if 0 < 2 * count <= readers)
    return Findings(present, tuple(name for name, count in votes.items() if not count), some)


def majority(said: Sequence[Findings]) -> Findings:
    """What several readers of one image come to, each with what he said."""
    votes = dict.fromkeys(name for one in said for name in one.present)
    counted = {name: sum(name in one.present for one in said) for name in votes}
    found = agreed(counted, len(said))
    doubted = dict.fromkeys(name for one in said for name in one.uncertain if name not in votes)
    denied = dict.fromkeys(
        name for one in said for name in one.absent if name not in votes and name not in doubted
    )
    return Findings(found.present, tuple(denied), (*found.uncertain, *doubted))


def union(said: Sequence[Findings]) -> Findings:
    """What several rows of one image come to, where no row is of another reader.

    Present outweighs uncertain, and that absent; that nothing was found gives way to a finding.
    """
    present = dict.fromkeys(name for one in said for name in one.present)
    if any(vocabulary(name) not in NOTHING for name in present):
        present = {name: None for name in present if vocabulary(name) not in NOTHING}
    doubted = dict.fromkeys(name for one in said for name in one.uncertain if name not in present)
    denied = dict.fromkeys(
        name for one in said for name in one.absent if name not in present and name not in doubted
    )
    return Findings(tuple(present), tuple(denied), tuple(doubted))
