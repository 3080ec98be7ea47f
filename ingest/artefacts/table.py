"""Reader of embeddings in a Parquet or Arrow (IPC, Feather) file: ids and vectors by column.

Beside these, columns named as a row's are kept: ``labels`` or ``label`` (see
``ingest.artefacts.labels``), and those that an export folder has: ``uncertain``, ``absent`` (names,
or lists of names), ``labelled``, ``dataset``, ``split``, ``patient``, ``study``, ``view``, ``sex``,
``age``; the patient and the study also by usual headings such as ``study_id``. The schema's
metadata may name the encoder as galleries do: ``cxr.encoder`` and ``cxr.fingerprint``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ingest.artefacts.files import META_COLUMNS, is_text, unit_rows
from ingest.artefacts.folder import Artefacts, external_stamp
from ingest.artefacts.labels import as_columns, column_headed, read_labels
from store import COLUMNS, BadArtefacts, EncoderStamp

_IDS = ("id", "ids", "image_id", "image", "name", "image index")
_VECTORS = ("embedding", "embeddings", "vector", "vectors", "features")
#: Further headings of columns, by letters and digits alone; those of other types are left alone.
_USUAL = {
    "patient": ("patientid", "subjectid", "subject"),
    "study": ("studyid", "studyinstanceuid", "studyuid", "accession", "accessionnumber"),
}


def read_table(
    path: str | Path,
    *,
    id_column: str | None = None,
    vector_column: str | None = None,
    normalise: bool = False,
    label_column: Sequence[str] = (),
    label_names: Sequence[str] = (),
) -> Artefacts:
    """Read and check a table of embeddings.

    Args:
        path: a Parquet, Arrow IPC or Feather file.
        id_column: the ids; found by its usual names when ``None``.
        vector_column: the vectors, lists of floats of one length; found likewise.
        normalise: scale vectors to unit length instead of refusing others.
        label_column: of labels, one or one for each finding; found by its usual names when empty.
        label_names: what numbers in it are called; see ingest.artefacts.labels.

    Raises:
        BadArtefacts: the file cannot be read, lacks a column, or its vectors are no unit rows.
        UsageError: names that do not fit the labels.
    """
    place = Path(path).expanduser()
    table = _read(place)
    id_name = _column(table, place, id_column, _IDS, "--id-column")
    vector_name = _column(table, place, vector_column, _VECTORS, "--vector-column")
    notes: list[str] = []
    vectors = unit_rows(place, _matrix(table[vector_name], place, vector_name), normalise, notes)[1]
    ids = [str(value) for value in _values(table, place, id_name)]
    id_, times = Counter(ids).most_common(1)[0]
    if times > 1 or "" in ids:
        problem = f"the id {id_!r} {times} times" if times > 1 else "an empty id"
        raise BadArtefacts(f"{place}: column {id_name!r} has {problem}; ids must be unique")
    labels = read_labels(table, place, ids, columns=label_column, names=label_names, notes=notes)
    columns = {**as_columns(labels or ()), **_columns(table, place)}
    metadata = {
        k.decode(): v.decode(errors="replace") for k, v in (table.schema.metadata or {}).items()
    }
    name, fingerprint = metadata.get("cxr.encoder", ""), metadata.get("cxr.fingerprint", "")
    stamp = (
        EncoderStamp(name, fingerprint, vectors.shape[1])
        if is_text(name) and is_text(fingerprint) and name and fingerprint
        else external_stamp(place.stem, vectors, notes, f"{place.name} names no encoder")
    )
    return Artefacts(
        folder=place,
        embeddings=vectors,
        ids=ids,
        labels=[one.present for one in labels] if labels is not None else [()] * len(ids),
        columns=columns,
        stamp=stamp,
        meta={},
        notes=tuple(notes),
        tells_labels=labels is not None,
        looked=[one.labelled for one in labels] if labels is not None else None,
    )


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise BadArtefacts(f"{path} is not a file; pass a Parquet or Arrow file")
    try:
        with path.open("rb") as file:
            start = file.read(6)
        if start.startswith(b"PAR1"):
            import pyarrow.parquet as pq

            return pq.read_table(path)
        if start == b"ARROW1":
            with pa.memory_map(str(path)) as source:
                return pa.ipc.open_file(source).read_all()
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_stream(source).read_all()
    except (pa.ArrowException, OSError, ValueError) as error:
        detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadArtefacts(f"{path} is no sound Parquet or Arrow file ({detail})") from error


def _column(
    table: pa.Table, path: Path, asked: str | None, usual: tuple[str, ...], option: str
) -> str:
    if asked is not None and asked in table.column_names:
        return asked
    plain = tuple("".join(filter(str.isalnum, name)) for name in usual)
    found = next((name for name in usual if name in table.column_names), None)
    found = found or column_headed(table, plain)
    if asked is None and found:
        return found
    raise BadArtefacts(
        f"{path} has no column {asked or ' or '.join(usual)!r} ({option}); "
        f"it has: {', '.join(table.column_names)}"
    )


def _values(table: pa.Table, path: Path, name: str) -> list[Any]:
    values: list[Any] = table[name].to_pylist()
    if not values:
        raise BadArtefacts(f"{path} has no rows")
    if None in values or not all(isinstance(value, str | int) for value in values):
        raise BadArtefacts(f"{path}: column {name!r} must hold a string or a number in every row")
    return values


def _matrix(column: pa.ChunkedArray, path: Path, name: str) -> np.ndarray[Any, Any]:
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (is_list or pa.types.is_fixed_size_list(kind)) or not pa.types.is_floating(
        kind.value_type
    ):
        raise BadArtefacts(f"{path}: column {name!r} is {kind}, expected lists of floats")
    if column.null_count or not len(column):
        raise BadArtefacts(f"{path}: column {name!r} has {column.null_count} rows without a vector")
    flat = pa.concat_arrays([chunk.flatten() for chunk in column.chunks])
    if flat.null_count:
        raise BadArtefacts(f"{path}: column {name!r} has vectors with null in them")
    if is_list:
        lengths = {len(row) for chunk in column.chunks for row in chunk}
        if len(lengths) != 1:
            raise BadArtefacts(f"{path}: column {name!r} has vectors of {len(lengths)} lengths")
    values: np.ndarray[Any, Any] = flat.to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1)


def _names(table: pa.Table, path: Path, name: str) -> list[tuple[str, ...]]:
    """Names of findings in each row."""
    found: list[tuple[str, ...]] = []
    for value in table[name].to_pylist():
        cells = value if isinstance(value, list) else [] if value in (None, "") else [value]
        if not all(isinstance(cell, str | int) for cell in cells):
            raise BadArtefacts(f"{path}: column {name!r} must hold strings or lists of strings")
        found.append(tuple(str(cell) for cell in cells))
    return found


def _columns(table: pa.Table, path: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name in META_COLUMNS:
        heading = name if name in table.column_names else column_headed(table, _USUAL.get(name, ()))
        if heading is None:
            continue
        if COLUMNS[name].kind == "strings":
            found[name] = _names(table, path, name)
            continue
        good, cast = _CASTS[COLUMNS[name].kind]
        values = table[heading].to_pylist()
        if heading != name and not all(isinstance(value, good | None) for value in values):
            continue
        if not all(value is None or isinstance(value, good) for value in values):
            raise BadArtefacts(f"{path}: column {name!r} holds {table[name].type} values")
        blank = (None, "") if name in _USUAL else (None,)
        found[name] = [None if value in blank else cast(value) for value in values]
    return found


#: Kind of a column to the types of its cells, and their conversion.
_CASTS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "string": (str | int, str),
    "int": (int, int),
    "float": (int | float, float),
    "bool": (bool, bool),
    "date": (date, lambda day: day),
}
