"""Source of NIH ChestX-ray14 (Wang et al. 2017): ``Data_Entry_2017*.csv`` and ``images*/``.

Labels are joined by bars; No Finding is a label. The published split by patient is
``train_val_list.txt`` (here ``train``) and ``test_list.txt``. The heading of the last columns holds
a comma inside brackets and so falls into two; nothing here reads them. Ages of several hundred
years occur in the first edition.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path

from ingest import metadata
from ingest.images.file_tree import scan
from ingest.sources.published.layout import (
    Description,
    Listing,
    Row,
    find_file,
    read_film,
    table,
)
from ingest.sources.source import Source, check_splits
from ingest.sources.tables import findings
from ingest.sources.tables.csv_file import tidy
from store import BadSource

NAME = "nih-chestxray14"
_COLUMNS = (
    *("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender"),
    "View Position",
)
TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")


def records(place: str | Path, *, splits: Sequence[str] | None = None) -> Source:
    """The films of ChestX-ray14 that are in a folder.

    Args:
        place: the folder with the table, images below it in any folders; or a part of it.
        splits: some of ``train``, ``test``; all when ``None``, also images in neither list.

    Raises:
        BadSource: no table there, or one without the published columns.
    """
    wanted = None if splits is None else check_splits(splits, ("train", "test"))
    rows = table(place, *TABLES, columns=_COLUMNS)
    official = _official(place)
    listing = Listing(NAME, scan(place), [rows], wanted)
    listing.expect(rows.cells("Image Index"))
    if not official:
        listing.notes.append("no train_val_list.txt and test_list.txt: films have no split")

    def describe(row: Row) -> Description:
        said = findings.from_cell(row["Finding Labels"], "|")
        return {
            "labels": tuple(findings.vocabulary(name) for name in said.present),
            "labelled": said.labelled,
            **({"split": official.get(row["Image Index"])} if official else {}),
            "patient": f"nih/{row['Patient ID']}" if row["Patient ID"] else None,
            "view": metadata.view(row["View Position"]),
            "sex": metadata.sex(row["Patient Gender"]),
            "age": row["Patient Age"],
        }

    listing.read(rows, itemgetter("Image Index"), describe)
    return listing.source(read=read_film)


def _official(place: str | Path) -> dict[str, str]:
    splits: dict[str, str] = {}
    for name, split in (("train_val_list.txt", "train"), ("test_list.txt", "test")):
        path = find_file(place, name)
        if path is None:
            continue
        try:
            lines = path.read_text("utf-8", errors="replace").splitlines()
        except OSError as error:
            raise BadSource(f"{path} cannot be read ({error.strerror})") from error
        splits.update((tidy(line), split) for line in lines if line.strip())
    return splits
