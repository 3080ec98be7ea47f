"""The page of one film: the film, what is known of it, the way on. Hidden: links lead here.

``?id=...&of=LIST``: a film of a list that this visit knows; ``?id=...&with=...``: two films.
"""

from __future__ import annotations

from functools import partial

import streamlit as st

from store import Gallery, Row, counted, nearest_reports
from ui.dashboard import originals, shared
from ui.dashboard.components import film_list, html, lists
from ui.dashboard.components.film_list import film_link
from ui.dashboard.components.html import Labels, cut, plain
from ui.dashboard.components.lists import Place
from ui.dashboard.curation import controls
from ui.dashboard.film import agreement, facts, tray
from ui.dashboard.film.panes import pane, sources
from ui.dashboard.film.viewer import SIZES, viewer
from ui.dashboard.search import session
from ui.dashboard.search.answer import badges
from ui.dashboard.search.link import ID_MAX

#: Neighbours shown, and reports of films like one that has none.
_NEIGHBOURS, _REPORTS = 10, 3
#: Narrowest a report is drawn, in CSS pixels, and characters of an id that fit in it: its last.
_REPORT_WIDTH, _ID_SHOWN = 280, 28
_VIEWER = "film-viewer"


def main() -> None:
    """Draw the page."""
    gallery = shared.gallery()
    labels = shared.labels(gallery)
    # Streamlit leaves the address as it was when a link leads from this page to itself.
    st.query_params.from_dict(session.address())
    id_, other = (str(st.query_params.get(name, ""))[:ID_MAX] for name in ("id", "with"))
    rows = gallery.rows([one for one in (id_, other) if one])
    for one in (id_, other):
        if one and one not in rows:
            st.info(plain(f"No film has the id {cut(one, 100)!r} in this gallery."))
            st.page_link("views/films.py", label="All films", icon=":material/grid_view:")
    if id_ in rows and other in rows and other != id_:
        compare(gallery, rows[id_], rows[other], labels)
    elif id_ in rows:
        alone(gallery, rows[id_], labels)
    elif not id_:
        st.title("Film")
        st.write("Click on the picture of any film, on any page, to see it here at its real size.")


def alone(gallery: Gallery, row: Row, labels: Labels) -> None:
    """One film, and the ways on from it."""
    originals.decode_ahead(gallery, row)
    of = str(st.query_params.get("of", ""))
    place = lists.place(of, row.id)
    head(row, of, place)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        picture(gallery, row, place)
    with right:
        st.html(f'<div class="cxr">{labels.chips(row)}</div>')
        with st.container(horizontal=True, gap="xsmall", key="film-acts"):
            film_list.search_button(row.id, "film-more", "More like this")
            tray.button(row.id, "film")
        about(row)
        controls.draw(gallery, row)
    near_reports(gallery, row)
    others(gallery, row, labels)
    neighbours(gallery, row, labels)


