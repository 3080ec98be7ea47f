"""Data of the map page: maps, colours, marks of a search, and the films inside a line."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import streamlit as st

from ingest.encoders import Encoder
from store import (
    NO_FINDING,
    NOTHING_FOUND,
    Gallery,
    Map,
    findings,
    findings_of,
    maps,
    projection,
)
from ui.dashboard import shared
from ui.dashboard.components import scatter
from ui.dashboard.components.colouring import Colouring, colouring
from ui.dashboard.components.html import Labels
from ui.dashboard.search.answer import answer
from ui.dashboard.search.state import Search

Places = npt.NDArray[np.int64]
NEAREST, OUTCOME = "nearest cosine", "outcome"
#: Columns that tell nothing as a colour: nearly every film has a value of its own.
_PLAIN = ("source", "ingested_at")


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A map, and metadata of its films to colour it by.

    Attributes:
        map: places of all films, also of those that have none.
        columns: metadata of those on the map, ascending by id.
        ids: of those.
        choices: columns to colour by: those with a value.
        on_map: int64, which rows of ``map`` have a place.
        grid: uint16 (n, 2), places of those.
        version: names this state of it.
    """

    map: Map
    columns: pa.Table
    ids: list[str]
    choices: list[str]
    on_map: Places
    grid: npt.NDArray[np.uint16]
    version: str


def methods(gallery: Gallery) -> list[str]:
    """Maps to choose from: those that were kept, and PCA, which needs no waiting."""
    changed = tuple(maps.changed(gallery, method) for method in projection.METHODS)
    return list(dict.fromkeys([*reversed(_kept(gallery, changed)), projection.PCA]))


@st.cache_resource(max_entries=8, show_spinner=False, hash_funcs=shared.HASHES)
def _kept(gallery: Gallery, changed: tuple[float, ...]) -> list[str]:
    return maps.kept(gallery)


def drawn(gallery: Gallery, method: str) -> Drawn:
    """A map as it is now, once per table version and file.

    Raises:
        BadQuery: there is no such map.
    """
    return _drawn(gallery, method, maps.changed(gallery, method))


@st.cache_resource(max_entries=4, show_spinner="Laying out the map …", hash_funcs=shared.HASHES)
def _drawn(gallery: Gallery, method: str, changed: float) -> Drawn:
    found, columns = maps.view(gallery, method)
    on_map = np.flatnonzero(np.isfinite(found.places).all(axis=1))
    columns = columns.append_column(NEAREST, pa.array(found.nearest, from_pandas=True))
    columns = columns.take(pa.array(on_map))
    return Drawn(
        found,
        columns,
        columns["id"].to_pylist(),
        _choices(columns, gallery.columns()),
        on_map,
        scatter.on_grid(found.places[on_map]) if len(on_map) else np.zeros((0, 2), np.uint16),
        f"{shared.key(gallery)}-{method}-{changed}",
    )


def _choices(columns: pa.Table, own: Collection[str]) -> list[str]:
    """Columns that tell films apart; for ``labelled`` the outcome, unless all are alike."""
    names = [name for name in columns.column_names if _tells(name, columns[name])]
    names = [name for name in names if name != "labelled" or name in own]
    if OUTCOME not in own and len(findings_of(columns)[OUTCOME].unique()) > 1:
        names.append(OUTCOME)
    return names


def _tells(name: str, column: Any) -> bool:
    if name in ("id", *_PLAIN):
        return False
    if pa.types.is_list(column.type):
        return any(column.to_pylist())
    return bool(column.null_count < len(column))


@st.cache_resource(
    max_entries=8,
    show_spinner="Colouring the map …",
    hash_funcs={Drawn: lambda of: of.version},
)
def points(of: Drawn, by: str, _labels: Labels) -> tuple[dict[str, Any], Colouring]:
    """The points for the browser, and the legend; once per map and column."""
    if by == "labels":
        found = colouring(_named_findings(of.columns), _labels)
    elif by not in of.columns.column_names:
        found = colouring(findings_of(of.columns)[OUTCOME].to_pylist())
    else:
        found = colouring(of.columns[by].to_pylist())
    return scatter.pack(of.grid, of.ids, found), found


def _named_findings(columns: pa.Table) -> list[Sequence[str]]:
    told = findings_of(columns)
    cells = zip(told["labels"].to_pylist(), told["outcome"].to_pylist(), strict=True)
    return [(NO_FINDING,) if one == NOTHING_FOUND else findings(labels) for labels, one in cells]


def hits(gallery: Gallery, search: Search) -> list[str]:
    """Ids that a search finds, best first; its own film comes first where it is stored.

    Raises:
        CxrError: it cannot be searched, e.g. because its encoder is not here.
    """
    vector = None
    if search.upload is not None:
        vector = search.upload.vector
    elif search.text is not None:
        using: Encoder = shared.encoder(gallery.stamp)
        vector = shared.text_query(using, search.text, search.long_text).vectors
    found = answer(gallery, search, vector, shared.films(gallery, search.filters))
    return [*([search.id] if search.id else []), *(hit.row.id for hit in found.hits)]


def marks(of: Drawn, search: Search, found: list[str]) -> list[tuple[int, str]]:
    """Marks on the map: ``?`` at the query, ranks at its hits."""
    place = {id_: at for at, id_ in enumerate(of.ids)} if found else {}
    first = 0 if search.id else 1
    return [
        (place[id_], "?" if rank == 0 else str(rank + search.k * (search.page - 1)))
        for rank, id_ in enumerate(found, start=first)
        if id_ in place
    ]


def surrounded(of: Drawn, outline: Any) -> Places:
    """The films inside a line that a browser sent: their positions among those on the map."""
    inside = projection.inside(of.grid, scatter.outline_of(outline))
    return np.flatnonzero(inside).astype(np.int64)
