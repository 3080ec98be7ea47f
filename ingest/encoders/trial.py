"""Trial of an encoder: a few films one by one and together, before a gallery is made with it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from store import EncoderUnavailable

if TYPE_CHECKING:
    from ingest.encoders.encoder import Encoder
    from ingest.record import Pixels

#: Films of a trial, and their sides in pixels.
FILMS = 8
_SIDES = (256, 320, 512, 640)


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial found.

    Attributes:
        name, fingerprint, dimension: of the encoder.
        library: which builds it: ``transformers``, ``open_clip`` or ``timm``.
        family: the class of its model.
        device: where it computed.
        text: whether it encodes texts.
        no_text: why not, where its folder could have it; else None.
        tokens: that it reads of a text at most; None without texts.
        side: of what it sees of an image, in pixels; 0 where that is not known.
        ms_one: milliseconds a film, one by one, the model loaded.
        ms_together: milliseconds a film, all at once.
        load_seconds: until the model was loaded.
        difference: largest between a vector made alone and one made together, over all values.
    """

    name: str
    fingerprint: str
    dimension: int
    library: str
    family: str
    device: str
    text: bool
    no_text: str | None
    tokens: int | None
    side: int
    ms_one: float
    ms_together: float
    load_seconds: float
    difference: float


def trial(encoder: Encoder) -> Trial:
    """Encode invented films of several shapes one by one and together.

    Raises:
        EncoderUnavailable: the encoder does not load, or fails on a film or on a sentence.
    """
    begin = time.perf_counter()
    runtime = encoder.runtime()
    films = _films()
    encoder.encode_images(films[:1])  # what is made at the first image is no time of a film
    loaded = time.perf_counter()
    alone = np.concatenate([encoder.encode_images([film]) for film in films])
    one = time.perf_counter()
    together = encoder.encode_images(films)
    end = time.perf_counter()
    tokens = None
    if encoder.supports_text:
        encoder.encode_texts(["clear lungs", "no pleural effusion"])
        tokens = runtime.longest()
    if float(np.abs(together[0] - together[-1]).max()) == 0:
        raise EncoderUnavailable(
            f"encoder {encoder.name!r} gives different films one vector; its weights are damaged, "
            "or its processor makes one image of all"
        )
    return Trial(
        name=encoder.name,
        fingerprint=encoder.fingerprint,
        dimension=encoder.dimension,
        library=encoder.library,
        family=runtime.family,
        device=str(runtime.device),
        text=encoder.supports_text,
        no_text=encoder.no_text,
        tokens=tokens,
        side=encoder.side,
        ms_one=(one - loaded) / FILMS * 1e3,
        ms_together=(end - one) / FILMS * 1e3,
        load_seconds=loaded - begin,
        difference=float(np.abs(alone - together).max()),
    )


def _films() -> list[Pixels]:
    """Invented films: smooth grey with two dark lungs and noise, of several shapes."""
    random = np.random.default_rng(0)
    films = []
    for number in range(FILMS):
        height, width = _SIDES[number % len(_SIDES)], _SIDES[(number // 2) % len(_SIDES)]
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        film = 170 + random.normal(0, 12, (height, width)) - 30 * x * random.normal()
        for side in (-0.45, 0.45):
            lung = ((x - side) / 0.33) ** 2 + (y / (0.6 + 0.2 * random.random())) ** 2 < 1
            film[lung] -= 60 + 40 * random.random()
        films.append(np.clip(film, 0, 255).astype(np.uint8))
    return films
