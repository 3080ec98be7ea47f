"""Nothing to show, and what to do about it: an unknown id, filters that let nothing through."""

from __future__ import annotations

import streamlit as st

from store import Gallery
from ui.dashboard import shared
from ui.dashboard.components.html import films, plain
from ui.dashboard.search import link, session
from ui.dashboard.search.answer import similar_ids, ways_out
from ui.dashboard.search.ranges import column, said
from ui.dashboard.search.state import Search


def unknown(gallery: Gallery, search: Search) -> None:
    """An id that is not in the gallery, with the ones that may have been meant."""
    assert search.id is not None
    st.warning(
        f"No film has the id {plain(repr(link.cut(search.id, 100)))} in this gallery.",
        icon=":material/search_off:",
    )
    close = similar_ids(search.id, gallery.ids())
    st.write("Ids that look like it:" if close else "Ids look like these:")
    with st.container(horizontal=True):
        for id_ in close or gallery.ids()[:3]:
            st.button(plain(id_), key=f"meant-{id_}", on_click=session.ask_this_id, args=(id_,))


def nothing(gallery: Gallery, search: Search) -> None:
    """No film passes the filters: say which one empties the set."""
    chosen = " and ".join(
        f"{_name(facet)} {' or '.join(plain(link.cut(said(facet, value))) for value in values)}"
        for facet, values in search.filters.items()
    )
    if not search.filters:
        st.warning("No film is left to find.", icon=":material/filter_alt_off:")
        st.write("The only films of this gallery are those of the query itself.")
        return
    st.warning(f"No film passes {chosen}.", icon=":material/filter_alt_off:")
    out = ways_out(search.filters, lambda kept: shared.films(gallery, kept))
    if len(search.filters) > 1 and out:
        named = " or ".join(f"the {_name(facet)} filter" for facet in out)
        st.write(f"Taking off {named} lets films through again:")
    for facet, count in out.items():
        st.button(
            f"Without the {_name(facet)} filter: {films(count)}",
            key=f"out-{facet}",
            on_click=session.drop,
            args=(facet,),
        )
    if not out:
        st.write("No single filter does it: every pair of them lets nothing through.")
        st.button("Remove all filters", key="out-all", on_click=session.drop_all)


def _name(facet: str) -> str:
    return plain(link.cut(column(facet), 40))
