"""Queries of the command line and of the HTTP service: vectors, and what to say of them.

In: a sentence or an image. Out: its vector, its document as JSON has it, notes for a person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from store import UsageError
from ui import notices

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ingest import Pixels
    from ingest.encoders import Encoder
    from store import Fusion, Gallery, Hit, Nearness, OwnFilms, Weights, Where


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


@dataclass(frozen=True, slots=True)
class Words:
    """Words of reports that are asked for.

    Attributes:
        words: as they were asked.
        negated: whether reports that say they are absent are found, too.
        fusion: how they make one list with what is asked beside.
        beside: ``picture``, ``film``, ``text``, ``vector`` or ``films``; None where it is nothing.
    """

    words: str
    negated: bool
    fusion: Fusion
    beside: str | None

    @property
    def told(self) -> dict[str, Any]:
        """The same as JSON has it."""
        fused = {"fusion": self.fusion} if self.beside else {}
        return {"words": self.words, "negated": self.negated, **fused}


def of_words(
    words: str | None,
    negated: bool,
    fusion: str | float | None,
    beside: Mapping[str, object],
    option: str = "",
) -> Words | None:
    """The words of a search; None where none are asked for.

    Args:
        words: of reports, as they were asked.
        negated: see Words.
        fusion: ``rrf`` or the weight of the words; None for the usual way.
        beside: what may be asked beside, by name; nothing is where a value is empty.
        option: what names of choices begin with: ``--`` on a command line.

    Raises:
        UsageError, BadQuery: choices that play no part, or a fusion that is none.
    """
    from store import RRF, parse_fusion

    for name, given in (("negated", negated), ("fusion", fusion is not None)):
        if given and words is None:
            raise UsageError(f"{option}{name} plays no part without {option}words")
    asked = next((name for name, one in beside.items() if one not in (None, [], ())), None)
    if fusion is not None and asked is None:
        others = "a picture, a film, a sentence or films to be like"
        if option:
            others = "--image, --id, --text or --like"
        raise UsageError(f"{option}fusion plays no part without {others}")
    how = parse_fusion(RRF if fusion is None else str(fusion))
    return None if words is None else Words(words, negated, how, asked)


def hits_of(
    gallery: Gallery,
    query: npt.ArrayLike | str | None,
    words: Words | None,
    depth: int,
    *,
    like: Sequence[str],
    unlike: Sequence[str],
    weights: Weights | None,
    where: Where | None,
    exclude: Sequence[str],
) -> Sequence[Hit]:
    """Hits of a query by vectors, by words of reports, or by both.

    Args:
        gallery: that is searched.
        query: a vector, several, the id of a stored film, or None.
        words: asked for, if any.
        depth: how many hits.
        like: ids of films to be like.
        unlike: ids of films to be unlike.
        weights: of the parts; the usual ones when None.
        where: only films that pass take part.
        exclude: ids that must not be found.
    """
    from store import combined_query, refined_search

    marks: dict[str, Any] = {"like": like, "unlike": unlike, "weights": weights}
    if words is None:
        return refined_search(gallery, query, depth, **marks, where=where, exclude=exclude)
    vectors, part_of = combined_query(gallery, query, **marks) if words.beside else (None, [])
    return gallery.search_words(
        words.words,
        depth,
        where,
        [*exclude, *part_of],
        vectors=vectors,
        fusion=words.fusion,
        negated=words.negated,
    )


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


def labels_instead(gallery: Gallery, query: Query, text: str) -> list[str]:
    """Labels of the gallery that a text names; none where the text is understood."""
    if query.told["understood"] is not False:
        return []
    return notices.labels_meant(text, gallery.facets()["labels"])


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
