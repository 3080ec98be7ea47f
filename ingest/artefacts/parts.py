"""Vectors made elsewhere, from one place or several, as one set: train and test saved apart."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ingest.artefacts.containers import Part, export_folders, is_container, parts_of
from ingest.artefacts.files import META, is_text
from ingest.artefacts.folder import (
    UNKNOWN,
    Artefacts,
    external_stamp,
    is_external,
    named_stamp,
    read_artefacts,
)
from ingest.artefacts.table import read_parts
from ingest.sources.hub.names import natural, split_in
from store import COLUMNS, BadArtefacts, UsageError, expanded


def read_vectors(
    places: Sequence[str | Path],
    *,
    normalise: bool = False,
    encoder_name: str | None = None,
    id_column: str | None = None,
    vector_column: str | None = None,
    label_column: Sequence[str] = (),
    label_names: Sequence[str] = (),
    report_column: Sequence[str] = (),
) -> Artefacts:
    """Read and check vectors made elsewhere.

    Where neither a column nor an id says the split, names of files and folders do: ``train``,
    ``test_embeddings.npz``, ``val-00000-of-00002.parquet``.

    Args:
        places: export folders (``ingest.artefacts.folder``), folders of these, and files and
            folders of tables (``ingest.artefacts.containers``).
        normalise: scale vectors to unit length instead of refusing others.
        encoder_name: what to call the encoder of vectors that name none. Vectors under one name
            share a gallery, also when they are imported one after the other; that one encoder made
            them is taken on trust.
        id_column: of tables; see read_parts.
        vector_column: of tables.
        label_column: of tables.
        label_names: of tables.
        report_column: the columns of the report's parts, each entry one or several with commas
            between; several are joined under their headings. No report is read when empty.

    Raises:
        BadArtefacts: nothing that can be read, or parts that disagree.
        UsageError: options of tables where there is none; a name for vectors that name another.
    """
    options: dict[str, Any] = {
        name: value
        for name, value in (
            ("id_column", id_column),
            ("vector_column", vector_column),
            ("label_column", label_column),
            ("label_names", label_names),
        )
        if value
    }
    # Sorted: the fingerprint of unnamed vectors must not depend on the order on a command line.
    paths = sorted((expanded(place) for place in places), key=lambda path: natural(str(path)))
    tables: list[Part] = []
    folders: list[Path] = []
    notes: list[str] = []
    for path in paths:
        inside = export_folders(path) if path.is_dir() else []
        if is_container(path):
            tables += parts_of(path, vector_column)
            if inside:
                names = ", ".join(one.name for one in inside)
                notes.append(f"folders of {path} that are not read beside its files: {names}")
        else:
            folders += inside or [path]
    if options and not tables:
        option = next(iter(options)).replace("_", "-")
        raise UsageError(f"--{option} is for a Parquet or Arrow file, or an npz")
    found = [
        _with_split(read_artefacts(folder, normalise=normalise, report_column=report_column))
        for folder in folders
    ]
    if tables:
        whole = _common(paths)
        options["report_column"] = report_column
        found.append(read_parts(tables, place=whole, normalise=normalise, **options))
    joined = found[0] if len(found) == 1 else _joined(found, _common(paths))
    return _named(replace(joined, notes=(*notes, *joined.notes)), encoder_name)


def _common(paths: Sequence[Path]) -> Path:
    """The only path, or the folder of all of them; the first where that has no name."""
    if len(paths) == 1:
        return paths[0]
    above = Path(os.path.commonpath([path.resolve() for path in paths]))
    return above if above.name else paths[0]


def _with_split(one: Artefacts) -> Artefacts:
    split = split_in(one.folder.resolve().name)
    if split is None or "split" in one.columns:
        return one
    note = f"split {split!r} is told by the folder's name: {len(one.ids):,} rows"
    columns = {**one.columns, "split": [split] * len(one.ids)}
    return replace(one, columns=columns, notes=(*one.notes, note))


def _joined(parts: Sequence[Artefacts], place: Path) -> Artefacts:
    """Several sets as one; a column that a part lacks is blank there."""
    first = parts[0]
    for part in parts:
        if part.stamp.dimension != first.stamp.dimension:
            raise BadArtefacts(
                f"{part.folder} has vectors of dimension {part.stamp.dimension}, {first.folder} "
                f"of {first.stamp.dimension}; vectors of one encoder have one dimension"
            )
        both_unknown = is_external(part.stamp) and is_external(first.stamp)
        if part.stamp != first.stamp and not both_unknown:
            raise BadArtefacts(
                f"{part.folder} has vectors of encoder {part.stamp}, {first.folder} of "
                f"{first.stamp}; import each by itself into another --store"
            )
    ids = [id_ for part in parts for id_ in part.ids]
    id_, times = Counter(ids).most_common(1)[0]
    if times > 1:
        where = " and ".join(str(part.folder) for part in parts if id_ in part.ids)
        raise BadArtefacts(f"{where} have the id {id_!r}, {times} times in all; ids must be unique")
    embeddings = np.concatenate([part.embeddings for part in parts])
    notes = [*dict.fromkeys(n for part in parts for n in part.notes if not n.endswith(UNKNOWN))]
    stamp = first.stamp
    if is_external(stamp):
        stamp = external_stamp(place.resolve().name, embeddings, notes, f"no encoder in any {META}")
    return Artefacts(
        folder=place,
        embeddings=embeddings,
        ids=ids,
        labels=[labels for part in parts for labels in part.labels],
        columns={
            name: [cell for part in parts for cell in _column(part, name)]
            for name in dict.fromkeys(name for part in parts for name in part.columns)
        },
        stamp=stamp,
        meta={},
        notes=tuple(notes),
        sources=[source for part in parts for source in part.sources],
        tells_labels=any(part.tells_labels for part in parts),
    )


def _column(part: Artefacts, name: str) -> list[Any]:
    blank: Any = {} if name == "extra" else COLUMNS[name].default
    return part.columns.get(name, [blank] * len(part.ids))


def _named(found: Artefacts, name: str | None) -> Artefacts:
    """The same vectors under a name for their encoder, which is all that is known of it."""
    if name is None:
        return found
    if not is_external(found.stamp):
        raise UsageError(
            f"--encoder-name {name}: {found.folder} says that encoder {found.stamp} made its "
            "vectors; leave the option out"
        )
    if not name.strip() or not is_text(name):
        raise UsageError(f"--encoder-name {name!r}: expected a name, e.g. my-resnet50")
    stamp = named_stamp(name, found.stamp.dimension)
    notes = [note for note in found.notes if not note.endswith(UNKNOWN)]
    notes.append(f"encoder {name!r} by your word, without its files, {UNKNOWN}")
    return replace(found, stamp=stamp, notes=tuple(notes))
