"""Source of VinDr-CXR (Nguyen et al. 2022): DICOM films, training films read three times.

A finding is present when more than half of an image's readers drew or ticked it, uncertain when
some did, absent when a table of ticks says that none did. Boxes (``train.csv`` of Kaggle,
``annotations_*.csv`` of PhysioNet) and ticks (``image_labels_*.csv``) are both read; ticks win.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ingest.images.dicom.body_parts import check_choice
from ingest.images.dicom.header import TELLS
from ingest.images.file_tree import scan
from ingest.sources.published.layout import Listing, find_table, read_film
from ingest.sources.source import Source, check_splits
from ingest.sources.tables import findings
from ingest.sources.tables.csv_file import Sheet
from ingest.sources.tables.findings import Findings
from store import BadSource

NAME = "vindr-cxr"
_OWN = "annotations"  # PhysioNet's folder of tables, beside those of films
_TICKS = {
    split: (f"image_labels_{split}.csv", f"{_OWN}/image_labels_{split}.csv")
    for split in ("train", "test")
}
_BOXES = {
    split: (f"annotations_{split}.csv", f"{_OWN}/annotations_{split}.csv", f"{split}.csv")
    for split in ("train", "test")
}


def records(
    place: str | Path,
    *,
    splits: Sequence[str] | None = None,
    uncertain: str = "apart",
    body_part: str = "chest",
) -> Source:
    """The films of VinDr-CXR that are in a folder; view, sex and age from their headers.

    Args:
        place: the folder with the tables and ``train/``, ``test/``, or one of its parts.
        splits: some of ``train``, ``test``; all when ``None``.
        uncertain: what becomes of uncertain findings: ``apart``, ``present`` or ``absent``.
        body_part: ``any`` takes films whatever part of the body their headers name.

    Raises:
        BadSource: no table there, or one without the published columns.
    """
    findings.check_policy(uncertain)
    part = check_choice(body_part)
    wanted = check_splits(splits, ("train", "test"))
    tables: list[Sheet] = []
    said: dict[str, dict[str, Findings]] = {}
    for split in wanted:
        boxes = find_table(place, *_BOXES[split], columns=("image_id",))
        ticks = find_table(place, *_TICKS[split], columns=("image_id",))
        tables += [one for one in (ticks, boxes) if one is not None]
        said[split] = {**(_boxes(boxes) if boxes else {}), **(_ticks(ticks) if ticks else {})}
    folders = {split: split for split in _BOXES}
    listing = Listing(NAME, scan(place), tables, wanted, folders.__contains__, folders)
    listing.expect(f"{split}/{image}.dicom" for split in said for image in said[split])
    for split, images in said.items():
        for image, one in images.items():
            cell = f"{split}/{image}.dicom"
            if listing.here(cell):
                listing.add(cell, {**one.metadata(uncertain), "split": split})
    if not listing.described:
        raise BadSource(
            f"{place} holds no table with rows of its films; expected train.csv, or "
            "annotations_train.csv and image_labels_train.csv"
        )
    return listing.source(read=partial(read_film, body_part=part), tells=TELLS)


def _boxes(rows: Sheet) -> dict[str, Findings]:
    """Findings of images by their readers' boxes: rows of image_id, class_name, rad_id, a box."""
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
        found[image] = findings.agreed(votes, len(names))
    return found


def _ticks(rows: Sheet) -> dict[str, Findings]:
    """Findings of images by their readers' ticks: a 0/1 column per finding, a row per reader."""
    columns = [h for h in rows.headings if h not in ("image_id", "rad_id", "rad_ID")]
    names = findings.named(columns, rows.path.name)
    readers: dict[str, int] = {}
    votes: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(names.values(), 0))
    for line, row in rows.rows():
        image = row["image_id"]
        try:
            said = findings.from_columns(row, names)
        except ValueError as error:
            raise BadSource(f"{rows.path}, line {line}: {error}") from error
        # A row of blanks is nobody's reading: the image stays unlabelled without another.
        readers[image] = readers.get(image, 0) + said.labelled
        for name in said.present:
            votes[image][name] += 1
    return {
        image: findings.agreed(votes[image], count) if count else Findings()
        for image, count in readers.items()
    }
