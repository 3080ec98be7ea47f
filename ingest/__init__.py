"""Ingestion: images in, rows with vectors out. Knows the store, not the dashboard."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest.adaptation.adapt import Adaptation, adapt
    from ingest.adaptation.mapping import map_gallery
    from ingest.artefacts import folder, write
    from ingest.artefacts.folder import Artefacts, import_artefacts, read_artefacts, store_artefacts
    from ingest.artefacts.parts import read_vectors
    from ingest.artefacts.table import read_table
    from ingest.distributed.stage import Pool, on_ray
    from ingest.distributed.workers import EncoderCall
    from ingest.encoders.baselines import BASELINES, pixel_vectors
    from ingest.encoders.card import Card, Seen, card_of, is_at_hand
    from ingest.encoders.download import is_here
    from ingest.encoders.locate import bundled_names, seen_in_training
    from ingest.encoders.patch_agreement import Agreement, agreement
    from ingest.encoders.registry import KNOWN, LARGE_FILM, coarse_note, is_coarse
    from ingest.encoders.trial import Trial, trial
    from ingest.encoders.understanding import Understanding
    from ingest.images.decode import decode, read_bytes, read_image
    from ingest.images.dicom.body_parts import Choice, check_choice
    from ingest.images.dicom.file import is_dicom
    from ingest.images.dicom.read import patient_of
    from ingest.images.pixels import THUMBNAIL_SIDE, pixels_digest, thumbnail
    from ingest.images.pseudonym import check_salt, keep_salt, salt_file
    from ingest.images.reader_version import READER
    from ingest.job.journal import (
        REJECTION,
        entries,
        file_name,
        mark_undone,
        read_json,
        read_status,
        rejections_file,
        state_folder,
        write_json,
        write_rejections,
    )
    from ingest.job.pipeline import opened
    from ingest.job.report import IngestReport, Progress, kept_sentence
    from ingest.job.run import clear_away, ingest
    from ingest.originals.decode import decode_original
    from ingest.originals.film import Original, OriginalUnavailable, Preset
    from ingest.originals.picture import picture, pictures
    from ingest.originals.reading import (
        original_is_there,
        read_original,
        read_original_bytes,
        read_original_of,
    )
    from ingest.originals.relocate import Relocated, relocate
    from ingest.record import ImageFile, ImageRecord, Pixels, Rejection, RemoteImage
    from ingest.reports.personal import Reports, UncheckedReports
    from ingest.sources import SOURCES, Source, SourceUnavailable, open_source, synthetic
    from ingest.sources.dicomweb.address import study_link
    from ingest.sources.hub.films import OWN
    from ingest.sources.hub.names import natural
    from ingest.sources.published import medmnist
    from ingest.sources.synthetic import DATASET, SYNTHETIC_NOTICE
    from ingest.sources.tables.safe_csv import csv_bytes, rows_of
    from ingest.training.train import TrainingProgress, check_source, train, train_texts

# Loaded on first use: numpy and pyarrow would slow `cxr --help`.
_HOMES = {
    "ingest.adaptation.adapt": "Adaptation adapt",
    "ingest.adaptation.mapping": "map_gallery",
    "ingest.artefacts": "folder write",
    "ingest.artefacts.folder": "Artefacts import_artefacts read_artefacts store_artefacts",
    "ingest.artefacts.parts": "read_vectors",
    "ingest.artefacts.table": "read_table",
    "ingest.distributed.stage": "Pool on_ray",
    "ingest.distributed.workers": "EncoderCall",
    "ingest.encoders.baselines": "BASELINES pixel_vectors",
    "ingest.encoders.card": "Card Seen card_of is_at_hand",
    "ingest.encoders.download": "is_here",
    "ingest.encoders.locate": "bundled_names seen_in_training",
    "ingest.encoders.patch_agreement": "Agreement agreement",
    "ingest.encoders.registry": "KNOWN LARGE_FILM coarse_note is_coarse",
    "ingest.encoders.trial": "Trial trial",
    "ingest.encoders.understanding": "Understanding",
    "ingest.images.decode": "decode read_bytes read_image",
    "ingest.images.dicom.body_parts": "Choice check_choice",
    "ingest.images.dicom.file": "is_dicom",
    "ingest.images.dicom.read": "patient_of",
    "ingest.images.pixels": "THUMBNAIL_SIDE pixels_digest thumbnail",
    "ingest.images.pseudonym": "check_salt keep_salt salt_file",
    "ingest.images.reader_version": "READER",
    "ingest.job.journal": (
        "REJECTION entries file_name mark_undone read_json read_status rejections_file "
        "state_folder write_json write_rejections"
    ),
    "ingest.job.pipeline": "opened",
    "ingest.job.report": "IngestReport Progress kept_sentence",
    "ingest.job.run": "clear_away ingest",
    "ingest.originals.decode": "decode_original",
    "ingest.originals.film": "Original OriginalUnavailable Preset",
    "ingest.originals.picture": "picture pictures",
    "ingest.originals.reading": (
        "original_is_there read_original read_original_bytes read_original_of"
    ),
    "ingest.originals.relocate": "Relocated relocate",
    "ingest.record": "ImageFile ImageRecord Pixels Rejection RemoteImage",
    "ingest.reports.personal": "Reports UncheckedReports",
    "ingest.sources": "SOURCES Source SourceUnavailable open_source synthetic",
    "ingest.sources.dicomweb.address": "study_link",
    "ingest.sources.hub.films": "OWN",
    "ingest.sources.hub.names": "natural",
    "ingest.sources.published": "medmnist",
    "ingest.sources.synthetic": "DATASET SYNTHETIC_NOTICE",
    "ingest.sources.tables.safe_csv": "csv_bytes rows_of",
    "ingest.training.train": "TrainingProgress check_source train train_texts",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOME_OF[name])
    return getattr(home, name) if hasattr(home, name) else import_module(f"{home.__name__}.{name}")


def __dir__() -> list[str]:
    return sorted(_HOME_OF)
