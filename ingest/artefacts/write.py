"""Writer of an export folder: its data files as bytes, in the format of ``folder``."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ingest.artefacts.files import EMBEDDINGS, IDS, INDEX, LABELS, REPORT
from ingest.sources.hub.columns import META_COLUMNS
from ingest.sources.hub.names import natural
from ingest.sources.source import SPLITS
from store import BadQuery, CxrError

if TYPE_CHECKING:
    from store import Gallery, Row, Vectors


def rows_in_order(gallery: Gallery) -> dict[str, Row]:
    """Bring a gallery up to date and read its rows: data set, split, index (test/2, test/10).

    Returns:
        Rows without vectors by id, all of the version that the gallery answers from.

    Raises:
        BadQuery: the gallery is empty.
    """
    gallery.refresh()
    reader = gallery.pinned()  # otherwise rows may be newer than the vectors
    rows = reader.rows(reader.ids())
    if not rows:
        raise BadQuery(f"the gallery at {gallery.uri} is empty; there is nothing to export")
    return {row.id: row for row in sorted(rows.values(), key=_place)}


def _place(row: Row) -> tuple[Any, ...]:
    split = row.split or ""
    rank = SPLITS.index(split) if split in SPLITS else len(SPLITS)
    return row.dataset is None, row.dataset or "", rank, not split, split, natural(row.id)


def label_names(rows: Mapping[str, Row]) -> tuple[str, ...]:
    """Label names in the order of their numbers.

    A single MedMNIST set, or the synthetic cohort, numbers them itself; others by sorted name.
    """
    present = {name for row in rows.values() for name in row.labels}
    datasets = {row.dataset for row in rows.values()}
    if len(datasets) == 1:
        official = _official(next(iter(datasets)))
        if present <= set(official):
            return official
    return tuple(sorted(present, key=natural))


def _official(dataset: str | None) -> tuple[str, ...]:
    from ingest.sources import synthetic
    from ingest.sources.published import medmnist
    from store import UsageError

    if dataset == synthetic.DATASET:
        return synthetic.LABELS
    try:
        return medmnist.label_names(dataset or "")
    except UsageError:
        return ()


def label_numbers(rows: Mapping[str, Row], names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Labels as numbers.

    Returns:
        int64 (n,), -1 for none; when any row has several: int64 (n, c) of 0 and 1.
    """
    number = {name: place for place, name in enumerate(names)}
    if any(len(row.labels) > 1 for row in rows.values()):
        matrix = np.zeros((len(rows), len(names)), np.int64)
        for place, row in enumerate(rows.values()):
            matrix[place, [number[name] for name in row.labels]] = 1
        return matrix
    return np.asarray(
        [number[row.labels[0]] if row.labels else -1 for row in rows.values()], np.int64
    )


def columns(rows: Mapping[str, Row], *, reports: bool = False) -> dict[str, list[Any]]:
    """Metadata by column, one value per row; columns without any value are left out.

    So is ``labelled`` where every row has findings, which say it themselves.

    Args:
        rows: in the order to write.
        reports: whether the reports come along.
    """
    names = (*META_COLUMNS, REPORT) if reports else META_COLUMNS
    found = {name: [_plain(getattr(row, name)) for row in rows.values()] for name in names}
    if all(row.has_findings for row in rows.values()):
        del found["labelled"]
    return {name: values for name, values in found.items() if any(v is not None for v in values)}


def _plain(value: Any) -> Any:
    """A value of a row as JSON has it; None for blanks."""
    if isinstance(value, tuple):
        return list(value) or None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if isinstance(value, date) else value


def own_columns(rows: Mapping[str, Row], kinds: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The user's own columns with their types; those without any value are left out.

    Args:
        rows: in the order to write.
        kinds: name to type.
    """
    found = {}
    for name, kind in kinds.items():
        values = [_plain(row.extra.get(name)) for row in rows.values()]
        if any(value is not None for value in values):
            found[name] = {"type": kind, "values": values}
    return found


def data_files(rows: Mapping[str, Row], vectors: Vectors, names: Sequence[str]) -> dict[str, bytes]:
    """Embeddings, labels, ids and index by file name.

    Args:
        rows: in the order to write.
        vectors: float32 (n, d), unit rows, in the same order.
        names: of the labels, in the order of their numbers.

    Raises:
        CxrError: an id that cannot stand on a line of its own.
    """
    import faiss

    for id_ in rows:
        if not id_ or "\n" in id_ or "\r" in id_:
            raise CxrError(f"id {id_!r} cannot be written to {IDS}: one id is one line")
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return {
        EMBEDDINGS: _npy(vectors),
        LABELS: _npy(label_numbers(rows, names)),
        IDS: "".join(f"{id_}\n" for id_ in rows).encode(),
        INDEX: _index(index),
    }


def _index(index: Any) -> bytes:
    # Not serialize_index: it fails in a process that imported SimpleITK after FAISS.
    import faiss

    buffer = io.BytesIO()
    faiss.write_index(index, faiss.PyCallbackIOWriter(buffer.write))
    return buffer.getvalue()


def _npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def json_lines(document: Mapping[str, Any]) -> bytes:
    """One JSON object, a key a line: long columns do not take a line per value."""
    lines = [
        f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}"
        for key, value in document.items()
    ]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()
