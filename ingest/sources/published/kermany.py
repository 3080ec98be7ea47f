"""Source of Kermany et al. 2018, paediatric films: ``train/NORMAL``, ``train/PNEUMONIA`` ...

Patients are in the names (``person12_bacteria_3``, ``IM-0115-0001``, ``NORMAL2-IM-1438-0001``).
Numbers are used again in other splits; whether for the same child is not published, so the same
number counts as the same child. The archive holds the whole set twice, as
``chest_xray/chest_xray``: of the second copy nothing is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ingest.images.file_tree import scan, shown
from ingest.record import Rejection
from ingest.sources.file_listing import Described, file_source, source_of
from ingest.sources.source import Source, check_splits
from store import BadSource, counted

NAME = "kermany"
_SPLITS = {"train": "train", "val": "val", "test": "test"}
_CLASSES = {"NORMAL": "normal", "PNEUMONIA": "pneumonia"}


def records(place: str | Path, *, splits: Sequence[str] | None = None) -> Source:
    """The films of Kermany's set that are in a folder.

    Args:
        place: the folder with ``train``, ``test`` and perhaps ``val``, one above it, or a part.
        splits: some of ``train``, ``val``, ``test``; all when ``None``.

    Raises:
        BadSource: no such folders there.
    """
    wanted = check_splits(splits, tuple(_SPLITS))
    tree = scan(place)
    inside: dict[str, tuple[str, str, str]] = {}
    for path in tree.files:
        parts = f"{tree.root.as_posix()}/{path}".split("/")
        if len(parts) >= 3 and parts[-3] in _SPLITS and parts[-2] in _CLASSES:
            inside[path] = ("/".join(parts[:-3]), parts[-3], parts[-2])
    if not inside:
        raise BadSource(
            f"{place} holds no train/NORMAL, train/PNEUMONIA and so on; pass the folder that does"
        )
    top = min((where for where, _, _ in inside.values()), key=len)
    copies = [path for path, (where, _, _) in inside.items() if where != top]
    kept = {path: said for path, said in inside.items() if said[0] == top}
    left_out = {path for path, (_, split, _) in kept.items() if split not in wanted}
    tree.files = [path for path in tree.files if path not in left_out and path not in set(copies)]
    notes = [f"left out: {counted(len(copies), 'file')} of a second copy"] if copies else []

    def describe(relative: str) -> Described | Rejection:
        if relative not in kept:
            return Rejection(
                source_of(tree, relative), "label_missing", "it is in no folder of the layout"
            )
        _, split, label = kept[relative]
        name = relative.rpartition("/")[2]
        patient = _patient(name)
        return Described(
            f"{NAME}/{split}/{label}/{shown(name)}",
            {"labels": (_CLASSES[label],), "split": split, "patient": patient},
        )

    return file_source(NAME, tree, describe, notes=notes)


def _patient(name: str) -> str | None:
    found = re.match(r"(person\d+)_|((?:NORMAL2-)?IM-\d+)-", name)
    return f"kermany/{found[1] or found[2]}" if found else None