def head(row: Row, of: str, place: Place | None) -> None:
    """The film's id, and the way to the films beside it in the list it was opened from."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="film-head"):
        st.html(html.film_title(row))
        if place is None:
            return
        for id_, word, icon in (
            (place.before, "Before", "arrow_back"),
            (place.after, "Next", "arrow_forward"),
        ):
            film_list.step_link(id_, f"{word}", icon, of)
        st.html(html.note(f"{place.at + 1:,} of {place.count:,}"), width="content")


def picture(gallery: Gallery, row: Row, place: Place | None) -> None:
    """The film in the viewer; the next one of its list is fetched ahead."""
    png = gallery.thumbnails([row.id])[row.id]
    if png is None:
        st.info("This film has no picture in the gallery, only a vector.")
        return
    before, after = (place.before, place.after) if place else (None, None)
    viewer(
        [pane(gallery, row, png, f"chest film {row.id}")],
        _VIEWER,
        size=SIZES[bool(tray.films())],
        ahead=sources(gallery, [after] if after else []),
        step=partial(go, before, after),
        before=before is not None,
        after=after is not None,
    )


def go(before: str | None, after: str | None, by: int) -> None:
    """Turn this page to the film before or after, in the same list."""
    if (id_ := before if by < 0 else after) is not None:
        st.query_params["id"] = id_


def about(row: Row) -> None:
    """All that is known of a film, and its report."""
    if row.report:
        with st.container(border=True, key=f"film-report-{row.id}"):
            st.html(html.report(row.report))
    st.html(html.facts_table(facts.metadata(row)))


def near_reports(gallery: Gallery, row: Row) -> None:
    """What was written of the films most like one that has no report."""
    if row.report or not gallery.has_reports():
        return
    st.subheader("Reports of the films nearest to it")
    st.caption("This film has no report. These were written of other films, to compare with.")
    grid = st.grid("auto", min_column_width=_REPORT_WIDTH, border=True, key="film-near-reports")
    for near in nearest_reports(gallery, row.id, _REPORTS):
        first, *more = near.films
        with grid.cell():
            also = f" · the same of {counted(len(more), 'film')} more" if more else ""
            st.caption(f"cosine {near.score:.3f}{also}")
            st.html(html.report(near.report))
            short = first.id if len(first.id) <= _ID_SHOWN else f"…{first.id[1 - _ID_SHOWN :]}"
            film_list.page_link(first.id, plain(short))


def others(gallery: Gallery, row: Row, labels: Labels) -> None:
    """Other films of the same patient."""
    whose, ids, column = facts.of_the_patient(gallery, row)
    if not ids:
        return
    order = f"by {column}" if column else "by id"
    st.subheader(plain(f"Other films of this {whose}, {order}"))
    # All of them, this one among them: whoever goes on comes back here, too.
    name = f"{whose}:{row.patient or row.study}"
    lists.remember(name, facts.in_order(gallery, [*ids, row.id], column))
    film_list.films(gallery, ids, labels, "patient", size=6, of=name)


def neighbours(gallery: Gallery, row: Row, labels: Labels) -> None:
    """The films most similar to this one."""
    k = min(_NEIGHBOURS, len(gallery) - 1)
    if k < 1:
        return
    hits = gallery.search_by_id(row.id, k)
    ids = [hit.row.id for hit in hits]
    name = f"near:{row.id}"
    lists.remember(name, [row.id, *ids])
    pictures = gallery.thumbnails(ids)
    st.subheader(f"Its {len(hits)} nearest films")
    st.caption("Number and bar: cosine, image to image. A cosine is not a probability.")
    said = badges(hits, [row], (row.sha256,))
    grid = st.grid(
        "auto", min_column_width=film_list.FILM_WIDTH, border=True, key="film-neighbours"
    )
    for hit, marks in zip(hits, said, strict=True):
        with grid.cell():
            film_link(hit.row.id, f"near-{hit.row.id}", name)
            png = pictures[hit.row.id]
            st.html(html.hit(hit, png, labels, html.IMAGE_SCALE, marks))


def compare(gallery: Gallery, one: Row, other: Row, labels: Labels) -> None:
    """Two films side by side, moved and windowed together."""
    vectors = gallery.vectors([one.id, other.id])
    score = agreement.cosine(vectors[0], vectors[1])
    pictures = gallery.thumbnails([one.id, other.id])
    with st.container(horizontal=True, vertical_alignment="center", key="film-head"):
        st.html(html.compared(score))
        shows = st.toggle("Map of agreement", key="compare-map")
    left_png, right_png = pictures[one.id], pictures[other.id]
    found = agreement.Maps(None, None, "")
    if shows and left_png is not None and right_png is not None:
        right = right_png, vectors[0]
        found = agreement.maps(gallery, score, right, (left_png, vectors[1]))
    viewer(
        [
            pane(gallery, one, left_png, one.id, found.left),
            pane(gallery, other, right_png, other.id, found.right),
        ],
        "compare-viewer",
        size=SIZES[bool(tray.films())],
    )
    if found.said:
        st.markdown(found.said)
    for column, row in zip(st.columns(2), (one, other), strict=True):
        with column:
            st.html(f'<div class="cxr">{labels.chips(row)}</div>')
            with st.container(horizontal=True, gap="xsmall"):
                film_list.page_link(row.id, "Its page")
            about(row)


main()
