"""Tray of at most two films to compare: kept for the visit, a slim bar under every page."""

from __future__ import annotations

import streamlit as st

from store import Gallery
from ui.dashboard.components import film_list, html
from ui.dashboard.components.html import plain

_TRAY = "film-tray"
#: Films that are compared with each other.
MOST = 2


def films() -> tuple[str, ...]:
    """Ids of the films in the tray, the first one put there first."""
    found: tuple[str, ...] = st.session_state.get(_TRAY, ())
    return found


def add(id_: str) -> None:
    """Put a film in; of three, the one that is there longest leaves."""
    st.session_state[_TRAY] = (*(one for one in films() if one != id_), id_)[-MOST:]


def take_out(id_: str) -> None:
    """Take a film out."""
    st.session_state[_TRAY] = tuple(one for one in films() if one != id_)


def clear() -> None:
    """Take every film out."""
    st.session_state[_TRAY] = ()


def button(id_: str, key: str) -> None:
    """A button that puts a film in, or takes it out again."""
    there = id_ in films()
    st.button(
        "In the tray" if there else "Add to compare",
        key=f"tray-{key}",
        icon=":material/check:" if there else ":material/add_to_photos:",
        on_click=take_out if there else add,
        args=(id_,),
    )


def bar(gallery: Gallery) -> None:
    """The tray, where a film is in it."""
    rows = gallery.rows(films())
    kept = [rows[id_] for id_ in films() if id_ in rows]
    if not kept:
        return
    pictures = gallery.thumbnails([row.id for row in kept])
    with (
        st.container(horizontal=True, vertical_alignment="center", gap="small", key="tray"),
    ):
        for row in kept:
            st.html(html.tray_film(row, pictures[row.id]), width="content")
            st.button(
                f"Take {plain(row.id)} out",
                key=f"tray-out-{row.id}",
                icon=":material/close:",
                type="tertiary",
                on_click=take_out,
                args=(row.id,),
            )
        if len(kept) < MOST:
            st.html(html.note("Add one more film to compare."), width="content")
        elif st.button("Compare", key="tray-compare", type="primary", icon=":material/compare:"):
            film_list.compare(kept[0].id, kept[1].id)
