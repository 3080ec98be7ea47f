"""Films of a listing in order, once per version of the gallery; what each is sorted by."""

from __future__ import annotations

from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from store import FilmOrder, Gallery, counted, doubt_of_labels, film_order, sort_films
from ui.dashboard import background, shared
from ui.dashboard.browse.listing import ADDED, DOUBT, ID, Listing
from ui.dashboard.search.ranges import AGE, column
from ui.dashboard.search.state import Filters, where


def films_of(gallery: Gallery, listing: Listing) -> FilmOrder | None:
    """All films of a listing in order; None while it waits for somebody to ask for it."""
    if listing.by != DOUBT:
        by = "ingested_at" if listing.by == ADDED else column(listing.by)
        return _by_column(gallery, by, listing.filters, listing.down)
    key = ("films", "doubt", shared.key(gallery))
    if not background.wanted(key, len(gallery)):
        return None
    doubts = background.result(
        key, "Asking the neighbours", lambda progress: doubt_of_labels(gallery, progress=progress)
    )
    return _by_doubt(gallery, doubts, listing.filters, listing.down)


def said(gallery: Gallery, listing: Listing, order: FilmOrder, start: int, count: int) -> list[str]:
    """What some films of a listing are sorted by, one line each; "" where the card says it."""
    if listing.by in (ID, AGE):
        return [""] * count
    values = [order.value(at) for at in range(start, start + count)]
    if listing.by != DOUBT:
        name = "added" if listing.by == ADDED else column(listing.by)
        return [f"{name}: {_written(value)}" for value in values]
    doubts: pa.Table = background.result(("films", "doubt", shared.key(gallery)), "", _never)
    wanted = order.ids.slice(start, count)
    cells = doubts.filter(pc.is_in(doubts["id"], wanted)).to_pylist()
    lines = {
        cell["id"]: f"{cell['votes']} of {counted(cell['asked'], 'neighbour')}: {cell['said']}"
        for cell in cells
    }
    return [lines.get(id_, "label not compared") for id_ in wanted.to_pylist()]


def _never(_: object) -> pa.Table:
    raise AssertionError("the doubts of these labels are known")


def _written(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, date):
        return value.isoformat()
    return "–" if value is None else f"{value:g}"


@st.cache_resource(max_entries=16, show_spinner=False, hash_funcs=shared.HASHES)
def _by_column(gallery: Gallery, by: str, filters: Filters, down: bool) -> FilmOrder:
    return film_order(gallery, by, where(filters), descending=down)


@st.cache_resource(max_entries=16, show_spinner=False, hash_funcs={**shared.HASHES, pa.Table: id})
def _by_doubt(gallery: Gallery, doubts: pa.Table, filters: Filters, down: bool) -> FilmOrder:
    passing = pa.table({"id": film_order(gallery, where=where(filters)).ids})
    joined = passing.join(doubts.select(["id", "doubt"]), "id", join_type="left outer")
    return sort_films(joined, "doubt", down)
