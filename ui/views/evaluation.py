"""The evaluation page: Precision@k of both protocols, beside its floors."""

from __future__ import annotations

import shlex
from typing import Any

import altair as alt
import streamlit as st

from store import BadQuery, Gallery
from ui.board import markup, resources, tables
from ui.board.markup import plain

_ALL = "every film"
#: Colour, symbol, its glyph, and dash: of the encoder, then of the floors.
_OURS = ("#0072B2", "circle", "●", [1, 0])
_FLOORS = (("#D55E00", "square", "■", [6, 3]), ("#808080", "triangle-up", "▲", [2, 3]))


def main() -> None:
    """Draw the page."""
    gallery = resources.gallery()
    st.title("How often do neighbours share a label?")
    st.caption(
        "Precision@k: the share of the k nearest films that carry a label of the query, averaged "
        "over the queries, with 95 % bootstrap intervals. It measures whether labels agree, "
        "not whether films are clinically equivalent."
    )
    splits = list(resources.facets(gallery, {})["split"])
    queries, searched = choose(splits)
    split = None if queries == _ALL else queries
    protocol(
        gallery,
        "leave-one-out",
        f"Leave-one-out: {plain(queries)}",
        "Every film asks the others of this set; itself is left out by id.",
        split,
        "",
    )
    if split is None or searched is None:
        st.info("The second protocol needs two splits: one that asks and one that is searched.")
    else:
        protocol(
            gallery,
            "split",
            f"Split: {plain(queries)} asks {plain(searched)}",
            f"Every film of {plain(queries)} asks the films of {plain(searched)}.",
            split,
            searched,
        )
    st.caption("The same figures on the command line:")
    command = ["cxr", "evaluate", "--split", split or "all"]
    if split is not None and searched is not None:
        command += ["--gallery-split", searched]
    command += ["--k", ",".join(map(str, resources.DEPTHS)), "--store", gallery.uri]
    st.code(shlex.join(command), language=None, wrap_lines=True)


def choose(splits: list[str]) -> tuple[str, str | None]:
    """The split that asks, and the one that is searched in the second protocol."""
    choices = [*splits, _ALL]
    with st.container(horizontal=True):
        queries: str = st.selectbox(
            "Queries",
            choices,
            index=choices.index("test") if "test" in splits else len(choices) - 1,
            key="evaluation-queries",
            width=220,
        )
        others = [split for split in splits if split != queries]
        searched: str | None = None
        if queries != _ALL and others:
            searched = st.selectbox(
                "Searched, in the split protocol",
                others,
                index=others.index("train") if "train" in others else 0,
                key="evaluation-gallery",
                width=280,
            )
    return queries, searched


def protocol(
    gallery: Gallery, name: str, title: str, caption: str, split: str | None, searched: str
) -> None:
    """One protocol: table, chart, details."""
    st.subheader(title)
    place = searched or split
    depths = tables.fitting(
        resources.DEPTHS, resources.films(gallery, {"split": (place,)} if place else {})
    )
    try:
        if not depths:
            raise BadQuery("too few films to leave one out")
        found = resources.evaluation(gallery, name, depths, split, searched)
    except BadQuery as error:
        st.info(f"Nothing to measure: {plain(str(error))}.", icon=":material/info:")
        return
    st.caption(f"{caption} {found['queries']:,} queries, {found['gallery']:,} films searched.")
    encoder = gallery.stamp.name
    left, right = st.columns([3, 2], gap="large")
    with left:
        head, rows = tables.precision_table(found, encoder)
        st.html(markup.table(head, rows, strong=0))
        if "raw_pixels" not in found["baselines"]:
            st.caption("No raw-pixel floor: not every film has a thumbnail.")
        head, rows = tables.detail_table(found)
        st.html(markup.table(head, rows))
    with right:
        points = tables.points(found, encoder)
        st.altair_chart(chart(points), key=f"chart-{name}")
        st.html(
            markup.legend([(name, style[2], style[0]) for name, style in _styles(points).items()])
        )


def chart(points: list[dict[str, Any]]) -> Any:
    """Precision over k; the methods differ by colour, dash and symbol. The key stands below."""
    styles = _styles(points)

    def scale(part: int) -> alt.Scale:
        return alt.Scale(domain=list(styles), range=[style[part] for style in styles.values()])

    bottom = max(0.0, min(point["precision"] for point in points) - 0.08)
    y = alt.Y("precision:Q", title="Precision@k", scale=alt.Scale(domain=[bottom, 1]))
    base = alt.Chart(alt.InlineData(values=points)).encode(
        x=alt.X("k:O", title="k", axis=alt.Axis(labelAngle=0)),
        color=alt.Color("method:N", scale=scale(0), legend=None),
    )
    lines = base.mark_line(strokeWidth=2).encode(
        y=y, strokeDash=alt.StrokeDash("method:N", scale=scale(3), legend=None)
    )
    marks = base.mark_point(size=70, filled=True, opacity=1).encode(
        y=y,
        shape=alt.Shape("method:N", scale=scale(1), legend=None),
        tooltip=["method:N", "k:O", alt.Tooltip("precision:Q", format=".3f")],
    )
    bars = (
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=1.5)
        .encode(y=alt.Y("low:Q"), y2="high:Q")
    )
    return alt.layer(lines, bars, marks).properties(height=280)


def _styles(points: list[dict[str, Any]]) -> dict[str, tuple[str, str, str, list[int]]]:
    ours, *floors = dict.fromkeys(point["method"] for point in points)
    at = list(tables.FLOORS.values())
    return {ours: _OURS, **{name: _FLOORS[at.index(name)] for name in floors}}


main()
