"""Order of films: by id, by a date, by a number, or by how much their neighbours doubt them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.errors import BadQuery
from store.schema import ORDERED
from store.table.filters import Where

if TYPE_CHECKING:
    from store.gallery import Gallery

#: What films are ordered by where nothing is asked for, and when each was written.
ID, WRITTEN = "id", "ingested_at"


@dataclass(frozen=True, slots=True, eq=False)
class FilmOrder:
    """Films of a gallery in order.

    Attributes:
        ids: string (n,), of the films that pass the filter.
        values: what they are ordered by, in the order of ``ids``; the ids themselves for ``id``.
        without: how many have no such value; those are the last ones, by id.
    """

    ids: pa.Array
    values: pa.Array
    without: int

    def __len__(self) -> int:
        return len(self.ids)

    def page(self, start: int, count: int) -> list[str]:
        """Ids of ``count`` films from place ``start`` on, 0 the first; fewer at the end."""
        found: list[str] = self.ids.slice(start, count).to_pylist()
        return found

    def value(self, at: int) -> object:
        """What the film at a place is ordered by; None where it has no value."""
        return self.values[at].as_py()


def film_order(
    gallery: Gallery, by: str = ID, where: Where | None = None, *, descending: bool = False
) -> FilmOrder:
    """Films in order of a column; equal ones by id, those without a value last.

    Two columns are read and sorted: 0.1 s for 100,000 films. Keep what comes back to turn pages.

    Args:
        gallery: of any size; no vectors are read.
        by: ``id``, ``ingested_at``, ``age``, or an own column of numbers or dates.
        where: only films that pass.
        descending: the greatest value first.

    Raises:
        BadQuery: a column that has no order.
    """
    known = (ID, WRITTEN, *ordered_columns(gallery))
    if by not in known:
        raise BadQuery(f"films are not ordered by {by!r}; expected one of {', '.join(known)}")
    found = gallery.read_columns(list(dict.fromkeys((ID, by))), where)
    if by not in found.column_names:  # an older table lacks a column until it is written
        found = found.append_column(by, pa.nulls(len(found), pa.float64()))
    return sort_films(found, by, descending)


def sort_films(found: pa.Table, by: str, descending: bool) -> FilmOrder:
    """Films in order of a column.

    Args:
        found: columns ``id`` and ``by``, one row a film, in any order.
        by: name of the column; NaN counts as no value.
        descending: the greatest value first.
    """
    if pa.types.is_floating(found[by].type):
        at = found.column_names.index(by)
        cells = pc.if_else(pc.is_nan(found[by]), None, found[by])
        found = found.set_column(at, by, cells)
    way = "descending" if descending else "ascending"
    keys = [(by, way)] if by == ID else [(by, way), (ID, "ascending")]
    found = found.take(pc.sort_indices(found, keys))
    if pc.count_distinct(found[ID]).as_py() < len(found):  # a damaged table, see cxr check
        _, first = np.unique(found[ID].to_numpy(), return_index=True)
        found = found.take(pa.array(np.sort(first)))
    ids, values = (found[name].combine_chunks() for name in (ID, by))
    return FilmOrder(ids, values, values.null_count)


def ordered_columns(gallery: Gallery) -> dict[str, str]:
    """Columns that films can be ordered by, beside their ids and when they were written.

    Returns:
        Name to ``int``, ``float`` or ``date``: ``age``, then the user's own.
    """
    own = {name: kind for name, kind in gallery.columns().items() if kind in ORDERED}
    return {"age": "float", **own}
