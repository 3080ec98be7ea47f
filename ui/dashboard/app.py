"""The dashboard. Run by ``cxr serve``, or: ``python -m streamlit run ui/dashboard/app.py``.

Settings come from the environment: CXR_STORE (the gallery), CXR_ENCODER, CXR_DEVICE.
"""

from __future__ import annotations

import streamlit as st

from store import CxrError
from ui.dashboard import layout, server, sign_in
from ui.dashboard.components import html
from ui.dashboard.search import session

st.set_page_config(
    page_title="cxr-retrieval",
    page_icon=html.ICON,
    layout="wide",
    initial_sidebar_state="auto",
)
st.html(html.STYLE)
if not sign_in.admitted():
    st.stop()
batches = st.Page(
    "views/batches.py",
    title="Batches",
    icon=":material/move_to_inbox:",
    help="Add films, watch, read what was refused, undo.",
)
page = st.navigation(
    [
        st.Page(
            "views/search.py",
            title="Search",
            icon=":material/image_search:",
            default=True,
            help="Find similar chest films by upload, by sentence or by id.",
        ),
        st.Page(
            "views/evaluation.py",
            title="Evaluation",
            icon=":material/monitoring:",
            help="Precision at k of both protocols, beside its floors.",
        ),
        st.Page(
            "views/map.py",
            title="Map",
            icon=":material/scatter_plot:",
            help="The gallery in the plane; a line around films selects them.",
        ),
        st.Page(
            "views/audit.py",
            title="Audit",
            icon=":material/fact_check:",
            help="Duplicates, leaks between splits, doubtful labels, metadata.",
        ),
        st.Page(
            "views/store.py",
            title="Store",
            icon=":material/database:",
            help="What is loaded, and how to add to it.",
        ),
        *([batches] if sign_in.may_write() else []),
    ],
    position="top",
)
gallery = layout.opened()
if gallery is not None:
    layout.warn(gallery)
    here, before = page.title, st.session_state.get("page")
    st.session_state["page"] = here
    session.arrive(here == "Search", before == "Search")
    try:
        page.run()
    except CxrError as error:
        layout.problem(error)
elif page.title == batches.title and not layout.broken():
    page.run()  # the first films may come in through it
layout.status(gallery)
layout.follow()
server.drawn.set()
