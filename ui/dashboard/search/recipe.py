"""The same search as a command line and as Python: both give the hits that the page shows."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import fields

from store.search.relevance_feedback import Weights
from ui.dashboard.search.ranges import column
from ui.dashboard.search.state import Search

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
            f"from store.search.relevance_feedback import {called}",
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
