"""Source of films in the forms of the hub's ``datasets``: shards of Parquet, or an image folder.

Shards (``data/train-00000-of-00002.parquet``) hold the pictures themselves, see
``ingest.sources.hub.shards``; an image folder has ``metadata.csv`` or ``metadata.jsonl`` beside its
films, or class folders, see ``ingest.sources.hub.image_folder``. Nothing is fetched.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from ingest.images.dicom.body_parts import check_choice
from ingest.images.file_tree import Tree, confined, scan, shown
from ingest.record import ImageFile, Reader, Rejection
from ingest.reports.personal import Reports
from ingest.sources.file_listing import read_image_file
from ingest.sources.hub import image_folder
from ingest.sources.hub.columns import (
    FILM_IDS,
    is_name,
    join,
    metadata_columns,
    metadata_headings,
    report_headings,
    report_texts,
)
from ingest.sources.hub.labels import column_headed, label_headings, read_labels
from ingest.sources.hub.names import made_ids, natural, split_in
from ingest.sources.hub.shards import ENDINGS, Shard, open_shard, picture_column, read_picture
from ingest.sources.source import SPLITS, Source
from ingest.sources.tables.findings import check_policy
from store import BadRows, BadSource, UsageError, Value, counted, expanded, name_of

#: Key in a schema's metadata: names of the user's own columns to their types, as our export writes.
OWN = b"cxr.own_columns"
#: Of what `datasets` saved to disk: what it says beside the files of a split.
_STATE = "state.json"
#: Folders that the hub's layout begins with, of no meaning in ids.
_DATA = "data/"


def records(
    place: str | Path,
    *,
    image_column: str | None = None,
    file_column: str | None = None,
    id_column: str | None = None,
    label_column: Sequence[str] = (),
    label_names: Sequence[str] = (),
    columns: Sequence[str] = (),
    report_column: Sequence[str] = (),
    label_from_folder: bool = False,
    dataset: str | None = None,
    uncertain: str = "apart",
    unlabelled: bool = False,
    body_part: str = "chest",
    within: str | Path | None = None,
) -> Source:
    """All films of a data set in one of the hub's forms.

    Args:
        place: the folder of the data set, a split's folder, or one shard.
        image_column: of shards, the column of pictures; told when ``None``.
        file_column: of an image folder's metadata, the column of file names; ``file_name``, or the
            one that ends so, when ``None``.
        id_column: ids of rows. When ``None``: a column called as ids are, where every row has one
            of its own, else the data set with shard and row, or with the path.
        label_column: findings, in one column or one for each; told when empty.
        label_names: what to call the values of the one label column.
        columns: what else to keep: a column, or ``NAME=COLUMN``. Patient, study, age, sex, view and
            split are kept where they are called so.
        report_column: the columns of the report's parts, each entry one or several with commas
            between; no report is read when empty.
        label_from_folder: of an image folder with metadata that has no labels, the names of folders
            are labels; without metadata they are anyway.
        dataset: name of the data set; that of the folder, but for ``data``, when ``None``.
        uncertain: what becomes of uncertain findings: ``apart``, ``present`` or ``absent``.
        unlabelled: of an image folder, take films without a row in its metadata too.
        body_part: ``any`` takes DICOM films whatever part of the body their headers name.
        within: a folder that the place may not leave, through a link either.

    Raises:
        UsageError: options that contradict each other, or do not fit the form.
        BadSource: the place cannot be read, or lacks a column.
    """
    check_policy(uncertain)
    read = partial(read_image_file, body_part=check_choice(body_part))
    asked = expanded(place)
    notes: list[str] = []
    if asked.is_dir():
        tree = scan(asked, within)
        shards, refused = _shards(tree, notes)
        root = tree.root
    elif asked.suffix.lower() in ENDINGS:
        root = asked.parent.resolve() / asked.name if within is None else confined(asked, within)
        shards, refused, tree = [open_shard(root)], [], None
    else:
        raise BadSource(
            f"{shown(str(asked))} is neither a folder nor a file that ends in "
            f"{' or '.join(ENDINGS)}; pass the folder of the data set"
        )
    if shards:
        for option, value in (
            ("--file-column", file_column),
            ("--label-from-folder", label_from_folder),
            ("--unlabelled", unlabelled),
        ):
            if value:
                raise UsageError(f"{option} is for image folders; {shown(str(asked))} has shards")
        options = _Options(
            image_column, id_column, label_column, label_names, columns, report_column, uncertain
        )
        folder = root if tree is not None else root.parent
        folder = folder.parent if folder.name == _DATA.rstrip("/") else folder
        name = shown(dataset or folder.name) or "films"
        return _of_shards(name, root, shards, refused, options, read, notes)
    assert tree is not None  # a file is a shard, or refused
    if image_column is not None:
        raise UsageError(
            f"--image-column is for shards; {shown(str(asked))} has none with pictures"
        )
    return image_folder.source(
        tree,
        name=shown(dataset or tree.root.name) or "films",
        file_column=file_column,
        id_column=id_column,
        label_column=label_column,
        label_names=label_names,
        columns=columns,
        report_column=report_column,
        label_from_folder=label_from_folder,
        uncertain=uncertain,
        unlabelled=unlabelled,
        read=read,
        extra=refused,
    )


@dataclass(frozen=True, slots=True)
class _Options:
    """Options of ``records`` that are for shards."""

    image_column: str | None
    id_column: str | None
    label_column: Sequence[str]
    label_names: Sequence[str]
    columns: Sequence[str]
    report_column: Sequence[str]
    uncertain: str


def _shards(tree: Tree, notes: list[str]) -> tuple[list[Shard], list[Rejection]]:
    """Shards of pictures below a folder, in natural order; refusals of those that are damaged."""
    paths = sorted(
        (
            one
            for one in tree.files
            if one.lower().endswith(ENDINGS) and not image_folder.is_metadata(one)
        ),
        key=natural,
    )
    shards, refused = [], list(tree.refused)
    others = 0
    for relative in paths:
        path = tree.root / relative
        _check_state(path)
        try:
            shard = open_shard(path)
        except BadSource as error:
            refused.append(Rejection(shown(str(path)), "damaged", str(error)))
            continue
        if shard.pictures():
            shards.append(shard)
        else:
            others += 1
    if shards:
        beside = len(tree.files) - len(paths)
        if beside:
            notes.append(f"not read: {counted(beside, 'file')} beside the shards")
        if others:
            notes.append(f"not read: {counted(others, 'table')} without pictures")
    elif others and others == len(tree.files):
        picture_column(open_shard(tree.root / paths[0]), None, notes)  # says what is missing
    elif not tree.files and any(one.reason == "link" for one in tree.refused):
        raise BadSource(
            f"{shown(str(tree.root))} holds links alone, as the hub's cache does, and links are "
            "never followed; fetch plain files: hf download NAME --repo-type dataset --local-dir "
            "FOLDER"
        )
    return shards, refused


def _check_state(path: Path) -> None:
    """Refuse what `datasets` saved with its rows chosen by another file."""
    state = path.parent / _STATE
    try:
        told = json.loads(state.read_bytes()) if state.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(told, dict) and (told.get("_indices_data_files") or told.get("_indices_files")):
        raise BadSource(
            f"{shown(str(path.parent))} chooses rows by a file of indices; save it again after "
            "flatten_indices()"
        )


def _of_shards(
    name: str,
    root: Path,
    shards: Sequence[Shard],
    refused: Sequence[Rejection],
    options: _Options,
    read: Reader,
    notes: list[str],
) -> Source:
    pictures = [picture_column(shard, options.image_column, notes) for shard in shards]
    whole = join(
        [shard.path for shard in shards],
        [_table(shard, one, options) for shard, one in zip(shards, pictures, strict=True)],
    )
    headings = report_headings(whole, root, options.report_column)
    texts = report_texts(whole, root, headings) if headings else []
    whole = whole.drop_columns(headings)
    called = [(_called(root, shard.path), shard.rows) for shard in shards]
    places = [
        f"{shown(called[at][0])}#{row}" for at, s in enumerate(shards) for row in range(s.rows)
    ]
    ids, id_heading = _ids(whole, name, called, options.id_column, notes)
    findings = read_labels(
        whole,
        root,
        places,
        columns=options.label_column,
        names=options.label_names,
        notes=notes,
    )
    known = metadata_columns(whole, root, notes)
    known.setdefault(
        "split",
        [
            split
            for shard in shards
            for split in [split_in(shard.path.stem, *_around(root, shard.path))] * shard.rows
        ],
    )
    if not any(known["split"]):
        del known["split"]
    own = _own(whole, options.columns)
    extra = {column: _cells(whole[heading], kind) for column, (heading, kind) in own.items()}
    labels = label_headings(whole, options.label_column)
    kept = {**metadata_headings(whole), **{column: heading for column, (heading, _) in own.items()}}
    taken = {id_heading, *labels, *kept.values(), *pictures, *headings}
    unread = [one for shard in shards for one in shard.schema.names if one not in taken]
    if findings is None:
        notes.append("no column of labels was found; name one with --label-column")

    def items() -> Iterator[ImageFile | Rejection]:
        yield from refused
        place = -1
        for shard, column in zip(shards, pictures, strict=True):
            for row in range(shard.rows):
                place += 1
                source = shown(f"{shard.path}#{row}")
                id_ = ids[place]
                if not id_:
                    detail = f"column {id_heading!r} is blank in this row; every row needs an id"
                    yield Rejection(source, "no_id", detail)
                    continue
                said: dict[str, Any] = {"dataset": name, "labelled": False}
                if findings is not None:
                    said |= findings[place].metadata(options.uncertain)
                said |= {key: values[place] for key, values in known.items()}
                if texts:
                    said["report"] = texts[place]
                if extra:
                    said["extra"] = {key: values[place] for key, values in extra.items()}
                said["dataset"] = said["dataset"] or name
                yield ImageFile(
                    path=shard.path,
                    id=id_,
                    metadata={**said, "source": source},
                    read=read,
                    extract=partial(read_picture, shard.path, column, row),
                )

    return Source(
        name=name,
        total=len(refused) + len(places),
        records=items(),
        note="; ".join(dict.fromkeys(notes)) or None,
        root=root,
        columns={column: kind for column, (_, kind) in own.items()},
        refused=tuple(refused),
        reports=Reports.of(zip(texts, places, strict=False)),
        labelling={
            "table": shown(shards[0].path.name) if len(shards) == 1 else f"{len(shards):,} shards",
            "file_column": pictures[0],
            "id_column": id_heading,
            "label_columns": labels,
            **({"report_columns": headings} if headings else {}),
            "kept_columns": kept,
            "not_kept_columns": list(dict.fromkeys(unread)),
        },
    )


def _called(root: Path, path: Path) -> str:
    """A shard's name in ids: its path below the data set, without ending and ``data/``."""
    inside = path.relative_to(root) if path != root else Path(path.name)
    return inside.with_suffix("").as_posix().removeprefix(_DATA)


