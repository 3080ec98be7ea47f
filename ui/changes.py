"""Changes of curation in words: what was done to films, and what it did to Precision@k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from store import counted

if TYPE_CHECKING:
    from store import Effect, Entry, Gallery, Operation, Result

#: Kind of an operation to what it did to films, after their number.
DONE: Mapping[str, str] = {
    "label": "labels changed",
    "confirm": "labels confirmed",
    "tag": "tags changed",
    "note": "note written",
    "exclude": "excluded",
    "include": "brought back",
    "delete": "deleted",
    "undo": "as they were before",
}


def done(result: Result, *, dry_run: bool = False) -> str:
    """An operation in one line, e.g. ``12 films: labels changed, 3 were so already``."""
    count = len(result.changed)
    said = f"{counted(count, 'film')}: {DONE[result.kind]}"
    if result.kind == "undo" and count == 1:
        said = said.replace("as they were", "as it was")
    if result.unchanged:
        said += f"; {result.unchanged:,} {'was' if result.unchanged == 1 else 'were'} so already"
    if result.left:
        said += f"; {counted(len(result.left), 'film')} left, changed later"
    return f"would be {said}" if dry_run else said


def line(one: Operation) -> str:
    """An operation of the log in a few words."""
    kind = f"undo of {one.of}" if one.of else DONE[one.kind]
    about = f": {one.about}" if one.about else ""
    return f"{counted(one.films, 'film')}, {kind}{about}"


def state(one: Operation) -> str:
    """What became of an operation: undone, in part, cut off, or nothing to say."""
    if not one.finished:
        return "cut off"
    if one.undone:
        return "undone" if one.undone >= one.films else f"undone for {one.undone:,}"
    return ""


def change(entry: Entry) -> str:
    """Change of one film in words, from what to what."""
    return f"{cells(entry.before)} -> {cells(entry.after)}"


def cells(values: Mapping[str, Any]) -> str:
    """Columns of a film in a few words."""
    if "place" in values:
        return str(values["place"])
    if "tags" in values:
        return ", ".join(values["tags"]) or "no tags"
    if "remark" in values:
        return repr(values["remark"]) if values["remark"] else "no note"
    if not values:
        return ""
    parts = list(values["labels"]) or (["no finding"] if values["labelled"] else ["not labelled"])
    if not values["labels"] and values["uncertain"]:
        parts = []
    parts += [f"{name}?" for name in values["uncertain"]]
    parts += [f"no {name}" for name in values["absent"]]
    return ", ".join(parts)


def effects(found: Sequence[Effect], k: int = 5) -> list[str]:
    """Effects on Precision@k, a line for each protocol; one that says so where there are none."""
    from store import effect_sentence

    if not found:
        return ["P@k: no change, none of these films takes part in an evaluation"]
    lines = []
    for one in found:
        depth = max((at for at in one.difference if at <= k), default=min(one.difference))
        before, after = one.gallery
        sizes = (
            f"{before:,} films" if before == after else f"{before:,} films before, {after:,} after"
        )
        lines.append(
            f"{effect_sentence(one, k)} ({one.protocol}: {one.queries:,} queries of both states, "
            f"{sizes}; {one.better[depth]:,} better, {one.worse[depth]:,} worse)"
        )
    return lines


def short_effect(found: Sequence[Effect], k: int = 5) -> str:
    """Effects in a few words, e.g. ``P@5 +.011 [.004, .018], split +.002 [-.001, .004]``."""
    from store import effect_sentence

    if not found:
        return "no effect on P@k"
    first = effect_sentence(found[0], k)
    others = [f"{one.protocol} {effect_sentence(one, k).partition(' ')[2]}" for one in found[1:]]
    return ", ".join([first, *others])


def effect_now(
    gallery: Gallery, operations: Sequence[str], wanted: bool | None = None
) -> list[Effect] | None:
    """Effect of operations, all else as it is now; None where it was not asked for.

    Args:
        gallery: with its vectors in memory.
        operations: ids of the log.
        wanted: None: only where ranking all films does not take long.

    Raises:
        BadQuery: vectors are not in memory, and it was asked for.
    """
    from store import MANY, BadQuery, effect

    if wanted is False or (wanted is None and len(gallery) > MANY):
        return None
    try:
        return effect(gallery, operations)
    except BadQuery:
        if wanted:
            raise
        return None
