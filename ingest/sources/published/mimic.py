"""MIMIC-CXR-JPG (Johnson et al. 2019): metadata, split and chexpert tables, ``files/p10/...``.

Views and splits are per image, labels per study: every image of a study carries the study's
findings. The tables come packed with gzip and are read so. Access is credentialed: films,
thumbnails and vectors must not be passed on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ingest import metadata
from ingest.images.file_tree import scan
from ingest.sources.published.chexpert import FINDINGS
from ingest.sources.published.layout import Listing, check_splits, read_film, sheet, table
from ingest.sources.source import Source
from ingest.sources.tables import findings
from ingest.sources.tables.findings import Findings

NAME = "mimic-cxr-jpg"
_LAYOUT = re.compile(r"files|p[0-9]{2}|p[0-9]{8}|s[0-9]{8}")
_TERMS = "MIMIC-CXR-JPG is credentialed: films, thumbnails and vectors must not be passed on"


def records(
    place: str | Path,
    *,
    splits: Sequence[str] | None = None,
    uncertain: str = "apart",
    labeller: str = "chexpert",
) -> Source:
    """The films of MIMIC-CXR-JPG that are in a folder.

    Args:
        place: the folder with the tables, or any part of it.
        splits: some of ``train``, ``val``, ``test``; all when ``None``.
        uncertain: what becomes of uncertain findings: ``apart``, ``present`` or ``absent``.
        labeller: whose labels: ``chexpert`` or ``negbio``.

    Raises:
        BadSource: a table is missing, or lacks the published columns.
    """
    findings.Findings().metadata(uncertain)
    wanted = None if splits is None else check_splits(splits, ("train", "val", "test"))
    paths = {
        kind: table(place, f"mimic-cxr-2.?.?-{kind}.csv", columns=("study_id",))
        for kind in ("metadata", "split", labeller)
    }
    images_path, split_path, labels_path = (paths[k] for k in ("metadata", "split", labeller))
    assert images_path is not None and split_path is not None and labels_path is not None
    split_of = {
        row["dicom_id"]: metadata.split(row["split"])
        for _, row in sheet(split_path, "dicom_id", "split").rows()
    }
    names = findings.named(FINDINGS, NAME)
    labels = sheet(labels_path, "subject_id", "study_id", *FINDINGS)
    studies: dict[tuple[str, str], Findings] = {}
    bad: dict[tuple[str, str], tuple[str, str]] = {}
    for line, row in labels.rows():
        key = row["subject_id"], row["study_id"]
        try:
            said = findings.from_columns(row, names)
        except ValueError as error:
            bad[key] = "bad_label", f"{labels_path.name}:{line}: {error}"
            continue
        if studies.setdefault(key, said) != said:
            bad[key] = (
                "contradictory_rows",
                f"{labels_path.name}:{line}: study {key[1]} has other labels in a line before; "
                "correct one of them",
            )
    images = sheet(images_path, "dicom_id", "subject_id", "study_id", "ViewPosition")
    listing = Listing(NAME, scan(place), [images_path, split_path, labels_path], wanted, _published)
    listing.notes.append(_TERMS)
    listing.expect(_path(row) for _, row in images.rows())
    for line, row in images.rows():
        subject, study, image = row["subject_id"], row["study_id"], row["dicom_id"]
        path, where = _path(row), f"{images_path.name}:{line}"
        if not listing.here(path, where):
            continue
        if (subject, study) in bad:
            listing.refuse(path, *bad[subject, study])
            continue
        listing.add(
            path,
            {
                **studies.get((subject, study), Findings()).metadata(uncertain),
                "split": split_of.get(image),
                "patient": f"mimic/p{subject}",
                "view": metadata.view(row["ViewPosition"]),
            },
            place=where,
        )
    return listing.source(read=read_film)


def _path(row: Mapping[str, str]) -> str:
    """Where the publisher puts an image."""
    subject, study, image = row["subject_id"], row["study_id"], row["dicom_id"]
    return f"files/p{subject[:2]}/p{subject}/s{study}/{image}.jpg"


def _published(folder: str) -> bool:
    return _LAYOUT.fullmatch(folder) is not None
