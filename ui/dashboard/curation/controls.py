"""Buttons of curation: for one film on its page, and for many films of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from store import NO_FINDING, Correction, Gallery, Row, UsageError, Where
from ui import changes
from ui.dashboard import shared, sign_in
from ui.dashboard.components import html
from ui.dashboard.components.html import plain
from ui.dashboard.curation import acts
from ui.dashboard.curation.acts import Which
from ui.dashboard.search.state import Search, where

_REPLACE, _ADD, _REMOVE = "Replace", "Add", "Remove"


def many(gallery: Gallery, which: Which, count: int, key: str, what: str = "films") -> None:
    """A button behind which films are tagged, labelled, noted, excluded and deleted; for curators.

    Args:
        gallery: that has them.
        which: ids, or the filter that lets them through.
        count: how many films that is.
        key: of the list on the page.
        what: they are, e.g. ``hits``.
    """
    if not count or not sign_in.may_curate():
        return
    noun = html.films(count) if what == "films" else f"the {count:,} {what}"
    # Filled when it is opened: a page is painted sooner without it.
    box = st.popover(
        f"Curate {noun}", icon=":material/edit:", key=f"curate-{key}", on_change="rerun"
    )
    if not box.open:
        return
    with box:
        _tags(gallery, which, key)
        _note(which, key)
        _labels(gallery, which, key)
        _out(which, key)
        _save(which, key)


def for_search(gallery: Gallery, search: Search, hits: Sequence[str]) -> None:
    """The same for the hits of a search, its marked films, and all films that pass its filters."""
    if not sign_in.may_curate():
        return
    with st.container(horizontal=True, key="curate-search"):
        many(gallery, hits, len(hits), "hits", "hits")
        marked = [*search.like, *search.unlike]
        many(gallery, marked, len(marked), "marked", "marked films")
        if (passing := where(search.filters)) is not None:
            count = shared.films(gallery, search.filters)
            many(gallery, passing, count, "passing", "films that pass")


def draw(gallery: Gallery, row: Row) -> None:
    """Tags and note of one film on its page; for curators its labels, history and ways out, too."""
    if row.tags or row.remark:
        st.html(html.remarks(row.tags, row.remark))
    if not sign_in.may_curate():
        return
    key = f"film-{row.id}"
    with st.expander("Curate this film", icon=":material/edit:", key="curate-film"):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.button(
                "Labels are right",
                key=f"{key}-confirm",
                icon=":material/check:",
                on_click=acts.confirm,
                args=([row.id],),
            )
            for tag in row.tags:
                st.button(
                    plain(f"× {tag}"),
                    key=f"{key}-untag-{tag}",
                    on_click=acts.tag,
                    args=([row.id], [], [tag]),
                    help=plain(f"Take the tag {tag} off"),
                )
        _tags(gallery, [row.id], key)
        _note([row.id], key, row.remark or "")
        _labels(gallery, [row.id], key, list(row.labels))
        _out([row.id], key)
        history(gallery, row.id)


def history(gallery: Gallery, id_: str) -> None:
    """What was done to a film."""
    told = gallery.curation(sign_in.who()).history(id_)
    if not told:
        return
    rows = [
        [
            f"{one.at:%Y-%m-%d %H:%M}\n{one.operation}",
            one.who,
            one.kind if one.of is None else f"undo of {one.of}",
            changes.change(one) + ("" if one.in_force else "\ntaken back"),
        ]
        for one in reversed(told)
    ]
    st.html(html.table(["when", "who", "what", "from what to what"], rows, kind="refused"))


def _value(key: str) -> Any:
    return st.session_state.get(key)


def _tags(gallery: Gallery, which: Which, key: str) -> None:
    box = f"{key}-tags"
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.multiselect(
            "Tags",
            sorted(shared.facets(gallery, {}).get("tag", {})),
            key=box,
            accept_new_options=True,
            placeholder="Choose, or write a new one",
        )
        st.button("Tag", key=f"{box}-go", on_click=_tag, args=(which, box, True))
        st.button("Untag", key=f"{box}-off", on_click=_tag, args=(which, box, False))


def _tag(which: Which, box: str, on: bool) -> None:
    chosen = list(_value(box) or ())
    if chosen:
        acts.tag(which, chosen if on else (), () if on else chosen)
        st.session_state[box] = []


def _note(which: Which, key: str, text: str = "") -> None:
    box = f"{key}-note"
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("Note", text, key=box, max_chars=4000)
        st.button("Write note", key=f"{box}-go", on_click=_write_note, args=(which, box))


def _write_note(which: Which, box: str) -> None:
    acts.note(which, str(_value(box) or ""))


def _labels(gallery: Gallery, which: Which, key: str, now: Sequence[str] = ()) -> None:
    box, way = f"{key}-labels", f"{key}-labels-way"
    known = shared.facets(gallery, {})
    names = sorted({*known["label"], *known["uncertain"], *known["absent"], *now} - {NO_FINDING})
    st.segmented_control(
        "Labels",
        [_REPLACE, _ADD, _REMOVE],
        default=_REPLACE,
        required=True,
        key=way,
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):  # room to read the findings
        st.multiselect(
            "Findings",
            [*names, NO_FINDING],
            default=list(now) or None,
            key=box,
            accept_new_options=True,
            placeholder="Choose, or write a new one",
        )
        st.button("Change labels", key=f"{box}-go", on_click=_label, args=(which, box, way))


def _label(which: Which, box: str, way: str) -> None:
    chosen, how = list(_value(box) or ()), _value(way)
    if not chosen:
        st.toast(f"Choose findings, or {NO_FINDING}.", icon=":material/info:")
        return
    if how == _REPLACE and chosen == [NO_FINDING]:
        chosen = []
    try:
        correction = Correction.of(
            chosen if how == _REPLACE else None,
            chosen if how == _ADD else (),
            chosen if how == _REMOVE else (),
        )
    except UsageError as error:
        st.toast(plain(str(error)), icon=":material/info:")
        return
    acts.label(which, correction)


def _out(which: Which, key: str) -> None:
    with st.container(horizontal=True):
        st.button(
            "Exclude",
            key=f"{key}-exclude",
            icon=":material/visibility_off:",
            on_click=acts.exclude,
            args=(which,),
            help="Takes part in no search and no evaluation; stays out when its source comes again",
        )
        st.button(
            "Delete",
            key=f"{key}-delete",
            icon=":material/delete:",
            on_click=acts.delete,
            args=(which,),
            help="Can be undone until its data set or batch is deleted whole",
        )


def _save(which: Which, key: str) -> None:
    box = f"{key}-selection"
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("Save as selection", key=box, placeholder="Name", max_chars=100)
        st.button("Save", key=f"{box}-go", on_click=_save_now, args=(which, box))


def _save_now(which: Which, box: str) -> None:
    name = str(_value(box) or "").strip()
    if not name or not sign_in.may_curate():
        return
    found = acts.curation()
    if isinstance(which, Where):
        found.save(name, where=which.conditions())
    else:
        found.save(name, ids=list(which))
    st.toast(f"Saved as {plain(name)}.", icon=":material/bookmark:")
    st.session_state[box] = ""
