"""The lower half of the search page: the query and what is similar to it."""

from __future__ import annotations

import shlex

import streamlit as st

from ingest.encoders import Encoder
from store import CxrError, Gallery, Row, UnknownId
from ui import caution
from ui.board import frame, link, markup, resources, visit
from ui.board.answer import Answer, answer, badges, neighbour_labels, similar_ids, ways_out
from ui.board.link import Search
from ui.board.markup import Labels, plain

#: Narrowest a film is drawn with its frame, in CSS pixels; two fit side by side on a phone.
FILM_WIDTH = 180
_STARTERS = 10


def starters(gallery: Gallery, search: Search, labels: Labels) -> None:
    """Before any query: some films to begin with, the same ones while the table stays."""
    ids = gallery.ids(search.where)
    if not ids:
        nothing(gallery, search)
        return
    chosen = ids[:: max(1, len(ids) // _STARTERS)][:_STARTERS]
    st.subheader("Or start from one of these")
    st.caption(
        f"{len(chosen)} of {len(ids):,} films{_passing(search)}, evenly spread over the ids."
    )
    pictures = gallery.thumbnails(chosen)
    grid = st.grid("auto", min_column_width=FILM_WIDTH, border=True)
    for id_ in chosen:
        row = gallery.row(id_)
        with grid.cell():
            st.html(markup.film_card(row, pictures[id_], labels))
            _more(row)


def show(
    gallery: Gallery, encoder: Encoder | CxrError | None, search: Search, labels: Labels
) -> None:
    """The query and what is similar to it."""
    vector = None
    if search.upload is not None:
        vector = search.upload.vector
        if search.upload.fingerprint != gallery.stamp.fingerprint:
            st.info("The gallery now has another encoder; upload the film again.")
            return
    elif search.text is not None and isinstance(encoder, Encoder):
        try:
            vector = resources.text_vector(encoder, search.text)
        except CxrError as error:
            frame.encoder_problem(error, gallery)
            return
    try:
        found = answer(gallery, search, vector)
    except UnknownId:
        unknown(gallery, search)
        return
    cautions(gallery, encoder, search)
    searched = resources.films(gallery, search.filters)
    left, right = st.columns([3, 2])
    with left, st.container(border=True, height="stretch", horizontal=True, key="query"):
        query(search, found, labels)
    if not found.hits:
        nothing(gallery, search)
        return
    with right, st.container(border=True, height="stretch", key="neighbours"):
        neighbours(gallery, search, found, labels)
    hits(search, found, searched, labels)
    elsewhere(gallery, search)
    visit.scroll_to_query()


def cautions(gallery: Gallery, encoder: Encoder | CxrError | None, search: Search) -> None:
    """Before the hits: a sentence that is not understood, an upload that is like no film here."""
    if search.upload is not None:
        near = resources.nearness(gallery, search.upload)
        if (warning := caution.of_image(near)) is not None:
            st.warning(f"{warning[0].upper()}{warning[1:]}.", icon=":material/image_not_supported:")
        st.caption(f"{caution.how_near(near)}.")
    elif search.text is not None and isinstance(encoder, Encoder):
        warning = caution.of_text(encoder.understands(search.text))
        if warning is not None:
            st.warning(plain(f"{warning[0].upper()}{warning[1:]}."), icon=":material/help:")


def query(search: Search, found: Answer, labels: Labels) -> None:
    """What is being looked for."""
    if found.query is not None:
        row = found.query
        picture = markup.film(found.thumbnails[row.id], f"query film {row.id}")
        parts = (row.view, row.sex, _size(row.width, row.height))
        detail = " · ".join(part for part in parts if part)
        st.html(
            markup.query_card(
                "Query: a film of the gallery", row.id, detail, picture, labels.chips(row)
            )
        )
    elif search.upload is not None:
        film = search.upload
        st.html(
            markup.query_card(
                "Query: your film",
                film.name,
                f"{_size(film.width, film.height)} · kept for this visit only, not in the link",
                markup.film(film.thumbnail, "the uploaded film"),
            )
        )
    else:
        st.html(markup.query_card("Query: a sentence", f"“{search.text}”", ""))
    st.button("Clear", icon=":material/close:", on_click=visit.clear, key="clear")


def neighbours(gallery: Gallery, search: Search, found: Answer, labels: Labels) -> None:
    """Labels among the hits against how common they are."""
    pool = search.choose("label", ())
    lines = neighbour_labels(
        found.hits,
        resources.facets(gallery, pool.filters)["label"],
        resources.films(gallery, pool.filters),
    )
    if not lines:
        st.caption("The films searched carry no labels.")
        return
    among = _passing(pool) or " of the gallery"
    chosen = ""
    if pool.filters != search.filters:
        among = " that pass the other filters" if pool.filters else " of the gallery"
        chosen = " The label filter decided part of the counts."
    st.html(
        markup.neighbours(
            lines,
            f"Labels of the {len(found.hits)} neighbours",
            f"Upright line and percentage: the label's share of all films{among}, which is what "
            f"chance alone would show.{chosen}",
            labels,
        )
    )


def hits(search: Search, found: Answer, searched: int, labels: Labels) -> None:
    """The grid."""
    text = search.text is not None
    scale = markup.TEXT_SCALE if text else markup.IMAGE_SCALE
    count = len(found.hits)
    others = searched - (found.query is not None and not search.filters)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader(f"{count} most similar", width="content")
        for facet, values in search.filters.items():
            for value in values:
                st.button(
                    f"{facet}: {plain(value)}",
                    key=f"off-{facet}-{value}",
                    icon=":material/close:",
                    on_click=visit.drop,
                    args=(facet, value),
                    help="Remove this filter",
                )
    kind = "sentence to image" if text else "image to image"
    st.caption(
        f"Out of {_films(others)}{_passing(search)}. Number and bar: cosine, {kind}, "
        f"bar from {scale.low:g} to {scale.high:g}. A cosine is not a probability, and the two "
        "kinds are not comparable."
    )
    digests: tuple[bytes, ...] = ()
    if search.upload is not None:
        digests = search.upload.digests
    elif found.query is not None:
        digests = (found.query.sha256,)
    said = badges(found.hits, found.query, digests)
    grid = st.grid("auto", min_column_width=FILM_WIDTH, border=True, key="hits")
    for hit, marks in zip(found.hits, said, strict=True):
        with grid.cell():
            st.html(markup.hit(hit, found.thumbnails[hit.row.id], labels, scale, marks))
            _more(hit.row)


def _more(row: Row) -> None:
    st.button(
        "More like this",
        key=f"more-{row.id}",
        on_click=visit.ask_this_id,
        args=(row.id,),
        width="stretch",
    )


def unknown(gallery: Gallery, search: Search) -> None:
    """An id that is not in the gallery, with the ones that may have been meant."""
    assert search.id is not None
    st.warning(
        f"No film has the id {plain(repr(link.cut(search.id, 100)))} in this gallery.",
        icon=":material/search_off:",
    )
    close = similar_ids(search.id, gallery.ids())
    st.write("Ids that look like it:" if close else "Ids look like these:")
    with st.container(horizontal=True):
        for id_ in close or gallery.ids()[:3]:
            st.button(plain(id_), key=f"meant-{id_}", on_click=visit.ask_this_id, args=(id_,))


def nothing(gallery: Gallery, search: Search) -> None:
    """No film passes the filters: say which one empties the set."""
    chosen = " and ".join(
        f"{facet} {' or '.join(map(plain, values))}" for facet, values in search.filters.items()
    )
    st.warning(f"No film passes {chosen or 'the filters'}.", icon=":material/filter_alt_off:")
    if not search.filters:
        st.write("The only film of this gallery is the query itself.")
        return
    out = ways_out(search.filters, lambda kept: resources.films(gallery, kept))
    for facet, films in out.items():
        st.button(
            f"Without the {facet} filter: {_films(films)}",
            key=f"out-{facet}",
            on_click=visit.drop,
            args=(facet,),
        )
    if not out:
        st.button("Remove all filters", key="out-all", on_click=visit.drop_all)


def elsewhere(gallery: Gallery, search: Search) -> None:
    """The same search on the command line."""
    if search.upload is not None:
        asked = ["--image", search.upload.name]
    else:
        asked = ["--id", search.id] if search.id is not None else ["--text", search.text or ""]
    where = [
        part
        for facet, values in search.filters.items()
        for value in values
        for part in ("--where", f"{facet}={value}")
    ]
    command = ["cxr", "search", *asked, *where, "-k", str(search.k), "--store", gallery.uri]
    with st.expander("The same search on the command line", icon=":material/terminal:"):
        st.code(shlex.join(command), language=None, wrap_lines=True)


def _passing(search: Search) -> str:
    """Say what was filtered, in Markdown or plain alike."""
    if not search.filters:
        return ""
    return " that pass the filters"


def _films(count: int) -> str:
    return "1 film" if count == 1 else f"{count:,} films"


def _size(width: int, height: int) -> str:
    return f"{width} × {height}" if width and height else ""
