"""Queries of the command line and of the HTTP service: vectors, and what to say of them.

In: a sentence or an image. Out: its vector, its document as JSON has it, notes for a person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from store import UsageError
from ui import notices

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ingest import Pixels
    from ingest.encoders import Encoder
    from store import Gallery, Nearness, OwnFilms, Weights


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A query that is ready to be searched.

    Attributes:
        told: what was asked, as JSON has it.
        vector: float32 (d,), or (n, d) of a text searched by its sentences.
        warnings: what a person must know of it, one sentence each.
        nearness: of an image to the gallery; None of a text.
    """

    told: dict[str, Any]
    vector: npt.NDArray[np.float32]
    warnings: tuple[str, ...]
    nearness: Nearness | None = None


def check_long_text(how: str, marked: bool) -> None:
    """Refuse a way to search long texts that there is not, or that does not go with marked films.

    Raises:
        UsageError: see above.
    """
    if how not in ("cut", "mean", "best"):
        raise UsageError(f"--long-text {how!r}: expected cut, mean or best")
    if how == "best" and marked:
        raise UsageError("--long-text best goes without --like and --unlike; use mean")


def of_text(
    encoder: Encoder, text: str, long_text: str = "cut", choice: str = "--long-text"
) -> Query:
    """The query of a sentence or a longer text.

    Args:
        encoder: of the gallery.
        text: as it was asked.
        long_text: how to search a text longer than the encoder reads: cut, mean or best.
        choice: where a person chooses that.

    Raises:
        TextUnsupported, BadQuery: the encoder takes no texts, or not this one.
    """
    from ingest.encoders import text_query

    asked = text_query(encoder, text, long_text)
    found = encoder.understands(asked)
    warnings = (notices.of_reading(asked, choice), notices.of_text(found))
    told = {
        "text": text,
        "understood": found.understood,
        "reason": found.reason,
        "read": asked.read,
        "cut": asked.cut or None,
        "long_text": asked.how,
        "sentences": list(asked.sentences),
        "tokens": {"text": asked.tokens, "longest": asked.longest},
    }
    vector = asked.vectors if asked.how == "best" else asked.vectors[0]
    return Query(told, vector, tuple(one for one in warnings if one))


def of_image(gallery: Gallery, encoder: Encoder, pixels: Pixels, name: str) -> Query:
    """The query of an image, with its nearness to the gallery.

    Args:
        gallery: that is searched.
        encoder: of the gallery.
        pixels: uint8, (height, width) or (height, width, 3).
        name: of the file.
    """
    from ingest import thumbnail

    vectors = encoder.encode_images([pixels])
    near = notices.nearness_of(gallery, vectors, thumbnail(pixels))
    warning = notices.of_image(near)
    told = {"image": name, "nearness": near.as_dict()}
    return Query(told, vectors[0], (warning,) if warning else (), near)


def of_marks(like: Sequence[str], unlike: Sequence[str], weights: Weights | None) -> dict[str, Any]:
    """Films to be like and unlike, and their weights, as JSON has them."""
    from store import Weights

    return {"like": [*like], "unlike": [*unlike], "weights": asdict(weights or Weights())}


def own_films(
    gallery: Gallery, ids: Sequence[str], film: tuple[bytes, Pixels] | None = None
) -> OwnFilms:
    """Films of the patients of stored films, and of an image that is stored or says whose it is.

    Args:
        gallery: that is searched.
        ids: of the stored films of the query.
        film: bytes and pixels of an image that is part of the query.
    """
    from ingest import patient_of, pixels_digest
    from store import OwnFilms, Where

    if film is None:
        return gallery.own_films(ids)
    data, pixels = film
    held = gallery.holding([hashlib.sha256(data).digest(), pixels_digest(pixels)])
    stored = [id_ for same in held.values() for id_ in same]
    own = gallery.own_films([*ids, *stored])
    if gallery.own_films(stored).kind is None and (patient := patient_of(data)) is not None:
        named = gallery.ids(Where(patient=(patient,)))
        if named:
            return OwnFilms("patient", tuple(sorted({*own.ids, *named})))
    return own
