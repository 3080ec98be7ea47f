"""Image folders of the hub: films with ``metadata.csv``, ``.jsonl`` or ``.parquet``, class folders.

A file of metadata, the first of these in its folder, is about the films there and below, each named
relative to it by ``file_name``, or by the one column that ends so. Folders named after a split are
the split.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

from ingest.images.file_tree import Tree, read_plain, shown
from ingest.record import Reader, Rejection
from ingest.sources.file_listing import Described, file_source
from ingest.sources.folder import HUB_METADATA, notes_of, sheet_source
from ingest.sources.hub.columns import FILM_IDS
from ingest.sources.hub.labels import plain
from ingest.sources.hub.names import natural
from ingest.sources.hub.shards import open_shard
from ingest.sources.source import Source
from ingest.sources.tables.columns import COLUMNS, make_plan
from ingest.sources.tables.csv_file import Sheet, listed, read_sheet, sheet_of, tidy
from ingest.sources.tables.folder_labels import (
    FolderLabels,
    folder_labels,
    folder_splits,
    leave_out_masks,
)
from ingest.sources.tables.label_values import parse_names
from ingest.sources.tables.matching import FileIndex
from ingest.sources.tables.safe_csv import unguarded
from store import BadImage, BadSource, UsageError

_FILE = "file_name"
#: Columns of ``*_file_name`` that name the film where there are several, by what stands before.
_FILMS = ("image", "img", "film", "xray", "cxr", "radiograph")


def is_metadata(relative: str) -> bool:
    """Whether a file is metadata of an image folder."""
    return relative.rpartition("/")[2] in HUB_METADATA


def source(
    tree: Tree,
    *,
    name: str,
    file_column: str | None,
    id_column: str | None,
    label_column: Sequence[str],
    label_names: Sequence[str],
    columns: Sequence[str],
    report_column: Sequence[str],
    label_from_folder: bool,
    uncertain: str,
    unlabelled: bool,
    read: Reader,
    extra: Sequence[Rejection] = (),
) -> Source:
    """The films of an image folder; the arguments are those of ``films.records``.

    Raises:
        UsageError: columns were named, and there is no metadata.
        BadSource: metadata that cannot be read, or lacks a column.
    """
    tree.files = [one for one in tree.files if not is_metadata(one)]
    masks = leave_out_masks(tree)
    places, notes = _places(tree)
    if not places:
        if file_column or id_column or label_column or columns or report_column:
            raise UsageError(
                f"columns were named, but {shown(str(tree.root))} has none of "
                f"{', '.join(HUB_METADATA)}"
            )
        return _by_folders(tree, name, label_from_folder, label_names, masks, read)
    sheet = _sheet(tree, places, file_column)
    index = FileIndex(tree.files, tree.root)
    found = FolderLabels()
    kept = [*columns, *_usual(sheet, columns, label_column)]
    names = () if label_from_folder else label_names
    id_column = id_column or _ids(sheet, notes)
    plan = make_plan(
        sheet, index, _FILE, id_column, label_column, kept, names, report_column, unlabelled=True
    )
    if label_from_folder:
        if plan.labels:
            raise UsageError(
                f"{plan.sheet.path.name} has labels in {listed(plan.labels)}; leave out "
                "--label-from-folder"
            )
        found = folder_labels(tree, None, parse_names(label_names))
        notes += found.notes
    elif not plan.labels:
        notes.append(
            f"{plan.sheet.path.name} has no labels, so films have none; where folders are "
            "labels: --label-from-folder"
        )
    if plan.labels:
        plan = replace(plan, uncertain=sheet.find(["uncertain"]), absent=sheet.find(["absent"]))
    splits = folder_splits(tree) if "split" not in plan.known else {}
    sets = _datasets(sheet, tree)
    if sets:
        plan = replace(plan, beside=tuple(filter(None, [sheet.find(["dataset"])])))

    def known(relative: str) -> Mapping[str, Any]:
        said: dict[str, Any] = {}
        if splits:
            said["split"] = splits.get(relative)
        if relative in found.of:
            said["labels"] = (found.of[relative],)
        if sets.get(relative):
            said["dataset"] = sets[relative]
        return said

    masks_index = FileIndex(tree.masks, tree.root)
    return sheet_source(
        name,
        tree,
        (index, masks_index),
        plan,
        uncertain,
        unlabelled,
        read,
        beside=known,
        notes=notes,
    )


def _by_folders(
    tree: Tree,
    name: str,
    asked: bool,
    label_names: Sequence[str],
    masks: int,
    read: Reader,
) -> Source:
    """Films without metadata: the names of folders are labels, where they clearly are."""
    found, splits, notes = FolderLabels(), folder_splits(tree), notes_of(tree, masks)
    try:
        if tree.files:
            found = folder_labels(tree, None, parse_names(label_names))
    except BadSource as error:
        if asked or label_names:
            raise
        notes.append(f"films have no labels: no {' or '.join(HUB_METADATA[:2])}, and {error}")

    def describe(relative: str) -> Described:
        said: dict[str, Any] = {}
        if relative in found.of:
            said["labels"] = (found.of[relative],)
        if splits:
            said["split"] = splits.get(relative)
        return Described(None, said)

    return file_source(
        name,
        tree,
        describe,
        notes=[*notes, *found.notes],
        labelling={**({"masks": masks} if masks else {}), **found.chosen},
        read=read,
        prefix=f"{name}/",
    )


# -- files of metadata -----------------------------------------------------------------------------


def _places(tree: Tree) -> tuple[list[str], list[str]]:
    """Relative paths of the files of metadata, one for each folder, and notes on others."""
    folders = {""}
    for relative in tree.files:
        folder = relative.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    found, notes = [], []
    for folder in sorted(folders, key=natural):
        here = [
            one
            for one in (f"{folder}/{name}".lstrip("/") for name in HUB_METADATA)
            if (tree.root / one).is_file() and not (tree.root / one).is_symlink()
        ]
        found += here[:1]
        if here[1:]:
            notes.append(f"{here[0]} is read, {' and '.join(here[1:])} beside it is not")
    return found, notes


def _sheet(tree: Tree, places: Sequence[str], file_column: str | None) -> Sheet:
    """All files of metadata as one sheet, whose ``file_name`` is the whole path of the film."""
    rows: list[tuple[int, dict[str, str]]] = []
    headings: dict[str, None] = {_FILE: None}
    for place in places:
        folder = PurePosixPath(place).parent
        column = None
        for line, cells in _cells(tree.root / place):
            column = column or _file_column(place, [*cells], file_column)
            name = cells.get(column, "")
            rest = {key: cell for key, cell in cells.items() if key not in (column, _FILE)}
            headings.update(dict.fromkeys(rest))
            path = f"{tree.root}/{folder / name}" if name else ""
            rows.append((line, {_FILE: path, **rest}))
    called = tree.root / (places[0] if len(places) == 1 else PurePosixPath(places[0]).name)
    lines = [(line, tuple(cells.get(heading, "") for heading in headings)) for line, cells in rows]
    return sheet_of(called, [*headings], lines)


def _cells(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Lines or row numbers, and rows as text, of a file of metadata."""
    if path.suffix == ".csv":
        for line, row in read_sheet(path, links=False).rows():
            yield line, {key: unguarded(cell) for key, cell in row.items()}
        return
    rows: Iterator[tuple[int, Any]]
    if path.suffix == ".jsonl":
        rows = _json_lines(path)
    else:
        shard = open_shard(path)
        rows = enumerate(shard.table(shard.schema.names).to_pylist(), 1)
    for line, row in rows:
        if not isinstance(row, dict):
            raise BadSource(
                f"{shown(str(path))}:{line} is a {type(row).__name__}; expected an object: "
                '{"file_name": ...}'
            )
        yield line, {str(key): _text(value) for key, value in row.items()}


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        text = read_plain(path).decode("utf-8-sig")
    except (BadImage, UnicodeDecodeError) as error:
        raise BadSource(f"{shown(str(path))} cannot be read ({error}); save it as UTF-8") from error
    for line, one in enumerate(text.split("\n"), 1):
        if not one.strip():
            continue
        try:
            yield line, json.loads(one)
        except (ValueError, RecursionError) as error:
            raise BadSource(
                f"{shown(str(path))}:{line} is no JSON ({error}); expected an object in each line"
            ) from error


