"""The lower half of the search page: the query and what is similar to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import streamlit as st

from ingest.encoders import Encoder
from store import BadQuery, CxrError, Gallery, UnknownId
from ui import notices
from ui.dashboard import layout, shared
from ui.dashboard.components import html
from ui.dashboard.components.html import Labels, plain
from ui.dashboard.search import absent, download, hits, link, pair, query, session
from ui.dashboard.search.answer import Answer, answer, neighbour_labels, present
from ui.dashboard.search.state import Search, pages

_STARTERS = 10


def starters(gallery: Gallery, search: Search, labels: Labels) -> None:
    """Before any query: some films to begin with, the same ones while the table stays."""
    ids = gallery.ids(search.where)
    if not ids:
        absent.nothing(gallery, search)
        return
    chosen = ids[:: max(1, len(ids) // _STARTERS)][:_STARTERS]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader("Or start from one of these", width="content")
        hits.chips(search)
    passing = " that pass the filters" if search.filters else ""
    st.caption(f"{len(chosen)} of {len(ids):,} films{passing}, evenly spread over the ids.")
    pictures = gallery.thumbnails(chosen)
    cells = st.grid("auto", min_column_width=hits.FILM_WIDTH, border=True)
    for id_ in chosen:
        row = gallery.row(id_)
        with cells.cell():
            st.html(html.film_card(row, pictures[id_], labels))
            hits.more(row)


def show(
    gallery: Gallery, encoder: Encoder | CxrError | None, search: Search, labels: Labels
) -> None:
    """The query and what is similar to it."""
    if search.upload is not None and search.upload.fingerprint != gallery.stamp.fingerprint:
        st.info("The gallery now has another encoder; upload the film again.")
        return
    search = _without_missing(gallery, search)
    try:
        vector = _vector(search, encoder)
        search, found = _answered(gallery, search, vector)
    except UnknownId:
        absent.unknown(gallery, search)
        return
    except BadQuery as error:
        layout.encoder_problem(error, gallery)
        st.button("Take all marks off", key="unmark", on_click=session.unmark)
        return
    except CxrError as error:
        layout.encoder_problem(error, gallery)
        return
    cautions(gallery, encoder, search)
    left, right = st.columns([3, 2])
    with left, st.container(border=True, height="stretch", key="query"):
        query.card(search, found, labels)
    if not found.hits:
        absent.nothing(gallery, search)
        return
    with right, st.container(border=True, height="stretch", key="neighbours"):
        neighbours(gallery, search, found, labels)
    hits.hits(search, found, labels, shared.learnt(encoder))
    if st.button("Show on the map", icon=":material/scatter_plot:", key="to-map"):
        st.switch_page("views/map.py", query_params=link.to_link(search))
    download.takeaway(gallery, search, found)
    session.scroll_to_query()
    if search.pair is not None:
        pair.look(gallery, search, found, vector, labels)


def _vector(search: Search, encoder: Encoder | CxrError | None) -> npt.NDArray[np.float32] | None:
    """The query's vector, where it is not a stored film's."""
    if search.upload is not None:
        return search.upload.vector
    if search.text is not None and isinstance(encoder, Encoder):
        return shared.text_vector(encoder, search.text)
    return None


def _without_missing(gallery: Gallery, search: Search) -> Search:
    """Leave out marked films that are not stored, and say so."""
    kept, missing = present(gallery, search)
    if missing:
        said = ", ".join(repr(link.cut(id_)) for id_ in missing[:3])
        more = " and others" if len(missing) > 3 else ""
        st.info(plain(f"Not in this gallery, so left out of the query: {said}{more}."))
        session.correct(kept)
    return kept


def _answered(
    gallery: Gallery, search: Search, vector: npt.NDArray[np.float32] | None
) -> tuple[Search, Answer]:
    """The hits; of the last page when there is no such page."""
    passing = shared.films(gallery, search.filters)
    found = answer(gallery, search, vector, passing)
    last = pages(found.candidates, search.k)
    if search.page <= last:
        return search, found
    st.info(f"There is no page {search.page}; this is the last one, page {last}.")
    search = replace(search, page=last)
    session.correct(search)
    return search, answer(gallery, search, vector, passing)


def cautions(gallery: Gallery, encoder: Encoder | CxrError | None, search: Search) -> None:
    """Before the hits: a sentence that is not understood, an upload that is like no film here."""
    if search.upload is not None:
        near = shared.nearness(gallery, search.upload)
        if (warning := notices.of_image(near)) is not None:
            st.warning(f"{warning[0].upper()}{warning[1:]}.", icon=":material/image_not_supported:")
        st.caption(f"{notices.how_near(near)}.")
    elif search.text is not None and isinstance(encoder, Encoder):
        warning = notices.of_text(encoder.understands(search.text))
        if warning is not None:
            st.warning(plain(f"{warning[0].upper()}{warning[1:]}."), icon=":material/help:")


def neighbours(gallery: Gallery, search: Search, found: Answer, labels: Labels) -> None:
    """Labels among the hits against how common they are."""
    pool = search.choose("label", ())
    lines = neighbour_labels(
        found.hits,
        shared.facets(gallery, pool.filters)["label"],
        shared.films(gallery, pool.filters),
    )
    if not lines:
        st.caption("The films searched carry no labels.")
        return
    among = " that pass the filters" if pool.filters else " of the gallery"
    chosen = ""
    if pool.filters != search.filters:
        among = " that pass the other filters" if pool.filters else " of the gallery"
        chosen = " The label filter decided part of the counts."
    st.html(
        html.neighbours(
            lines,
            f"Labels of the {len(found.hits)} neighbours shown",
            f"Upright line and last number: the label's share of all films{among}, which is what "
            f"chance alone would show. Thin line and range: 95 % interval of the neighbours' "
            f"share (Wilson).{chosen}",
            labels,
        )
    )
