"""Runtime of adapted encoders: a base encoder, and a map on its vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ingest.encoders.adapted.files import read_map, read_reference
from ingest.encoders.files.found import EncoderFiles
from ingest.encoders.runtimes.base import Inputs, Runtime, unit_rows
from ingest.record import Pixels
from store import Vectors


class AdaptedRuntime(Runtime):
    """A base encoder with a map on its vectors; everything but the vectors is the base's.

    Its vector is no projection of patch tokens, so there is no ``model`` to look into.
    """

    model = None

    def __init__(self, files: EncoderFiles, base: Runtime) -> None:
        self._files, self._base = files, base
        self._map = read_map(files.name, files.contents, read_reference(files.name, files.contents))
        self.device, self.framing = base.device, base.framing

    @property
    def family(self) -> str:
        """The class of the base's model."""
        return self._base.family

    def prepare(self, images: Sequence[Pixels]) -> Inputs:
        """Images as the base takes them."""
        return self._base.prepare(images)

    def tokenizer(self) -> Any:
        """The base's tokenizer."""
        return self._base.tokenizer()

    def longest(self) -> int:
        """Tokens that the base reads at most."""
        return self._base.longest()

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, by the base's tokenizer."""
        return self._base.count_tokens(text)

    def image_features(self, images: Sequence[Pixels]) -> Vectors:
        """Mapped vectors of images, float32 (n, dimension), unit rows."""
        return self._mapped(self._base.image_features, images)

    def text_features(self, texts: Sequence[str]) -> Vectors:
        """Mapped vectors of texts, float32 (n, dimension), unit rows."""
        return self._mapped(self._base.text_features, texts)

    def _mapped(self, encode: Callable[[Any], Vectors], given: Sequence[Any]) -> Vectors:
        return self._map(unit_rows(encode(given), self._files.name))
