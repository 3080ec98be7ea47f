"""Answers: the hits of a search, their badges and the labels among them. No Streamlit here."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from store import (
    Gallery,
    Hit,
    OwnFilms,
    Row,
    UnknownId,
    combined_query,
    passes,
    refined_search,
)
from ui.dashboard.components.html import LabelShare
from ui.dashboard.search.state import Search, where
from ui.word_hits import cosine_of

#: Two vectors this close are one: what is left is float32 rounding.
_SAME = 1 - 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Hits of one page with their pictures.

    Attributes:
        hits: best first; their ranks go on from page to page.
        thumbnails: PNG by id, of the hits, of the query when it is stored, and of the marked films.
        query: the row that was asked with, when the query is an id.
        marked: rows of the marked films, by id.
        asked: the stored films to be like: the query's own, and those marked +.
        candidates: how many films there are to find: those that pass, without the query's own.
        own: films of the query's own patient, where these were left out; None where not.
    """

    hits: Sequence[Hit]
    thumbnails: dict[str, bytes | None]
    query: Row | None
    marked: dict[str, Row]
    asked: list[Row]
    candidates: int
    own: OwnFilms | None = None


def answer(
    gallery: Gallery,
    search: Search,
    vector: npt.NDArray[np.float32] | None,
    films: int,
) -> Answer:
    """Search a gallery for one page of hits.

    Args:
        gallery: not empty.
        search: with something to search for.
        vector: of the sentence or the upload, float32 (d,), unit length; of a text (n, d), where a
            film counts by the nearest; None for an id, and for marks alone.
        films: how many pass the filters.

    Raises:
        UnknownId: the query's id or a marked film is not in the gallery.
        BadQuery: the marks cancel the query out.
    """
    query = None if search.id is None else gallery.row(search.id)
    marked = {id_: gallery.row(id_) for id_ in search.marks}
    condition = where(search.filters)
    own = {row.id: row for row in (query, *marked.values()) if row is not None}
    asked = [row for id_, row in own.items() if id_ not in search.unlike]
    others, left_out = None, dict(own)
    if search.other_patients:
        others = own_films(gallery, search, asked)
        left_out |= gallery.rows(set(others.ids) - own.keys())
    hits = _found(gallery, search, vector, () if others is None else others.ids)
    candidates = films - sum(passes(row, condition) for row in left_out.values())
    if search.words is not None and not search.has_vector:
        candidates = gallery.count_words(search.words, condition, negated=search.negated)
    return Answer(
        hits=hits,
        thumbnails=gallery.thumbnails([*own, *(hit.row.id for hit in hits)]),
        query=query,
        marked=marked,
        asked=asked,
        candidates=candidates,
        own=others,
    )


def _found(
    gallery: Gallery,
    search: Search,
    vector: npt.NDArray[np.float32] | None,
    exclude: Sequence[str],
) -> Sequence[Hit]:
    """The hits of one page."""
    depth, query = min(search.depth, len(gallery)), search.id if vector is None else vector
    found: Sequence[Hit]
    if search.words is None:
        found = refined_search(gallery, query, depth, **search.arguments, exclude=exclude)
    else:
        arguments = {n: value for n, value in search.arguments.items() if n != "where"}
        part_of: list[str] = []
        vectors = None
        if search.has_vector:
            vectors, part_of = combined_query(gallery, query, **arguments)
        found = gallery.search_words(
            search.words,
            depth,
            search.where,
            [*part_of, *exclude],
            vectors=vectors,
            fusion=search.fusion,
            negated=search.negated,
        )
    return found[search.k * (search.page - 1) :]


def own_films(gallery: Gallery, search: Search, asked: Sequence[Row]) -> OwnFilms:
    """Films of the patients of stored films, and of an upload that is stored."""
    ids = [row.id for row in asked]
    if search.upload is not None:
        ids += [id_ for same in gallery.holding(search.upload.digests).values() for id_ in same]
    return gallery.own_films(ids)


def without_missing(gallery: Gallery, search: Search) -> tuple[Search, list[str]]:
    """A search without the marks of films that are not stored, and the ids of those."""
    missing = []
    for id_ in search.marks:
        try:
            gallery.vectors([id_])
        except UnknownId:
            missing.append(id_)
            search = search.mark(id_, None)
    return search, missing


def badges(
    hits: Sequence[Hit],
    asked: Sequence[Row],
    digests: Sequence[bytes],
    learnt: Collection[tuple[str, str]] = (),
    alone: bool = True,
) -> list[list[str]]:
    """Badges of each hit: reasons why it is less of a finding than it looks.

    Args:
        hits: best first.
        asked: stored films that were asked with.
        digests: sha256 of the query's source, in every form it may be stored; empty for a text.
        learnt: (data set, split) that the encoder learnt from.
        alone: whether the query is one film, so that a cosine of 1 means the same vector.
    """
    known = {*digests, *(row.sha256 for row in asked)}
    patients = {row.patient for row in asked if row.patient}
    first: dict[bytes, int] = {}
    found = []
    for hit in hits:
        said = []
        if hit.row.sha256 in known:
            said.append("exact duplicate of the query")
        elif alone and digests and (cosine_of(hit) or 0) >= _SAME:
            said.append("same vector as the query")
        if hit.row.sha256 in first:
            said.append(f"exact duplicate of #{first[hit.row.sha256]}")
        first.setdefault(hit.row.sha256, hit.rank)
        if hit.row.patient in patients:
            said.append("same patient as the query")
        if (hit.row.dataset, hit.row.split) in learnt:
            said.append("seen in training")
        found.append(said)
    return found


def neighbour_labels(
    hits: Sequence[Hit], counts: Mapping[str, int], searched: int, most: int = 6
) -> list[LabelShare]:
    """Frequency of each label among the hits, against its share of the films searched.

    Args:
        hits: at least one.
        counts: named finding -> films with it, among those searched.
        searched: films searched.
        most: labels in the result.

    Returns:
        Most frequent first.
    """
    found = dict.fromkeys(counts, 0)
    for hit in hits:
        for label in hit.row.named_findings:
            found[label] = found.get(label, 0) + 1
    ranked = sorted(found, key=lambda label: (-found[label], -counts.get(label, 0), label))[:most]
    return [
        LabelShare(
            label,
            found[label],
            len(hits),
            counts.get(label, 0) / searched if searched else None,
            *wilson(found[label], len(hits)),
        )
        for label in ranked
    ]


def wilson(count: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a share, 95 % by default.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    share = count / total
    middle = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    below = 1 + z * z / total
    return max(0.0, (middle - half) / below), min(1.0, (middle + half) / below)


def ways_out(
    filters: Mapping[str, tuple[str, ...]],
    count: Callable[[Mapping[str, tuple[str, ...]]], int],
) -> dict[str, int]:
    """Filters that, removed alone, let films through again: facet -> how many films."""
    without = {
        facet: count({name: values for name, values in filters.items() if name != facet})
        for facet in filters
    }
    return {facet: films for facet, films in without.items() if films}


def similar_ids(asked: str, ids: Sequence[str], most: int = 5) -> list[str]:
    """Ids that someone who wrote an unknown one may have meant: same ending, or containing it."""
    end = "/" + asked.strip("/").rpartition("/")[2]
    whole = asked.casefold()
    close = [id_ for id_ in ids if id_.endswith(end)]
    close += [id_ for id_ in ids if whole in id_.casefold() and id_ not in close]
    return close[:most]
