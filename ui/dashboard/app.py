"""The dashboard. Run by ``cxr serve``, or: ``python -m streamlit run ui/dashboard/app.py``.

Settings come from the environment: CXR_STORE (the gallery), CXR_ENCODER, CXR_DEVICE.
"""

from __future__ import annotations

import streamlit as st

from store import CxrError
from ui.dashboard import layout, server, sign_in
from ui.dashboard.components import html
from ui.dashboard.curation import acts
from ui.dashboard.film import tray
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
_PAGES = (
    ("Search", "image_search", "Find similar chest films by upload, by sentence or by id."),
    ("Films", "grid_view", "All films page by page, sorted and filtered."),
    ("Evaluation", "monitoring", "Precision at k of both protocols, beside its floors."),
    ("Matched by", "join_inner", "Data set, view, sex, age: what hits share beside the finding."),
    ("Map", "scatter_plot", "The gallery in the plane; a line around films selects them."),
    ("Audit", "fact_check", "Duplicates, leaks between splits, doubtful labels, metadata."),
    ("Store", "database", "What is loaded, and how to add to it."),
    ("Changes", "history", "Who changed what, its undo, films set aside, selections."),
    ("Batches", "move_to_inbox", "Add films, watch, read what was refused, undo."),
)
_HIDDEN = {"Batches": sign_in.may_write, "Changes": sign_in.may_curate}
page = st.navigation(
    [
        st.Page(
            f"views/{title.lower().replace(' ', '_')}.py",
            title=title,
            icon=f":material/{icon}:",
            default=title == "Search",
            help=words,
        )
        for title, icon, words in _PAGES
        if _HIDDEN.get(title, lambda: True)()
    ]
    # One film: pictures everywhere lead to it.
    + [st.Page("views/film.py", title="Film", visibility="hidden")],
    position="top",
)
gallery = layout.opened()
if gallery is not None:
    layout.warn(gallery)
    if sign_in.may_curate():
        acts.bar(gallery)
    here, before = page.title, st.session_state.get("page")
    st.session_state["page"] = here
    session.arrive(here, before)
    try:
        page.run()
    except CxrError as error:
        layout.problem(error)
elif page.title == "Batches" and not layout.broken():
    page.run()  # the first films may come in through it
if gallery is not None:
    with st.bottom:
        tray.bar(gallery)
layout.status(gallery)
layout.follow()
server.drawn.set()
