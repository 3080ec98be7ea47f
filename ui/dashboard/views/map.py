"""The map page: the gallery in the plane; a line around films selects them."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from store import BadQuery, CxrError, Gallery, projection
from ui import tables
from ui.dashboard import layout, map_points, shared
from ui.dashboard.components import film_list, html, scatter
from ui.dashboard.components.colouring import Colouring
from ui.dashboard.components.html import Labels, plain
from ui.dashboard.curation import controls
from ui.dashboard.map_points import Drawn, Places
from ui.dashboard.search import link, session
from ui.dashboard.search.state import Search

_CALLED = {projection.PCA: "PCA", projection.UMAP: "UMAP"}
_HELP = (
    "PCA: the plane of largest variance, exact. UMAP: neighbours stay neighbours, distances mean "
    "little. Both are made by: cxr map"
)


def main() -> None:
    """Draw the page."""
    gallery = shared.gallery()
    labels = shared.labels(gallery)
    st.title("Map of the gallery")
    try:
        of, by = choose(gallery)
    except BadQuery as error:
        layout.say(error)
        return
    if not len(of.on_map):
        st.info("No film is on this map.", icon=":material/info:")
        return
    state(gallery, of)
    search, marks = marked(gallery, of)
    explore(gallery, of, by, labels, search, marks)


def choose(gallery: Gallery) -> tuple[Drawn, str]:
    """The chosen map, and the column that colours it."""
    methods = map_points.methods(gallery)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        method = st.segmented_control(
            "Map",
            methods,
            default=methods[0],
            required=True,
            format_func=_CALLED.__getitem__,
            key="map-method",
            help=_HELP,
        )
        of = map_points.drawn(gallery, str(method))
        by = st.selectbox("Coloured by", of.choices, key="map-by", width=240)
    return of, by or of.choices[0]


def state(gallery: Gallery, of: Drawn) -> None:
    """Age of the map, and the films that are not on it."""
    found = of.map
    again = ["cxr", "map", "--method", found.method, "--store", gallery.uri]
    if found.missing:
        st.warning(
            f"{html.films(found.missing)} came or changed since this map was made at table "
            f"version {found.made_at} and {'is' if found.missing == 1 else 'are'} not on it. "
            f"Make it again: `{shlex.join(again)}`",
            icon=":material/update:",
        )
    notes = []
    if found.projected:
        notes.append(
            f"{html.films(found.projected)} came or changed since the plane was computed at "
            f"table version {found.made_at}; they are put in place by that plane."
        )
    if found.gone:
        notes.append(f"{html.films(found.gone)} left the gallery since and are not drawn.")
    if notes:
        st.caption(plain(" ".join(notes)))


def marked(gallery: Gallery, of: Drawn) -> tuple[Search | None, list[tuple[int, str]]]:
    """The search to mark on the map: of the link, else this visit's last one."""
    search, _ = link.from_link(session.address(), shared.known(gallery))
    if not search.asked:
        search = session.last()
    if not search.asked:
        return None, []
    try:
        return search, map_points.marks(of, search, map_points.hits(gallery, search))
    except CxrError as error:
        st.info(f"The last search is not marked: {plain(str(error))}.", icon=":material/info:")
        return None, []


@st.fragment
def explore(
    gallery: Gallery,
    of: Drawn,
    by: str,
    labels: Labels,
    search: Search | None,
    marks: list[tuple[int, str]],
) -> None:
    """The map, what the pointer rests on, and what is selected."""
    left, right = st.columns([4, 1], gap="medium")
    with left:
        points, colours = map_points.points(of, by, labels)
        key = f"map-scatter-{of.map.method}"
        start = _outline_at_arrival(key)
        shown = scatter.scatter(
            key,
            points,
            version=f"{of.version} {by}",
            place=of.version,
            by=by,
            axes=_axes(of),
            label=_spoken(of, by, colours),
            marks=marks,
            outline=start,
            on_outline=lambda: st.session_state.update({"map-selected-page": 1}),
            on_peek=_nothing,
            on_open=_nothing,
        )
        if (film := _film(of, shown.get("open"))) is not None:
            film_list.open_film(film)
        sent = shown.get("outline")
        outline = start if sent is None else sent
        st.session_state[f"{key}-kept"] = outline
        with st.container(key="map-legend"):
            legend(by, colours)
    with right:
        peek(gallery, of, shown.get("peek"), labels)
        if search is not None:
            st.caption(plain(f"Marked: {search.subject} (?) and its hits by rank."))
    selection(gallery, of, map_points.surrounded(of, outline), labels)


