"""Log of curation: which operation changed which films, by whom, from what to what.

An operation is written before it is carried out and marked when it is finished, so that one that
was cut off can be finished by whoever comes next. Undoing is an operation too; what is in force for
a film follows from all of them in order.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa

from store.curation.tables import LOG, Desk, as_columns, read
from store.files import CHANGES
from store.table import filters

Kind = Literal["label", "confirm", "tag", "note", "exclude", "include", "delete", "undo"]
#: What the kinds speak of: two of one group may stand in each other's way.
GROUPS: dict[str, str] = {
    "label": "labels",
    "confirm": "labels",
    "tag": "tags",
    "note": "note",
    "exclude": "place",
    "include": "place",
    "delete": "place",
}
BEGUN, FILM, DONE = "begun", "film", "done"


@dataclass(frozen=True, slots=True)
class FilmChange:
    """Change of one film: columns before and after, as JSON has them."""

    film: str
    before: dict[str, Any]
    after: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """Operation of the log.

    Attributes:
        id: by which it is undone, e.g. ``17-3fa9``.
        number: its place; of two writers of a bucket at once both may have one.
        kind: of what was done; ``undo`` took another one back.
        who: did it.
        at: when, in UTC.
        films: how many it changed.
        about: what was done, in a few words.
        of: the operation that an undo took back.
        finished: whether all of it is done; one that is not is finished by the next change.
        undone: films of it that are as they were before.
    """

    id: str
    number: int
    kind: str
    who: str
    at: datetime
    films: int
    about: str
    of: str | None = None
    finished: bool = True
    undone: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {**found, "at": self.at.isoformat()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a film's history; ``in_force`` tells whether it still holds."""

    operation: str
    kind: str
    who: str
    at: datetime
    before: dict[str, Any]
    after: dict[str, Any]
    of: str | None
    about: str
    in_force: bool

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {**found, "at": self.at.isoformat()}


# -- writing -----------------------------------------------------------------------------------


def begin(
    desk: Desk,
    kind: str,
    changes: Sequence[FilmChange],
    who: str,
    at: datetime,
    about: str,
    of: str | None = None,
) -> Operation:
    """Write down an operation that is about to be carried out, in one commit."""
    handle = desk.made(CHANGES)
    number = _last(handle) + 1
    found = Operation(
        f"{number}-{secrets.token_hex(2)}", number, kind, who, at, len(changes), about, of, False
    )
    common = {
        "number": number,
        "operation": found.id,
        "kind": kind,
        "who": who,
        "at": at,
        "of": of,
    }
    head = {**common, "step": BEGUN, "about": json.dumps({"text": about, "films": len(changes)})}
    lines = [
        {
            **common,
            "step": FILM,
            "film": one.film,
            "before": _text(one.before),
            "after": _text(one.after),
        }
        for one in changes
    ]
    desk.step(CHANGES, lambda: handle.add(as_columns([head, *lines], LOG)))
    return found


def end(desk: Desk, operation: Operation) -> None:
    """Note that an operation is finished."""
    handle = desk.made(CHANGES)
    line = {
        "number": operation.number,
        "operation": operation.id,
        "kind": operation.kind,
        "step": DONE,
        "who": operation.who,
        "at": operation.at,
        "of": operation.of,
    }
    desk.step(CHANGES, lambda: handle.add(as_columns([line], LOG)))


def _last(handle: Any) -> int:
    numbers = read(handle, ["number"], condition=_is_step(BEGUN))["number"].to_pylist()
    return max(numbers, default=0)


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), ensure_ascii=False, sort_keys=True)


# -- reading -----------------------------------------------------------------------------------


def operations(desk: Desk) -> list[Operation]:
    """All operations, the newest first."""
    handle = desk.table(CHANGES)
    if handle is None:
        return []
    heads = read(handle, LOG.names, condition=_is_step(BEGUN)).to_pylist()
    done = set(read(handle, ["operation"], condition=_is_step(DONE))["operation"].to_pylist())
    undone = _undone(handle) if any(head["kind"] == "undo" for head in heads) else {}
    found = []
    for head in heads:
        said = json.loads(head["about"] or "{}")
        found.append(
            Operation(
                head["operation"],
                head["number"],
                head["kind"],
                head["who"] or "",
                head["at"],
                int(said.get("films", 0)),
                str(said.get("text", "")),
                head["of"],
                head["operation"] in done,
                undone.get(head["operation"], 0),
            )
        )
    return sorted(found, key=lambda one: (one.number, one.id), reverse=True)


