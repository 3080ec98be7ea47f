"""MIMIC-CXR-JPG (Johnson et al. 2019): metadata, split and chexpert tables, ``files/p10/...``.

Views and splits are per image, labels per study: every image of a study carries the study's
findings. The tables come packed with gzip and are read so. Access is credentialed: films,
thumbnails and vectors must not be passed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ingest import findings
from ingest.findings import Findings
from ingest.sources import listed
from ingest.sources.chexpert import FINDINGS
from ingest.sources.published import Listing, check_splits, sheet, table
from ingest.sources.source import Source
from ingest.tree import scan

NAME = "mimic-cxr-jpg"
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
        place: the folder with the tables.
        splits: some of ``train``, ``val``, ``test``; all when ``None``.
        uncertain: what becomes of uncertain findings: ``apart``, ``present`` or ``absent``.
        labeller: whose labels: ``chexpert`` or ``negbio``.

    Raises:
        BadSource: a table is missing, or lacks the published columns.
    """
    findings.Findings().metadata(uncertain)
    wanted = None if splits is None else check_splits(splits, ("train", "val", "test"))
    paths = {
        kind: table(place, f"mimic-cxr-2.?.?-{kind}.csv")
        for kind in ("metadata", "split", labeller)
    }
    metadata, split_path, labels_path = (paths[k] for k in ("metadata", "split", labeller))
    assert metadata is not None and split_path is not None and labels_path is not None
    split_of = {
        row["dicom_id"]: listed.split(row["split"])
        for _, row in sheet(split_path, "dicom_id", "split").rows()
    }
    names = findings.named(FINDINGS, NAME)
    labels = sheet(labels_path, "subject_id", "study_id", *FINDINGS)
    studies: dict[str, Findings] = {}
    bad: dict[str, str] = {}
    for line, row in labels.rows():
        try:
            studies[row["study_id"]] = findings.from_columns(row, names)
        except ValueError as error:
            bad[row["study_id"]] = f"{labels_path.name}:{line}: {error}"
    listing = Listing(NAME, scan(place), metadata.name, wanted)
    listing.notes.append(_TERMS)
    for _, row in sheet(metadata, "dicom_id", "subject_id", "study_id", "ViewPosition").rows():
        subject, study, image = row["subject_id"], row["study_id"], row["dicom_id"]
        path = f"files/p{subject[:2]}/p{subject}/s{study}/{image}.jpg"
        if study in bad:
            listing.refuse(path, "bad_label", bad[study])
            continue
        listing.add(
            path,
            {
                **studies.get(study, Findings()).metadata(uncertain),
                "split": split_of.get(image),
                "patient": f"mimic/p{subject}",
                "view": listed.view(row["ViewPosition"]),
            },
        )
    return listing.source()
