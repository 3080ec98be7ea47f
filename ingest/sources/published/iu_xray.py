"""Source of IU X-ray (Demner-Fushman et al. 2016), as Kaggle has it: two tables, and the images.

``indiana_projections.csv`` names the films and tells frontal from lateral,
``indiana_reports.csv`` has a report a ``uid``, which is a study. Labels are its ``Problems``; where
that is blank, what stands before the first slash in ``MeSH``. What was taken out of the reports
stays ``XXXX``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ingest import metadata
from ingest.images.file_tree import scan
from ingest.reports.texts import joined
from ingest.sources.published.layout import Description, Listing, Row, read_film, table
from ingest.sources.source import Source
from ingest.sources.tables import findings
from ingest.sources.tables.columns import headings_in
from store import UsageError

NAME = "iu-xray"
_PROJECTIONS, _REPORTS = "indiana_projections.csv", "indiana_reports.csv"
_PARTS = ("findings", "impression")
#: Of a study whose report nobody gave terms to.
_NOT_LABELLED = {"no indexing"}


def records(
    place: str | Path, *, report_column: Sequence[str] = (), no_reports: bool = False
) -> Source:
    """The films of IU X-ray that are in a folder, with labels and report of their study.

    Args:
        place: the folder with both tables, images below it in any folders; or a part of it.
        report_column: parts of the report, of ``indication``, ``comparison``, ``findings``,
            ``impression``; findings and impression when empty.
        no_reports: take none; stored ones stay.

    Raises:
        BadSource: a table is missing, or lacks the published columns.
    """
    if no_reports and report_column:
        raise UsageError("--report-column and --no-reports contradict each other; give one")
    films = table(place, _PROJECTIONS, columns=("uid", "filename", "projection"))
    reports = table(place, _REPORTS, columns=("uid", "MeSH", "Problems", *_PARTS))
    parts = headings_in(reports, report_column or _PARTS, "--report-column")
    studies: dict[str, dict[str, Any]] = {}
    twice: dict[str, tuple[str, str]] = {}
    for line, row in reports.rows():
        said = _labels(row)
        if not no_reports:
            said["report"] = joined((part, row[part]) for part in parts)
        if studies.setdefault(row["uid"], said) != said:
            twice[row["uid"]] = (
                "contradictory_rows",
                f"{reports.path.name}:{line}: uid {row['uid']} has another report in a line "
                "before; correct one of them",
            )
    listing = Listing(NAME, scan(place), [films, reports], None)
    listing.expect(films.cells("filename"))
    without = 0

    def describe(row: Row) -> Description:
        nonlocal without
        uid = row["uid"]
        without += uid not in studies
        return twice.get(uid) or {
            **studies.get(uid, {}),
            "study": f"iu/{uid}" if uid else None,
            "view": metadata.view(row["projection"]),
        }

    listing.read(films, lambda row: row["filename"], describe)
    if without:
        listing.notes.append(f"{without:,} films have no row in {reports.path.name}")
    return listing.source(read=read_film)


def _labels(row: Row) -> dict[str, Any]:
    """The findings of a study as rows carry them."""
    cell = row["Problems"]
    if cell.casefold() in findings.BLANK:
        cell = ";".join(term.partition("/")[0] for term in row["MeSH"].split(";"))
    found = findings.from_cell(cell, ";")
    names = dict.fromkeys(findings.vocabulary(name) for name in found.present)
    labels = tuple(name for name in names if name not in _NOT_LABELLED)
    return {"labels": labels, "labelled": bool(labels)}
