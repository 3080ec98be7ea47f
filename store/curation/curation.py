"""Curation of a gallery by one person: tags, notes, labels, films set aside, undo, history."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa

from store.curation import edits, log, operations, places, selections, tables
from store.curation.edits import Correction
from store.curation.kept import Kept
from store.curation.log import Entry, FilmChange, Operation
from store.curation.operations import Plan, Result
from store.curation.places import DELETED, EXCLUDED, GALLERY, GONE
from store.curation.selections import Selection
from store.curation.tables import Desk, read
from store.errors import BadQuery, UnknownId, UsageError
from store.files import SET_ASIDE
from store.schema import Vectors
from store.table import write
from store.table.filters import Where, parse_where

#: Longest name of a person, in characters.
_LONGEST = 100


class Curation:
    """Curation of a gallery in somebody's name; made by Gallery.curation.

    Films are told by ids or by a filter, whose whole result is meant. What changes nothing writes
    nothing. Each operation is on disk when its method returns, and ``undo`` takes it back.
    """

    def __init__(self, uri: str, handle: Any, who: str | None = None) -> None:
        """Take the gallery's place, its table to write to, and the person; see ``person``."""
        self.who = person(who)
        self._desk = Desk(uri, handle)

    # -- changing films ----------------------------------------------------------------------------

    def tag(
        self,
        which: Sequence[str] | Where,
        add: Iterable[str] = (),
        remove: Iterable[str] = (),
        *,
        dry_run: bool = False,
    ) -> Result:
        """Put tags on films, and take others off.

        Raises:
            UsageError: no tag, one that is none, or one both added and removed.
            UnknownId: a film is not in the gallery; nothing is written then.
        """
        more, less = edits.names(add, "tag"), edits.names(remove, "tag")
        if not more and not less:
            raise UsageError("a tag is needed, to add or to remove")
        if both := set(more) & set(less):
            raise UsageError(f"tag {min(both)!r} is both added and removed; give one of both")
        about = " ".join([*(f"+{one}" for one in more), *(f"-{one}" for one in less)])

        def change(film: dict[str, Any]) -> dict[str, Any]:
            return {"tags": edits.tagged(film["tags"], more, less)}

        same = lambda one, other: set(one["tags"]) == set(other["tags"])  # noqa: E731
        return self._edit("tag", "tags", which, change, same, about, dry_run)

    def note(self, which: Sequence[str] | Where, text: str, *, dry_run: bool = False) -> Result:
        """Write a note on films, in place of the one they have; a blank text takes it off.

        Raises:
            UsageError, UnknownId: as ``tag``.
        """
        remark = edits.note_of(text)
        about = "note removed" if remark is None else _cut(remark)
        return self._edit(
            "note", "note", which, lambda _: {"remark": remark}, _equal, about, dry_run
        )

    def label(
        self, which: Sequence[str] | Where, correction: Correction, *, dry_run: bool = False
    ) -> Result:
        """Correct findings of films. The next run of their source keeps what is said here.

        Raises:
            UnknownId: a film is not in the gallery; nothing is written then.
        """
        return self._edit(
            "label",
            "labels",
            which,
            correction.applied,
            edits.same_findings,
            str(correction),
            dry_run,
        )

    def confirm(self, which: Sequence[str] | Where, *, dry_run: bool = False) -> Result:
        """Say that the findings of films are right as they are; sources change them no more.

        Raises:
            UnknownId: a film is not in the gallery; nothing is written then.
        """

        def plan() -> Plan:
            found = operations.states(self._desk, edits.LABELS, *self._chosen(which))
            lines = log.lines_of(self._desk, list(found))
            known = {film: log.stated(some) for film, some in lines.items()}
            changes = [
                FilmChange(film, now, now)
                for film, (_, now) in sorted(found.items())
                if (said := known.get(film)) is None or not edits.same_findings(said, now)
            ]
            return Plan(changes, len(found) - len(changes))

        return operations.carry_out(
            self._desk, "confirm", plan, self.who, "labels are right", dry_run=dry_run
        )

    def exclude(
        self, which: Sequence[str] | Where, why: str = "", *, dry_run: bool = False
    ) -> Result:
        """Take films out of the gallery, and keep them aside; ``include`` brings them back.

        Raises:
            UnknownId: a film is not in the gallery; nothing is written then.
        """
        return self._move("exclude", which, EXCLUDED, why, dry_run)

    def delete(
        self, which: Sequence[str] | Where, why: str = "", *, dry_run: bool = False
    ) -> Result:
        """Delete films, excluded ones too; ``undo`` brings them back.

        They stay out when their source is ingested again, until their data set or batch is deleted
        whole with Gallery.delete.

        Raises:
            UnknownId: a film is neither in the gallery nor excluded; nothing is written then.
        """
        return self._move("delete", which, DELETED, why, dry_run)

    def include(self, ids: Sequence[str], why: str = "", *, dry_run: bool = False) -> Result:
        """Bring films that were excluded or deleted back into the gallery.

        Raises:
            UnknownId: a film is not set aside; nothing is written then.
        """

        def plan() -> Plan:
            now = places.places(self._desk, _ids(ids))
            gone = [film for film, place in now.items() if place == GONE]
            if gone:
                raise UnknownId(
                    f"no film {gone[0]!r} is set aside ({len(gone)} of {len(now)}); list those "
                    "that are: cxr changes --set-aside"
                )
            changes = [
                FilmChange(film, {"place": place}, {"place": GALLERY})
                for film, place in sorted(now.items())
                if place != GALLERY
            ]
            return Plan(changes, len(now) - len(changes))

        return operations.carry_out(
            self._desk, "include", plan, self.who, _cut(why), dry_run=dry_run
        )

    # -- taking back, looking up -------------------------------------------------------------------

    def undo(self, operation: str, *, partly: bool = False, dry_run: bool = False) -> Result:
        """Take back an operation; an undo, too, whose operation then holds again.

        Args:
            operation: its id.
            partly: take back what can be, where films of it were changed later.
            dry_run: plan only.

        Raises:
            UsageError: there is none; its films were changed later, and by what.
        """
        found = self.operation(operation)
        about = f"{found.kind}: {found.about}" if found.about else found.kind
        return operations.carry_out(
            self._desk,
            "undo",
            lambda: operations.undo_plan(self._desk, found, partly=partly),
            self.who,
            about,
            of=found.id,
            dry_run=dry_run,
        )

    def operation(self, operation: str) -> Operation:
        """One operation. UsageError when there is none."""
        for one in self.operations():
            if one.id == operation:
                return one
        raise UsageError(f"no operation {operation!r} here; list them with: cxr changes")

    def operations(self) -> list[Operation]:
        """All operations on this gallery, the newest first."""
        return log.operations(self._desk)

    def changes_of(self, operation: str) -> list[FilmChange]:
        """What an operation changed, film by film, by id."""
        return log.films_of(self._desk, operation)

    def history(self, id_: str) -> list[Entry]:
        """What was done to a film, the oldest first; also to one that is not there any more."""
        return log.history(self._desk, id_)

    def set_aside(self) -> list[dict[str, Any]]:
        """Films that are excluded or deleted: id, sha256, dataset, batch, labels, as, by, at, in.

        ``as`` is ``excluded`` or ``deleted``, ``in`` the operation.
        """
        return places.set_aside(self._desk)

    def films_aside(self, ids: Sequence[str]) -> pa.Table | None:
        """Rows of some films set aside, without pictures; None where nothing ever was."""
        aside = self._desk.table(SET_ASIDE)
        if aside is None:
            return None
        return read(aside, [name for name in aside.schema.names if name != "thumbnail"], ids)

    def stated(self) -> dict[str, dict[str, Any]]:
        """The findings that people last gave films, or confirmed, by film."""
        return log.statements(self._desk)

    def remarks(self, ids: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
        """Tags and notes of the films that have one: {"tags": [..], "remark": .. or None}."""
        names = ("tags", "remark")
        found = operations.states(self._desk, names, None if ids is None else _ids(ids))
        return {film: one for film, (_, one) in sorted(found.items()) if any(one.values())}

    def kept(self) -> Kept:
        """What an ingestion has to keep to."""
        return Kept(self._desk)

    # -- selections --------------------------------------------------------------------------------

    def save(
        self, name: str, *, ids: Sequence[str] | None = None, where: Sequence[str] | None = None
    ) -> Selection:
        """Save films under a name, in place of what had it.

        Args:
            name: of the selection.
            ids: of films of the gallery.
            where: filters KEY=VALUE; which films they let through is seen when it is used.

        Raises:
            UsageError: neither or both; a filter that is none.
            UnknownId: a film is not in the gallery.
        """
        self._desk.gallery.checkout_latest()
        if ids is not None:
            self._known(_ids(ids))
        if where is not None:
            _where(where, self._desk).to_filter(self._desk.gallery.schema)
        return selections.save(self._desk, name, ids, where, self.who)

    def selections(self) -> list[Selection]:
        """All saved selections, by name."""
        return selections.saved(self._desk)

    def selected(self, name: str) -> list[str] | Where:
        """The films of a saved selection: ids that are in the gallery, or a filter.

        Raises:
            UsageError: there is none of that name.
        """
        found = {one.name: one for one in self.selections()}.get(name)
        if found is None:
            known = ", ".join(one.name for one in self.selections()) or "none yet"
            raise UsageError(f"no selection {name!r}; there are: {known}")
        if found.ids is not None:
            self._desk.gallery.checkout_latest()
            here = {*read(self._desk.gallery, ["id"], list(found.ids))["id"].to_pylist()}
            return [one for one in found.ids if one in here]
        return _where(found.filters or (), self._desk)

    def drop_selection(self, name: str) -> bool:
        """Remove a saved selection; its films stay. Whether there was one."""
        return selections.drop(self._desk, name)

    # -- upkeep ------------------------------------------------------------------------------------

    def settle(self) -> list[Operation]:
        """Finish operations that a killed process left; the next change does so by itself."""
        if not log.unfinished(self._desk) and not places.in_both(self._desk):
            return []
        with write.writing(self._desk.uri):
            self._desk.gallery.checkout_latest()
            found = operations.settle(self._desk)
            places.forget(self._desk, places.in_both(self._desk))
            return found

    def forget(
        self, *, where: Where | None = None, ids: Sequence[str] | None = None, dry_run: bool = False
    ) -> int:
        """Remove films set aside for good, those of a filter or with some ids; how many."""
        chosen = list(ids or ())
        if where is not None and (condition := where.to_filter(self._desk.gallery.schema)):
            chosen += places.matching(self._desk, condition)
        there = places.places(self._desk, chosen)
        mine = [film for film in there if there[film] in (EXCLUDED, DELETED)]
        if dry_run or not mine:
            return len(mine)
        with write.writing(self._desk.uri):
            return places.forget(self._desk, mine)

    def copier(self, change: Callable[[Vectors], Vectors]) -> Callable[[str], None]:
        """What copies the tables of curation beside a copied gallery; see Gallery.mapped_copy."""
        from store.curation.upkeep import copy

        return lambda uri: copy(self._desk, uri, change)

    def optimize(self) -> None:
        """Merge the small files of the tables of curation."""
        tables.tidy(self._desk, always=True)

    def problems(self) -> list[str]:
        """One sentence for each thing that is wrong with the tables of curation."""
        from store.curation.upkeep import problems

        return problems(self._desk)

    # -- parts -------------------------------------------------------------------------------------

    def _edit(
        self,
        kind: str,
        group: str,
        which: Sequence[str] | Where,
        change: Any,
        same: Any,
        about: str,
        dry_run: bool,
    ) -> Result:
        def plan() -> Plan:
            ids, condition = self._chosen(which)
            return operations.edit_plan(self._desk, group, ids, condition, change, same)

        return operations.carry_out(self._desk, kind, plan, self.who, about, dry_run=dry_run)

    def _move(
        self, kind: str, which: Sequence[str] | Where, to: str, why: str, dry_run: bool
    ) -> Result:
        def plan() -> Plan:
            if isinstance(which, Where):
                ids, condition = self._chosen(which)
                found = read(self._desk.gallery, ["id"], ids, condition)["id"].to_pylist()
                now = dict.fromkeys(found, GALLERY)
            else:
                now = places.places(self._desk, _ids(which))
                self._refuse_gone([film for film, place in now.items() if place == GONE], now)
            changes = [
                FilmChange(film, {"place": place}, {"place": to})
                for film, place in sorted(now.items())
                if place != to and not (to == EXCLUDED and place == DELETED)
            ]
            return Plan(changes, len(now) - len(changes))

        return operations.carry_out(self._desk, kind, plan, self.who, _cut(why), dry_run=dry_run)

    def _chosen(self, which: Sequence[str] | Where) -> tuple[list[str] | None, str | None]:
        """Ids, all of which are in the gallery, or a condition in the table's language."""
        if isinstance(which, Where):
            if not which:
                raise BadQuery("an empty filter means every film; name a filter, or the ids")
            return None, which.to_filter(self._desk.gallery.schema)
        ids = _ids(which)
        self._known(ids)
        return ids, None

    def _known(self, ids: Sequence[str]) -> None:
        here = {*read(self._desk.gallery, ["id"], ids)["id"].to_pylist()}
        absent = [one for one in ids if one not in here]
        if absent:
            self._refuse_gone(absent, ids)

    def _refuse_gone(self, absent: Sequence[str], ids: Any) -> None:
        if not absent:
            return
        place = places.places(self._desk, absent[:1])[absent[0]]
        said = "" if place == GONE else f"; it is {place}: bring it back with cxr include"
        raise UnknownId(
            f"no film {absent[0]!r} in the gallery ({len(absent)} of {len(ids)} are not){said}"
        )


def person(who: str | None = None) -> str:
    """Name under which changes are noted: the one given, else the system's name of the user.

    Raises:
        UsageError: a name that is none.
    """
    if who is None:
        try:
            who = getpass.getuser()
        except (OSError, KeyError):  # a user without an entry, as in a container
            who = "unknown"
    who = who.strip()
    if not who or len(who) > _LONGEST or not who.isprintable():
        raise UsageError(f"name {who[:40]!r}: expected 1 to {_LONGEST} characters that can be seen")
    return who


def _ids(ids: Sequence[str]) -> list[str]:
    if isinstance(ids, str | bytes):
        raise BadQuery(f"ids {ids!r}: expected a list of ids, not one")
    wrong = next((one for one in ids if not isinstance(one, str)), None)
    if wrong is not None:
        raise UnknownId(f"no film {wrong!r}: ids are texts, this is of {type(wrong).__name__}")
    return list(dict.fromkeys(ids))


def _where(conditions: Sequence[str], desk: Desk) -> Where:
    from store.table import custom_columns

    return parse_where(conditions, custom_columns.kinds(desk.gallery.schema))


def _equal(one: object, other: object) -> bool:
    return one == other


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
