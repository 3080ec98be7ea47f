"""What the map page shows: maps, colours, marks of a search, and what a line surrounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import streamlit as st

from ingest.encoders import Encoder
from store import Gallery, Map, maps, projection
from ui.dashboard import shared
from ui.dashboard.components import scatter
from ui.dashboard.components.colouring import Colouring, colouring
from ui.dashboard.components.html import Labels
from ui.dashboard.search.answer import answer
from ui.dashboard.search.state import Search
from ui.dashboard.shared import Key

NEAREST = "nearest cosine"
#: Columns that tell nothing as a colour: nearly every film has a value of its own.
_PLAIN = ("source", "ingested_at")


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A map and what its films can be coloured by.

    Attributes:
        map: places of all films, also of those that have none.
        columns: metadata of those on the map, in their order, with their ids.
        on_map: int64, which rows of ``map`` have a place.
        grid: uint16 (n, 2), places of those.
        version: names this state of it.
    """

    map: Map
    columns: pa.Table
    on_map: np.ndarray[Any, np.dtype[np.int64]]
    grid: np.ndarray[Any, np.dtype[np.uint16]]
    version: str

    @property
    def ids(self) -> list[str]:
        """Of the films on the map, ascending."""
        found: list[str] = self.columns["id"].to_pylist()
        return found


def methods(gallery: Gallery) -> list[str]:
    """Maps to choose from: those that were kept, and PCA, which needs no waiting."""
    changed = tuple(maps.changed(gallery, method) for method in projection.METHODS)
    return list(
        dict.fromkeys([*reversed(_kept(shared.key(gallery), changed, gallery)), projection.PCA])
    )


@st.cache_resource(max_entries=8, show_spinner=False)
def _kept(key: Key, changed: tuple[float, ...], _gallery: Gallery) -> list[str]:
    return maps.kept(_gallery)


def drawn(gallery: Gallery, method: str) -> Drawn:
    """A map as it is now, once per table version and file.

    Raises:
        BadQuery: there is no such map.
    """
    return _drawn(shared.key(gallery), method, maps.changed(gallery, method), gallery)


@st.cache_resource(max_entries=4, show_spinner="Laying out the map …")
def _drawn(key: Key, method: str, changed: float, _gallery: Gallery) -> Drawn:
    found, columns = maps.view(_gallery, method)
    on_map = np.flatnonzero(np.isfinite(found.places).all(axis=1))
    columns = columns.append_column(NEAREST, pa.array(found.nearest, from_pandas=True))
    return Drawn(
        found,
        columns.take(pa.array(on_map)),
        on_map,
        scatter.on_grid(found.places[on_map]) if len(on_map) else np.zeros((0, 2), np.uint16),
        f"{key}-{method}-{changed}",
    )


def choices(of: Drawn) -> list[str]:
    """Columns that a map can be coloured by: those with a value, labels first."""
    return [
        name
        for name in of.columns.column_names
        if name not in ("id", *_PLAIN) and _has_values(of.columns[name])
    ]


def _has_values(column: Any) -> bool:
    if pa.types.is_list(column.type):
        return any(column.to_pylist())
    return bool(column.null_count < len(column))


def points(of: Drawn, by: str, labels: Labels) -> tuple[dict[str, Any], Colouring]:
    """What the browser draws, and the legend; once per map and column."""
    return _points(of.version, by, of, labels)


@st.cache_resource(max_entries=8, show_spinner="Colouring the map …")
def _points(version: str, by: str, _of: Drawn, _labels: Labels) -> tuple[dict[str, Any], Colouring]:
    found = colouring(_of.columns[by].to_pylist(), _labels if by == "labels" else None)
    return scatter.pack(_of.grid, _of.ids, found), found


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
        vector = shared.text_vector(using, search.text)
    found = answer(gallery, search, vector, shared.films(gallery, search.filters))
    return [*([search.id] if search.id else []), *(hit.row.id for hit in found.hits)]


def marks(of: Drawn, search: Search, found: list[str]) -> list[tuple[int, str]]:
    """Where to write on the map: ``?`` for the query, ranks for its hits."""
    place = {id_: at for at, id_ in enumerate(of.ids)} if found else {}
    first = 0 if search.id else 1
    return [
        (place[id_], "?" if rank == 0 else str(rank + search.k * (search.page - 1)))
        for rank, id_ in enumerate(found, start=first)
        if id_ in place
    ]


def surrounded(of: Drawn, outline: Any) -> list[str]:
    """Ids of the films inside a line that a browser sent."""
    line = scatter.outline_of(outline)
    inside = projection.inside(of.grid, line)
    ids = of.ids
    return [ids[at] for at in np.flatnonzero(inside)]
