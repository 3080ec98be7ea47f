"""A folder of image files, with labels from a CSV, from folder names, or none.

``labels`` of a row are the findings that are present. A CSV with a column per finding holds 1, 0,
-1 (uncertain) or nothing (not mentioned); see ``ingest.findings`` for what becomes of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest import findings
from ingest.csvfile import Sheet, listed, read_sheet
from ingest.dicom import parse_age
from ingest.findings import Findings
from ingest.record import Rejection
from ingest.sources import listed as files
from ingest.sources.listed import Described, FileIndex, file_source, source_of, unnamed
from ingest.sources.source import Source
from ingest.tree import Tree, scan, shown
from store.errors import BadSource, UsageError

#: Columns that a row has room for, and headings that mean them.
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
#: Rows looked at to tell which column names the files.
_SAMPLE = 500


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which columns of a sheet say what."""

    sheet: Sheet
    file: str
    id: str | None
    joined: str | None
    joint: str | None
    flags: tuple[str, ...]
    columns: dict[str, str] = field(default_factory=dict)


def records(
    place: str | Path,
    *,
    labels: str | Path | None = None,
    file_column: str | None = None,
    id_column: str | None = None,
    label_column: Sequence[str] = (),
    columns: Sequence[str] = (),
    label_from_folder: bool = False,
    dataset: str | None = None,
    uncertain: str = "apart",
    unlabelled: bool = False,
) -> Source:
    """All images below a folder.

    Args:
        place: the folder.
        labels: a CSV with a row per image.
        file_column: names the file: its path below the folder, the end of it, its name, or its
            name without ending. Told by itself when ``None``.
        id_column: ids of rows, so that a moved file keeps its row. Data set and relative path when
            ``None``.
        label_column: one column of findings joined by | ; or a comma, or one column for each
            finding with 1, 0, -1 and blank. Told by itself when empty.
        columns: what else to keep: ``age``, ``sex``, ``view``, ``patient``, ``split``, each found
            by its usual headings or given as ``age=HEADING``.
        label_from_folder: the name of a file's folder is its label; a folder named train, val or
            test above it its split.
        dataset: name of the data set; the folder's own when ``None``.
        uncertain: what becomes of uncertain findings: ``apart``, ``present`` or ``absent``.
        unlabelled: take files without a row in the CSV too, without labels.

    Raises:
        UsageError: options that contradict each other.
        BadSource: the folder or the CSV cannot be read, or lacks a column.
    """
    if labels is not None and label_from_folder:
        raise UsageError("--labels and --label-from-folder both say where labels are; choose one")
    if labels is None and (file_column or id_column or label_column or columns):
        raise UsageError("columns were named without a CSV to look in; pass --labels FILE.csv")
    tree = scan(place)
    name = dataset or shown(tree.root.name) or "folder"
    if labels is not None:
        plan = _plan(read_sheet(labels), tree, file_column, id_column, label_column, columns)
        return _from_sheet(name, tree, plan, uncertain, unlabelled)
    if not label_from_folder:
        return file_source(name, tree, lambda _: Described(), notes=notes_of(tree))

    def describe(relative: str) -> Described | Rejection:
        parts = [shown(part) for part in relative.split("/")[:-1]]
        if not parts:
            return Rejection(
                source_of(tree, relative), "label_missing", "it lies in no folder below the source"
            )
        above = [files.split(part) for part in parts[:-1] if files.split(part) != part]
        if parts[:-1] and parts[-2].casefold() in ("train", "val", "test"):
            above = [parts[-2].casefold()]
        return Described(None, {"labels": (parts[-1],), "split": above[-1] if above else None})

    return file_source(name, tree, describe, notes=notes_of(tree))


def notes_of(tree: Tree) -> list[str]:
    """A note when there is nothing to read."""
    return [] if tree.files else [f"{tree.root} holds no files to read"]


