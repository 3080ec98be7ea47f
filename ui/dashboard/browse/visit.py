"""The listing of one visitor: kept in the session, written in the address, changed by callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import streamlit as st

from ui.dashboard.browse import listing as of
from ui.dashboard.browse.listing import Listing
from ui.dashboard.search import session
from ui.dashboard.search.ranges import Known

_LISTING, _LINK, _FILTERS = (f"listing-{name}" for name in ("now", "link", "filters"))
SORT_BOX, WAY_BOX = "box-films-sort", "box-films-way"


def now(known: Known, orders: Mapping[str, str]) -> Listing:
    """The listing to show, after following the address; its filters are those of the search page.

    Args:
        known: facet -> the values, or the range, that the gallery has.
        orders: from ``listing.orders``.
    """
    params = session.address()
    listing: Listing | None = st.session_state.get(_LISTING)
    back = session.came_back()
    if listing is None or (params != st.session_state.get(_LINK) and not back):
        if params or not back:
            listing, notes = of.from_link(params, known, orders)
            session.filter_by(listing.filters, *notes)
        else:
            listing = Listing()
    filters = session.with_filters(known).filters
    if filters != st.session_state.get(_FILTERS, filters):
        listing = replace(listing, page=1)
    st.session_state[_FILTERS] = filters
    listing = replace(listing, filters=filters)
    if listing.by not in orders:
        listing = replace(listing, by=of.ID, down=False, page=1)
    _keep(listing, orders)
    return listing


def turned(listing: Listing, page: int, orders: Mapping[str, str]) -> Listing:
    """The listing at another page, e.g. the last one where there are not so many."""
    listing = replace(listing, page=page)
    _keep(listing, orders)
    return listing


def _keep(listing: Listing, orders: Mapping[str, str]) -> None:
    st.session_state[_LISTING] = listing
    wanted = of.to_link(listing, orders)
    if session.address() != wanted:
        st.query_params.from_dict(wanted)
    st.session_state[_LINK] = wanted
    for box, value in ((SORT_BOX, listing.by), (WAY_BOX, listing.down)):
        if st.session_state.get(box) != value:
            st.session_state[box] = value


# -- actions: callbacks of the widgets -------------------------------------------------------


def sort(orders: Mapping[str, str]) -> None:
    """Take over from its widget what films are sorted by."""
    by = str(st.session_state[SORT_BOX])
    down = of.begins_down(orders[by], by)
    st.session_state[_LISTING] = replace(_last(), by=by, down=down, page=1)


def choose_way() -> None:
    """Take over the direction from its widget."""
    st.session_state[_LISTING] = replace(_last(), down=bool(st.session_state[WAY_BOX]), page=1)


def turn(box: str) -> None:
    """Take over the page from its widget."""
    st.session_state[_LISTING] = replace(_last(), page=int(st.session_state[box]))


def _last() -> Listing:
    found: Listing = st.session_state.get(_LISTING, Listing())
    return found
