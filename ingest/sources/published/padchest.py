"""Source of PadChest (Bustos et al. 2020): ``PADCHEST_chest_x_ray_images_labels_*.csv`` and PNG.

Films lie in folders ``0`` to ``54``, or anywhere: their names are unique. Labels are lists in text;
an empty list means that nothing was found, a blank cell that nobody looked. Reports are Spanish,
in small letters and without accents, and are stored as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ingest import metadata
from ingest.images.file_tree import scan
from ingest.reports.texts import joined
from ingest.sources.published.layout import Description, Listing, Row, read_film, table
from ingest.sources.source import Source
from ingest.sources.tables import findings
from ingest.sources.tables.columns import headings_in
from store import UsageError

NAME = "padchest"
_TABLE = "PADCHEST_chest_x_ray_images_labels*.csv"
_COLUMNS = (
    *("ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth"),
    *("PatientSex_DICOM", "Projection", "Report", "Labels"),
)
#: Projections that say nothing of the view.
_NO_VIEW = {"UNK", "EXCLUDE"}


def records(
    place: str | Path, *, report_column: Sequence[str] = (), no_reports: bool = False
) -> Source:
    """The films of PadChest that are in a folder, with labels, age and report.

    Args:
        place: the folder with the table, films below it in any folders; or a part of it.
        report_column: the columns of the report; ``Report`` when empty.
        no_reports: take none; stored ones stay.

    Raises:
        BadSource: no table there, or one without the published columns.
    """
    if no_reports and report_column:
        raise UsageError("--report-column and --no-reports contradict each other; give one")
    rows = table(place, _TABLE, columns=_COLUMNS)
    parts = headings_in(rows, report_column or ("Report",), "--report-column")
    listing = Listing(NAME, scan(place), [rows], None, str.isdecimal)
    listing.expect(_path(row) for _, row in rows.rows())

    def describe(row: Row) -> Description:
        said = findings.from_cell(row["Labels"], None)
        names = dict.fromkeys(findings.vocabulary(name) for name in said.present)
        view = metadata.view(row["Projection"])
        return {
            "labels": tuple(names),
            "labelled": said.labelled,
            "patient": f"padchest/{row['PatientID']}" if row["PatientID"] else None,
            "study": f"padchest/{row['StudyID']}" if row["StudyID"] else None,
            "view": None if view in _NO_VIEW else view,
            "sex": metadata.sex(row["PatientSex_DICOM"]),
            "age": _age(row["StudyDate_DICOM"], row["PatientBirth"]),
            **({} if no_reports else {"report": joined((part, row[part]) for part in parts)}),
        }

    listing.read(rows, _path, describe)
    return listing.source(read=read_film)


def _path(row: Row) -> str:
    """The publisher's path of a film; blank where the row names none."""
    folder, name = row["ImageDir"].removesuffix(".0"), row["ImageID"]
    return f"{folder}/{name}" if folder and name else name


def _age(taken: str, born: str) -> str:
    """Years from the year of birth, ``1930.0``, to that of the film, ``20140915``."""
    try:
        years = int(taken[:4]) - int(float(born))
    except ValueError:
        return ""
    return str(years) if years >= 0 else f"{taken[:4]} - {born}"  # odd, and counted so
