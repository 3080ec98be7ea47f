"""Reader of tables of vectors made elsewhere: ids, vectors, labels and metadata by column.

Columns named as a row's are kept: ``labels`` or ``label`` (see ``ingest.sources.hub.labels``), and
those that an export folder has: ``uncertain``, ``absent`` (names, or lists of names), ``labelled``,
``dataset``, ``split``, ``patient``, ``study`` (these two as ``patient_id`` and the like as well),
``view``, ``sex``, ``age``; others are named in a note. The schema's metadata may name the encoder
as galleries do, ``cxr.encoder`` and ``cxr.fingerprint``, and what the numbers of a column mean as
the hub's ``datasets`` does. Reports are read of the columns named for them. Without a column of
ids, rows are called by the path of their picture, else by file and row number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingest.artefacts.containers import VECTORS, Part, parts_of
from ingest.artefacts.files import REPORT, is_text, unit_rows
from ingest.artefacts.folder import Artefacts, external_stamp
from ingest.sources.hub.columns import (
    IDS,
    is_name,
    join,
    metadata_columns,
    metadata_headings,
    paths_in,
    report_headings,
    report_texts,
)
from ingest.sources.hub.labels import (
    as_columns,
    column_headed,
    is_list,
    label_headings,
    read_labels,
)
from ingest.sources.hub.names import made_ids
from store import BadArtefacts, EncoderStamp, counted, expanded


def read_table(
    path: str | Path,
    *,
    id_column: str | None = None,
    vector_column: str | None = None,
    normalise: bool = False,
    label_column: Sequence[str] = (),
    label_names: Sequence[str] = (),
    report_column: Sequence[str] = (),
) -> Artefacts:
    """Read and check a table of embeddings; the arguments are those of ``read_parts``.

    Raises:
        BadArtefacts: see read_parts.
    """
    return read_parts(
        parts_of(path, vector_column),
        place=expanded(path),
        id_column=id_column,
        vector_column=vector_column,
        normalise=normalise,
        label_column=label_column,
        label_names=label_names,
        report_column=report_column,
    )


def read_parts(
    parts: Sequence[Part],
    *,
    place: Path | None = None,
    id_column: str | None = None,
    vector_column: str | None = None,
    normalise: bool = False,
    label_column: Sequence[str] = (),
    label_names: Sequence[str] = (),
    report_column: Sequence[str] = (),
) -> Artefacts:
    """Read and check tables of embeddings as one.

    Args:
        parts: one or more.
        place: the file or folder that they are from, for messages and the batch's name.
        id_column: the ids; found by its usual names when ``None``, and made when there is none.
        vector_column: the vectors, lists of floats of one length; found likewise.
        normalise: scale vectors to unit length instead of refusing others.
        label_column: of labels, one or one for each finding; found by its usual names when empty.
        label_names: what numbers in it are called; see ingest.sources.hub.labels.
        report_column: the columns of the report's parts; see read_vectors.

    Raises:
        BadArtefacts: a file lacks a column, files disagree, or vectors are no unit rows.
        UsageError: names that do not fit the labels.
    """
    place = place or parts[0].path
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    vectors, others = [], []
    for part in parts:
        name = _vector_column(part, vector_column)
        vectors.append(_matrix(part.table[name], part.path, name))
        others.append(part.table.drop_columns([name]))
    raw = _stacked(parts, vectors)
    embeddings = unit_rows(place, raw, normalise, notes)[1]
    table = join([part.path for part in parts], others)
    headings = report_headings(table, place, report_column)
    reports = report_texts(table, place, headings) if headings else None
    table = table.drop_columns(headings)
    ids, id_name = _ids(table, place, parts, id_column, notes)
    labels = read_labels(table, place, ids, columns=label_column, names=label_names, notes=notes)
    columns = {**as_columns(labels or ()), **metadata_columns(table, place, notes)}
    if reports is not None:
        columns[REPORT] = reports
    _split_by_name(columns, parts, notes)
    taken = {id_name, *label_headings(table, label_column), *metadata_headings(table).values()}
    unread = [name for name in table.column_names if name not in taken]
    unread += [name for part in parts for name in part.left if name not in taken]
    if unread:
        named = ", ".join(map(repr, dict.fromkeys(unread)))
        notes.append(f"columns that are not read: {named}; labels may be named by --label-column")
    return Artefacts(
        folder=place,
        embeddings=embeddings,
        ids=ids,
        labels=[one.present for one in labels] if labels is not None else [()] * len(ids),
        columns=columns,
        stamp=_stamp(parts, place, embeddings, notes),
        meta={},
        notes=tuple(notes),
        tells_labels=labels is not None,
        looked=[one.labelled for one in labels] if labels is not None else None,
        sources=[f"{part.source}#{row}" for part in parts for row in range(len(part.table))],
    )


# -- several files as one --------------------------------------------------------------------------


def _stacked(parts: Sequence[Part], vectors: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    for part, found in zip(parts, vectors, strict=True):
        if found.shape[1] != vectors[0].shape[1]:
            raise BadArtefacts(
                f"{part.path} has vectors of dimension {found.shape[1]}, {parts[0].path} of "
                f"{vectors[0].shape[1]}; vectors of one encoder have one dimension"
            )
    return vectors[0] if len(vectors) == 1 else np.concatenate(vectors)


def _stamp(
    parts: Sequence[Part], place: Path, embeddings: npt.NDArray[np.float32], notes: list[str]
) -> EncoderStamp:
    told = {}
    for part in parts:
        metadata = part.table.schema.metadata or {}
        found = [
            metadata.get(key, b"").decode(errors="replace")
            for key in (b"cxr.encoder", b"cxr.fingerprint")
        ]
        named = all(found) and all(map(is_text, found))
        told[tuple(found) if named else ()] = part.path
    if len(told) > 1:
        both = " and ".join(f"{path} {key or 'none'}" for key, path in [*told.items()][:2])
        raise BadArtefacts(f"the files name different encoders: {both}; import each by itself")
    key = next(iter(told))
    if key:
        return EncoderStamp(key[0], key[1], embeddings.shape[1])
    name = place.stem if place.is_file() else place.resolve().name
    return external_stamp(name, embeddings, notes, f"{place.name} names no encoder")


def _split_by_name(columns: dict[str, list[Any]], parts: Sequence[Part], notes: list[str]) -> None:
    """Splits that file names tell, where no column does."""
    found = [part.split for part in parts for _ in range(len(part.table))]
    if "split" in columns or not any(found):
        return
    columns["split"] = found
    counts = ", ".join(f"{name} ({count:,})" for name, count in Counter(found).items() if name)
    notes.append(f"splits are told by the names of files and folders: {counts}")


# -- columns ---------------------------------------------------------------------------------------


def _vector_column(part: Part, asked: str | None) -> str:
    table = part.table
    if asked is None:
        found = column_headed(table, VECTORS)
        lists = [field.name for field in table.schema if _is_vectors(field.type)]
        if found is None and len(lists) == 1:
            found = lists[0]
        if found is not None:
            return found
    elif asked in table.column_names:
        return asked
    raise BadArtefacts(
        f"{part.path} has no column {asked or 'embedding or embeddings or vector'!r} "
        f"(--vector-column); it has: {', '.join([*table.column_names, *part.left])}"
    )


def _is_vectors(kind: pa.DataType) -> bool:
    kind = getattr(kind, "storage_type", kind)
    return is_list(kind) and bool(pa.types.is_floating(kind.value_type))


def _matrix(column: pa.ChunkedArray, path: Path, name: str) -> npt.NDArray[Any]:
    """Vectors of a column of lists, or of tensors of one axis."""
    shape = getattr(column.type, "shape", None)
    if isinstance(column.type, pa.BaseExtensionType) and (
        shape is None or math.prod(shape) == max(shape)
    ):
        column = pa.chunked_array(
            [chunk.storage for chunk in column.chunks], type=column.type.storage_type
        )
    kind = column.type
    while is_list(kind) and is_list(kind.value_type):  # 1 x d, as `datasets` keeps an Array2D
        if pc.any(pc.not_equal(_lengths(column), 1)).as_py():
            break
        column = pc.list_flatten(column)
        kind = column.type
    if not is_list(kind) or not pa.types.is_floating(kind.value_type):
        raise BadArtefacts(
            f"{path}: column {name!r} is {kind}, expected lists of floats; "
            "save one vector for each film, such as the mean over its patches"
        )
    if column.null_count or not len(column):
        missing = counted(column.null_count, "row")
        raise BadArtefacts(f"{path}: column {name!r} has {missing} without a vector")
    lengths = pc.unique(_lengths(column))
    if len(lengths) != 1:
        raise BadArtefacts(f"{path}: column {name!r} has vectors of {len(lengths)} lengths")
    flat = pc.list_flatten(column)
    if flat.null_count:
        raise BadArtefacts(f"{path}: column {name!r} has vectors with null in them")
    values: npt.NDArray[Any] = flat.to_numpy().reshape(len(column), -1)
    return values


def _lengths(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.list_value_length(column)


def _ids(
    table: pa.Table, path: Path, parts: Sequence[Part], asked: str | None, notes: list[str]
) -> tuple[list[str], str | None]:
    """Ids of the rows, and the column that they are from; made ones where there is none."""
    if asked is not None and asked not in table.column_names:
        raise BadArtefacts(
            f"{path} has no column {asked!r} (--id-column); it has: {', '.join(table.column_names)}"
        )
    name = asked or column_headed(table, [one for one in IDS if one != "image"])
    if name is None:
        name = next((one for one in ("image", "Image") if one in table.column_names), None)
        if name is not None and not is_name(table.schema.field(name).type):
            name = None
    if name is not None:
        return _checked_ids(table, path, parts, name), name
    for heading in table.column_names:
        cells = paths_in(table, heading)
        if cells and all(cells) and len({*cells}) == len(cells):
            notes.append(f"ids are the values of column {heading!r}")
            return cells, heading
    files = [(part.name, len(part.table)) for part in parts]
    made = [id_ for one in made_ids(files) for id_ in one]
    notes.append(
        f"no column of ids: rows are called by file and row number, {made[0]!r} to {made[-1]!r}, "
        "so keep files and order when you import again; or name a column: --id-column"
    )
    _check_unique(made, path, "without a column of ids, rows have")
    return made, None


def _checked_ids(table: pa.Table, path: Path, parts: Sequence[Part], name: str) -> list[str]:
    values = table[name].to_pylist()
    if not all(isinstance(value, str | int) for value in values):
        places = [(part.path, row) for part in parts for row in range(len(part.table))]
        (file, row), bad = next(
            (place, value)
            for place, value in zip(places, values, strict=True)
            if not isinstance(value, str | int)
        )
        raise BadArtefacts(
            f"{file}, row {row}: column {name!r} must hold a string or a number in every row, not "
            f"{bad!r:.80}; fill it in, or name another column: --id-column"
        )
    ids = [str(value) for value in values]
    _check_unique(ids, path, f"column {name!r} has")
    return ids


def _check_unique(ids: Sequence[str], path: Path, what: str) -> None:
    id_, times = Counter(ids).most_common(1)[0]
    if times > 1 or "" in ids:
        problem = f"the id {id_!r} {times} times" if times > 1 else "an empty id"
        raise BadArtefacts(
            f"{path}: {what} {problem}; ids must be unique; "
            "mend them, or name another column: --id-column"
        )
