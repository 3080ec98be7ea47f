"""One visitor's search: kept in the session, mirrored in the address bar, changed by callbacks.

The search in the session is the truth. Widgets are set from it before they are drawn, and their
callbacks write to it; the address bar follows it, and is read back when someone else changed it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Mapping
from typing import Any

import streamlit as st

from ingest.encoders import Encoder
from store import BadImage, CxrError, Gallery
from ui.board import link
from ui.board.link import Search, Upload

_SEARCH, _NOTES, _LINK, _DRAWN, _TURN, _ASKED = (
    f"search-{name}" for name in ("now", "notes", "link", "drawn", "turn", "asked")
)
_ARRIVED = "search-arrived"
TEXT_BOX, ID_BOX, K_BOX = "box-text", "box-id", "box-k"

#: Formats offered for upload; what a file really is, is decided by its bytes.
UPLOAD_TYPES = ("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "dcm")
UPLOAD_MB = 20


def arrive(on_search: bool, was_on_search: bool) -> None:
    """Tell the search page whether the visitor just came from another page."""
    st.session_state[_ARRIVED] = on_search and not was_on_search


def now(known: Mapping[str, Collection[str]]) -> Search:
    """The search to show, after following the address bar and the gallery.

    Args:
        known: facet -> the values that the gallery has.
    """
    params = {name: st.query_params.get_all(name) for name in st.query_params}
    search: Search | None = st.session_state.get(_SEARCH)
    came_back = bool(st.session_state.pop(_ARRIVED, False)) and not params
    if search is None or (params != st.session_state.get(_LINK) and not came_back):
        search, notes = link.from_link(params, known)
        _set(search, *notes)
    for facet, values in search.filters.items():
        kept = [value for value in values if value in known.get(facet, ())]
        if len(kept) < len(values):
            search = search.choose(facet, kept)
            _set(search, f"The gallery changed; some {facet} filters no longer exist and are off.")
    _write_link(search)
    _set_widgets(search)
    return search


def notes() -> list[str]:
    """What to tell the visitor about the last thing they did."""
    found: list[str] = st.session_state.get(_NOTES, [])
    return found


def scroll_to_query() -> None:
    """Show the query after it changed: who asked for more like the last hit is far below it."""
    # The only script of the dashboard; nothing but a number of ours goes into it.
    st.html(
        f"<script>/* query {int(st.session_state.get(_ASKED, 0))} */"
        "document.querySelector('[data-testid=\"stMain\"]')?.scrollTo({top: 0})</script>",
        unsafe_allow_javascript=True,
    )


def _get() -> Search:
    found: Search = st.session_state.get(_SEARCH, Search())
    return found


def _set(search: Search, *said: str) -> None:
    st.session_state[_SEARCH] = search
    st.session_state[_NOTES] = list(said)


def _write_link(search: Search) -> None:
    wanted = link.to_link(search)
    params = {name: st.query_params.get_all(name) for name in st.query_params}
    if params != wanted:
        st.query_params.from_dict(wanted)
    st.session_state[_LINK] = wanted


def _set_widgets(search: Search) -> None:
    for facet in link.FACETS:
        _put(box(facet), list(search.filters.get(facet, ())))
    _put(K_BOX, search.k)
    query = search.id, search.text, search.upload
    changed = st.session_state.get(_DRAWN) != query
    if changed or TEXT_BOX not in st.session_state:
        _put(TEXT_BOX, search.text or "")
        _put(ID_BOX, search.id or "")
    if changed:
        st.session_state[_ASKED] = st.session_state.get(_ASKED, 0) + 1
    st.session_state[_DRAWN] = query


def _put(name: str, value: Any) -> None:
    # Only on a change: setting a widget needlessly would fight a visitor who is moving it.
    if name not in st.session_state or st.session_state[name] != value:
        st.session_state[name] = value


def box(facet: str) -> str:
    """Key of a filter's widget."""
    return f"box-{facet}"


# -- what a visitor can do -------------------------------------------------------------------


def ask_text() -> None:
    """Search the sentence in the box."""
    text = link.clean(st.session_state.get(TEXT_BOX) or "")[: link.TEXT_MAX]
    if text:
        ask_this_text(text)
    else:
        _set(_get(), "Write a few words first, e.g. pneumonia opacity in lungs.")


def ask_this_text(text: str) -> None:
    """Search a sentence."""
    _set(_get().ask(text=text))


def ask_id() -> None:
    """Search the id in the box."""
    id_ = (st.session_state.get(ID_BOX) or "").strip()[: link.ID_MAX]
    if id_:
        ask_this_id(id_)
    else:
        _set(_get(), "Write an id first, or let the dice choose a film.")


def ask_this_id(id_: str) -> None:
    """More like this film."""
    _set(_get().ask(id=id_))


def ask_random(gallery: Gallery) -> None:
    """Search with any film that passes the filters."""
    search = _get()
    ids = gallery.ids(search.where)
    others = [id_ for id_ in ids if id_ != search.id] or ids
    if others:
        _set(search.ask(id=random.choice(others)))  # noqa: S311 - nothing secret
    else:
        _set(search, "No film passes the filters; remove one first.")


def choose(facet: str) -> None:
    """Take over a filter from its widget."""
    _set(_get().choose(facet, st.session_state[box(facet)]))


def drop(facet: str, value: str | None = None) -> None:
    """Remove one value of a filter, or all of them."""
    search = _get()
    kept = [found for found in search.filters.get(facet, ()) if value not in (None, found)]
    _set(search.choose(facet, kept))


def drop_all() -> None:
    """Remove every filter."""
    search = _get()
    for facet in link.FACETS:
        search = search.choose(facet, ())
    _set(search)


def choose_k() -> None:
    """Take over the number of hits from its widget."""
    search = _get()
    _set(Search(search.id, search.text, search.upload, search.filters, st.session_state[K_BOX]))


def clear() -> None:
    """Forget the query, keep the filters."""
    _set(_get().ask())


# -- uploads -----------------------------------------------------------------------------------


def upload_box() -> str:
    """Key of the upload widget; a new one after every film, so that it is empty again."""
    return f"box-upload-{st.session_state.get(_TURN, 0)}"


def take_upload(name: str, data: bytes, encoder: Encoder) -> None:
    """Make an uploaded file the query, or say why it cannot be."""
    st.session_state[_TURN] = st.session_state.get(_TURN, 0) + 1
    name = link.cut(name)
    try:
        upload = _read(name, data, encoder)
    except BadImage as error:
        _set(_get(), f"{name} cannot be searched ({error.reason}): {error}")
    except CxrError as error:
        _set(_get(), str(error))
    else:
        _set(_get().ask(upload=upload))


def _read(name: str, data: bytes, encoder: Encoder) -> Upload:
    from ingest.images import pixels_digest, read_image, thumbnail

    if len(data) > UPLOAD_MB << 20:
        raise BadImage("too_large", f"{len(data) >> 20} MB; at most {UPLOAD_MB} MB")
    pixels = read_image(data)
    return Upload(
        name=name,
        thumbnail=thumbnail(pixels),
        digests=(hashlib.sha256(data).digest(), pixels_digest(pixels)),
        width=int(pixels.shape[1]),
        height=int(pixels.shape[0]),
        vector=encoder.encode_images([pixels])[0],
        fingerprint=encoder.fingerprint,
    )
