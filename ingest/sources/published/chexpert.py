"""Source of CheXpert (Irvin et al. 2019): ``train.csv``, ``valid.csv`` and perhaps ``test.csv``.

A column per finding with 1, 0, -1 (uncertain) or nothing (not mentioned). Patient and study are in
the path alone. Side views have no AP/PA. Sex Unknown and age 0 mean not known: the hospital treats
adults.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path

from ingest import metadata
from ingest.images.file_tree import scan
from ingest.sources.published.layout import (
    Description,
    Listing,
    Row,
    find_table,
    read_film,
)
from ingest.sources.source import Source, check_splits
from ingest.sources.tables import findings
from store import BadSource

NAME = "chexpert"
FINDINGS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion"),
    *("Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion"),
    *("Pleural Other", "Fracture", "Support Devices"),
)
_COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *FINDINGS)
_LAYOUT = re.compile(r"train|valid|test|patient[0-9]+|study[0-9]+")
_FOLDERS = {"train": "train", "valid": "val", "test": "test"}
#: How many of the columns each table has in every edition.
_NEEDED = {"train": len(_COLUMNS), "val": len(_COLUMNS), "test": 1}
#: Alone, or in a folder beside the films where the set was published in parts.
_TABLES = {
    split: (*names, *(f"CheXpert-v1.0*/{name}" for name in names))
    for split, names in {
        "train": ("train.csv",),
        "val": ("valid.csv",),
        "test": ("test.csv", "test_labels.csv"),
    }.items()
}


def records(
    place: str | Path, *, splits: Sequence[str] | None = None, uncertain: str = "apart"
) -> Source:
    """The films of CheXpert that are in a folder, full size or small.

    Args:
        place: the folder with the tables, one above it, or any part of it.
        splits: some of ``train``, ``val``, ``test``; all when ``None``.
        uncertain: what becomes of uncertain findings: ``apart``, ``present`` or ``absent``.

    Raises:
        BadSource: no table there, or one without the published columns.
    """
    findings.check_policy(uncertain)
    wanted = check_splits(splits, tuple(_TABLES))
    tables = {
        split: found
        for split in wanted
        if (found := find_table(place, *_TABLES[split], columns=_COLUMNS[: _NEEDED[split]]))
    }
    if not tables:
        raise BadSource(f"{place} holds no train.csv and no valid.csv; pass CheXpert's folder")
    names = findings.named(FINDINGS, NAME)
    listing = Listing(NAME, scan(place), [*tables.values()], wanted, _published, _FOLDERS)
    listing.expect(cell for rows in tables.values() for cell in rows.cells("Path"))

    def describe(split: str, row: Row) -> Description:
        patient = re.search(r"patient\d+", row["Path"])
        study = re.search(r"patient\d+/study\d+", row["Path"])
        side = row.get("Frontal/Lateral", "").casefold() == "lateral"
        age = row.get("Age", "")
        return {
            **findings.from_columns(row, names).metadata(uncertain),
            "split": split,
            "patient": f"chexpert/{patient[0]}" if patient else None,
            "study": f"chexpert/{study[0]}" if study else None,
            "view": "LATERAL" if side else metadata.view(row.get("AP/PA", "")),
            "sex": metadata.sex(row.get("Sex", "")),
            "age": "" if metadata.parse_age(age) == 0 else age,
        }

    for split, rows in tables.items():
        listing.read(rows, itemgetter("Path"), partial(describe, split))
    return listing.source(read=read_film)


def _published(folder: str) -> bool:
    return _LAYOUT.fullmatch(folder) is not None
