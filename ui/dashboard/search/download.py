"""What can be taken away from a result: files, and the same search elsewhere."""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from decimal import Decimal
from functools import partial
from typing import Any

import streamlit as st

from ingest import csv_bytes
from store import COLUMNS, Gallery, Hit, Weights
from ui.dashboard import shared
from ui.dashboard.search.answer import Answer
from ui.dashboard.search.ranges import column
from ui.dashboard.search.state import Search, Upload
from ui.tables import as_dict, shown

#: Stands for an uploaded film, which this process has no path of.
PLACEHOLDER = "PATH-OF-YOUR-FILM"


def command(search: Search, uri: str, encoder: str | None = None) -> str:
    """A shell command.

    Args:
        search: with something to search for.
        uri: of the gallery.
        encoder: name to ask for; None when the gallery's own is meant.
    """
    parts = ["cxr", "search"]
    if search.upload is not None:
        parts += ["--image", PLACEHOLDER]
    elif search.id is not None:
        parts += ["--id", search.id]
    elif search.text is not None:
        parts += ["--text", search.text]
    parts += _repeated("--like", search.like) + _repeated("--unlike", search.unlike)
    if search.marks and search.weights != Weights():
        parts += ["--weights", str(search.weights)]
    for facet, values in search.filters.items():
        parts += _repeated("--where", [f"{column(facet)}={value}" for value in values])
    parts += ["-k", str(search.k)]
    if search.page > 1:
        parts += ["--page", str(search.page)]
    parts += ["--store", uri]
    if encoder is not None and (search.text is not None or search.upload is not None):
        parts += ["--encoder", encoder]
    return shlex.join(parts)


def python(search: Search, uri: str, encoder: str) -> str:
    """A script that prints rank, cosine and id of each hit.

    Args:
        search: with something to search for.
        uri: of the gallery.
        encoder: name of the one that made it.
    """
    names = ["Gallery", *(["Where"] if search.filters else [])]
    lines = [f"from store import {', '.join(names)}"]
    query = repr(search.id)
    steps = []
    if search.text is not None or search.upload is not None:
        lines.insert(0, "from ingest.encoders import load_encoder")
        steps = [f"encoder = load_encoder({encoder!r})"]
        query = "query"
    if search.upload is not None:
        lines.insert(0, "from ingest import read_image")
        steps.append(f"query = encoder.encode_images([read_image({PLACEHOLDER!r})])[0]")
    elif search.text is not None:
        steps.append(f"query = encoder.encode_texts([{search.text!r}])[0]")
    given = [f"k={_depth(search)}"]
    if search.like:
        given.append(f"like={list(search.like)!r}")
    if search.unlike:
        given.append(f"unlike={list(search.unlike)!r}")
    called = "refined_search"
    if search.marks:
        weights = search.weights
        given.append(f"weights=Weights({weights.query:g}, {weights.like:g}, {weights.unlike:g})")
        called = "Weights, refined_search"
    if (where := search.where) is not None:
        asked = {one.name: getattr(where, one.name) for one in fields(where)}
        filters = ", ".join(
            f"{name}={value!r}" for name, value in asked.items() if value not in ((), None)
        )
        given.append(f"where=Where({filters})")
    page = f"[{search.k * (search.page - 1)}:]" if search.page > 1 else ""
    return "\n".join(
        [
            *lines,
            f"from store import {called}",
            "",
            f"gallery = Gallery.open({uri!r})",
            *steps,
            f"hits = refined_search(gallery, {query}, {', '.join(given)}){page}",
            "for hit in hits:",
            '    print(hit.rank, f"{hit.score:.6f}", hit.row.id, sep="\\t")',
        ]
    )


def _depth(search: Search) -> str:
    return str(search.k) if search.page == 1 else f"min({search.depth}, len(gallery))"


def _repeated(option: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in (option, value)]


