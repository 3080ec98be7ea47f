"""What to say when a gallery's encoder and the one at hand are two."""

from __future__ import annotations

from store.errors import EncoderChanged, EncoderMismatch
from store.schema import EncoderStamp


def mismatch(where: str, made: EncoderStamp, here: EncoderStamp) -> EncoderMismatch:
    """The error for a gallery of one encoder and another one at hand, with what helps.

    Args:
        where: the gallery, e.g. ``the gallery at data/gallery``.
        made: the encoder that made it.
        here: the one at hand.

    Returns:
        EncoderChanged where both have one name, which then helps nobody to tell them apart.
    """
    if made.name == here.name:
        return EncoderChanged(
            f"{where} was made by an encoder named {made.name} with fingerprint "
            f"{made.fingerprint[:12]} ({made.dimension}-d), but the {here.name} here has "
            f"{here.fingerprint[:12]} ({here.dimension}-d): the encoder has changed since. Ingest "
            f"again into another --store to make a gallery of it, or pass --encoder with the "
            "folder of the old one"
        )
    return EncoderMismatch(
        f"{where} was made by encoder {made}, but this is {here}; pass --encoder {made.name}, or "
        "another --store for this encoder"
    )