def _around(root: Path, path: Path) -> list[str]:
    """Names of the folders of a shard that may be a split's, innermost first."""
    if path == root:
        return []
    top = [root.name] if root.name.casefold() in (*SPLITS, "validation") else []
    return [*path.relative_to(root).parts[-2::-1], *top]


def _table(shard: Shard, picture: str, options: _Options) -> pa.Table:
    """The columns of a shard that may be read: small ones, without pictures and vectors."""
    bare = shard.schema.empty_table()
    asked = {part.strip() for entry in options.columns for part in entry.split(",")}
    asked |= {part.partition("=")[2].strip() for part in asked}
    asked |= {part.strip() for entry in options.label_column for part in entry.split(",")}
    asked |= {*options.label_column, options.id_column or ""} | _own_told(shard.schema).keys()
    if options.report_column:
        asked |= {*report_headings(bare, shard.path, options.report_column)}
    usual = {
        *metadata_headings(bare).values(),
        *label_headings(bare),
        column_headed(bare, FILM_IDS),
    }
    wanted = [
        field.name
        for field in shard.schema
        if field.name in asked | usual and field.name != picture
    ]
    return shard.table(wanted) if wanted else _rows_alone(shard)


def _rows_alone(shard: Shard) -> pa.Table:
    """A table of no columns that are read, with as many rows as the shard."""
    return pa.table({"\0none": pa.nulls(shard.rows)}).replace_schema_metadata(shard.schema.metadata)


