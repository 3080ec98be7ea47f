"""Merging of a film's rows: tables have a row per finding, per box or per reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingest.images.file_tree import Tree, shown
from ingest.record import Rejection
from ingest.sources.file_listing import Described, source_of
from ingest.sources.tables import findings
from ingest.sources.tables.columns import Plan
from ingest.sources.tables.findings import Findings

#: Headings of columns that tell who read a film.
_READERS = (
    *("reader", "reader id", "rad id", "radiologist", "radiologist id", "rater", "rater id"),
    *("annotator", "annotator id", "observer", "observer id"),
)


@dataclass(slots=True)
class FilmRow:
    """One row of a film.

    Attributes:
        line: of the table.
        metadata: what is kept beside findings.
        id: the cell of the column of ids; ``None`` without one.
        findings: what was found.
        wrong: why the findings cannot be read.
        reader: who read the film; ``None`` without a column that tells.
    """

    line: int
    metadata: Mapping[str, Any]
    id: str | None = None
    findings: Findings = field(default_factory=Findings)
    wrong: str | None = None
    reader: str | None = None


def reader_column(plan: Plan) -> str | None:
    """The heading of the column that tells who read a film, unless it means something else."""
    found = plan.sheet.find(_READERS)
    taken = {plan.file, plan.id, *plan.labels}
    return None if found in taken else found


def merge_rows(
    said: Sequence[FilmRow], plan: Plan, tree: Tree, film: str, uncertain: str
) -> Described | Rejection:
    """Description of a film by all its rows, or the rejection where they contradict each other.

    They must agree in every column that is kept, where a blank cell says nothing. With readers, a
    finding is present when the majority saw it; else when any row says so.
    """
    table = plan.sheet.path.name
    for one in said:
        if one.wrong:
            return Rejection(source_of(tree, film), "bad_label", one.wrong)
    first = said[0]
    known, id_ = dict(first.metadata), first.id
    for one in said[1:]:
        other = _contradiction(known, id_, one)
        if other is not None:
            earlier = _line_of(said, one, other)
            return _differ(tree, film, table, earlier, one.line, other)
        known = _merged(known, one.metadata)
        id_ = id_ or one.id
    if plan.id is not None and not id_:
        place = f"{table}:{first.line}"
        return Rejection(source_of(tree, film), "no_id", f"{place}: column {plan.id!r} is empty")
    if len(said) == 1:
        whole = first.findings
    elif (both := _two_classes(said, plan)) is not None:
        return _differ(tree, film, table, both[0].line, both[1].line, "their class")
    else:
        whole = _findings(said)
    told = whole.metadata(uncertain) if plan.labels else {}  # else it says nothing of labels
    return Described(shown(id_) if id_ else None, {**told, **known})


def _two_classes(said: Sequence[FilmRow], plan: Plan) -> tuple[FilmRow, FilmRow] | None:
    """Two rows of different classes, where a film is of one and the rows are not of readers.

    A column named after a finding is no such: of several boxes any may show it.
    """
    if not plan.classes or any(one.absent for one in plan.classes.values()):
        return None
    told = [one for one in said if one.findings.present]
    later = [one for one in told if one.findings.present != told[0].findings.present]
    readers = {one.reader for one in said}
    return (told[0], later[0]) if later and len(readers) == 1 else None


def _differ(tree: Tree, film: str, table: str, one: int, other: int, what: str) -> Rejection:
    return Rejection(
        source_of(tree, film),
        "contradictory_rows",
        f"{table}: lines {one} and {other} are of this file and differ in {what}; correct one of "
        "them",
    )


def _findings(said: Sequence[FilmRow]) -> Findings:
    readers: dict[str | None, list[Findings]] = {}
    for one in said:
        readers.setdefault(one.reader, []).append(one.findings)
    each = [findings.union(found) for found in readers.values()]
    return findings.majority(each) if len(each) > 1 else each[0]


def _contradiction(known: Mapping[str, Any], id_: str | None, one: FilmRow) -> str | None:
    """The first column in which a row differs from those before it."""
    if id_ and one.id and id_ != one.id:
        return f"the id ({id_!r}, {one.id!r})"
    for name, value in _flat(one.metadata).items():
        there = _flat(known).get(name)
        if value is not None and there is not None and value != there:
            if name == "report":  # whose text is for no log
                return "their report"
            return f"{name} ({there}, {value})"
    return None


def _line_of(said: Sequence[FilmRow], later: FilmRow, told: str) -> int:
    """The first line that contradicts a later one."""
    for one in said:
        if one is not later and _contradiction(one.metadata, one.id, later) is not None:
            return one.line
    raise AssertionError(f"no line differs in {told}")


def _flat(metadata: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in metadata.items() if name != "extra"}
    return {**rest, **metadata.get("extra", {})}


def _merged(known: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Two rows' metadata as one; what is known stays."""
    found = {**more, **{name: value for name, value in known.items() if value is not None}}
    if "extra" in found:
        own = known.get("extra", {})
        found["extra"] = {
            **more.get("extra", {}),
            **{name: value for name, value in own.items() if value is not None},
        }
    return found
