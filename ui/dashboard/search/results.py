"""The lower half of the search page: the query, its hits, or reasons why there are none."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt
import streamlit as st

from ingest.encoders import Encoder
from store import WEIGHT_MAX, BadQuery, CxrError, Gallery, UnknownId, Weights, counted
from ui import notices
from ui.dashboard import layout, shared
from ui.dashboard.components import html, lists
from ui.dashboard.components.film_list import film_link
from ui.dashboard.components.html import Labels, cut, films, plain
from ui.dashboard.curation import controls
from ui.dashboard.search import download, filters, hits, link, pair, session
from ui.dashboard.search.answer import (
    Answer,
    answer,
    neighbour_labels,
    similar_ids,
    ways_out,
    without_missing,
)
from ui.dashboard.search.ranges import column, in_words
from ui.dashboard.search.state import Search, pages

#: Labels offered in place of a sentence that is not understood.
_LABELS_OFFERED = 3
_NAMES = {"query": "Weight of query", "like": "of films +", "unlike": "of films −"}
_LONG_TEXT = {
    "cut": "cut: its beginning",
    "mean": "mean of its sentences",
    "best": "best: each film by its nearest sentence",
}


def band(
    gallery: Gallery,
    encoder: Encoder | CxrError | None,
    search: Search,
    found: Answer,
    labels: Labels,
) -> None:
    """One slim band above the hits: the query, what to be careful about, what the hits carry."""
    with st.container(border=True, key="band", gap="xsmall"):
        with st.container(horizontal=True, key="band-top", gap="medium"):
            with st.container(key="query", width="stretch"):
                if found.query is not None:
                    film_link(found.query.id, "query")
                st.html(_described(search, found, labels))
            if found.hits:
                with st.container(key="neighbours", width="stretch"):
                    neighbours(gallery, search, found, labels)
            st.button("Clear", icon=":material/close:", on_click=session.clear, key="clear")
        notes = cautions(gallery, encoder, search)
        if found.own is not None:
            notes.append((layout.sentence(notices.of_own_films(found.own)), ""))
        if notes:  # one line, however many they are
            said, details = zip(*notes, strict=True)
            st.caption(" · ".join(one.rstrip(".") for one in said), help=" ".join(details) or None)
        if search.words is not None:
            _words(search)
        if search.marks:
            _marks(search, found, labels)


def _described(search: Search, found: Answer, labels: Labels) -> str:
    if found.query is not None:
        row = found.query
        picture = html.film(found.thumbnails[row.id], f"query film {row.id}")
        size = _size(row.width, row.height)
        detail = " · ".join([*html.in_short(row), *([size] if size else [])])
        return html.query_card(
            "Query: a film of the gallery", row.id, detail, picture, labels.found(row, 34)
        )
    if search.upload is not None:
        film = search.upload
        return html.query_card(
            "Query: your film",
            film.name,
            f"{_size(film.width, film.height)} · kept for this visit only, not in the link",
            html.film(film.thumbnail, "the uploaded film"),
        )
    if search.text is not None:
        return html.query_card("Query: a sentence", f"“{search.text}”", "")
    if not search.has_vector:
        return html.query_card("Query: words in reports", search.words or "", "")
    return html.query_card("Query: the marked films", f"{films(len(search.like))} to be like", "")


def _marks(search: Search, found: Answer, labels: Labels) -> None:
    """The marked films in one line, which scrolls sideways, and their weights behind a button."""
    signed = [(id_, "+") for id_ in search.like] + [(id_, "−") for id_ in search.unlike]
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key="marks"):
        _weights(search)
        for id_, sign in signed:
            with st.container(
                horizontal=True,
                vertical_alignment="center",
                gap="xxsmall",
                key=f"marked-{id_}",
                width="content",
            ):
                st.html(
                    html.mark_card(found.marked[id_], found.thumbnails[id_], labels, sign),
                    width="content",
                )
                st.button(
                    f"Take the mark off {plain(id_)}",
                    key=f"mark-off-{id_}",
                    icon=":material/close:",
                    on_click=session.mark,
                    args=(id_, None),
                    type="tertiary",
                )


def _words(search: Search) -> None:
    """The words that are asked, and how they count."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="words"):
        if search.has_vector:
            st.button(
                f"Words in reports: {plain(cut(search.words or ''))}",
                key="words-off",
                icon=":material/close:",
                on_click=session.drop_words,
                help="Search without these words",
            )
            ways = [session.RANKS, "0.3", "0.5", "0.7"]
            now = st.session_state.get(session.FUSION_BOX, session.RANKS)
            st.selectbox(
                "Words and the rest together",
                ways if now in ways else [*ways, now],
                key=session.FUSION_BOX,
                format_func=lambda way: way if way == session.RANKS else f"words count {way}",
                on_change=session.choose_fusion,
                label_visibility="collapsed",
                width=190,
                help="By ranks: reciprocal rank fusion. A number: the weight of the words.",
            )
        st.toggle(
            "Absent words too",
            key=session.NEGATED_BOX,
            on_change=session.choose_negated,
            help="Find words also where a report says that they are absent.",
        )


