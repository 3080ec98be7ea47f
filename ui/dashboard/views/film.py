"""The page of one film: the film, what is known of it, the way on. Hidden: links lead here."""

from __future__ import annotations

import streamlit as st

from ui.dashboard import shared
from ui.dashboard.components import film_list, html
from ui.dashboard.components.html import cut, plain
from ui.dashboard.search.link import ID_MAX


def main() -> None:
    """Draw the page."""
    gallery = shared.gallery()
    id_ = str(st.query_params.get("id", ""))[:ID_MAX]
    rows = gallery.rows([id_]) if id_ else {}
    if not rows:
        st.title("Film")
        st.info(plain(f"No film has the id {cut(id_, 100)!r} in this gallery."))
        return
    row = rows[id_]
    st.title(plain(cut(row.id, 80)))
    st.html(html.film_card(row, gallery.thumbnails([id_])[id_], shared.labels(gallery)))
    film_list.search_button(row.id, f"more-{row.id}", "More like this")


main()
