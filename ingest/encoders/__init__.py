"""Encoders: images and texts to unit vectors, by any dual encoder in the transformers layout."""

from ingest.encoders.encoder import Encoder, encoder_for, load_encoder
from ingest.encoders.locate import DEFAULT_ENCODER
from ingest.encoders.long_text import (
    LONG_TEXT,
    LongText,
    Reading,
    TextQuery,
    text_query,
    text_vectors,
)

__all__ = [
    "DEFAULT_ENCODER",
    "LONG_TEXT",
    "Encoder",
    "LongText",
    "Reading",
    "TextQuery",
    "encoder_for",
    "load_encoder",
    "text_query",
    "text_vectors",
]
