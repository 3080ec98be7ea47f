"""The map page: the gallery in the plane; a line around films selects them."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any

import streamlit as st

from store import BadQuery, CxrError, Gallery, projection
from ui import tables
from ui.dashboard import map_points, shared
from ui.dashboard.components import film_list, html, scatter
from ui.dashboard.components.colouring import Colouring
from ui.dashboard.components.html import Labels, plain
from ui.dashboard.map_points import Drawn
from ui.dashboard.search import link
from ui.dashboard.search.state import Search

_CALLED = {projection.PCA: "PCA", projection.UMAP: "UMAP"}
_HELP = (
    "PCA: the plane of largest variance, exact. UMAP: neighbours stay neighbours, distances mean "
    "little. Both are made by: cxr map"
)


def main() -> None:
    """Draw the page."""
    gallery = shared.gallery()
    labels = Labels(shared.facets(gallery, {})["label"])
    st.html(html.STUDY_STYLE)
    st.title("Map of the gallery")
    try:
        of, by = choose(gallery)
    except BadQuery as error:
        st.info(f"{plain(str(error))}.", icon=":material/info:")
        return
    if not len(of.on_map):
        st.info("No film is on this map.", icon=":material/info:")
        return
    state(gallery, of)
    search, marks = marked(gallery, of)
    explore(gallery, of, by, labels, search, marks)


def choose(gallery: Gallery) -> tuple[Drawn, str]:
    """Which map, and what colours it."""
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
        choices = map_points.choices(of)
        by = st.selectbox("Coloured by", choices, key="map-by", width=240) or choices[0]
    return of, by


def state(gallery: Gallery, of: Drawn) -> None:
    """How old the map is, and which films are not on it."""
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
    params = {name: st.query_params.get_all(name) for name in st.query_params}
    search, _ = link.from_link(params, shared.known(gallery))
    if not search.asked:
        search = st.session_state.get("search-now") or Search()
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
        )
        sent = shown.get("outline")
        outline = start if sent is None else sent
        st.session_state[f"{key}-kept"] = outline
        with st.container(key="map-legend"):
            legend(by, colours)
    with right:
        peek(gallery, of, shown.get("peek"), labels)
        if search is not None:
            st.caption(plain(f"Marked: {_asked(search)} (?) and its hits by rank."))
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


def _asked(search: Search) -> str:
    if search.id is not None:
        return search.id
    if search.text is not None:
        return f"“{search.text}”"
    return search.upload.name if search.upload is not None else "the marked films"


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
    if isinstance(at, int) and 0 <= at < len(of.on_map):
        st.session_state["map-peek"] = of.ids[at]
    id_ = st.session_state.get("map-peek")
    rows = film_list.rows_of(gallery, [id_]) if id_ else {}
    with st.container(border=True, key="map-peek-card"):
        if not rows:
            st.caption("Rest the pointer on a film, or tap it, to see it here.")
            return
        [row] = rows.values()
        film_list.card(row, gallery.thumbnails([row.id])[row.id], labels, f"peek-{row.id}")


def selection(gallery: Gallery, of: Drawn, ids: list[str], labels: Labels) -> None:
    """The films that the line surrounds."""
    if not ids:
        st.caption(
            "Draw a line around films with Lasso or Box to list them here; Select view takes all "
            "that are in view."
        )
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(f"{html.films(len(ids))} selected", width="content")
        film_list.download("selection", lambda: chosen_sheet(of, ids), "map-csv")
    st.html(html.table(*shares(of, ids)))
    film_list.films(gallery, ids, labels, "map-selected")


def shares(of: Drawn, ids: list[str], most: int = 12) -> tuple[list[str], list[list[str]]]:
    """How often each label occurs in a selection, against the whole map."""
    cells = of.columns["labels"].to_pylist()
    inside = set(ids)
    everywhere = Counter(name for row in cells for name in row or ())
    here = Counter(
        name for id_, row in zip(of.ids, cells, strict=True) if id_ in inside for name in row or ()
    )
    rows = [
        [name, f"{count:,}", f"{count / len(ids):.1%}", f"{everywhere[name] / len(cells):.1%}"]
        for name, count in here.most_common(most)
    ]
    return ["label", "selected films", "share", "share of the whole map"], rows


def chosen_sheet(of: Drawn, ids: list[str]) -> tables.Sheet:
    """The selected films with their metadata."""
    inside = set(ids)
    names = of.columns.column_names
    rows = [
        ["; ".join(cell) if isinstance(cell, list) else cell for cell in row.values()]
        for row in of.columns.to_pylist()
        if row["id"] in inside
    ]
    return names, rows


main()
