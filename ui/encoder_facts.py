"""Facts about the encoders of compared galleries: licence, size, speed, films they learnt from."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest import Card, Pixels, Seen
    from ingest.encoders import Encoder
    from store import Films, Gallery

UNKNOWN = "unknown"
#: Films that are encoded at once, how often, and searches, to measure speed.
_FILMS, _TIMES, _SEARCHES = 32, 3, 20


@dataclass(frozen=True, slots=True)
class SeenFilms:
    """Whether an encoder was trained on films of one data set and split."""

    dataset: str | None
    split: str | None
    seen: Seen


@dataclass(frozen=True, slots=True)
class Speed:
    """Times of an encoder and of its gallery on this machine.

    Attributes:
        film_ms: of a film, in milliseconds, over films that are encoded at once; None where that
            could not be measured.
        films: how many were; stored thumbnails, so larger films take longer to be read.
        device: where, e.g. ``cpu``.
        search_ms: of a search for 10 films, one query at a time.
    """

    film_ms: float | None
    films: int
    device: str | None
    search_ms: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What there is to know of an encoder beside how well it does.

    Attributes:
        name, fingerprint, dimension: of its stamp.
        vector_bytes: of a film's vector.
        licence, data: of its weights, and what it learnt from; ``unknown`` where nothing says.
        parameters, bytes: of its weights; None where they are not known.
        on_disk: whether it was found on this machine, by its name and fingerprint.
        trained_on_these_films: yes, where it learnt from some of the films compared; no, where it
            learnt from none; else unknown.
        seen: the same by data set and split.
        speed: None where it was not measured.
    """

    name: str
    fingerprint: str
    dimension: int
    vector_bytes: int
    licence: str
    data: str
    parameters: int | None
    bytes: int | None
    on_disk: bool
    trained_on_these_films: Seen
    seen: tuple[SeenFilms, ...]
    speed: Speed | None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        found = asdict(self)
        return {**found, "seen": list(found["seen"])}


def facts_of(
    gallery: Gallery,
    films: Sequence[Films],
    encoder: Encoder | None = None,
    measure: bool = False,
) -> Facts:
    """Facts about the encoder of a gallery.

    Args:
        gallery: whose.
        films: that are compared.
        encoder: the same one, where it is on this machine.
        measure: also its speed, and that of a search.
    """
    from ingest import KNOWN, card_of

    stamp = gallery.stamp
    card = card_of(stamp.name, encoder)
    seen = tuple(
        SeenFilms(one.dataset, one.split, card.saw(one.dataset, one.split)) for one in films
    )
    published = KNOWN.get(stamp.name.partition("@")[0])
    return Facts(
        stamp.name,
        stamp.fingerprint,
        stamp.dimension,
        4 * stamp.dimension,
        card.licence or UNKNOWN,
        card.data or UNKNOWN,
        encoder.parameters if encoder else None,
        encoder.size if encoder else published.bytes if published else None,
        encoder is not None,
        _all_of(card, films),
        seen,
        _speed(gallery, encoder) if measure else None,
    )


def _all_of(card: Card, films: Sequence[Films]) -> Seen:
    answers = {card.saw(one.dataset, one.split) for one in films}
    if "yes" in answers:
        return "yes"
    return "no" if answers == {"no"} else "unknown"


def found_encoder(
    gallery: Gallery, given: Sequence[Encoder] = (), device: str | None = None
) -> Encoder | None:
    """The encoder that made a gallery, if it is on this machine; nothing is downloaded for it.

    Args:
        gallery: whose.
        given: encoders that may be it, whatever they are called; told by their fingerprints.
        device: as load_encoder takes it.
    """
    from ingest import is_at_hand
    from ingest.encoders import encoder_for
    from store import EncoderMismatch, EncoderUnavailable

    for encoder in given:
        if encoder.fingerprint == gallery.stamp.fingerprint:
            return encoder
    if not is_at_hand(gallery.stamp.address):
        return None
    try:
        return encoder_for(gallery, device=device)
    except (EncoderMismatch, EncoderUnavailable):
        return None  # another one of its name, or one that cannot be read


def _speed(gallery: Gallery, encoder: Encoder | None) -> Speed:
    ids = gallery.ids()[: max(_FILMS, _SEARCHES)]
    vectors = gallery.vectors(ids[:_SEARCHES])
    k = min(10, len(gallery))
    gallery.search(vectors[:1], k)  # the index is made by now
    started = time.perf_counter()
    for vector in vectors:
        gallery.search(vector[None], k)
    search_ms = 1000 * (time.perf_counter() - started) / len(vectors)
    films = _pictures(gallery, ids[:_FILMS])
    if encoder is None or not films:
        return Speed(None, 0, None, search_ms)
    encoder.encode_images(films)  # the model is loaded by now
    times = []
    for _ in range(_TIMES):
        started = time.perf_counter()
        encoder.encode_images(films)
        times.append(time.perf_counter() - started)
    film_ms = 1000 * statistics.median(times) / len(films)
    return Speed(film_ms, len(films), str(encoder.runtime().device), search_ms)


def _pictures(gallery: Gallery, ids: Sequence[str]) -> list[Pixels]:
    from ingest import decode

    pictures = gallery.thumbnails(ids)
    return [decode(png, id_) for id_, png in pictures.items() if png is not None]


# -- words ----------------------------------------------------------------------------------------


def size(facts: Facts) -> str:
    """Size of an encoder in words: ``2.0 M parameters, 7.1 MB``."""
    parts = [
        f"{_short(facts.parameters)} parameters" if facts.parameters else "",
        f"{_short(facts.bytes)}B" if facts.bytes else "",
    ]
    return ", ".join(part for part in parts if part) or UNKNOWN


def _short(number: int) -> str:
    """A number in thousands or millions: ``2.0 M``."""
    return f"{number / 1e6:,.1f} M" if number >= 1e5 else f"{number / 1e3:,.1f} k"


def film_speed(facts: Facts) -> str:
    """Time of a film in words."""
    if facts.speed is None:
        return "not measured"
    if facts.speed.film_ms is None:
        return "not on this machine"
    return f"{facts.speed.film_ms:,.2f} ms on {facts.speed.device}"


def search_speed(facts: Facts) -> str:
    """Time of a search in words."""
    return "not measured" if facts.speed is None else f"{facts.speed.search_ms:,.2f} ms"


def trained(facts: Facts) -> str:
    """Whether it learnt from the films compared, in words: ``test: no; train: yes``."""
    answers = {one.seen for one in facts.seen}
    if len(answers) == 1:
        return answers.pop()
    several = len({one.dataset for one in facts.seen}) > 1
    return "; ".join(
        f"{f'{one.dataset} ' if several else ''}{one.split or 'no split'}: {one.seen}"
        for one in facts.seen
    )