def _undone(handle: Any) -> dict[str, int]:
    """Films of each operation that are not in force any more."""
    names = ["number", "operation", "kind", "film", "of"]
    counts: dict[str, int] = {}
    for lines in by_film(read(handle, names, condition=_is_step(FILM))).values():
        kept = in_force(lines)
        for line in lines:
            if not kept[line["operation"]]:
                counts[line["operation"]] = counts.get(line["operation"], 0) + 1
    return counts


def unfinished(desk: Desk) -> list[Operation]:
    """Operations that were begun and not finished, the oldest first."""
    return [one for one in reversed(operations(desk)) if not one.finished]


def films_of(desk: Desk, operation: str) -> list[FilmChange]:
    """The changes of an operation, by film; none where there is no such operation."""
    handle = desk.table(CHANGES)
    if handle is None:
        return []
    names = ["film", "before", "after"]
    condition = filters.both([_is_step(FILM), filters.equal("operation", [operation])])
    lines = read(handle, names, condition=condition).to_pylist()
    found = [
        FilmChange(one["film"], json.loads(one["before"]), json.loads(one["after"]))
        for one in lines
    ]
    return sorted(found, key=lambda one: one.film)


def lines_of(desk: Desk, films: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Lines of the log about some films, by film, the oldest first."""
    handle = desk.table(CHANGES)
    if handle is None or not films:
        return {}
    return by_film(read(handle, LOG.names, films, key="film"))


def by_film(found: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """Lines by film, the oldest first."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for one in sorted(found.to_pylist(), key=lambda one: (one["number"], one["operation"])):
        lines.setdefault(one["film"], []).append(one)
    return lines


def history(desk: Desk, film: str) -> list[Entry]:
    """What was done to a film, the oldest first."""
    lines = lines_of(desk, [film]).get(film, [])
    about = {one.id: one.about for one in operations(desk)} if lines else {}
    kept = in_force(lines)
    return [
        Entry(
            one["operation"],
            one["kind"],
            one["who"] or "",
            one["at"],
            json.loads(one["before"]),
            json.loads(one["after"]),
            one["of"],
            about.get(one["operation"], ""),
            kept[one["operation"]],
        )
        for one in lines
    ]


# -- what is in force --------------------------------------------------------------------------


def in_force(lines: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """Whether each operation on a film still holds, after those that took others back.

    Args:
        lines: of one film, the oldest first.
    """
    of = {line["operation"]: line["of"] for line in lines if line["kind"] == "undo"}
    holds: dict[str, bool] = {}

    def set_(operation: str, whether: bool) -> None:
        holds[operation] = whether
        if operation in of:  # taking back what takes back brings it about again
            set_(of[operation], not whether)

    for line in lines:
        set_(line["operation"], True)
    return holds


def base_of(lines: Sequence[Mapping[str, Any]], operation: str) -> str:
    """The operation that an operation is about: itself, or the one at the end of its undos."""
    of = {line["operation"]: line["of"] for line in lines if line["kind"] == "undo"}
    while operation in of:
        operation = of[operation]
    return operation


def stated(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The findings that people last gave a film, or confirmed; None where nobody has.

    Args:
        lines: of one film, the oldest first.
    """
    lines = list(lines)
    holds = in_force(lines)
    for line in reversed(lines):
        if GROUPS.get(line["kind"]) == "labels" and holds[line["operation"]]:
            found: dict[str, Any] = json.loads(line["after"])
            return found
    return None


def statements(desk: Desk) -> dict[str, dict[str, Any]]:
    """The findings that people last gave films, or confirmed, by film."""
    handle = desk.table(CHANGES)
    if handle is None:
        return {}
    names = ["number", "operation", "kind", "film", "of", "after"]
    kinds = filters.equal("kind", [*(k for k, g in GROUPS.items() if g == "labels"), "undo"])
    found = read(handle, names, condition=filters.both([_is_step(FILM), kinds]))
    told = {film: stated(lines) for film, lines in by_film(found).items()}
    return {film: one for film, one in told.items() if one is not None}


def _is_step(step: str) -> str:
    return filters.equal("step", [step])
