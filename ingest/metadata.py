"""Parsers of age, sex, split and view: the spellings of data sets to one form."""

from __future__ import annotations

import re
from functools import lru_cache

#: Age in years up to which a number is taken for one.
OLDEST = 120
_SEX = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}
_SPLITS = {
    **dict.fromkeys(("train", "training", "train_val"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@lru_cache(4096)
def parse_age(text: str) -> float | None:
    """Age in years of ``058Y``, ``013M``, ``02W``, ``009D`` or ``58``; None for no sane age."""
    found = re.fullmatch(r"\s*0*(\d{1,3}(?:\.\d+)?)\s*([YMWD]?)\s*", text, re.IGNORECASE)
    if not found:
        return None
    unit = {"M": 12.0, "W": 365.25 / 7, "D": 365.25}.get(found[2].upper(), 1.0)
    years = round(float(found[1]) / unit, 3)
    return years if years <= OLDEST else None


def sex(cell: str) -> str | None:
    """Sex as ``M``, ``F`` or ``O``; None for anything else, such as Unknown."""
    return _SEX.get(cell.strip().casefold())


def split(cell: str) -> str | None:
    """Split as this project spells it; an unknown one as it is; None for a blank."""
    text = cell.strip()
    return _SPLITS.get(text.casefold(), text) or None


def view(cell: str) -> str | None:
    """View in capitals; side views are ``LATERAL``; None for a blank."""
    text = cell.strip().upper()
    return "LATERAL" if text in ("LL", "RL", "L", "LAT") else text or None
