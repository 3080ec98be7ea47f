"""Files and identity of an encoder, as they were found and checked. No torch in here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ingest.encoders.files.contents import Contents

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
        layout: ``transformers``, ``open_clip`` or ``timm``: which library builds it.
        precision: ``float32`` or ``bf16``, of the forward pass.
        side: of the square that its preprocessing makes of an image, in pixels, or what the shorter
            edge becomes; 0 where the configuration does not say.
        own: whether it is a folder of the user's own, without a public name.
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
    contents: Contents = field(kw_only=True, compare=False, repr=False)
