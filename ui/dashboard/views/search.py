"""The search page: ask by sentence, by upload or by id; look at what is similar."""

from __future__ import annotations

import streamlit as st

from ingest.encoders import Encoder
from store import CxrError, Gallery
from ui.dashboard import layout, shared
from ui.dashboard.components.html import plain
from ui.dashboard.search import filters, link, results, session, uploads
from ui.dashboard.search.ranges import Known
from ui.dashboard.search.state import K_MAX, K_MIN, Search

PROMPTS = (
    "pneumonia opacity in lungs",
    "normal chest radiograph",
    "clear lungs, no consolidation",
    "dense consolidation",
)


def main() -> None:
    """Draw the page."""
    gallery = shared.gallery()
    labels = shared.labels(gallery)
    known = shared.known(gallery)
    search = session.now(known)
    st.title("Find similar chest films")
    encoder = _encoder(gallery, search)
    ways_in(gallery, encoder)
    side(gallery, search, known)
    for note in session.notes():
        st.info(plain(note), icon=":material/info:")
    if isinstance(encoder, CxrError):
        layout.encoder_problem(encoder, gallery)
    answerable = search.text is None or isinstance(encoder, Encoder)
    if search.asked and answerable:
        results.show(gallery, encoder, search, labels)
    else:
        results.starters(gallery, search, labels)


def _encoder(gallery: Gallery, search: Search) -> Encoder | CxrError | None:
    """The encoder, or what is wrong with it; None where looking would be slow and is not needed."""
    if search.text is None and not shared.encoder_is_near(gallery.stamp):
        return None
    try:
        return shared.encoder(gallery.stamp)
    except CxrError as error:
        return error


def ways_in(gallery: Gallery, encoder: Encoder | CxrError | None) -> None:
    """One place, three ways to ask."""
    unusable = isinstance(encoder, CxrError)
    wordless = unusable or (isinstance(encoder, Encoder) and not encoder.supports_text)
    with st.container(border=True, key="ways-in"):
        describe, upload, by_id = st.tabs(
            [":material/notes: Describe", ":material/upload: Upload", ":material/tag: Id"]
        )
    with describe:
        with st.form("ask-text", border=False), st.container(horizontal=True):
            st.text_input(
                "Describe what the film shows",
                key=session.TEXT_BOX,
                type="search",
                placeholder="pneumonia opacity in lungs",
                label_visibility="collapsed",
                max_chars=link.TEXT_MAX,
                disabled=wordless,
            )
            st.form_submit_button(
                "Search", type="primary", on_click=session.ask_text, disabled=wordless
            )
        with st.container(horizontal=True, gap="xsmall", key="prompts"):
            for prompt in PROMPTS:
                st.button(
                    prompt,
                    key=f"prompt-{prompt}",
                    on_click=session.ask_this_text,
                    args=(prompt,),
                    disabled=wordless,
                )
    with upload:
        file = st.file_uploader(
            "A chest film: PNG, JPEG, TIFF, WebP, BMP or DICOM. Drop it here, choose it, or paste "
            "an image anywhere on this page. It stays in this visit's memory; nothing is saved.",
            max_upload_size=shared.FILE_MB,
            key=uploads.box(),
            disabled=unusable,
        )
    if not unusable:
        uploads.listen()
        if file is not None:
            _take(gallery, file.name, file.getvalue())
        elif (found := uploads.pasted()) is not None:
            _take(gallery, *found)
    with by_id:
        with st.form("ask-id", border=False), st.container(horizontal=True):
            st.text_input(
                "Id of a film in the gallery",
                key=session.ID_BOX,
                placeholder=shared.starters(gallery, {})[1][0],
                label_visibility="collapsed",
                max_chars=link.ID_MAX,
            )
            st.form_submit_button("Find", type="primary", on_click=session.ask_id, args=(gallery,))
        st.button(
            "Random film",
            icon=":material/casino:",
            on_click=session.ask_random,
            args=(gallery,),
            help="Any film that passes the filters",
        )


def _take(gallery: Gallery, name: str, data: bytes) -> None:
    with st.spinner("Reading the film …"):
        try:
            uploads.take(name, data, shared.encoder(gallery.stamp))
        except CxrError as error:
            layout.encoder_problem(error, gallery)
            return
    st.rerun()


def side(gallery: Gallery, search: Search, known: Known) -> None:
    """The side bar: filters with live counts, how many hits, and what was asked before."""
    with st.sidebar:
        st.subheader("Filters")
        st.caption("Applied before the search: k hits are the k best that pass.")
        filters.draw(gallery, search, known)
        st.slider("Hits on a page", K_MIN, K_MAX, key=session.K_BOX, on_change=session.choose_k)
        if search.other_patients or shared.knows_patients(gallery):
            st.toggle(
                "Other patients only",
                key=session.OTHERS_BOX,
                on_change=session.choose_patients,
                help="Films of the query's own patient (of its study, where only that is known) "
                "are not among the hits.",
            )
        if search.filters:
            st.button("Clear filters", icon=":material/filter_alt_off:", on_click=session.drop_all)
        past()


def past() -> None:
    """The searches of this visit, each a click away."""
    entries = session.history()
    if not entries:
        return
    st.subheader("History of this visit")
    st.caption("In memory only; gone when this window is closed.")
    with st.container(height=260 if len(entries) > 5 else "content", border=False, key="history"):
        for at, entry in enumerate(entries):
            st.button(
                plain(session.title(entry)),
                key=f"past-{at}",
                icon=":material/history:",
                type="tertiary",
                on_click=session.restore,
                args=(entry,),
            )
    st.button("Forget them", on_click=session.forget, key="forget")


main()
