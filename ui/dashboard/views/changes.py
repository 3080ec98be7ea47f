"""The page of changes: who changed what, its undo and effect; films set aside; selections."""

from __future__ import annotations

import streamlit as st

from store import Gallery, Operation
from ui import changes, tables
from ui.dashboard import shared, sign_in
from ui.dashboard.components import film_list, html
from ui.dashboard.components.html import plain
from ui.dashboard.curation import acts

#: Changes listed, and films of one.
_SHOWN, _FILMS = 50, 200


def main() -> None:
    """Draw the page."""
    gallery = shared.gallery()
    st.title("Changes")
    curation = gallery.curation(sign_in.who())
    told = curation.operations()
    if not told:
        st.info(
            "Nobody changed anything here yet. Films are tagged, labelled and taken out on their "
            "own pages, in lists, and on the Audit page.",
            icon=":material/info:",
        )
    else:
        log(gallery, told)
    aside(gallery)
    selections(gallery)


def log(gallery: Gallery, told: list[Operation]) -> None:
    """All changes, the newest first, and one of them in detail."""
    rows = [
        [
            f"{changes.line(one)}\n{one.id}",
            f"{one.at:%Y-%m-%d %H:%M}",
            one.who,
            changes.state(one),
        ]
        for one in told[:_SHOWN]
    ]
    st.html(html.table(["what", "when (UTC)", "who", "state"], rows, kind="refused"))
    names = {one.id: f"{one.id} · {changes.line(one)}" for one in told[:_SHOWN]}
    chosen = st.selectbox(
        "Look at a change", list(names), format_func=names.__getitem__, key="change-chosen"
    )
    one = next(found for found in told if found.id == chosen)
    films = gallery.curation(sign_in.who()).changes_of(one.id)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Undo this change",
            icon=":material/undo:",
            key="change-undo",
            on_click=acts.undo,
            args=(one.id,),
            disabled=one.undone >= one.films,
        )
        st.button(
            "Undo what was not changed later",
            key="change-undo-partly",
            on_click=acts.undo,
            args=(one.id, True),
            disabled=one.undone >= one.films,
            type="tertiary",
        )
        film_list.download_list(f"change-{one.id}", lambda: tables.changed(films), "csv-change")
    if one.kind not in ("tag", "note", "confirm") and (
        found := acts.effects(gallery, [one.id], "log")
    ):
        for line in changes.effects(found):
            st.caption(plain(line))
    head, cells = tables.changed(films[:_FILMS])
    st.html(html.table(head, [[str(cell) for cell in row] for row in cells], kind="refused"))
    if len(films) > _FILMS:
        st.caption(f"The first {_FILMS:,} of {html.films(len(films))}; all of them in the CSV.")


def aside(gallery: Gallery) -> None:
    """Films that are excluded or deleted, and the way back."""
    found = gallery.curation(sign_in.who()).set_aside()
    if not found:
        return
    st.subheader(f"{html.films(len(found))} set aside")
    st.caption("They stay out of search and evaluation, and when their source is ingested again.")
    by_id = {str(one["id"]): one for one in found}
    chosen = st.multiselect("Bring back", list(by_id), key="aside-chosen")
    if chosen:
        st.button("Bring them back", key="aside-back", on_click=acts.include, args=(chosen,))
    rows = [
        [
            str(one["id"]),
            str(one["as"]),
            f"{one['at']:%Y-%m-%d %H:%M}",
            str(one["by"]),
            ", ".join(one["labels"]),
        ]
        for one in found[:_FILMS]
    ]
    st.html(html.table(["film", "as", "when (UTC)", "who", "labels"], rows, kind="refused"))


def selections(gallery: Gallery) -> None:
    """Saved selections, as files."""
    curation = gallery.curation(sign_in.who())
    found = curation.selections()
    told = curation.remarks()
    if told:
        st.subheader("Tags and notes")
        film_list.download_list("tags-and-notes", lambda: tables.remarks(told), "csv-remarks")
    if not found:
        return
    st.subheader("Saved selections")
    rows = [
        [
            one.name,
            " ".join(one.filters) if one.filters else html.films(len(one.ids or ())),
            one.who,
            f"{one.at:%Y-%m-%d %H:%M}",
        ]
        for one in found
    ]
    st.html(html.table(["name", "films", "who", "when (UTC)"], rows, kind="refused"))


if sign_in.may_curate():
    main()
