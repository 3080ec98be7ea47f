"""Downloads of a search: files of its hits, and the search as command line, as Python, as JSON."""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from ingest import csv_bytes
from store import Gallery, Hit, OwnFilms
from ui import film_sheet, word_hits
from ui.dashboard import shared
from ui.dashboard.components import film_list
from ui.dashboard.components.html import films
from ui.dashboard.search.answer import Answer
from ui.dashboard.search.link import written
from ui.dashboard.search.ranges import column
from ui.dashboard.search.state import NAMES, Search
from ui.tables import as_dict
from ui.word_hits import is_word_hit

if TYPE_CHECKING:
    from ui.report.film_pictures import FilmPictures

#: Longest side of a picture in a ZIP, in pixels: fills a slide.
ZIP_LONGEST = 1024
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
    for name, value in {**search.given, "k": search.k}.items():
        option = NAMES[name][1]
        if option and value is True:
            parts.append(option)
        elif option:
            parts += [part for text in _texts(name, value) for part in (option, text)]
    parts += ["--store", uri]
    if encoder is not None and (search.text is not None or search.upload is not None):
        parts += ["--encoder", encoder]
    return shlex.join(parts)


def _texts(name: str, value: Any) -> list[str]:
    if name == "upload":
        return [PLACEHOLDER]
    if name == "filters":
        return [f"{column(facet)}={one}" for facet, values in value.items() for one in values]
    return written(value)


def python(search: Search, uri: str, encoder: str) -> str:
    """A script that prints rank, cosine and id of each hit.

    Args:
        search: with something to search for.
        uri: of the gallery.
        encoder: name of the one that made it.
    """
    arguments = search.arguments
    classes = [type(value).__name__ for value in arguments.values() if is_dataclass(value)]
    call = ["refined_search"] if search.words is None else ["combined_query"] * search.has_vector
    lines = [f"from store import {', '.join(['Gallery', *classes, *call])}"]
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
        if search.long_text == "cut":
            steps.append(f"query = encoder.encode_texts([{search.text!r}])[0]")
        else:
            lines[0] += ", text_query"
            way = f"{search.text!r}, {search.long_text!r}"
            steps.append(f"query = text_query(encoder, {way}).vectors")
    depth, page = str(search.k), ""
    if search.page > 1:
        depth, page = f"min({search.depth}, len(gallery))", f"[{search.k * (search.page - 1)}:]"
    called = [query, f"k={depth}"]
    called += [f"{name}={_literal(value)}" for name, value in arguments.items()]
    stored = []
    if search.upload is not None and search.other_patients:
        digests = ", ".join(f"bytes.fromhex({one.hex()!r})" for one in search.upload.digests)
        stored = [f"same = sum(gallery.holding([{digests}]).values(), [])"]
        called.append("exclude=gallery.own_films(same).ids")
    return "\n".join(
        [
            *lines,
            "",
            f"gallery = Gallery.open({uri!r})",
            *steps,
            *stored,
            *_called(search, called, page),
            "for hit in hits:",
            '    print(hit.rank, f"{hit.score:.6f}", hit.row.id, sep="\\t")',
        ]
    )


def _called(search: Search, called: Sequence[str], page: str) -> list[str]:
    """The call that finds the hits: of vectors, of words, or of both."""
    if search.words is None:
        return [f"hits = refined_search(gallery, {', '.join(called)}){page}"]
    query, depth, *rest = called
    asked = [repr(search.words), depth, *(one for one in rest if one.startswith("where="))]
    left_out = [one.removeprefix("exclude=") for one in rest if one.startswith("exclude=")]
    lines = []
    if search.has_vector:
        marks = [one for one in rest if not one.startswith(("where=", "exclude="))]
        part = f"combined_query({', '.join(['gallery', query, *marks])})"
        lines.append(f"vectors, left_out = {part}")
        asked += [f"exclude=[*left_out, *{left_out[0]}]" if left_out else "exclude=left_out"]
        asked += ["vectors=vectors", f"fusion={search.fusion!r}"]
    if search.negated:
        asked.append("negated=True")
    return [*lines, f"hits = gallery.search_words({', '.join(asked)}){page}"]


def _literal(value: Any) -> str:
    """A value as Python; of a dataclass only what is not at its default."""
    if not is_dataclass(value):
        return repr(value)
    given = [(one.name, getattr(value, one.name), one.default) for one in fields(value)]
    listed = [f"{name}={one!r}" for name, one, default in given if one != default]
    return f"{type(value).__name__}({', '.join(listed)})"


def hits_csv(hits: Sequence[Hit]) -> bytes:
    """One line a hit, with all metadata, and no local path or text of a report."""
    return csv_bytes(*film_sheet.hits(hits))


