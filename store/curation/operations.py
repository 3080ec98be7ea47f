"""Operations of curation: written down, carried out, marked as finished; and taken back.

Several tables change, one commit each, and a process may be killed after any of them. So an
operation is in the log before anything is changed; every step may be done again; and whoever
writes next finishes what was begun. Nothing is changed that is not as it was when it was planned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa

from store.curation import edits, log, tables
from store.curation.log import GROUPS, FilmChange, Operation
from store.curation.places import (
    GALLERY,
    GONE,
    bring_back,
    forget,
    in_both,
    places,
    put_aside,
)
from store.curation.tables import Desk, read
from store.errors import UsageError
from store.table import checked_commit, maintenance, write

#: Films named in one line.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Result:
    """Result of an operation of curation.

    Attributes:
        operation: as the log has it; None where nothing changed, or would change only.
        kind: of what was asked for.
        changed: ids of the films that changed, or would.
        unchanged: films that were that way already.
        left: films that an undo left as they are, each with the reason.
        changes: the same films as ``changed``, with their columns before and after.
    """

    operation: Operation | None
    kind: str
    changed: tuple[str, ...]
    unchanged: int = 0
    left: dict[str, str] = field(default_factory=dict)
    changes: tuple[FilmChange, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        return {
            "operation": None if self.operation is None else self.operation.id,
            "kind": self.kind,
            "changed": list(self.changed),
            "unchanged": self.unchanged,
            "left": self.left,
            "changes": [
                {"id": one.film, "before": one.before, "after": one.after} for one in self.changes
            ],
        }


@dataclass(slots=True)
class Plan:
    """Changes that an operation would make, films that need none, and films that it must leave."""

    changes: list[FilmChange]
    unchanged: int = 0
    left: dict[str, str] = field(default_factory=dict)


def carry_out(
    desk: Desk,
    kind: str,
    plan: Callable[[], Plan],
    who: str,
    about: str,
    *,
    of: str | None = None,
    dry_run: bool = False,
) -> Result:
    """Plan an operation on the newest state and carry it out; see the module's first lines."""
    if dry_run:
        desk.gallery.checkout_latest()
        return _result(None, kind, plan())
    with write.writing(desk.uri):
        desk.gallery.checkout_latest()
        settle(desk)
        found = plan()
        if not found.changes:
            return _result(None, kind, found)
        begun = log.begin(desk, kind, found.changes, who, datetime.now(UTC), about, of)
        apply(desk, begun, found.changes)
        log.end(desk, begun)
    maintenance.when_due(desk.uri, desk.gallery)
    tables.tidy(desk)
    return _result(replace(begun, finished=True), kind, found)


def _result(operation: Operation | None, kind: str, plan: Plan) -> Result:
    changed = tuple(one.film for one in plan.changes)
    return Result(operation, kind, changed, plan.unchanged, plan.left, tuple(plan.changes))


def settle(desk: Desk) -> list[Operation]:
    """Finish operations that were cut off, under ``write.writing``; which they were."""
    cut_off = log.unfinished(desk)
    for one in cut_off:
        apply(desk, one, log.films_of(desk, one.id))
        log.end(desk, one)
    if cut_off:
        forget(desk, in_both(desk))
    return cut_off


def apply(desk: Desk, operation: Operation, changes: Sequence[FilmChange]) -> None:
    """Make the changes of an operation to the films that are as they were before; idempotent."""
    moves = {one.film: one for one in changes if "place" in one.after}
    if moves:
        now = places(desk, list(moves))
        back = [f for f, one in moves.items() if one.after["place"] == GALLERY]
        bring_back(desk, [f for f in back if now[f] in (moves[f].before["place"], GALLERY)])
        whys = {
            film: one.after["place"]
            for film, one in moves.items()
            if one.after["place"] != GALLERY and now[film] == one.before["place"]
        }
        if whys:
            put_aside(desk, whys, operation.id, operation.who, operation.at)
    edited: dict[tuple[str, ...], list[FilmChange]] = {}
    for one in changes:
        if "place" not in one.after and one.after != one.before:
            edited.setdefault(tuple(sorted(one.after)), []).append(one)
    for names, some in edited.items():
        write.step(desk.uri, desk.gallery, partial(_edit, desk, names, some))


def _edit(desk: Desk, names: Sequence[str], changes: Sequence[FilmChange]) -> None:
    """Write some columns of films that are as they were before, in one commit."""
    tables.room_for(desk.gallery, names)
    now = states(desk, names, [one.film for one in changes])
    todo = [one for one in changes if one.film in now and now[one.film][1] == one.before]
    if not todo:
        return
    schema = pa.schema([desk.gallery.schema.field(name) for name in ("id", *names)])
    cells = [[one.film for one in todo]] + [[one.after[name] for one in todo] for name in names]
    made = pa.table(
        [pa.array(cell, one.type) for cell, one in zip(cells, schema, strict=True)], schema=schema
    )
    row_ids = [now[one.film][0] for one in todo]
    checked_commit.merge(desk.uri, desk.gallery, made, row_ids, insert=False)


#: Columns of a group, and what stands for a cell without a value.
_COLUMNS: dict[str, tuple[str, ...]] = {
    "labels": edits.LABELS,
    "tags": ("tags",),
    "note": ("remark",),
}
_BLANK: dict[str, Any] = {
    "labels": [],
    "uncertain": [],
    "absent": [],
    "labelled": False,
    "tags": [],
    "remark": None,
}


