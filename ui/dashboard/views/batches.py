"""The batches page: add films, watch, read what was refused, undo. Only with ``--allow-ingest``."""

from __future__ import annotations

import streamlit as st

from ingest import read_status
from store import CxrError, Gallery, StoreNotFound, counted
from ui.dashboard import layout, shared, sign_in
from ui.dashboard.batches import entries, form, jobs
from ui.dashboard.components import film_list, html
from ui.dashboard.components.html import plain
from ui.opening import default_store

_OPEN, _UNDO = "open-jobs", "undo-asked"


def main() -> None:
    """Draw the page."""
    uri = default_store()
    try:
        gallery = shared.gallery()
    except StoreNotFound:
        gallery = None
    jobs.tidy(uri)
    if gallery is not None and len(gallery):
        st.title("Batches")
        st.caption(
            "Films come in batches. A batch runs by itself, also when this page is closed; every "
            "open window follows it within seconds, and searches go on meanwhile."
        )
    form.form(uri, gallery)
    running(uri)
    if gallery is not None:
        listing(gallery)


@st.fragment(run_every="1s")
def running(uri: str) -> None:
    """The jobs that are not over, and why the last ones failed."""
    found = jobs.all_of(uri)
    now = [job.batch for job in found if job.open]
    if now != st.session_state.setdefault(_OPEN, now):
        st.session_state[_OPEN] = now
        st.rerun()
    status = read_status(uri)
    for job in reversed(found):
        if job.open:
            _one(uri, job, entries.progress(status, job.batch))
    for job in [job for job in found if job.state in ("failed", "cut off")][:3]:
        why = job.message or "its process was killed; what it wrote stays, the rest is not added"
        with st.container(horizontal=True, vertical_alignment="center"):
            st.error(
                f"**{plain(job.what)} ({plain(job.batch)}): {job.state}.** {plain(why)}",
                icon=":material/error:",
            )
            st.button(
                "Dismiss", key=f"dismiss-{job.batch}", on_click=jobs.forget, args=(uri, job.batch)
            )


def _one(uri: str, job: jobs.Job, far: tuple[float, str] | None) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        part, said = far or (0.0, "waits for its turn" if job.state == jobs.WAITING else "starting")
        st.progress(part, text=f"{plain(job.what)} · {plain(said)}")
        st.button(
            "Stop",
            key=f"stop-{job.batch}",
            icon=":material/stop_circle:",
            on_click=jobs.stop,
            args=(uri, job.batch),
            help="Finishes the portion in hand; what is in stays in until the batch is undone.",
        )


def listing(gallery: Gallery) -> None:
    """The newest batches, and one of them in detail."""
    st.subheader("What came in")
    found = entries.newest(gallery.uri)
    if not found:
        st.caption("No batch left notes here yet.")
        return
    lines = [entries.line(one, _films(gallery, one["batch"]), gallery.uri) for one in found]
    st.html(html.table(entries.HEAD, lines))
    others = len(gallery) - sum(_films(gallery, one["batch"]) for one in found)
    if others > 0:
        st.caption(
            f"{counted(others, 'film')} came before these batches, or with none that left notes."
        )
    # A choice of its own for every newest batch, so that what just came in is looked at.
    names = {one["batch"]: one for one in found}
    batch = st.selectbox(
        "Look at a batch", list(names), key=f"batch-chosen-{found[0]['batch']}", width=420
    )
    entry, films = names[batch], _films(gallery, batch)
    if changes := entries.changes(entry):
        st.write(f"Changed in films that were here: {plain(changes)}.")
    if kept := entries.kept(entry):
        st.write(f"Kept: {plain(kept)}.")
    if reasons := entries.reasons(entry):
        st.write(f"Refused: {plain(reasons)}.")
        rows, table = entries.refusals(gallery.uri, batch)
        if table is not None:
            st.html(html.table(["file", "reason", "why"], rows, kind="refused"))
            film_list.download(
                "All refusals as CSV", "refusals.csv", lambda: table, "csv-refusals", "download"
            )
    else:
        st.caption("Nothing of this batch was refused.")
    if films:
        st.button(
            "Undo this batch …",
            icon=":material/undo:",
            key="undo",
            on_click=_ask_undo,
            args=(batch,),
        )
    else:
        st.caption("No film of it is left, so there is nothing to undo.")
    # Asked until answered: the page is drawn again whenever films come in.
    asked = st.session_state.get(_UNDO)
    if asked is not None and asked in names:
        undo(gallery, asked)


def _ask_undo(batch: str | None = None) -> None:
    st.session_state[_UNDO] = batch


@st.dialog("Undo a batch", on_dismiss=_ask_undo)
def undo(gallery: Gallery, batch: str) -> None:
    """Count first, then ask, then remove."""
    told = gallery.undo(batch, dry_run=True)
    st.write(
        f"**{plain(batch)}**: {entries.undo_sentence(told, done=False)}. "
        "There is no way to undo an undo: add the films again."
    )
    with st.container(horizontal=True):
        if st.button("Undo the batch", type="primary", key="undo-yes"):
            if sign_in.may_write():
                try:
                    found = entries.undo(gallery.uri, batch)
                except CxrError as error:
                    layout.say(error, broken=True)
                    return
                st.toast(f"{entries.undo_sentence(found, done=True)}.", icon=":material/undo:")
            _ask_undo()
            st.rerun()
        if st.button("Keep them", key="undo-no"):
            _ask_undo()
            st.rerun()


@st.cache_data(max_entries=1024, show_spinner=False, hash_funcs=shared.HASHES)
def _films(gallery: Gallery, batch: str) -> int:
    """Films that a batch wrote last and that are still there."""
    return gallery.delete(batch=batch, dry_run=True)


if sign_in.may_write():
    main()
