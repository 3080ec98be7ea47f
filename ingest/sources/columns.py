"""Which columns of a CSV say what of an image: told by their headings, their cells, or the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ingest import findings, typed
from ingest.csvfile import Sheet, listed
from ingest.dicom_header import parse_age
from ingest.findings import Findings
from ingest.sources import listed as files
from ingest.sources.listed import FileIndex
from ingest.typed import Typed
from store.columns import name_of
from store.errors import BadRows, BadSource, UsageError

#: Columns that every row has, and headings that mean them.
COLUMNS = {
    "age": ("age", "patient age", "age years", "age at study"),
    "sex": ("sex", "gender", "patient sex", "patient gender"),
    "view": ("view", "view position", "projection", "ap/pa"),
    "patient": ("patient", "patient id", "subject id", "subject"),
    "split": ("split", "set", "subset", "partition"),
}
_LABELS = (
    *("label", "labels", "finding", "findings", "finding labels", "class", "class name"),
    *("diagnosis", "category", "target"),
)
_READ: dict[str, Callable[[str], Any]] = {
    "age": parse_age,
    "sex": lambda cell: files.sex(cell) or (cell or None),
    "view": files.view,
    "split": files.split,
    "patient": lambda cell: cell or None,
}
#: Rows looked at to tell which column names the files.
_SAMPLE = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """Which columns of a sheet say what.

    Attributes:
        sheet: the CSV.
        file: heading of the column that names the file.
        id: heading of the column of ids, if any.
        joined: heading of the column of findings joined by ``joint``, if any.
        flags: headings of findings with a column each.
        known: columns that every row has: name to heading.
        own: the user's own: name to what its cells mean.
        notes: what was told or left out, one sentence each.
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

    def findings(self, row: Mapping[str, str]) -> Findings:
        """What a row says of findings; ValueError for a cell that is none of 1, 0, -1 and blank."""
        if self.joined is None:
            return findings.from_columns(row, {heading: heading for heading in self.flags})
        return findings.from_cell(row[self.joined], self.joint)

    def metadata(self, row: Mapping[str, str]) -> dict[str, Any]:
        """What a row says beside findings."""
        found: dict[str, Any] = {name: _READ[name](row[at]) for name, at in self.known.items()}
        if self.own:
            found["extra"] = {
                name: column.value(row[column.heading]) for name, column in self.own.items()
            }
        return found

    def odd_age(self, row: Mapping[str, str]) -> bool:
        """Whether a row has something for an age that is none."""
        cell = row[self.known["age"]] if "age" in self.known else ""
        return bool(cell) and parse_age(cell) is None


def make_plan(
    sheet: Sheet,
    index: FileIndex,
    file_column: str | None = None,
    id_column: str | None = None,
    label_column: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> Plan:
    """Tell which column says what.

    Args:
        sheet: the CSV.
        index: the files that it is about.
        file_column: heading of the files; told when ``None``.
        id_column: heading of the ids.
        label_column: headings of findings; told when empty.
        columns: what else to keep, each as ``NAME``, ``HEADING`` or ``NAME=HEADING``.

    Raises:
        UsageError: a column asked for twice, or under a name that means something else.
        BadSource: a column that is not there or cannot be told.
    """
    named = [part for entry in label_column for part in _parts(sheet, entry)]
    known, own = _wanted(sheet, columns)
    file = sheet.column(file_column, "--file-column") if file_column else _file_column(sheet, index)
    id_ = sheet.column(id_column, "--id-column") if id_column else None
    taken = {file, id_, *known.values(), *own.values()}
    if not named:
        named = _label_columns(sheet, [h for h in sheet.headings if h not in taken])
    kinds = {
        name: typed.infer(at, (row[at] for _, row in sheet.rows())) for name, at in own.items()
    }
    blank = [f"column {own[name]!r} is blank" for name, kind in kinds.items() if kind is None]
    plan = Plan(
        sheet,
        file,
        id_,
        known=known,
        own={name: kind for name, kind in kinds.items() if kind is not None},
        notes=tuple(blank),
    )
    return _with_findings(plan, named)


def _with_findings(plan: Plan, named: Sequence[str]) -> Plan:
    cells = [row[named[0]] for _, row in plan.sheet.rows()]
    if len(named) > 1 or findings.is_flags(cells):
        return replace(plan, flags=tuple(named))
    return replace(plan, joined=named[0], joint=findings.joint_of(cells))


def _label_columns(sheet: Sheet, rest: Sequence[str]) -> list[str]:
    found = sheet.find(_LABELS)
    if found is not None and found in rest:
        return [found]
    named = [
        heading for heading in rest if findings.is_flags(row[heading] for _, row in sheet.rows())
    ]
    if not named:
        raise BadSource(
            f"{sheet.path} has no column that is clearly labels; name it with "
            f"--label-column. It has: {listed(sheet.headings)}"
        )
    return named


def _parts(sheet: Sheet, entry: str) -> list[str]:
    """One heading, or several with commas between."""
    if entry in sheet.headings or "," not in entry:
        return [sheet.column(entry, "--label-column")]
    return [sheet.column(part.strip(), "--label-column") for part in entry.split(",")]


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
            return name_of(name), found
        except BadRows as error:
            raise UsageError(f"--columns: {error}: --columns NAME={found}") from None
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
    """The column whose cells name the most files."""
    hits = dict.fromkeys(sheet.headings, 0)
    for number, (_, row) in enumerate(sheet.rows()):
        if number == _SAMPLE and any(hits.values()):
            break
        for heading, cell in row.items():
            hits[heading] += bool(cell) and (
                index.find(cell) is not None or index.is_ambiguous(cell)
            )
    best = max(hits, key=lambda heading: hits[heading])
    if not hits[best]:
        raise BadSource(
            f"no column of {sheet.path} names a file of the folder; say which should with "
            f"--file-column. It has: {listed(sheet.headings)}"
        )
    return best
