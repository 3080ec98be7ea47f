"""Roles of a CSV's columns, told by their headings, their cells or the user; typed cells."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import islice
from typing import Any

from ingest import metadata
from ingest.metadata import parse_age
from ingest.reports.texts import joined
from ingest.sources.tables import findings, label_values
from ingest.sources.tables.csv_file import Sheet, listed
from ingest.sources.tables.findings import BLANK, Findings
from ingest.sources.tables.matching import WAYS, FileIndex
from ingest.sources.tables.metadata_headings import is_metadata
from store import LARGEST_INT, BadRows, BadSource, UsageError, Value, name_of

_TRUTH = {
    **dict.fromkeys(("true", "yes", "y"), True),
    **dict.fromkeys(("false", "no", "n"), False),
}
# No leading zeros: 007 is a name for somebody, not the number 7.
_INT = re.compile(r"[+-]?(0|[1-9][0-9]{0,15})")
_FLOAT = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_COMMA = re.compile(r"[+-]?(0|[1-9][0-9]*)(,[0-9]+)?")
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DOTS = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})")


@dataclass(frozen=True, slots=True)
class Typed:
    """Column of the user's own, with the parser of its cells.

    Attributes:
        heading: of the sheet.
        kind: ``int``, ``float``, ``bool``, ``date`` or ``string``.
        read: one cell that is not blank; ValueError when it is not of this kind.
    """

    heading: str
    kind: str
    read: Callable[[str], Value]

    def value(self, cell: str) -> Value | None:
        """The value of a cell; None when it is blank."""
        blank = not cell if self.kind == "string" else cell.casefold() in BLANK
        return None if blank else self.read(cell)


def _int(cell: str) -> int:
    if not _INT.fullmatch(cell) or abs(int(cell)) > LARGEST_INT:
        raise ValueError
    return int(cell)


def _float(cell: str) -> float:
    whole = cell.lstrip("+-").isdecimal()
    if not _FLOAT.fullmatch(cell) or abs(float(cell)) == float("inf"):
        raise ValueError
    if whole and abs(int(cell)) > LARGEST_INT:
        raise ValueError  # a number of something, which must keep its last digits
    return float(cell)


def _comma(cell: str) -> float:
    if not _COMMA.fullmatch(cell):
        raise ValueError
    return _float(cell.replace(",", "."))


def _bool(cell: str) -> bool:
    try:
        return _TRUTH[cell.casefold()]
    except KeyError:
        raise ValueError from None


def _date(cell: str) -> date:
    if _ISO.fullmatch(cell):
        return date.fromisoformat(cell)
    # 01/02/2024 is January in one country and February in another: left as text.
    found = _DOTS.fullmatch(cell)
    if found is None:
        raise ValueError
    return date(int(found[3]), int(found[2]), int(found[1]))


#: Tried in this order.
_READERS: tuple[tuple[str, Callable[[str], Value]], ...] = (
    ("int", _int),
    ("float", _float),
    ("float", _comma),
    ("bool", _bool),
    ("date", _date),
    ("string", str),
)


def infer(heading: str, cells: Iterable[str]) -> Typed | None:
    """The narrowest type that every cell of a column has; None when all are blank.

    0 and 1 are ints, ``yes`` and ``no`` are bools. Numbers with a decimal comma are floats unless
    all could as well be thousands. Dates are ``2024-05-01`` or ``1.5.2024``.
    """
    told = {cell for cell in cells if cell.casefold() not in BLANK}
    if not told:
        return None
    for kind, read in _READERS:
        if read is _comma and all(re.search(r",[0-9]{3}$", one) for one in told if "," in one):
            continue
        try:
            for cell in told:
                read(cell)
        except ValueError:
            continue
        return Typed(heading, kind, read)
    raise AssertionError("every cell is a string")


#: Columns that every row has, and headings that mean them.
COLUMNS = {
    "age": ("age", "patient age", "age years", "age at study"),
    "sex": ("sex", "gender", "patient sex", "patient gender"),
    "view": ("view", "view position", "projection", "ap/pa"),
    "patient": ("patient", "patient id", "subject id", "subject"),
    "study": (
        *("study", "study id", "study instance uid", "study uid", "accession"),
        *("accession number", "exam", "exam id", "examination"),
    ),
    "split": ("split", "set", "subset", "partition"),
}
_LABELS = (
    *("label", "labels", "finding", "findings", "finding labels", "class", "class name"),
    *("diagnosis", "category", "target"),
)
_READ: dict[str, Callable[[str], Any]] = {
    "age": parse_age,
    "sex": lambda cell: metadata.sex(cell) or (cell or None),
    "view": metadata.view,
    "split": metadata.split,
    "patient": lambda cell: cell or None,
    "study": lambda cell: cell or None,
}
#: Rows looked at to tell which column names the files.
_SAMPLE = 500
#: A column with more distinct cells than this holds no flags; they are not collected.
_MANY = 64
#: Rows whose cells are collected at once.
_BLOCK = 2_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Roles of the columns of a sheet.

    Attributes:
        sheet: the CSV.
        file: heading of the column that names the file.
        id: heading of the column of ids, if any.
        joined: heading of the one column of labels, if there is one: a label, findings joined by
            ``joint``, or a list in text.
        flags: headings of findings with a column each.
        known: columns that every row has: name to heading.
        own: the user's own: name to what its cells mean.
        notes: what was told or left out, one sentence each.
        classes: of ``joined``, where its values are no names: a value's canonical spelling to what
            it means.
        names: of ``joined``, what the user calls its values.
        places: of ``joined``, the names of places where its cells are lists of 0 and 1.
        uncertain, absent: headings of findings of these kinds, joined or as lists in text.
        report: headings of the parts of the report; none where it was not asked for.
        beside: headings of further columns that whoever made the plan reads.
    """

    sheet: Sheet
    file: str
    id: str | None = None
    joined: str | None = None
    joint: str | None = None
    flags: tuple[str, ...] = ()
    known: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, Typed] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    classes: Mapping[str, Findings] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    places: tuple[str, ...] = ()
    uncertain: str | None = None
    absent: str | None = None
    report: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Headings of the columns of findings."""
        return self.flags if self.joined is None else (self.joined,)

    def chosen(self) -> dict[str, Any]:
        """Columns by role, and columns that were not kept, as JSON has it."""
        kept = {**self.known, **{name: column.heading for name, column in self.own.items()}}
        taken = {self.file, self.id, self.uncertain, self.absent, *self.labels, *kept.values()}
        taken |= {*self.report, *self.beside}
        return {
            "table": self.sheet.path.name,
            "file_column": self.file,
            "id_column": self.id,
            "label_columns": list(self.labels),
            **({"report_columns": list(self.report)} if self.report else {}),
            "kept_columns": kept,
            "not_kept_columns": [name for name in self.sheet.headings if name not in taken],
        }

    def findings(self, row: Mapping[str, str]) -> Findings:
        """Findings of a row; ValueError for a cell that cannot be read."""
        found = self._present(row)
        if self.uncertain is None and self.absent is None:
            return found
        unsure, absent = (
            findings.from_cell(row[at], None, {}).present if at is not None else ()
            for at in (self.uncertain, self.absent)
        )
        return replace(
            found, uncertain=(*found.uncertain, *unsure), absent=(*found.absent, *absent)
        )

    def _present(self, row: Mapping[str, str]) -> Findings:
        if self.joined is None:
            return findings.from_columns(row, {heading: heading for heading in self.flags})
        cell = row[self.joined]
        if self.classes:
            return self.classes.get(findings.canonical(cell), Findings())
        if self.places:
            parts, _ = findings.parts_of(cell, None)
            return findings.from_columns(
                dict(zip(self.places, parts, strict=False)), {place: place for place in self.places}
            )
        return findings.from_cell(cell, self.joint, self.names)

    def metadata(self, row: Mapping[str, str]) -> dict[str, Any]:
        """Metadata of a row, beside findings."""
        found: dict[str, Any] = {name: _READ[name](row[at]) for name, at in self.known.items()}
        if self.report:
            found["report"] = joined((heading, row[heading]) for heading in self.report)
        if self.own:
            found["extra"] = {
                name: column.value(row[column.heading]) for name, column in self.own.items()
            }
        return found

    def odd_age(self, row: Mapping[str, str]) -> str:
        """A row's cell of the age where it is none that a person has; empty of another row."""
        cell = row[self.known["age"]] if "age" in self.known else ""
        return cell if parse_age(cell) is None else ""


