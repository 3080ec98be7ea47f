"""The dialog "Why these two": query and hit side by side, with maps of their agreement."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import streamlit as st

from store import CxrError, Gallery, PatchesUnsupported, Row, UnknownId, rocchio
from ui.dashboard import shared
from ui.dashboard.components.html import Labels, cut, plain
from ui.dashboard.film.viewer import Pane, viewer
from ui.dashboard.search import session
from ui.dashboard.search.answer import Answer
from ui.dashboard.search.state import Search

if TYPE_CHECKING:
    from ingest import Agreement

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
        picture: PNG of the query, where it is an image.
        asked: vector of that image.
    """

    row: Row
    thumbnail: bytes | None
    own: Vector
    sought: Vector
    score: float
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
    _dialog(gallery, search, pair, labels)


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
        score=float(np.clip(own.astype(np.float64) @ sought.astype(np.float64), -1, 1)),
        picture=picture,
        asked=None if search.text is not None else asked,
    )


def _stop() -> None:
    session.look_at(None)


@st.dialog("Why these two", width="large", on_dismiss=_stop)
def _dialog(gallery: Gallery, search: Search, pair: Pair, labels: Labels) -> None:
    against = "the query" if not search.marks else "the combined query"
    st.html(
        f'<div class="cxr"><span class="score num">{pair.score:.3f}</span> cosine of '
        f"{escape(pair.row.id)} with {against} {labels.chips(pair.row)}</div>"
    )
    if pair.thumbnail is None:
        st.info("This film has no picture in the gallery, only a vector.")
        return
    left, right, said = _maps(gallery, search, pair)
    panes = [Pane(f"Hit: {pair.row.id}", pair.thumbnail, right)]
    if pair.picture is not None:
        title = search.id if search.upload is None else search.upload.name
        panes.insert(0, Pane(f"Query: {title}", pair.picture, left))
    viewer(panes, key=f"viewer-{pair.row.id}")
    st.markdown(said)
    st.caption(
        "Left drag: window and level. Middle drag: pan. Right drag or wheel: zoom. Two fingers: "
        "zoom and pan. Double click or R: reset. Pictures of the gallery are its thumbnails, "
        "256 pixels at most."
    )


def _maps(
    gallery: Gallery, search: Search, pair: Pair
) -> tuple[Agreement | None, Agreement | None, str]:
    """Maps of query and hit, where there are any, and what they mean, in Markdown."""
    assert pair.thumbnail is not None
    try:
        using = shared.encoder(gallery.stamp)
        right = shared.agreement(using, pair.thumbnail, pair.sought)
        left = None
        if pair.picture is not None and pair.asked is not None and not search.marks:
            left = shared.agreement(using, pair.picture, pair.own)
    except PatchesUnsupported as error:
        return None, None, f"**No patch map.** {plain(str(error))}."
    except CxrError as error:
        return None, None, f"**No patch map**, because the encoder is not here: {plain(str(error))}"
    return left, right, plain_words(pair.score, left, right, combined=bool(search.marks))


def plain_words(
    score: float, left: Agreement | None, right: Agreement, *, combined: bool = False
) -> str:
    """An explanation of the maps and of their relation to the score, in Markdown."""
    shown = f"{right.score:.3f}" if left is None else f"{right.score:.3f} and {left.score:.3f}"
    which = "The map's mean is" if left is None else "The means of the two maps are"
    parts = [
        "**Where they agree.** A patch's value is the cosine that there would be if every patch "
        f"added what this one adds; orange is above the mean, blue below. {which} the cosine of "
        f"the pictures shown: {shown} (the search, on the original films: {score:.3f}).",
        f"Of {right.score:.3f}, the hit's patches add {right.placed:.3f} directly. The rest comes "
        "through the encoder's other parts, has no place in the picture, and is spread evenly.",
    ]
    if combined:
        parts.append("The map is of the hit with the combined query, all marks in it.")
    elif left is not None:
        parts.append("Each film's map is with the other film's vector as a whole.")
    return plain_but_bold(" ".join(parts))


def plain_but_bold(text: str) -> str:
    """Our own sentences: only the bold beginning is Markdown."""
    bold, _, rest = text.partition(".** ")
    return f"{bold}.** {plain(rest)}"
