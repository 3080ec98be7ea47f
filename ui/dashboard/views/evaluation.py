"""The evaluation page: Precision@k of both protocols, beside its floors."""

from __future__ import annotations

import shlex
from typing import Any

import altair as alt
import streamlit as st

from store import BadQuery, CxrError, Gallery, NothingToMeasure, counted, findings, per_query
from ui import notices, tables
from ui.dashboard import layout, shared, studies
from ui.dashboard.components import film_list, html
from ui.dashboard.components.html import plain
from ui.report import published_results

_ALL = "every film"
_VOTE, _HARDEST, _RIVAL = "Majority vote", "Hardest queries", "Compared with another store"
_BY_FINDING = "Finding by finding"
#: Rules of relevance for a person; the last one takes a finding.
_RELEVANCE = {
    "any": "they share a finding",
    "all": "they have every finding of the query",
    "jaccard": "graded: the share of findings in common",
    "finding": "they agree on one finding",
}
#: Labels of a confusion table that one can still read.
_MATRIX = 20
#: Above so many queries that are searched one by one, they wait to be asked for.
_ONE_BY_ONE = 2_000
#: Colour, symbol, its glyph, and dash: of the encoder, then of the floors.
_OURS = ("#0072B2", "circle", "●", [1, 0])
_FLOORS = (("#D55E00", "square", "■", [6, 3]), ("#808080", "triangle-up", "▲", [2, 3]))


def main() -> None:
    """Draw the page."""
    gallery = shared.gallery()
    st.title("How often do neighbours share a label?")
    st.caption(
        "Precision@k: the share of the k nearest films that are relevant to the query, averaged "
        "over the queries, with 95 % bootstrap intervals. It measures whether labels agree, "
        "not whether films are clinically equivalent."
    )
    splits = list(shared.facets(gallery, {})["split"])
    queries, searched, relevance = choose(splits, list(shared.facets(gallery, {})["labels"]))
    split = None if queries == _ALL else queries
    protocol(
        gallery,
        "leave-one-out",
        f"Leave-one-out: {plain(queries)}",
        "Every film of this set is searched with among all the others.",
        split,
        "",
        relevance,
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
            relevance,
        )
    st.caption("The same figures on the command line:")
    command = ["cxr", "evaluate", "--split", split or "all"]
    if split is not None and searched is not None:
        command += ["--gallery-split", searched]
    command += ["--k", ",".join(map(str, shared.DEPTHS)), "--store", gallery.uri]
    if relevance != "any":
        command += ["--relevance", relevance]
    st.code(shlex.join(command), language=None, wrap_lines=True)


def choose(splits: list[str], labels: list[str]) -> tuple[str, str | None, str]:
    """The split that asks, the one searched in the second protocol, and what is relevant."""
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
        relevance: str = st.selectbox(
            "Films are relevant when",
            [rule for rule in _RELEVANCE if rule != "finding" or findings(labels)],
            format_func=_RELEVANCE.__getitem__,
            key="evaluation-relevance",
            width=320,
        )
        if relevance == "finding":
            one = st.selectbox(
                "Finding", sorted(findings(labels)), key="evaluation-finding", width=220
            )
            relevance = f"finding={one}"
    return queries, searched, relevance


def protocol(
    gallery: Gallery,
    name: str,
    title: str,
    caption: str,
    split: str | None,
    searched: str,
    relevance: str,
) -> None:
    """One protocol: table, chart, confusion, hardest queries, the other store."""
    st.subheader(title)
    asking = shared.films(gallery, {"split": (split,)} if split else {})
    place = searched or split
    inside = shared.films(gallery, {"split": (place,)} if place else {})
    depths = tables.fitting(shared.DEPTHS, inside)
    asked = studies.Question(name, depths, split, searched, asking * inside, relevance)
    try:
        if not depths:
            raise BadQuery("too few films to leave one out")
        one_by_one = studies.by_search(gallery) and asking > _ONE_BY_ONE
        if (one_by_one or not asked.quick) and not studies.known(gallery, asked):
            st.write(
                f"{counted(asking, 'query', 'queries')} against {counted(inside, 'film')} take "
                "minutes."
            )
            if not st.button("Measure", type="primary", key=f"measure-{name}"):
                return
        found = studies.evaluation(gallery, asked)
    except (BadQuery, NothingToMeasure) as error:
        st.info(f"Nothing to measure: {plain(str(error))}.", icon=":material/info:")
        return
    st.caption(
        f"{caption} {counted(found['queries'], 'query', 'queries')}, "
        f"{counted(found['gallery'], 'film')} searched."
    )
    if (warning := notices.of_patients(found)) is not None:
        st.warning(layout.sentence(warning), icon=":material/groups:")
    if (warning := notices.of_raw_pixels(found)) is not None:
        st.warning(layout.sentence(warning), icon=":material/trending_down:")
    figures(gallery, asked, found)
    st.caption(" ".join(f"{plain(line)}." for line in tables.definitions(found)))
    details(gallery, asked)