def make_plan(
    sheet: Sheet,
    index: FileIndex,
    file_column: str | None = None,
    id_column: str | None = None,
    label_column: Sequence[str] = (),
    columns: Sequence[str] = (),
    label_names: Sequence[str] = (),
    report_column: Sequence[str] = (),
    *,
    unlabelled: bool = False,
) -> Plan:
    """Choose the role of each column.

    Args:
        sheet: the CSV.
        index: the files that it is about.
        file_column: heading of the files; told when ``None``.
        id_column: heading of the ids.
        label_column: headings of findings; told when empty.
        columns: what else to keep, each as ``NAME``, ``HEADING`` or ``NAME=HEADING``.
        label_names: what to call the values of the one label column, each as ``VALUE=NAME``.
        report_column: headings of the parts of the report; none is read when empty. A table with
            reports need have no labels.
        unlabelled: whether a sheet may be without labels.

    Raises:
        UsageError: a column asked for twice, or under a name that means something else; names that
            do not fit the values.
        BadSource: a column that is not there or cannot be told.
    """
    named = list(headings_in(sheet, label_column, "--label-column"))
    report = headings_in(sheet, report_column, "--report-column")
    if both := [heading for heading in report if heading in named]:
        raise UsageError(
            f"{both[0]!r} is named by --label-column and by --report-column; choose one"
        )
    known, own = _wanted(sheet, columns)
    file = sheet.column(file_column, "--file-column") if file_column else _file_column(sheet, index)
    id_ = sheet.column(id_column, "--id-column") if id_column else None
    taken = {file, id_, *known.values(), *own.values(), *report}
    rest = [heading for heading in sheet.headings if heading not in taken]
    usual = sheet.find(_LABELS, without=report)
    likely = named or ([usual] if usual in rest else [])
    cells = _distinct(
        sheet, {*own.values(), *(likely if len(likely) == 1 else ())}, {*rest, *named}
    )
    kinds = {name: infer(at, cells[at] or ()) for name, at in own.items()}
    blank = [f"column {own[name]!r} is blank" for name, kind in kinds.items() if kind is None]
    plan = Plan(
        sheet,
        file,
        id_,
        known=known,
        own={name: kind for name, kind in kinds.items() if kind is not None},
        notes=tuple(blank),
        report=report,
    )
    if likely and not named and {*(cells[likely[0]] or ())} <= {""}:
        try:
            labels = _flag_columns(sheet, rest, cells)
        except BadSource:
            labels = likely
        else:
            plan = replace(plan, notes=(*plan.notes, f"column {likely[0]!r} is blank"))
    else:
        try:
            labels = likely or _flag_columns(sheet, rest, cells)
        except BadSource:
            if (not report and not unlabelled) or label_names:
                raise
            labels = []
            none = "no column is clearly labels: films keep those that they have"
            plan = replace(plan, notes=(*plan.notes, *([none] if report else [])))
    if len(labels) == 1:
        return _with_labels(plan, labels[0], cells[labels[0]] or (), label_names)
    if label_names:
        raise UsageError(
            f"--label-names names the values of one label column, and {sheet.path} has "
            f"{len(labels)}: {listed(labels)}; choose one with --label-column"
        )
    return replace(plan, flags=tuple(labels))