def _nothing() -> None:
    """A trigger needs someone to call; the fragment runs again by itself."""


def _outline_at_arrival(key: str) -> Any:
    """The selection before the visitor went elsewhere; from then on the browser keeps it."""
    if key not in st.session_state:
        st.session_state[f"{key}-start"] = st.session_state.get(f"{key}-kept")
    return st.session_state.get(f"{key}-start")


def _axes(of: Drawn) -> str:
    if of.map.explained:
        first, second = of.map.explained
        return (
            f"across: {first:.1%} of the variance, up: {second:.1%}; each axis is stretched to fill"
        )
    return f"UMAP, cosine, seed {of.map.seed}; each axis is stretched to fill"


def _spoken(of: Drawn, by: str, colours: Colouring) -> str:
    said = f"Map of {html.films(len(of.on_map))}, coloured by {by}"
    if colours.legend:
        said += ": " + ", ".join(f"{entry.name} {entry.count}" for entry in colours.legend)
    return said


def legend(by: str, colours: Colouring) -> None:
    """Shapes, colours and counts; or the scale of numbers."""
    if colours.range is not None:
        low, high = colours.range
        st.html(html.ramp(f"{low:.4g}", f"{high:.4g}", by, colours.missing))
        return
    entries = [
        (f"{entry.name} ({entry.count:,})", entry.glyph, entry.colour) for entry in colours.legend
    ]
    if colours.missing:
        entries.append((f"no value ({colours.missing:,})", "●", "#80808080"))
    st.html(html.legend(entries))


def peek(gallery: Gallery, of: Drawn, at: object, labels: Labels) -> None:
    """The film that the pointer rested on last."""
    if (pointed := _film(of, at)) is not None:
        st.session_state["map-peek"] = pointed
    id_ = st.session_state.get("map-peek")
    rows = gallery.rows([id_]) if id_ else {}
    with st.container(border=True, key="map-peek-card"):
        if not rows:
            st.caption("Rest the pointer on a film, or tap it, to see it here.")
            return
        [row] = rows.values()
        film_list.card(row, gallery.thumbnails([row.id])[row.id], labels, f"peek-{row.id}")


def _film(of: Drawn, at: object) -> str | None:
    """The id of a film that the browser points at; None of what is no film."""
    return of.ids[at] if isinstance(at, int) and 0 <= at < len(of.on_map) else None


def selection(gallery: Gallery, of: Drawn, places: Places, labels: Labels) -> None:
    """The films that the line surrounds."""
    if not len(places):
        st.caption(
            "Draw a line around films with Lasso or Box to list them here; Select view takes all "
            "that are in view."
        )
        return
    chosen = of.columns.take(pa.array(places))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(f"{html.films(len(places))} selected", width="content")
        film_list.download_list("selection", lambda: sheet(chosen), "map-csv")
        controls.many(gallery, chosen["id"].to_pylist(), len(chosen), "map")
    st.html(html.table(*shares(of.columns, chosen)))
    film_list.films(gallery, chosen["id"].to_pylist(), labels, "map-selected")


def shares(whole: pa.Table, chosen: pa.Table, most: int = 12) -> tuple[list[str], list[list[str]]]:
    """Share of each label in a selection, against the whole map."""
    everywhere, here = _label_counts(whole), _label_counts(chosen)
    rows = [
        [name, f"{count:,}", f"{count / len(chosen):.1%}", f"{everywhere[name] / len(whole):.1%}"]
        for name, count in here.most_common(most)
    ]
    return ["label", "selected films", "share", "share of the whole map"], rows


def _label_counts(films: pa.Table) -> Counter[str]:
    found = pc.value_counts(pc.list_flatten(films["labels"]))
    return Counter({one["values"]: one["counts"] for one in found.to_pylist()})


def sheet(films: pa.Table) -> tables.Sheet:
    """Films with their metadata."""
    rows = [
        ["; ".join(cell) if isinstance(cell, list) else cell for cell in row.values()]
        for row in films.to_pylist()
    ]
    return films.column_names, rows


main()
