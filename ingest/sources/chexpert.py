"""CheXpert (Irvin et al. 2019): ``train.csv``, ``valid.csv`` and, where given out, ``test.csv``.

A column per finding with 1, 0, -1 (uncertain) or nothing (not mentioned). Patient and study are in
the path alone. Side views have no AP/PA. Sex Unknown and age 0 mean not known: the hospital treats
adults.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ingest import findings
from ingest.sources import listed
from ingest.sources.published import Listing, age, check_splits, sheet, table
from ingest.sources.source import Source
from ingest.tree import scan
from store.errors import BadSource

NAME = "chexpert"
FINDINGS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion"),
    *("Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion"),
    *("Pleural Other", "Fracture", "Support Devices"),
)
_FOLDERS = {"train": "train", "val": "valid", "test": "test"}
_TABLES = {"train": ("train.csv",), "val": ("valid.csv",), "test": ("test.csv", "test_labels.csv")}


def records(
    place: str | Path, *, splits: Sequence[str] | None = None, uncertain: str = "apart"
) -> Source:
    """The films of CheXpert that are in a folder, full size or small.

    Args:
        place: the folder with the tables.
        splits: some of ``train``, ``val``, ``test``; all when ``None``.
        uncertain: what becomes of uncertain findings: ``apart``, ``present`` or ``absent``.

    Raises:
        BadSource: no table there, or one without the published columns.
    """
    findings.Findings().metadata(uncertain)
    wanted = check_splits(splits, tuple(_TABLES))
    found = {split: table(place, *_TABLES[split], needed=False) for split in wanted}
    tables = {split: path for split, path in found.items() if path is not None}
    if not tables:
        raise BadSource(f"{place} holds no train.csv and no valid.csv; pass CheXpert's folder")
    names = findings.named(FINDINGS, NAME)
    shown = ", ".join(path.name for path in tables.values())
    listing = Listing(NAME, scan(place), shown, wanted)
    if splits is not None:  # files of other splits are not strangers
        others = {_FOLDERS[split] for split in _FOLDERS if split not in wanted}
        listing.tree.files = [
            path for path in listing.tree.files if others.isdisjoint(path.split("/")[:-1])
        ]
    for split, path in tables.items():
        rows = sheet(path, "Path")
        if split != "test":
            rows.need(["Sex", "Age", "Frontal/Lateral", "AP/PA", *FINDINGS])
        for line, row in rows.rows():
            place_ = row["Path"]
            try:
                said = findings.from_columns(row, names)
            except ValueError as error:
                listing.refuse(place_, "bad_label", f"{path.name}:{line}: {error}")
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
                    "view": "LATERAL" if side else listed.view(row.get("AP/PA", "")),
                    "sex": listed.sex(row.get("Sex", "")),
                    "age": years or None,
                },
                odd,
            )
    return listing.source()
