"""Material that the bundled encoder is trained on, and the refusal of any other."""

from __future__ import annotations

from store import BadSource

#: Sources, as ``open_source`` takes them, that hold such films.
SOURCES = ("medmnist:pneumoniamnist", "synthetic")
TAKES = (
    "cxr train makes the bundled encoder again and takes the films of medmnist:pneumoniamnist "
    "alone (grey, 28 x 28, labelled normal or pneumonia, with the splits train and val); to teach "
    "an encoder with other films: cxr adapt"
)


def refused(what: str) -> BadSource:
    """The refusal of other films.

    Args:
        what: they are, a clause.
    """
    return BadSource(f"{what}: {TAKES}")


def check_source(spec: str) -> None:
    """Refuse a source of other films by its name, before anything is downloaded or read.

    Raises:
        BadSource: with what is taken instead.
    """
    if spec not in SOURCES:
        raise refused(f"--source {spec}")
