"""Films of the same patient as some stored ones: what a search for other patients leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from store.schema import Row
from store.search.base import Searcher
from store.table import filters, lance


@dataclass(frozen=True, slots=True)
class OwnFilms:
    """Films of the patients of some stored films, or of their studies.

    Attributes:
        kind: ``patient`` where one of theirs is known, else ``study``; None where neither is.
        ids: ascending; none where nothing is known.
    """

    kind: Literal["patient", "study"] | None
    ids: tuple[str, ...]


def own_films(now: Searcher, ids: Sequence[str]) -> OwnFilms:
    """Films of the same patients as some stored ones; of the same study where only that is known.

    Names count within a data set: the same patient's name in another one is somebody else. As in an
    evaluation (store.evaluation.labelled.Groups), films of a study whose patient is known are that
    patient's.

    Raises:
        UnknownId: one of ``ids`` is not stored.
    """
    conditions = {_condition(row, now.handle.schema.names) for row in now.rows_of(ids)}
    known = {one for one in conditions if one is not None}
    if not known:
        return OwnFilms(None, ())
    condition = filters.either(sorted(text for _, text in known))
    found = lance.scan(now.handle, ["id"], condition)["id"].to_pylist()
    kind: Literal["patient", "study"] = "study"
    if any(column == "patient" for column, _ in known):
        kind = "patient"
    return OwnFilms(kind, tuple(sorted(found)))


def _condition(row: Row, columns: Sequence[str]) -> tuple[str, str] | None:
    """The column by which films are those of a row's patient, and the condition on them."""
    for column in ("patient", "study"):
        name = getattr(row, column) if column in columns else None
        if name:
            dataset = (
                filters.is_null("dataset")
                if row.dataset is None
                else filters.equal("dataset", [row.dataset])
            )
            alone = column == "study" and "patient" in columns
            whose = filters.has_no_text("patient") if alone else None
            return column, filters.both([filters.equal(column, [name]), dataset, whose]) or ""
    return None
