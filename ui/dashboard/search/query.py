"""The query's card: what is being looked for, with the marked films and their weights."""

from __future__ import annotations

from dataclasses import fields

import streamlit as st

from store.search.relevance_feedback import WEIGHT_MAX, Weights
from ui.dashboard.components import html
from ui.dashboard.components.html import Labels, films, plain
from ui.dashboard.search import session
from ui.dashboard.search.answer import Answer
from ui.dashboard.search.state import Search

_NAMES = {"query": "Weight of query", "like": "of films +", "unlike": "of films −"}
#: Narrowest a marked film is drawn, in CSS pixels.
_MARK_WIDTH = 220


def card(search: Search, found: Answer, labels: Labels) -> None:
    """What is being looked for, always in sight above the hits."""
    with st.container(horizontal=True):
        st.html(_described(search, found, labels))
        st.button("Clear", icon=":material/close:", on_click=session.clear, key="clear")
    if search.marks:
        _marks(search, found, labels)
        _weights(search)


def _described(search: Search, found: Answer, labels: Labels) -> str:
    if found.query is not None:
        row = found.query
        picture = html.film(found.thumbnails[row.id], f"query film {row.id}")
        parts = (row.view, row.sex, _size(row.width, row.height))
        detail = " · ".join(part for part in parts if part)
        return html.query_card(
            "Query: a film of the gallery",
            row.id,
            detail,
            picture,
            labels.chips(row) + html.particulars(row),
        )
    if search.upload is not None:
        film = search.upload
        return html.query_card(
            "Query: your film",
            film.name,
            f"{_size(film.width, film.height)} · kept for this visit only, not in the link",
            html.film(film.thumbnail, "the uploaded film"),
        )
    if search.text is not None:
        return html.query_card("Query: a sentence", f"“{search.text}”", "")
    return html.query_card("Query: the marked films", f"{films(len(search.like))} to be like", "")


def _marks(search: Search, found: Answer, labels: Labels) -> None:
    grid = st.grid("auto", min_column_width=_MARK_WIDTH, key="marks")
    signed = [(id_, "+") for id_ in search.like] + [(id_, "−") for id_ in search.unlike]
    for id_, sign in signed:
        with (
            grid.cell(),
            st.container(horizontal=True, vertical_alignment="center", key=f"marked-{id_}"),
        ):
            st.html(html.mark_card(found.marked[id_], found.thumbnails[id_], labels, sign))
            st.button(
                f"Take the mark off {plain(id_)}",
                key=f"mark-off-{id_}",
                icon=":material/close:",
                on_click=session.mark,
                args=(id_, None),
                type="tertiary",
            )


def _weights(search: Search) -> None:
    absent = {
        "query": not search.has_query,
        "like": not search.like,
        "unlike": not search.unlike,
    }
    with st.container(horizontal=True, vertical_alignment="bottom", key="weights"):
        for part, name in zip(fields(Weights), session.WEIGHT_BOXES, strict=True):
            st.number_input(
                _NAMES[part.name],
                min_value=0.0,
                max_value=WEIGHT_MAX,
                step=0.05,
                format="%.2f",
                key=name,
                on_change=session.weigh,
                disabled=absent[part.name],
                width=128,
            )
        st.button("Take all marks off", key="unmark", on_click=session.unmark)
    st.caption(plain(formula(search)))


def formula(search: Search) -> str:
    """What the parts are combined to, in one sentence."""
    weights, parts = search.weights, []
    if search.has_query:
        parts.append(f"{weights.query:g} × query")
    if search.like:
        parts.append(f"{weights.like:g} × (mean of {films(len(search.like))} to be like)")
    sought = " + ".join(parts)
    if search.unlike:
        sought += f" − {weights.unlike:g} × (mean of {films(len(search.unlike))} to be unlike)"
    return (
        f"Looked for: {sought}, scaled to length 1 (Rocchio). Cosines are with that; the films "
        "it is made of are not among the hits."
    )


def _size(width: int, height: int) -> str:
    return f"{width} × {height}" if width and height else ""
