"""The searches of one visit, newest first: in the session's memory, gone with it."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from ui.dashboard.search.link import cut, to_link
from ui.dashboard.search.ranges import column, said
from ui.dashboard.search.state import FACETS, Search

_KEY = "search-history"
#: Older searches are forgotten; an upload keeps its picture in memory as long as it is listed.
_MOST = 30


def note(search: Search) -> None:
    """Put a search at the top; the same one further down goes. Its page and pair are its state."""
    if not search.asked:
        return
    mine = _identity(search)
    others = [one for one in entries() if _identity(one) != mine]
    st.session_state[_KEY] = [search, *others][:_MOST]


def entries() -> list[Search]:
    """The searches of this visit, newest first."""
    found: list[Search] = st.session_state.get(_KEY, [])
    return found


def forget() -> None:
    """Empty the list."""
    st.session_state[_KEY] = []


def title(search: Search) -> str:
    """A search in a few words."""
    parts = []
    if search.id is not None:
        parts.append(cut(search.id, 40))
    elif search.text is not None:
        parts.append(f"“{cut(search.text, 40)}”")
    elif search.upload is not None:
        parts.append(f"your film {cut(search.upload.name, 30)}")
    if search.like:
        parts.append(f"+{len(search.like)}")
    if search.unlike:
        parts.append(f"−{len(search.unlike)}")
    for facet, values in search.filters.items():
        told = ", ".join(said(facet, value) for value in values)
        parts.append(cut(told if facet in FACETS else f"{cut(column(facet), 20)} {told}", 30))
    return " · ".join(parts)


def _identity(search: Search) -> tuple[object, ...]:
    plain = replace(search, page=1, pair=None, upload=None)
    link = tuple((key, tuple(values)) for key, values in to_link(plain).items())
    return link, search.upload and search.upload.digests
