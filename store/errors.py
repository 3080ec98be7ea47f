"""The exceptions of the project: one small tree.

Every message says what went wrong, with which value, what was expected, and what to do.
"""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """A number of things in words: ``1 film``, ``2,000 films``; ``many``: a plural without -s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


class CxrError(Exception):
    """Anything the project refuses on purpose. Catch this to catch them all."""


class UsageError(CxrError):
    """The caller asked for something that makes no sense, whatever is stored."""


class BadQuery(UsageError):
    """A query that cannot be answered: k out of range, an empty text, a bad vector."""


class NothingToMeasure(CxrError):
    """An evaluation whose figures would be 1 whatever the encoder: chance alone is always right."""


class BadFilter(UsageError):
    """A filter with an unknown column, or a value of the wrong type."""


class UnknownId(CxrError):
    """An id that the gallery does not hold."""


class BadRows(CxrError):
    """Rows refused before writing: duplicate ids, non-finite or non-unit vectors."""


class StoreNotFound(CxrError):
    """No gallery at this location."""


class StoreDamaged(CxrError):
    """A gallery that cannot be read, or whose parts disagree."""


class StoreUnwritable(CxrError):
    """A write that the disk refused: full, broken or protected. What was stored stays readable."""


class StoreUnreachable(CxrError):
    """An object store that does not answer, or refuses."""


class StoreUnsafe(CxrError):
    """An object store where two writers could lose rows. Nothing is written there."""


class EncoderMismatch(CxrError):
    """A gallery made by one encoder, used with another."""


class EncoderChanged(EncoderMismatch):
    """A gallery made by an encoder of the same name that has changed since."""


class BadImage(CxrError):
    """An image that cannot be used; ``reason`` is a short machine-readable code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class BadSource(CxrError):
    """A data set or folder that cannot be read as what it was said to be."""


class BadArtefacts(CxrError):
    """Exported files that disagree with each other, or with their description."""


class EncoderUnavailable(CxrError):
    """An encoder whose files cannot be found, fetched or loaded."""


class TextUnsupported(CxrError):
    """A text given to an encoder that understands images only."""


class PatchesUnsupported(CxrError):
    """A patch map asked of an encoder whose vector cannot be split up by patches."""


class ClusterUnavailable(CxrError):
    """A Ray cluster that cannot be reached, or that lost what it cannot do without."""
