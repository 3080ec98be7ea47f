"""Lists of films: pages of cards, each a click from its neighbours; buttons for files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import streamlit as st

from ingest import csv_bytes
from store import Gallery, Row
from ui.dashboard.components import html, lists
from ui.dashboard.components.html import Labels, plain
from ui.tables import Sheet

#: Narrowest a film is drawn, in CSS pixels: two fit side by side on a phone.
FILM_WIDTH = 170
#: The same of films that belong together.
_BESIDE_WIDTH = 104
_SEARCH, _FILM = "views/search.py", "views/film.py"
_KINDS = {"csv": "text/csv", "zip": "application/zip", "pdf": "application/pdf"}

T = TypeVar("T")


def search_button(
    id_: str, key: str, text: str = "Neighbours", filters: Mapping[str, str] | None = None
) -> None:
    """Ask with this film, on the search page, under these filters."""
    if st.button(text, key=key, width="stretch", help=plain(f"Search with {id_}")):
        st.switch_page(_SEARCH, query_params={"id": id_, **(filters or {})})


def film_link(id_: str, key: str, of: str = "") -> None:
    """Lay a link to a film's own page over the picture that was drawn last in this place.

    A real link: the keyboard reaches it, and it opens in a tab of its own where that is asked for.

    Args:
        id_: of the film.
        key: of this link on the page; of one film in two lists, two keys.
        of: name of the list that it is shown in, see ``lists.remember``: the film's page leads
            on to the next one.
    """
    with st.container(key=f"open-{key}"):
        st.page_link(_FILM, label=plain(f"Open {id_}"), query_params=_address(id_, of))


def open_film(id_: str, of: str = "") -> None:
    """Go to a film's own page now."""
    st.switch_page(_FILM, query_params=_address(id_, of))


def page_link(id_: str, label: str) -> None:
    """A link in words to a film's own page."""
    st.page_link(_FILM, label=label, query_params=_address(id_, ""), icon=":material/open_in_full:")


def step_link(id_: str | None, word: str, icon: str, of: str) -> None:
    """A link to the film before or after in a list; grey at its end."""
    st.page_link(
        _FILM,
        label=word,
        icon=f":material/{icon}:",
        query_params=_address(id_ or "", of),
        disabled=id_ is None,
    )


def compare(id_: str, other: str) -> None:
    """Go to two films side by side now."""
    st.switch_page(_FILM, query_params={"id": id_, "with": other})


def _address(id_: str, of: str) -> dict[str, str]:
    return {"id": id_, **({"of": of} if of else {})}


def card(
    row: Row,
    png: bytes | None,
    labels: Labels,
    key: str,
    said: str = "",
    link: Mapping[str, str] | None = None,
    of: str = "",
) -> None:
    """One film with its labels, a line about it, and the ways to its page and its neighbours."""
    film_link(row.id, key, of)
    st.html(html.film_card(row, png, labels) + (html.note(said) if said else ""))
    search_button(row.id, key, filters=link)


def beside(
    rows: Sequence[Row], pictures: Mapping[str, bytes | None], labels: Labels, key: str
) -> None:
    """Films that belong together, beside each other; each picture leads to its film's page."""
    lists.remember(key, [row.id for row in rows])
    grid = st.grid("auto", min_column_width=_BESIDE_WIDTH, key=f"{key}-beside")
    for row in rows:
        with grid.cell():
            film_link(row.id, f"{key}-{row.id}", key)
            st.html(html.beside(row, pictures[row.id], labels))


def page_of(items: Sequence[T], size: int, key: str) -> Sequence[T]:
    """The items of the page that the visitor turned to."""
    count = max(-(-len(items) // size), 1)
    at = min(int(st.session_state.get(key, 1)), count)
    return items[size * (at - 1) : size * at]


def pages(items: Sequence[T], size: int, key: str) -> None:
    """The row of page numbers, where there is more than one page."""
    count = -(-len(items) // size)
    if count > 1:
        if st.session_state.get(key, 1) > count:
            st.session_state[key] = count
        st.pagination(count, key=key)


def films(
    gallery: Gallery,
    ids: Sequence[str],
    labels: Labels,
    key: str,
    size: int = 12,
    said: Callable[[str], str] = lambda _: "",
    link: Mapping[str, str] | None = None,
    of: str = "",
) -> None:
    """Films in a grid that reflows, some at a time; a click searches under the filters ``link``.

    The pages of the films lead on within the remembered list ``of``; without one, within these.
    """
    if not of:
        lists.remember(key, ids)
    shown = page_of(ids, size, f"{key}-page")
    rows = gallery.rows(shown)
    here = [id_ for id_ in shown if id_ in rows]
    pictures = gallery.thumbnails(here)
    grid = st.grid("auto", min_column_width=FILM_WIDTH, border=True, key=f"{key}-grid")
    for id_ in here:
        with grid.cell():
            card(rows[id_], pictures[id_], labels, f"{key}-{id_}", said(id_), link, of or key)
    pages(ids, size, f"{key}-page")


def download(
    label: str,
    name: str,
    make: Callable[[], bytes],
    key: str,
    icon: str,
    help: str | None = None,  # noqa: A002
) -> None:
    """A button for a file, which is made when it is asked for; its kind is the name's ending."""
    st.download_button(
        label,
        data=make,
        file_name=name,
        mime=_KINDS[name.rpartition(".")[2]],
        on_click="ignore",
        icon=f":material/{icon}:",
        key=key,
        help=help,
    )


def download_list(name: str, make: Callable[[], Sheet], key: str) -> None:
    """A button for a whole list as a CSV file."""
    file = f"{name}.csv"
    download("CSV", file, lambda: csv_bytes(*make()), key, "table", f"The whole list: {file}")
