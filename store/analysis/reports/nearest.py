"""Reports of the films that are most like one: what was written of its like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from store.errors import BadQuery
from store.gallery import refined_search
from store.schema import Row
from store.table.filters import Where, truth
from store.table.rows import report_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from store.gallery import Gallery
    from store.schema import Hit

#: Films that are fetched for each report wanted: those of a study have the same one.
_TIMES = 4
#: The filter of films that have a report.
WITH_REPORT = ("has_report", "yes")


@dataclass(frozen=True, slots=True)
class NearReport:
    """A report, with the films that have it.

    Attributes:
        rank: 1 for that of the most similar film.
        score: cosine of its nearest film.
        report: the text.
        films: rows of the films found that have this text, nearest first.
    """

    rank: int
    score: float
    report: str
    films: tuple[Row, ...]


def nearest_reports(
    gallery: Gallery,
    query: npt.ArrayLike | str,
    k: int = 5,
    *,
    where: Where | None = None,
    other_patients: bool = False,
    exclude: Sequence[str] = (),
) -> list[NearReport]:
    """The k reports whose films are most similar to a film, each report once.

    Args:
        gallery: what to search.
        query: a unit vector of the gallery's encoder, float (d,), or the id of a stored film, which
            is never among the films.
        k: how many, at least 1.
        where: only films that pass take part.
        other_patients: no film of its own patient either, or of its study where only that is known;
            for a stored film.
        exclude: ids of films that take no part.

    Returns:
        Nearest first, equal scores by the films' ids; fewer than k when there are fewer.

    Raises:
        UnknownId: no such film.
        BadQuery: k below 1, a bad vector, or an empty gallery.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise BadQuery(f"k = {k!r}: expected 1 or more reports")
    asked = where or Where()
    named = [text for key, text in asked.extra if key == WITH_REPORT[0]]
    if named and not any(truth(WITH_REPORT[0], text) for text in named):
        return []
    others = (pair for pair in asked.extra if pair[0] != WITH_REPORT[0])
    condition = replace(asked, extra=(*others, WITH_REPORT))
    rows = len(gallery)
    depth = min(k * _TIMES, max(rows, 1))
    while True:
        hits = refined_search(
            gallery,
            query,
            depth,
            where=condition,
            other_patients=other_patients,
            exclude=exclude,
        )
        found = _grouped(hits)
        if len(found) > k or len(hits) < depth or depth >= rows:
            return found[:k]
        depth = min(depth * _TIMES, rows)


def _grouped(hits: Sequence[Hit]) -> list[NearReport]:
    groups: dict[str, list[Hit]] = {}
    for hit in hits:
        groups.setdefault(report_of(hit.row) or "", []).append(hit)
    return [
        NearReport(rank, some[0].score, text, tuple(hit.row for hit in some))
        for rank, (text, some) in enumerate(groups.items(), start=1)
    ]