def figures(gallery: Gallery, asked: studies.Question, found: dict[str, Any]) -> None:
    """Precision@k beside floors and peers, as a table and as a chart."""
    encoder = gallery.stamp.name
    datasets = set(shared.facets(gallery, {})["dataset"])
    others = (
        published_results.beside(asked.protocol, datasets, asked.split, found["queries"])
        if asked.relevance == "any"
        else []
    )
    left, right = st.columns([3, 2], gap="large")
    with left:
        head, rows = tables.precision_table(found, encoder)
        st.html(html.table(head, studies.with_peers(found, rows, others), strong=0))
        if others:
            links = dict.fromkeys((peer.source, peer.url) for peer in others if peer.url)
            listed = "; ".join(f"[{source}]({url})" for source, url in links)
            st.caption(
                "The last rows: what others report for the official test films; zero-shot ones saw "
                "none of these labels" + (f" ({listed})." if listed else ".")
            )
        if studies.by_search(gallery):
            st.caption(
                "Neither mAP nor the raw-pixel floor: both need all vectors in memory, and here "
                "every query is searched with the index. Serve with --index exact to have them."
            )
        elif not asked.whole:
            st.caption(
                "Neither mAP nor the raw-pixel floor: both need the whole ranking of every query, "
                f"{counted(asked.pairs, 'pair')}."
            )
        elif "raw_pixels" not in found["baselines"]:
            st.caption("No raw-pixel floor: not every film has a thumbnail.")
        head, rows = tables.detail_table(found)
        st.html(html.table(head, rows))
    with right:
        points = tables.points(found, encoder)
        st.altair_chart(chart(points), key=f"chart-{asked.protocol}")
        st.html(
            html.legend([(name, style[2], style[0]) for name, style in _styles(points).items()])
        )


def details(gallery: Gallery, asked: studies.Question) -> None:
    """Behind a click each, so that nobody waits for what they do not look at."""
    parts = {_BY_FINDING: by_finding, _VOTE: vote, _HARDEST: hardest}
    if studies.rivals():
        parts[_RIVAL] = rival
    chosen = st.segmented_control("More", list(parts), key=f"more-{asked.protocol}")
    try:
        if chosen is not None:
            parts[chosen](gallery, asked)
    except BadQuery as error:
        layout.say(error)


def by_finding(gallery: Gallery, asked: studies.Question) -> None:
    """Each finding by itself: who has it, and how often neighbours have it too."""
    head, rows = tables.finding_table(studies.evaluation(gallery, asked))
    st.html(html.table(head, rows))
    st.caption(
        "Queries that have a finding, films searched that have it, and how often neighbours have "
        "it too, among whatever others. Chance: the share of films that a query may find which "
        "have it."
    )


def vote(gallery: Gallery, asked: studies.Question) -> None:
    """Majority vote of the neighbours against the label."""
    found = studies.by_query(gallery, asked)
    if not found.votes:
        st.info(
            "No confusion table: it needs at most one finding per film.", icon=":material/info:"
        )
        return
    k = st.segmented_control(
        "Neighbours that vote",
        found.depths,
        default=5 if 5 in found.depths else found.depths[-1],
        required=True,
        key=f"vote-{asked.protocol}",
    )
    names, counts = per_query.confusion(found, int(k or found.depths[-1]))
    if len(names) > _MATRIX:
        st.info(f"{counted(len(names), 'label')} are too many for a table.", icon=":material/info:")
        return
    st.html(html.confusion(names, counts))


def hardest(gallery: Gallery, asked: studies.Question) -> None:
    """The queries that found the least, each a click from its neighbours."""
    found = studies.by_query(gallery, asked)
    hard = per_query.hardest(found)
    k = found.depths[-1]
    if not hard:
        st.success("Every neighbour is relevant to its query.", icon=":material/check:")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f"The {counted(len(hard), 'query', 'queries')} with the lowest P@{k}; among equals, "
            "the nearest wrong "
            "neighbour first."
        )
        film_list.download_list(
            f"hardest-{asked.protocol}",
            lambda: tables.hardest(hard, k),
            f"csv-hardest-{asked.protocol}",
        )
    said = {
        one.id: f"P@{k} {one.precision:.2f}; nearest wrong neighbour {one.wrong:.3f}"
        for one in hard
    }
    labels = shared.labels(gallery)
    where = {"split": asked.other} if asked.other else {"split": asked.split} if asked.split else {}
    film_list.films(
        gallery,
        list(said),
        labels,
        f"hard-{asked.protocol}",
        said=said.__getitem__,
        link={facet: value for facet, value in where.items() if value},
    )


def rival(gallery: Gallery, asked: studies.Question) -> None:
    """Other stores over the same films: each one's figures, paired differences, its encoder."""
    try:
        found, facts = studies.compared(gallery, studies.rivals(), asked)
    except CxrError as error:
        layout.say(error, broken=True)
        return
    head, rows = tables.comparison_table(found)
    st.html(html.table(head, rows, strong=0))
    head, rows = tables.differences_table(found)
    st.html(html.table(head, rows))
    rules = ". ".join(tables.compared_by(found))
    st.caption(
        plain(
            f"{tables.compared_films(found)} {rules}. Difference: this store minus the other, over "
            "paired queries; better and worse: queries on which this store has the higher and the "
            "lower precision."
        )
    )
    head, rows = tables.facts_table(tables.compared_names(found), facts)
    st.html(html.table(head, rows, kind="words"))
    st.caption(
        "What is not in an encoder's card is unknown. Speed is measured on the command line: "
        "cxr compare --measure."
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
