"""The page "What does this encoder match by?": lifts of columns, and Precision@k across values."""

from __future__ import annotations

import shlex
from typing import Any

import altair as alt
import streamlit as st

from store import (
    BadQuery,
    ColumnMatch,
    Gallery,
    Matches,
    NothingToMeasure,
    matched_by,
    names_nothing,
)
from ui import lifts
from ui.dashboard import background, layout, shared, studies
from ui.dashboard.components import film_list, html
from ui.dashboard.components.html import plain

_ALL = "every film"
#: Columns that a chart draws; the table has all.
_DRAWN = 16
_RULES = ("any", "all", "jaccard")
#: Sees it, may be chance, avoids it: colours of Okabe and Ito, each with a shape of its own.
_STYLES = {
    "matched by": ("#D55E00", "circle", "●"),
    "no more than chance": ("#0072B2", "square", "■"),
    "less than chance": ("#009E73", "triangle-down", "▼"),
}


def main() -> None:
    """Draw the page."""
    gallery = shared.gallery()
    st.title("What does this encoder match by?")
    st.caption(
        "Among hits that have the finding of their query: how many times as often as by chance do "
        "they also have its view, its sex, its data set and so on (the lift)? 1: no more often "
        "than by chance. Far above 1 is a shortcut: films are found for where or how they were "
        "taken, not for what they show."
    )
    split, k, relevance = choose(gallery)
    asked = ("matched by", shared.key(gallery), split, k, relevance)
    films = shared.films(gallery, {"split": (split,)} if split else {})
    if films**2 > studies.AT_ONCE and not background.known(asked):
        st.write(
            f"{html.films(films)} are compared with each other once for every column: this takes "
            "minutes."
        )
        if not st.button("Measure", type="primary", key="measure-matched-by"):
            return
    try:
        found = background.result(
            asked,
            "Comparing all with all",
            lambda progress: matched_by(
                gallery, k=k, split=split, relevance=relevance, progress=progress
            ),
        )
    except (BadQuery, NothingToMeasure) as error:
        st.info(f"Nothing to measure: {plain(str(error))}.", icon=":material/info:")
        return
    shown(found)
    command = ["cxr", "matched-by", "--split", split or "all", "-k", str(k)]
    command += ["--relevance", relevance, "--store", gallery.uri]
    st.caption("The same on the command line:")
    st.code(shlex.join(command), language=None, wrap_lines=True)


def choose(gallery: Gallery) -> tuple[str | None, int, str]:
    """The split whose films ask each other, how many hits, and when a hit shares the finding."""
    facets = shared.facets(gallery, {})
    choices = [*facets["split"], _ALL]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        films: str = st.selectbox(
            "Films",
            choices,
            index=choices.index("test") if "test" in choices else len(choices) - 1,
            key="matched-films",
            width=220,
        )
        named = (name for name in facets["label"] if not names_nothing(name))
        rules = [*_RULES, *(f"finding={name}" for name in named)]
        rule: str = st.selectbox("Shares the finding", rules, key="matched-rule", width=220)
        k = st.segmented_control("Hits", [1, 5, 10], default=10, required=True, key="matched-k")
    split = None if films == _ALL else films
    inside = shared.films(gallery, {"split": (split,)} if split else {})
    return split, max(min(int(k or 10), inside - 1), 1), rule


def shown(found: Matches) -> None:
    """Chart, sentences, tables and a CSV file."""
    if not found.columns:
        st.info(layout.sentence(lifts.NO_COLUMNS), icon=":material/info:")
        if missing := lifts.absent(found):
            st.caption(f"Not measured: {plain(missing)}.")
        return
    points = lifts.points(found)[:_DRAWN]
    if points:
        st.altair_chart(chart(points), key="chart-matched-by")
        st.html(html.legend([(name, glyph, c) for name, (c, _, glyph) in _STYLES.items()]))
    st.markdown("\n".join(f"- {layout.sentence(line)}" for line in lifts.summary(found)))
    head, rows = lifts.table(found)
    st.html(html.table(head, rows))
    film_list.download_list("matched-by", lambda: lifts.sheet(found), "csv-matched-by")
    st.caption(
        plain(
            "Lift: shared / chance. Shared: the share of pairs of a query and a hit with its "
            "finding that have the same value. Chance: the same of all films with that finding "
            f"which the query could have found. {lifts.note(found)}"
        )
    )
    if missing := lifts.absent(found):
        st.caption(f"Not measured: {plain(missing)}.")
    if any(column.values for column in found.columns):
        st.header("Is the finding still found among others?")
        st.caption(
            f"Precision@{found.k} of the queries of one value, and when only films of another "
            "value may be found: of PA films among AP films, say. Chance is what a blind ranking "
            "would have: compare each figure with its own. Few queries: fewer than 30."
        )
    for column in found.columns:
        if column.values:
            across(column, found.k)


def across(column: ColumnMatch, k: int) -> None:
    """Precision@k of the values of one column."""
    st.subheader(plain(column.name))
    head, rows = lifts.values_table(column, k)
    st.html(html.table(head, rows))
    if column.more:
        st.caption(f"{column.more:,} rarer values were not asked.")


def chart(points: list[dict[str, Any]]) -> Any:
    """Lifts as bars from 1, with intervals, the greatest above; a logarithmic scale."""
    values = [{**point, "kind": kind_of(point)} for point in points]
    ends = [end for point in points for end in (point["lift"], point["low"], point["high"]) if end]
    low, high = min(*ends, 0.5) / 1.1, max(*ends, 2.0) * 1.1
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    ticks = [t for t in (0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if low <= t <= high]
    colours = alt.Scale(domain=list(_STYLES), range=[style[0] for style in _STYLES.values()])
    shapes = alt.Scale(domain=list(_STYLES), range=[style[1] for style in _STYLES.values()])
    axis = alt.Axis(values=ticks, format="~g", title="times as often as chance (1: not matched by)")
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y(
            "column:N",
            sort=[p["column"] for p in points],
            title=None,
            axis=alt.Axis(labelLimit=140),
        ),
        color=alt.Color("kind:N", scale=colours, legend=None),
    )
    bars = base.mark_bar(height=14, opacity=0.35).encode(
        x=alt.X("lift:Q", scale=scale, axis=axis), x2=alt.datum(1)
    )
    whiskers = (
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=2)
        .encode(x=alt.X("low:Q", scale=scale), x2="high:Q")
    )
    marks = base.mark_point(size=90, filled=True, opacity=1).encode(
        x=alt.X("lift:Q", scale=scale),
        shape=alt.Shape("kind:N", scale=shapes, legend=None),
        tooltip=[alt.Tooltip("said:N", title="means")],
    )
    one = alt.Chart(alt.InlineData(values=[{"one": 1}])).mark_rule(color="#808080", strokeWidth=1.5)
    one = one.encode(x=alt.X("one:Q", scale=scale))
    return alt.layer(one, bars, whiskers, marks).properties(height=max(46 * len(points), 120))


def kind_of(point: dict[str, Any]) -> str:
    """Whether the interval of a lift is above 1, has it in it, or is below."""
    low, high = point["low"], point["high"]
    if low is None or low <= 1 <= high:
        return "no more than chance"
    return "matched by" if low > 1 else "less than chance"


main()
