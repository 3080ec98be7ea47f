"""What can be taken away from a result: files, and the same search elsewhere."""

from __future__ import annotations

from functools import partial

import streamlit as st

from store import Gallery
from ui.dashboard import shared
from ui.dashboard.search import carry, recipe
from ui.dashboard.search.answer import Answer
from ui.dashboard.search.state import Search


def takeaway(gallery: Gallery, search: Search, found: Answer) -> None:
    """Files of the hits on this page, the command line and the script that find them again."""
    # Filled when it is opened: a search is painted sooner without it.
    box = st.expander(
        "Take it with you: files, command line, Python",
        icon=":material/ios_share:",
        key="takeaway",
        on_change="rerun",
    )
    if not box.open:
        return
    with box:
        _files(gallery, search, found)
        if search.upload is not None:
            st.caption(
                f"An upload stays in this visit's memory: put the path of your film in place of "
                f"{recipe.PLACEHOLDER}."
            )
        name = shared.encoder_name(gallery.stamp)
        other = name if name != gallery.stamp.name else None
        st.caption("Copy as command line")
        st.code(recipe.command(search, gallery.uri, other), language=None, wrap_lines=True)
        st.caption("Copy as Python")
        st.code(recipe.python(search, gallery.uri, name), language="python", wrap_lines=True)


def _files(gallery: Gallery, search: Search, found: Answer) -> None:
    store = gallery.describe()
    with st.container(horizontal=True):
        for label, kind, data, icon in (
            ("CSV", "text/csv", partial(carry.hits_csv, found.hits), "table"),
            (
                "ZIP with thumbnails",
                "application/zip",
                partial(carry.archive, search, found, store),
                "folder_zip",
            ),
            (
                "Contact sheet (PDF)",
                "application/pdf",
                partial(carry.contact_sheet, gallery, search, found),
                "picture_as_pdf",
            ),
        ):
            ending = kind.rpartition("/")[2]
            st.download_button(
                label,
                data=data,
                file_name=f"hits.{ending}",
                mime=kind,
                on_click="ignore",
                icon=f":material/{icon}:",
                key=f"take-{ending}",
            )
    st.caption(
        "Thumbnails are copies of the films: what their licence allows with those is allowed here."
    )
