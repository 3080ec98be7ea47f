"""The filters at the side of the search page: values with live counts, handles, days."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Any

import streamlit as st

from store import Gallery, Range
from ui.dashboard import shared
from ui.dashboard.components.html import cut, plain
from ui.dashboard.search import ranges, session
from ui.dashboard.search.ranges import AGE, OWN, Choice, Known, column
from ui.dashboard.search.state import FACETS, Search

#: Filters that are there also where every film has the same value; others say nothing then.
_ALWAYS = ("label", "uncertain", "absent", "split")
#: Most values, and longest value of an own column, for buttons; beyond, a filter is a list.
_PILLS, _PILL_LENGTH = 6, 24
#: Most own columns side by side; more are folded until one of them filters.
_OWN_SHOWN = 4
_UNFOLDED = "own-columns-unfolded"
_NAME_MAX, _VALUE_MAX = 40, 60


def panel(gallery: Gallery, search: Search, known: Known, said: str) -> None:
    """The filters at the side of a page, under a line that says what they do there."""
    st.subheader("Filters")
    st.caption(said)
    draw(gallery, search, known)
    if search.filters:
        st.button("Clear filters", icon=":material/filter_alt_off:", on_click=session.drop_all)


def draw(gallery: Gallery, search: Search, known: Known) -> None:
    """The filters that tell films of this gallery apart."""
    used = {facet: one for facet, one in known.items() if _useful(gallery, facet, one)}
    for facet, choice in used.items():
        if not facet.startswith(OWN):
            _draw(gallery, search, facet, choice)
    own = {facet: one for facet, one in used.items() if facet.startswith(OWN)}
    if not own:
        return
    if len(own) <= _OWN_SHOWN or any(facet in own for facet in search.filters):
        st.session_state[_UNFOLDED] = True  # and stays so when the filter is taken off again
    with st.expander(f"Own columns ({len(own)})", expanded=_UNFOLDED in st.session_state):
        for facet, choice in own.items():
            _draw(gallery, search, facet, choice)


def chips(search: Search) -> None:
    """Buttons that take off one filter each."""
    for facet, values in search.filters.items():
        name = plain(cut(column(facet), _NAME_MAX))
        for value in values:
            st.button(
                f"{name}: {plain(cut(ranges.in_words(facet, value)))}",
                key=f"off-{facet}-{value}",
                icon=":material/close:",
                on_click=session.drop,
                args=(facet, value),
                help="Remove this filter",
            )


def _useful(gallery: Gallery, facet: str, choice: Choice) -> bool:
    if isinstance(choice, Range):
        return choice.low < choice.high and bool(ranges.boxes(facet, choice))  # type: ignore[operator]
    if len(choice) == 1 and facet.startswith(OWN):  # and films that have no value?
        [count] = shared.facets(gallery, {})[column(facet)].values()
        return count < len(gallery)
    return len(choice) > (facet not in _ALWAYS and not facet.startswith(OWN))


def _draw(gallery: Gallery, search: Search, facet: str, choice: Choice) -> None:
    if not isinstance(choice, Range):
        _values(gallery, search, facet, choice)
        return
    found = shared.ranges(gallery, search.filters).get(column(facet))
    name = "Age in years" if facet == AGE else plain(cut(column(facet), _NAME_MAX))
    count = f"({found.rows if found else 0:,})"
    if choice.kind == "date":
        _days(facet, choice, name, count)
    else:
        _handles(facet, choice, f"{name} {count}")


def _values(gallery: Gallery, search: Search, facet: str, known: Collection[str]) -> None:
    """A choice of values, each with the number of films that pass the other filters."""
    own = facet.startswith(OWN)
    values = sorted(known)
    kept = search.choose(facet, ()).filters
    passing = shared.facets(gallery, kept).get(column(facet), {})
    drawn: dict[str, str] = {}
    taken: set[str] = set()
    for value in values:
        text = plain(cut(value, _VALUE_MAX) if own else value)
        text = f"{text} ({passing.get(value, 0):,})"
        # Streamlit tells options apart by what is written on them.
        drawn[value] = text if text not in taken else f"{text} · {len(taken) + 1}"
        taken.add(drawn[value])
    title = plain(cut(column(facet), _NAME_MAX)) if own else FACETS[facet]
    widget: dict[str, Any] = {
        "key": session.box(facet),
        "format_func": drawn.__getitem__,
        "on_change": session.choose,
        "args": (facet,),
    }
    if len(values) <= _PILLS and not (own and max(map(len, values)) > _PILL_LENGTH):
        st.pills(title, values, selection_mode="multi", **widget)
    else:
        st.multiselect(title, values, placeholder="any", **widget)


def _handles(facet: str, of: Range, title: str) -> None:
    on = ranges.scale(facet, of)
    assert on is not None
    [box] = ranges.boxes(facet, of)
    st.slider(
        title,
        on.low,
        on.high,
        step=on.step,
        format=on.format,
        key=box,
        on_change=session.choose_range,
        args=(facet, of, box),
        help="In brackets: films that pass the filters and have a value. A handle at its end "
        "lets everything through; films without a value pass while both are there.",
    )


def _days(facet: str, of: Range, name: str, count: str) -> None:
    assert isinstance(of.low, date)
    assert isinstance(of.high, date)
    first, last = ranges.boxes(facet, of)
    for title, box in ((f"{name} from {count}", first), (f"{name} to", last)):
        st.date_input(
            title,
            value=None,
            min_value=of.low,
            max_value=of.high,
            format="YYYY-MM-DD",
            key=box,
            on_change=session.choose_range,
            args=(facet, of, box),
        )