def _ids(
    table: pa.Table,
    name: str,
    called: Sequence[tuple[str, int]],
    asked: str | None,
    notes: list[str],
) -> tuple[list[str], str | None]:
    """Ids of the rows, and the column that they are from; made of data set, shard and row else."""
    if asked is not None and asked not in table.column_names:
        raise BadSource(f"no shard has a column {asked!r} (--id-column)")
    heading = asked or column_headed(table, FILM_IDS)
    if heading is not None:
        kind = table.schema.field(heading).type
        if is_name(kind):
            cells = ["" if one is None else shown(str(one)) for one in table[heading].to_pylist()]
            unique = all(cells) and len({*cells}) == len(cells)
            if asked is not None or unique:
                return cells, heading
            blank, most = cells.count(""), Counter(cells).most_common(1)[0]
            why = (
                f"is blank in {counted(blank, 'row')}"
                if blank
                else f"has {most[0]!r} {most[1]:,} times"
            )
            notes.append(f"column {heading!r} {why}, so it is not taken for ids")
        elif asked is not None:
            raise BadSource(f"column {asked!r} (--id-column) is {kind}; ids are texts or numbers")
    return [f"{name}/{shown(one)}" for file in made_ids(called) for one in file], None


# -- the user's own columns ------------------------------------------------------------------------


