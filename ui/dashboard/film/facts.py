"""Facts of a film's page: all its metadata, its report, other films of its patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import PurePath

from store import COLUMNS, Gallery, Row, Where

#: Columns that the page shows in places of their own.
_ELSEWHERE = ("labels", "uncertain", "absent", "labelled", "report", "source", "tags", "remark")
#: Own columns that say when a film was taken, the most likely first.
_DATES = ("study_date", "studydate", "acquisition_date", "date", "taken")


def metadata(row: Row) -> list[tuple[str, str]]:
    """All that is known of a film: name and value, for people; what is not known is left out."""
    from ingest import study_link

    found = {
        column.title: _text(getattr(row, name))
        for name, column in COLUMNS.items()
        if name not in _ELSEWHERE
    }
    found |= {"Uncertain": ", ".join(row.uncertain), "Absent": ", ".join(row.absent)}
    found |= {name: _text(value) for name, value in row.extra.items()}
    if row.width and row.height:
        found["Size"] = f"{row.width:,} × {row.height:,} pixels"
    found["File"] = PurePath(row.source).name
    found["Study at"] = study_link(row.source) or ""
    found["Batch"] = row.batch or ""
    found["Ingested"] = f"{row.ingested_at:%Y-%m-%d %H:%M} UTC" if row.ingested_at else ""
    found["SHA-256"] = row.sha256.hex()
    return [(name, value) for name, value in found.items() if value]


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, date):
        return value.isoformat()
    return f"{value:g}" if isinstance(value, float) else str(value)


def date_column(columns: Mapping[str, str]) -> str | None:
    """The user's own column that says when a film was taken; None where there is none.

    Args:
        columns: own columns of a gallery and their kinds.
    """
    dates = sorted(name for name, kind in columns.items() if kind == "date")
    likely = [name for wanted in _DATES for name in dates if name.casefold() == wanted]
    return next(iter([*likely, *dates]), None)


def of_the_patient(gallery: Gallery, row: Row) -> tuple[str, list[str], str | None]:
    """Other films of a film's patient, or of its study where only that is known.

    Returns:
        ``patient`` or ``study``; ids, by date where a column tells it, those without one last, else
        by id; and the name of that column.
    """
    whose = "patient" if row.patient else "study"
    value = row.patient or row.study
    if not value:
        return whose, [], None
    dataset = (row.dataset,) if row.dataset else ()
    if row.patient:
        where = Where(patient=(row.patient,), dataset=dataset)
    else:
        where = Where(dataset=dataset, extra=(("study", value),))
    ids = [id_ for id_ in gallery.ids(where) if id_ != row.id]
    column = date_column(gallery.columns()) if ids else None
    return whose, in_order(gallery, ids, column), column


def in_order(gallery: Gallery, ids: Sequence[str], column: str | None) -> list[str]:
    """Ids by the date in a column, films without one last; by id where there is no column."""
    if column is None:
        return sorted(ids)
    rows = gallery.rows(ids)

    def when(id_: str) -> tuple[bool, str, str]:
        day = rows[id_].extra.get(column) if id_ in rows else None
        return day is None, str(day), id_

    return sorted(ids, key=when)
