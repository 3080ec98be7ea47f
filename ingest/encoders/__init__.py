"""Encoders: images and texts to unit vectors, by any dual encoder in the transformers layout."""

from ingest.encoders.encoder import Encoder, encoder_for, load_encoder
from ingest.encoders.locate import DEFAULT_ENCODER

__all__ = ["DEFAULT_ENCODER", "Encoder", "encoder_for", "load_encoder"]
