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
from ui.opening import FILE_MB

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
    encoder = _encoder(gallery, search)
    if not search.asked:  # the hits need the room
        st.title("Find similar chest films")
    bar(gallery, encoder, search)
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
    if not isinstance(encoder, CxrError):
        uploads.listen()  # down here, where its empty place is in nobody's way


def _encoder(gallery: Gallery, search: Search) -> Encoder | CxrError | None:
    """The encoder, or what is wrong with it; None where looking would be slow and is not needed."""
    if search.text is None and not shared.encoder_is_near(gallery.stamp):
        return None
    try:
        return shared.encoder(gallery.stamp)
    except CxrError as error:
        return error


def bar(gallery: Gallery, encoder: Encoder | CxrError | None, search: Search) -> None:
    """One line with all ways to ask, a tab each; before the first search, examples below it."""
    unusable = isinstance(encoder, CxrError)
    wordless = unusable or (isinstance(encoder, Encoder) and not encoder.supports_text)
    with st.container(border=True, key="ways-in"):
        names = [":material/notes: Describe", ":material/upload: Upload", ":material/tag: Id"]
        in_reports = ":material/article: Words in reports"
        first = None
        if shared.has_reports(gallery):
            names.insert(1, in_reports)
            first = in_reports if search.words is not None and not search.has_vector else None
        tabs = dict(zip(names, st.tabs(names, default=first), strict=True))
        describe, upload, by_id = (tab for name, tab in tabs.items() if name != in_reports)
    if in_reports in tabs:
        with tabs[in_reports]:
            ask_by_words(search)
    with describe:
        ask_by_sentence(wordless, examples=not search.asked)
    with upload:
        ask_by_film(gallery, unusable)
    with by_id:
        ask_by_id(gallery)


def ask_by_sentence(wordless: bool, examples: bool) -> None:
    """Ask with words; ``wordless``: the encoder reads none."""
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
    if not examples:
        return
    with st.container(horizontal=True, gap="xsmall", key="prompts"):
        for prompt in PROMPTS:
            st.button(
                prompt,
                key=f"prompt-{prompt}",
                on_click=session.ask_this_text,
                args=(prompt,),
                disabled=wordless,
            )


def ask_by_words(search: Search) -> None:
    """Ask with words of reports; they join what is asked already."""
    with st.form("ask-words", border=False), st.container(horizontal=True):
        st.text_input(
            "Words in reports",
            key=session.WORDS_BOX,
            type="search",
            placeholder='pleural effusion, "left base", no pneumothorax',
            label_visibility="collapsed",
            max_chars=link.TEXT_MAX,
        )
        st.form_submit_button("Search", type="primary", on_click=session.ask_words)
    join = ""
    if search.has_vector:
        join = f" They join the {search.beside} that is asked."
    st.caption(
        "Any of the words is enough, more are better; words between quotes stand in a row. What a "
        f"report says is absent is no hit, unless the words say so: no effusion.{join}"
    )


def ask_by_film(gallery: Gallery, unusable: bool) -> None:
    """Ask with a film of one's own; ``unusable``: there is no encoder for it."""
    file = st.file_uploader(
        "A chest film: PNG, JPEG, TIFF, WebP, BMP or DICOM. Or paste an image anywhere here.",
        help="It stays in this visit's memory; nothing is saved.",
        max_upload_size=FILE_MB,
        key=uploads.box(),
        disabled=unusable,
    )
    if unusable:
        return
    if file is not None and _take(gallery, file.name, file.getvalue()):
        uploads.forget([file])
        st.rerun()
    if file is None and (found := uploads.pasted()) is not None and _take(gallery, *found):
        st.rerun()


def ask_by_id(gallery: Gallery) -> None:
    """Ask with a film of the gallery, or with any."""
    with st.form("ask-id", border=False), st.container(horizontal=True):
        st.text_input(
            "Id of a film in the gallery",
            key=session.ID_BOX,
            placeholder=shared.starters(gallery, {})[1][0],
            label_visibility="collapsed",
            max_chars=link.ID_MAX,
        )
        st.form_submit_button("Find", type="primary", on_click=session.ask_id, args=(gallery,))
        st.form_submit_button(
            "Random film",
            icon=":material/casino:",
            on_click=session.ask_random,
            args=(gallery,),
            help="Any film that passes the filters",
        )


def _take(gallery: Gallery, name: str, data: bytes) -> bool:
    """Whether a file was read; else its encoder is not there, which the page says."""
    with st.spinner("Reading the film …"):
        try:
            uploads.take(name, data, shared.encoder(gallery.stamp))
        except CxrError as error:
            layout.encoder_problem(error, gallery)
            return False
    return True


def side(gallery: Gallery, search: Search, known: Known) -> None:
    """The side bar: filters with live counts, how many hits, and what was asked before."""
    with st.sidebar:
        filters.panel(gallery, search, known, "Only films that pass are searched.")
        st.slider("Hits on a page", K_MIN, K_MAX, key=session.K_BOX, on_change=session.choose_k)
        if search.other_patients or shared.knows_patients(gallery):
            st.toggle(
                "Other patients only",
                key=session.OTHERS_BOX,
                on_change=session.choose_patients,
                help="Films of the query's own patient (of its study, where only that is known) "
                "are not among the hits.",
            )
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
