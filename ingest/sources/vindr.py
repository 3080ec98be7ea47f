"""VinDr-CXR (Nguyen et al. 2022): DICOM films, each of the training set read by three radiologists.

A finding is present when more than half of an image's readers drew or ticked it, uncertain when
some did, absent when a table of ticks says that none did. Boxes (``train.csv`` of Kaggle,
``annotations_*.csv`` of PhysioNet) and ticks (``image_labels_*.csv``) are both read; ticks win.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ingest import dicom, findings
from ingest.dicom_header import TELLS
from ingest.findings import Findings
from ingest.sources.published import Listing, check_splits, sheet, table
from ingest.sources.source import Source
from ingest.tree import scan
from store.errors import BadSource

NAME = "vindr-cxr"
_TICKS = {"train": "image_labels_train.csv", "test": "image_labels_test.csv"}
_BOXES = {
    "train": ("annotations_train.csv", "train.csv"),
    "test": ("annotations_test.csv", "test.csv"),
}


def records(
    place: str | Path, *, splits: Sequence[str] | None = None, uncertain: str = "apart"
) -> Source:
    """The films of VinDr-CXR that are in a folder; view, sex and age from their headers.

    Args:
        place: the folder with the tables and ``train/``, ``test/``.
        splits: some of ``train``, ``test``; all when ``None``.
        uncertain: what becomes of uncertain findings: ``apart``, ``present`` or ``absent``.

    Raises:
        BadSource: no table there, or one without the published columns.
    """
    findings.Findings().metadata(uncertain)
    wanted = check_splits(splits, ("train", "test"))
    listing = Listing(NAME, scan(place), "the tables", wanted)
    for split in wanted:
        said: dict[str, Findings] = {}
        for name in _BOXES[split]:
            path = table(place, name, needed=False)
            if path is not None:
                said = _boxes(path)
                break
        path = table(place, _TICKS[split], needed=False)
        if path is not None:
            said |= _ticks(path)
        for image, one in said.items():
            listing.add(f"{split}/{image}.dicom", {**one.metadata(uncertain), "split": split})
    if not listing.described:
        raise BadSource(
            f"{place} holds no table with rows of its films; expected train.csv, or "
            "annotations_train.csv and image_labels_train.csv"
        )
    if splits is not None:
        listing.tree.files = [
            path
            for path in listing.tree.files
            if path in listing.described or path.rpartition("/")[0].rpartition("/")[2] in wanted
        ]
    return listing.source(read=dicom.read, tells=TELLS)


def _boxes(path: Path) -> dict[str, Findings]:
    """Image to what its readers drew: rows of image_id, class_name, rad_id and a box."""
    rows = sheet(path, "image_id")
    if "class_name" not in rows.headings:
        return {row["image_id"]: Findings() for _, row in rows.rows()}
    readers: dict[str, set[str]] = defaultdict(set)
    marks: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for _, row in rows.rows():
        reader = row.get("rad_id", "") or "consensus"
        readers[row["image_id"]].add(reader)
        if row["class_name"]:
            marks[row["image_id"]][findings.vocabulary(row["class_name"])].add(reader)
    found = {}
    for image, names in readers.items():
        votes = {name: len(by) for name, by in marks[image].items()}
        found[image] = _agreed(votes, len(names))
    return found


def _ticks(path: Path) -> dict[str, Findings]:
    """Image to what its readers ticked: a column of 0 and 1 per finding, a row per reader."""
    rows = sheet(path, "image_id")
    columns = [h for h in rows.headings if h not in ("image_id", "rad_id", "rad_ID")]
    names = findings.named(columns, path.name)
    readers: dict[str, int] = {}
    votes: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(names.values(), 0))
    for line, row in rows.rows():
        image = row["image_id"]
        try:
            said = findings.from_columns(row, names)
        except ValueError as error:
            raise BadSource(f"{path}, line {line}: {error}") from error
        # A row of blanks is nobody's reading: the image stays unlabelled without another.
        readers[image] = readers.get(image, 0) + said.labelled
        for name in said.present:
            votes[image][name] += 1
    return {
        image: _agreed(votes[image], count) if count else Findings()
        for image, count in readers.items()
    }


def _agreed(votes: dict[str, int], readers: int) -> Findings:
    """By the majority of an image's readers."""
    present = tuple(name for name, count in votes.items() if 2 * count > readers)
    some = tuple(name for name, count in votes.items() if 0 < 2 * count <= readers)
    return Findings(present, tuple(name for name, count in votes.items() if not count), some)
