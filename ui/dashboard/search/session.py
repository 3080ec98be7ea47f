"""The search of one visitor: kept in the session, written in the address, changed by callbacks.

The search in the session is the truth. Widgets are set from it before they are drawn, and their
callbacks write to it; the address follows it, and is read again when somebody else changed it.
"""

from __future__ import annotations

import random
from dataclasses import fields, replace
from typing import Any

import streamlit as st

from store import RRF, CxrError, Gallery, Range, UnknownId, Weights, parse_fusion
from ui.dashboard.components.html import clean, cut
from ui.dashboard.search import link, ranges
from ui.dashboard.search.ranges import Choice, Known, column, in_words
from ui.dashboard.search.state import FACETS, Filters, Search, Upload

_SEARCH, _NOTES, _LINK, _DRAWN, _ASKED, _ARRIVED, _HISTORY = (
    f"search-{name}" for name in ("now", "notes", "link", "drawn", "asked", "arrived", "history")
)
#: Older searches are forgotten; an upload keeps its picture in memory as long as it is listed.
_HISTORY_MAX = 30
TEXT_BOX, ID_BOX, K_BOX, LONG_BOX = "box-text", "box-id", "box-k", "box-long-text"
OTHERS_BOX = "box-other-patients"
WORDS_BOX, NEGATED_BOX, FUSION_BOX = "box-words", "box-negated", "box-fusion"
#: The choice of fusion by ranks; the others are weights of the words.
RANKS = "by ranks"
#: Keys of the weights' widgets, in the order of ``Weights``.
WEIGHT_BOXES = tuple(f"box-weight-{part.name}" for part in fields(Weights))


def arrive(page: str, before: str | None) -> None:
    """Note whether the visitor just came to a page from another one."""
    st.session_state[_ARRIVED] = page != before


def came_back() -> bool:
    """Whether the visitor came back by the navigation, so that the page is as it was left."""
    return bool(st.session_state.pop(_ARRIVED, False)) and not address()


def now(known: Known) -> Search:
    """The search to show, after following the address and the gallery.

    Args:
        known: facet -> the values, or the range, that the gallery has.
    """
    params = address()
    search: Search | None = st.session_state.get(_SEARCH)
    back = came_back()
    if search is None or (params != st.session_state.get(_LINK) and not back):
        search, notes = link.from_link(params, known)
        _set(search, *notes)
    search = with_filters(known)
    _write_link(search)
    return search


def with_filters(known: Known) -> Search:
    """The last search, its filters as the gallery has them now, and widgets that show them."""
    search = last()
    for facet, values in search.filters.items():
        kept = [value for value in values if _there(facet, value, known.get(facet, ()))]
        if len(kept) < len(values):
            search = search.choose(facet, kept)
            gone = f"some {column(facet)} filters no longer exist and are off"
            _set(search, f"The gallery changed; {gone}.")
    _set_widgets(search, known)
    return search


def filter_by(filters: Filters, *messages: str) -> None:
    """Take over filters from another page's address; the query stays."""
    search = last().unfiltered()
    for facet, values in filters.items():
        search = search.choose(facet, values)
    _set(search, *messages)


def last() -> Search:
    """The last search of this visit; an empty one before the first."""
    found: Search = st.session_state.get(_SEARCH, Search())
    return found


def address() -> dict[str, list[str]]:
    """The query parameters of the page's address, each with all its values."""
    return {name: st.query_params.get_all(name) for name in st.query_params}


def notes() -> list[str]:
    """Messages about the visitor's last action."""
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


def correct(search: Search) -> None:
    """Put right what only the gallery could tell is wrong: a film or a page that is not there."""
    _set(search, *notes())
    _write_link(search)


def say(message: str) -> None:
    """Tell the visitor something; the search stays."""
    _set(last(), message)


def box(facet: str) -> str:
    """Key of a filter's widget."""
    return f"box-{facet}"


def _set(search: Search, *messages: str) -> None:
    st.session_state[_SEARCH] = search
    st.session_state[_NOTES] = list(messages)
    if search.asked:
        others = [one for one in history() if identity(one) != identity(search)]
        st.session_state[_HISTORY] = [search, *others][:_HISTORY_MAX]


