"""CheXpert (Irvin et al. 2019): ``train.csv``, ``valid.csv`` and, where given out, ``test.csv``.

A column per finding with 1, 0, -1 (uncertain) or nothing (not mentioned). Patient and study are in
the path alone. Side views have no AP/PA. Sex Unknown and age 0 mean not known: the hospital treats
adults.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ingest import metadata
from ingest.images.file_tree import scan
from ingest.sources.published.layout import Listing, age, check_splits, read_film, sheet, table
from ingest.sources.source import Source
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
_FOLDERS = {"train": "train", "val": "valid", "test": "test"}
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
    findings.Findings().metadata(uncertain)
    wanted = check_splits(splits, tuple(_TABLES))
    found = {
        split: table(
            place, *_TABLES[split], needed=False, columns=("Path",) if split == "test" else _COLUMNS
        )
        for split in wanted
    }
    tables = {split: path for split, path in found.items() if path is not None}
    if not tables:
        raise BadSource(f"{place} holds no train.csv and no valid.csv; pass CheXpert's folder")
    names = findings.named(FINDINGS, NAME)
    sheets = {split: sheet(path, "Path") for split, path in tables.items()}
    listing = Listing(NAME, scan(place), tuple(tables.values()), wanted, _published)
    listing.expect(cell for rows in sheets.values() for cell in rows.cells("Path"))
    if splits is not None:  # files of other splits are not strangers
        others = {_FOLDERS[split] for split in _FOLDERS if split not in wanted}
        listing.tree.files = [
            path for path in listing.tree.files if others.isdisjoint(listing.index.folders(path))
        ]
    for split, rows in sheets.items():
        if split != "test":
            rows.need(_COLUMNS)
        for line, row in rows.rows():
            place_, where = row["Path"], f"{rows.path.name}:{line}"
            if not listing.here(place_, where):
                continue
            try:
                said = findings.from_columns(row, names)
            except ValueError as error:
                listing.refuse(place_, "bad_label", f"{where}: {error}")
                continue
            years, odd = age(row.get("Age", ""))
            patient = re.search(r"patient\d+", place_)
            side = row.get("Frontal/Lateral", "").casefold() == "lateral"
            listing.add(
                place_,
                {
                    **said.metadata(uncertain),
                    "split": split,
                    "patient": f"chexpert/{patient[0]}" if patient else None,
                    "view": "LATERAL" if side else metadata.view(row.get("AP/PA", "")),
                    "sex": metadata.sex(row.get("Sex", "")),
                    "age": years or None,
                },
                odd,
                where,
            )
    return listing.source(read=read_film)


def _published(folder: str) -> bool:
    return _LAYOUT.fullmatch(folder) is not None