def _weights(search: Search) -> None:
    absent = {
        "query": not search.has_query,
        "like": not search.like,
        "unlike": not search.unlike,
    }
    with st.popover("Weights", icon=":material/tune:", key="weights", width="content"):
        for part, name in zip(fields(Weights), session.WEIGHT_BOXES, strict=True):
            st.number_input(
                _NAMES[part.name],
                min_value=0.0,
                max_value=WEIGHT_MAX,
                step=0.05,
                format="%.2f",
                key=name,
                on_change=session.weigh,
                disabled=absent[part.name],
            )
        st.caption(plain(formula(search)))
    st.button("Take all marks off", key="unmark", on_click=session.unmark, width="content")


def formula(search: Search) -> str:
    """The combined query in one sentence: Rocchio's formula with its weights."""
    weights, parts = search.weights, []
    if search.has_query:
        parts.append(f"{weights.query:g} × query")
    if search.like:
        parts.append(f"{weights.like:g} × (mean of {films(len(search.like))} to be like)")
    sought = " + ".join(parts)
    if search.unlike:
        sought += f" − {weights.unlike:g} × (mean of {films(len(search.unlike))} to be unlike)"
    return (
        f"Looked for: {sought}, scaled to length 1 (Rocchio). Cosines are with that; the films "
        "it is made of are not among the hits."
    )


def _size(width: int, height: int) -> str:
    return f"{width} × {height}" if width and height else ""


def unknown(gallery: Gallery, search: Search) -> None:
    """An id that is not in the gallery, with the ones that may have been meant."""
    assert search.id is not None
    st.warning(
        f"No film has the id {plain(repr(cut(search.id, 100)))} in this gallery.",
        icon=":material/search_off:",
    )
    close = similar_ids(search.id, gallery.ids())
    st.write("Ids that look like it:" if close else "Ids look like these:")
    with st.container(horizontal=True):
        for id_ in close or shared.starters(gallery, {})[1][:3]:
            st.button(plain(id_), key=f"meant-{id_}", on_click=session.ask_this_id, args=(id_,))


def no_report(search: Search) -> None:
    """No report has the words: what else could be tried."""
    among = " among the films that pass the filters" if search.filters else ""
    st.warning(
        f"No report{among} says {plain(cut(search.words or ''))}.", icon=":material/search_off:"
    )
    if not search.negated:
        st.write("Words that a report says are absent are found when asked for: Absent words too.")
    if search.filters:
        st.button("Remove all filters", key="out-all", on_click=session.drop_all)


def nothing(gallery: Gallery, search: Search) -> None:
    """No film passes the filters: name those that, taken off, let films through."""
    chosen = " and ".join(
        f"{_name(facet)} {' or '.join(plain(cut(in_words(facet, value))) for value in values)}"
        for facet, values in search.filters.items()
    )
    if search.other_patients:
        st.warning("No film of another patient is left to find.", icon=":material/filter_alt_off:")
        st.button(
            "Search films of the same patient too",
            key="out-patients",
            on_click=session.search_all_patients,
        )
        return
    if not search.filters:
        st.warning("No film is left to find.", icon=":material/filter_alt_off:")
        st.write("The only films of this gallery are those of the query itself.")
        return
    st.warning(f"No film passes {chosen}.", icon=":material/filter_alt_off:")
    out = ways_out(search.filters, lambda kept: shared.films(gallery, kept))
    if len(search.filters) > 1 and out:
        named = " or ".join(f"the {_name(facet)} filter" for facet in out)
        st.write(f"Taking off {named} lets films through again:")
    for facet, count in out.items():
        st.button(
            f"Without the {_name(facet)} filter: {films(count)}",
            key=f"out-{facet}",
            on_click=session.drop,
            args=(facet,),
        )
    if not out:
        st.write("Taking off one filter alone is not enough; remove several, or all.")
        st.button("Remove all filters", key="out-all", on_click=session.drop_all)


def _name(facet: str) -> str:
    return plain(cut(column(facet), 40))


def starters(gallery: Gallery, search: Search, labels: Labels) -> None:
    """Before any query: some films to begin with, the same ones while the table stays."""
    passing, chosen = shared.starters(gallery, search.filters)
    if not chosen:
        nothing(gallery, search)
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader("Or start from one of these", width="content")
        filters.chips(search)
    which = html.passing(passing) if search.filters else ""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        some = f"{len(chosen)} of {films(passing)}{which}."
        st.caption(
            some if len(chosen) < passing else f"All {films(passing)}{which}.", width="content"
        )
        st.page_link("views/films.py", label="All films", icon=":material/grid_view:")
    pictures = gallery.thumbnails(chosen)
    lists.remember("starters", chosen)
    cells = st.grid("auto", min_column_width=hits.FILM_WIDTH, border=True, key="starters")
    for id_ in chosen:
        row = gallery.row(id_)
        with cells.cell():
            film_link(id_, f"start-{id_}", "starters")
            st.html(html.film_card(row, pictures[id_], labels))
            with st.container(horizontal=True, gap="xxsmall", key=f"do-{id_}"):
                hits.more(row)


