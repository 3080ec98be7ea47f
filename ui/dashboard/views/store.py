"""The store page: the gallery, its encoder, and commands that add to it."""

from __future__ import annotations

import shlex

import streamlit as st

from ingest import LARGE_FILM, coarse_note, is_coarse
from store import FOUND, OUTCOMES, CxrError, Gallery, counted, findings
from ui.dashboard import layout, shared
from ui.dashboard.components import html
from ui.dashboard.components.html import Labels, plain
from ui.dashboard.search.state import K_MAX, K_MIN


def main() -> None:
    """Draw the page."""
    gallery = shared.gallery()
    st.title("What is loaded")
    counts = shared.facets(gallery, {})
    with st.container(horizontal=True):
        st.metric("Films", f"{len(gallery):,}", border=True)
        st.metric("Table version", str(gallery.table_version), border=True)
        st.metric("Vector length", str(gallery.stamp.dimension), border=True)
        st.metric("Labels", str(len(findings([*counts["label"]]))), border=True)
        if reports := gallery.count_reports():
            st.metric("Films with a report", f"{reports:,}", border=True)
    facts(gallery)
    films(gallery, shared.labels(gallery))
    commands(gallery)
    about()


def facts(gallery: Gallery) -> None:
    """Address of the gallery, and the encoder of its vectors."""
    stamp = gallery.stamp
    rows = [
        ("Gallery", gallery.uri),
        ("Made by encoder", stamp.name),
        ("Its fingerprint (sha256)", stamp.fingerprint),
    ]
    st.html(
        '<div class="cxr">' + "".join(html.fact(name, value) for name, value in rows) + "</div>"
    )
    if not shared.encoder_is_near(stamp):
        st.caption("The encoder is looked for when a text or an upload needs it.")
        return
    try:
        found = shared.encoder(stamp)
    except CxrError as error:
        layout.encoder_problem(error, gallery)
    else:
        words = "texts and uploads" if found.supports_text else "uploads; it understands no text"
        st.success(
            f"That encoder is here: the dashboard can search {words}.", icon=":material/link:"
        )
        if (large := _large(gallery, found.side)) > 0:
            note = layout.sentence(coarse_note(stamp.name, found.side))
            st.warning(f"{note} Such films here: {large:,}.", icon=":material/blur_on:")


def _large(gallery: Gallery, side: int) -> int:
    """Films of which an encoder of this side sees too little."""
    coarse = is_coarse(side, LARGE_FILM + 1, LARGE_FILM + 1)
    return gallery.count_larger(LARGE_FILM) if coarse else 0


def films(gallery: Gallery, labels: Labels) -> None:
    """Films per label and split."""
    st.subheader("Films per label and split")
    splits = list(shared.facets(gallery, {})["split"])
    every = findings(labels.names)
    names = every[:50]
    columns = [shared.facets(gallery, {"split": (split,)})["label"] for split in splits]
    everywhere = shared.facets(gallery, {})["label"]
    table = [
        [name, *(f"{column.get(name, 0):,}" for column in columns), f"{everywhere[name]:,}"]
        for name in names
    ]
    outcomes = [shared.facets(gallery, {"split": (split,)}).get("outcome", {}) for split in splits]
    everywhere = shared.facets(gallery, {}).get("outcome", {})
    table += [
        [name, *(f"{column.get(name, 0):,}" for column in outcomes), f"{everywhere[name]:,}"]
        for name in OUTCOMES
        if name != FOUND and name in everywhere
    ]
    table.append(
        [
            "films",
            *(f"{shared.films(gallery, {'split': (split,)}):,}" for split in splits),
            f"{len(gallery):,}",
        ]
    )
    st.html(html.table(["", *splits, "everywhere"], table, strong=len(table) - 1))
    if len(every) > len(names):
        st.caption(f"The first {len(names)} of {counted(len(every), 'label')}.")
    datasets = shared.facets(gallery, {})["dataset"]
    if datasets:
        listed = ", ".join(f"{plain(name)} ({count:,})" for name, count in datasets.items())
        st.caption(f"Data sets: {listed}")


def commands(gallery: Gallery) -> None:
    """Commands to run in a terminal."""
    st.subheader("Add films")
    st.write(
        "Run this in another terminal. Every open page follows within seconds; "
        "films that are known are not encoded again."
    )
    st.code(layout.ingest_command(gallery.uri), language=None, wrap_lines=True)
    store = shlex.quote(gallery.uri)
    with st.expander("Look after it", icon=":material/terminal:"):
        st.code(
            f"cxr stats --store {store}\ncxr check --store {store}\ncxr optimize --store {store}",
            language=None,
        )


def about() -> None:
    """Notes on reading scores and labels."""
    st.subheader("How to read it")
    st.markdown(
        f"""
- **{layout.CARE}.** Films with the same label are not clinically equivalent.
- **The number on a film is a cosine** between two vectors: 1 is the same direction. It is not a
  probability, and it is not comparable between encoders or between sentences and images.
- **Search is exact**: every film that passes the filters is compared with the query.
- **Uploads** stay in this visit's memory. They are not saved, not added to the gallery, and not
  in links. What you write as a sentence or an id does go into the page's address.
- Between {K_MIN} and {K_MAX} hits are shown; the command line gives any number.
"""
    )


main()
