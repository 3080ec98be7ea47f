"""Rows whose file is gone from the folder they came from."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ingest.images.file_tree import shown
from ingest.job.report import IngestReport
from ingest.sources.source import Source
from store.errors import UsageError
from store.table.filters import Where

_PIECE = 1000


def gone_ids(gallery: Any, dataset: str, root: Path, present: Collection[str]) -> list[str]:
    """The ids of a data set's rows that came from below a folder and whose file is not there.

    Args:
        gallery: a ``store.Gallery``.
        dataset: of the rows.
        root: the folder; rows from elsewhere are never among them.
        present: sources of all that was found below the folder, read or refused.

    Raises:
        UsageError: it would be all of them: then the folder is not there rather than its files.
    """
    gallery.refresh()
    ids = gallery.ids(Where(dataset=(dataset,)))
    below = shown(str(root)).rstrip("/") + "/"
    mine, gone = 0, []
    for start in range(0, len(ids), _PIECE):
        for row in gallery.rows(ids[start : start + _PIECE]).values():
            if not row.source.startswith(below):
                continue
            mine += 1
            if row.source not in present and not _below_refused(row.source, below, present):
                gone.append(row.id)
    if gone and len(gone) == mine:
        raise UsageError(
            f"all {mine:,} rows from {root} have lost their file; a folder that is empty or not "
            "mounted is not pruned. To remove them all: cxr delete --where "
            f"dataset={dataset}"
        )
    return sorted(gone)


def _below_refused(source: str, below: str, present: Collection[str]) -> bool:
    """Whether a folder above it is there but could not be looked into."""
    place = source.rfind("/")
    while place >= len(below):
        if source[:place] in present:
            return True
        place = source.rfind("/", 0, place)
    return False


def prune_gone(
    gallery: Any,
    source: Source,
    present: Collection[str],
    report: IngestReport,
    *,
    delete: bool,
) -> None:
    """Note in a report which rows have lost their file, and remove them if so wished."""
    assert source.root is not None
    report.gone = gone_ids(gallery, source.name, source.root, present)
    if delete and report.gone:
        report.pruned = gallery.delete(ids=report.gone)