def states(
    desk: Desk, names: Sequence[str], ids: Sequence[str] | None, condition: str | None = None
) -> dict[str, tuple[int, dict[str, Any]]]:
    """Row id and columns of films of the gallery, by id, as JSON has them.

    Args:
        desk: of the gallery.
        names: of the columns.
        ids: of films; those that are not in the gallery are left out. None: all.
        condition: in the table's language.
    """
    tables.refuse_theirs(desk.gallery, names)
    have = [name for name in names if name in desk.gallery.schema.names]
    found = read(desk.gallery, ["id", "_rowid", *have], ids, condition).to_pylist()
    lists = {name for name in names if isinstance(_BLANK[name], list)}
    told: dict[str, tuple[int, dict[str, Any]]] = {}
    for one in found:
        cells = {name: _BLANK[name] if one.get(name) is None else one[name] for name in names}
        cells |= {name: list(cells[name]) for name in lists}
        if "labelled" in cells:
            cells["labelled"] = bool(
                cells["labelled"] or cells["labels"] or cells["uncertain"] or cells["absent"]
            )
        told[one["id"]] = one["_rowid"], cells
    return told


def edit_plan(
    desk: Desk,
    group: str,
    ids: Sequence[str] | None,
    condition: str | None,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    same: Callable[[dict[str, Any], dict[str, Any]], bool],
) -> Plan:
    """The plan of an edit of films' columns.

    Args:
        desk: of the gallery.
        group: of columns; see log.GROUPS.
        ids: of the films; None: those of ``condition``.
        condition: in the table's language.
        change: columns before to columns after.
        same: whether they say the same.
    """
    found = states(desk, _COLUMNS[group], ids, condition)
    changes = [
        FilmChange(film, before, after)
        for film, (_, before) in sorted(found.items())
        if not same(before, after := change(before))
    ]
    return Plan(changes, len(found) - len(changes))


# -- taking back -------------------------------------------------------------------------------


def undo_plan(desk: Desk, operation: Operation, *, partly: bool) -> Plan:
    """The plan of an undo.

    Raises:
        UsageError: some of its films were changed later, unless ``partly``; or all of them were.
    """
    films = log.films_of(desk, operation.id)
    lines = log.lines_of(desk, [one.film for one in films])
    kinds = {line["kind"] for some in lines.values() for line in some}
    now = {film: (place, None) for film, place in places(desk, list(lines)).items()}
    current = {
        group: states(desk, columns, list(lines))
        for group, columns in _COLUMNS.items()
        if any(GROUPS.get(kind) == group for kind in kinds)
    }
    plan = Plan([])
    for one in films:
        mine = lines[one.film]
        base = log.base_of(mine, operation.id)
        kind = next(line["kind"] for line in mine if line["operation"] == base)
        group = GROUPS[kind]
        reason = _in_the_way(mine, operation.id, base, group, one)
        place = now[one.film][0]
        if reason is None and group == "place":
            if place != one.after["place"]:
                said = "is not kept any more" if place == GONE else f"is {_said(place)} by now"
                reason = f"it {said}"
            else:
                plan.changes.append(FilmChange(one.film, one.after, one.before))
        elif reason is None and place != GALLERY:
            reason = f"it is {_said(place)} by now"
        elif reason is None:
            found = current[group][one.film][1]
            target = _taken_back(group, kind, found, one)
            if target is None:
                reason = "it was changed by something else since"
            else:
                plan.changes.append(FilmChange(one.film, found, target))
        if reason is not None:
            plan.left[one.film] = reason
    if plan.left and (not partly or not plan.changes):
        raise UsageError(_refusal(operation, plan, len(films)))
    return plan


def _said(place: str) -> str:
    return {"gallery": "in the gallery", "gone": "gone for good"}.get(place, place)


def _in_the_way(
    lines: Sequence[dict[str, Any]], operation: str, base: str, group: str, change: FilmChange
) -> str | None:
    """What forbids taking back an operation on one film; None where nothing does."""
    holds = log.in_force(lines)
    if not holds[operation]:
        return "it was taken back already"
    order = {line["operation"]: at for at, line in enumerate(lines)}
    for line in lines[order[base] + 1 :]:
        name = line["operation"]
        if not holds[name] or GROUPS.get(line["kind"]) != group or name == base:
            continue
        if group == "tags":
            mine = edits.tag_change(change.before, change.after)
            theirs = edits.tag_change(json.loads(line["before"]), json.loads(line["after"]))
            if not (mine[0] | mine[1]) & (theirs[0] | theirs[1]):
                continue
        return f"it was changed later, by {name} ({line['kind']}, {line['who']})"
    return None


def _taken_back(
    group: str, kind: str, now: dict[str, Any], change: FilmChange
) -> dict[str, Any] | None:
    """A film's columns with a change taken back; None where they are not as it left them."""
    if group == "tags":
        added, removed = edits.tag_change(change.before, change.after)
        tags = set(now["tags"])
        if not added <= tags or removed & tags:
            return None
        return {"tags": edits.tagged(now["tags"], removed, added)}
    if group == "labels":
        if kind == "confirm":
            return now
        same = edits.same_findings(now, change.after)
    else:
        same = now == change.after
    return dict(change.before) if same else None


def _refusal(operation: Operation, plan: Plan, films: int) -> str:
    some = [f"{film!r}: {reason}" for film, reason in list(plan.left.items())[:_NAMED]]
    more = f"; and {len(plan.left) - _NAMED:,} more" if len(plan.left) > _NAMED else ""
    what = f"{operation.id} ({operation.kind}, {operation.who})"
    why = f"{len(plan.left):,} of its {films:,} films are not as it left them: "
    remedy = "; to take back the others alone: --partly" if plan.changes else ""
    return f"{what} cannot be taken back: {why}{'; '.join(some)}{more}{remedy}"
