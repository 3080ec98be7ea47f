"""The store: the table of films, its mirror, search and evaluation.

Knows neither images nor encoders: rows come with their vectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from store.errors import (
    BadArtefacts,
    BadFilter,
    BadImage,
    BadQuery,
    BadRows,
    BadSource,
    ClusterUnavailable,
    CxrError,
    EncoderChanged,
    EncoderMismatch,
    EncoderUnavailable,
    NothingToMeasure,
    PatchesUnsupported,
    StoreDamaged,
    StoreNotFound,
    StoreUnreachable,
    StoreUnsafe,
    StoreUnwritable,
    TextUnsupported,
    UnknownId,
    UsageError,
)
from store.table.filters import Where, parse_where

if TYPE_CHECKING:
    from store.evaluation.metrics import Evaluation, evaluate_vectors
    from store.evaluation.ranking import Labelled
    from store.gallery import Gallery
    from store.table.undo import Undone
from store.schema import EncoderStamp, Hit, Row, UpsertReport, Vectors

# Loaded on first use: numpy and pyarrow would slow `cxr --help`.
_LAZY = {
    "Evaluation": "store.evaluation.metrics",
    "Labelled": "store.evaluation.ranking",
    "evaluate_vectors": "store.evaluation.metrics",
    "Gallery": "store.gallery",
    "EncoderStamp": "store.schema",
    "Hit": "store.schema",
    "Row": "store.schema",
    "Undone": "store.table.undo",
    "UpsertReport": "store.schema",
    "Vectors": "store.schema",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'store' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


__all__ = [
    "BadArtefacts",
    "BadFilter",
    "BadImage",
    "BadQuery",
    "BadRows",
    "BadSource",
    "ClusterUnavailable",
    "CxrError",
    "EncoderChanged",
    "EncoderMismatch",
    "EncoderStamp",
    "EncoderUnavailable",
    "Evaluation",
    "Gallery",
    "Hit",
    "Labelled",
    "NothingToMeasure",
    "PatchesUnsupported",
    "Row",
    "StoreDamaged",
    "StoreNotFound",
    "StoreUnreachable",
    "StoreUnsafe",
    "StoreUnwritable",
    "TextUnsupported",
    "Undone",
    "UnknownId",
    "UpsertReport",
    "UsageError",
    "Vectors",
    "Where",
    "evaluate_vectors",
    "parse_where",
]