def _there(facet: str, value: str, known: Choice) -> bool:
    if isinstance(known, Range):
        return ranges.overlaps(facet, known, value)
    return value in known


def _write_link(search: Search) -> None:
    wanted = link.to_link(search)
    if address() != wanted:
        st.query_params.from_dict(wanted)
    st.session_state[_LINK] = wanted


def _set_widgets(search: Search, known: Known) -> None:
    for facet, choice in known.items():
        values = search.filters.get(facet, ())
        if isinstance(choice, Range):
            for name, value in ranges.shown(facet, choice, values).items():
                _put(name, value)
        else:
            _put(box(facet), list(values))
    _put(K_BOX, search.k)
    _put(LONG_BOX, search.long_text)
    _put(OTHERS_BOX, search.other_patients)
    _put(NEGATED_BOX, search.negated)
    _put(FUSION_BOX, RANKS if search.fusion == RRF else f"{float(search.fusion):g}")
    for name, part in zip(WEIGHT_BOXES, fields(Weights), strict=True):
        _put(name, float(getattr(search.weights, part.name)))
    query = search.id, search.text, search.upload, search.words, search.marks, search.page
    changed = st.session_state.get(_DRAWN) != query
    if changed or TEXT_BOX not in st.session_state:
        _put(TEXT_BOX, search.text or "")
        _put(WORDS_BOX, search.words or "")
        _put(ID_BOX, search.id or "")
    if changed:
        st.session_state[_ASKED] = st.session_state.get(_ASKED, 0) + 1
    st.session_state[_DRAWN] = query


def _put(name: str, value: Any) -> None:
    # Only on a change: setting a widget needlessly would fight a visitor who is moving it.
    if name not in st.session_state or st.session_state[name] != value:
        st.session_state[name] = value


# -- searches before this one ----------------------------------------------------------------


def history() -> list[Search]:
    """The searches of this visit, newest first, each in its last state."""
    found: list[Search] = st.session_state.get(_HISTORY, [])
    return found


def identity(search: Search) -> tuple[object, ...]:
    """Key of a search in the history: equal for those that differ in page and opened pair only."""
    given = {**search.given, "page": 1, "pair": None, "upload": None}
    return str(given), search.upload and search.upload.digests


def forget() -> None:
    """Empty the history."""
    st.session_state[_HISTORY] = []


def restore(search: Search) -> None:
    """Go back to a search of this visit."""
    _set(search)


def title(search: Search) -> str:
    """A search in a few words."""
    parts, film = [], replace(search, words=None)
    if search.has_query:
        parts.append(
            cut(film.subject if search.upload is None else f"your film {film.subject}", 42)
        )
    if search.words is not None:
        parts.append(f"words “{cut(search.words, 30)}”")
    parts += [f"+{len(search.like)}"] if search.like else []
    parts += [f"−{len(search.unlike)}"] if search.unlike else []
    for facet, values in search.filters.items():
        words = ", ".join(in_words(facet, value) for value in values)
        parts.append(cut(words if facet in FACETS else f"{cut(column(facet), 20)} {words}", 30))
    parts += ["other patients"] if search.other_patients else []
    return " · ".join(parts)


# -- actions: callbacks of the widgets -------------------------------------------------------


def ask_text() -> None:
    """Search the sentence in the box."""
    text = clean(st.session_state.get(TEXT_BOX) or "")[: link.TEXT_MAX]
    if text:
        ask_this_text(text)
    else:
        _set(last(), "Write a few words first, e.g. pneumonia opacity in lungs.")


def ask_this_text(text: str) -> None:
    """Search a sentence."""
    _set(last().ask(text=text))


def ask_words() -> None:
    """Search the words in the box, beside what is asked already."""
    words = clean(st.session_state.get(WORDS_BOX) or "")[: link.TEXT_MAX]
    if words:
        _set(last().ask_words(words))
    else:
        _set(last(), "Write a few words of a report first, e.g. pleural effusion.")