def _own_told(schema: pa.Schema) -> Mapping[str, str]:
    """The user's own columns that our export wrote of itself: name to type."""
    try:
        told = json.loads((schema.metadata or {}).get(OWN, b"{}"))
    except (ValueError, RecursionError):
        return {}
    return {str(name): str(kind) for name, kind in told.items()} if isinstance(told, dict) else {}


def _own(table: pa.Table, asked: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The user's own columns: name to column and type."""
    told = _own_told(table.schema)
    found = {name: (name, kind) for name, kind in told.items() if name in table.column_names}
    standard = metadata_headings(table)
    for entry in [part.strip() for one in asked for part in one.split(",")]:
        name, _, heading = (part.strip() for part in entry.partition("="))
        heading = heading or name
        if not name or (name in standard and heading in (name, standard[name])):
            continue
        if heading not in table.column_names:
            raise BadSource(f"no shard has a column {heading!r} (--columns)")
        if name == "report":  # or what looks personal in it would not be shown
            raise UsageError(f"--columns report: reports are kept by --report-column {heading}")
        try:
            found[name_of(name)] = (heading, _kind(table.schema.field(heading).type, heading))
        except BadRows as error:
            raise UsageError(f"--columns: {error}: --columns NAME={heading}") from None
    return found


def _kind(kind: pa.DataType, heading: str) -> str:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    for name, is_one in (
        ("bool", pa.types.is_boolean),
        ("int", pa.types.is_integer),
        ("float", pa.types.is_floating),
        ("date", pa.types.is_date),
        ("string", is_name),
        ("date", pa.types.is_timestamp),
    ):
        if is_one(kind):
            return name
    raise BadSource(
        f"--columns: column {heading!r} is {kind}; expected numbers, bools, texts or dates"
    )


def _cells(column: pa.ChunkedArray, kind: str) -> list[Value | None]:
    def read(value: Any) -> Value | None:
        if value is None or value != value:  # NaN is no value
            return None
        if kind == "date":
            return value.date() if isinstance(value, datetime) else _date(value)
        as_kind: Callable[[Any], Value] = {"int": int, "float": float, "bool": bool}.get(kind, str)
        return as_kind(value)

    return [read(value) for value in column.to_pylist()]


def _date(value: Any) -> date | None:
    return value if isinstance(value, date) else None