def _plan(
    sheet: Sheet,
    tree: Tree,
    file_column: str | None,
    id_column: str | None,
    label_column: Sequence[str],
    columns: Sequence[str],
) -> _Plan:
    named = [part for entry in label_column for part in _parts(sheet, entry)]
    wanted = dict(_wanted(sheet, one) for one in _split(columns))
    file = (
        sheet.column(file_column, "--file-column")
        if file_column
        else _file_column(sheet, FileIndex(tree.files))
    )
    id_ = sheet.column(id_column, "--id-column") if id_column else None
    rest = [h for h in sheet.headings if h not in {file, id_, *wanted.values()}]
    if not named:
        found = sheet.find(_LABELS)
        if found in rest and found is not None:
            named = [found]
        else:
            cells = {heading: [row[heading] for _, row in sheet.rows()] for heading in rest}
            named = [heading for heading in rest if findings.is_flags(cells[heading])]
            if not named:
                raise BadSource(
                    f"{sheet.path} has no column that is clearly labels; name it with "
                    f"--label-column. It has: {listed(sheet.headings)}"
                )
    if len(named) > 1 or findings.is_flags(row[named[0]] for _, row in sheet.rows()):
        return _Plan(sheet, file, id_, None, None, tuple(named), wanted)
    joint = findings.joint_of(row[named[0]] for _, row in sheet.rows())
    return _Plan(sheet, file, id_, named[0], joint, (), wanted)


def _parts(sheet: Sheet, entry: str) -> list[str]:
    """One heading, or several with commas between."""
    if entry in sheet.headings or "," not in entry:
        return [sheet.column(entry, "--label-column")]
    return [sheet.column(part.strip(), "--label-column") for part in entry.split(",")]


def _split(columns: Sequence[str]) -> list[str]:
    return [part.strip() for entry in columns for part in entry.split(",") if part.strip()]


def _wanted(sheet: Sheet, asked: str) -> tuple[str, str]:
    """Column of the row and heading of the sheet."""
    name, _, heading = asked.partition("=")
    if name not in COLUMNS:
        raise UsageError(
            f"--columns {asked!r}: a row keeps {', '.join(COLUMNS)} beside its labels; "
            "other columns are not stored"
        )
    if heading:
        return name, sheet.column(heading, "--columns")
    found = sheet.find(COLUMNS[name])
    if found is None:
        raise BadSource(
            f"{sheet.path} has no column for {name}; say which: --columns {name}=HEADING. "
            f"It has: {listed(sheet.headings)}"
        )
    return name, found


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


def _from_sheet(name: str, tree: Tree, plan: _Plan, uncertain: str, unlabelled: bool) -> Source:
    Findings().metadata(uncertain)  # refuses an unknown policy before anything is read
    index, table = FileIndex(tree.files), plan.sheet.path.name
    described: dict[str, Described | Rejection] = {}
    extra: list[Rejection] = []
    lines: dict[str, int] = {}
    bad_ages = 0
    for line, row in plan.sheet.rows():
        place, cell = f"{table}:{line}", row[plan.file]
        found = index.find(cell) if cell else None
        if found is None:
            several = bool(cell) and index.is_ambiguous(cell)
            extra.append(
                Rejection(place, "ambiguous_file", f"several files are named {cell!r}; give paths")
                if several
                else Rejection(place, "file_missing", f"no file {cell!r} below {tree.root}")
            )
            continue
        if found in lines:
            extra.append(
                Rejection(
                    place, "duplicate_row", f"line {lines[found]} is of the same file; it was kept"
                )
            )
            continue
        lines[found] = line
        try:
            said = (
                findings.from_columns(row, {heading: heading for heading in plan.flags})
                if plan.joined is None
                else findings.from_cell(row[plan.joined], plan.joint)
            )
        except ValueError as error:
            described[found] = Rejection(source_of(tree, found), "bad_label", f"{place}: {error}")
            continue
        extras = _extras(row, plan.columns)
        bad_ages += (
            "age" in plan.columns and bool(row[plan.columns["age"]]) and (extras["age"] is None)
        )
        if plan.id is not None and not row[plan.id]:
            described[found] = Rejection(
                source_of(tree, found), "no_id", f"{place}: column {plan.id!r} is empty"
            )
            continue
        id_ = shown(row[plan.id]) if plan.id is not None else None
        described[found] = Described(id_, {**said.metadata(uncertain), **extras})

    def describe(relative: str) -> Described | Rejection:
        found = described.get(relative)
        if found is not None:
            return found
        return Described() if unlabelled else unnamed(tree, relative, table)

    notes = [*plan.sheet.notes, *notes_of(tree), *files.odd_ages(bad_ages)]
    return file_source(name, tree, describe, extra=extra, notes=notes)


def _extras(row: dict[str, str], columns: dict[str, str]) -> dict[str, Any]:
    read: dict[str, Callable[[str], Any]] = {
        "age": parse_age,
        "sex": lambda cell: files.sex(cell) or (cell or None),
        "view": files.view,
        "split": files.split,
        "patient": lambda cell: cell or None,
    }
    return {name: read[name](row[heading]) for name, heading in columns.items()}