def drop_words() -> None:
    """Search without words of reports."""
    _set(last().ask_words(None))


def choose_negated() -> None:
    """Take over from its switch whether absent words are found."""
    _set(replace(last(), negated=bool(st.session_state[NEGATED_BOX]), page=1, pair=None))


def choose_fusion() -> None:
    """Take over from its widget how words and the rest make one list."""
    chosen = st.session_state[FUSION_BOX]
    fusion = RRF if chosen == RANKS else parse_fusion(chosen)
    _set(replace(last(), fusion=fusion, page=1, pair=None))


def ask_id(gallery: Gallery) -> None:
    """Search the id in the box, or the one that ends with what is there."""
    id_ = (st.session_state.get(ID_BOX) or "").strip()[: link.ID_MAX]
    if id_:
        try:
            id_ = gallery.whole_id(id_)
        except UnknownId:  # which the page says where hits would stand
            pass
        except CxrError as error:
            _set(last(), str(error))
            return
        ask_this_id(id_)
    else:
        _set(last(), "Write an id first, or press Random film.")


def ask_this_id(id_: str) -> None:
    """More like this film."""
    _set(last().ask(id=id_))


def ask_random(gallery: Gallery) -> None:
    """Search with any film that passes the filters."""
    search = last()
    ids = gallery.ids(search.where)
    others = [id_ for id_ in ids if id_ != search.id] or ids
    if others:
        _set(search.ask(id=random.choice(others)))  # noqa: S311 - nothing secret
    else:
        _set(search, "No film passes the filters; remove one first.")


def choose(facet: str) -> None:
    """Take over a filter from its widget."""
    _set(last().choose(facet, st.session_state[box(facet)]))


def choose_range(facet: str, of: Range, changed: str) -> None:
    """Take over a range from its widgets, of which one was changed."""
    state = {box: st.session_state.get(box) for box in ranges.boxes(facet, of)}
    text = ranges.chosen(facet, of, state, changed)
    _set(last().choose(facet, [text] if text else []))


def drop(facet: str, value: str | None = None) -> None:
    """Remove one value of a filter, or all of them."""
    search = last()
    kept = [found for found in search.filters.get(facet, ()) if value not in (None, found)]
    _set(search.choose(facet, kept))


def drop_all() -> None:
    """Remove every filter."""
    _set(last().unfiltered())


def choose_k() -> None:
    """Take over the number of hits from its widget."""
    _set(replace(last(), k=st.session_state[K_BOX], page=1, pair=None))


def choose_long_text() -> None:
    """Take over from its widget how a text is searched that is longer than the encoder reads."""
    chosen = st.session_state[LONG_BOX] or last().long_text
    _set(replace(last(), long_text=chosen, page=1, pair=None))


def choose_patients() -> None:
    """Take over from its switch whether films of the query's own patient are left out."""
    _set(replace(last(), other_patients=bool(st.session_state[OTHERS_BOX]), page=1, pair=None))


def search_all_patients() -> None:
    """Search films of the query's own patient too."""
    _set(replace(last(), other_patients=False, page=1, pair=None))


def turn(box: str) -> None:
    """Take over the page from its widget."""
    _set(replace(last(), page=int(st.session_state[box]), pair=None))


def clear() -> None:
    """Forget the query and the marks, keep the filters."""
    _set(last().ask())


def ask_upload(upload: Upload) -> None:
    """Search with an uploaded film."""
    _set(last().ask(upload=upload))


def mark(id_: str, sign: str | None) -> None:
    """Mark a film + or -, or take its mark off."""
    _set(last().mark(id_, sign))


def unmark() -> None:
    """Take every mark off."""
    _set(last().unmarked())


def weigh() -> None:
    """Take over the weights from their widgets."""
    values = [float(st.session_state[name]) for name in WEIGHT_BOXES]
    _set(replace(last(), weights=Weights(*values), page=1))


def look_at(id_: str | None) -> None:
    """Look at a film beside the query, or stop looking."""
    _set(replace(last(), pair=id_))
