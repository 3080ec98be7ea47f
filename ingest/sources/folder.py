"""A folder of image files, with labels from a CSV, from folder names, or none.

``labels`` of a row are the findings that are present. A CSV with a column per finding holds 1, 0,
-1 (uncertain) or nothing (not mentioned); see ``ingest.findings`` for what becomes of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ingest.classes import parse_names
from ingest.csvfile import read_sheet
from ingest.findings import Findings
from ingest.record import Rejection
from ingest.sources import listed as files
from ingest.sources.columns import Plan, make_plan
from ingest.sources.levels import choose, leave_out_masks
from ingest.sources.listed import Described, FileIndex, file_source, source_of, unnamed
from ingest.sources.source import Source
from ingest.tree import Tree, scan, shown
from store.errors import UsageError


def records(
    place: str | Path,
    *,
    labels: str | Path | None = None,
    file_column: str | None = None,
    id_column: str | None = None,
    label_column: Sequence[str] = (),
    columns: Sequence[str] = (),
    label_names: Sequence[str] = (),
    label_from_folder: bool = False,
    label_level: int | None = None,
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
            by its usual headings or given as ``age=HEADING``; any other heading becomes a column
            of the user's own, typed by all its cells, under its name or as ``NAME=HEADING``.
        label_names: what to call the values of the one label column, or folders, each entry
            ``VALUE=NAME`` or several with commas between: ``0=normal,1=pneumonia``.
        label_from_folder: the name of a folder is the label of the files below it: of the uppermost
            level with at least two names, folders named after a split or after what they contain
            (``train``, ``images``) left out. The innermost folder named after a split is the split.
        label_level: the level instead, 1 being the first folder below ``place``; asks for labels
            from folders, too.
        dataset: name of the data set; the folder's own when ``None``.
        uncertain: what becomes of uncertain findings: ``apart``, ``present`` or ``absent``.
        unlabelled: take files without a row in the CSV too, without labels.

    Raises:
        UsageError: options that contradict each other.
        BadSource: the folder or the CSV cannot be read, or lacks a column.
    """
    by_folder = label_from_folder or label_level is not None
    if labels is not None and by_folder:
        which = "--label-from-folder" if label_from_folder else "--label-level"
        raise UsageError(f"--labels and {which} both say where labels are; choose one")
    if labels is None and (file_column or id_column or label_column or columns):
        raise UsageError("columns were named without a CSV to look in; pass --labels FILE.csv")
    if labels is None and label_names and not by_folder:
        raise UsageError("--label-names goes with --labels FILE.csv or --label-from-folder")
    tree = scan(place)
    masks = leave_out_masks(tree)
    name = dataset or shown(tree.root.name) or "folder"
    if labels is not None:
        sheet, index = read_sheet(labels), FileIndex(tree.files)
        plan = make_plan(sheet, index, file_column, id_column, label_column, columns, label_names)
        return _from_sheet(name, tree, plan, uncertain, unlabelled, masks)
    told: dict[str, Any] = {"masks": masks} if masks else {}
    prefix = f"{name}/"
    if not by_folder:
        notes = notes_of(tree, masks)
        return file_source(
            name, tree, lambda _: Described(), notes=notes, labelling=told, prefix=prefix
        )
    levels = choose(tree, label_level, parse_names(label_names)) if tree.files else None

    def describe(relative: str) -> Described | Rejection:
        if levels is None or relative not in levels.of:
            return Rejection(
                source_of(tree, relative), "label_missing", "it lies in no folder that is a label"
            )
        said: dict[str, Any] = {"labels": (levels.of[relative],)}
        if levels.splits:  # folders none of which is a split say nothing of splits
            said["split"] = levels.splits.get(relative)
        return Described(None, said)

    notes = [*notes_of(tree, masks), *(levels.notes if levels else ())]
    told |= levels.told if levels else {}
    return file_source(name, tree, describe, notes=notes, labelling=told, prefix=prefix)


def notes_of(tree: Tree, masks: int = 0) -> list[str]:
    """Notes when masks were left out, and when there is nothing to read."""
    notes = [f"{masks:,} masks, segmentations or previews were left out"] if masks else []
    return notes if tree.files else [*notes, f"{tree.root} holds no files to read"]


def _from_sheet(
    name: str, tree: Tree, plan: Plan, uncertain: str, unlabelled: bool, masks: int
) -> Source:
    Findings().metadata(uncertain)  # refuses an unknown policy before anything is read
    index, table = FileIndex(tree.files), plan.sheet.path.name
    described: dict[str, Described | Rejection] = {}
    extra: list[Rejection] = []
    lines: dict[str, int] = {}
    bad_ages = 0
    for line, row in plan.sheet.rows():
        place, cell = f"{table}:{line}", row[plan.file]
        found = index.find(cell) if cell else None
        if found is None or found in lines:
            reason, detail = _no_file(tree, index, cell, lines.get(found or ""))
            extra.append(Rejection(place, reason, detail))
            continue
        lines[found] = line
        try:
            said = plan.findings(row)
        except ValueError as error:
            described[found] = Rejection(source_of(tree, found), "bad_label", f"{place}: {error}")
            continue
        bad_ages += plan.odd_age(row)
        if plan.id is not None and not row[plan.id]:
            described[found] = Rejection(
                source_of(tree, found), "no_id", f"{place}: column {plan.id!r} is empty"
            )
            continue
        id_ = shown(row[plan.id]) if plan.id is not None else None
        described[found] = Described(id_, {**said.metadata(uncertain), **plan.metadata(row)})

    def describe(relative: str) -> Described | Rejection:
        found = described.get(relative)
        if found is not None:
            return found
        return Described() if unlabelled else unnamed(tree, relative, table)

    notes = [*plan.sheet.notes, *plan.notes, *notes_of(tree, masks), *files.odd_ages(bad_ages)]
    columns = {name: column.kind for name, column in plan.own.items()}
    told = {**plan.told(), **({"masks": masks} if masks else {})}
    prefix = f"{name}/" if plan.id is None else None
    return file_source(
        name,
        tree,
        describe,
        extra=extra,
        notes=notes,
        columns=columns,
        labelling=told,
        prefix=prefix,
    )


def _no_file(tree: Tree, index: FileIndex, cell: str, line: int | None) -> tuple[str, str]:
    """Why a line of the CSV leads to no image: reason and detail."""
    if line is not None:
        return "duplicate_row", f"line {line} is of the same file; it was kept"
    if cell and index.is_ambiguous(cell):
        return "ambiguous_file", f"several files are named {cell!r}; give paths"
    return "file_missing", f"no file {cell!r} below {tree.root}"
