"""The gallery and the encoder of a running service: followed in the background, loaded once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from store import CxrError, Gallery

if TYPE_CHECKING:
    from ingest.encoders import Encoder

#: How often the table is looked at: a new batch is found within a second.
POLL_S = 0.5


@dataclass(slots=True)
class Served:
    """What requests are answered from.

    Attributes:
        gallery: follows the table; requests ask a pinned reader of it.
        load: loads the gallery's encoder.
        trouble: why the table is not followed at present; None when it is.
    """

    gallery: Gallery
    load: Callable[[], Encoder]
    trouble: str | None = None
    _encoder: Encoder | None = None
    _loading: threading.Lock = field(default_factory=threading.Lock)
    _measuring: threading.Lock = field(default_factory=threading.Lock)
    _measured: dict[Any, Mapping[str, Any]] = field(default_factory=dict)

    def now(self) -> Gallery:
        """Reader of the version that is newest to this process; it stays there."""
        return self.gallery.pinned()

    def encoder(self) -> Encoder:
        """The gallery's encoder, loaded once for all requests.

        Raises:
            EncoderUnavailable, EncoderMismatch: it is not here, or another one.
        """
        with self._loading:
            if self._encoder is None:
                self._encoder = self.load()
            return self._encoder

    def warm(self) -> None:
        """Load the encoder and encode one sentence, so that no request waits for it."""
        with contextlib.suppress(CxrError):
            encoder = self.encoder()
            if encoder.supports_text:
                encoder.understands("chest film")
                encoder.encode_texts(["chest film"])

    def encoder_state(self) -> str:
        """State of the encoder in a word: ``loaded`` or ``not loaded yet``."""
        return "not loaded yet" if self._encoder is None else "loaded"

    def measured(
        self, of: Gallery, key: tuple[Any, ...], measure: Callable[[], Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """A document that is measured once for a version of the table; one at a time.

        Args:
            of: the reader that is measured.
            key: what else the document depends on.
            measure: makes the document.
        """
        with self._measuring:
            found = self._measured.get((of.state, key))
            if found is None:
                kept = {at: one for at, one in self._measured.items() if at[0] == of.state}
                found = measure()
                self._measured = {**dict(list(kept.items())[-15:]), (of.state, key): found}
            return found

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Follow the table in a thread while the service runs."""
        ended = threading.Event()

        def follow() -> None:
            while not ended.wait(POLL_S):
                try:
                    self.gallery.refresh()
                    self.trouble = None
                except CxrError as error:
                    self.trouble = str(error)

        thread = threading.Thread(target=follow, name="follow", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(10)
