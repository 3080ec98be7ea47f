"""Work list of doubtful labels on the audit page: one film at a time, by keyboard alone."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from store import Correction, Doubt, Doubtful, Gallery, Row
from ui import changes, tables
from ui.dashboard import shared, sign_in
from ui.dashboard.components import film_list, html
from ui.dashboard.components.html import Labels, plain
from ui.dashboard.curation import acts, work_list
from ui.dashboard.film.panes import pane, sources
from ui.dashboard.film.viewer import viewer

#: Neighbours shown beside a doubtful film.
_NEIGHBOURS = 6
_BY_ITSELF = (
    "Changing labels to what the neighbours say raises P@k by itself: it tells how well labels and "
    "vectors agree, not who is right."
)


def entry(gallery: Gallery, films: Doubtful) -> list[Doubt]:
    """The button that begins the work; the doubts that are left, for the list below."""
    left = work_list.open_doubts(gallery, films.films)
    settled = len(films.films) - len(left)
    if sign_in.may_curate() and left:
        st.button(
            f"Work through {html.films(len(left))}",
            icon=":material/checklist:",
            type="primary",
            key="work-begin",
            on_click=work_list.begin,
            args=(gallery, left),
            help="One film at a time: confirm, change, exclude; by keyboard alone",
        )
    if settled:
        st.caption(f"{html.films(settled)} not listed: labels corrected or confirmed here.")
    return left


def page(gallery: Gallery, work: work_list.Work, labels: Labels) -> None:
    """One doubtful film, its neighbours, and what can be decided."""
    # Drawn last: the number of a film stands there once its own buttons do.
    head, place = st.empty(), st.empty()
    if work.at >= len(work.doubts):
        _finished(work)
    else:
        _film(gallery, work, labels)
    with head.container():
        _head(work)
    with place.container():
        _effect(gallery, work)


def _head(work: work_list.Work) -> None:
    told = work_list.summary(work.counts())
    at = min(work.at + 1, len(work.doubts))
    with st.container(horizontal=True, vertical_alignment="center", key="work-head"):
        st.markdown(
            f"**Film {at:,} of {len(work.doubts):,}** · {work.left:,} left"
            + (f" · {told}" if told else ""),
            width="content",
        )
        st.button("Back", shortcut="B", key="work-back", on_click=work_list.step, args=(-1,))
        st.button("Next", shortcut="N", key="work-next", on_click=work_list.step, args=(1,))
        st.button(
            "Undo last",
            shortcut="Z",
            key="work-undo",
            on_click=work_list.taken_back,
            disabled=not work.operations,
        )
        st.button("Leave the list", shortcut="Q", key="work-end", on_click=work_list.end)


def _film(gallery: Gallery, work: work_list.Work, labels: Labels) -> None:
    one = work.doubts[work.at]
    id_ = one.film.id
    found = gallery.rows([id_])
    if id_ not in found:
        said = work.decided.get(id_, "not in the gallery any more")
        st.info(f"{plain(id_)}: {said}. N: the next one.", icon=":material/visibility_off:")
        return
    row = found[id_]
    left, right = st.columns([3, 2], gap="medium")
    with left:
        png = gallery.thumbnails([id_])[id_]
        after = [two.film.id for two in work.doubts[work.at + 1 : work.at + 2]]
        if png is not None:
            viewer(
                [pane(gallery, row, png, f"chest film {id_}")],
                "work-viewer",
                ahead=sources(gallery, after),
                focus=False,  # the digits are labels here
            )
    with right:
        st.html(html.film_title(row))
        st.html(f'<div class="cxr">{labels.chips(row)}</div>')
        st.caption(plain(tables.doubt(one)))
        if (word := work.decided.get(id_)) is not None:
            st.success(f"Decided here: {word}.", icon=":material/check:")
        _decide(gallery, one, row)
    _neighbours(gallery, one, labels)


def _decide(gallery: Gallery, one: Doubt, row: Row) -> None:
    id_ = row.id
    with st.container(horizontal=True, key="work-decide"):
        st.button(
            "Labels are right",
            shortcut="Y",
            type="primary",
            key="work-confirm",
            on_click=work_list.confirm,
            args=(id_,),
        )
        st.button(
            "Exclude", shortcut="X", key="work-exclude", on_click=work_list.exclude, args=(id_,)
        )
    known = shared.facets(gallery, {})["label"]
    names = sorted(known, key=lambda name: (-known[name], name))
    st.caption("The labels are rather")
    with st.container(horizontal=True, key="work-offers"):
        for number, (name, correction) in enumerate(work_list.offers(one, row, names), start=1):
            st.button(
                plain(name),
                shortcut=str(number),
                key=f"work-offer-{number}",
                on_click=work_list.change,
                args=(id_, correction),
            )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        box = f"work-labels-{id_}"
        st.multiselect(
            "Or these findings", names, default=list(row.labels), key=box, accept_new_options=True
        )
        st.button("Change", shortcut="E", key="work-change", on_click=_change, args=(id_, box))


def _change(id_: str, box: str) -> None:
    work_list.change(id_, Correction.of(st.session_state.get(box) or []))


def _neighbours(gallery: Gallery, one: Doubt, labels: Labels) -> None:
    hits = gallery.search_by_id(one.film.id, min(_NEIGHBOURS, len(gallery) - 1))
    st.caption("Its nearest films")
    ids = [hit.row.id for hit in hits]
    film_list.beside([hit.row for hit in hits], gallery.thumbnails(ids), labels, "work-near")


def _finished(work: work_list.Work) -> None:
    st.success(
        f"That was the last one. {work.left:,} were left without a decision.",
        icon=":material/done_all:",
    )


def _effect(gallery: Gallery, work: work_list.Work) -> None:
    """What all decisions here did to Precision@k."""
    if not work.operations:
        return
    found = acts.effects(gallery, work.operations, "work")
    if found is None:
        return
    counts = work.counts()
    said = _what(counts)
    st.markdown(f"**{plain(said)}: {plain(changes.short_effect(found))}**", help=_BY_ITSELF)


def _what(counts: dict[str, int]) -> str:
    parts: Sequence[tuple[str, str, str]] = (
        ("changed", "label changed", "labels changed"),
        ("excluded", "film excluded", "films excluded"),
        ("confirmed", "confirmed", "confirmed"),
    )
    said = [
        f"{counts[word]:,} {one if counts[word] == 1 else more}"
        for word, one, more in parts
        if counts.get(word)
    ]
    return ", ".join(said) or "nothing in force"
