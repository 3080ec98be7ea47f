"""Source of MIMIC-CXR-JPG (Johnson et al. 2019): three tables, and ``files/p10/...``.

Views and splits are per image, labels per study: every image of a study carries the study's
findings. The tables come packed with gzip and are read so. Access is credentialed: films,
thumbnails and vectors must not be passed on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ingest import metadata
from ingest.images.file_tree import scan
from ingest.reports.sections import report_of
from ingest.reports.study_files import StudyFiles
from ingest.sources.published.chexpert import FINDINGS
from ingest.sources.published.layout import (
    Description,
    Listing,
    Row,
    read_film,
    table,
)
from ingest.sources.source import Source, check_splits
from ingest.sources.tables import findings
from ingest.sources.tables.findings import Findings
from store import BadSource, UsageError, counted

NAME = "mimic-cxr-jpg"
_LAYOUT = re.compile(r"files|p[0-9]{2}|p[0-9]{8}|s[0-9]{8}")
_TERMS = "MIMIC-CXR-JPG is credentialed: films, thumbnails and vectors must not be passed on"


def records(
    place: str | Path,
    *,
    splits: Sequence[str] | None = None,
    uncertain: str = "apart",
    labeller: str = "chexpert",
    reports: str | Path | None = None,
    report_column: Sequence[str] = (),
) -> Source:
    """The films of MIMIC-CXR-JPG that are in a folder.

    Args:
        place: the folder with the tables, or any part of it.
        splits: some of ``train``, ``val``, ``test``; all when ``None``.
        uncertain: what becomes of uncertain findings: ``apart``, ``present`` or ``absent``.
        labeller: whose labels: ``chexpert`` or ``negbio``.
        reports: the folder or the zip of MIMIC-CXR's reports; None takes none, stored ones stay.
        report_column: their sections to keep; findings and impression when empty.

    Raises:
        BadSource: a table is missing, or lacks the published columns; no report is there.
        UsageError: sections without reports.
    """
    if report_column and reports is None:
        raise UsageError("--report-column names sections of the reports; pass --reports PATH, too")
    findings.check_policy(uncertain)
    wanted = None if splits is None else check_splits(splits, ("train", "val", "test"))
    images, split, labels = (
        table(place, f"mimic-cxr-2.?.?-{kind}.csv", columns=columns)
        for kind, columns in (
            ("metadata", ("dicom_id", "subject_id", "study_id", "ViewPosition")),
            ("split", ("study_id", "dicom_id", "split")),
            (labeller, ("subject_id", "study_id", *FINDINGS)),
        )
    )
    split_of = {row["dicom_id"]: metadata.split(row["split"]) for _, row in split.rows()}
    names = findings.named(FINDINGS, NAME)
    studies: dict[tuple[str, str], Findings] = {}
    refused: dict[tuple[str, str], tuple[str, str]] = {}
    for line, row in labels.rows():
        study = row["subject_id"], row["study_id"]
        where = f"{labels.path.name}:{line}"
        try:
            said = findings.from_columns(row, names)
        except ValueError as error:
            refused[study] = "bad_label", f"{where}: {error}"
            continue
        if studies.setdefault(study, said) != said:
            refused[study] = (
                "contradictory_rows",
                f"{where}: study {study[1]} has other labels in a line before; correct one of them",
            )
    texts = None if reports is None else _Reports(reports, report_column)
    listing = Listing(NAME, scan(place), [images, split, labels], wanted, _published)
    listing.notes.append(_TERMS)
    listing.expect(_path(row) for _, row in images.rows())

    def describe(row: Row) -> Description:
        study = row["subject_id"], row["study_id"]
        return refused.get(study) or {
            **studies.get(study, Findings()).metadata(uncertain),
            "split": split_of.get(row["dicom_id"]),
            "patient": f"mimic/p{row['subject_id']}",
            "study": f"mimic/s{row['study_id']}",
            "view": metadata.view(row["ViewPosition"]),
            **(texts.metadata(*study) if texts else {}),
        }

    listing.read(images, _path, describe)
    if texts:
        listing.notes += texts.notes()
    return listing.source(read=read_film)


class _Reports:
    """Reports of the studies whose films are here, each read once."""

    def __init__(self, place: str | Path, parts: Sequence[str]) -> None:
        self._files = StudyFiles(place)
        named = [name.strip() for part in parts for name in part.split(",") if name.strip()]
        self._parts = named or ["findings", "impression"]
        self._studies: dict[tuple[str, str], str | None] = {}
        self._missing = self._whole = 0

    def metadata(self, patient: str, study: str) -> dict[str, str | None]:
        """The report of a study; nothing where it has no file, so that a stored one stays."""
        if (patient, study) not in self._studies:
            text = self._files.text(patient, study)
            self._missing += text is None
            report, found = (None, True) if text is None else report_of(text, self._parts)
            self._whole += not found
            self._studies[patient, study] = report
        report = self._studies[patient, study]
        return {} if report is None else {"report": report}

    def notes(self) -> list[str]:
        """Notes on studies without a report, or without the sections asked for.

        Raises:
            BadSource: no study has a report.
        """
        many = len(self._studies)
        if many and self._missing == many:
            raise BadSource(
                f"{self._files.place} holds the report of none of the {many:,} studies here; "
                "expected files/p10/p10000032/s50414267.txt below it, or in it as a zip"
            )
        found = []
        if self._missing:
            found.append(f"{self._missing:,} of {many:,} studies have no report there")
        if self._whole:
            found.append(
                f"no section {' or '.join(self._parts)} in {counted(self._whole, 'report')}; all "
                "that stands behind indication, technique and comparison was taken"
            )
        return found


def _path(row: Row) -> str:
    """The publisher's path of an image."""
    subject, study, image = row["subject_id"], row["study_id"], row["dicom_id"]
    return f"files/p{subject[:2]}/p{subject}/s{study}/{image}.jpg"


def _published(folder: str) -> bool:
    return _LAYOUT.fullmatch(folder) is not None
