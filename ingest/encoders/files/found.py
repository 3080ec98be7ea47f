"""Files and identity of an encoder, as they were found and checked. No torch in here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from ingest.encoders.files.contents import Contents
from store import UsageError

#: The weights of transformers and timm, in one file.
WEIGHTS = "model.safetensors"
#: Files of tokenizers; each is part of the fingerprint.
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
#: As a suffix of an encoder's name: ``pubmed-clip@bf16``.
PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """Files and identity of an encoder.

    Attributes:
        name: what a person calls it.
        folder: where its configuration, weights and tokenizer lie.
        fingerprint: hex sha256 over every file that decides its vectors.
        dimension: length of its vectors, as the configuration declares it.
        supports_text: whether there is a text tower and a tokenizer.
        no_text: why there is no text where the folder could have it, in one clause; else None.
        layout: ``transformers``, ``open_clip`` or ``timm``: which library builds it; ``pixels`` of
            raw pixels; ``adapted`` of a map on the vectors of ``base``.
        precision: ``float32`` or ``bf16``, of the forward pass.
        side: of the square that its preprocessing makes of an image, in pixels, or what the shorter
            edge becomes; 0 where the configuration does not say.
        own: whether it is a folder of the user's own, without a public name.
        base: the encoder below an adapted one.
        contents: the bytes that the fingerprint was taken over.
    """

    name: str
    folder: Path
    fingerprint: str
    dimension: int
    supports_text: bool
    no_text: str | None = None
    layout: str = "transformers"
    precision: str = "float32"
    side: int = 0
    own: bool = False
    base: EncoderFiles | None = None
    contents: Contents = field(kw_only=True, compare=False, repr=False)

    @property
    def storeys(self) -> list[EncoderFiles]:
        """The encoder, and those below it."""
        return [self, *(self.base.storeys if self.base else ())]


def split_name(name: str) -> tuple[str, str]:
    """``clip@bf16`` as (``clip``, ``bf16``); a name without a suffix is float32."""
    head, at, tail = name.rpartition("@")
    if at and tail in PRECISIONS:
        return head, tail
    return name, "float32"


def with_precision(files: EncoderFiles, precision: str) -> EncoderFiles:
    """The same encoder computing in another precision: another name, another fingerprint.

    Raises:
        UsageError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r}: expected {' or '.join(PRECISIONS)}")
    if precision == "float32":
        return files
    if files.layout in ("adapted", "pixels"):
        raise UsageError(
            f"encoder {files.name!r} computes in float32, and its base as the base's name says; "
            f"leave out {precision}"
        )
    digest = hashlib.sha256(f"{files.fingerprint} {precision}".encode()).hexdigest()
    return replace(files, name=f"{files.name}@{precision}", fingerprint=digest, precision=precision)
