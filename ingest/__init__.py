"""Ingestion: images in, rows with vectors out. Knows the store, not the dashboard."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest.artefacts import folder as folder
    from ingest.artefacts import write as write
    from ingest.artefacts.folder import Artefacts as Artefacts
    from ingest.artefacts.folder import import_artefacts as import_artefacts
    from ingest.artefacts.folder import read_artefacts as read_artefacts
    from ingest.artefacts.folder import store_artefacts as store_artefacts
    from ingest.artefacts.table import read_table as read_table
    from ingest.distributed.stage import Pool as Pool
    from ingest.distributed.stage import on_ray as on_ray
    from ingest.distributed.workers import EncoderCall as EncoderCall
    from ingest.encoders.baselines import BASELINES as BASELINES
    from ingest.encoders.baselines import pixel_vectors as pixel_vectors
    from ingest.encoders.converted import is_here as is_here
    from ingest.encoders.locate import bundled_names as bundled_names
    from ingest.encoders.locate import seen_in_training as seen_in_training
    from ingest.encoders.patch_agreement import Agreement as Agreement
    from ingest.encoders.patch_agreement import agreement as agreement
    from ingest.encoders.registry import KNOWN as KNOWN
    from ingest.encoders.understanding import Understanding as Understanding
    from ingest.images.decode import decode as decode
    from ingest.images.decode import read_image as read_image
    from ingest.images.dicom.body_parts import Choice as Choice
    from ingest.images.dicom.body_parts import check_choice as check_choice
    from ingest.images.dicom.file import is_dicom as is_dicom
    from ingest.images.pixels import pixels_digest as pixels_digest
    from ingest.images.pixels import thumbnail as thumbnail
    from ingest.images.readers import READER as READER
    from ingest.job.journal import REJECTION as REJECTION
    from ingest.job.journal import entries as entries
    from ingest.job.journal import file_name as file_name
    from ingest.job.journal import mark_undone as mark_undone
    from ingest.job.journal import read_json as read_json
    from ingest.job.journal import read_status as read_status
    from ingest.job.journal import rejections_file as rejections_file
    from ingest.job.journal import state_folder as state_folder
    from ingest.job.journal import write_json as write_json
    from ingest.job.journal import write_rejections as write_rejections
    from ingest.job.pipeline import opened as opened
    from ingest.job.report import IngestReport as IngestReport
    from ingest.job.report import Progress as Progress
    from ingest.job.run import ingest as ingest
    from ingest.record import ImageFile as ImageFile
    from ingest.record import ImageRecord as ImageRecord
    from ingest.record import Pixels as Pixels
    from ingest.record import Rejection as Rejection
    from ingest.sources import Source as Source
    from ingest.sources import SourceUnavailable as SourceUnavailable
    from ingest.sources import open_source as open_source
    from ingest.sources import synthetic as synthetic
    from ingest.sources.published import medmnist as medmnist
    from ingest.sources.synthetic import DATASET as DATASET
    from ingest.sources.synthetic import SYNTHETIC_NOTICE as SYNTHETIC_NOTICE
    from ingest.sources.tables.csv_table import csv_bytes as csv_bytes
    from ingest.sources.tables.csv_table import rows_of as rows_of
    from ingest.training.train import TrainingProgress as TrainingProgress
    from ingest.training.train import train as train
    from ingest.training.train import train_texts as train_texts

# Loaded on first use: numpy and pyarrow would slow `cxr --help`.
_HOMES = {
    "ingest.artefacts": "folder write",
    "ingest.artefacts.folder": "Artefacts import_artefacts read_artefacts store_artefacts",
    "ingest.artefacts.table": "read_table",
    "ingest.distributed.stage": "Pool on_ray",
    "ingest.distributed.workers": "EncoderCall",
    "ingest.encoders.baselines": "BASELINES pixel_vectors",
    "ingest.encoders.converted": "is_here",
    "ingest.encoders.locate": "bundled_names seen_in_training",
    "ingest.encoders.patch_agreement": "Agreement agreement",
    "ingest.encoders.registry": "KNOWN",
    "ingest.encoders.understanding": "Understanding",
    "ingest.images.decode": "decode read_image",
    "ingest.images.dicom.body_parts": "Choice check_choice",
    "ingest.images.dicom.file": "is_dicom",
    "ingest.images.pixels": "pixels_digest thumbnail",
    "ingest.images.readers": "READER",
    "ingest.job.journal": (
        "REJECTION entries file_name mark_undone read_json read_status rejections_file "
        "state_folder write_json write_rejections"
    ),
    "ingest.job.pipeline": "opened",
    "ingest.job.report": "IngestReport Progress",
    "ingest.job.run": "ingest",
    "ingest.record": "ImageFile ImageRecord Pixels Rejection",
    "ingest.sources": "Source SourceUnavailable open_source synthetic",
    "ingest.sources.published": "medmnist",
    "ingest.sources.synthetic": "DATASET SYNTHETIC_NOTICE",
    "ingest.sources.tables.csv_table": "csv_bytes rows_of",
    "ingest.training.train": "TrainingProgress train train_texts",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOME_OF[name])
    return getattr(home, name) if hasattr(home, name) else import_module(f"{home.__name__}.{name}")


def __dir__() -> list[str]:
    return sorted(_HOME_OF)
