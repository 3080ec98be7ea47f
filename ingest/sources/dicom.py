"""Source of DICOM films: trees of files, with extensions or without.

The id is the SOPInstanceUID, so a moved file keeps its row; where a film has none, data set and
path. Of the header only view, age, sex and salted hashes of patient and study are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ingest.images.dicom import read
from ingest.images.dicom.body_parts import Choice, check_choice
from ingest.images.dicom.header import TELLS
from ingest.images.file_tree import scan, shown
from ingest.record import Pixels
from ingest.sources.file_listing import Described, file_source
from ingest.sources.source import Source


def records(
    place: str | Path,
    *,
    dataset: str | None = None,
    body_part: str = "chest",
    within: str | Path | None = None,
) -> Source:
    """All DICOM films below a folder.

    Args:
        place: the folder.
        dataset: name of the data set; the folder's own when ``None``.
        body_part: ``any`` takes films whatever part of the body their headers name; ``chest``
            refuses those that name another.
        within: a folder that the place may not leave, through a link either.

    Raises:
        BadSource: the folder cannot be read.
        UsageError: another body part; the salt for patient numbers cannot be read or made.
    """
    from ingest.images.pseudonym import pseudonym

    part = check_choice(body_part)
    pseudonym("check", "")  # a salt that is out of reach is told now, not in the middle
    tree = scan(place, within)
    name = shown(dataset or tree.root.name) or "dicom"
    return file_source(
        name,
        tree,
        lambda _: Described(),
        notes=[] if tree.files else [f"{tree.root} holds no files to read"],
        read=partial(read_dicom, body_part=part),
        identify=partial(read.identify, body_part=part),
        tells=TELLS,
        prefix=f"{name}/",  # of films without an id of their own
    )


def read_dicom(data: bytes, name: str, body_part: Choice) -> tuple[Pixels, Mapping[str, Any]]:
    """The pixels of a film, what its header tells, and ``notes``.

    Raises:
        BadImage: see ``ingest.images.dicom.read``.
    """
    film = read.read_film(data, name, body_part)
    unnamed = () if film.uid else ("there is no valid SOPInstanceUID; the path is the id",)
    return film.pixels, {**film.told, "notes": (*film.notes, *unnamed)}