def _distinct(
    sheet: Sheet, whole: Collection[str], some: Collection[str]
) -> dict[str, set[str] | None]:
    """The distinct cells of columns, in one pass over the rows.

    Args:
        sheet: the CSV.
        whole: headings of the columns whose cells are all wanted.
        some: headings of those that are given up (None) once they have too many for flags.
    """
    found: dict[str, set[str] | None] = {
        heading: set() for heading in sheet.headings if heading in whole or heading in some
    }
    at = {heading: number for number, heading in enumerate(sheet.headings)}
    rows = (cells for _, cells in sheet.lines())
    while block := list(islice(rows, _BLOCK)):
        columns = list(zip(*block, strict=True))
        for heading, cells in found.items():
            if cells is not None:
                cells.update(columns[at[heading]])
                if len(cells) > _MANY and heading not in whole:
                    found[heading] = None
    return found


def _with_labels(plan: Plan, heading: str, cells: Collection[str], named: Sequence[str]) -> Plan:
    """The plan with one column of labels: classes, names, findings joined, or lists in text."""
    places = _places(cells)
    joint = None if places else findings.joint_of(cells)
    names = label_values.parse_names(named)
    if places:
        notes = (
            label_values.check_names(names, places, f"the places of {heading!r}") if names else []
        )
        called = tuple(names.get(place, place) for place in places)
        told = f"the cells of column {heading!r} are lists of 0 and 1: a finding for each place"
        return replace(plan, joined=heading, places=called, notes=(*plan.notes, told, *notes))
    said = []
    if names:
        values = {part for cell in cells for part in _named(cell, joint)}
        values = label_values.to_be_named(heading, values, names)
        said = label_values.check_names(names, values, f"column {heading!r}")
    means, notes = label_values.classes(heading, cells, names)
    if not (means or names):
        names, notes = label_values.numbers(heading, cells)
    return replace(
        plan,
        joined=heading,
        joint=joint,
        names=names,
        classes=means,
        notes=(*plan.notes, *said, *notes),
    )


def _named(cell: str, joint: str | None) -> list[str]:
    try:
        return findings.parts_of(cell, joint)[0]
    except ValueError:
        return []  # its row is refused later, with its line


