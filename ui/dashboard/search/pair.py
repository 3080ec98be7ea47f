"""The dialog "Why these two": query and hit side by side, with maps of their agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt
import streamlit as st

from store import Gallery, Row, UnknownId, rocchio
from ui.dashboard.components.html import Labels, cut, plain
from ui.dashboard.film import agreement
from ui.dashboard.film.panes import pane as film_pane
from ui.dashboard.film.panes import sources
from ui.dashboard.film.viewer import Pane, viewer
from ui.dashboard.search import session
from ui.dashboard.search.answer import Answer
from ui.dashboard.search.state import Search

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A query and a stored film.

    Attributes:
        row: the film.
        thumbnail: its PNG, if it has one.
        own: the film's vector.
        sought: the vector that was searched, with every mark in it.
        score: cosine of the two.
        query: the query, where it is a stored film.
        picture: PNG of the query, where it is an image.
        asked: vector of that image.
    """

    row: Row
    thumbnail: bytes | None
    own: Vector
    sought: Vector
    score: float
    query: Row | None
    picture: bytes | None
    asked: Vector | None


def look(
    gallery: Gallery, search: Search, found: Answer, vector: Vector | None, labels: Labels
) -> None:
    """Open the dialog for the search's pair, or say that there is no such film."""
    assert search.pair is not None
    try:
        pair = _pair(gallery, search, found, vector)
    except UnknownId:
        st.info(plain(f"No film {cut(search.pair)!r} in this gallery to look at."))
        return
    _dialog(gallery, search, pair, labels, [hit.row.id for hit in found.hits])


def _pair(gallery: Gallery, search: Search, found: Answer, vector: Vector | None) -> Pair:
    assert search.pair is not None
    own = gallery.vectors([search.pair])[0]
    asked = gallery.vectors([search.id])[0] if search.id is not None else vector
    if asked is not None and asked.ndim > 1:  # of a text's sentences, the one nearest to the film
        asked = asked[int(np.argmax(asked @ own))]
    sought = asked
    if search.marks or asked is None:
        like, unlike = (gallery.vectors(list(ids)) for ids in (search.like, search.unlike))
        sought = rocchio(asked, like, unlike, search.weights)
    assert sought is not None
    picture = None
    if search.upload is not None:
        picture = search.upload.picture
    elif search.id is not None:
        picture = found.thumbnails[search.id]
    return Pair(
        row=gallery.row(search.pair),
        thumbnail=gallery.thumbnails([search.pair])[search.pair],
        own=own,
        sought=sought,
        score=agreement.cosine(own, sought),
        query=found.query,
        picture=picture,
        asked=None if search.text is not None else asked,
    )


def _stop() -> None:
    session.look_at(None)


@st.dialog("Why these two", width="large", on_dismiss=_stop)
def _dialog(
    gallery: Gallery, search: Search, pair: Pair, labels: Labels, found_hits: Sequence[str]
) -> None:
    if session.last().pair != pair.row.id:  # an arrow was pressed; only the dialog ran again
        st.rerun()
    against = "the query" if not search.marks else "the combined query"
    st.html(
        f'<div class="cxr"><span class="score num">{pair.score:.3f}</span> cosine of '
        f"{escape(pair.row.id)} with {against} {labels.chips(pair.row)}</div>"
    )
    if pair.thumbnail is None:
        st.info("This film has no picture in the gallery, only a vector.")
        return
    shown = pair.picture if pair.asked is not None and not search.marks else None
    found = agreement.maps(
        gallery,
        pair.score,
        (pair.thumbnail, pair.sought),
        None if shown is None else (shown, pair.own),
        combined=bool(search.marks),
    )
    panes = [film_pane(gallery, pair.row, pair.thumbnail, f"Hit: {pair.row.id}", found.right)]
    if pair.query is not None and pair.picture is not None:
        title = f"Query: {search.id}"
        panes.insert(0, film_pane(gallery, pair.query, pair.picture, title, found.left))
    elif pair.picture is not None and search.upload is not None:
        key = search.upload.digests[0].hex()
        title, said = f"Query: {search.upload.name}", "Your film, at most 256 pixels."
        panes.insert(0, Pane(title, pair.picture, key, said=said, map=found.left))
    before, after = _beside(found_hits, pair.row.id)
    viewer(
        panes,
        key="viewer-pair",
        step=lambda by: session.look_at(before if by < 0 else after),
        before=before is not None,
        after=after is not None,
        ahead=sources(gallery, [after] if after else []),
    )
    st.markdown(found.said)
    st.caption(
        "Left drag: window and level. Middle drag: pan. Right drag or wheel: zoom. Two fingers: "
        "zoom and pan. ← and →: the hit before and the next one. ?: all keys."
    )


def _beside(ids: Sequence[str], id_: str) -> tuple[str | None, str | None]:
    """The hits before and after one on this page."""
    if id_ not in ids:
        return None, None
    at = ids.index(id_)
    return (ids[at - 1] if at else None), (ids[at + 1] if at + 1 < len(ids) else None)
