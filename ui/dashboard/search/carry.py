"""A result to take away: a table, an archive, a contact sheet. No Streamlit here."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from ingest.sources.tables.csv_table import csv_bytes
from store import Gallery, Hit
from ui.dashboard.search.answer import Answer
from ui.dashboard.search.state import Search, Upload
from ui.tables import as_dict

_COLUMNS = ("rank", "id", "cosine", "labels", "split", "dataset", "patient", "view", "source")


def hits_csv(hits: Sequence[Hit]) -> bytes:
    """One line a hit."""
    rows = [
        [
            hit.rank,
            hit.row.id,
            Decimal(f"{hit.score:.6f}"),
            "; ".join(hit.row.labels),
            hit.row.split,
            hit.row.dataset,
            hit.row.patient,
            hit.row.view,
            hit.row.source,
        ]
        for hit in hits
    ]
    return csv_bytes(_COLUMNS, rows)


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
