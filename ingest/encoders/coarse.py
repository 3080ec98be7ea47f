"""Coarse encoders: when films have far more pixels than their encoder sees, and what sees more."""

from __future__ import annotations

import os

from ingest.encoders.registry import KNOWN, Known

#: Films whose shorter side has more pixels than this are large.
LARGE_FILM = 64


def is_coarse(side: int, width: int, height: int) -> bool:
    """Whether an encoder sees less of a film than a thumbnail shows.

    Args:
        side: of what the encoder sees, in pixels; 0 where that is not known.
        width: of the film.
        height: of the film.
    """
    return 0 < side < LARGE_FILM < min(width, height)


def coarse_note(name: str, side: int) -> str:
    """Sentence on a coarse encoder, with the encoders to use instead; nothing is switched.

    Args:
        name: of the encoder.
        side: of what it sees, in pixels.
    """
    cores = os.cpu_count() or 1
    others = "; ".join(f"--encoder {_described(one, cores)}" for one in finer(side))
    return (
        f"encoder {name} sees {side} x {side} pixels and these films have more than {LARGE_FILM} "
        f"x {LARGE_FILM}: fine findings are gone. Encoders that see more, each into a --store of "
        f"its own: {others} (milliseconds are an order of magnitude for {cores} CPU cores; "
        "measure them here: cxr encoders --try NAME)"
    )


def finer(side: int) -> list[Known]:
    """Published encoders that see more pixels, those made for medical images first."""
    found = [one for one in KNOWN.values() if one.side > side]
    return sorted(found, key=lambda one: (one.gated, one.name != "biomedclip", one.core_ms))


def _described(one: Known, cores: int) -> str:
    traits = [
        f"{one.side} x {one.side}",
        f"{one.bytes / 1e6:,.0f} MB to download",
        f"licence {one.licence}" + (", after its terms are accepted" if one.gated else ""),
        *([] if one.text else ["no sentences"]),
        f"about {one.core_ms / cores:,.0f} ms a film",
    ]
    return f"{one.name} ({', '.join(traits)})"