def _text(value: Any) -> str:
    """A value as a cell of a CSV; lists as lists in text."""
    if value is None or value != value:
        return ""
    if isinstance(value, str):
        return tidy(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float | date):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _file_column(place: str, headings: Sequence[str], asked: str | None) -> str:
    if asked is not None and asked in headings:
        return asked
    ends = [one for one in headings if one == _FILE or one.endswith(f"_{_FILE}")]
    by_name = {plain(one.removesuffix(_FILE)): one for one in ends}
    usual = next((by_name[name] for name in ("", *_FILMS) if name in by_name), None)
    if asked is None and (usual is not None or len(ends) == 1):
        return usual or ends[0]
    if asked is not None:
        raise BadSource(
            f"{place} has no column {asked!r} (--file-column); it has: {listed(headings)}"
        )
    what = f"several columns of files, {listed(ends)}" if ends else f"no column {_FILE!r}"
    raise BadSource(
        f"{place} has {what}; name the one of the films: --file-column. It has: {listed(headings)}"
    )


def _ids(sheet: Sheet, notes: list[str]) -> str | None:
    """The column of ids, called so and with one of its own in every row; None without it."""
    heading = next((one for name in FILM_IDS for one in sheet.headings if plain(one) == name), None)
    if heading is None:
        return None
    cells = sheet.cells(heading)
    if all(cells) and len({*cells}) == len(cells):
        return heading
    notes.append(f"column {heading!r} has blanks or repeats, so it is not taken for ids")
    return None


def _datasets(sheet: Sheet, tree: Tree) -> dict[str, str]:
    """Relative path to the data set that a film is of, where a column tells."""
    heading = sheet.find(["dataset"])
    if heading is None:
        return {}
    paths = (one.removeprefix(f"{tree.root}/") for one in sheet.cells(_FILE))
    return dict(zip(paths, map(shown, sheet.cells(heading)), strict=True))


def _usual(sheet: Sheet, asked: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Columns that every row has and that are called so here, unless they are asked for."""
    named = {part.partition("=")[0].strip().lower() for one in asked for part in one.split(",")}
    taken = {part.strip() for one in labels for part in one.split(",")}
    found = {name: sheet.find(headings) for name, headings in COLUMNS.items() if name not in named}
    return [f"{name}={at}" for name, at in found.items() if at is not None and at not in taken]
