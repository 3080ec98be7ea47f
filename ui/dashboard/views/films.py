"""The page of all films: page by page, sorted, under the same filters as a search."""

from __future__ import annotations

import streamlit as st

from store import BadQuery, FilmOrder, Gallery
from ui.dashboard import layout, shared
from ui.dashboard.browse import listing as of
from ui.dashboard.browse import ordered, visit
from ui.dashboard.browse.listing import SIZE, Listing
from ui.dashboard.components import film_list, html, lists
from ui.dashboard.components.html import films, plain
from ui.dashboard.curation import controls
from ui.dashboard.search import filters, link, session
from ui.dashboard.search.state import Search, where

#: Films before and after this page that arrows on a film's own page lead to.
_AROUND = 500


def main() -> None:
    """Draw the page."""
    gallery = shared.gallery()
    known = shared.known(gallery)
    orders = of.orders(gallery.columns(), known, gallery.in_memory)
    listing = visit.now(known, orders)
    with st.sidebar:
        filters.panel(gallery, session.last(), known, "Only films that pass are listed.")
    for note in session.notes():
        st.info(plain(note), icon=":material/info:")
    st.title("Films")
    bar(listing, orders)
    try:
        order = ordered.films_of(gallery, listing)
    except BadQuery as error:
        layout.say(error)
        return
    if order is None:
        return
    if not len(order):
        st.warning("No film passes the filters.", icon=":material/filter_alt_off:")
        return
    last = -(-len(order) // SIZE)
    if listing.page > last:
        st.info(f"There is no page {listing.page:,}; this is the last one, page {last:,}.")
        listing = visit.turned(listing, last, orders)
    heading(gallery, listing, order)
    page(gallery, listing, order)
    if last > 1:
        # A key of its own for every page: the page shown is this listing's.
        box = f"box-films-page-{listing.page}"
        st.pagination(last, default=listing.page, key=box, on_change=visit.turn, args=(box,))


def bar(listing: Listing, orders: dict[str, str]) -> None:
    """What the films are sorted by, and in which direction."""
    up, down = of.directions(orders[listing.by])
    with st.container(horizontal=True, vertical_alignment="bottom", key="films-bar"):
        st.selectbox(
            "Sorted by",
            list(orders),
            format_func=lambda by: plain(of.title(by)),
            key=visit.SORT_BOX,
            on_change=visit.sort,
            args=(orders,),
            width=260,
        )
        st.segmented_control(
            "Direction",
            [False, True],
            format_func=lambda value: down if value else up,
            key=visit.WAY_BOX,
            on_change=visit.choose_way,
            required=True,
            label_visibility="collapsed",
        )


def heading(gallery: Gallery, listing: Listing, order: FilmOrder) -> None:
    """How many films there are, which of them are shown, and the filters."""
    first = SIZE * (listing.page - 1) + 1
    some = f"Films {first:,} to {min(first + SIZE - 1, len(order)):,} of {len(order):,}"
    if len(order) <= SIZE:
        some = films(len(order))
    some += html.passing(len(order)) if listing.filters else ""
    if order.without:
        some += f" · last, {films(order.without)} without {of.missing(listing.by)}"
    with st.container(
        horizontal=True, vertical_alignment="center", gap="small", key="films-heading"
    ):
        st.caption(plain(some), width="content")
        filters.chips(session.last())
        which = where(listing.filters)
        ids = order.page(first - 1, SIZE)
        if which is None:
            controls.many(gallery, ids, len(ids), "page", "films of this page")
        else:
            controls.many(gallery, which, len(order), "films")


def page(gallery: Gallery, listing: Listing, order: FilmOrder) -> None:
    """The films of one page."""
    start = SIZE * (listing.page - 1)
    ids = order.page(start, SIZE)
    before = max(0, start - _AROUND)
    lists.remember("films", order.page(before, start - before + SIZE + _AROUND))
    lines = ordered.said(gallery, listing, order, start, len(ids))
    rows, pictures, labels = gallery.rows(ids), gallery.thumbnails(ids), shared.labels(gallery)
    onward = link.to_link(Search(filters=listing.filters))
    cells = st.grid("auto", min_column_width=film_list.FILM_WIDTH, border=True, key="films")
    for id_, line in zip(ids, lines, strict=True):
        with cells.cell():
            film_list.film_link(id_, f"film-{id_}", "films")
            said = html.short_note(line) if line else ""
            st.html(html.film_card(rows[id_], pictures[id_], labels) + said)
            with st.container(horizontal=True, gap="xxsmall", key=f"do-{id_}"):
                if st.button("More like this", key=f"more-{id_}"):
                    st.switch_page("views/search.py", query_params={"id": id_, **onward})


main()
