"""The audit page: duplicates, leaks between splits, doubtful labels, metadata at a glance."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import streamlit as st

from ingest import pixel_vectors
from store import (
    BadQuery,
    Film,
    Gallery,
    Group,
    NearPair,
    Progress,
    audit,
    counted,
)
from ui import tables
from ui.dashboard import background, layout, shared, sign_in
from ui.dashboard.components import film_list, html
from ui.dashboard.components.html import Labels, plain
from ui.dashboard.curation import work_list, work_page
from ui.film_sheet import whole

T = TypeVar("T")
D = TypeVar("D", Group, NearPair)

_EXACT, _NEAR, _LABELS, _METADATA = _LISTS = (
    "Exact duplicates",
    "Near duplicates",
    "Doubtful labels",
    "Labels and metadata",
)
#: Cards on a page, and films shown of one group.
_SIZE, _FILMS = 12, 6
#: Most frequent values of a column that are named.
_VALUES = 4
_WIDE = 340


def main() -> None:
    """Draw the page."""
    gallery = shared.gallery()
    labels = shared.labels(gallery)
    st.title("What is doubtful here?")
    chosen = st.segmented_control(
        "List",
        _LISTS,
        default=_EXACT,
        required=True,
        key="list",
        bind="query-params",
        label_visibility="collapsed",
    )
    pages = {_EXACT: exact, _NEAR: near, _LABELS: doubtful, _METADATA: metadata}
    try:
        pages[str(chosen)](gallery, labels)
    except BadQuery as error:
        layout.say(error)


def found(
    gallery: Gallery, key: Sequence[Hashable], title: str, work: Callable[[Progress], T]
) -> T:
    """A computation over the whole gallery, once per table version."""
    return background.result(("audit", shared.key(gallery), *key), title, work)


def wanted(gallery: Gallery, key: Sequence[Hashable]) -> bool:
    """Whether all is to be compared with all: in a large gallery only once somebody asked."""
    return background.wanted(("audit", shared.key(gallery), *key), len(gallery))


def exact(gallery: Gallery, labels: Labels) -> None:
    """Films that are one and the same."""
    st.caption(
        "Same source: the same file, or the same pixels, told by SHA-256. Same vector: another "
        "source that is the same to the encoder."
    )
    groups = found(gallery, ("exact",), "Comparing digests", lambda _: audit.exact(gallery))
    across = [group for group in groups if group.across]
    differ = sum(group.labels_differ for group in groups)
    st.write(
        f"**{counted(len(groups), 'group')}** of "
        f"**{counted(sum(len(group.films) for group in groups), 'film')}**; "
        f"**{len(across):,}** in more than one split (leaks), **{differ:,}** with differing labels."
    )
    st.write(f"Groups: {tables.whose(tables.whose_groups(groups))}.")
    wrong = [group for group in groups if group.whose == tables.WRONG_IDS]
    if wrong:
        st.warning(_wrong_ids(len(wrong), "group"), icon=":material/person_alert:")
    with _tools():
        shown = _narrowed(groups, "exact")
        film_list.download_list(
            "exact-duplicates", lambda: whole(tables.exact(shown), gallery), "csv-exact"
        )

    def facts(group: Group) -> list[str]:
        more = len(group.films) - _FILMS
        said = [tables.KINDS[group.kind], *_flags(group)]
        return [*said, f"and {more} more"] if more > 0 else said

    _cards(gallery, labels, "exact", shown, lambda group: group.films[:_FILMS], facts)


def near(gallery: Gallery, labels: Labels) -> None:
    """Films that are nearly the same."""
    st.caption(
        "Pictures: the cosine of mean-centred grey thumbnails, which tells copies from "
        "look-alikes. Vectors: the encoder's own; one that learnt to ignore what tells films of "
        "one finding apart puts thousands of pairs above any cosine."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        by = st.segmented_control(
            "Compare",
            ["pictures", "vectors"],
            default="pictures",
            required=True,
            key="audit-by",
        )
        threshold = st.slider(
            "Cosine from",
            0.9,
            1.0,
            audit.THRESHOLD,
            0.005,
            format="%.3f",
            key="audit-threshold",
            width=320,
        )
    describe = pixel_vectors if by == "pictures" else None
    key = ("near", by, threshold)
    if not wanted(gallery, key):
        return
    pairs = found(
        gallery,
        key,
        "Comparing all with all",
        lambda progress: audit.near(gallery, threshold, describe, progress=progress),
    )
    many = pairs.whose[tables.WRONG_IDS]
    st.write(
        f"**{counted(pairs.total, 'pair')}** among {html.films(pairs.compared)}; "
        f"**{pairs.across:,}** across splits (leaks)."
        + (f" The {len(pairs.pairs):,} nearest are listed." * (pairs.total > len(pairs.pairs)))
    )
    st.write(f"Pairs: {tables.whose(pairs.whose)}.")
    if many and by == "pictures":
        st.warning(_wrong_ids(many, "pair"), icon=":material/person_alert:")
    with _tools():
        shown = _narrowed(pairs.pairs, "near")
        if st.toggle("Leave out exact duplicates", key="audit-inexact"):
            shown = [pair for pair in shown if not pair.same_source]
        film_list.download_list(
            "near-duplicates", lambda: whole(tables.near(shown), gallery), "csv-near"
        )

    def facts(pair: NearPair) -> list[str]:
        said = [f"cosine {pair.cosine:.4f}"]
        return said + ["same source"] * pair.same_source + _flags(pair)

    _cards(gallery, labels, "near", shown, lambda pair: (pair.left, pair.right), facts)


def doubtful(gallery: Gallery, labels: Labels) -> None:
    """Films whose neighbours carry other labels."""
    if sign_in.may_curate() and (work := work_list.current(gallery)):
        work_page.page(gallery, work, labels)
        return
    st.caption(
        "Disagreement: the mean Jaccard distance between a film's findings and those of its k "
        "nearest labelled films of other patients, 1 − |both| / |either|. With one label a film it "
        "is the share of neighbours that carry another one. Unsupported: a finding that it carries "
        "and fewer than half of them do; missing: one that more than half of them carry and it "
        "does not. Listed above one half (Wilson 1972) or with such a finding, the nearest "
        "neighbours first among equals. A doubt, not a verdict: the encoder may be wrong too."
    )
    k = st.segmented_control("k", [5, 10, 20], default=10, required=True, key="audit-k")
    key = ("doubtful", k)
    if not wanted(gallery, key):
        return
    films = found(
        gallery,
        key,
        "Asking the neighbours",
        lambda progress: audit.doubtful(gallery, int(k or 10), progress=progress),
    )
    st.write(
        f"**{films.total:,}** of {counted(films.labelled, 'labelled film')} "
        f"{'differs' if films.total == 1 else 'differ'} from most of their "
        f"{counted(films.k, 'neighbour')}, **{films.doubted:,}** in a finding or more."
        + (f" The first {len(films.films):,} are listed." * (films.doubted > len(films.films)))
    )
    missed = tables.left_out(films.left_out)
    st.caption(
        f"{tables.EXCLUDED[films.excluded].capitalize()}." + f" Left out: {missed}." * bool(missed)
    )
    with st.expander("By finding"):
        head, cells = tables.findings_doubted(films.findings)
        st.html(html.table(head, [[str(cell) for cell in row] for row in cells]))
        film_list.download_list(
            "doubtful-findings", lambda: tables.findings_doubted(films.findings), "csv-findings"
        )
    film_list.download_list(
        "doubtful-labels",
        lambda: whole(tables.doubts(films.films, films.k), gallery),
        "csv-doubts",
    )
    left = work_page.entry(gallery, films)
    said = {one.film.id: tables.doubt(one) for one in left}
    film_list.films(gallery, list(said), labels, "doubts", said=said.__getitem__)


def metadata(gallery: Gallery, labels: Labels) -> None:
    """Counts and gaps per split, and patients in several splits."""
    glance = found(gallery, ("glance",), "Counting", lambda _: audit.glance(gallery))
    splits = list(glance.rows)
    names = [split or "no split" for split in splits]
    st.subheader("Films and labels per split")
    [by_label] = [column for column in glance.columns if column.name == "labels"]
    rows = [["all films", *(f"{glance.rows[split]:,}" for split in splits), f"{len(gallery):,}"]]
    for label, counts in by_label.values.items():
        shown = [f"{counts[split]:,}\n{counts[split] / glance.rows[split]:.1%}" for split in splits]
        rows.append([label, *shown, f"{sum(counts.values()):,}"])
    st.html(html.table(["", *names, "everywhere"], rows, strong=0))
    film_list.download_list("metadata", lambda: tables.metadata(glance), "csv-metadata")
    st.subheader("Columns")
    rows = [
        [
            column.name,
            f"{column.distinct:,}",
            *(f"{column.missing.get(split, 0):,}" for split in splits),
            "; ".join(
                f"{value} {sum(counts.values()):,}"
                for value, counts in list(column.values.items())[:_VALUES]
            )
            if column.range is None
            else "{:g} / {:g} / {:g}".format(*column.range),
        ]
        for column in glance.columns
    ]
    head = ["column", "values", *(f"missing in {name}" for name in names)]
    st.html(html.table([*head, "most frequent, or least / median / greatest"], rows))
    st.subheader("Patients in several splits")
    if not glance.leaks:
        told = [
            column
            for column in glance.columns
            if column.name in ("patient", "study") and column.distinct
        ]
        st.write("None." if told else "No film says which patient it shows.")
        return
    studies = sum(leak.patient is None for leak in glance.leaks)
    people = len(glance.leaks) - studies
    st.write(
        f"**{counted(people, 'patient has', 'patients have')}** films in more than one split "
        "(leaks)"
        + (
            f", and **{counted(studies, 'study', 'studies')}** of patients that are not known."
            if studies
            else "."
        )
    )
    film_list.download_list(
        "patients-in-several-splits", lambda: tables.leaks(glance.leaks), "csv-leaks"
    )
    head, cells = tables.leaks(glance.leaks[:20])
    st.html(
        html.table(head, [["" if cell is None else str(cell) for cell in row] for row in cells])
    )


def _wrong_ids(count: int, what: str) -> str:
    return (
        f"{counted(count, f'{what} is', f'{what}s are each')} one picture of several patients of "
        "one data set: were ids or "
        "films mixed up?"
    )


def _tools() -> Any:
    return st.container(horizontal=True, vertical_alignment="center", gap="medium")


def _narrowed(whole: Sequence[D], key: str) -> list[D]:
    """The duplicates across splits, those of several patients, or all."""
    shown = list(whole)
    if st.toggle("Only across splits", key=f"audit-across-{key}"):
        shown = [one for one in shown if one.across]
    if any(one.whose == tables.WRONG_IDS for one in whole) and st.toggle(
        "Only of several patients", key=f"audit-patients-{key}"
    ):
        shown = [one for one in shown if one.whose == tables.WRONG_IDS]
    return shown


def _flags(one: Group | NearPair) -> list[str]:
    said = ["across splits"] * one.across + ["labels differ"] * one.labels_differ
    return said + [one.whose] * (one.whose != "unknown")


def _cards(
    gallery: Gallery,
    labels: Labels,
    key: str,
    items: Sequence[T],
    films: Callable[[T], Sequence[Film]],
    facts: Callable[[T], list[str]],
) -> None:
    """Groups of films beside each other, some groups at a time."""
    if not items:
        st.success("Nothing to show.", icon=":material/check:")
        return
    shown = film_list.page_of(items, _SIZE, f"{key}-page")
    rows = gallery.rows({film.id: None for one in shown for film in films(one)})
    pictures = gallery.thumbnails(list(rows))
    grid = st.grid("auto", min_column_width=_WIDE, border=True, key=f"{key}-grid")
    for at, one in enumerate(shown):
        here = [rows[film.id] for film in films(one) if film.id in rows]
        with grid.cell():
            film_list.beside(here, pictures, labels, f"{key}-{at}")
            st.html(html.badges(facts(one)))
            with st.container(horizontal=True):
                for row in here:
                    name = f"Neighbours of {plain(row.id.rpartition('/')[2])}"
                    film_list.search_button(row.id, f"{key}-{at}-{row.id}", name)
    film_list.pages(items, _SIZE, f"{key}-page")


main()