def show(
    gallery: Gallery, encoder: Encoder | CxrError | None, search: Search, labels: Labels
) -> None:
    """The query, and the films that are similar to it."""
    if search.upload is not None and search.upload.fingerprint != gallery.stamp.fingerprint:
        st.info("The gallery now has another encoder; upload the film again.")
        return
    search = _without_missing(gallery, search)
    if search.words is not None and not shared.has_reports(gallery):
        st.info("No film of this gallery has a report: the words are left out.")
        search = search.ask_words(None)
        session.correct(search)
        if not search.asked:
            starters(gallery, search, labels)
            return
    try:
        vector = _vector(search, encoder)
        search, found = _answered(gallery, search, vector)
    except UnknownId:
        unknown(gallery, search)
        return
    except CxrError as error:
        layout.encoder_problem(error, gallery)
        if isinstance(error, BadQuery):
            st.button("Take all marks off", key="unmark", on_click=session.unmark)
        return
    band(gallery, encoder, search, found, labels)
    if not found.hits:
        if search.words is not None and not search.has_vector:
            no_report(search)
        else:
            nothing(gallery, search)
        return
    hits.hits(search, found, labels, shared.seen_in_training(encoder))
    if st.button("Show on the map", icon=":material/scatter_plot:", key="to-map"):
        st.switch_page("views/map.py", query_params=link.to_link(search))
    download.takeaway(gallery, search, found)
    controls.for_search(gallery, search, [hit.row.id for hit in found.hits])
    session.scroll_to_query()
    if search.pair is not None and search.has_vector:
        pair.look(gallery, search, found, vector, labels)


def _vector(search: Search, encoder: Encoder | CxrError | None) -> npt.NDArray[np.float32] | None:
    """The query's vector, or the vectors of a text, where it is not a stored film's."""
    if search.upload is not None:
        return search.upload.vector
    if search.text is not None and isinstance(encoder, Encoder):
        return shared.text_query(encoder, search.text, search.long_text).vectors
    return None


def _without_missing(gallery: Gallery, search: Search) -> Search:
    """Leave out marked films that are not stored, and say so."""
    kept, missing = without_missing(gallery, search)
    if missing:
        said = ", ".join(repr(cut(id_)) for id_ in missing[:3])
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


def cautions(
    gallery: Gallery, encoder: Encoder | CxrError | None, search: Search
) -> list[tuple[str, str]]:
    """Before the hits: a sentence that is not understood, an upload that is like no film here.

    Returns:
        What is said in passing, in the band's one line: each short, and its details.
    """
    if search.upload is not None:
        near = shared.nearness(gallery, search.upload)
        if (warning := notices.of_image(near)) is not None:
            st.warning(layout.sentence(warning), icon=":material/image_not_supported:")
        match, figures = (layout.sentence(one(near)) for one in (notices.match, notices.how_near))
        if near.not_judged is None:
            return [(match, figures)]
        return [("Match not judged: too few films", f"{match} {figures}")]
    if search.text is not None and isinstance(encoder, Encoder):
        asked = shared.text_query(encoder, search.text, search.long_text)
        if (note := notices.of_reading(asked, "the choice of")) is not None:
            long_text(note)
        warning = notices.of_text(encoder.understands(asked))
        if warning is not None:
            st.warning(layout.sentence(warning), icon=":material/help:")
            labels_instead(gallery, search.text)
    return []


def labels_instead(gallery: Gallery, text: str) -> None:
    """The films with a label that a sentence names, where the encoder does not understand it."""
    counts = shared.facets(gallery, {})["label"]
    for label in notices.labels_meant(text, counts)[:_LABELS_OFFERED]:
        if st.button(
            f"See {films(counts[label])} labelled {plain(cut(label))}",
            key=f"labelled-{label}",
            type="primary",
            icon=":material/label:",
        ):
            st.switch_page("views/films.py", query_params={"label": label})


def long_text(note: str) -> None:
    """Below a text that is longer than the encoder reads: what was searched, and the other ways."""
    st.info(layout.sentence(note), icon=":material/content_cut:")
    st.segmented_control(
        "How to search a text longer than the encoder reads",
        list(_LONG_TEXT),
        format_func=_LONG_TEXT.__getitem__,
        key=session.LONG_BOX,
        on_change=session.choose_long_text,
    )


def neighbours(gallery: Gallery, search: Search, found: Answer, labels: Labels) -> None:
    """Labels among the hits against how common they are."""
    pool = search.choose("label", ())
    lines = neighbour_labels(
        found.hits,
        shared.named_findings(gallery, pool.filters),
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
            "Labels of the hit shown"
            if len(found.hits) == 1
            else f"Labels of the {counted(len(found.hits), 'hit')} shown",
            f"Upright line and last number: the label's share of all films{among}, which is what "
            f"chance alone would show. Thin line: 95 % interval of the share among such hits "
            f"(Wilson).{chosen}",
            labels,
        )
    )