def _places(cells: Collection[str]) -> tuple[str, ...]:
    """0, 1, 2 and so on when all cells are lists of 0 and 1, as long as each other."""
    told = [cell for cell in cells if cell.casefold() not in findings.BLANK]
    if not told or not all(findings.is_list(cell) for cell in told):
        return ()
    inside = [_named(cell, None) for cell in told]
    length = len(inside[0])
    if length < 2 or any(
        len(one) != length or not {*map(findings.canonical, one)} <= {"0", "1"} for one in inside
    ):
        return ()
    return tuple(str(place) for place in range(length))


def _flag_columns(
    sheet: Sheet, rest: Sequence[str], cells: Mapping[str, Collection[str] | None]
) -> list[str]:
    """Headings of the columns of 1, 0, -1 and blanks that are no metadata; else of yes and no."""
    flags = [heading for heading in rest if findings.is_flags(cells[heading] or ())]
    named = [heading for heading in flags if not is_metadata(heading)]
    numbers = [heading for heading in named if findings.is_numbers(cells[heading] or ())]
    if not named:
        beside = f"; {listed(flags)} are taken only when named" if flags else ""
        raise BadSource(
            f"{sheet.path} has no column that is clearly labels{beside}; name it with "
            f"--label-column. It has: {listed(sheet.headings)}"
        )
    return numbers or named


def headings_in(sheet: Sheet, entries: Sequence[str], option: str) -> tuple[str, ...]:
    """Headings as they are spelled, each entry one heading or several with commas between.

    Raises:
        BadSource: one is not there.
    """
    asked = [
        part.strip()
        for entry in entries
        for part in ([entry] if entry in sheet.headings else entry.split(","))
    ]
    return tuple(dict.fromkeys(sheet.column(part, option) for part in asked if part))


def _wanted(sheet: Sheet, columns: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Columns that every row has, and the user's own: name to heading."""
    known: dict[str, str] = {}
    own: dict[str, str] = {}
    asked = [part.strip() for entry in columns for part in _entries(sheet, entry)]
    for one in asked:
        if one:
            name, heading = _one(sheet, one)
            if name in known or name in own:
                raise UsageError(f"--columns names {name!r} twice; once is enough")
            (known if name in COLUMNS else own)[name] = heading
    return known, own


def _entries(sheet: Sheet, entry: str) -> list[str]:
    return [entry] if entry in sheet.headings else entry.split(",")


def _one(sheet: Sheet, asked: str) -> tuple[str, str]:
    """Name of the row's column and heading of the sheet's."""
    if asked in sheet.headings and asked.lower() not in COLUMNS:
        name, heading = asked, asked
    else:
        name, _, heading = (part.strip() for part in asked.partition("="))
    if name.lower() not in COLUMNS:
        found = sheet.column(heading or name, "--columns")
        try:
            own = name_of(name)
        except BadRows as error:
            raise UsageError(f"--columns: {error}: --columns NAME={found}") from None
        if own == "report":  # or what looks personal in it would not be shown
            raise UsageError(
                f"--columns report: reports are kept by --report-column {found}; to keep another "
                f"column that is called so: --columns NAME={found}"
            )
        return own, found
    name = name.lower()
    if heading:
        return name, sheet.column(heading, "--columns")
    usual = sheet.find(COLUMNS[name])
    if usual is None:
        raise BadSource(
            f"{sheet.path} has no column for {name}; say which: --columns {name}=HEADING. "
            f"It has: {listed(sheet.headings)}"
        )
    return name, usual


def _file_column(sheet: Sheet, index: FileIndex) -> str:
    """The column whose cells name the most files, in the strongest of the ways to name one."""
    # By paths and names; by numbers without their zeros; last by names alone, so that what is said
    # of each row and file tells where their folders differ.
    means: tuple[Callable[[str], Iterable[object]], ...] = (
        lambda cell: index.strength(cell, WAYS[:-1])[1],
        lambda cell: index.strength(cell, WAYS[-1:])[1],
        lambda cell: filter(None, [index.same_name(cell)]),
    )
    for meant in means:
        named: dict[str, set[object]] = {heading: set() for heading in sheet.headings}
        for number, (_, row) in enumerate(sheet.rows()):
            if number == _SAMPLE and any(named.values()):
                break
            for heading, cell in row.items():
                if cell:
                    named[heading].update(meant(cell))
        best = max(named, key=lambda heading: len(named[heading]))
        if named[best]:
            return best
    raise BadSource(
        f"no column of {sheet.path} names a file of the folder; say which should with "
        f"--file-column. It has: {listed(sheet.headings)}"
    )
