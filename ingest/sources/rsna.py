"""RSNA Pneumonia Detection Challenge (Shih et al. 2019): ``stage_2_*`` tables and DICOM films.

A table has a row per box, so an image has several. Labels are the three published classes: normal,
lung opacity, and "no lung opacity / not normal"; without their table, lung opacity or none. The
challenge's test films have no labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ingest import dicom, findings
from ingest.dicom_header import TELLS
from ingest.sources.published import Listing, check_splits, sheet, table
from ingest.sources.source import Source
from ingest.tree import scan
from store.errors import BadSource

NAME = "rsna-pneumonia"
_LABELS = "stage_2_train_labels.csv"
_CLASSES = "stage_2_detailed_class_info.csv"
_TEST = "stage_2_test_images"
#: What Target 0 says of a film where the three classes are not there.
_OTHER = "no lung opacity"


def records(place: str | Path, *, splits: Sequence[str] | None = None) -> Source:
    """The films of the challenge that are in a folder; view, sex and age from their headers.

    Args:
        place: the folder with the tables and ``stage_2_train_images/``.
        splits: some of ``train``, ``test``; all when ``None``.

    Raises:
        BadSource: a table is missing, or lacks the published columns.
    """
    wanted = None if splits is None else check_splits(splits, ("train", "test"))
    path = table(place, _LABELS)
    assert path is not None
    target: dict[str, str] = {}
    for line, row in sheet(path, "patientId", "Target").rows():
        if row["Target"] not in ("0", "1"):
            raise BadSource(f"{path}, line {line}: Target is {row['Target']!r}, expected 0 or 1")
        target[row["patientId"]] = max(row["Target"], target.get(row["patientId"], "0"))
    classes: dict[str, str] = {}
    detailed = table(place, _CLASSES, needed=False)
    if detailed is not None:
        classes = {
            row["patientId"]: findings.vocabulary(row["class"])
            for _, row in sheet(detailed, "patientId", "class").rows()
        }
    listing = Listing(NAME, scan(place), _LABELS, wanted)
    if detailed is None:
        listing.notes.append(
            f"no {_CLASSES}: films with Target 0 are labelled {_OTHER!r}, normal or not"
        )
    for image, value in target.items():
        name = classes.get(image) or ("lung opacity" if value == "1" else _OTHER)
        listing.add(
            f"stage_2_train_images/{image}.dcm",
            {"labels": (name,), "split": "train", "patient": f"rsna/{image}"},
        )
    for path_ in listing.tree.files:
        folder, _, name = path_.rpartition("/")
        if folder.rpartition("/")[2] == _TEST:
            listing.add(path_, {"split": "test", "patient": f"rsna/{name.partition('.')[0]}"})
    return listing.source(read=dicom.read, tells=TELLS)
