"""Ingestion: images in, rows with vectors out. Knows the store, not the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest.artefacts.folder import Artefacts, import_artefacts, read_artefacts, store_artefacts
    from ingest.images.decode import read_image
    from ingest.job.journal import read_status, state_folder
    from ingest.job.pipeline import opened
    from ingest.job.run import IngestReport, Progress, ingest
    from ingest.record import ImageFile, ImageRecord, Pixels, Rejection
    from ingest.sources import Source, SourceUnavailable, open_source

# Loaded on first use: numpy and Pillow would slow `cxr --help`.
_LAZY = {
    "Artefacts": "ingest.artefacts.folder",
    "import_artefacts": "ingest.artefacts.folder",
    "read_artefacts": "ingest.artefacts.folder",
    "store_artefacts": "ingest.artefacts.folder",
    "opened": "ingest.job.pipeline",
    "read_image": "ingest.images.decode",
    "read_status": "ingest.job.file_memory",
    "state_folder": "ingest.job.file_memory",
    "IngestReport": "ingest.job.run",
    "Progress": "ingest.job.run",
    "ingest": "ingest.job.run",
    "ImageFile": "ingest.record",
    "ImageRecord": "ingest.record",
    "Pixels": "ingest.record",
    "Rejection": "ingest.record",
    "Source": "ingest.sources",
    "SourceUnavailable": "ingest.sources",
    "open_source": "ingest.sources",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'ingest' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


__all__ = [
    "Artefacts",
    "ImageFile",
    "ImageRecord",
    "IngestReport",
    "Pixels",
    "Progress",
    "Rejection",
    "Source",
    "SourceUnavailable",
    "import_artefacts",
    "ingest",
    "open_source",
    "opened",
    "read_artefacts",
    "read_image",
    "read_status",
    "state_folder",
    "store_artefacts",
]