def document(
    search: Search, hits: Sequence[Hit], store: Mapping[str, Any], own: OwnFilms | None = None
) -> dict[str, Any]:
    """The search and its hits as ``cxr search --json`` prints them.

    Args:
        search: what was asked; of an upload, name and digests are told, not the pixels.
        hits: of this page.
        store: which store answered, ``gallery.describe()``.
        own: films that were left out since they are of the query's own patient.
    """
    names = ("id", "text", "long_text", "words", "negated", "fusion")
    query = {name: value for name, value in search.given.items() if name in names}
    if search.upload is not None:
        query |= {"image": search.upload.name, "sha256": search.upload.digests[0].hex()}
    if search.marks:
        query |= {"like": list(search.like), "unlike": list(search.unlike)}
        query["weights"] = asdict(search.weights)
    if own is not None:
        query["other_patients"] = {"excluded": own.kind, "films": len(own.ids)}
    more = [word_hits.as_dict(hit, search.beside, False) for hit in hits if is_word_hit(hit)]
    found = as_dict(query, search.k, search.where, hits, search.page, more)
    return {**found, "store": dict(store)}


def archive(gallery: Gallery, search: Search, found: Answer) -> bytes:
    """A ZIP of query.json, hits.csv and pictures of the hits, named by rank and not by id."""
    printed = _printed(gallery, found, ZIP_LONGEST)
    about = document(search, found.hits, gallery.describe(), found.own)
    about["pictures"] = {
        "longest_side": ZIP_LONGEST,
        "originals": printed.originals,
        "thumbnails": dict(printed.instead),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as whole:
        whole.writestr("query.json", json.dumps(about, indent=2))
        whole.writestr("hits.csv", hits_csv(found.hits))
        for name, png in _pictures(search, found, printed):
            whole.writestr(name, png)
    return file.getvalue()


def _printed(gallery: Gallery, found: Answer, longest: int) -> FilmPictures:
    from ui.report.film_pictures import film_pictures

    rows = [hit.row for hit in found.hits]
    return film_pictures(gallery, rows if found.query is None else [found.query, *rows], longest)


def _pictures(search: Search, found: Answer, printed: FilmPictures) -> list[tuple[str, bytes]]:
    named = [(f"films/{hit.rank:04}.png", printed.png(hit.row.id)) for hit in found.hits]
    if search.upload is not None:
        named.append(("query.png", search.upload.picture or search.upload.thumbnail))
    elif found.query is not None:
        named.append(("query.png", printed.png(found.query.id)))
    return [(name, png) for name, png in named if png is not None]


def contact_sheet(gallery: Gallery, search: Search, found: Answer) -> bytes:
    """A PDF of one page: the query and its hits, with ranks, cosines and labels."""
    from ui.report.figures import LONGEST, retrieval_figure
    from ui.report.sheet import pdf_bytes, provenance_of

    printed = _printed(gallery, found, LONGEST)
    searched = f"searched: {search.where}" if search.filters else "searched: all rows"
    origin = provenance_of(gallery, searched, printed.note)
    return pdf_bytes(
        retrieval_figure(_asked(search, found, printed), found.hits, printed.by_id, origin)
    )


def _asked(search: Search, found: Answer, printed: FilmPictures) -> Any:
    from ui.report.figures import Query

    marks = "".join(
        f", {sign} {films(len(marked))}"
        for sign, marked in (("like", search.like), ("unlike", search.unlike))
        if marked
    )
    if found.query is not None:
        row = found.query
        return Query.of(row, printed.by_id[row.id], row.id + marks)
    if search.upload is not None:
        picture = search.upload.picture or search.upload.thumbnail
        return Query(picture, name=search.upload.name + marks)
    words = "" if search.like else search.words
    return Query(text=(search.text or words or "marked films") + marks)


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
        other = name if name != gallery.stamp.address else None
        st.caption("Copy as command line")
        st.code(command(search, gallery.uri, other), language=None, wrap_lines=True)
        st.caption("Copy as Python")
        st.code(python(search, gallery.uri, name), language="python", wrap_lines=True)


def _files(gallery: Gallery, search: Search, found: Answer) -> None:
    zipped = partial(archive, gallery, search, found)
    sheet = partial(contact_sheet, gallery, search, found)
    with st.container(horizontal=True):
        offer = film_list.download
        offer("CSV", "hits.csv", partial(hits_csv, found.hits), "take-csv", "table")
        offer("ZIP with pictures", "hits.zip", zipped, "take-zip", "folder_zip")
        offer("Contact sheet (PDF)", "hits.pdf", sheet, "take-pdf", "picture_as_pdf")
    st.caption(
        "Pictures are from the films' own files where those can be read, else thumbnails, and the "
        "files say which. They are copies: what the films' licence allows with those is allowed "
        "here."
    )
