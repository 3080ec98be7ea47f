"""Source of a folder of image files, with labels from a CSV, from folder names, or none.

``labels`` of a row are the findings that are present. A CSV with a column per finding holds 1, 0,
-1 (uncertain) or nothing (not mentioned); see ``ingest.sources.tables.findings`` for what becomes
of each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ingest.images.dicom.body_parts import check_choice
from ingest.images.file_tree import Tree, confined, scan, shown
from ingest.record import Reader, Rejection
from ingest.reports.texts import of_studies, study_of
from ingest.sources.file_listing import (
    Described,
    contested,
    file_source,
    odd_ages,
    read_image_file,
    several,
    source_of,
    unnamed,
)
from ingest.sources.source import Source
from ingest.sources.tables.columns import Plan, make_plan
from ingest.sources.tables.csv_file import read_sheet
from ingest.sources.tables.findings import Findings, check_policy
from ingest.sources.tables.folder_labels import FolderLabels, folder_labels, leave_out_masks
from ingest.sources.tables.label_values import parse_names
from ingest.sources.tables.matching import FileIndex
from ingest.sources.tables.rows_per_film import FilmRow, merge_rows, reader_column
from store import UsageError, counted, expanded

#: Files of metadata of an image folder of the hub, see ``ingest.sources.hub.image_folder``.
HUB_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_OWN_ROW = "differs in its ending alone, and has a row of its own"


def records(
    place: str | Path,
    *,
    labels: str | Path | None = None,
    file_column: str | None = None,
    id_column: str | None = None,
    label_column: Sequence[str] = (),
    columns: Sequence[str] = (),
    file_prefix: str | None = None,
    label_names: Sequence[str] = (),
    label_from_folder: bool = False,
    label_level: int | None = None,
    dataset: str | None = None,
    uncertain: str = "apart",
    unlabelled: bool = False,
    body_part: str = "chest",
    within: str | Path | None = None,
    report_column: Sequence[str] = (),
) -> Source:
    """All images below a folder.

    Args:
        place: the folder.
        labels: a CSV with a row per image, or several: a row per finding, or per reader.
        file_column: names the file: its path or the end of it, with or without ending; see
            ``ingest.sources.tables.matching``. Told by itself when ``None``.
        id_column: ids of rows, so that a moved file keeps its row. Data set and relative path when
            ``None``.
        label_column: one column of findings merge_rows by | ; or a comma, or one column for each
            finding with 1, 0, -1 and blank. Told by itself when empty.
        columns: what else to keep: ``age``, ``sex``, ``view``, ``patient``, ``split``, each found
            by its usual headings or given as ``age=HEADING``; any other heading becomes a column
            of the user's own, typed by all its cells, under its name or as ``NAME=HEADING``.
        file_prefix: what the paths in the CSV begin with where they are of another machine; cut
            off before they are compared.
        label_names: what to call the values of the one label column, or folders, each entry
            ``VALUE=NAME`` or several with commas between: ``0=normal,1=pneumonia``.
        label_from_folder: the name of a folder is the label of the files below it: of the uppermost
            level with at least two names, folders named after a split or after what they contain
            (``train``, ``images``) left out. The innermost folder named after a split is the split.
        label_level: the level instead, 1 being the first folder below ``place``; asks for labels
            from folders, too.
        dataset: name of the data set; the folder's own when ``None``.
        uncertain: what becomes of uncertain findings: ``apart``, ``present`` or ``absent``.
        unlabelled: take files without a row in the CSV, or outside of folders that are labels, too,
            without labels.
        body_part: ``any`` takes DICOM films whatever part of the body their headers name.
        within: a folder that neither the place nor the CSV may leave, through a link either.
        report_column: headings of the parts of the report, each entry one or several with commas
            between; several are joined under their headings. No report is read when empty. Where
            the study is kept, too, the report of a study goes to all its films.

    Raises:
        UsageError: options that contradict each other.
        BadSource: the folder or the CSV cannot be read, or lacks a column.
    """
    by_folder = label_from_folder or label_level is not None
    if labels is not None and by_folder:
        which = "--label-from-folder" if label_from_folder else "--label-level"
        raise UsageError(f"--labels and {which} both say where labels are; choose one")
    of_table = (file_column, id_column, label_column, columns, file_prefix, report_column)
    if labels is None and any(of_table):
        raise UsageError("columns were named without a CSV to look in; pass --labels FILE.csv")
    if labels is None and label_names and not by_folder:
        raise UsageError("--label-names goes with --labels FILE.csv or --label-from-folder")
    read = partial(read_image_file, body_part=check_choice(body_part))
    tree = scan(place, within)
    masks = leave_out_masks(tree)
    name = shown(dataset or tree.root.name) or "folder"
    if labels is not None:
        if within is not None:
            labels = confined(expanded(labels), within)
        sheet = read_sheet(labels, links=within is None)
        index = FileIndex(tree.files, tree.root, prefix=file_prefix)
        plan = make_plan(
            sheet, index, file_column, id_column, label_column, columns, label_names, report_column
        )
        masks_index = FileIndex(tree.masks, tree.root, prefix=file_prefix)
        return sheet_source(name, tree, (index, masks_index), plan, uncertain, unlabelled, read)
    found = FolderLabels()
    hub = _hub_note(tree)
    if by_folder and tree.files:
        found = folder_labels(tree, label_level, parse_names(label_names))

    def describe(relative: str) -> Described | Rejection:
        if relative not in found.of:
            if unlabelled or not by_folder:
                return Described()
            return Rejection(
                source_of(tree, relative), "label_missing", "it lies in no folder that is a label"
            )
        said: dict[str, Any] = {"labels": (found.of[relative],)}
        if found.splits:  # folders none of which is a split say nothing of splits
            said["split"] = found.splits.get(relative)
        return Described(None, said)

    return file_source(
        name,
        tree,
        describe,
        notes=[*notes_of(tree, masks), *hub, *found.notes],
        labelling={**({"masks": masks} if masks else {}), **found.chosen},
        read=read,
        prefix=f"{name}/",
    )


def _hub_note(tree: Tree) -> list[str]:
    """A note where a folder is an image folder of the hub, whose metadata is not read here."""
    tops = {one.partition("/")[0] for one in tree.files if "/" in one}
    places = (tree.root / top / name for top in ("", *sorted(tops)) for name in HUB_METADATA)
    found = next((one for one in places if one.is_file()), None)
    if found is None:
        return []
    inside = shown(str(found.relative_to(tree.root)))
    return [f"{inside} is not read here; it is by: cxr ingest hf {shown(str(tree.root))}"]


def notes_of(tree: Tree, masks: int = 0) -> list[str]:
    """Notes when masks were left out, and when there is nothing to read."""
    notes = [f"{masks:,} masks, segmentations or previews were left out"] if masks else []
    return notes if tree.files else [*notes, f"{tree.root} holds no files to read"]


def sheet_source(
    name: str,
    tree: Tree,
    indices: tuple[FileIndex, FileIndex],
    plan: Plan,
    uncertain: str,
    unlabelled: bool,
    read: Reader,
    *,
    beside: Callable[[str], Mapping[str, Any]] = lambda _: {},
    notes: Sequence[str] = (),
) -> Source:
    """Films below a folder, each by the rows of a sheet that mean it.

    Args:
        name: the data set.
        tree: what lies there, without masks.
        indices: of the films and of the masks.
        plan: what the sheet's columns are.
        uncertain: what becomes of uncertain findings.
        unlabelled: take files without a row too.
        read: bytes to pixels.
        beside: relative path to what else is known of a film; what its row says comes first.
        notes: sentences for a person, before the sheet's own.
    """
    check_policy(uncertain)
    index, masks_index = indices
    sheet, table, masks = plan.sheet, plan.sheet.path.name, len(tree.masks)
    matching = index.match(sheet.cells(plan.file))
    reader = reader_column(plan)
    extra: list[Rejection] = []
    rows: dict[str, list[FilmRow]] = {}
    alike: dict[tuple[str, ...], Findings] = {}
    bad_ages: list[str] = []
    at = sheet.headings.index(plan.file)
    named = set(matching.films.values())
    for line, cells in sheet.lines():
        place, cell = f"{table}:{line}", cells[at]
        found = matching.film(cell) if cell else None
        if found is None:
            if not cell or matching.path(cell) not in matching.claimed:
                why = _no_file(tree, index, masks_index, named, cell)
                extra.append(Rejection(place, "file_missing", why))
            elif (films := matching.several.get(matching.path(cell))) is not None:
                extra.append(several(tree, place, cell, films))
            continue  # else the file is contested, and refused for both rows
        row = dict(zip(sheet.headings, cells, strict=True))
        one = FilmRow(line, metadata=plan.metadata(row), id=row[plan.id] if plan.id else None)
        labels = tuple(row[at] for at in (plan.joined, plan.uncertain, plan.absent) if at)
        same = alike.get(labels)
        try:
            one.findings = plan.findings(row) if same is None else same
        except ValueError as error:
            one.wrong = f"{place}: {error}"
        else:
            if plan.joined:  # most cells of one column occur again and again
                alike[labels] = one.findings
        if line in sheet.wide:
            one.wrong = f"{place}: {sheet.wide[line]}"
        one.reader = row[reader] or "consensus" if reader else None
        if odd := plan.odd_age(row):
            bad_ages.append(odd)
        rows.setdefault(found, []).append(one)
    described = {film: merge_rows(own, plan, tree, film, uncertain) for film, own in rows.items()}
    shared = _share_reports(described) if plan.report else 0
    for film, both in matching.contested.items():
        described[film] = contested(tree, film, both, table)

    def describe(relative: str) -> Described | Rejection:
        found = described.get(relative)
        if found is None:
            if not unlabelled:
                return unnamed(tree, relative, table, matching)
            found = Described()
        if isinstance(found, Rejection) or not (more := beside(relative)):
            return found
        return replace(found, metadata={**more, **found.metadata})

    many = sum(len(own) > 1 for own in rows.values())
    said = [
        *notes,
        *sheet.notes,
        *plan.notes,
        *notes_of(tree, masks),
        *matching.notes(table),
        *([] if matching.claimed else _elsewhere(index, sheet.cells(plan.file))),
        *_joined_notes(many, sum(map(len, rows.values())), table, reader),
        *odd_ages(bad_ages),
        *([f"{shared:,} films got the report of their study"] if shared else []),
    ]
    columns = {name: column.kind for name, column in plan.own.items()}
    labelling = {**plan.chosen(), **({"masks": masks} if masks else {})}
    prefix = f"{name}/" if plan.id is None else None
    return file_source(
        name,
        tree,
        describe,
        extra=extra,
        notes=said,
        columns=columns,
        labelling=labelling,
        read=read,
        prefix=prefix,
    )


def _share_reports(described: dict[str, Described | Rejection]) -> int:
    """Give films without a report that of their study; how many got one."""
    films = {film: one.metadata for film, one in described.items() if isinstance(one, Described)}
    reports = of_studies(films.values())
    shared = {
        film: reports[study_of(said)]
        for film, said in films.items()
        if not said.get("report") and study_of(said) in reports
    }
    for film, report in shared.items():
        one = described[film]
        assert isinstance(one, Described)
        described[film] = Described(one.id, {**one.metadata, "report": report})
    return len(shared)


def _no_file(
    tree: Tree, index: FileIndex, masks_index: FileIndex, named: Collection[str], cell: str
) -> str:
    """The reason why a line of the CSV leads to no image.

    Args:
        tree: what lies there.
        index: the films.
        masks_index: the files that were left out as masks.
        named: films that have a row.
        cell: what the line says.
    """
    below = shown(str(tree.root))
    if not cell:
        return f"the cell is empty; expected the path or the name of a file below {below}"
    if tree.masks and (masks := masks_index.could_mean(cell)):
        return f"{shown(masks[0])!r} was left out as a mask, segmentation or preview"
    detail = f"no file below {below} has a path that agrees with {cell!r} from the end"
    if films := index.could_mean(cell):
        own = next((film for film in films if film in named), None)
        return f"{detail}; {shown(own)!r} {_OWN_ROW}" if own else detail
    other = index.same_name(cell)
    if other is None:
        return detail
    return f"{detail}; {shown(other)!r} has that name in another folder"


def _elsewhere(index: FileIndex, cells: Sequence[str]) -> list[str]:
    """Advice where no row is of a file, but their paths agree below one folder."""
    prefixes = {index.elsewhere(cell) for cell in cells} - {None}
    if len(prefixes) != 1:
        return []
    (prefix,) = prefixes
    return [
        "no path in the table agrees with a file's from the end. If the files that it has in "
        f"{prefix!r} are these: --file-prefix {prefix!r}"
    ]


def _joined_notes(films: int, rows: int, table: str, reader: str | None) -> list[str]:
    if not films:
        return []
    how = (
        f"a finding is present for the majority by {reader!r}, uncertain for some"
        if reader
        else "all their findings were taken"
    )
    several = counted(films, "file has", "files have")
    return [f"{several} several of the {rows:,} rows used of {table}: {how}"]
