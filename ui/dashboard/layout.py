"""The frame of every page: permanent line, warnings, problem pages, following the table."""

from __future__ import annotations

import shlex

import streamlit as st

from store import (
    BadQuery,
    CxrError,
    EncoderChanged,
    EncoderMismatch,
    EncoderUnavailable,
    Gallery,
    StoreDamaged,
    StoreNotFound,
    TextUnsupported,
    counted,
)
from ui import notices
from ui.dashboard import shared
from ui.dashboard.components import html
from ui.opening import default_store

CARE = "Research and education only, not for diagnosis"
#: How often an open window looks whether the table moved: it is drawn anew within two seconds.
POLL = "1.5s"
_SHOWN = "shown-version"
_NOT_SEARCHED = (
    "Cosines between two encoders mean nothing, so texts and uploads are not searched. Search by "
    "id, browsing and the evaluation work."
)
_SYNTHETIC = "synthetic-cohort"


def opened() -> Gallery | None:
    """The gallery to show, or None after a problem page was drawn instead."""
    try:
        gallery = shared.newest()
        rows = len(gallery)
    except CxrError as error:
        st.session_state[_SHOWN] = None
        problem(error)
        return None
    _say_what_came(gallery, rows)
    if not rows:
        empty(gallery)
        return None
    return gallery


def broken() -> bool:
    """Whether there is a gallery that cannot be read, rather than none yet."""
    try:
        shared.gallery()
    except StoreNotFound:
        return False
    except CxrError:
        return True
    return False


def warn(gallery: Gallery) -> None:
    """Warnings over every page: films that are not real, answers that are not exact."""
    if _SYNTHETIC in shared.facets(gallery, {})["dataset"]:
        from ingest import SYNTHETIC_NOTICE

        st.warning(f"**{html.plain(SYNTHETIC_NOTICE)}**", icon=":material/science:")
    if (notice := notices.of_results(gallery.describe())) is not None:
        st.info(sentence(notice), icon=":material/speed:")


def status(gallery: Gallery | None) -> None:
    """The small permanent line."""
    parts = [CARE]
    if gallery is not None:
        names = ", ".join(shared.facets(gallery, {})["dataset"]) or "gallery"
        stamp = gallery.stamp
        parts += [
            f"{names}: {counted(len(gallery), 'film')}",
            f"encoder {stamp.name} ({stamp.fingerprint[:12]})",
            f"table version {gallery.table_version}",
            gallery.uri,
        ]
    st.bottom.html(html.status(parts))


@st.fragment(run_every=POLL)
def follow() -> None:
    """Look for new batches; draw the page again when the table moved, appeared or broke."""
    try:
        version = shared.key(shared.newest())
    except CxrError:
        version = None
    if version != st.session_state.get(_SHOWN):
        st.rerun()


def _say_what_came(gallery: Gallery, rows: int) -> None:
    before = st.session_state.get("shown-rows")
    if before is not None and rows != before:
        change = (
            f"+{counted(rows - before, 'film')}"
            if rows > before
            else f"{counted(before - rows, 'film')} fewer"
        )
        st.toast(f"The gallery changed: {change}, now {rows:,}.", icon=":material/sync:")
    st.session_state["shown-rows"] = rows
    st.session_state[_SHOWN] = shared.key(gallery)


def empty(gallery: Gallery) -> None:
    """A gallery without films yet."""
    st.header("This gallery is empty")
    first_films(gallery.uri)


def first_films(uri: str) -> None:
    """How to fill a gallery: with one's own films, or with a public set to try things on."""
    st.write("Add your own films from a terminal:")
    st.code(own_films_command(uri), language=None)
    st.write("Or a small public set to try things on, PneumoniaMNIST:")
    st.code(ingest_command(uri), language=None)
    st.caption("This page shows the films as soon as they are there; no restart is needed.")


def own_films_command(uri: str) -> str:
    """The command line that adds a folder of one's own films to a gallery."""
    return f"cxr ingest folder PATH-TO-YOUR-FILMS --store {shlex.quote(uri)}"


def ingest_command(uri: str) -> str:
    """The command line that fills a gallery with the demonstration set."""
    return f"cxr ingest medmnist:pneumoniamnist --store {shlex.quote(uri)}"


def serve_command(uri: str, encoder: str) -> str:
    """The command line that starts this dashboard with another encoder."""
    return f"cxr serve --store {shlex.quote(uri)} --encoder {shlex.quote(encoder)}"


def problem(error: CxrError) -> None:
    """A page in place of the gallery: what is wrong, in full, and what to run."""
    uri = default_store()
    if isinstance(error, StoreNotFound):
        st.header("No gallery here yet")
        first_films(uri)
        return
    damaged = isinstance(error, StoreDamaged)
    st.header("The gallery cannot be read" if damaged else "The gallery cannot be shown")
    say(error, broken=True)
    if damaged:
        st.write("Nothing was changed. Look at it from a terminal:")
        st.code(f"cxr check --store {shlex.quote(uri)}", language=None)


def encoder_problem(error: CxrError, gallery: Gallery) -> None:
    """The reason why texts and uploads cannot be searched; ids still can."""
    restart = serve_command(gallery.uri, gallery.stamp.address)
    if isinstance(error, EncoderChanged):
        head = "The encoder has changed since this gallery was made."
        then = (
            f"{_NOT_SEARCHED} Ingesting again makes a gallery of the encoder that is here, for "
            "example:"
        )
        command = ingest_command(f"{gallery.uri.rstrip('/')}-new")
    elif isinstance(error, EncoderMismatch):
        head = "Another encoder made this gallery."
        then = (
            f"{_NOT_SEARCHED} Start the dashboard with the gallery's own encoder (its name, its "
            "folder or its hub id):"
        )
        command = restart
    elif isinstance(error, EncoderUnavailable):
        head = "The encoder is not available."
        then = "Search by id, browsing and the evaluation work without it."
        command = restart
    else:
        say(error, broken=not isinstance(error, TextUnsupported | BadQuery))
        return
    st.error(f"**{head}** {sentence(error)} {then}", icon=":material/link_off:")
    st.code(command, language=None)


def say(error: CxrError, broken: bool = False) -> None:
    """Show a message of the library: in red where something is broken, else as a note."""
    box, icon = (st.error, "error") if broken else (st.info, "info")
    box(sentence(error), icon=f":material/{icon}:")


def sentence(message: object) -> str:
    """A message of the library as a sentence, for Markdown."""
    text = " ".join(str(message).split())
    return html.plain(text[:1].upper() + text[1:]) + "."