def hits_csv(hits: Sequence[Hit]) -> bytes:
    """One line a hit."""
    columns = [name for name, column in COLUMNS.items() if "csv" not in column.absent_from]
    rows = [
        [
            hit.rank,
            hit.row.id,
            Decimal(f"{hit.score:.6f}"),
            *(
                "; ".join(value) if isinstance(value, tuple) else value
                for value in shown(hit.row, "csv").values()
            ),
        ]
        for hit in hits
    ]
    return csv_bytes(["rank", "id", "cosine", *columns], rows)


def document(search: Search, hits: Sequence[Hit], store: Mapping[str, Any]) -> dict[str, Any]:
    """The search and its hits as ``cxr search --json`` prints them.

    Args:
        search: what was asked; of an upload, name and digests are told, not the pixels.
        hits: of this page.
        store: which store answered, ``gallery.describe()``.
    """
    query: dict[str, Any] = {}
    if search.id is not None:
        query["id"] = search.id
    elif search.text is not None:
        query["text"] = search.text
    elif search.upload is not None:
        query["image"] = search.upload.name
        query["sha256"] = search.upload.digests[0].hex()
    if search.marks:
        query["like"], query["unlike"] = list(search.like), list(search.unlike)
        query["weights"] = asdict(search.weights)
    found = as_dict(query, search.k, search.where, [*hits], search.page)
    return {**found, "store": dict(store)}


def archive(search: Search, found: Answer, store: Mapping[str, Any]) -> bytes:
    """A ZIP of query.json, hits.csv and the hits' thumbnails, named by rank and not by id."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as whole:
        whole.writestr("query.json", json.dumps(document(search, found.hits, store), indent=2))
        whole.writestr("hits.csv", hits_csv(found.hits))
        for name, png in _pictures(search, found):
            whole.writestr(name, png)
    return file.getvalue()


def _pictures(search: Search, found: Answer) -> list[tuple[str, bytes]]:
    named = [(f"thumbnails/{hit.rank:04}.png", found.thumbnails[hit.row.id]) for hit in found.hits]
    if search.upload is not None:
        named.append(("query.png", search.upload.thumbnail))
    elif found.query is not None:
        named.append(("query.png", found.thumbnails[found.query.id]))
    return [(name, png) for name, png in named if png is not None]


def contact_sheet(gallery: Gallery, search: Search, found: Answer) -> bytes:
    """A PDF of one page: the query and its hits, with ranks, cosines and labels."""
    from ui.report.figures import pdf_bytes, provenance_of, retrieval_figure

    searched = f"searched: {search.where}" if search.filters else "searched: all rows"
    figure = retrieval_figure(
        _asked(search, found), found.hits, found.thumbnails, provenance_of(gallery, searched)
    )
    return pdf_bytes(figure)


def _asked(search: Search, found: Answer) -> Any:
    from ui.report.figures import Query

    marks = "".join(
        f", {sign} {len(films)} film{'s' if len(films) > 1 else ''}"
        for sign, films in (("like", search.like), ("unlike", search.unlike))
        if films
    )
    if found.query is not None:
        row = found.query
        return Query(found.thumbnails[row.id], labels=row.labels, name=row.id + marks)
    if isinstance(search.upload, Upload):
        return Query(search.upload.thumbnail, name=search.upload.name + marks)
    return Query(text=(search.text or "marked films") + marks)


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
                f"{PLACEHOLDER}."
            )
        name = shared.encoder_name(gallery.stamp)
        other = name if name != gallery.stamp.name else None
        st.caption("Copy as command line")
        st.code(command(search, gallery.uri, other), language=None, wrap_lines=True)
        st.caption("Copy as Python")
        st.code(python(search, gallery.uri, name), language="python", wrap_lines=True)


def _files(gallery: Gallery, search: Search, found: Answer) -> None:
    store = gallery.describe()
    with st.container(horizontal=True):
        for label, kind, data, icon in (
            ("CSV", "text/csv", partial(hits_csv, found.hits), "table"),
            (
                "ZIP with thumbnails",
                "application/zip",
                partial(archive, search, found, store),
                "folder_zip",
            ),
            (
                "Contact sheet (PDF)",
                "application/pdf",
                partial(contact_sheet, gallery, search, found),
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
