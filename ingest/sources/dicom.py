"""DICOM films: files and trees, with extensions or without; see ``ingest.dicom`` for the reading.

The id is the SOPInstanceUID, so a moved file keeps its row. Of the header only view, age, sex and a
salted hash of the patient number are kept.
"""

from __future__ import annotations

from pathlib import Path

from ingest import dicom
from ingest.dicom_header import TELLS
from ingest.sources.listed import Described, file_source
from ingest.sources.source import Source
from ingest.tree import scan, shown


def records(
    place: str | Path, *, dataset: str | None = None, within: str | Path | None = None
) -> Source:
    """All DICOM films below a folder.

    Args:
        place: the folder.
        dataset: name of the data set; the folder's own when ``None``.
        within: a folder that the place may not leave, through a link either.

    Raises:
        BadSource: the folder cannot be read.
        UsageError: the salt for patient numbers cannot be read or made.
    """
    from ingest.pseudonym import pseudonym

    pseudonym("check", "")  # a salt that is out of reach is told now, not in the middle
    tree = scan(place, within)
    return file_source(
        dataset or shown(tree.root.name) or "dicom",
        tree,
        lambda _: Described(),
        notes=[] if tree.files else [f"{tree.root} holds no files to read"],
        read=dicom.read,
        identify=dicom.identify,
        tells=TELLS,
    )
