"""Agreement of two films: maps of the patches by which they agree, and what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from store import CxrError, Gallery, PatchesUnsupported
from ui.dashboard import shared
from ui.dashboard.components.html import plain

if TYPE_CHECKING:
    from ingest import Agreement

Vector = npt.NDArray[np.float32]


class Maps(NamedTuple):
    """Maps of two films, where there are any, and what they mean, in Markdown."""

    left: Agreement | None
    right: Agreement | None
    said: str


def cosine(one: Vector, other: Vector) -> float:
    """Cosine of two unit vectors."""
    return float(np.clip(one.astype(np.float64) @ other.astype(np.float64), -1, 1))


def maps(
    gallery: Gallery,
    score: float,
    right: tuple[bytes, Vector],
    left: tuple[bytes, Vector] | None,
    *,
    combined: bool = False,
) -> Maps:
    """Maps of where two sides agree.

    Args:
        gallery: whose encoder reads the patches.
        score: cosine of the two sides, from the original films.
        right: picture of a film, and the vector it is compared with.
        left: picture of the other side and the film's own vector; None of a side that is no one
            picture.
        combined: whether the vector of the right side is that of a query with marks.
    """
    try:
        using = shared.encoder(gallery.stamp)
        of_right = shared.agreement(using, *right)
        of_left = None if left is None else shared.agreement(using, *left)
    except PatchesUnsupported as error:
        return Maps(None, None, f"**No patch map.** {plain(str(error))}.")
    except CxrError as error:
        said = f"**No patch map**, because the encoder is not here: {plain(str(error))}"
        return Maps(None, None, said)
    return Maps(of_left, of_right, plain_words(score, of_left, of_right, combined=combined))


def plain_words(
    score: float, left: Agreement | None, right: Agreement, *, combined: bool = False
) -> str:
    """An explanation of the maps and of their relation to the score, in Markdown."""
    shown = f"{right.score:.3f}" if left is None else f"{right.score:.3f} and {left.score:.3f}"
    which = "The map's mean is" if left is None else "The means of the two maps are"
    parts = [
        "**Where they agree.** A patch's value is the cosine that there would be if every patch "
        f"added what this one adds; orange is above the mean, blue below. {which} the cosine of "
        f"the pictures shown: {shown} (the search, on the original films: {score:.3f}).",
        f"Of {right.score:.3f}, the hit's patches add {right.placed:.3f} directly. The rest comes "
        "through the encoder's other parts, has no place in the picture, and is spread evenly.",
    ]
    if combined:
        parts.append("The map is of the hit with the combined query, all marks in it.")
    elif left is not None:
        parts.append("Each film's map is with the other film's vector as a whole.")
    return plain_but_bold(" ".join(parts))


def plain_but_bold(text: str) -> str:
    """Our own sentences: only the bold beginning is Markdown."""
    bold, _, rest = text.partition(".** ")
    return f"{bold}.** {plain(rest)}"
