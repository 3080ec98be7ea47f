"""The grid of hits: a card and buttons for each, and the pages."""

from __future__ import annotations

import streamlit as st

from store import Row
from ui.dashboard.components import html, lists
from ui.dashboard.components.film_list import film_link
from ui.dashboard.components.html import Labels, Scale, films
from ui.dashboard.search import filters, session
from ui.dashboard.search.answer import Answer, badges
from ui.dashboard.search.state import DEPTH_MAX, Search, pages

#: Narrowest a film is drawn with its frame, in CSS pixels; two fit side by side on a phone.
FILM_WIDTH = 180


def hits(search: Search, found: Answer, labels: Labels, learnt: frozenset[tuple[str, str]]) -> None:
    """The hits of one page."""
    scale, kind = kind_of(search)
    with st.container(
        horizontal=True, vertical_alignment="center", gap="small", key="hits-heading"
    ):
        title, about, explained = _heading(search, found, scale, kind)
        st.subheader(title, width="content", help=explained)
        st.caption(about, width="content")
        filters.chips(search)
    digests: tuple[bytes, ...] = ()
    if search.upload is not None:
        digests = search.upload.digests
    elif found.query is not None:
        digests = (found.query.sha256,)
    said = badges(found.hits, found.asked, digests, learnt, alone=not search.marks)
    lists.remember("hits", [hit.row.id for hit in found.hits])
    grid = st.grid("auto", min_column_width=FILM_WIDTH, border=True, key="hits")
    for hit, marks in zip(found.hits, said, strict=True):
        with grid.cell():
            film_link(hit.row.id, f"hit-{hit.row.id}", "hits")
            picture = found.thumbnails[hit.row.id]
            beside = search.beside
            st.html(html.hit(hit, picture, labels, scale, marks, any(said), beside))
            _actions(hit.row, compare=search.has_vector)
    _pages(search, found)


def _heading(search: Search, found: Answer, scale: Scale, kind: str) -> tuple[str, str, str]:
    """Heading of the hits: its title, what is said beside it, and what the numbers are."""
    first, last = found.hits[0].rank, found.hits[-1].rank
    best = "most similar" if search.words is None else "best"
    title = f"{last} {best}" if first == 1 else f"Hits {first} to {last}"
    if last == 1:
        title = f"The {best}"
    passing = html.passing(found.candidates) if search.filters else ""
    counted, beside = f"{films(found.candidates)}{passing}", search.beside
    numbers = (
        f"Number and bar: cosine, {kind}, bar from {scale.low:g} to {scale.high:g}. A cosine is "
        "not a probability, and cosines of images, of sentences and of both combined are not "
        "comparable."
    )
    if search.words is None:
        return title, f"of {counted} · cosine, {kind}", f"Out of {counted}. {numbers}"
    if beside is not None:
        order = f"by words and {beside} together"
        return title, f"of {counted} · {order}", f"Out of {counted}, {order}. {numbers}"
    more = " or more" if found.candidates >= DEPTH_MAX else ""
    number = "Number: BM25, how well the words match; comparable in one list only."
    said = f"of {counted}{more} with such a report"
    return title, f"{said} · BM25", f"Out of {counted}{more} with such a report. {number}"


def kind_of(search: Search) -> tuple[Scale, str]:
    """The scale of a search's cosines, and what it compares."""
    if search.text is not None:
        if search.marks:
            return html.COMBINED_SCALE, "sentence and images combined, to image"
        return html.TEXT_SCALE, "sentence to image"
    if search.marks:
        return html.IMAGE_SCALE, "combined images to image"
    return html.IMAGE_SCALE, "image to image"


def more(row: Row) -> None:
    """A button that searches with this film."""
    st.button("More like this", key=f"more-{row.id}", on_click=session.ask_this_id, args=(row.id,))


def _actions(row: Row, compare: bool) -> None:
    # No help on these: Streamlit draws a button with help twice.
    with st.container(horizontal=True, gap="xxsmall", key=f"do-{row.id}"):
        more(row)
        if compare:
            st.button("Compare", key=f"pair-{row.id}", on_click=session.look_at, args=(row.id,))
        for sign, word in (("+", "Like +"), ("-", "Unlike −")):
            st.button(
                word,
                key=f"mark-{'like' if sign == '+' else 'unlike'}-{row.id}",
                on_click=session.mark,
                args=(row.id, sign),
            )


def _pages(search: Search, found: Answer) -> None:
    count = pages(found.candidates, search.k)
    if count == 1:
        return
    # A key of its own for every page: the page shown is this search's, not the widget's last one.
    box = f"box-page-{search.page}"
    st.pagination(count, default=search.page, key=box, on_change=session.turn, args=(box,))
