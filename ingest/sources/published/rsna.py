"""Source of the RSNA Pneumonia Detection Challenge (Shih et al. 2019): tables and DICOM films.

A table has a row per box, so an image has several. Labels are the three published classes: normal,
lung opacity, and "no lung opacity / not normal"; without their table, lung opacity or none. The
challenge's test films have no labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ingest.images.dicom.header import TELLS
from ingest.images.file_tree import scan
from ingest.sources.published.layout import Listing, find_table, read_film, table
from ingest.sources.source import Source, check_splits
from ingest.sources.tables import findings
from ingest.sources.tables.matching import stem_of
from store import BadSource

NAME = "rsna-pneumonia"
_LABELS = "stage_2_train_labels.csv"
_CLASSES = "stage_2_detailed_class_info.csv"
_TRAIN, _TEST = "stage_2_train_images", "stage_2_test_images"
_TRAIN_AND_TEST = frozenset((_TRAIN, _TEST))
#: Label of Target 0 where the three classes are not there.
_OTHER = "no lung opacity"


def records(place: str | Path, *, splits: Sequence[str] | None = None) -> Source:
    """The films of the challenge that are in a folder; view, sex and age from their headers.

    Args:
        place: the folder with the tables and ``stage_2_train_images/``, or one of its parts.
        splits: some of ``train``, ``test``; all when ``None``.

    Raises:
        BadSource: a table is missing, or lacks the published columns.
    """
    wanted = None if splits is None else check_splits(splits, ("train", "test"))
    labels = table(place, _LABELS, columns=("patientId", "Target"))
    target: dict[str, str] = {}
    for line, row in labels.rows():
        if row["Target"] not in ("0", "1"):
            raise BadSource(
                f"{labels.path}, line {line}: Target is {row['Target']!r}, expected 0 or 1"
            )
        target[row["patientId"]] = max(row["Target"], target.get(row["patientId"], "0"))
    classes: dict[str, str] = {}
    twice: dict[str, str] = {}
    detailed = find_table(place, _CLASSES, columns=("patientId", "class"))
    if detailed is not None:
        for line, row in detailed.rows():
            name = findings.vocabulary(row["class"])
            if classes.setdefault(row["patientId"], name) != name:
                twice[row["patientId"]] = (
                    f"{detailed.path.name}:{line}: class {row['class']!r}, but "
                    f"{classes[row['patientId']]!r} in a line before; correct one of them"
                )
    tables = [labels, *([detailed] if detailed else [])]
    listing = Listing(NAME, scan(place), tables, wanted, _TRAIN_AND_TEST.__contains__)
    listing.expect(f"{_TRAIN}/{image}.dcm" for image in target)
    if detailed is None:
        listing.notes.append(
            f"no {_CLASSES}: films with Target 0 are labelled {_OTHER!r}, normal or not"
        )
    for image, value in target.items():
        if not listing.here(f"{_TRAIN}/{image}.dcm"):
            continue
        if image in twice:
            listing.refuse(f"{_TRAIN}/{image}.dcm", "contradictory_rows", twice[image])
            continue
        name = classes.get(image) or ("lung opacity" if value == "1" else _OTHER)
        listing.add(
            f"{_TRAIN}/{image}.dcm",
            {"labels": (name,), "split": "train", "patient": f"rsna/{image}"},
        )
    for film in listing.tree.files:
        if listing.index.folders(film)[-1:] == [_TEST]:
            name = stem_of(film.rpartition("/")[2])
            listing.put(film, {"split": "test", "patient": f"rsna/{name}"})
    return listing.source(read=read_film, tells=TELLS)
