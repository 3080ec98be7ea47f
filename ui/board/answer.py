"""What a search finds and what can be said about it. No Streamlit here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from store import Gallery, Hit, Row
from ui.board.link import Search

#: Two vectors this close are one: what is left is float32 rounding.
_SAME = 1 - 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Hits with their pictures.

    Attributes:
        hits: best first.
        thumbnails: PNG by id, of the hits and of the query when it is in the gallery.
        query: the row that was asked with, when the query is an id.
    """

    hits: list[Hit]
    thumbnails: dict[str, bytes | None]
    query: Row | None


def answer(gallery: Gallery, search: Search, vector: npt.NDArray[np.float32] | None) -> Answer:
    """Search a gallery.

    Args:
        gallery: not empty.
        search: with an id, or with what ``vector`` stands for.
        vector: float32 (d,), unit length; None when the query is an id.

    Raises:
        UnknownId: the query's id is not in the gallery.
    """
    k = min(search.k, len(gallery))
    query = None if search.id is None else gallery.row(search.id)
    if search.id is not None:
        hits = gallery.search_by_id(search.id, k, search.where)
    else:
        assert vector is not None
        hits = gallery.search(vector[None], k, search.where)[0]
    shown = [hit.row.id for hit in hits] + ([query.id] if query else [])
    return Answer(hits, gallery.thumbnails(shown), query)


def badges(hits: Sequence[Hit], query: Row | None, digests: Sequence[bytes]) -> list[list[str]]:
    """What makes a hit less of a finding than it looks, per hit.

    Args:
        hits: best first.
        query: the row that was asked with, if any.
        digests: sha256 of the query's source, in every form it may be stored; empty for a text.
    """
    first: dict[bytes, int] = {}
    found = []
    for hit in hits:
        said = []
        if hit.row.sha256 in digests:
            said.append("exact duplicate of the query")
        elif digests and hit.score >= _SAME:
            said.append("same vector as the query")
        if hit.row.sha256 in first:
            said.append(f"exact duplicate of #{first[hit.row.sha256]}")
        first.setdefault(hit.row.sha256, hit.rank)
        if query is not None and query.patient and hit.row.patient == query.patient:
            said.append("same patient as the query")
        found.append(said)
    return found


def neighbour_labels(
    hits: Sequence[Hit], counts: Mapping[str, int], searched: int, most: int = 6
) -> list[tuple[str, int, int, float | None]]:
    """How often each label occurs among the hits, against its share of what was searched.

    Args:
        hits: at least one.
        counts: label -> films with it, among those searched.
        searched: films searched.
        most: labels in the result.

    Returns:
        (label, hits with it, hits, share of the searched), most frequent first.
    """
    found = dict.fromkeys(counts, 0)
    for hit in hits:
        for label in hit.row.labels:
            found[label] = found.get(label, 0) + 1
    ranked = sorted(found, key=lambda label: (-found[label], -counts.get(label, 0), label))[:most]
    return [
        (
            label,
            found[label],
            len(hits),
            counts.get(label, 0) / searched if searched else None,
        )
        for label in ranked
    ]


def ways_out(
    filters: Mapping[str, tuple[str, ...]],
    count: Callable[[Mapping[str, tuple[str, ...]]], int],
) -> dict[str, int]:
    """Which single filter empties a set: facet -> films that pass without it, if any do."""
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
