"""The form of the batches page: films, labels, start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from store import CxrError, Gallery, UsageError
from ui.dashboard import layout, shared, sign_in
from ui.dashboard.batches import inbox, jobs
from ui.dashboard.components.html import plain
from ui.dashboard.search import uploads
from ui.opening import FILE_MB

_TURN, _PROBLEM, _DIGESTS = "batch-turn", "batch-problem", "batch-digests"
#: Most known films that are named.
_NAMED = 20
_NONE, _ONE, _CSV, _FOLDERS = "none", "one for all", "a CSV", "folder names"
_KINDS = {"folder": "images", "dicom": "DICOM"}


def form(uri: str, gallery: Gallery | None) -> None:
    """Drop films, or name a folder of the server; start."""
    usable = True
    if gallery is not None:
        try:
            shared.encoder(gallery.stamp)
        except CxrError as error:
            layout.encoder_problem(error, gallery)
            usable = False
    st.subheader("Add films")
    with st.container(border=True, key="adding"):
        if not sign_in.roots():
            _drop(uri, gallery, usable)
        else:
            drop, server = st.tabs(
                [":material/upload: Drop films", ":material/folder: Folder of the server"]
            )
            with drop:
                _drop(uri, gallery, usable)
            with server:
                _server(uri, usable)
    if _PROBLEM in st.session_state:
        st.error(plain(st.session_state[_PROBLEM]), icon=":material/error:")


def _drop(uri: str, gallery: Gallery | None, usable: bool) -> None:
    turn = st.session_state.get(_TURN, 0)
    files = st.file_uploader(
        f"Chest films, all images or all DICOM; at most {inbox.FILES_MAX} at once and "
        f"{FILE_MB} MB each",
        accept_multiple_files=True,
        max_upload_size=FILE_MB,
        key=f"batch-films-{turn}",
        disabled=not usable,
    )
    known, anyway = {}, False
    if files:
        st.caption(f"{len(files):,} of these are here, ready to be added.")
        known = _known(uri, gallery, files)
    if known:
        anyway = _add_anyway([file.name for file in files or ()], known, turn)
    labels = _labels("drop", (_NONE, _ONE, _CSV))
    label = sheet = None
    if labels == _ONE:
        label = st.text_input(
            "Label of all these films",
            placeholder="pneumonia; effusion",
            max_chars=200,
            key="batch-label",
            help="Several with a semicolon between.",
        )
    elif labels == _CSV:
        sheet = _sheet(f"batch-sheet-{turn}")
    dataset = _dataset("drop")
    if not st.button("Add to the gallery", type="primary", key="batch-drop", disabled=not usable):
        return
    try:
        chosen = [file for n, file in enumerate(files or ()) if anyway or n not in known]
        if files and not chosen:
            raise UsageError("all of these films are already here; tick the box to add them anyway")
        films = [(file.name, file.getvalue()) for file in chosen]
        source = inbox.kind_of(films)
        if source == "dicom" and labels != _NONE:
            raise UsageError("labels for DICOM films are not read; choose labels: none")
        if labels == _ONE and not (label or "").strip():
            raise UsageError("write the label, or choose labels: none")
        if labels == _CSV and sheet is None:
            raise UsageError("choose the CSV, or labels: none")
        options = [f"--dataset={inbox.check_dataset(dataset)}"]
        batch = inbox.batch_name()
        place, table = inbox.put(uri, batch, films, label or "", sheet)
    except (UsageError, OSError) as error:
        _refuse(error)
    else:
        if table is not None:
            options += [f"--labels={table}"]
        st.session_state[_TURN] = turn + 1
        uploads.forget(files or ())
        digests = [digest for file in chosen for digest in _digests(file)[:1]]
        what = _count(len(films), source)
        _start(uri, batch, what, [source, str(place), *options], digests)


def _known(uri: str, gallery: Gallery | None, files: Sequence[Any]) -> dict[int, str]:
    """Dropped films that are known: place in the drop -> the film that they equal."""
    films = [(file.name, _digests(file)) for file in files]
    try:
        return inbox.already_here(gallery, films, jobs.awaited(uri))
    except CxrError as error:
        st.warning(f"Whether these films are here already cannot be told: {plain(str(error))}")
        return {}


def _digests(file: Any) -> tuple[bytes, ...]:
    """Of a dropped file; the page is drawn again and again, and hashes it once."""
    kept: dict[str, tuple[bytes, ...]] = st.session_state.setdefault(_DIGESTS, {})
    if file.file_id not in kept:
        kept[file.file_id] = inbox.digests_of(file.name, file.getvalue())
    return kept[file.file_id]


def _add_anyway(names: Sequence[str], known: Mapping[int, str], turn: int) -> bool:
    """Name the films that are here already; whether to add them all the same."""
    lines = [f"- {plain(names[place])}: {plain(one)}" for place, one in known.items()]
    more = [f"- and {len(lines) - _NAMED:,} more"] if len(lines) > _NAMED else []
    verb = "is" if len(known) == 1 else "are"
    st.info(
        f"**{len(known):,} of these {verb} already here** and not added again:\n\n"
        + "\n".join([*lines[:_NAMED], *more]),
        icon=":material/content_copy:",
    )
    return st.checkbox(
        "Add them anyway, a second time",
        key=f"batch-anyway-{turn}",
        help="Lines of a CSV about films that are not added are listed as file_missing.",
    )


def _server(uri: str, usable: bool) -> None:
    roots = sign_in.roots()
    root = roots[0]
    if len(roots) > 1:
        root = st.selectbox("Allowed folder", roots, key="batch-root", format_func=str)
    asked = st.text_input(
        f"Folder below {root}",
        placeholder="ward-3/2026-11",
        max_chars=500,
        key="batch-folder",
    )
    source = st.segmented_control(
        "What lies there",
        list(_KINDS),
        default="folder",
        required=True,
        format_func=_KINDS.__getitem__,
        key="batch-kind",
    )
    ways = (_NONE, _CSV, _FOLDERS) if source == "folder" else (_NONE,)
    labels = _labels("server", ways)
    table = ""
    if labels == _CSV:
        table = st.text_input(
            "CSV in that folder", placeholder="labels.csv", max_chars=500, key="batch-table"
        )
    dataset = _dataset("server")
    if not st.button("Add to the gallery", type="primary", key="batch-server", disabled=not usable):
        return
    try:
        if not asked.strip():
            raise UsageError("name the folder; a single dot means the allowed folder itself")
        place = inbox.below(root, asked)
        if not place.is_dir():
            raise UsageError(f"{asked!r} is not a folder")
        # Looked at again when the job opens it, which may be much later.
        options = [f"--dataset={inbox.check_dataset(dataset)}", f"--within={root}"]
        if labels == _CSV:
            sheet = inbox.below(place, table) if table.strip() else place
            if not sheet.is_file():
                raise UsageError(f"{table!r} is not a file of that folder")
            options += [f"--labels={sheet}"]
        elif labels == _FOLDERS:
            options += ["--label-from-folder"]
    except (UsageError, OSError) as error:
        _refuse(error)
    else:
        what = f"{_KINDS[source]} of {asked.strip()}"
        _start(uri, inbox.batch_name(), what, [source, str(place), *options])


def _labels(where: str, ways: tuple[str, ...]) -> str:
    chosen: str = st.segmented_control(
        "Labels", ways, default=_NONE, required=True, key=f"batch-labels-{where}-{len(ways)}"
    )
    return chosen


def _sheet(key: str) -> bytes | None:
    file = st.file_uploader(
        "A CSV with a line of headings, a column of file names and one of labels",
        type=["csv", "tsv", "txt"],
        max_upload_size=FILE_MB,
        key=key,
    )
    return None if file is None else file.getvalue()


def _dataset(where: str) -> str:
    return st.text_input(
        "Name of the data set",
        "added",
        max_chars=60,
        key=f"batch-dataset-{where}",
        help="The first part of the new ids, and a filter.",
    )


def _count(films: int, source: str) -> str:
    kind = "DICOM film" if source == "dicom" else "film"
    return f"{films:,} dropped {kind}{'' if films == 1 else 's'}"


def _refuse(error: Exception) -> None:
    st.session_state[_PROBLEM] = f"Nothing was added: {error}."
    st.rerun()


def _start(
    uri: str, batch: str, what: str, options: list[str], films: Sequence[bytes] = ()
) -> None:
    jobs.start(uri, batch, what, options, films)
    st.session_state.pop(_DIGESTS, None)
    st.session_state.pop(_PROBLEM, None)
    st.toast(f"Started: {plain(what)}", icon=":material/play_circle:")
    st.rerun()
